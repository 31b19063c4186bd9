//! Users, credentials, tokens, friends, channels and members: the relational data.

use super::relation_limits::{Relation, RelationLimits};
use super::{BoxFuture, Revocation};
use crate::model::{
    Channel, ChannelId, Denied, Device, Friend, FriendState, Member, Membership, MessageId,
    NotificationLevel, Role, Settings, Timestamp, TokenHash, User, UserId,
};

/// What every directory call returns.
type DirectoryFuture<'a, T> = BoxFuture<'a, Result<T, DirectoryError>>;

/// The relational store. Every method, unless it says otherwise, is one transaction, durable on return
/// and visible to every later call on every node.
///
/// # Responsibility
/// The store keeps what must hold for every caller: unique usernames, one direct channel a pair, an
/// owner for every group, limits. It also decides who may change a group, or ask to be friends: the
/// user who wants the change is an argument of the call (`by`, `user_id`), and the decision is part of
/// the transaction that writes. A caller that decided by an earlier read would act on a role that was
/// taken away meanwhile. The caller decides everything else, such as which texts are allowed.
///
/// A pair of users is two different users. A method that takes a pair and can return
/// [`DirectoryError::UnknownUser`] returns it for the same user twice.
///
/// # Errors
/// All methods return [`DirectoryError::Unavailable`] if the store does not respond in time: retry,
/// the change may have happened. Each method names its other errors; of these only
/// [`DirectoryError::IdTaken`] is worth a retry.
///
/// Every change of a group returns [`DirectoryError::NotAMember`] if `by` is not a member, also if there
/// is no such channel, and [`DirectoryError::Denied`] if the role of `by` does not allow it, as
/// [`GroupChange`](crate::model::GroupChange) says.
///
/// # Example
/// ```
/// use pabal_core::memory::MemoryDirectory;
/// use pabal_core::model::{Device, DeviceId, Timestamp, TokenHash, User, UserId};
/// use pabal_core::ports::{Access, Directory};
///
/// # futures::executor::block_on(async {
/// let directory = MemoryDirectory::default();
/// let user_id = UserId::new(1);
/// let user = User {
///     user_id,
///     username: "ann".into(),
///     display_name: "Ann".into(),
///     status_text: String::new(),
///     avatar_url: String::new(),
///     created_at: Timestamp::default(),
/// };
/// let token = TokenHash::of("a random token");
/// let device = Device { device_id: DeviceId::new(2), user_id, name: "phone".into() };
/// let access = Access { token, device, expires_at: Timestamp::from_millis(60_000) };
/// directory.sign_up(user, "a password hash".into(), access.clone()).await?;
/// assert_eq!(directory.access(token).await?, Some(access));
/// # Ok::<(), pabal_core::ports::DirectoryError>(())
/// # }).unwrap();
/// ```
pub trait Directory: Send + Sync + 'static {
    /// Creates `user` with a first device and token.
    ///
    /// # Errors
    /// [`DirectoryError::UsernameTaken`], compared without case. [`DirectoryError::IdTaken`] if a
    /// generated id collides: retry with new ones. [`DirectoryError::UnknownUser`] if the device is
    /// another user's.
    fn sign_up(&self, user: User, password_hash: String, access: Access)
    -> DirectoryFuture<'_, ()>;

    /// Adds a device with its token to a user. Of more than [`MAX_DEVICES`](super::MAX_DEVICES) devices
    /// those whose tokens expire first are removed with their tokens, at most so many at a time, and
    /// [recorded](Self::revocations): a user who logs in again and again keeps the newest ones.
    ///
    /// # Errors
    /// [`DirectoryError::UnknownUser`], [`DirectoryError::UserDisabled`],
    /// [`DirectoryError::IdTaken`].
    fn log_in(&self, access: Access) -> DirectoryFuture<'_, ()>;

    /// Removes the device of a token, with all its tokens, and [records](Self::revocations) it. Returns
    /// whether the token existed.
    fn log_out(&self, token: TokenHash) -> DirectoryFuture<'_, bool>;

    /// The credentials of a username, compared without case, to check a password.
    fn credentials(&self, username: &str) -> DirectoryFuture<'_, Option<Credentials>>;

    /// The user and device of a token. Returns an expired token too, until it is removed: the caller
    /// compares the time.
    fn access(&self, token: TokenHash) -> DirectoryFuture<'_, Option<Access>>;

    /// Removes tokens that expired at `now` or earlier, with the devices that have no token then: the
    /// earliest to expire, at most `at_most` of them, so that no call takes long. Returns how many; if that is `at_most`,
    /// there may be more. Idempotent.
    fn remove_expired(&self, now: Timestamp, at_most: usize) -> DirectoryFuture<'_, usize>;

    /// A user by id.
    fn user(&self, user_id: UserId) -> DirectoryFuture<'_, Option<User>>;

    /// Up to `limit` users whose username starts with `prefix`, compared without case, by username.
    fn users_by_prefix(&self, prefix: &str, limit: usize) -> DirectoryFuture<'_, Vec<User>>;

    /// Changes a profile, and returns the user.
    ///
    /// # Errors
    /// [`DirectoryError::UnknownUser`].
    fn change_profile(&self, user_id: UserId, change: ProfileChange) -> DirectoryFuture<'_, User>;

    /// The settings of a user; the defaults if none were changed.
    fn settings(&self, user_id: UserId) -> DirectoryFuture<'_, Settings>;

    /// Changes settings, and returns all of them.
    ///
    /// # Errors
    /// [`DirectoryError::UnknownUser`].
    fn change_settings(
        &self,
        user_id: UserId,
        change: SettingsChange,
    ) -> DirectoryFuture<'_, Settings>;

    /// The settings of each of `users`, in the order given; the defaults for a user without changes.
    /// A constant number of queries for a few hundred users.
    fn settings_of(&self, users: &[UserId]) -> DirectoryFuture<'_, Vec<Settings>>;

    /// Friends and requests of a user whose ids are above `after`, by user id; at most `limit`,
    /// which also bounds what is read from the store.
    fn friends_after(
        &self,
        user_id: UserId,
        after: Option<UserId>,
        limit: usize,
    ) -> DirectoryFuture<'_, Vec<Friend>>;

    /// All friends and requests of a user, by user id. For a page of them see
    /// [`friends_after`](Self::friends_after).
    fn friends(&self, user_id: UserId) -> DirectoryFuture<'_, Vec<Friend>> {
        self.friends_after(user_id, None, usize::MAX)
    }

    /// `user_id` sends a friend request to `other`, or accepts one: once both have sent one they are
    /// friends. Idempotent. Returns the state as `user_id` sees it now.
    ///
    /// # Errors
    /// [`DirectoryError::UnknownUser`]. [`DirectoryError::Blocked`] if one of the two has blocked the
    /// other, also if they are friends. [`DirectoryError::AtLimit`] for a first request, if the user has
    /// sent, or the other one received, as many as allowed; friends count for both.
    fn befriend(
        &self,
        user_id: UserId,
        other: UserId,
        limits: RelationLimits,
    ) -> DirectoryFuture<'_, FriendState>;

    /// Ends a friendship or a request, for both users. Idempotent. Returns whether there was one.
    fn unfriend(&self, user_id: UserId, other: UserId) -> DirectoryFuture<'_, bool>;

    /// The users that a user has blocked and whose ids are above `after`, by user id; at most
    /// `limit`, which also bounds what is read from the store.
    fn blocks_after(
        &self,
        user_id: UserId,
        after: Option<UserId>,
        limit: usize,
    ) -> DirectoryFuture<'_, Vec<UserId>>;

    /// `user_id` blocks `other`. Idempotent. [Records](Self::revocations) it for their direct channel.
    ///
    /// # Errors
    /// [`DirectoryError::UnknownUser`]. [`DirectoryError::AtLimit`].
    fn block(
        &self,
        user_id: UserId,
        other: UserId,
        limits: RelationLimits,
    ) -> DirectoryFuture<'_, ()>;

    /// Ends a block. Idempotent.
    fn unblock(&self, user_id: UserId, other: UserId) -> DirectoryFuture<'_, ()>;

    /// The direct channel of two different users: the existing one, or `new`, created by this call
    /// (its kind becomes direct). Returns the channel, and whether this call created it. Any number
    /// of concurrent calls create one.
    ///
    /// # Errors
    /// [`DirectoryError::UnknownUser`], [`DirectoryError::IdTaken`]. [`DirectoryError::AtLimit`] if it
    /// would be created, and one of the two holds as many channels as allowed.
    fn direct_channel(
        &self,
        users: [UserId; 2],
        new: Channel,
        limits: RelationLimits,
    ) -> DirectoryFuture<'_, (Channel, bool)>;

    /// The direct channel of two users, if there is one.
    fn find_direct_channel(&self, users: [UserId; 2]) -> DirectoryFuture<'_, Option<Channel>>;

    /// Creates a group of `owner` and `members`. A user who is listed twice, or is the owner, counts
    /// once. The caller compares their number with [`RelationLimits::group_members`].
    ///
    /// A large group takes several transactions, between which other calls proceed. No call sees it
    /// before the last one. What a failed or interrupted creation leaves no call sees either, until
    /// [`remove_leftovers`](Self::remove_leftovers) removes it.
    ///
    /// # Errors
    /// [`DirectoryError::UnknownUser`] with the first unknown one, [`DirectoryError::IdTaken`].
    /// [`DirectoryError::AtLimit`] with the first user who holds as many channels as allowed.
    fn create_group(
        &self,
        channel: Channel,
        owner: UserId,
        members: Vec<UserId>,
        limits: RelationLimits,
    ) -> DirectoryFuture<'_, ()>;

    /// Removes what interrupted creations and deletions of groups have left, in short transactions.
    /// Only of groups that were created before `created_before`: a creation takes at most a minute, and
    /// one that goes on now must not lose what it has written. Returns the number of groups.
    /// Idempotent.
    fn remove_leftovers(&self, created_before: Timestamp) -> DirectoryFuture<'_, usize>;

    /// The channels of a user whose ids are above `after`, by channel id; at most `limit`, which
    /// also bounds what is read from the store.
    fn memberships_after(
        &self,
        user_id: UserId,
        after: Option<ChannelId>,
        limit: usize,
    ) -> DirectoryFuture<'_, Vec<Membership>>;

    /// All channels of a user, by channel id: a session subscribes to each of them. For a page of
    /// them see [`memberships_after`](Self::memberships_after).
    fn memberships(&self, user_id: UserId) -> DirectoryFuture<'_, Vec<Membership>> {
        self.memberships_after(user_id, None, usize::MAX)
    }

    /// The membership of a user in one channel; absent if the user is not a member.
    fn membership(
        &self,
        user_id: UserId,
        channel_id: ChannelId,
    ) -> DirectoryFuture<'_, Option<Membership>>;

    /// `by` renames a group. Returns the group.
    ///
    /// # Errors
    /// [`DirectoryError::NotAMember`], [`DirectoryError::Denied`].
    fn rename_group(
        &self,
        by: UserId,
        channel_id: ChannelId,
        name: String,
    ) -> DirectoryFuture<'_, Channel>;

    /// `by` deletes a group with its memberships. Returns the group and the members that it had, by
    /// user id. Its messages stay in history, where no user may read them.
    ///
    /// The end of the group is [recorded](Self::revocations).
    ///
    /// One transaction decides it; the members of a large group are removed in further ones, as in
    /// [`create_group`](Self::create_group).
    ///
    /// # Errors
    /// [`DirectoryError::NotAMember`], [`DirectoryError::Denied`].
    fn delete_group(
        &self,
        by: UserId,
        channel_id: ChannelId,
    ) -> DirectoryFuture<'_, (Channel, Vec<UserId>)>;

    /// The members of a channel whose ids are above `after`, by user id; at most `limit`, which
    /// also bounds what is read from the store. Empty if there is no such channel.
    fn members_after(
        &self,
        channel_id: ChannelId,
        after: Option<UserId>,
        limit: usize,
    ) -> DirectoryFuture<'_, Vec<Member>>;

    /// All members of a channel, by user id; empty if there is no such channel. For a page of them
    /// see [`members_after`](Self::members_after).
    fn members(&self, channel_id: ChannelId) -> DirectoryFuture<'_, Vec<Member>> {
        self.members_after(channel_id, None, usize::MAX)
    }

    /// `by` adds a member to a group, or changes the role of a member if `role` is given. Without it,
    /// a new member becomes [`Role::Member`], and an existing one keeps the role. The last owner of a
    /// group stays its owner.
    ///
    /// # Errors
    /// [`DirectoryError::NotAMember`], [`DirectoryError::Denied`], [`DirectoryError::UnknownUser`].
    /// [`DirectoryError::GroupFull`], [`DirectoryError::AtLimit`] for a new member.
    fn put_member(
        &self,
        by: UserId,
        channel_id: ChannelId,
        user_id: UserId,
        role: Option<Role>,
        limits: RelationLimits,
    ) -> DirectoryFuture<'_, PutMember>;

    /// `by` removes a member from a group, or leaves it. Returns what followed; absent if the user
    /// was not a member.
    ///
    /// If the last owner leaves, the admin with the longest membership becomes owner; without an
    /// admin, the member with the longest membership. If the last member leaves, the group is
    /// deleted. The end of the membership is [recorded](Self::revocations).
    ///
    /// # Errors
    /// [`DirectoryError::NotAMember`], [`DirectoryError::Denied`].
    fn remove_member(
        &self,
        by: UserId,
        channel_id: ChannelId,
        user_id: UserId,
    ) -> DirectoryFuture<'_, Option<RemovedMember>>;

    /// A member has read up to `message_id`. The position never moves back. Returns whether it moved.
    fn mark_read(
        &self,
        channel_id: ChannelId,
        user_id: UserId,
        message_id: MessageId,
    ) -> DirectoryFuture<'_, bool>;

    /// Up to `limit` entries of access that was taken away and not forgotten, the earliest first. The
    /// call that takes it away records it in the same transaction; one that changes nothing records
    /// nothing.
    fn revocations(&self, limit: usize) -> DirectoryFuture<'_, Vec<Revocation>>;

    /// Removes entries that all nodes concerned were told. Idempotent.
    fn forget_revocations(&self, numbers: &[u64]) -> DirectoryFuture<'_, ()>;

    /// The members of a channel with their notification levels, by user id, without disabled
    /// accounts.
    fn push_targets(&self, channel_id: ChannelId) -> DirectoryFuture<'_, Vec<PushTarget>>;
}

