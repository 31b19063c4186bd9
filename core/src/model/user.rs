//! Users, their devices, settings and friends.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{DeviceId, Timestamp, UserId};

/// A user as other users see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The id.
    pub user_id: UserId,
    /// The unique name for log-in and mentions, in lower case.
    pub username: String,
    /// The name that other users see.
    pub display_name: String,
    /// A line of status; empty if none.
    pub status_text: String,
    /// The URL of a picture; empty if none.
    pub avatar_url: String,
    /// When the user signed up.
    pub created_at: Timestamp,
}

/// A device on which a user logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The id.
    pub device_id: DeviceId,
    /// The user.
    pub user_id: UserId,
    /// The name that the user gave it; empty if none.
    pub name: String,
}

/// For which messages an offline user gets a push notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationLevel {
    /// Every message.
    #[default]
    All,
    /// Direct messages, and messages that contain `@username`.
    Mentions,
    /// No messages.
    None,
}

/// The settings of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// BCP 47 language tag.
    pub locale: String,
    /// For which messages the user gets a push notification while offline.
    pub notifications: NotificationLevel,
    /// Whether friends are notified when this user comes online or goes offline.
    pub share_presence: bool,
    /// Whether other members are notified up to which message this user has read.
    pub share_read: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            locale: "en".into(),
            notifications: NotificationLevel::All,
            share_presence: true,
            share_read: true,
        }
    }
}

/// The relation of two users, as one of them sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FriendState {
    /// This user sent a friend request.
    Requested,
    /// The other user sent a friend request.
    Received,
    /// Both did: they are friends.
    Friends,
}

/// A friend or a friend request of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Friend {
    /// The other user.
    pub user_id: UserId,
    /// The relation.
    pub state: FriendState,
}

/// The SHA-256 of an access token. Tokens are random, so a plain hash protects them at rest. Its debug
/// output hides the hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token as the client sends it.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// A hash read back from storage.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}
