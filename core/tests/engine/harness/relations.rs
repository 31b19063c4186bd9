//! Presence, interest, the directory and the registry with gates and faults. All other calls go to the
//! in-memory adapter.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pabal_core::memory::{MemoryDirectory, MemoryInterest, MemoryNodeRegistry, MemoryPresence};
use pabal_core::model::*;
use pabal_core::ports::*;

use super::Gate;

/// Whether the next call fails, of which so many do.
pub(super) fn fails(left: &AtomicUsize) -> bool {
    let one_less = |left: usize| left.checked_sub(1);
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
}

#[derive(Default)]
pub(crate) struct TestPresence {
    inner: MemoryPresence,
    /// After a join, before it returns.
    pub(crate) after_join: Gate,
    /// Before a leave.
    pub(crate) before_leave: Gate,
    /// Before a call of `online`.
    pub(crate) before_online: Gate,
    /// How many of the next leaves fail.
    pub(crate) failing_leaves: AtomicUsize,
}

impl Presence for TestPresence {
    fn join(&self, node: &NodeId, user_id: UserId) -> BoxFuture<'_, Result<bool, PresenceError>> {
        let node = node.clone();
        Box::pin(async move {
            let joined = self.inner.join(&node, user_id).await;
            self.after_join.pass().await;
            joined
        })
    }

    fn leave(&self, node: &NodeId, user_id: UserId) -> BoxFuture<'_, Result<bool, PresenceError>> {
        let node = node.clone();
        Box::pin(async move {
            self.before_leave.pass().await;
            if fails(&self.failing_leaves) {
                return Err(PresenceError::Unavailable("a test".into()));
            }
            self.inner.leave(&node, user_id).await
        })
    }

    fn locate(&self, users: &[UserId]) -> BoxFuture<'_, Result<Vec<Vec<NodeId>>, PresenceError>> {
        self.inner.locate(users)
    }

    fn online(&self, users: &[UserId]) -> BoxFuture<'_, Result<Vec<bool>, PresenceError>> {
        let users = users.to_vec();
        Box::pin(async move {
            self.before_online.pass().await;
            self.inner.online(&users).await
        })
    }

    fn begin(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<(), PresenceError>> {
        self.inner.begin(node, lease)
    }

    fn renew(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<bool, PresenceError>> {
        self.inner.renew(node, lease)
    }
}

#[derive(Default)]
pub(crate) struct TestInterest {
    inner: MemoryInterest,
    /// After a join, before it returns.
    pub(crate) after_join: Gate,
    /// Before a leave.
    pub(crate) before_leave: Gate,
    /// How many of the next joins fail.
    pub(crate) failing_joins: AtomicUsize,
    /// A call for the nodes of this channel fails.
    unavailable_for: Mutex<Option<ChannelId>>,
}

impl TestInterest {
    /// From now on calls for the nodes of this channel fail.
    pub(crate) fn unavailable_for(&self, channel_id: Option<ChannelId>) {
        *self.unavailable_for.lock().expect("no panic") = channel_id;
    }
}

impl Interest for TestInterest {
    fn join(
        &self,
        node: &NodeId,
        channels: &[ChannelId],
    ) -> BoxFuture<'_, Result<(), InterestError>> {
        let (node, channels) = (node.clone(), channels.to_vec());
        Box::pin(async move {
            if fails(&self.failing_joins) {
                return Err(InterestError::Unavailable("a test".into()));
            }
            let joined = self.inner.join(&node, &channels).await;
            self.after_join.pass().await;
            joined
        })
    }

    fn leave(
        &self,
        node: &NodeId,
        channels: &[ChannelId],
    ) -> BoxFuture<'_, Result<(), InterestError>> {
        let (node, channels) = (node.clone(), channels.to_vec());
        Box::pin(async move {
            self.before_leave.pass().await;
            self.inner.leave(&node, &channels).await
        })
    }

    fn nodes(
        &self,
        channels: &[ChannelId],
    ) -> BoxFuture<'_, Result<Vec<Vec<NodeId>>, InterestError>> {
        let unavailable_for = *self.unavailable_for.lock().expect("no panic");
        if unavailable_for.is_some_and(|channel_id| channels.contains(&channel_id)) {
            return Box::pin(std::future::ready(Err(InterestError::Unavailable("a test".into()))));
        }
        self.inner.nodes(channels)
    }

    fn begin(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<(), InterestError>> {
        self.inner.begin(node, lease)
    }

    fn renew(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<bool, InterestError>> {
        self.inner.renew(node, lease)
    }
}

#[derive(Default)]
pub(crate) struct TestRegistry {
    inner: MemoryNodeRegistry,
    /// Every partition is granted to every node, as after a pause that is longer than the lease.
    pub(crate) grant_all: AtomicBool,
    /// Calls about leases fail.
    pub(crate) unavailable: AtomicBool,
    /// The registry grants leases for ten times as long as requested.
    pub(crate) long_leases: AtomicBool,
}

impl TestRegistry {
    fn lasts(&self, lease: Duration) -> Duration {
        if self.long_leases.load(Ordering::SeqCst) { 10 * lease } else { lease }
    }
}

impl NodeRegistry for TestRegistry {
    fn heartbeat(
        &self,
        info: NodeInfo,
        lease: Duration,
    ) -> BoxFuture<'_, Result<(), RegistryError>> {
        self.inner.heartbeat(info, lease)
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeInfo>, RegistryError>> {
        self.inner.nodes()
    }

    fn acquire(
        &self,
        node: &NodeId,
        partition: Partition,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Option<Lease>, RegistryError>> {
        if self.unavailable.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(RegistryError::Unavailable("a test".into()))));
        }
        if !self.grant_all.load(Ordering::SeqCst) {
            return self.inner.acquire(node, partition, self.lasts(lease));
        }
        let lease = Lease { partition, node: node.clone(), epoch: 1 };
        Box::pin(std::future::ready(Ok(Some(lease))))
    }

    fn renew(&self, held: &Lease, lease: Duration) -> BoxFuture<'_, Result<bool, RegistryError>> {
        if self.unavailable.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(RegistryError::Unavailable("a test".into()))));
        }
        self.inner.renew(held, self.lasts(lease))
    }

    fn release(&self, held: &Lease) -> BoxFuture<'_, Result<(), RegistryError>> {
        self.inner.release(held)
    }

    fn owner(&self, partition: Partition) -> BoxFuture<'_, Result<Option<NodeId>, RegistryError>> {
        self.inner.owner(partition)
    }
}

