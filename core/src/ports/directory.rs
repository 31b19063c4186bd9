//! Users, credentials, tokens, friends, channels and members: the relational part.

use super::BoxFuture;
use crate::model::{
    Channel, ChannelId, Device, Friend, FriendState, Member, Membership, MessageId,
    NotificationLevel, Role, Settings, Timestamp, TokenHash, User, UserId,
};

/// What every directory call answers.
type Answer<'a, T> = BoxFuture<'a, Result<T, DirectoryError>>;

/// The relational store. Every method is one transaction, durable on return and seen by every later
/// call on every node. Who may do what is the caller's business; what must never be broken whoever
/// calls (unique names, one direct channel a pair, a group's owner, bounds) is kept here.
///
/// A pair of users is two of them: where a pair is given to a method that can answer
/// [`DirectoryError::UnknownUser`], one user twice is answered with it.
///
/// All methods answer [`DirectoryError::Unavailable`] if the store cannot be reached in time:
/// retry, the change may have happened. Other errors are named at each method.
pub trait Directory: Send + Sync + 'static {
    /// Signs `user` up with a first device and token.
    ///
    /// # Errors
    /// [`DirectoryError::UsernameTaken`], compared without case; [`DirectoryError::IdTaken`] if a
    /// generated id collides: retry with new ones; [`DirectoryError::UnknownUser`] if the device is
    /// another user's.
    fn sign_up(&self, user: User, password_hash: String, access: Access) -> Answer<'_, ()>;

    /// Adds a device with its token to a user.
    ///
    /// # Errors
    /// [`DirectoryError::UnknownUser`], [`DirectoryError::UserDisabled`],
    /// [`DirectoryError::IdTaken`].
    fn log_in(&self, access: Access) -> Answer<'_, ()>;

    /// Ends a token; answers whether it was there. A device goes with its token.
    fn log_out(&self, token: TokenHash) -> Answer<'_, bool>;

    /// What is needed to check a password.
    fn credentials(&self, username: &str) -> Answer<'_, Option<Credentials>>;

    /// Whose a token is. An expired token is answered too, until it is removed: the caller compares
    /// the time.
    fn access(&self, token: TokenHash) -> Answer<'_, Option<Access>>;

    /// Removes tokens that expired at `now` or earlier, with their devices: the earliest to expire,
    /// at most `at_most` of them, so that no call takes long. Answers how many; when that is
    /// `at_most`, there may be more. Idempotent.
    fn remove_expired(&self, now: Timestamp, at_most: usize) -> Answer<'_, usize>;

    /// A user by id.
    fn user(&self, user_id: UserId) -> Answer<'_, Option<User>>;

    /// Users whose name starts with `prefix`, without case, by name; at most `limit`.
    fn users_by_prefix(&self, prefix: &str, limit: usize) -> Answer<'_, Vec<User>>;

    /// Changes a profile and answers it.
    ///
    /// # Errors
    /// [`DirectoryError::UnknownUser`].
    fn change_profile(&self, user_id: UserId, change: ProfileChange) -> Answer<'_, User>;

    /// A user's settings; the defaults if they set none.
    fn settings(&self, user_id: UserId) -> Answer<'_, Settings>;

    /// Changes settings and answers them all.
    ///
    /// # Errors
    /// [`DirectoryError::UnknownUser`].
    fn change_settings(&self, user_id: UserId, change: SettingsChange) -> Answer<'_, Settings>;

    /// The settings of each of `users`, in the order asked; the defaults for a user who set none.
    /// A constant number of queries for a few hundred users.
    fn settings_of(&self, users: &[UserId]) -> Answer<'_, Vec<Settings>>;

    /// Friends and requests of a user whose ids are above `after`, by user id; at most `limit`,
    /// which also bounds what is read from the store.
    fn friends_after(
        &self,
        user_id: UserId,
        after: Option<UserId>,
        limit: usize,
    ) -> Answer<'_, Vec<Friend>>;

    /// All friends and requests of a user, by user id. For a page of them see
    /// [`friends_after`](Self::friends_after).
    fn friends(&self, user_id: UserId) -> Answer<'_, Vec<Friend>> {
        self.friends_after(user_id, None, usize::MAX)
    }

    /// `user_id` asks `other` to be friends, or accepts: once both have asked they are friends.
    /// Idempotent. Answers how it stands now.
    ///
    /// # Errors
    /// [`DirectoryError::UnknownUser`].
    fn befriend(&self, user_id: UserId, other: UserId) -> Answer<'_, FriendState>;

    /// Ends a friendship or a request, on both sides. Idempotent. Answers whether there was one.
    fn unfriend(&self, user_id: UserId, other: UserId) -> Answer<'_, bool>;

    /// The users whom a user has blocked and whose ids are above `after`, by user id; at most
    /// `limit`, which also bounds what is read from the store.
    fn blocks_after(
        &self,
        user_id: UserId,
        after: Option<UserId>,
        limit: usize,
    ) -> Answer<'_, Vec<UserId>>;

    /// Whether `user_id` has blocked `other`.
    fn has_blocked(&self, user_id: UserId, other: UserId) -> Answer<'_, bool>;

    /// `user_id` blocks `other`. Idempotent.
    ///
    /// # Errors
    /// [`DirectoryError::UnknownUser`].
    fn block(&self, user_id: UserId, other: UserId) -> Answer<'_, ()>;

    /// Lifts a block. Idempotent.
    fn unblock(&self, user_id: UserId, other: UserId) -> Answer<'_, ()>;

    /// The direct channel of two different users: the one there is, or `new`, made now (its kind is
    /// direct). Answers it, and whether it was made now. Any number of concurrent calls make one.
    ///
    /// # Errors
    /// [`DirectoryError::UnknownUser`], [`DirectoryError::IdTaken`].
    fn direct_channel(&self, users: [UserId; 2], new: Channel) -> Answer<'_, (Channel, bool)>;

    /// The direct channel of two users, if there is one.
    fn find_direct_channel(&self, users: [UserId; 2]) -> Answer<'_, Option<Channel>>;

    /// Makes a group of `owner` and `members` (repeats and the owner among them count once).
    ///
    /// # Errors
    /// [`DirectoryError::UnknownUser`] with the first of them, [`DirectoryError::IdTaken`].
    fn create_group(&self, channel: Channel, owner: UserId, members: Vec<UserId>)
    -> Answer<'_, ()>;

    /// The channels of a user whose ids are above `after`, by channel id; at most `limit`, which
    /// also bounds what is read from the store.
    fn memberships_after(
        &self,
        user_id: UserId,
        after: Option<ChannelId>,
        limit: usize,
    ) -> Answer<'_, Vec<Membership>>;

    /// All channels of a user, by channel id: a session subscribes to each of them. For a page of
    /// them see [`memberships_after`](Self::memberships_after).
    fn memberships(&self, user_id: UserId) -> Answer<'_, Vec<Membership>> {
        self.memberships_after(user_id, None, usize::MAX)
    }

    /// A user's place in one channel; nothing if they have none there.
    fn membership(&self, user_id: UserId, channel_id: ChannelId) -> Answer<'_, Option<Membership>>;

    /// Renames a group and answers it.
    ///
    /// # Errors
    /// [`DirectoryError::UnknownChannel`], also for a direct channel.
    fn rename_group(&self, channel_id: ChannelId, name: String) -> Answer<'_, Channel>;

    /// Deletes a group with its memberships; answers whether it was there. Its messages stay in
    /// history, where nobody may read them.
    fn delete_group(&self, channel_id: ChannelId) -> Answer<'_, bool>;

    /// The members of a channel whose ids are above `after`, by user id; at most `limit`, which
    /// also bounds what is read from the store. Empty if there is no such channel.
    fn members_after(
        &self,
        channel_id: ChannelId,
        after: Option<UserId>,
        limit: usize,
    ) -> Answer<'_, Vec<Member>>;

    /// All members of a channel, by user id; empty if there is no such channel. For a page of them
    /// see [`members_after`](Self::members_after).
    fn members(&self, channel_id: ChannelId) -> Answer<'_, Vec<Member>> {
        self.members_after(channel_id, None, usize::MAX)
    }

    /// Adds a member to a group, or gives a member this role if one is stated. Without a role a new
    /// member is [`Role::Member`] and an old one stays as they are. A group's last owner stays its
    /// owner. Answers whether they are new, and their role.
    ///
    /// # Errors
    /// [`DirectoryError::UnknownChannel`], also for a direct channel;
    /// [`DirectoryError::UnknownUser`]; [`DirectoryError::GroupFull`] at `at_most` members.
    fn put_member(
        &self,
        channel_id: ChannelId,
        user_id: UserId,
        role: Option<Role>,
        at_most: usize,
    ) -> Answer<'_, (bool, Role)>;

    /// Removes a member from a group; answers whether they were one. If the last owner goes, the
    /// admin who is there longest becomes owner, or else the member; if the last member goes, the
    /// group goes with them.
    fn remove_member(&self, channel_id: ChannelId, user_id: UserId) -> Answer<'_, bool>;

    /// A member has read up to `message_id`. Never moves back; answers whether it moved.
    fn mark_read(
        &self,
        channel_id: ChannelId,
        user_id: UserId,
        message_id: MessageId,
    ) -> Answer<'_, bool>;

    /// The members of a channel with what they want pushed, by user id; without disabled ones.
    fn push_targets(&self, channel_id: ChannelId) -> Answer<'_, Vec<PushTarget>>;
}

