//! The moments of one mailbox: events that are only of use until the next of their kind.

use std::collections::VecDeque;

use super::mailbox::{Event, Room};
use crate::protocol::event;

/// How many moments wait, and how many are numbered that the client has not confirmed.
pub(super) const MOMENTS: usize = 64;

/// The moments of a mailbox.
#[derive(Debug, Default)]
pub(super) struct Moments {
    waiting: VecDeque<Event>,
    /// The seq and size of each that was numbered and still takes a slot of its own.
    numbered: VecDeque<(u64, usize)>,
}

impl Moments {
    /// Replaces an earlier moment of the same kind. The oldest is lost if too many wait.
    pub(super) fn wait(&mut self, event: Event) {
        let kind = event::moment(&event.payload);
        let same = |waiting: &Event| event::moment(&waiting.payload) == kind;
        if let Some(earlier) = self.waiting.iter().position(same) {
            self.waiting.remove(earlier);
        }
        if self.waiting.len() == MOMENTS {
            self.waiting.pop_front();
        }
        self.waiting.push_back(event);
    }

    /// The next one that may be numbered.
    pub(super) fn next(&mut self) -> Option<Event> {
        if self.numbered.len() < MOMENTS { self.waiting.pop_front() } else { None }
    }

    pub(super) fn number(&mut self, seq: u64, bytes: usize) {
        self.numbered.push_back((seq, bytes));
    }

    /// Those up to `seq` have left the mailbox, or were written to a stream and may be evicted.
    pub(super) fn release(&mut self, seq: u64) {
        while self.numbered.front().is_some_and(|(numbered, _)| *numbered <= seq) {
            self.numbered.pop_front();
        }
    }

    /// What the numbered ones take.
    pub(super) fn numbered(&self) -> Room {
        let bytes = self.numbered.iter().map(|(_, bytes)| bytes).sum();
        Room { events: self.numbered.len(), bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.numbered.is_empty()
    }
}
