//! The mailbox of one session: its events that are not confirmed yet, numbered without holes.
//!
//! A read removes nothing (invariant I5). An event leaves the mailbox when the client confirms it. An
//! event that was written to a stream leaves earlier if a new event needs its slot.

use std::collections::VecDeque;
use std::collections::vec_deque;

use bytes::Bytes;

use crate::model::{Seq, Timestamp};

/// An event as mailboxes hold it: serialised once, shared by all sessions that receive it.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Event {
    pub(in crate::engine) payload: Bytes,
    /// When the node that received the command accepted it.
    pub(in crate::engine) accepted_at: Timestamp,
}

/// A bounded queue that is read by position.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    events: VecDeque<Event>,
    bytes: usize,
    /// The seq of the event before the first held one.
    base: u64,
    /// The highest seq that the client has confirmed.
    confirmed: u64,
    /// The highest seq that was written to a stream.
    streamed: u64,
}

/// Why a mailbox cannot return the events after a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutOfRange {
    /// The position is below what was confirmed or above the last seq: an error of the client.
    Invalid { confirmed: Seq, last: Seq },
    /// The events after the position were evicted because a stream had already written them.
    Gone,
}

/// The capacity of a mailbox.
#[derive(Clone, Copy, Debug)]
pub(super) struct MailboxLimits {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

/// An empty mailbox that has grown beyond this many slots frees their memory.
const IDLE_SLOTS: usize = 16;

impl Mailbox {
    /// The seq of the newest event that was ever appended.
    pub(super) fn last(&self) -> Seq {
        Seq::new(self.base + self.events.len() as u64)
    }

    /// The position before the first held event: where a reader starts that names no position.
    pub(super) fn start(&self) -> Seq {
        Seq::new(self.base)
    }

    /// Appends an event. Returns the event if the mailbox is full.
    pub(super) fn append(&mut self, event: Event, limits: MailboxLimits) -> Result<(), Event> {
        let size = event.payload.len();
        let full = |mailbox: &Self| {
            mailbox.events.len() >= limits.events || mailbox.bytes + size > limits.bytes
        };
        while full(self) && self.base < self.streamed {
            self.drop_first();
        }
        if full(self) {
            return Err(event);
        }
        self.bytes += size;
        self.events.push_back(event);
        debug_assert!(
            self.events.len() <= limits.events && self.bytes <= limits.bytes,
            "a mailbox never exceeds its limits",
        );
        Ok(())
    }

    /// How many more events fit. Slots whose events were written to a stream count as free.
    pub(super) fn free_slots(&self, limits: MailboxLimits) -> usize {
        let held = self.last().get() - self.base.max(self.streamed.min(self.last().get()));
        limits.events.saturating_sub(held as usize)
    }

    /// Whether at least half of the capacity is free, by count and by size.
    pub(super) fn half_empty(&self, limits: MailboxLimits) -> bool {
        let streamed = (self.streamed.saturating_sub(self.base)) as usize;
        let unread_bytes: usize =
            self.events.iter().skip(streamed).map(|event| event.payload.len()).sum();
        self.free_slots(limits) * 2 >= limits.events && unread_bytes * 2 <= limits.bytes
    }

    /// Removes the events up to `upto`, which the client has received. A late confirmation, below an
    /// earlier one, changes nothing.
    pub(super) fn confirm(&mut self, upto: Seq) {
        let upto = upto.get().min(self.last().get());
        self.confirmed = self.confirmed.max(upto);
        while self.base < upto {
            self.drop_first();
        }
        if self.events.is_empty() && self.events.capacity() > IDLE_SLOTS {
            self.events = VecDeque::new();
        }
        debug_assert!(self.confirmed <= self.base, "a confirmed event is no longer held");
    }

    /// Records that a stream has written the events up to `upto`.
    pub(super) fn streamed(&mut self, upto: Seq) {
        self.streamed = self.streamed.max(upto.get());
    }

    /// A new reader starts at `after`. What the previous reader wrote may be lost with its
    /// connection, so the slots of those events no longer count as free.
    pub(super) fn rewind(&mut self, after: Seq) {
        self.streamed = self.streamed.min(after.get());
    }

    /// Whether unconfirmed events after `after` are no longer held.
    pub(super) fn outran(&self, after: Seq) -> bool {
        after.get().max(self.confirmed) < self.base
    }

    /// Whether a reader may start at `after`.
    pub(super) fn check(&self, after: Seq) -> Result<(), OutOfRange> {
        let position = after.get();
        if position < self.confirmed || position > self.last().get() {
            let (confirmed, last) = (Seq::new(self.confirmed), self.last());
            return Err(OutOfRange::Invalid { confirmed, last });
        }
        if position < self.base { Err(OutOfRange::Gone) } else { Ok(()) }
    }

    /// The events after `after`, a position that passed [`check`](Self::check): at most `limit`
    /// events and at most `bytes` bytes, but at least one event if there is one.
    pub(super) fn window(&self, after: Seq, limit: usize, bytes: usize) -> Window<'_> {
        // Another request may have confirmed beyond `after`: the window then starts at `base`.
        let after = after.get().max(self.base);
        let skip = (after - self.base) as usize;
        let mut size = 0;
        let count = self
            .events
            .range(skip.min(self.events.len())..)
            .take(limit)
            .take_while(|event| {
                size += event.payload.len() + 1;
                size <= bytes || size == event.payload.len() + 1
            })
            .count();
        let next = Seq::new(after + count as u64);
        let start = skip.min(self.events.len());
        Window { events: self.events.range(start..start + count), next }
    }

