//! The events of one session that are not confirmed yet, numbered without holes.
//!
//! Reading takes nothing out (invariant I5): only a confirmation does, or, for a stream whose client
//! never confirms, the need for room once the event has been written.

use std::collections::VecDeque;
use std::collections::vec_deque;

use bytes::Bytes;

use crate::model::{Seq, Timestamp};

/// An event as mailboxes hold it: serialised once, shared by all sessions that receive it.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) payload: Bytes,
    /// When the node that took the command took it.
    pub(super) accepted_at: Timestamp,
}

/// A bounded queue that is read by position.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    events: VecDeque<Event>,
    bytes: usize,
    /// The seq of the event before the first held one.
    base: u64,
    /// Up to here the client has said it has the events.
    confirmed: u64,
    /// Up to here the events were written to a stream.
    streamed: u64,
}

/// What `after` asks for cannot be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutOfRange {
    /// Below what was confirmed, or above what was ever sent: the client is wrong.
    Invalid { confirmed: Seq, last: Seq },
    /// The stream ran ahead so far that these events are no longer held.
    Gone,
}

/// The bounds of a mailbox.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

/// Once a mailbox has used more slots than this, it gives them back when it is empty.
const IDLE_SLOTS: usize = 16;

impl Mailbox {
    /// The seq of the newest event ever put in.
    pub(super) fn last(&self) -> Seq {
        Seq::new(self.base + self.events.len() as u64)
    }

    /// Where a reader begins that names no position: before the first event held.
    pub(super) fn start(&self) -> Seq {
        Seq::new(self.base)
    }

    /// Puts an event at the end; hands it back if there is no room.
    pub(super) fn push(&mut self, event: Event, room: Room) -> Result<(), Event> {
        let size = event.payload.len();
        let full = |mailbox: &Self| {
            mailbox.events.len() >= room.events || mailbox.bytes + size > room.bytes
        };
        while full(self) && self.base < self.streamed {
            self.drop_first();
        }
        if full(self) {
            return Err(event);
        }
        self.bytes += size;
        self.events.push_back(event);
        Ok(())
    }

    /// How many more events fit, counting those that a stream was given as room.
    pub(super) fn free_slots(&self, room: Room) -> usize {
        let held = self.last().get() - self.base.max(self.streamed.min(self.last().get()));
        room.events.saturating_sub(held as usize)
    }

    /// Whether at least half of the room is free, by count and by size.
    pub(super) fn half_empty(&self, room: Room) -> bool {
        let streamed = (self.streamed.saturating_sub(self.base)) as usize;
        let unread_bytes: usize =
            self.events.iter().skip(streamed).map(|event| event.payload.len()).sum();
        self.free_slots(room) * 2 >= room.events && unread_bytes * 2 <= room.bytes
    }

    /// Forgets what the client has. A confirmation that comes late changes nothing.
    pub(super) fn confirm(&mut self, upto: Seq) {
        let upto = upto.get().min(self.last().get());
        self.confirmed = self.confirmed.max(upto);
        while self.base < upto {
            self.drop_first();
        }
        if self.events.is_empty() && self.events.capacity() > IDLE_SLOTS {
            self.events = VecDeque::new();
        }
    }

    /// Notes what a stream has written.
    pub(super) fn streamed(&mut self, upto: Seq) {
        self.streamed = self.streamed.max(upto.get());
    }

    /// Another reader begins: what was written to the one before, and may be lost with its
    /// connection, makes room no longer.
    pub(super) fn rewind(&mut self, after: Seq) {
        self.streamed = self.streamed.min(after.get());
    }

    /// Whether events behind `after`, which nobody confirmed, are no longer held.
    pub(super) fn outran(&self, after: Seq) -> bool {
        after.get().max(self.confirmed) < self.base
    }

