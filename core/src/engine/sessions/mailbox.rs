//! The mailbox of one session: its events that are not confirmed yet, numbered without holes.
//!
//! A read removes nothing (invariant I5). An event leaves the mailbox when the client confirms it. An
//! event that was written to a stream leaves earlier if a new event needs its slot.
//!
//! Moments (`typing`, `read`, `presence`) wait beside the mailbox, the newest of each kind, and are numbered
//! only when a reader takes events: behind all that is there, and in slots of their own.

use std::collections::VecDeque;
use std::collections::vec_deque;
use std::sync::Arc;

use bytes::Bytes;

use super::moments::{MOMENTS, Moments};
use crate::engine::budget::Pool;
use crate::model::{Seq, Timestamp};

/// An event as mailboxes hold it: serialised once, shared by all sessions that receive it.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Event {
    pub(in crate::engine) payload: Bytes,
    /// When the node that received the command accepted it.
    pub(in crate::engine) accepted_at: Timestamp,
}

/// A bounded queue that is read by position.
#[derive(Debug)]
pub(super) struct Mailbox {
    events: VecDeque<Event>,
    bytes: usize,
    /// The seq of the event before the first held one.
    base: u64,
    /// The highest seq that the client has confirmed.
    confirmed: u64,
    /// The highest seq that was written to a stream.
    streamed: u64,
    /// The highest seq that any reader was given. Numbers above it may be given again.
    seen: u64,
    /// Absent while there are none.
    moments: Option<Box<Moments>>,
    /// What the slots of `events` are counted in.
    pool: Arc<Pool>,
    /// How many slots are counted.
    slots: usize,
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

/// How much fits a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

/// The bytes of a slot.
const SLOT: usize = size_of::<Event>();
/// An empty mailbox that has grown beyond this many slots frees their memory.
const IDLE_SLOTS: usize = 16;

impl Mailbox {
    /// An empty mailbox, whose slots are counted in `pool`. Its events were counted before.
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            base: 0,
            confirmed: 0,
            streamed: 0,
            seen: 0,
            moments: None,
            pool,
            slots: 0,
        }
    }

    /// The seq of the newest event that was ever appended.
    pub(super) fn last(&self) -> Seq {
        Seq::new(self.base + self.events.len() as u64)
    }

    /// The position before the first held event: where a reader starts that names no position.
    pub(super) fn start(&self) -> Seq {
        Seq::new(self.base)
    }

    /// Appends an event. Returns the event if the mailbox is full, or the node has no memory left for its
    /// slot.
    pub(super) fn append(&mut self, event: Event, limits: MailboxLimits) -> Result<(), Event> {
        let size = event.payload.len();
        let full = |mailbox: &Self| {
            let moments = mailbox.moments();
            mailbox.events.len() - moments.events >= limits.events
                || mailbox.bytes - moments.bytes + size > limits.bytes
        };
        while full(self) && self.base < self.streamed {
            self.drop_first();
        }
        if full(self) || !self.has_slot() {
            return Err(event);
        }
        self.push(event);
        debug_assert!(
            self.events.len() <= limits.events + MOMENTS,
            "a mailbox never exceeds its limits",
        );
        Ok(())
    }

    /// A moment waits for the next read. It takes the place of an earlier one of its kind.
    pub(super) fn append_moment(&mut self, event: Event) {
        self.moments.get_or_insert_default().wait(event);
    }

    /// Numbers the moments that wait, for a reader that is about to take events.
    pub(super) fn number_moments(&mut self, limits: MailboxLimits) {
        let Some(mut moments) = self.moments.take() else { return };
        while let Some(event) = moments.next() {
            while self.events.len() >= limits.events + MOMENTS && self.base < self.streamed {
                self.drop_first();
            }
            if self.events.len() >= limits.events + MOMENTS || !self.has_slot() {
                // It is only of use at its moment.
                continue;
            }
            moments.number(self.last().get() + 1, event.payload.len());
            self.push(event);
        }
        self.moments = (!moments.is_empty()).then_some(moments);
    }

    /// What the moments of the mailbox take that no stream has written.
    fn moments(&self) -> Room {
        self.moments.as_ref().map_or(Room { events: 0, bytes: 0 }, |moments| moments.numbered())
    }

    fn push(&mut self, event: Event) {
        self.bytes += event.payload.len();
        self.events.push_back(event);
    }

    /// Makes sure of a slot for one more event. False if the pool has no bytes for it.
    fn has_slot(&mut self) -> bool {
        if self.events.len() < self.slots {
            return true;
        }
        let more = self.slots.max(4);
        if !self.pool.take(more * SLOT) {
            return false;
        }
        self.slots += more;
        self.events.reserve_exact(self.slots - self.events.len());
        true
    }

    /// Frees the memory of the slots.
    fn free_slots(&mut self) {
        debug_assert!(self.events.is_empty(), "only slots that are free");
        self.events = VecDeque::new();
        self.pool.give_back(self.slots * SLOT);
        self.slots = 0;
    }

    /// How many events it holds.
    #[cfg(test)]
    pub(super) fn held_events(&self) -> usize {
        self.events.len()
    }

    /// The bytes that it holds, with those of its slots.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes + self.slots * SLOT
    }

    /// Drops what streams have written and keep for a reconnection. Returns whether there was any.
    pub(super) fn drop_streamed(&mut self) -> bool {
        let before = self.base;
        while self.base < self.streamed && !self.events.is_empty() {
            self.drop_first();
        }
        if self.events.is_empty() {
            self.free_slots();
        }
        self.base > before
    }

    /// Drops everything. Returns the highest seq that a reader was given: the events above it never
    /// existed for the client, and the next one gets the number after it.
    pub(super) fn drop_all(&mut self) -> Seq {
        let kept = self.seen.clamp(self.base, self.last().get());
        self.events.clear();
        (self.bytes, self.base, self.moments) = (0, kept, None);
        self.free_slots();
        Seq::new(kept)
    }

    /// How much more fits. What was written to a stream counts as free.
    pub(super) fn room(&self, limits: MailboxLimits) -> Room {
        let streamed = self.streamed.saturating_sub(self.base) as usize;
        let unread = self.events.iter().skip(streamed).map(|event| event.payload.len());
        let (events, bytes) =
            unread.fold((0, 0), |(events, bytes), size| (events + 1, bytes + size));
        let moments = self.moments();
        Room {
            events: limits.events.saturating_sub(events - moments.events),
            bytes: limits.bytes.saturating_sub(bytes - moments.bytes),
        }
    }

    /// Whether at least half of the capacity is free, by count and by size.
    pub(super) fn half_empty(&self, limits: MailboxLimits) -> bool {
        let room = self.room(limits);
        room.events * 2 >= limits.events && room.bytes * 2 >= limits.bytes
    }

    /// Removes the events up to `upto`, which the client has received. A late confirmation, below an
    /// earlier one, changes nothing.
    pub(super) fn confirm(&mut self, upto: Seq) {
        let upto = upto.get().min(self.last().get());
        self.confirmed = self.confirmed.max(upto);
        while self.base < upto {
            self.drop_first();
        }
        if self.events.is_empty() && self.slots > IDLE_SLOTS {
            self.free_slots();
        }
        debug_assert!(self.confirmed <= self.base, "a confirmed event is no longer held");
    }

    /// Records that a stream has written the events up to `upto`.
    pub(super) fn streamed(&mut self, upto: Seq) {
        self.streamed = self.streamed.max(upto.get());
        self.seen(upto);
        if let Some(moments) = &mut self.moments {
            moments.release(upto.get());
        }
    }

    /// Records that a reader was given the events up to `upto`.
    pub(super) fn seen(&mut self, upto: Seq) {
        self.seen = self.seen.max(upto.get());
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
            if let Some(moments) = &mut self.moments {
                moments.release(self.base);
            }
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.pool.give_back(self.slots * SLOT);
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

    fn empty() -> Mailbox {
        Mailbox::new(Arc::new(Pool::new(1 << 20)))
    }

    fn filled(count: usize) -> Mailbox {
        let mut mailbox = empty();
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
        let mut mailbox = empty();
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

    #[test]
    fn a_mailbox_that_is_emptied_gives_numbers_again_that_no_reader_saw() {
        let mut mailbox = filled(4);
        mailbox.seen(mailbox.window(Seq::new(0), 3, 1_000).next());
        mailbox.confirm(Seq::new(1));
        assert_eq!(mailbox.drop_all(), Seq::new(3));
        assert_eq!((mailbox.last(), mailbox.held_bytes()), (Seq::new(3), 0));
        assert_eq!(mailbox.pool.used(), 0);
        assert_eq!(mailbox.check(Seq::new(3)), Ok(()), "the position of a client that has them");
        assert_eq!(mailbox.check(Seq::new(2)), Err(OutOfRange::Gone), "they are held no longer");
        assert!(mailbox.append(event(1), LIMITS).is_ok());
        assert_eq!(mailbox.last(), Seq::new(4));
    }

    #[test]
    fn slots_are_counted_and_an_event_without_one_is_refused() {
        let pool = Arc::new(Pool::new(6 * SLOT));
        let mut mailbox = Mailbox::new(Arc::clone(&pool));
        let limits = MailboxLimits { events: 100, bytes: 1_000 };
        let appended = (0..10).take_while(|_| mailbox.append(event(1), limits).is_ok()).count();
        assert_eq!((appended, pool.used()), (4, 4 * SLOT));
        drop(mailbox);
        assert_eq!(pool.used(), 0);
    }

    proptest! {
        /// I3 and I5: a reader sees 1, 2, 3… in any interleaving of append, read and confirm.
        #[test]
        fn seqs_have_no_holes(steps in proptest::collection::vec((0u8..4, 1u64..6), 1..200)) {
            let (mut mailbox, mut appended, mut seen) = (empty(), 0u64, 0u64);
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
