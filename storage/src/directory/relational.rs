//! The directory in a relational database: the methods of its ports. The calls are implemented in
//! the submodules, by subject, and are the same for SQLite and PostgreSQL.

mod checks;
mod admission;
mod devices;
mod revocations;
mod accounts;
mod people;
mod channels;
mod groups;
mod members;
mod operator;
mod networks;

use std::net::IpAddr;

use pabal_core::model::{
    Channel, ChannelId, DeviceId, Friend, FriendState, Member, Membership, MessageId, Role,
    Settings, Timestamp, TokenHash, User, UserId,
};
use pabal_core::ports::{
    Access, Account, Accounts, BoxFuture, Credentials, DeviceAccess, Directory, DirectoryError,
    ProfileChange, PushTarget, PutMember, RelationLimits, RemovedMember, Revocation,
    SettingsChange,
};

use super::error::Failure;
use super::rows::username_key;
use super::store::{Backend, Store};

type CallFuture<'a, T> = BoxFuture<'a, Result<T, DirectoryError>>;

/// A [`Directory`] and [`Accounts`] in a relational database. Cloning is cheap; all clones share
/// the connections. Every change is one transaction: a call that fails or is dropped is executed
/// completely or not at all.
#[derive(Debug)]
pub struct RelationalDirectory<DB: Backend> {
    pub(super) store: Store<DB>,
}

impl<DB: Backend> Clone for RelationalDirectory<DB> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone() }
    }
}

impl<DB: Backend> RelationalDirectory<DB> {
    fn run<'a, T, F>(
        &'a self,
        call: impl Fn(&'a Store<DB>) -> F + Send + Sync + 'a,
    ) -> CallFuture<'a, T>
    where
        T: Send,
        F: Future<Output = Result<T, Failure>> + Send + 'a,
    {
        Box::pin(async move { self.store.call(|| call(&self.store)).await })
    }
}

