//! The sends accepted by this node that are not acknowledged yet.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::model::MessageId;

/// How long an outcome is kept for a sender that does not wait yet. There is no await between the
/// log's response and the wait, so only cancelled sends ever leave an outcome here.
const KEEP_OUTCOME: Duration = Duration::from_secs(30);

/// Brings outcomes and waiting senders together, whichever comes first.
#[derive(Debug, Default)]
pub(super) struct PendingSends {
    slots: Mutex<HashMap<MessageId, Slot, foldhash::fast::RandomState>>,
}

#[derive(Debug)]
enum Slot {
    /// The sender of the message waits, and the senders of its repeats.
    Waiting(Vec<oneshot::Sender<MessageId>>),
    /// The message was stored before its sender began to wait.
    Done { first_id: MessageId, at: Instant },
}

impl PendingSends {
    /// Begins to wait for the outcome of a send: the first one under its id, or a `repeat` of that.
    pub(super) fn wait_for(
        &self,
        message_id: MessageId,
        repeat: bool,
    ) -> oneshot::Receiver<MessageId> {
        let (sender, receiver) = oneshot::channel();
        let mut slots = self.lock();
        match slots.entry(message_id).or_insert_with(|| Slot::Waiting(Vec::with_capacity(1))) {
            Slot::Waiting(waiting) => {
                // Repeats whose senders stopped waiting must not accumulate.
                waiting.retain(|other| !other.is_closed());
                waiting.push(sender);
            }
            Slot::Done { first_id, .. } => {
                let first_id = *first_id;
                // The first send may not wait yet, so a repeat leaves the outcome for it.
                if !repeat {
                    slots.remove(&message_id);
                }
                // The receiver exists: it is returned below.
                let _ = sender.send(first_id);
            }
        }
        receiver
    }

    /// For each pair: the send of the first id is stored under the second one.
    pub(super) fn complete(&self, outcomes: impl Iterator<Item = (MessageId, MessageId)>) {
        let mut slots = self.lock();
        for (message_id, first_id) in outcomes {
            debug_assert!(first_id <= message_id, "a repeat is stored under an earlier id");
            match slots.remove(&message_id) {
                Some(Slot::Waiting(waiting)) => {
                    for waiter in waiting {
                        // A sender that stopped waiting dropped its receiver.
                        let _ = waiter.send(first_id);
                    }
                }
                Some(Slot::Done { .. }) | None => {
                    slots.insert(message_id, Slot::Done { first_id, at: Instant::now() });
                }
            }
        }
    }

    /// Forgets outcomes that no sender asked for in time, and waits without a sender.
    pub(super) fn tidy(&self, now: Instant) {
        self.lock().retain(|_, slot| match slot {
            Slot::Waiting(waiting) => {
                waiting.retain(|waiter| !waiter.is_closed());
                !waiting.is_empty()
            }
            Slot::Done { at, .. } => now.saturating_duration_since(*at) < KEEP_OUTCOME,
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MessageId, Slot, foldhash::fast::RandomState>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: MessageId = MessageId::new(7);

    fn waiting(pending: &PendingSends) -> usize {
        match pending.lock().get(&ID) {
            Some(Slot::Waiting(waiting)) => waiting.len(),
            _ => 0,
        }
    }

    #[test]
    fn repeats_that_stopped_waiting_do_not_accumulate() {
        let pending = PendingSends::default();
        let mut first = pending.wait_for(ID, false);
        for _ in 0..100 {
            drop(pending.wait_for(ID, true));
        }
        assert!(waiting(&pending) <= 2, "{} senders wait", waiting(&pending));
        pending.complete(std::iter::once((ID, ID)));
        assert_eq!(first.try_recv(), Ok(ID));
    }

    #[test]
    fn a_wait_is_forgotten_once_all_its_senders_stopped_waiting() {
        let pending = PendingSends::default();
        let first = pending.wait_for(ID, false);
        pending.tidy(Instant::now());
        assert_eq!(waiting(&pending), 1, "a sender waits");
        drop(first);
        pending.tidy(Instant::now());
        assert!(pending.lock().is_empty());
    }

    #[test]
    fn an_outcome_that_no_sender_asks_for_is_forgotten_in_time() {
        let pending = PendingSends::default();
        pending.complete(std::iter::once((ID, ID)));
        let stored_at = Instant::now();
        pending.tidy(stored_at);
        assert!(!pending.lock().is_empty(), "its sender may not wait yet");
        pending.tidy(stored_at + KEEP_OUTCOME);
        assert!(pending.lock().is_empty());
    }
}
