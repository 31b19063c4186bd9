//! The directory in memory: the reference for the semantics of the port. This file owns the lock and
//! implements the port; `state`, `conversations` and `accounts` hold the data and the rules. It is for
//! tests: it grows without limit, and its data ends with it.

mod state;
mod conversations;
mod accounts;

use std::sync::Mutex;

use super::lock;
use crate::model::{
    Channel, ChannelId, Friend, FriendState, Member, Membership, MessageId, Role, Settings,
    Timestamp, TokenHash, User, UserId,
};
use crate::ports::{
    Access, BoxFuture, Credentials, Directory, DirectoryError, ProfileChange, PushTarget,
    PutMember, RelationLimits, RemovedMember, Revocation, SettingsChange,
};

use state::State;

type DirectoryFuture<'a, T> = BoxFuture<'a, Result<T, DirectoryError>>;

/// A [`Directory`] in process memory. One lock makes every call one transaction.
///
/// ```
/// use pabal_core::memory::MemoryDirectory;
/// use pabal_core::model::UserId;
/// use pabal_core::ports::Directory;
///
/// # futures::executor::block_on(async {
/// let directory = MemoryDirectory::default();
/// assert!(directory.user(UserId::new(1)).await?.is_none());
/// # Ok::<(), pabal_core::ports::DirectoryError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Default)]
pub struct MemoryDirectory {
    state: Mutex<State>,
}

impl MemoryDirectory {
    /// Runs `work` under the lock when the future is first polled: one that is dropped before has no
    /// effect.
    fn with<'a, T: 'a>(
        &'a self,
        work: impl FnOnce(&mut State) -> Result<T, DirectoryError> + Send + 'a,
    ) -> DirectoryFuture<'a, T> {
        Box::pin(async move { work(&mut lock(&self.state)) })
    }
}

