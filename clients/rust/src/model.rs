//! The values of the API: users, channels, messages. Fields are named as in the API.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::ids::{ChannelId, DeviceId, MessageId, UserId};
use crate::time;

/// For each channel the highest message id that a device holds. A device that stores these continues without
/// a gap and without repeats.
pub type Cursors = BTreeMap<ChannelId, MessageId>;

/// The public profile of a user.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct User {
    /// The user's id; it never changes.
    pub user_id: UserId,
    /// The unique name that the user logs in with, in lower case: 2 to 32 characters.
    pub username: String,
    /// The name that others see: up to 64 characters.
    #[serde(default)]
    pub display_name: String,
    /// A short text about the user's current status: up to 140 characters; empty if there is none.
    #[serde(default)]
    pub status_text: String,
    /// The URL of the user's picture: up to 2,048 bytes; empty if there is none.
    #[serde(default)]
    pub avatar_url: String,
    /// When the user signed up.
    #[serde(deserialize_with = "time::deserialize")]
    pub created_at: SystemTime,
}

/// Changes to the caller's profile; a field that is `None` keeps its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProfileChange {
    /// 1 to 64 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Up to 140 characters; an empty text removes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_text: Option<String>,
    /// An `http` or `https` URL of up to 2,048 bytes; an empty text removes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
}

/// Which messages are pushed to a user whose devices do not confirm them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Notifications {
    /// Every message.
    All,
    /// Mentions and messages of direct channels.
    Mentions,
    /// None.
    None,
    /// A value that this version of the crate does not know.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// The settings of a user, which only that user sees.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Settings {
    /// A language tag (BCP 47).
    pub locale: String,
    /// Which messages are pushed.
    pub notifications: Notifications,
    /// Whether friends are notified when this user connects and disconnects.
    pub share_presence: bool,
    /// Whether other members are notified how far this user has read.
    pub share_read: bool,
}

/// Changes to the caller's settings; a field that is `None` keeps its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SettingsChange {
    /// A language tag such as `en` or `ko-KR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Which messages are pushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notifications: Option<Notifications>,
    /// Whether friends are notified when this user connects and disconnects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_presence: Option<bool>,
    /// Whether other members are notified how far this user has read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_read: Option<bool>,
}

/// A device on which the caller is logged in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Device {
    /// Its id.
    pub device_id: DeviceId,
    /// The name that the log-in gave; empty if none.
    pub name: String,
    /// When the last of its tokens expires.
    #[serde(deserialize_with = "time::deserialize")]
    pub expires_at: SystemTime,
    /// Whether it is the device of this token.
    pub current: bool,
}

/// A friend of the caller, or a user with a friend request to or from the caller.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Friend {
    /// The other user.
    pub user_id: UserId,
    /// The state of the friendship.
    pub state: FriendState,
    /// Whether the friend is connected now; `false` unless the friend shares their presence.
    #[serde(default)]
    pub online: bool,
}

/// The state of a friendship, as the caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FriendState {
    /// The caller has sent a request.
    Requested,
    /// The other user has sent a request.
    Received,
    /// The request was accepted.
    Friends,
    /// A value that this version of the crate does not know.
    #[serde(other)]
    Unknown,
}

/// The kind of a channel; it never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChannelKind {
    /// Exactly two users, who stay the same.
    Direct,
    /// Any number of members.
    Group,
    /// A value that this version of the crate does not know.
    #[serde(other)]
    Unknown,
}