    fn drop_first(&mut self) {
        if let Some(event) = self.events.pop_front() {
            debug_assert!(
                self.bytes >= event.payload.len(),
                "the byte count covers every event that is held",
            );
            self.bytes -= event.payload.len();
            self.base += 1;
        }
    }
}

/// Consecutive events of a mailbox, borrowed while the session is locked.
#[derive(Clone, Debug)]
pub(super) struct Window<'a> {
    events: vec_deque::Iter<'a, Event>,
    next: Seq,
}

impl<'a> Window<'a> {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// The seq of its last event.
    pub(super) fn next(&self) -> Seq {
        self.next
    }

    pub(super) fn events(&self) -> vec_deque::Iter<'a, Event> {
        self.events.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: MailboxLimits = MailboxLimits { events: 4, bytes: 100 };

    fn event(size: usize) -> Event {
        Event { payload: vec![b'x'; size].into(), accepted_at: Timestamp::default() }
    }

    fn filled(count: usize) -> Mailbox {
        let mut mailbox = Mailbox::default();
        for _ in 0..count {
            mailbox.append(event(1), LIMITS).expect("the mailbox has capacity");
        }
        mailbox
    }

    #[test]
    fn a_read_removes_nothing() {
        let mailbox = filled(3);
        for _ in 0..2 {
            let window = mailbox.window(Seq::new(1), 10, 1_000);
            assert_eq!((window.len(), window.next()), (2, Seq::new(3)));
        }
    }

    #[test]
    fn a_mailbox_is_full_by_count_and_by_size_until_events_are_confirmed() {
        let mut mailbox = filled(4);
        assert!(mailbox.append(event(1), LIMITS).is_err());
        mailbox.confirm(Seq::new(1));
        assert!(mailbox.append(event(98), LIMITS).is_err(), "3 + 98 bytes are more than 100");
        assert!(mailbox.append(event(97), LIMITS).is_ok());
    }

    #[test]
    fn events_written_to_a_stream_are_evicted_when_their_slot_is_needed() {
        let mut mailbox = filled(4);
        mailbox.streamed(Seq::new(2));
        assert!(mailbox.append(event(1), LIMITS).is_ok());
        assert_eq!(mailbox.check(Seq::new(0)), Err(OutOfRange::Gone));
        assert_eq!(mailbox.check(Seq::new(1)), Ok(()), "only the slots that were needed are freed");
        assert_eq!(mailbox.last(), Seq::new(5));
    }

    #[test]
    fn a_position_that_never_existed_differs_from_one_that_was_evicted() {
        let mut mailbox = filled(4);
        mailbox.confirm(Seq::new(2));
        let invalid = OutOfRange::Invalid { confirmed: Seq::new(2), last: Seq::new(4) };
        assert_eq!(mailbox.check(Seq::new(1)), Err(invalid));
        assert_eq!(mailbox.check(Seq::new(5)), Err(invalid));
        assert_eq!(mailbox.check(Seq::new(4)), Ok(()));
        mailbox.confirm(Seq::new(1));
        assert_eq!(mailbox.check(Seq::new(2)), Ok(()), "a late confirmation changes nothing");
    }

    #[test]
    fn a_window_is_bounded_by_size_but_holds_at_least_one_event() {
        let mut mailbox = Mailbox::default();
        for size in [10, 10, 50] {
            mailbox.append(event(size), LIMITS).expect("the mailbox has capacity");
        }
        assert_eq!(mailbox.window(Seq::new(0), 10, 22).len(), 2);
        assert_eq!(
            mailbox.window(Seq::new(2), 10, 22).len(),
            1,
            "a window holds at least one event"
        );
        assert_eq!(mailbox.window(Seq::new(3), 10, 22).len(), 0);
    }

    proptest! {
        /// I3 and I5: a reader sees 1, 2, 3… in any interleaving of append, read and confirm.
        #[test]
        fn seqs_have_no_holes(steps in proptest::collection::vec((0u8..4, 1u64..6), 1..200)) {
            let (mut mailbox, mut appended, mut seen) = (Mailbox::default(), 0u64, 0u64);
            for (step, amount) in steps {
                match step {
                    0 | 1 => {
                        let payload = Bytes::from((appended + 1).to_be_bytes().to_vec());
                        let event = Event { payload, accepted_at: Timestamp::default() };
                        if mailbox.append(event, LIMITS).is_ok() {
                            appended += 1;
                        }
                    }
                    2 => {
                        let window = mailbox.window(Seq::new(seen), amount as usize, 1_000);
                        for (index, event) in window.events().enumerate() {
                            let number = u64::from_be_bytes(
                                event.payload.as_ref().try_into().expect("8 bytes"),
                            );
                            prop_assert_eq!(number, seen + 1 + index as u64);
                        }
                        seen = window.next().get();
                    }
                    _ => mailbox.confirm(Seq::new(seen)),
                }
                prop_assert_eq!(mailbox.last(), Seq::new(appended));
                prop_assert!(mailbox.events.len() <= LIMITS.events && mailbox.bytes <= LIMITS.bytes);
            }
        }
    }
}
