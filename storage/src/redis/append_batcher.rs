//! Batches the drafts of concurrent callers to one partition's log. While a call is in flight the
//! next batch gathers; there are no timers. Owns the queue and the size of batches; the call itself
//! is in [`message_log`](super::message_log).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pabal_core::model::{MessageId, Partition};
use pabal_core::ports::{LogError, Sequenced};
use tokio::sync::oneshot;

/// The most drafts in one batch.
pub(super) const MAX_BATCH: usize = 128;
/// The most calls in flight for one partition: one that the server executes, and one on its way to
/// the server.
const MAX_CALLS: usize = 2;
/// Up to this many drafts go in one batch, even if two senders could share them.
const UNDIVIDED: usize = 16;
/// The most drafts that wait for a batch.
const MAX_PENDING: usize = 8_192;

/// A draft that waits to be appended.
pub(super) struct PendingDraft {
    pub(super) floor: MessageId,
    pub(super) value: Vec<u8>,
    pub(super) reply: oneshot::Sender<Result<Sequenced, LogError>>,
}

/// The pending drafts of a partition.
pub(super) struct AppendBatcher {
    pub(super) partition: Partition,
    /// The partition's keys: the entries, their send keys, and the last id given with the number of
    /// messages in the log.
    pub(super) keys: [String; 3],
    /// The average number of messages in the entries of the last read.
    messages_per_entry: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pending: VecDeque<PendingDraft>,
    /// The number of senders, and how many of them have a call in flight.
    senders: usize,
    calls_in_flight: usize,
}

impl AppendBatcher {
    pub(super) fn new(partition: Partition, keys: [String; 3]) -> Self {
        Self { partition, keys, messages_per_entry: AtomicUsize::new(1), state: Mutex::default() }
    }

    /// The keys as a script takes them.
    pub(super) fn keys(&self) -> [&str; 3] {
        self.keys.each_ref().map(String::as_str)
    }

    /// Adds a draft. Returns whether the caller has to start a sender, which takes batches until
    /// none is left.
    ///
    /// # Errors
    /// [`LogError::Full`] if too many drafts wait; retry.
    pub(super) fn add(&self, draft: PendingDraft) -> Result<bool, LogError> {
        let mut state = self.lock();
        if state.pending.len() >= MAX_PENDING {
            return Err(LogError::Full);
        }
        state.pending.push_back(draft);
        let start_sender = state.senders < MAX_CALLS;
        state.senders += usize::from(start_sender);
        Ok(start_sender)
    }

    /// The next batch to send; `None` if the sender has to end. If another sender is about to take a
    /// batch, the drafts are divided between both: while the server executes one half, the callers of
    /// the other half prepare their next drafts. One batch for all would make server and callers
    /// wait for each other in turns.
    pub(super) fn next_batch(&self) -> Option<Vec<PendingDraft>> {
        let mut state = self.lock();
        debug_assert!(
            state.calls_in_flight < state.senders,
            "the sender that takes a batch has no call in flight"
        );
        let (pending, takers) = (state.pending.len(), state.senders - state.calls_in_flight);
        if pending == 0 {
            state.senders -= 1;
            return None;
        }
        let share = pending.div_ceil(takers).max(UNDIVIDED.min(pending));
        state.calls_in_flight += 1;
        Some(state.pending.drain(..share.min(MAX_BATCH)).collect())
    }

    /// The call with a batch has ended.
    pub(super) fn batch_done(&self) {
        let mut state = self.lock();
        debug_assert!(state.calls_in_flight > 0, "only a batch that was taken can end");
        state.calls_in_flight -= 1;
    }

    /// The number of entries to read for about `messages` messages.
    pub(super) fn entries_for(&self, messages: usize) -> usize {
        messages.div_ceil(self.messages_per_entry.load(Ordering::Relaxed))
    }

    /// Records the sizes of the entries of a read.
    pub(super) fn record_read(&self, messages: usize, entries: usize) {
        let average = (messages / entries.max(1)).max(1);
        self.messages_per_entry.store(average, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> PendingDraft {
        let (reply, _) = oneshot::channel();
        PendingDraft { floor: MessageId::default(), value: Vec::new(), reply }
    }

    /// Adds `count` drafts. Returns the number of senders to start.
    fn add(batcher: &AppendBatcher, count: usize) -> usize {
        (0..count).filter(|_| matches!(batcher.add(draft()), Ok(true))).count()
    }

    fn next_size(batcher: &AppendBatcher) -> usize {
        batcher.next_batch().map_or(0, |drafts| drafts.len())
    }

    #[test]
    fn two_senders_divide_the_pending_drafts_and_a_single_sender_takes_all() {
        let batcher =
            AppendBatcher::new(Partition::new(0).expect("a partition"), Default::default());
        assert_eq!(add(&batcher, 50), 2);
        assert_eq!((next_size(&batcher), next_size(&batcher)), (25, 25));
        // The other sender has a call in flight.
        assert_eq!(add(&batcher, 30), 0);
        batcher.batch_done();
        assert_eq!(next_size(&batcher), 30);
        batcher.batch_done();
        batcher.batch_done();
        // A small number of drafts is not divided.
        assert_eq!(add(&batcher, 16), 0);
        assert_eq!((next_size(&batcher), next_size(&batcher)), (16, 0));
        // One sender has ended.
        assert_eq!(add(&batcher, 1), 1);
        assert_eq!(add(&batcher, 2 * MAX_BATCH + 99), 0);
        assert_eq!(next_size(&batcher), MAX_BATCH);
        batcher.batch_done();
        assert_eq!(next_size(&batcher), MAX_BATCH);
        assert_eq!(add(&batcher, MAX_PENDING), 0);
        assert!(matches!(batcher.add(draft()), Err(LogError::Full)));
    }

    #[test]
    fn a_read_asks_for_as_many_entries_as_hold_the_wanted_messages() {
        let batcher =
            AppendBatcher::new(Partition::new(0).expect("a partition"), Default::default());
        assert_eq!(batcher.entries_for(256), 256);
        batcher.record_read(1_000, 10);
        assert_eq!((batcher.entries_for(256), batcher.entries_for(1)), (3, 1));
        batcher.record_read(3, 3);
        assert_eq!(batcher.entries_for(256), 256);
    }
}