/// A token with its device, its user and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The hash of the token. The token itself is never stored.
    pub token: TokenHash,
    /// The device that got the token, with its user.
    pub device: Device,
    /// When the token expires.
    pub expires_at: Timestamp,
}

/// A user with what a password is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: User,
    /// In PHC string format, with algorithm, parameters and salt.
    pub password_hash: String,
}

/// The parts of a profile to change; absent ones stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// See [`User::display_name`].
    pub display_name: Option<String>,
    /// See [`User::status_text`].
    pub status_text: Option<String>,
    /// See [`User::avatar_url`].
    pub avatar_url: Option<String>,
}

/// The settings to change; absent ones stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// See [`Settings::locale`].
    pub locale: Option<String>,
    /// See [`Settings::notifications`].
    pub notifications: Option<NotificationLevel>,
    /// See [`Settings::share_presence`].
    pub share_presence: Option<bool>,
    /// See [`Settings::share_read`].
    pub share_read: Option<bool>,
}

/// What adding a member, or changing the role of one, has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutMember {
    /// The group.
    pub channel: Channel,
    /// The role before; absent for a new member.
    pub before: Option<Role>,
    /// The role now.
    pub role: Role,
}

/// What followed from the removal of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedMember {
    /// The group.
    pub channel: Channel,
    /// The member who became owner, if the last owner left.
    pub successor: Option<UserId>,
    /// The last member left: the group is deleted.
    pub ended: bool,
}