/// A token, whose it is and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The hash; the token itself is never stored.
    pub token: TokenHash,
    /// The device it was given to, and through it the user.
    pub device: Device,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// What is needed to check a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Whose.
    pub user: User,
    /// In PHC string format, with algorithm, parameters and salt.
    pub password_hash: String,
}

/// Which parts of a profile to change; absent parts stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// See [`User::display_name`].
    pub display_name: Option<String>,
    /// See [`User::status_text`].
    pub status_text: Option<String>,
    /// See [`User::avatar_url`].
    pub avatar_url: Option<String>,
}

/// Which settings to change; absent ones stay.
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

/// A member as push needs to know them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushTarget {
    /// Who.
    pub user_id: UserId,
    /// What `@username` mentions them.
    pub username: String,
    /// What they want to hear of.
    pub level: NotificationLevel,
}

/// Why a directory call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Somebody has this username. Ask for another.
    #[error("the username is taken")]
    UsernameTaken,
    /// A generated id collides with one in use. Retry with a new one.
    #[error("the id is taken")]
    IdTaken,
    /// No such user. Do not retry.
    #[error("there is no user {0}")]
    UnknownUser(UserId),
    /// An operator has disabled the account. Do not retry.
    #[error("user {0} is disabled")]
    UserDisabled(UserId),
    /// No such channel, or not of the kind the call is for. Do not retry.
    #[error("there is no such channel")]
    UnknownChannel,
    /// The group has as many members as it may.
    #[error("the group is full")]
    GroupFull,
    /// The store cannot be reached or did not answer in time. Retry.
    #[error("the directory cannot be reached: {0}")]
    Unavailable(String),
    /// A stored value makes no sense. A retry will not help.
    #[error("the directory holds a value that cannot be read: {0}")]
    Damaged(String),
}

impl DirectoryError {
    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::IdTaken)
    }
}
