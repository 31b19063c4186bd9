//! Some events of a session, as a transport sees them.

use bytes::Bytes;

use super::super::mailbox::Window;
use crate::model::{Seq, Timestamp};
use crate::protocol::Batch;

/// Consecutive events of a session, borrowed while the session is locked: copy them out and return.
#[derive(Debug)]
pub struct View<'a> {
    window: Window<'a>,
}

impl<'a> View<'a> {
    pub(super) fn new(window: Window<'a>) -> Self {
        Self { window }
    }
}

impl View<'_> {
    /// How many events.
    pub fn len(&self) -> usize {
        self.window.len()
    }

    /// Whether there are no events.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The seq of the last event: the `after` of the next read.
    pub fn next(&self) -> Seq {
        self.window.next()
    }

    /// The batch document `{"events":[…],"next":"42"}` that every transport sends.
    pub fn batch(&self) -> Batch<impl Iterator<Item = &Bytes> + Clone> {
        Batch::new(self.window.events().map(|event| &event.payload), self.next())
    }

    /// When each event was accepted, to measure its latency.
    pub fn accepted_at(&self) -> impl Iterator<Item = Timestamp> {
        self.window.events().map(|event| event.accepted_at)
    }
}
