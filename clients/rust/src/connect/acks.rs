//! When a line confirms the events that it delivered.

use std::time::Duration;

use tokio::time::Instant;

use super::line::Line;
use crate::ids::Seq;

/// Events are confirmed over a WebSocket at most once in this time, or after so many events.
const ACK_EVERY: Duration = Duration::from_secs(1);
const ACK_EVENTS: u64 = 128;

/// Up to which event a line has confirmed, and when.
pub(crate) struct Acks {
    up_to: Seq,
    at: Instant,
}

impl Acks {
    /// A line that begins after the event `from`.
    pub(crate) fn new(from: Seq) -> Self {
        Self { up_to: from, at: Instant::now() }
    }

    /// Confirms the events up to `up_to` from time to time. Polling confirms by its next request, so only
    /// a socket needs this.
    pub(crate) fn taken(&mut self, line: &Line, up_to: Seq) {
        let many = up_to.0.saturating_sub(self.up_to.0) >= ACK_EVENTS;
        if let Some(socket) = line.socket()
            && (many || self.at.elapsed() >= ACK_EVERY)
        {
            socket.ack(up_to);
            *self = Self::new(up_to);
        }
    }
}
