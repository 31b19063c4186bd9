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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::budget::Pool;
    use crate::engine::sessions::mailbox::{Mailbox, MailboxLimits};
    use crate::model::{ChannelId, Seq, Timestamp, UserId};

    const LIMITS: MailboxLimits = MailboxLimits { events: 4, bytes: 100 };

    fn event(size: usize) -> Event {
        Event { payload: vec![b'x'; size].into(), accepted_at: Timestamp::default() }
    }

    /// A moment of channel 7 whose user has this one-digit id.
    fn typing(user: u64) -> Event {
        let payload = event::typing(ChannelId::new(7), UserId::new(user));
        Event { payload, accepted_at: Timestamp::default() }
    }

    #[test]
    fn moments_take_no_place_of_events_and_come_behind_them() {
        let limits = MailboxLimits { events: 4, bytes: 1_000 };
        let mut mailbox = Mailbox::new(Arc::new(Pool::new(1 << 20)));
        for user in 0..1_536 {
            mailbox.append_moment(typing(user % 8));
        }
        mailbox.number_moments(limits);
        assert_eq!(mailbox.last(), Seq::new(8), "the newest of each user");
        for _ in 0..4 {
            assert!(mailbox.append(event(1), limits).is_ok());
        }
        mailbox.append_moment(typing(9));
        assert!(mailbox.append(event(1), limits).is_err());
        assert_eq!(mailbox.last(), Seq::new(12), "a moment is numbered when it is read");
        mailbox.number_moments(limits);
        assert_eq!(mailbox.last(), Seq::new(13));
        mailbox.confirm(Seq::new(13));
        assert_eq!(mailbox.room(limits), Room { events: 4, bytes: 1_000 });
    }

    #[test]
    fn moments_that_a_stream_has_written_are_evicted_like_events() {
        let mut mailbox = Mailbox::new(Arc::new(Pool::new(1 << 20)));
        for round in 0..100 {
            for user in 0..8 {
                mailbox.append_moment(typing(user));
            }
            mailbox.number_moments(LIMITS);
            assert_eq!(mailbox.last(), Seq::new(8 * (round + 1)), "none is held back");
            mailbox.streamed(mailbox.last());
            assert!(mailbox.held_events() <= LIMITS.events + MOMENTS);
        }
    }
}
