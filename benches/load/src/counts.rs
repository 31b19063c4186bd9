//! What was seen, over all clients. Bytes are those that TCP carries: headers, frames and, with TLS,
//! its records; not the headers of TCP and IP.

use serde::{Deserialize, Serialize};

/// Sums since the crowd connected. Two of them, one subtracted from the other, are a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Messages that were acknowledged.
    pub messages: u64,
    /// Messages that reached a client, over all clients.
    pub deliveries: u64,
    /// Requests of the clients, in order to receive.
    pub requests: u64,
    /// Whole answers to polls.
    pub answers: u64,
    /// Answers to polls, of those, that held no event.
    pub empty: u64,
    /// Bytes that the clients received.
    pub bytes_in: u64,
    /// Bytes that the clients sent.
    pub bytes_out: u64,
    /// Bytes that the speakers received and sent; in no other sum.
    pub speaker_bytes: u64,
    /// Connections that were opened again after they broke.
    pub reconnects: u64,
}

/// What the oracle has found. Anything but zeroes is a broken promise of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Acknowledged messages that a client never received.
    pub lost: u64,
    /// Messages that a client received again.
    pub repeated: u64,
    /// Messages that a client received behind a later one of their channel.
    pub reordered: u64,
}

impl Verdict {
    /// Whether every client received every message once and in order.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}