#[derive(Default)]
pub(crate) struct TestDirectory {
    inner: MemoryDirectory,
    /// After the read of a user's memberships, before it returns.
    pub(crate) after_memberships: Gate,
    /// After the read of a user's settings, before it returns.
    pub(crate) after_settings: Gate,
}

type DirectoryFuture<'a, T> = BoxFuture<'a, Result<T, DirectoryError>>;

macro_rules! delegate {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $output:ty;)+) => {$(
        fn $name(&self, $($arg: $kind),*) -> DirectoryFuture<'_, $output> {
            self.inner.$name($($arg),*)
        }
    )+};
}

impl TestDirectory {
    /// The accounts of the same users.
    pub(crate) fn accounts(&self) -> &dyn Accounts {
        &self.inner
    }
}

impl Directory for TestDirectory {
    fn memberships(&self, user_id: UserId) -> DirectoryFuture<'_, Vec<Membership>> {
        Box::pin(async move {
            let memberships = self.inner.memberships(user_id).await;
            self.after_memberships.pass().await;
            memberships
        })
    }

    fn settings(&self, user_id: UserId) -> DirectoryFuture<'_, Settings> {
        Box::pin(async move {
            let settings = self.inner.settings(user_id).await;
            self.after_settings.pass().await;
            settings
        })
    }

    delegate! {
        fn sign_up(user: User, password_hash: String, access: Access) -> ();
        fn log_in(access: Access) -> ();
        fn log_out(token: TokenHash) -> bool;
        fn credentials(username: &str) -> Option<Credentials>;
        fn access(token: TokenHash) -> Option<Access>;
        fn remove_expired(now: Timestamp, at_most: usize) -> usize;
        fn user(user_id: UserId) -> Option<User>;
        fn users_by_prefix(prefix: &str, limit: usize) -> Vec<User>;
        fn change_profile(user_id: UserId, change: ProfileChange) -> User;
        fn change_settings(user_id: UserId, change: SettingsChange) -> Settings;
        fn settings_of(users: &[UserId]) -> Vec<Settings>;
        fn friends_after(user_id: UserId, after: Option<UserId>, limit: usize) -> Vec<Friend>;
        fn befriend(user_id: UserId, other: UserId, limits: RelationLimits) -> FriendState;
        fn unfriend(user_id: UserId, other: UserId) -> bool;
        fn blocks_after(user_id: UserId, after: Option<UserId>, limit: usize) -> Vec<UserId>;
        fn block(user_id: UserId, other: UserId, limits: RelationLimits) -> ();
        fn unblock(user_id: UserId, other: UserId) -> ();
        fn direct_channel(users: [UserId; 2], new: Channel, limits: RelationLimits) -> (Channel, bool);
        fn find_direct_channel(users: [UserId; 2]) -> Option<Channel>;
        fn create_group(channel: Channel, owner: UserId, members: Vec<UserId>, limits: RelationLimits) -> ();
        fn remove_leftovers(created_before: Timestamp) -> usize;
        fn memberships_after(user_id: UserId, after: Option<ChannelId>, limit: usize) -> Vec<Membership>;
        fn membership(user_id: UserId, channel_id: ChannelId) -> Option<Membership>;
        fn rename_group(by: UserId, channel_id: ChannelId, name: String) -> Channel;
        fn delete_group(by: UserId, channel_id: ChannelId) -> (Channel, Vec<UserId>);
        fn members_after(channel_id: ChannelId, after: Option<UserId>, limit: usize) -> Vec<Member>;
        fn put_member(by: UserId, channel_id: ChannelId, user_id: UserId, role: Option<Role>, limits: RelationLimits) -> PutMember;
        fn remove_member(by: UserId, channel_id: ChannelId, user_id: UserId) -> Option<RemovedMember>;
        fn mark_read(channel_id: ChannelId, user_id: UserId, message_id: MessageId) -> bool;
        fn revocations(limit: usize) -> Vec<Revocation>;
        fn forget_revocations(numbers: &[u64]) -> ();
        fn push_targets(channel_id: ChannelId) -> Vec<PushTarget>;
    }
}
