//! Stage 2, sequence and enqueue as one step of the log, and the wait for what became of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::{Engine, Sent};
use crate::model::{Draft, Message, MessageId, Partition};
use crate::ports::{HistoryError, LogError, Origin, Sequenced, Trace};
use crate::protocol::{Problem, ProblemCode};

/// A message that has its place in the log.
pub(super) struct Pending {
    message: Message,
    /// The log knew the send already.
    repeat: bool,
    /// Tells the id under which the send is stored.
    stored: oneshot::Receiver<MessageId>,
    deadline: Instant,
}

impl Engine {
    pub(super) async fn sequence(&self, draft: Draft, trace: Trace) -> Result<Pending, Problem> {
        let deadline = Instant::now() + self.inner.limits.confirm_within;
        let partition = self.partition(draft.channel_id);
        let sequencer = &self.inner.sequencer;
        let floor = sequencer.floor(partition);
        let (node, accepted_at) = (self.inner.node.clone(), self.inner.ports.clock.now());
        let origin = Origin { node, accepted_at, trace: trace.clone() };
        let log = &self.inner.ports.log;
        let sequenced = log.append(partition, floor, draft.clone(), origin).await?;
        let (message_id, repeat) = match sequenced {
            Sequenced::New(message_id) => (message_id, false),
            Sequenced::Repeat(message_id) => (message_id, true),
        };
        trace.identify(draft.channel_id, message_id);
        sequencer.raise_floor(message_id);
        let stored = sequencer.wait_for(message_id, repeat);
        Ok(Pending { message: draft.at(message_id), repeat, stored, deadline })
    }

