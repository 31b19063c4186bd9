//! The directory in a relational database: the faces of its ports. What each call does is in the
//! folder beside, by subject, and the same in SQLite and in PostgreSQL.

mod accounts;
mod people;
mod channels;
mod members;
mod operator;

use pabal_core::model::{
    Channel, ChannelId, Friend, FriendState, Member, Membership, MessageId, Role, Settings,
    Timestamp, TokenHash, User, UserId,
};
use pabal_core::ports::{
    Access, Account, Accounts, BoxFuture, Credentials, Directory, DirectoryError, Ending,
    ProfileChange, PushTarget, SettingsChange,
};

use super::error::Failure;
use super::query::{Query, query};
use super::rows::stored_id;
use super::store::{Backend, Store, Writer, held};
use super::{folded, sql};

type Answer<'a, T> = BoxFuture<'a, Result<T, DirectoryError>>;

/// A [`Directory`], and the [`Accounts`] beside it, in a relational database. Cloning is cheap; all
/// clones are one directory.
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
    fn answer<'a, T, F>(
        &'a self,
        call: impl Fn(&'a Store<DB>) -> F + Send + Sync + 'a,
    ) -> Answer<'a, T>
    where
        T: Send,
        F: Future<Output = Result<T, Failure>> + Send + 'a,
    {
        Box::pin(async move { self.store.call(|| call(&self.store)).await })
    }
}

/// That there is such a user.
async fn known<DB: Backend>(tx: &mut Writer<DB>, user_id: UserId) -> Result<(), Failure> {
    match query(sql::USER_EXISTS).bind(stored_id(user_id.get())).exists(tx).await? {
        true => Ok(()),
        false => Err(DirectoryError::UnknownUser(user_id).into()),
    }
}

/// That there are two such users.
async fn known_pair<DB: Backend>(tx: &mut Writer<DB>, users: [UserId; 2]) -> Result<(), Failure> {
    for user_id in users {
        known(tx, user_id).await?;
    }
    match users[0] == users[1] {
        true => Err(DirectoryError::UnknownUser(users[1]).into()),
        false => Ok(()),
    }
}

/// That there is such a user, whom no other call decides about until the transaction ends.
async fn hold<DB: Backend>(tx: &mut Writer<DB>, user_id: UserId) -> Result<(), Failure> {
    let held = query(held::<DB>(sql::USER_EXISTS)).bind(stored_id(user_id.get()));
    match held.exists(tx).await? {
        true => Ok(()),
        false => Err(DirectoryError::UnknownUser(user_id).into()),
    }
}

/// That there are two such users, about whom no other call decides until the transaction ends.
async fn hold_pair<DB: Backend>(tx: &mut Writer<DB>, users: [UserId; 2]) -> Result<(), Failure> {
    known_pair(tx, users).await?;
    // In one order everywhere, or two calls wait for each other.
    hold(tx, users[0].min(users[1])).await?;
    hold(tx, users[0].max(users[1])).await
}

/// Whether there is such a group, which no other call changes until the transaction ends.
async fn hold_group<DB: Backend>(
    tx: &mut Writer<DB>,
    channel_id: ChannelId,
) -> Result<bool, Failure> {
    query(held::<DB>(sql::GROUP_EXISTS)).bind(stored_id(channel_id.get())).exists(tx).await
}