impl Directory for MemoryDirectory {
    fn sign_up(
        &self,
        user: User,
        password_hash: String,
        access: Access,
    ) -> DirectoryFuture<'_, ()> {
        self.with(move |state| state.sign_up(user, password_hash, access))
    }

    fn log_in(&self, access: Access) -> DirectoryFuture<'_, ()> {
        self.with(move |state| state.log_in(access))
    }

    fn log_out(&self, token: TokenHash) -> DirectoryFuture<'_, bool> {
        self.with(move |state| Ok(state.log_out(token)))
    }

    fn credentials(&self, username: &str) -> DirectoryFuture<'_, Option<Credentials>> {
        let username = username.to_owned();
        self.with(move |state| Ok(state.credentials(&username)))
    }

    fn access(&self, token: TokenHash) -> DirectoryFuture<'_, Option<Access>> {
        self.with(move |state| Ok(state.access(token)))
    }

    fn remove_expired(&self, now: Timestamp, at_most: usize) -> DirectoryFuture<'_, usize> {
        self.with(move |state| Ok(state.remove_expired(now, at_most)))
    }

    fn user(&self, user_id: UserId) -> DirectoryFuture<'_, Option<User>> {
        self.with(move |state| Ok(state.user(user_id)))
    }

    fn users_by_prefix(&self, prefix: &str, limit: usize) -> DirectoryFuture<'_, Vec<User>> {
        let prefix = prefix.to_owned();
        self.with(move |state| Ok(state.users_by_prefix(&prefix, limit)))
    }

    fn change_profile(&self, user_id: UserId, change: ProfileChange) -> DirectoryFuture<'_, User> {
        self.with(move |state| state.change_profile(user_id, change))
    }

    fn settings(&self, user_id: UserId) -> DirectoryFuture<'_, Settings> {
        self.with(move |state| Ok(state.settings(user_id)))
    }

    fn change_settings(
        &self,
        user_id: UserId,
        change: SettingsChange,
    ) -> DirectoryFuture<'_, Settings> {
        self.with(move |state| state.change_settings(user_id, change))
    }

    fn settings_of(&self, users: &[UserId]) -> DirectoryFuture<'_, Vec<Settings>> {
        let users = users.to_vec();
        self.with(move |state| Ok(users.into_iter().map(|user| state.settings(user)).collect()))
    }

    fn friends_after(
        &self,
        user_id: UserId,
        after: Option<UserId>,
        limit: usize,
    ) -> DirectoryFuture<'_, Vec<Friend>> {
        self.with(move |state| Ok(state.friends_after(user_id, after, limit)))
    }

    fn befriend(
        &self,
        user_id: UserId,
        other: UserId,
        limits: RelationLimits,
    ) -> DirectoryFuture<'_, FriendState> {
        self.with(move |state| state.befriend(user_id, other, limits))
    }

    fn unfriend(&self, user_id: UserId, other: UserId) -> DirectoryFuture<'_, bool> {
        self.with(move |state| Ok(state.unfriend(user_id, other)))
    }

    fn blocks_after(
        &self,
        user_id: UserId,
        after: Option<UserId>,
        limit: usize,
    ) -> DirectoryFuture<'_, Vec<UserId>> {
        self.with(move |state| Ok(state.blocks_after(user_id, after, limit)))
    }

    fn block(
        &self,
        user_id: UserId,
        other: UserId,
        limits: RelationLimits,
    ) -> DirectoryFuture<'_, ()> {
        self.with(move |state| state.block(user_id, other, limits))
    }

    fn unblock(&self, user_id: UserId, other: UserId) -> DirectoryFuture<'_, ()> {
        self.with(move |state| state.unblock(user_id, other))
    }

    fn direct_channel(
        &self,
        users: [UserId; 2],
        new: Channel,
        limits: RelationLimits,
    ) -> DirectoryFuture<'_, (Channel, bool)> {
        self.with(move |state| state.direct_channel(users, new, limits))
    }

    fn find_direct_channel(&self, users: [UserId; 2]) -> DirectoryFuture<'_, Option<Channel>> {
        self.with(move |state| Ok(state.find_direct_channel(users)))
    }

    fn create_group(
        &self,
        channel: Channel,
        owner: UserId,
        members: Vec<UserId>,
        limits: RelationLimits,
    ) -> DirectoryFuture<'_, ()> {
        self.with(move |state| state.create_group(channel, owner, members, limits))
    }

    fn remove_leftovers(&self, _created_before: Timestamp) -> DirectoryFuture<'_, usize> {
        // Every call holds the lock until it is done, so nothing is ever left.
        self.with(|_| Ok(0))
    }

    fn memberships_after(
        &self,
        user_id: UserId,
        after: Option<ChannelId>,
        limit: usize,
    ) -> DirectoryFuture<'_, Vec<Membership>> {
        self.with(move |state| Ok(state.memberships_after(user_id, after, limit)))
    }

    fn membership(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
    ) -> DirectoryFuture<'_, Option<Membership>> {
        self.with(move |state| Ok(state.membership(user_id, channel_id)))
    }

    fn rename_group(
        &self,
        by: UserId,
        channel_id: ChannelId,
        name: String,
    ) -> DirectoryFuture<'_, Channel> {
        self.with(move |state| state.rename_group(by, channel_id, name))
    }

    fn delete_group(
        &self,
        by: UserId,
        channel_id: ChannelId,
    ) -> DirectoryFuture<'_, (Channel, Vec<UserId>)> {
        self.with(move |state| state.delete_group(by, channel_id))
    }

    fn members_after(
        &self,
        channel_id: ChannelId,
        after: Option<UserId>,
        limit: usize,
    ) -> DirectoryFuture<'_, Vec<Member>> {
        self.with(move |state| Ok(state.members_after(channel_id, after, limit)))
    }

    fn put_member(
        &self,
        by: UserId,
        channel_id: ChannelId,
        user_id: UserId,
        role: Option<Role>,
        limits: RelationLimits,
    ) -> DirectoryFuture<'_, PutMember> {
        self.with(move |state| state.put_member(by, channel_id, user_id, role, limits))
    }

    fn remove_member(
        &self,
        by: UserId,
        channel_id: ChannelId,
        user_id: UserId,
    ) -> DirectoryFuture<'_, Option<RemovedMember>> {
        self.with(move |state| state.remove_member(by, channel_id, user_id))
    }

    fn mark_read(
        &self,
        channel_id: ChannelId,
        user_id: UserId,
        message_id: MessageId,
    ) -> DirectoryFuture<'_, bool> {
        self.with(move |state| Ok(state.mark_read(channel_id, user_id, message_id)))
    }

    fn revocations(&self, limit: usize) -> DirectoryFuture<'_, Vec<Revocation>> {
        self.with(move |state| Ok(state.revocations(limit)))
    }

    fn forget_revocations(&self, numbers: &[u64]) -> DirectoryFuture<'_, ()> {
        let numbers = numbers.to_vec();
        self.with(move |state| {
            state.forget_revocations(&numbers);
            Ok(())
        })
    }

    fn push_targets(&self, channel_id: ChannelId) -> DirectoryFuture<'_, Vec<PushTarget>> {
        self.with(move |state| Ok(state.push_targets(channel_id)))
    }
}
