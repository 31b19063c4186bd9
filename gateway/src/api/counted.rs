//! A directory in memory that counts its calls, for tests of how many a request makes.

use std::sync::atomic::{AtomicUsize, Ordering};

use pabal_core::memory::MemoryDirectory;
use pabal_core::model::{
    Channel, ChannelId, Friend, FriendState, Member, Membership, MessageId, Role, Settings,
    Timestamp, TokenHash, User, UserId,
};
use pabal_core::ports::{
    Access, BoxFuture, Credentials, Directory, DirectoryError, ProfileChange, PushTarget,
    PutMember, RelationLimits, RemovedMember, Revocation, SettingsChange,
};

#[derive(Default)]
pub(super) struct CountedDirectory {
    inner: MemoryDirectory,
    calls: AtomicUsize,
}

impl CountedDirectory {
    /// How many calls were made so far.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

macro_rules! counted {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $result:ty;)+) => {
        impl Directory for CountedDirectory {
            $(fn $name(&self, $($arg: $kind),*) -> BoxFuture<'_, Result<$result, DirectoryError>> {
                self.calls.fetch_add(1, Ordering::Relaxed);
                self.inner.$name($($arg),*)
            })+
        }
    };
}

counted! {
    fn sign_up(user: User, password_hash: String, access: Access) -> ();
    fn log_in(access: Access) -> ();
    fn log_out(token: TokenHash) -> bool;
    fn credentials(username: &str) -> Option<Credentials>;
    fn access(token: TokenHash) -> Option<Access>;
    fn remove_expired(now: Timestamp, at_most: usize) -> usize;
    fn user(user_id: UserId) -> Option<User>;
    fn users_by_prefix(prefix: &str, limit: usize) -> Vec<User>;
    fn change_profile(user_id: UserId, change: ProfileChange) -> User;
    fn settings(user_id: UserId) -> Settings;
    fn settings_of(users: &[UserId]) -> Vec<Settings>;
    fn change_settings(user_id: UserId, change: SettingsChange) -> Settings;
    fn friends_after(user_id: UserId, after: Option<UserId>, limit: usize) -> Vec<Friend>;
    fn befriend(user_id: UserId, other: UserId, limits: RelationLimits) -> FriendState;
    fn unfriend(user_id: UserId, other: UserId) -> bool;
    fn blocks_after(user_id: UserId, after: Option<UserId>, limit: usize) -> Vec<UserId>;
    fn block(user_id: UserId, other: UserId, limits: RelationLimits) -> ();
    fn unblock(user_id: UserId, other: UserId) -> ();
    fn direct_channel(users: [UserId; 2], new: Channel, limits: RelationLimits)
        -> (Channel, bool);
    fn find_direct_channel(users: [UserId; 2]) -> Option<Channel>;
    fn create_group(channel: Channel, owner: UserId, members: Vec<UserId>,
        limits: RelationLimits) -> ();
    fn remove_leftovers(created_before: Timestamp) -> usize;
    fn memberships_after(user_id: UserId, after: Option<ChannelId>, limit: usize)
        -> Vec<Membership>;
    fn membership(user_id: UserId, channel_id: ChannelId) -> Option<Membership>;
    fn rename_group(by: UserId, channel_id: ChannelId, name: String) -> Channel;
    fn delete_group(by: UserId, channel_id: ChannelId) -> (Channel, Vec<UserId>);
    fn members_after(channel_id: ChannelId, after: Option<UserId>, limit: usize) -> Vec<Member>;
    fn put_member(by: UserId, channel_id: ChannelId, user_id: UserId, role: Option<Role>,
        limits: RelationLimits) -> PutMember;
    fn remove_member(by: UserId, channel_id: ChannelId, user_id: UserId)
        -> Option<RemovedMember>;
    fn mark_read(channel_id: ChannelId, user_id: UserId, message_id: MessageId) -> bool;
    fn revocations(limit: usize) -> Vec<Revocation>;
    fn forget_revocations(numbers: &[u64]) -> ();
    fn push_targets(channel_id: ChannelId) -> Vec<PushTarget>;
}