    /// Whether a reader may stand at `after`.
    pub(super) fn check(&self, after: Seq) -> Result<(), OutOfRange> {
        let position = after.get();
        if position < self.confirmed || position > self.last().get() {
            let (confirmed, last) = (Seq::new(self.confirmed), self.last());
            return Err(OutOfRange::Invalid { confirmed, last });
        }
        if position < self.base { Err(OutOfRange::Gone) } else { Ok(()) }
    }

    /// The events behind `after`, which [`check`](Self::check) has passed: at most `limit`, and no
    /// more than fit into `bytes` unless it is only one.
    pub(super) fn window(&self, after: Seq, limit: usize, bytes: usize) -> Window<'_> {
        // Another request may have confirmed beyond `after`: then that is where the rest begins.
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
            self.bytes -= event.payload.len();
            self.base += 1;
        }
    }
}

/// A run of events in a mailbox, borrowed while its session is locked.
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

    const ROOM: Room = Room { events: 4, bytes: 100 };

    fn event(size: usize) -> Event {
        Event { payload: vec![b'x'; size].into(), accepted_at: Timestamp::default() }
    }

    fn filled(count: usize) -> Mailbox {
        let mut mailbox = Mailbox::default();
        for _ in 0..count {
            mailbox.push(event(1), ROOM).expect("room");
        }
        mailbox
    }

    #[test]
    fn a_read_consumes_nothing() {
        let mailbox = filled(3);
        for _ in 0..2 {
            let window = mailbox.window(Seq::new(1), 10, 1_000);
            assert_eq!((window.len(), window.next()), (2, Seq::new(3)));
        }
    }

    #[test]
    fn is_full_by_count_and_by_size_until_confirmed() {
        let mut mailbox = filled(4);
        assert!(mailbox.push(event(1), ROOM).is_err());
        mailbox.confirm(Seq::new(1));
        assert!(mailbox.push(event(98), ROOM).is_err(), "3 + 98 bytes are more than 100");
        assert!(mailbox.push(event(97), ROOM).is_ok());
    }

    #[test]
    fn a_stream_makes_room_by_having_written() {
        let mut mailbox = filled(4);
        mailbox.streamed(Seq::new(2));
        assert!(mailbox.push(event(1), ROOM).is_ok());
        assert_eq!(mailbox.check(Seq::new(0)), Err(OutOfRange::Gone));
        assert_eq!(mailbox.check(Seq::new(1)), Ok(()), "no more than needed was dropped");
        assert_eq!(mailbox.last(), Seq::new(5));
    }

    #[test]
    fn tells_a_wrong_position_from_a_lost_one() {
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
    fn a_window_is_bounded_by_size_but_never_stuck() {
        let mut mailbox = Mailbox::default();
        for size in [10, 10, 50] {
            mailbox.push(event(size), ROOM).expect("room");
        }
        assert_eq!(mailbox.window(Seq::new(0), 10, 22).len(), 2);
        assert_eq!(mailbox.window(Seq::new(2), 10, 22).len(), 1, "one always fits");
        assert_eq!(mailbox.window(Seq::new(3), 10, 22).len(), 0);
    }

    proptest! {
        /// I3 and I5: whatever is pushed, read and confirmed, what a reader sees is 1, 2, 3…
        #[test]
        fn seqs_have_no_holes(steps in proptest::collection::vec((0u8..4, 1u64..6), 1..200)) {
            let (mut mailbox, mut pushed, mut seen) = (Mailbox::default(), 0u64, 0u64);
            for (step, amount) in steps {
                match step {
                    0 | 1 => {
                        let payload = Bytes::from((pushed + 1).to_be_bytes().to_vec());
                        let event = Event { payload, accepted_at: Timestamp::default() };
                        if mailbox.push(event, ROOM).is_ok() {
                            pushed += 1;
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
                prop_assert_eq!(mailbox.last(), Seq::new(pushed));
                prop_assert!(mailbox.events.len() <= ROOM.events && mailbox.bytes <= ROOM.bytes);
            }
        }
    }
}