    pub(super) async fn confirmed(&self, pending: Pending) -> Result<Sent, Problem> {
        let Pending { message, repeat, mut stored, deadline } = pending;
        if !repeat {
            if let Ok(Ok(first_id)) = timeout_at(deadline, &mut stored).await {
                return self.sent(message, first_id).await;
            }
            self.inner.stats.sends_not_confirmed.add(1);
            return Err(not_confirmed());
        }
        // The first send may have been accepted by another node, or be stored already: then nobody
        // will tell, and history has to be asked.
        let mut pause = Duration::from_millis(2);
        loop {
            let (channel_id, first_id) = (message.channel_id, message.message_id);
            if let Some(first) = self.inner.ports.history.get(channel_id, first_id).await? {
                self.inner.stats.sends_repeated.add(1);
                return Ok(Sent { message: first, repeat: true });
            }
            if Instant::now() >= deadline {
                self.inner.stats.sends_not_confirmed.add(1);
                return Err(not_confirmed());
            }
            let next = (Instant::now() + pause).min(deadline);
            if let Ok(Ok(first_id)) = timeout_at(next, &mut stored).await {
                let sent = self.sent(message, first_id).await?;
                return Ok(Sent { repeat: true, ..sent });
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// The answer to a send that is stored under `first_id`.
    async fn sent(&self, message: Message, first_id: MessageId) -> Result<Sent, Problem> {
        if first_id == message.message_id {
            return Ok(Sent { message, repeat: false });
        }
        self.inner.stats.sends_repeated.add(1);
        match self.inner.ports.history.get(message.channel_id, first_id).await? {
            Some(first) => Ok(Sent { message: first, repeat: true }),
            None => Err(not_confirmed()),
        }
    }
}

pub(super) fn not_confirmed() -> Problem {
    let detail = "the message may or may not have been accepted: repeat it with the same \
                  client_message_id";
    Problem::new(ProblemCode::NotConfirmed, detail).retry_after(Duration::from_millis(500))
}

/// Which messages accepted by this node wait to be stored, and how far each partition is.
#[derive(Debug)]
pub(super) struct Sequencer {
    floors: Vec<AtomicU64>,
    slots: Mutex<HashMap<MessageId, Slot, foldhash::fast::RandomState>>,
}

#[derive(Debug)]
enum Slot {
    /// Somebody waits. The sends that repeat this one wait with it.
    Waiting(Vec<oneshot::Sender<MessageId>>),
    /// It was stored before anybody came to wait.
    Done { first_id: MessageId, at: Instant },
}

/// How long the outcome of a send is kept for a sender that has not come to wait. Between the log's
/// answer and the wait lies no await, so only cancelled sends ever leave one behind.
const KEEP_OUTCOME: Duration = Duration::from_secs(30);

impl Sequencer {
    pub(super) fn new(floors: &[MessageId]) -> Self {
        Self {
            floors: floors.iter().map(|floor| AtomicU64::new(floor.get())).collect(),
            slots: Mutex::default(),
        }
    }

    /// The highest id of `partition` that this node has seen: stored, sequenced or delivered. The
    /// outcome of a write may be in doubt, so what is not known to be stored counts as well.
    fn floor(&self, partition: Partition) -> MessageId {
        let floor = &self.floors[usize::from(partition.get())];
        MessageId::new(floor.load(Ordering::Acquire))
    }

    /// This node has seen `message_id`: no id at or below it may be given in its partition again,
    /// even if the log forgets it.
    pub(super) fn raise_floor(&self, message_id: MessageId) {
        if let Some(floor) = self.floors.get(usize::from(message_id.partition().get())) {
            floor.fetch_max(message_id.get(), Ordering::AcqRel);
        }
    }

    /// Waits for the outcome of a send, the first under its id or a `repeat` of that.
    fn wait_for(&self, message_id: MessageId, repeat: bool) -> oneshot::Receiver<MessageId> {
        let (tell, told) = oneshot::channel();
        let mut slots = self.lock();
        match slots.entry(message_id).or_insert_with(|| Slot::Waiting(Vec::with_capacity(1))) {
            Slot::Waiting(waiting) => {
                // Repeats of one send that gave up waiting must not pile up behind it.
                waiting.retain(|other| !other.is_closed());
                waiting.push(tell);
            }
            Slot::Done { first_id, .. } => {
                let first_id = *first_id;
                // The first may be on its way here still, so a repeat leaves the outcome to it.
                if !repeat {
                    slots.remove(&message_id);
                }
                // The receiver is in our hand, so it cannot be gone.
                let _ = tell.send(first_id);
            }
        }
        told
    }

    /// The send behind `message_id` is stored under `first_id`.
    pub(super) fn stored(&self, outcomes: impl Iterator<Item = (MessageId, MessageId)>) {
        let mut slots = self.lock();
        for (message_id, first_id) in outcomes {
            match slots.remove(&message_id) {
                Some(Slot::Waiting(waiting)) => {
                    for waiter in waiting {
                        // A sender that went away does not want to know.
                        let _ = waiter.send(first_id);
                    }
                }
                Some(Slot::Done { .. }) | None => {
                    slots.insert(message_id, Slot::Done { first_id, at: Instant::now() });
                }
            }
        }
    }

    /// Forgets outcomes that nobody came for and waits that everybody gave up.
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

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        tracing::warn!(%error, "a send was refused");
        Self::new(ProblemCode::Unavailable, "the message cannot be taken now")
            .retry_after(Duration::from_millis(200))
    }
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Self {
        if error.retryable() {
            tracing::warn!(%error, "history did not answer");
            let after = Duration::from_millis(500);
            return Self::new(ProblemCode::Unavailable, "history is away").retry_after(after);
        }
        tracing::error!(%error, "history failed");
        Self::new(ProblemCode::Internal, "history cannot be read")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: MessageId = MessageId::new(7);

    fn waiting(sequencer: &Sequencer) -> usize {
        match sequencer.lock().get(&ID) {
            Some(Slot::Waiting(waiting)) => waiting.len(),
            _ => 0,
        }
    }

    #[test]
    fn repeats_that_gave_up_waiting_do_not_pile_up() {
        let sequencer = Sequencer::new(&[]);
        let mut first = sequencer.wait_for(ID, false);
        for _ in 0..100 {
            drop(sequencer.wait_for(ID, true));
        }
        assert!(waiting(&sequencer) <= 2, "{} wait", waiting(&sequencer));
        sequencer.stored(std::iter::once((ID, ID)));
        assert_eq!(first.try_recv(), Ok(ID));
    }

    #[test]
    fn a_wait_is_forgotten_once_everybody_gave_it_up() {
        let sequencer = Sequencer::new(&[]);
        let first = sequencer.wait_for(ID, false);
        sequencer.tidy(Instant::now());
        assert_eq!(waiting(&sequencer), 1, "somebody waits");
        drop(first);
        sequencer.tidy(Instant::now());
        assert!(sequencer.lock().is_empty());
    }

    #[test]
    fn an_outcome_that_nobody_comes_for_is_forgotten_in_time() {
        let sequencer = Sequencer::new(&[]);
        sequencer.stored(std::iter::once((ID, ID)));
        let stored_at = Instant::now();
        sequencer.tidy(stored_at);
        assert!(!sequencer.lock().is_empty(), "its sender may be on the way");
        sequencer.tidy(stored_at + KEEP_OUTCOME);
        assert!(sequencer.lock().is_empty());
    }
}
