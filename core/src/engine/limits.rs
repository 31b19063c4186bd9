//! The limits of the engine. Nothing in it grows beyond one of them (invariant I7).

use std::time::Duration;

use super::budget::BudgetLimits;
use crate::protocol::{MAX_NAME_BYTES, Problem};

/// What the engine allows, and how long it waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The longest content of a message, in bytes of UTF-8.
    pub content_bytes: usize,
    /// How many unconfirmed events a session holds.
    pub mailbox_events: usize,
    /// How many bytes of unconfirmed events a session holds.
    pub mailbox_bytes: usize,
    /// How many sessions a user may have on a node.
    pub sessions_per_user: usize,
    /// How many sessions a node may have. Sessions that open in the same instant on different threads
    /// may exceed it, by at most the number of threads.
    pub sessions: usize,
    /// For how many channels one request may catch up or synchronise.
    pub channels_per_request: usize,
    /// How many bytes of JSON a page of history holds; a page with one message may exceed it.
    pub page_bytes: usize,
    /// How many bytes of JSON a synchronisation holds; its last message may exceed it.
    pub sync_bytes: usize,
    /// How many bytes may be in flight.
    pub budget: BudgetLimits,
    /// How long a session lives without being read.
    pub resume_window: Duration,
    /// How long a sender waits for the acknowledgement before it gets `not_confirmed`.
    pub confirm_within: Duration,
    /// How many messages the owner of a partition, or the deliverer of a node, handles at a time.
    pub batch: usize,
    /// How long a membership is cached: the longest time until a change on another node takes effect
    /// here.
    pub permission_ttl: Duration,
    /// How many memberships are cached.
    pub permissions: u64,
    /// The sustained rate of sends a second of one user; a burst may be ten times that. Unlimited if
    /// absent.
    pub sends_per_second: Option<u32>,
    /// How many sessions moments (`typing`, `read`) may reach a second, those of one user and those in
    /// one channel; a burst may be ten times that. Unlimited if absent.
    pub moments_per_second: Option<u32>,
    /// How long a lease of this node lasts without renewal.
    pub lease: Duration,
}

impl Limits {
    /// What the answer with a page may take, in bytes of JSON.
    pub fn page_answer_bytes(&self) -> usize {
        self.page_bytes + self.message_bytes()
    }

    /// What the answer to a synchronisation may take, in bytes of JSON.
    pub fn sync_answer_bytes(&self) -> usize {
        // Channels that are gone are named, at 24 bytes each.
        self.sync_bytes + self.message_bytes() + 24 * self.channels_per_request
    }

    /// What one message may take: JSON escapes one byte of content as at most six.
    pub(super) fn message_bytes(&self) -> usize {
        6 * (self.content_bytes + MAX_NAME_BYTES) + 1_024
    }

    pub(super) fn check_channel_count(&self, count: usize) -> Result<(), Problem> {
        let limit = self.channels_per_request;
        if count > limit {
            return Err(Problem::invalid("channels", format!("at most {limit} at once")));
        }
        Ok(())
    }
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
            page_bytes: 512 * 1024,
            sync_bytes: 4 * 1024 * 1024,
            budget: BudgetLimits::default(),
            resume_window: Duration::from_secs(60),
            confirm_within: Duration::from_secs(10),
            batch: 256,
            // A change takes effect on all nodes within a second.
            permission_ttl: Duration::from_millis(750),
            permissions: 100_000,
            sends_per_second: Some(50),
            moments_per_second: Some(2_000),
            lease: Duration::from_secs(10),
        }
    }
}
