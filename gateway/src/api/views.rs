//! What answers are made of when more than one resource shows it, as JSON and as schemas.

use pabal_core::model::{
    ChannelId, ChannelKind, DeviceId, Membership, MessageId, NotificationLevel, Role, Settings,
    Timestamp, User, UserId,
};
use pabal_core::protocol::{MessageView, Problem};
use serde::Serialize;
use utoipa::ToSchema;

/// A 64-bit number as a decimal string, because JavaScript's numbers end at 2^53.
#[derive(ToSchema)]
#[schema(as = Id, pattern = "^[0-9]{1,19}$", example = "7219834113228800")]
#[expect(dead_code, reason = "stands for types of core in the schema")]
pub(super) struct IdSchema(String);

/// A point in time: RFC 3339, UTC, milliseconds.
#[derive(ToSchema)]
#[schema(as = Time, format = DateTime, example = "2026-11-22T09:30:00.123Z")]
#[expect(dead_code, reason = "stands for a type of core in the schema")]
pub(super) struct TimeSchema(String);

/// A user as everybody sees them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct UserView {
    #[schema(value_type = IdSchema)]
    pub(super) user_id: UserId,
    /// In lower case and NFKC, as they log in with.
    username: String,
    display_name: String,
    /// A line about now; empty if none.
    status_text: String,
    /// Where their picture is; empty if none.
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

/// Somebody who has just logged in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LoggedIn {
    pub(super) user: UserView,
    /// For `Authorization: Bearer`, or the WebSocket subprotocol `pabal.bearer.<token>`.
    pub(super) token: String,
    /// When the token ends by itself.
    #[schema(value_type = TimeSchema)]
    pub(super) expires_at: Timestamp,
    /// The device that the token was given to.
    #[schema(value_type = IdSchema)]
    pub(super) device_id: DeviceId,
}

/// What a user has set for themselves.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Settings)]
pub(super) struct SettingsView {
    /// A language tag (BCP 47).
    locale: String,
    /// What is pushed while offline: `all`, `mentions` (and direct messages) or `none`.
    #[schema(value_type = NotificationLevelSchema)]
    notifications: NotificationLevel,
    /// Whether friends are told when this user connects and leaves.
    share_presence: bool,
    /// Whether others are told how far this user has read.
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

/// What is pushed while a user is offline.
#[derive(ToSchema)]
#[schema(as = NotificationLevel, rename_all = "snake_case")]
#[expect(dead_code, reason = "stands for a type of core in the schema")]
pub(super) enum NotificationLevelSchema {
    All,
    Mentions,
    None,
}

/// What a member may do in a group, least first.
#[derive(ToSchema)]
#[schema(as = Role, rename_all = "snake_case")]
#[expect(dead_code, reason = "stands for a type of core in the schema")]
pub(super) enum RoleSchema {
    Member,
    Admin,
    Owner,
}

/// What kind of conversation a channel is.
#[derive(ToSchema)]
#[schema(as = ChannelKind, rename_all = "snake_case")]
#[expect(dead_code, reason = "stands for a type of core in the schema")]
pub(super) enum ChannelKindSchema {
    Direct,
    Group,
}

/// A channel as the caller, a member of it, has it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Channel)]
pub(super) struct ChannelView {
    #[schema(value_type = IdSchema)]
    channel_id: ChannelId,
    #[schema(value_type = ChannelKindSchema)]
    kind: ChannelKind,
    /// A group's name; null for a direct channel.
    name: Option<String>,
    #[schema(value_type = TimeSchema)]
    created_at: Timestamp,
    /// What the caller may do.
    #[schema(value_type = RoleSchema)]
    role: Role,
    /// The other user of a direct channel; absent for a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IdSchema>)]
    peer_user_id: Option<UserId>,
    /// The newest message; `"0"`, which stands before every message, if there is none.
    #[schema(value_type = IdSchema)]
    last_message_id: MessageId,
    /// Up to which message the caller has read.
    #[schema(value_type = IdSchema)]
    read_up_to: MessageId,
    /// Messages of others beyond `read_up_to`, counted up to 1,000: that means 1,000 or more.
    unread: usize,
}

impl ChannelView {
    /// A channel with the newest message it holds and how many the caller has not read.
    pub(super) fn new(membership: Membership, last_message_id: MessageId, unread: usize) -> Self {
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
            unread,
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
#[expect(dead_code, reason = "stands for a type of core in the schema")]
pub(super) struct MessageSchema {
    #[schema(value_type = IdSchema)]
    message_id: String,
    #[schema(value_type = IdSchema)]
    channel_id: String,
    /// Who said it.
    #[schema(value_type = IdSchema)]
    message_from: String,
    /// The other user, in a direct channel.
    #[schema(value_type = Option<IdSchema>)]
    message_to: Option<String>,
    content: String,
    #[schema(value_type = TimeSchema)]
    created_at: String,
    /// The sender's own name for it.
    client_message_id: Option<String>,
}

/// `{"message": {…}}`.
#[derive(Serialize, ToSchema)]
pub(super) struct MessageAnswer<'a> {
    #[schema(value_type = MessageSchema)]
    pub(super) message: MessageView<'a>,
}

/// What went wrong (RFC 9457).
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "stands for a type of core in the schema")]
pub(super) struct ProblemSchema {
    /// `urn:pabal:problem:` and the code.
    #[schema(example = "urn:pabal:problem:invalid")]
    r#type: String,
    /// The same for every occurrence.
    title: String,
    /// The status of the answer.
    status: u16,
    /// What happened here, for people.
    detail: String,
    /// What clients may switch on; never renamed.
    #[schema(example = "invalid")]
    code: String,
    /// After how long to try again, where that is known.
    retry_after_ms: Option<u64>,
    /// Which fields are wrong.
    errors: Option<Vec<FieldErrorSchema>>,
    /// Where to go instead.
    url: Option<String>,
}

/// One wrong field.
#[derive(ToSchema)]
#[schema(as = FieldError)]
#[expect(dead_code, reason = "stands for a type of core in the schema")]
pub(super) struct FieldErrorSchema {
    /// Its name in the request.
    field: String,
    /// What it must be.
    detail: String,
}

/// One page of a list that is kept in the order of its ids: what follows `after`, and whether more
/// does.
pub(super) fn page<T, I: Ord + Copy>(
    all: Vec<T>,
    id: impl Fn(&T) -> I,
    after: Option<I>,
    limit: usize,
) -> (Vec<T>, bool) {
    let mut rest = all.into_iter().filter(|entry| after.is_none_or(|after| id(entry) > after));
    let page: Vec<T> = rest.by_ref().take(limit).collect();
    let has_more = rest.next().is_some();
    (page, has_more)
}

/// Refuses oneself where another user is meant.
pub(super) fn another(caller: UserId, other: UserId) -> Result<(), Problem> {
    if caller == other {
        return Err(Problem::invalid("user_id", "must be another user"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn pages_follow_each_other_without_gap_or_repeat() {
        let all: Vec<u32> = (1..=5).collect();
        let page = |after, limit| super::page(all.clone(), |id| *id, after, limit);
        assert_eq!(page(None, 2), (vec![1, 2], true));
        assert_eq!(page(Some(2), 3), (vec![3, 4, 5], false));
        assert_eq!(page(Some(5), 3), (vec![], false));
    }
}
