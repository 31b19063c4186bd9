//! Parts of responses that more than one resource uses, as JSON and as schemas.

use pabal_core::model::{
    ChannelId, ChannelKind, DeviceId, Membership, MessageId, NotificationLevel, Role, Settings,
    Timestamp, User, UserId,
};
use pabal_core::ports::{Access, Unread};
use pabal_core::protocol::{MessageView, Problem};
use serde::Serialize;
use utoipa::ToSchema;

/// A 64-bit number as a decimal string: a JavaScript number is exact up to 2^53 only.
#[derive(ToSchema)]
#[schema(as = Id, pattern = "^[0-9]{1,19}$", example = "7219834113228800")]
#[expect(dead_code, reason = "describes types of core in the schema")]
pub(super) struct IdSchema(String);

/// A point in time in RFC 3339, UTC, with milliseconds.
#[derive(ToSchema)]
#[schema(as = Time, format = DateTime, example = "2026-11-22T09:30:00.123Z")]
#[expect(dead_code, reason = "describes a type of core in the schema")]
pub(super) struct TimeSchema(String);

/// The public profile of a user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct UserView {
    #[schema(value_type = IdSchema)]
    pub(super) user_id: UserId,
    /// The name that the user logs in with, in lower case and NFKC.
    username: String,
    display_name: String,
    /// A status line; empty if none is set.
    status_text: String,
    /// The URL of a picture; empty if none is set.
    avatar_url: String,
    #[schema(value_type = TimeSchema)]
    created_at: Timestamp,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            user_id: user.user_id,
            username: user.username,
            display_name: user.display_name,
            status_text: user.status_text,
            avatar_url: user.avatar_url,
            created_at: user.created_at,
        }
    }
}

/// `{"user": {…}}`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserAnswer)]
pub(super) struct UserAnswer {
    pub(super) user: UserView,
}

/// The result of a sign-up or log-in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LoggedIn {
    pub(super) user: UserView,
    /// Send it as `Authorization: Bearer`, or in the WebSocket subprotocol `pabal.bearer.<token>`.
    pub(super) token: String,
    /// When the token expires.
    #[schema(value_type = TimeSchema)]
    pub(super) expires_at: Timestamp,
    /// The device that the token belongs to.
    #[schema(value_type = IdSchema)]
    pub(super) device_id: DeviceId,
}

impl LoggedIn {
    /// The result for `user`, who got `token`.
    pub(super) fn new(user: User, token: String, access: &Access) -> Self {
        let (expires_at, device_id) = (access.expires_at, access.device.device_id);
        Self { user: user.into(), token, expires_at, device_id }
    }
}

/// The settings of a user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Settings)]
pub(super) struct SettingsView {
    /// Language tag (BCP 47).
    locale: String,
    /// Which messages are pushed while the user is offline: `all`, `mentions` (and direct messages)
    /// or `none`.
    #[schema(value_type = NotificationLevelSchema)]
    notifications: NotificationLevel,
    /// Whether friends see when this user is connected.
    share_presence: bool,
    /// Whether other members see up to which message this user has read.
    share_read: bool,
}

impl From<Settings> for SettingsView {
    fn from(settings: Settings) -> Self {
        Self {
            locale: settings.locale,
            notifications: settings.notifications,
            share_presence: settings.share_presence,
            share_read: settings.share_read,
        }
    }
}

/// Which messages are pushed while a user is offline.
#[derive(ToSchema)]
#[schema(as = NotificationLevel, rename_all = "snake_case")]
#[expect(dead_code, reason = "describes a type of core in the schema")]
pub(super) enum NotificationLevelSchema {
    All,
    Mentions,
    None,
}

/// The role of a member in a group, in ascending order of permissions.
#[derive(ToSchema)]
#[schema(as = Role, rename_all = "snake_case")]
#[expect(dead_code, reason = "describes a type of core in the schema")]
pub(super) enum RoleSchema {
    Member,
    Admin,
    Owner,
}

/// The kind of a channel.
#[derive(ToSchema)]
#[schema(as = ChannelKind, rename_all = "snake_case")]
#[expect(dead_code, reason = "describes a type of core in the schema")]
pub(super) enum ChannelKindSchema {
    Direct,
    Group,
}

