//! Channels and their members.

use super::{ChannelId, MessageId, Timestamp, UserId};

/// The kind of a channel. It never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// Exactly two users, always the same.
    Direct,
    /// Any number of users up to the configured limit, with roles.
    Group,
}

/// What a member may do in a group, in rising order. In a direct channel both users are members.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads and sends.
    Member,
    /// Also renames the group, and adds and removes members.
    Admin,
    /// Also deletes the group and changes roles. Every group has an owner.
    Owner,
}

/// A conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The id.
    pub channel_id: ChannelId,
    /// Direct or group.
    pub kind: ChannelKind,
    /// A group's name; a direct channel has none.
    pub name: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A user as a member of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The user.
    pub user_id: UserId,
    /// What the user may do.
    pub role: Role,
}

/// A channel as one of its members sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The channel.
    pub channel: Channel,
    /// What this member may do.
    pub role: Role,
    /// The other user, in a direct channel.
    pub peer: Option<UserId>,
    /// In a direct channel: the other user has blocked this one, so this one may not send.
    pub blocked: bool,
    /// The last message that this member has read; 0 if none.
    pub read_up_to: MessageId,
}