impl<DB: Backend> Directory for RelationalDirectory<DB> {
    fn sign_up(&self, user: User, password_hash: String, access: Access) -> Answer<'_, ()> {
        self.answer(move |store| {
            accounts::sign_up(store, user.clone(), password_hash.clone(), access.clone())
        })
    }

    fn log_in(&self, access: Access) -> Answer<'_, ()> {
        self.answer(move |store| accounts::log_in(store, access.clone()))
    }

    fn log_out(&self, token: TokenHash) -> Answer<'_, bool> {
        self.answer(move |store| accounts::log_out(store, token))
    }

    fn credentials(&self, username: &str) -> Answer<'_, Option<Credentials>> {
        let username = folded(username);
        self.answer(move |store| accounts::credentials(store, username.clone()))
    }

    fn access(&self, token: TokenHash) -> Answer<'_, Option<Access>> {
        self.answer(move |store| accounts::access(store, token))
    }

    fn remove_expired(&self, now: Timestamp, at_most: usize) -> Answer<'_, usize> {
        self.answer(move |store| accounts::remove_expired(store, now, at_most))
    }

    fn user(&self, user_id: UserId) -> Answer<'_, Option<User>> {
        self.answer(move |store| accounts::user(store, user_id))
    }

    fn users_by_prefix(&self, prefix: &str, limit: usize) -> Answer<'_, Vec<User>> {
        let prefix = folded(prefix);
        self.answer(move |store| accounts::users_by_prefix(store, prefix.clone(), limit))
    }

    fn change_profile(&self, user_id: UserId, change: ProfileChange) -> Answer<'_, User> {
        self.answer(move |store| accounts::change_profile(store, user_id, change.clone()))
    }

    fn settings(&self, user_id: UserId) -> Answer<'_, Settings> {
        self.answer(move |store| accounts::settings(store, user_id))
    }

    fn change_settings(&self, user_id: UserId, change: SettingsChange) -> Answer<'_, Settings> {
        self.answer(move |store| accounts::change_settings(store, user_id, change.clone()))
    }

    fn settings_of(&self, users: &[UserId]) -> Answer<'_, Vec<Settings>> {
        let users = users.to_vec();
        self.answer(move |store| accounts::settings_of(store, users.clone()))
    }

    fn friends_after(
        &self,
        user_id: UserId,
        after: Option<UserId>,
        limit: usize,
    ) -> Answer<'_, Vec<Friend>> {
        self.answer(move |store| people::friends_after(store, user_id, after, limit))
    }

    fn befriend(&self, user_id: UserId, other: UserId) -> Answer<'_, FriendState> {
        self.answer(move |store| people::befriend(store, user_id, other))
    }

    fn unfriend(&self, user_id: UserId, other: UserId) -> Answer<'_, bool> {
        self.answer(move |store| people::unfriend(store, user_id, other))
    }

    fn blocks_after(
        &self,
        user_id: UserId,
        after: Option<UserId>,
        limit: usize,
    ) -> Answer<'_, Vec<UserId>> {
        self.answer(move |store| people::blocks_after(store, user_id, after, limit))
    }

    fn has_blocked(&self, user_id: UserId, other: UserId) -> Answer<'_, bool> {
        self.answer(move |store| people::has_blocked(store, user_id, other))
    }

    fn block(&self, user_id: UserId, other: UserId) -> Answer<'_, ()> {
        self.answer(move |store| people::block(store, user_id, other))
    }

    fn unblock(&self, user_id: UserId, other: UserId) -> Answer<'_, ()> {
        self.answer(move |store| people::unblock(store, user_id, other))
    }

    fn direct_channel(&self, users: [UserId; 2], new: Channel) -> Answer<'_, (Channel, bool)> {
        self.answer(move |store| channels::direct_channel(store, users, new.clone()))
    }

    fn find_direct_channel(&self, users: [UserId; 2]) -> Answer<'_, Option<Channel>> {
        self.answer(move |store| channels::find_direct_channel(store, users))
    }

    fn create_group(
        &self,
        channel: Channel,
        owner: UserId,
        members: Vec<UserId>,
    ) -> Answer<'_, ()> {
        self.answer(move |store| {
            channels::create_group(store, channel.clone(), owner, members.clone())
        })
    }

    fn memberships_after(
        &self,
        user_id: UserId,
        after: Option<ChannelId>,
        limit: usize,
    ) -> Answer<'_, Vec<Membership>> {
        self.answer(move |store| members::memberships_after(store, user_id, after, limit))
    }

    fn membership(&self, user_id: UserId, channel_id: ChannelId) -> Answer<'_, Option<Membership>> {
        self.answer(move |store| members::membership(store, user_id, channel_id))
    }

    fn rename_group(&self, channel_id: ChannelId, name: String) -> Answer<'_, Channel> {
        self.answer(move |store| channels::rename_group(store, channel_id, name.clone()))
    }

    fn delete_group(&self, channel_id: ChannelId) -> Answer<'_, bool> {
        self.answer(move |store| channels::delete_group(store, channel_id))
    }

    fn members_after(
        &self,
        channel_id: ChannelId,
        after: Option<UserId>,
        limit: usize,
    ) -> Answer<'_, Vec<Member>> {
        self.answer(move |store| members::members_after(store, channel_id, after, limit))
    }

    fn put_member(
        &self,
        channel_id: ChannelId,
        user_id: UserId,
        role: Option<Role>,
        at_most: usize,
    ) -> Answer<'_, (bool, Role)> {
        self.answer(move |store| members::put_member(store, channel_id, user_id, role, at_most))
    }

    fn remove_member(&self, channel_id: ChannelId, user_id: UserId) -> Answer<'_, bool> {
        self.answer(move |store| members::remove_member(store, channel_id, user_id))
    }

    fn mark_read(
        &self,
        channel_id: ChannelId,
        user_id: UserId,
        message_id: MessageId,
    ) -> Answer<'_, bool> {
        self.answer(move |store| members::mark_read(store, channel_id, user_id, message_id))
    }

    fn push_targets(&self, channel_id: ChannelId) -> Answer<'_, Vec<PushTarget>> {
        self.answer(move |store| members::push_targets(store, channel_id))
    }
}

impl<DB: Backend> Accounts for RelationalDirectory<DB> {
    fn account(&self, username: &str) -> Answer<'_, Option<Account>> {
        let username = folded(username);
        self.answer(move |store| operator::account(store, username.clone()))
    }

    fn accounts(&self, after: &str, limit: usize) -> Answer<'_, Vec<Account>> {
        let after = folded(after);
        self.answer(move |store| operator::accounts(store, after.clone(), limit))
    }

    fn accesses(&self, user_id: UserId) -> Answer<'_, Vec<Access>> {
        self.answer(move |store| operator::accesses(store, user_id))
    }

    fn set_disabled(&self, user_id: UserId, disabled: bool) -> Answer<'_, bool> {
        self.answer(move |store| operator::set_disabled(store, user_id, disabled))
    }

    fn change_password(&self, user_id: UserId, password_hash: String) -> Answer<'_, ()> {
        self.answer(move |store| operator::change_password(store, user_id, password_hash.clone()))
    }

    fn end_access(&self, user_id: UserId) -> Answer<'_, usize> {
        self.answer(move |store| operator::end_access(store, user_id))
    }

    fn endings(&self, limit: usize) -> Answer<'_, Vec<Ending>> {
        self.answer(move |store| operator::endings(store, limit))
    }

    fn forget_endings(&self, numbers: &[u64]) -> Answer<'_, ()> {
        let numbers = numbers.to_vec();
        self.answer(move |store| operator::forget_endings(store, numbers.clone()))
    }
}
