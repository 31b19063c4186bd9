//! Stage sequence and enqueue: one atomic step of the partition's log, which assigns the message id
//! and appends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::{Draft, Message, MessageId, NodeId, Partition};
use crate::ports::{Clock, LogError, MessageLog, Origin, Sequenced, Trace};

/// A message with its id and its position in the log.
pub(super) struct SequencedMessage {
    pub(super) message: Message,
    /// The log knew the send: the id is that of the first one, and nothing was appended.
    pub(super) repeat: bool,
}

/// Appends to the logs of partitions, above the highest id that this node has seen in each.
pub(in crate::engine) struct Sequencer {
    node: NodeId,
    log: Arc<dyn MessageLog>,
    clock: Arc<dyn Clock>,
    floors: Vec<AtomicU64>,
}

impl Sequencer {
    /// `floors` are the stored positions of all partitions, in order.
    pub(in crate::engine) fn new(
        node: NodeId,
        log: Arc<dyn MessageLog>,
        clock: Arc<dyn Clock>,
        floors: &[MessageId],
    ) -> Self {
        let floors = floors.iter().map(|floor| AtomicU64::new(floor.get())).collect();
        Self { node, log, clock, floors }
    }

    /// Gives `draft` its id and appends it.
    pub(super) async fn append(
        &self,
        draft: Draft,
        trace: Trace,
    ) -> Result<SequencedMessage, LogError> {
        let partition = self.partition(&draft);
        let floor = self.floor(partition);
        let (node, accepted_at) = (self.node.clone(), self.clock.now());
        if floor.is_at_the_end() || MessageId::first_at(accepted_at, partition).is_at_the_end() {
            return Err(LogError::Exhausted(partition.get()));
        }
        let origin = Origin { node, accepted_at, trace: trace.clone() };
        let (message_id, repeat) =
            match self.log.append(partition, floor, draft.clone(), origin).await? {
                Sequenced::New(message_id) => {
                    debug_assert!(message_id > floor, "the log assigns ids above the floor");
                    (message_id, false)
                }
                Sequenced::Repeat(message_id) => (message_id, true),
            };
        debug_assert_eq!(
            message_id.partition(),
            partition,
            "the log assigns ids of the partition to which it appends",
        );
        trace.identify(draft.channel_id, message_id);
        self.raise_floor(message_id);
        Ok(SequencedMessage { message: draft.at(message_id), repeat })
    }

    /// How far the newest id that this node has seen is ahead of the clock.
    pub(in crate::engine) fn ahead(&self) -> Duration {
        let floors = self.floors.iter().map(|floor| floor.load(Ordering::Relaxed));
        let newest = floors.max().map_or_else(MessageId::default, MessageId::new);
        newest.created_at().since(self.clock.now())
    }

    fn partition(&self, draft: &Draft) -> Partition {
        // There is a floor for each partition, and there are at most 1,024.
        Partition::of(draft.channel_id, self.floors.len() as u16)
    }

    /// The highest id of `partition` that this node has seen: stored, sequenced or delivered. An id
    /// that is not known to be stored counts too, because the result of a write may be unknown.
    fn floor(&self, partition: Partition) -> MessageId {
        let floor = &self.floors[usize::from(partition.get())];
        MessageId::new(floor.load(Ordering::Acquire))
    }

    /// This node has seen `message_id`: no id at or below it may be assigned in its partition again,
    /// even if the log forgets it (invariant I2).
    pub(super) fn raise_floor(&self, message_id: MessageId) {
        if let Some(floor) = self.floors.get(usize::from(message_id.partition().get())) {
            floor.fetch_max(message_id.get(), Ordering::AcqRel);
        }
    }
}