impl<DB: Backend> Directory for RelationalDirectory<DB> {
    fn sign_up(&self, user: User, password_hash: String, access: Access) -> CallFuture<'_, ()> {
        self.run(move |store| {
            accounts::sign_up(store, user.clone(), password_hash.clone(), access.clone())
        })
    }

    fn log_in(&self, access: Access) -> CallFuture<'_, ()> {
        self.run(move |store| accounts::log_in(store, access.clone()))
    }

    fn log_out(&self, token: TokenHash) -> CallFuture<'_, bool> {
        self.run(move |store| accounts::log_out(store, token))
    }

    fn credentials(&self, username: &str) -> CallFuture<'_, Option<Credentials>> {
        let username = username_key(username);
        self.run(move |store| accounts::credentials(store, username.clone()))
    }

    fn access(&self, token: TokenHash) -> CallFuture<'_, Option<Access>> {
        self.run(move |store| accounts::access(store, token))
    }

    fn remove_expired(&self, now: Timestamp, at_most: usize) -> CallFuture<'_, usize> {
        self.run(move |store| accounts::remove_expired(store, now, at_most))
    }

    fn user(&self, user_id: UserId) -> CallFuture<'_, Option<User>> {
        self.run(move |store| accounts::user(store, user_id))
    }

    fn users_by_prefix(&self, prefix: &str, limit: usize) -> CallFuture<'_, Vec<User>> {
        let prefix = username_key(prefix);
        self.run(move |store| accounts::users_by_prefix(store, prefix.clone(), limit))
    }

    fn change_profile(&self, user_id: UserId, change: ProfileChange) -> CallFuture<'_, User> {
        self.run(move |store| accounts::change_profile(store, user_id, change.clone()))
    }

    fn settings(&self, user_id: UserId) -> CallFuture<'_, Settings> {
        self.run(move |store| accounts::settings(store, user_id))
    }

    fn change_settings(&self, user_id: UserId, change: SettingsChange) -> CallFuture<'_, Settings> {
        self.run(move |store| accounts::change_settings(store, user_id, change.clone()))
    }

    fn settings_of(&self, users: &[UserId]) -> CallFuture<'_, Vec<Settings>> {
        let users = users.to_vec();
        self.run(move |store| accounts::settings_of(store, users.clone()))
    }

    fn friends_after(
        &self,
        user_id: UserId,
        after: Option<UserId>,
        limit: usize,
    ) -> CallFuture<'_, Vec<Friend>> {
        self.run(move |store| people::friends_after(store, user_id, after, limit))
    }

    fn befriend(
        &self,
        user_id: UserId,
        other: UserId,
        limits: RelationLimits,
    ) -> CallFuture<'_, FriendState> {
        self.run(move |store| people::befriend(store, user_id, other, limits))
    }

    fn unfriend(&self, user_id: UserId, other: UserId) -> CallFuture<'_, bool> {
        self.run(move |store| people::unfriend(store, user_id, other))
    }

    fn blocks_after(
        &self,
        user_id: UserId,
        after: Option<UserId>,
        limit: usize,
    ) -> CallFuture<'_, Vec<UserId>> {
        self.run(move |store| people::blocks_after(store, user_id, after, limit))
    }

    fn block(&self, user_id: UserId, other: UserId, limits: RelationLimits) -> CallFuture<'_, ()> {
        self.run(move |store| people::block(store, user_id, other, limits))
    }

    fn unblock(&self, user_id: UserId, other: UserId) -> CallFuture<'_, ()> {
        self.run(move |store| people::unblock(store, user_id, other))
    }

    fn direct_channel(
        &self,
        users: [UserId; 2],
        new: Channel,
        limits: RelationLimits,
    ) -> CallFuture<'_, (Channel, bool)> {
        self.run(move |store| channels::direct_channel(store, users, new.clone(), limits))
    }

    fn find_direct_channel(&self, users: [UserId; 2]) -> CallFuture<'_, Option<Channel>> {
        self.run(move |store| channels::find_direct_channel(store, users))
    }

    fn create_group(
        &self,
        channel: Channel,
        owner: UserId,
        members: Vec<UserId>,
        limits: RelationLimits,
    ) -> CallFuture<'_, ()> {
        Box::pin(groups::create_group(&self.store, channel, owner, members, limits))
    }

    fn remove_leftovers(&self, created_before: Timestamp) -> CallFuture<'_, usize> {
        Box::pin(groups::remove_leftovers(&self.store, created_before))
    }

    fn memberships_after(
        &self,
        user_id: UserId,
        after: Option<ChannelId>,
        limit: usize,
    ) -> CallFuture<'_, Vec<Membership>> {
        self.run(move |store| members::memberships_after(store, user_id, after, limit))
    }

    fn membership(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
    ) -> CallFuture<'_, Option<Membership>> {
        self.run(move |store| members::membership(store, user_id, channel_id))
    }

    fn rename_group(
        &self,
        by: UserId,
        channel_id: ChannelId,
        name: String,
    ) -> CallFuture<'_, Channel> {
        self.run(move |store| channels::rename_group(store, by, channel_id, name.clone()))
    }

    fn delete_group(
        &self,
        by: UserId,
        channel_id: ChannelId,
    ) -> CallFuture<'_, (Channel, Vec<UserId>)> {
        Box::pin(groups::delete_group(&self.store, by, channel_id))
    }

    fn members_after(
        &self,
        channel_id: ChannelId,
        after: Option<UserId>,
        limit: usize,
    ) -> CallFuture<'_, Vec<Member>> {
        self.run(move |store| members::members_after(store, channel_id, after, limit))
    }

    fn put_member(
        &self,
        by: UserId,
        channel_id: ChannelId,
        user_id: UserId,
        role: Option<Role>,
        limits: RelationLimits,
    ) -> CallFuture<'_, PutMember> {
        self.run(move |store| members::put_member(store, by, channel_id, user_id, role, limits))
    }

    fn remove_member(
        &self,
        by: UserId,
        channel_id: ChannelId,
        user_id: UserId,
    ) -> CallFuture<'_, Option<RemovedMember>> {
        self.run(move |store| members::remove_member(store, by, channel_id, user_id))
    }

    fn mark_read(
        &self,
        channel_id: ChannelId,
        user_id: UserId,
        message_id: MessageId,
    ) -> CallFuture<'_, bool> {
        self.run(move |store| members::mark_read(store, channel_id, user_id, message_id))
    }

    fn revocations(&self, limit: usize) -> CallFuture<'_, Vec<Revocation>> {
        self.run(move |store| revocations::revocations(store, limit))
    }

    fn forget_revocations(&self, numbers: &[u64]) -> CallFuture<'_, ()> {
        let numbers = numbers.to_vec();
        self.run(move |store| revocations::forget_revocations(store, numbers.clone()))
    }

    fn push_targets(&self, channel_id: ChannelId) -> CallFuture<'_, Vec<PushTarget>> {
        self.run(move |store| members::push_targets(store, channel_id))
    }
}

