//! People, their devices, settings and friends.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{DeviceId, Timestamp, UserId};

/// A person as others see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Their id.
    pub user_id: UserId,
    /// The unique name they log in with; lower case.
    pub username: String,
    /// The name others see.
    pub display_name: String,
    /// A line about now; empty if none.
    pub status_text: String,
    /// Where their picture is; empty if none.
    pub avatar_url: String,
    /// When they signed up.
    pub created_at: Timestamp,
}

/// A device that logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub device_id: DeviceId,
    /// Whose it is.
    pub user_id: UserId,
    /// What its user calls it; empty if they did not say.
    pub name: String,
}

/// What reaches a user's devices as a push notification while they are offline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationLevel {
    /// Every message.
    #[default]
    All,
    /// Direct messages, and messages that contain `@username`.
    Mentions,
    /// Nothing.
    None,
}

/// What a user has set for themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// BCP 47 language tag.
    pub locale: String,
    /// What is pushed while offline.
    pub notifications: NotificationLevel,
    /// Whether friends are told when this user connects and leaves.
    pub share_presence: bool,
    /// Whether others are told how far this user has read.
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

/// How two users stand to each other, seen from one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FriendState {
    /// I asked.
    Requested,
    /// They asked.
    Received,
    /// Both asked.
    Friends,
}

/// One row of a user's friends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Friend {
    /// The other user.
    pub user_id: UserId,
    /// How it stands.
    pub state: FriendState,
}

/// SHA-256 of an access token. Tokens are random, so a plain hash keeps them unreadable at rest.
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
