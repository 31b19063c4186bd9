//! Every bound of the engine in one place. Nothing in it grows past one of these (invariant I7).

use std::time::Duration;

/// What the engine allows and how long it waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The longest content of a message, in bytes of UTF-8.
    pub content_bytes: usize,
    /// As many events as a session holds unconfirmed.
    pub mailbox_events: usize,
    /// As many bytes of events as a session holds unconfirmed.
    pub mailbox_bytes: usize,
    /// As many sessions as a user may have on a node.
    pub sessions_per_user: usize,
    /// As many sessions as a node takes.
    pub sessions: usize,
    /// As many channels as one request may catch up with or synchronise.
    pub channels_per_request: usize,
    /// How long a session lives with nobody reading.
    pub resume_window: Duration,
    /// How long a sender waits for the acknowledgement before it is told `not_confirmed`.
    pub confirm_within: Duration,
    /// As many messages as a partition's owner, or a node's delivery, takes up at once.
    pub batch: usize,
    /// How long a permission to send is believed without asking the directory again, and so the
    /// longest time that a change made on another node takes to be felt here.
    pub permission_ttl: Duration,
    /// As many permissions as are remembered.
    pub permissions: u64,
    /// Sends a second that one user may keep up, and ten times that at once; no limit if absent.
    pub sends_per_second: Option<u32>,
    /// How long a lease of this node lasts without renewal.
    pub lease: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            content_bytes: 16 * 1024,
            mailbox_events: 1_024,
            mailbox_bytes: 1024 * 1024,
            sessions_per_user: 16,
            sessions: 100_000,
            channels_per_request: 1_000,
            resume_window: Duration::from_secs(60),
            confirm_within: Duration::from_secs(10),
            batch: 256,
            // Changes are to be felt on all nodes within a second.
            permission_ttl: Duration::from_millis(750),
            permissions: 100_000,
            sends_per_second: Some(50),
            lease: Duration::from_secs(10),
        }
    }
}