/// A channel, as seen by the caller, who is a member.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Channel)]
pub(super) struct ChannelView {
    #[schema(value_type = IdSchema)]
    channel_id: ChannelId,
    #[schema(value_type = ChannelKindSchema)]
    kind: ChannelKind,
    /// The name of a group; null for a direct channel.
    name: Option<String>,
    #[schema(value_type = TimeSchema)]
    created_at: Timestamp,
    /// The role of the caller.
    #[schema(value_type = RoleSchema)]
    role: Role,
    /// The other user of a direct channel; absent for a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IdSchema>)]
    peer_user_id: Option<UserId>,
    /// The id of the newest message; `"0"`, which is below every message id, if there is none.
    #[schema(value_type = IdSchema)]
    last_message_id: MessageId,
    /// The id of the newest message that the caller has read.
    #[schema(value_type = IdSchema)]
    read_up_to: MessageId,
    /// Messages of other users after `read_up_to`, of which the first 2,000 are looked at.
    unread: usize,
    /// There are more messages than were looked at: the count is at least `unread`. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unread_at_least: bool,
}

impl ChannelView {
    /// A channel with the id of its newest message and the number of messages that the caller has
    /// not read.
    pub(super) fn new(membership: Membership, last_message_id: MessageId, unread: Unread) -> Self {
        let Membership { channel, role, peer, read_up_to, .. } = membership;
        Self {
            channel_id: channel.channel_id,
            kind: channel.kind,
            name: channel.name,
            created_at: channel.created_at,
            role,
            peer_user_id: peer,
            last_message_id,
            read_up_to,
            unread: unread.messages,
            unread_at_least: unread.at_least,
        }
    }
}

/// `{"channel": {…}}`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChannelAnswer {
    pub(super) channel: ChannelView,
}

/// A message. Immutable.
#[derive(ToSchema)]
#[schema(as = Message)]
#[expect(dead_code, reason = "describes a type of core in the schema")]
pub(super) struct MessageSchema {
    #[schema(value_type = IdSchema)]
    message_id: String,
    #[schema(value_type = IdSchema)]
    channel_id: String,
    /// The sender.
    #[schema(value_type = IdSchema)]
    message_from: String,
    /// The other user, in a direct channel.
    #[schema(value_type = Option<IdSchema>)]
    message_to: Option<String>,
    content: String,
    #[schema(value_type = TimeSchema)]
    created_at: String,
    /// The id that the sender's device gave the message.
    client_message_id: Option<String>,
}

/// `{"message": {…}}`.
#[derive(Serialize, ToSchema)]
pub(super) struct MessageAnswer<'a> {
    #[schema(value_type = MessageSchema)]
    pub(super) message: MessageView<'a>,
}

/// An error (RFC 9457).
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "describes a type of core in the schema")]
pub(super) struct ProblemSchema {
    /// `urn:pabal:problem:` followed by the code.
    #[schema(example = "urn:pabal:problem:invalid")]
    r#type: String,
    /// A summary, the same for every occurrence of this code.
    title: String,
    /// The HTTP status code.
    status: u16,
    /// An explanation of this occurrence, for people.
    detail: String,
    /// A stable identifier for programs.
    #[schema(example = "invalid")]
    code: String,
    /// How long to wait before a retry, if known.
    retry_after_ms: Option<u64>,
    /// The fields that are invalid.
    errors: Option<Vec<FieldErrorSchema>>,
    /// The URL to use instead.
    url: Option<String>,
}

/// An invalid field.
#[derive(ToSchema)]
#[schema(as = FieldError)]
#[expect(dead_code, reason = "describes a type of core in the schema")]
pub(super) struct FieldErrorSchema {
    /// The name of the field in the request.
    field: String,
    /// What the field must be.
    detail: String,
}

/// A page of `limit` entries from a read of up to `limit + 1`, and whether the list has more.
pub(super) fn page<T>(mut read: Vec<T>, limit: usize) -> (Vec<T>, bool) {
    debug_assert!(read.len() <= limit + 1, "a list is bounded where it is read");
    let has_more = read.len() > limit;
    read.truncate(limit);
    (read, has_more)
}

/// Refuses the caller's own id where another user is meant.
pub(super) fn another(caller: UserId, other: UserId) -> Result<(), Problem> {
    if caller == other {
        return Err(Problem::invalid("user_id", "must be another user"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_entry_beyond_the_limit_shows_that_the_list_has_more() {
        assert_eq!(super::page(vec![1, 2, 3], 2), (vec![1, 2], true));
        assert_eq!(super::page(vec![1, 2], 2), (vec![1, 2], false));
        assert_eq!(super::page(Vec::<u32>::new(), 2), (vec![], false));
    }
}
