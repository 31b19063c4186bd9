//! The way of drafts to the log of one partition. Those of concurrent callers go together: while a
//! call is under way the next one gathers, without timers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pabal_core::model::{MessageId, Partition};
use pabal_core::ports::{LogError, Sequenced};
use tokio::sync::oneshot;

/// As many drafts as go together at most.
pub(super) const TOGETHER: usize = 128;
/// As many calls of one partition as are under way at a time: one that the server works on, and one
/// that is on its way there.
const UNDER_WAY: usize = 2;
/// As many drafts as do not go apart from each other, though two calls might share them.
const NOT_PARTED: usize = 16;
/// As many drafts as may wait.
const WAITING: usize = 8_192;

/// A draft that waits to be appended.
pub(super) struct Waiting {
    pub(super) floor: MessageId,
    pub(super) value: Vec<u8>,
    pub(super) answer: oneshot::Sender<Result<Sequenced, LogError>>,
}

/// The drafts of a partition.
pub(super) struct Lane {
    pub(super) partition: Partition,
    /// Its keys: the entries, their send keys, the last id given and how many messages wait.
    pub(super) keys: [String; 3],
    /// How many messages the entries had that were read last, on average.
    an_entry: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// How many senders run, and how many of them have a call under way.
    senders: usize,
    under_way: usize,
}

impl Lane {
    pub(super) fn new(partition: Partition, keys: [String; 3]) -> Self {
        Self { partition, keys, an_entry: AtomicUsize::new(1), state: Mutex::default() }
    }

    /// The keys as a script takes them.
    pub(super) fn keys(&self) -> [&str; 3] {
        self.keys.each_ref().map(String::as_str)
    }

    /// Puts a draft in; answers whether the caller has to start a sender, which takes drafts out
    /// until there are none.
    pub(super) fn put(&self, draft: Waiting) -> Result<bool, LogError> {
        let mut state = self.lock();
        if state.waiting.len() >= WAITING {
            return Err(LogError::Full);
        }
        state.waiting.push_back(draft);
        let starts = state.senders < UNDER_WAY;
        state.senders += usize::from(starts);
        Ok(starts)
    }

    /// The next drafts to send; none if the sender has to end. If another sender is about to take
    /// some as well, it gets its share: while the server works on one half, the callers of the other
    /// get ready again. Or else all would go together, and server and callers wait in turns.
    pub(super) fn take(&self) -> Option<Vec<Waiting>> {
        let mut state = self.lock();
        let (waiting, takers) = (state.waiting.len(), state.senders - state.under_way);
        if waiting == 0 {
            state.senders -= 1;
            return None;
        }
        let share = waiting.div_ceil(takers).max(NOT_PARTED.min(waiting));
        state.under_way += 1;
        Some(state.waiting.drain(..share.min(TOGETHER)).collect())
    }

    /// What a sender took is done with.
    pub(super) fn done(&self) {
        self.lock().under_way -= 1;
    }

    /// How many entries to ask for, to get about `messages` and not many times as many.
    pub(super) fn entries_with(&self, messages: usize) -> usize {
        messages.div_ceil(self.an_entry.load(Ordering::Relaxed))
    }

    /// Takes note of how many messages entries had.
    pub(super) fn saw(&self, messages: usize, entries: usize) {
        self.an_entry.store((messages / entries.max(1)).max(1), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts so many drafts in; answers how many senders have to start.
    fn put(lane: &Lane, count: usize) -> usize {
        let put = |_| {
            let (answer, _) = oneshot::channel();
            lane.put(Waiting { floor: MessageId::default(), value: Vec::new(), answer })
        };
        (0..count).map(put).filter(|starts| matches!(starts, Ok(true))).count()
    }

    fn take(lane: &Lane) -> usize {
        lane.take().map_or(0, |drafts| drafts.len())
    }

    #[test]
    fn two_senders_share_what_waits_and_one_takes_it_all() {
        let lane = Lane::new(Partition::new(0).expect("a partition"), Default::default());
        assert_eq!(put(&lane, 50), 2);
        assert_eq!((take(&lane), take(&lane)), (25, 25));
        // The other one has a call under way.
        assert_eq!(put(&lane, 30), 0);
        lane.done();
        assert_eq!(take(&lane), 30);
        lane.done();
        lane.done();
        // Few stay together, however many could share them.
        assert_eq!(put(&lane, 16), 0);
        assert_eq!((take(&lane), take(&lane)), (16, 0));
        // One sender has ended.
        assert_eq!(put(&lane, 1), 1);
        assert_eq!(put(&lane, 2 * TOGETHER + 99), 0);
        assert_eq!(take(&lane), TOGETHER);
        lane.done();
        assert_eq!(take(&lane), TOGETHER);
        assert_eq!(put(&lane, WAITING), 0);
        let (answer, _) = oneshot::channel();
        let one_more = Waiting { floor: MessageId::default(), value: Vec::new(), answer };
        assert!(matches!(lane.put(one_more), Err(LogError::Full)));
    }

    #[test]
    fn as_many_entries_are_asked_for_as_hold_what_is_wanted() {
        let lane = Lane::new(Partition::new(0).expect("a partition"), Default::default());
        assert_eq!(lane.entries_with(256), 256);
        lane.saw(1_000, 10);
        assert_eq!((lane.entries_with(256), lane.entries_with(1)), (3, 1));
        lane.saw(3, 3);
        assert_eq!(lane.entries_with(256), 256);
    }
}