/// A member as the push stage needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushTarget {
    /// The user.
    pub user_id: UserId,
    /// The name in a mention, `@username`.
    pub username: String,
    /// Which messages the user wants to be notified of.
    pub level: NotificationLevel,
}

/// Why a directory call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Another user has this username. Do not retry; choose another.
    #[error("the username is taken")]
    UsernameTaken,
    /// A generated id is in use. Retry with a new one.
    #[error("the id is taken")]
    IdTaken,
    /// The user does not exist. Do not retry.
    #[error("there is no user {0}")]
    UnknownUser(UserId),
    /// An operator has disabled the account. Do not retry.
    #[error("user {0} is disabled")]
    UserDisabled(UserId),
    /// The user who wants the change is not a member of the channel, or there is no such channel. Do
    /// not retry.
    #[error("not a member of this channel")]
    NotAMember,
    /// The member who wants the change may not make it. Do not retry.
    #[error("{0}")]
    Denied(#[from] Denied),
    /// One of two users has blocked the other. Do not retry.
    #[error("one of the two users has blocked the other")]
    Blocked,
    /// The group has as many members as allowed. Do not retry.
    #[error("the group is full")]
    GroupFull,
    /// A user has as many relations of a kind as allowed. Do not retry.
    #[error("user {0} has as many {1} as allowed")]
    AtLimit(UserId, Relation),
    /// The store is unreachable or did not respond in time. Retry.
    #[error("the directory is unreachable: {0}")]
    Unavailable(String),
    /// A stored value cannot be decoded. Do not retry.
    #[error("the directory holds a value that cannot be decoded: {0}")]
    Damaged(String),
}

impl DirectoryError {
    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::IdTaken)
    }
}