impl<DB: Backend> Accounts for RelationalDirectory<DB> {
    fn account(&self, username: &str) -> CallFuture<'_, Option<Account>> {
        let username = username_key(username);
        self.run(move |store| operator::account(store, username.clone()))
    }

    fn accounts(&self, after: &str, limit: usize) -> CallFuture<'_, Vec<Account>> {
        let after = username_key(after);
        self.run(move |store| operator::accounts(store, after.clone(), limit))
    }

    fn accesses(&self, user_id: UserId) -> CallFuture<'_, Vec<Access>> {
        self.run(move |store| operator::accesses(store, user_id))
    }

    fn set_disabled(&self, user_id: UserId, disabled: bool) -> CallFuture<'_, bool> {
        self.run(move |store| operator::set_disabled(store, user_id, disabled))
    }

    fn change_password(&self, user_id: UserId, password_hash: String) -> CallFuture<'_, ()> {
        self.run(move |store| operator::change_password(store, user_id, password_hash.clone()))
    }

    fn end_access(&self, user_id: UserId) -> CallFuture<'_, usize> {
        self.run(move |store| operator::end_access(store, user_id))
    }

    fn devices_after(
        &self,
        user_id: UserId,
        after: Option<DeviceId>,
        limit: usize,
    ) -> CallFuture<'_, Vec<DeviceAccess>> {
        self.run(move |store| devices::devices_after(store, user_id, after, limit))
    }

    fn remove_device(&self, user_id: UserId, device_id: DeviceId) -> CallFuture<'_, bool> {
        self.run(move |store| devices::remove(store, user_id, device_id))
    }

    fn log_in_again(
        &self,
        known: TokenHash,
        access: Access,
        now: Timestamp,
    ) -> CallFuture<'_, bool> {
        self.run(move |store| devices::log_in_again(store, known, access.clone(), now))
    }

    fn replace_password(
        &self,
        keep: TokenHash,
        old_hash: &str,
        new_hash: String,
    ) -> CallFuture<'_, bool> {
        let old_hash = old_hash.to_owned();
        self.run(move |store| {
            devices::replace_password(store, keep, old_hash.clone(), new_hash.clone())
        })
    }

    fn seen_from(&self, user_id: UserId, network: IpAddr) -> CallFuture<'_, Option<Timestamp>> {
        self.run(move |store| networks::seen_from(store, user_id, network))
    }

    fn note_seen_from(
        &self,
        user_id: UserId,
        network: IpAddr,
        at: Timestamp,
    ) -> CallFuture<'_, ()> {
        self.run(move |store| networks::note_seen_from(store, user_id, network, at))
    }

    fn forget_seen(&self, before: Timestamp, at_most: usize) -> CallFuture<'_, usize> {
        self.run(move |store| networks::forget_seen(store, before, at_most))
    }
}
