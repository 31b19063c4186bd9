//! Conversations and who takes part in them.

use super::{ChannelId, MessageId, Timestamp, UserId};

/// What kind of conversation a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// Exactly two users, for ever the same.
    Direct,
    /// Any number of users up to the configured bound, with roles.
    Group,
}

/// What a member may do in a group, least first. In a direct channel both are members.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads and sends.
    Member,
    /// Also renames the group, and adds and removes members.
    Admin,
    /// Also deletes the group and gives roles. A group always has one.
    Owner,
}

/// A conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its id.
    pub channel_id: ChannelId,
    /// Direct or group.
    pub kind: ChannelKind,
    /// A group's name; a direct channel has none.
    pub name: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// One user's place in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user_id: UserId,
    /// What they may do.
    pub role: Role,
}

/// A channel as one of its members has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The conversation.
    pub channel: Channel,
    /// What this member may do.
    pub role: Role,
    /// The other user, in a direct channel.
    pub peer: Option<UserId>,
    /// In a direct channel: the other user has blocked this one, who therefore may not send.
    pub blocked: bool,
    /// Up to which message this member has read.
    pub read_up_to: MessageId,
}
