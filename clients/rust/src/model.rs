//! What the API speaks of: users, channels, messages. Plain values, named as in the contract.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::ids::{ChannelId, MessageId, UserId};
use crate::time;

/// For each channel the highest message id that a device holds: what it needs to miss nothing.
pub type Cursors = BTreeMap<ChannelId, MessageId>;

/// A user as everybody sees them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct User {
    /// Their id.
    pub user_id: UserId,
    /// What they log in with; lower case.
    pub username: String,
    /// What others see.
    #[serde(default)]
    pub display_name: String,
    /// A line about now; empty if none.
    #[serde(default)]
    pub status_text: String,
    /// Where their picture is; empty if none.
    #[serde(default)]
    pub avatar_url: String,
    /// When they signed up.
    #[serde(deserialize_with = "time::deserialize")]
    pub created_at: SystemTime,
}

/// What to change of one's profile; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProfileChange {
    /// 1 to 64 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Up to 140 characters; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_text: Option<String>,
    /// An http or https URL of up to 2,048 bytes; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
}

/// What is pushed to a user who is offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Notifications {
    /// Every message.
    All,
    /// Mentions and direct messages.
    Mentions,
    /// Nothing.
    None,
    /// What this version does not know.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// What a user has set for themselves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Settings {
    /// A language tag (BCP 47).
    pub locale: String,
    /// What is pushed while offline.
    pub notifications: Notifications,
    /// Whether friends are told when this user connects and leaves.
    pub share_presence: bool,
    /// Whether others are told how far this user has read.
    pub share_read: bool,
}

/// What to change of one's settings; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SettingsChange {
    /// A language tag such as `en` or `ko-KR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// What is pushed while offline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notifications: Option<Notifications>,
    /// Whether friends are told when this user connects and leaves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_presence: Option<bool>,
    /// Whether others are told how far this user has read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_read: Option<bool>,
}

/// Somebody whom the caller asked, who asked the caller, or both.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Friend {
    /// Who.
    pub user_id: UserId,
    /// How they stand to the caller.
    pub state: FriendState,
    /// Whether they are connected now; only of friends who share it.
    #[serde(default)]
    pub online: bool,
}

/// How two users stand to each other, seen from the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FriendState {
    /// The caller asked.
    Requested,
    /// The other user asked.
    Received,
    /// Both asked.
    Friends,
    /// What this version does not know.
    #[serde(other)]
    Unknown,
}

/// What kind of conversation a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChannelKind {
    /// Two users, for ever the same.
    Direct,
    /// Any number of members.
    Group,
    /// What this version does not know.
    #[serde(other)]
    Unknown,
}

/// What a member may do in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Read and write.
    Member,
    /// Add and remove members, rename.
    Admin,
    /// Everything.
    Owner,
    /// What this version does not know.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// A channel as the caller, a member of it, has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Channel {
    /// Its id.
    pub channel_id: ChannelId,
    /// What kind of conversation.
    pub kind: ChannelKind,
    /// A group's name.
    #[serde(default)]
    pub name: Option<String>,
    /// When it was made.
    #[serde(deserialize_with = "time::deserialize")]
    pub created_at: SystemTime,
    /// What the caller may do.
    pub role: Role,
    /// The other user of a direct channel.
    #[serde(default)]
    pub peer_user_id: Option<UserId>,
    /// The newest message; [`MessageId::START`] if there is none.
    pub last_message_id: MessageId,
    /// Up to which message the caller has read.
    #[serde(default)]
    pub read_up_to: MessageId,
    /// Messages of others that the caller has not read, counted up to 1,000.
    #[serde(default)]
    pub unread: u64,
}

/// Somebody in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Member {
    /// Who.
    pub user_id: UserId,
    /// What they may do.
    pub role: Role,
}

/// A message. Immutable.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// Rises within a channel.
    pub message_id: MessageId,
    /// Where it was said.
    pub channel_id: ChannelId,
    /// Who said it.
    pub message_from: UserId,
    /// The other user, in a direct channel.
    #[serde(default)]
    pub message_to: Option<UserId>,
    /// What was said.
    pub content: String,
    /// When it was accepted.
    #[serde(deserialize_with = "time::deserialize")]
    pub created_at: SystemTime,
    /// The sender's own name for it, by which a device knows its own again.
    #[serde(default)]
    pub client_message_id: Option<String>,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T> {
    /// Its entries.
    pub entries: Vec<T>,
    /// Whether there are more beyond the last of them.
    pub has_more: bool,
}

/// Which messages of a channel to read. At most 200 at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageFrom {
    /// The newest, newest first.
    Newest,
    /// Ids above this one, oldest first.
    After(MessageId),
    /// Ids below this one, newest first.
    Before(MessageId),
    /// On both sides of this one, oldest first.
    Around(MessageId),
}

/// What a channel holds beyond a cursor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Beyond {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// The cursor to go on from.
    pub cur_max_message_id: MessageId,
    /// Whether more lies beyond it.
    pub has_more: bool,
}

/// What a client tells discovery of itself. Each may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Situation {
    /// Degrees north and degrees east.
    pub location: Option<(f64, f64)>,
    /// Messages a second expected.
    pub message_rate: Option<f64>,
    /// How long a message may take to arrive.
    pub latency: Option<Duration>,
}

/// Where to connect, and how.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Discovered {
    /// The best first.
    pub nodes: Vec<Node>,
    /// Which transport suits the client.
    pub advice: Advice,
}

/// A node that takes sessions.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Node {
    /// Its name.
    pub node: String,
    /// Its HTTP interface: what a [`Client`](crate::Client) is built with.
    pub url: String,
    /// Where to open a WebSocket in one step.
    pub websocket_url: String,
    /// Where it stands.
    #[serde(default)]
    pub region: String,
    /// How far it is, if both sides said where they are.
    #[serde(default)]
    pub distance_km: Option<f64>,
    /// Sessions it has.
    #[serde(default)]
    pub load: u64,
    /// Sessions it takes.
    #[serde(default)]
    pub capacity: u64,
}

/// Which transport suits the client.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Advice {
    /// As it is named in the session document: `polling`, `long_polling`, `websocket`, `sse`.
    pub transport: String,
    /// How often to poll, in milliseconds, for `polling`.
    #[serde(default)]
    pub poll_interval_ms: Option<u64>,
    /// For people.
    #[serde(default)]
    pub why: String,
}