/// What a member of a group may do. Each role includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Read and send.
    Member,
    /// Add and remove members, rename the group.
    Admin,
    /// Delete the group, change roles.
    Owner,
    /// A value that this version of the crate does not know.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// A channel of the caller, with the caller's role and read position.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Channel {
    /// The id of the channel; it never changes.
    pub channel_id: ChannelId,
    /// The kind of the channel.
    pub kind: ChannelKind,
    /// The name of a group: 1 to 100 characters; a direct channel has none.
    #[serde(default)]
    pub name: Option<String>,
    /// When it was created.
    #[serde(deserialize_with = "time::deserialize")]
    pub created_at: SystemTime,
    /// The caller's role.
    pub role: Role,
    /// The other user of a direct channel.
    #[serde(default)]
    pub peer_user_id: Option<UserId>,
    /// The id of the newest message; [`MessageId::START`] if there is none.
    pub last_message_id: MessageId,
    /// The last message that the caller has read.
    #[serde(default)]
    pub read_up_to: MessageId,
    /// How many messages of others the caller has not read; counted up to 1,000.
    #[serde(default)]
    pub unread: u64,
}

/// A member of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Member {
    /// The user.
    pub user_id: UserId,
    /// The member's role.
    pub role: Role,
}

/// A message of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// The id of the message. Ids rise within a channel.
    pub message_id: MessageId,
    /// The channel.
    pub channel_id: ChannelId,
    /// The sender.
    pub message_from: UserId,
    /// The other user of a direct channel; `None` in a group.
    #[serde(default)]
    pub message_to: Option<UserId>,
    /// The text: 1 byte to 16 KiB of UTF-8.
    pub content: String,
    /// When the server accepted it; millisecond precision.
    #[serde(deserialize_with = "time::deserialize")]
    pub created_at: SystemTime,
    /// The sender's name for the message, by which the sending device recognises it.
    #[serde(default)]
    pub client_message_id: Option<String>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T> {
    /// The entries of this page.
    pub entries: Vec<T>,
    /// Whether the list continues after the last entry.
    pub has_more: bool,
}

/// Which messages of a channel to read. A page has at most 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageFrom {
    /// The newest messages, the newest first.
    Newest,
    /// Messages with ids above this one, the oldest first.
    After(MessageId),
    /// Messages with ids below this one, the newest first.
    Before(MessageId),
    /// Messages before and after this one, the oldest first.
    Around(MessageId),
}

/// The messages of a channel after a cursor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Beyond {
    /// The messages, the oldest first.
    pub messages: Vec<Message>,
    /// The cursor with which to continue.
    pub cur_max_message_id: MessageId,
    /// Whether there are more messages after that cursor.
    pub has_more: bool,
}

/// What a client states about itself for discovery. Every field is optional.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Situation {
    /// Latitude (−90 to 90) and longitude (−180 to 180) in degrees. Without it the server may use the
    /// client's address.
    pub location: Option<(f64, f64)>,
    /// How many messages per second the client expects.
    pub message_rate: Option<f64>,
    /// The highest delivery latency that suits the client; sent in milliseconds.
    pub latency: Option<Duration>,
}

/// The result of discovery.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Discovered {
    /// Nodes that accept sessions, the best first: near, and with free capacity. May be empty.
    pub nodes: Vec<Node>,
    /// The transport that suits the client.
    pub advice: Advice,
}

/// A node that accepts sessions.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Node {
    /// The name of the node.
    pub node: String,
    /// The URL to build a [`Client`](crate::Client) with.
    pub url: String,
    /// The URL for opening a session and a WebSocket in one step.
    pub websocket_url: String,
    /// The region of the node; empty if it is unknown.
    #[serde(default)]
    pub region: String,
    /// The great-circle distance to the client in kilometres, if both locations are known.
    #[serde(default)]
    pub distance_km: Option<f64>,
    /// How many sessions the node has.
    #[serde(default)]
    pub load: u64,
    /// How many sessions the node accepts.
    #[serde(default)]
    pub capacity: u64,
}

/// The transport that suits a client.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Advice {
    /// The name of the transport: `polling`, `long_polling`, `websocket` or `sse`.
    pub transport: String,
    /// For `polling`: the interval between requests, in milliseconds.
    #[serde(default)]
    pub poll_interval_ms: Option<u64>,
    /// The reason for the advice, for people.
    #[serde(default)]
    pub why: String,
}
