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
    /// How many senders run.
    senders: usize,
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

    /// The next drafts to send; none if the sender has to end.
    pub(super) fn take(&self) -> Option<Vec<Waiting>> {
        let mut state = self.lock();
        let count = state.waiting.len().min(TOGETHER);
        if count == 0 {
            state.senders -= 1;
            return None;
        }
        Some(state.waiting.drain(..count).collect())
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
