//! Stage acknowledge: the sender learns that the message is durable.
//!
//! The sender's task waits here, and the owner's task completes the wait: directly if this node
//! accepted the message, through the inbox of the accepting node if not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::pending_sends::PendingSends;
use super::sequence::SequencedMessage;
use super::store::StoredBatch;
use crate::Backoff;
use crate::engine::node_inboxes::NodeInboxes;
use crate::engine::stats::Stats;
use crate::model::{Message, MessageId, NodeId};
use crate::ports::{Appended, Delivery, HistoryStore};
use crate::protocol::{Problem, ProblemCode};

/// A message that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The message that holds this send.
    pub message: Message,
    /// The send was a repeat: the message was stored by an earlier one, and nothing was stored now.
    pub repeat: bool,
}

/// The waits between two looks into history for a send that may be stored already.
const POLL_HISTORY: Backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(100));

/// A sequenced message whose sender waits for the acknowledgement.
pub(super) struct PendingSend {
    sequenced: SequencedMessage,
    /// Receives the id under which the send is stored.
    stored: oneshot::Receiver<MessageId>,
    deadline: Instant,
}

/// Acknowledges messages, on the sender's side and on the owner's.
pub(in crate::engine) struct Acknowledger {
    node: NodeId,
    history: Arc<dyn HistoryStore>,
    inboxes: Arc<NodeInboxes>,
    confirm_within: Duration,
    failed: CancellationToken,
    stats: Arc<Stats>,
    pending: PendingSends,
}

impl Acknowledger {
    pub(in crate::engine) fn new(
        node: NodeId,
        history: Arc<dyn HistoryStore>,
        inboxes: Arc<NodeInboxes>,
        confirm_within: Duration,
        failed: CancellationToken,
        stats: Arc<Stats>,
    ) -> Self {
        let pending = PendingSends::default();
        Self { node, history, inboxes, confirm_within, failed, stats, pending }
    }

    /// Until when a sender waits that begins now.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.confirm_within
    }

    /// The sender's side: begins to wait. Must run right after the log's response, without an await
    /// in between.
    pub(super) fn expect(&self, sequenced: SequencedMessage, deadline: Instant) -> PendingSend {
        let stored = self.pending.wait_for(sequenced.message.message_id, sequenced.repeat);
        PendingSend { sequenced, stored, deadline }
    }

    /// The sender's side: waits for the acknowledgement.
    pub(super) async fn wait(&self, pending: PendingSend) -> Result<Sent, Problem> {
        let outcome = tokio::select! {
            biased;
            sent = self.stored(pending) => sent?,
            // The node must stop, and nothing in this process can tell whether history has the
            // message.
            () = self.failed.cancelled() => None,
        };
        outcome.ok_or_else(|| {
            self.stats.sends_not_confirmed.add(1);
            not_confirmed()
        })
    }

    /// Waits until the send is stored; absent if the deadline passes first.
    async fn stored(&self, pending: PendingSend) -> Result<Option<Sent>, Problem> {
        let PendingSend { sequenced, mut stored, deadline } = pending;
        let SequencedMessage { message, repeat } = sequenced;
        if !repeat {
            return match timeout_at(deadline, &mut stored).await {
                Ok(Ok(first_id)) => self.sent(message, first_id).await.map(Some),
                _ => Ok(None),
            };
        }
        // The first send may have been accepted by another node, or be stored already: then no
        // acknowledgement comes, and only history knows.
        let mut backoff = POLL_HISTORY;
        loop {
            let (channel_id, first_id) = (message.channel_id, message.message_id);
            if let Some(first) = self.history.get(channel_id, first_id).await? {
                self.stats.sends_repeated.add(1);
                return Ok(Some(Sent { message: first, repeat: true }));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            let next = (Instant::now() + backoff.next_wait()).min(deadline);
            if let Ok(Ok(first_id)) = timeout_at(next, &mut stored).await {
                let sent = self.sent(message, first_id).await?;
                return Ok(Some(Sent { repeat: true, ..sent }));
            }
        }
    }

    /// The result of a send that is stored under `first_id`.
    async fn sent(&self, message: Message, first_id: MessageId) -> Result<Sent, Problem> {
        if first_id == message.message_id {
            return Ok(Sent { message, repeat: false });
        }
        self.stats.sends_repeated.add(1);
        match self.history.get(message.channel_id, first_id).await? {
            Some(first) => Ok(Sent { message: first, repeat: true }),
            None => Err(not_confirmed()),
        }
    }

    /// The owner's side: acknowledges a stored batch to the senders, on whichever nodes they are.
    pub(super) async fn acknowledge(&self, batch: &StoredBatch) {
        let mut other_nodes: BTreeMap<&NodeId, Vec<Delivery>> = BTreeMap::new();
        let mut this_node = Vec::with_capacity(batch.entries.len());
        for (entry, outcome) in batch.entries.iter().zip(&batch.outcomes) {
            let message_id = entry.message.message_id;
            let first_id = match outcome {
                Appended::Stored => message_id,
                Appended::Repeat(first_id) => *first_id,
            };
            if entry.origin.node == self.node {
                this_node.push((message_id, first_id));
            } else {
                let stored = Delivery::Stored { message_id, first_id };
                other_nodes.entry(&entry.origin.node).or_default().push(stored);
            }
        }
        self.pending.complete(this_node.into_iter());
        for (node, deliveries) in other_nodes {
            self.inboxes.send(node, deliveries).await;
        }
    }

    /// The acknowledgement of one message, from its owner on another node.
    pub(super) fn acknowledged(&self, message_id: MessageId, first_id: MessageId) {
        self.pending.complete(std::iter::once((message_id, first_id)));
    }

    /// Forgets waits and outcomes that no sender asks for, so that memory does not grow.
    pub(super) fn tidy(&self) {
        self.pending.tidy(Instant::now());
    }
}

fn not_confirmed() -> Problem {
    let detail = "the message may or may not have been accepted: repeat it with the same \
                  client_message_id";
    Problem::new(ProblemCode::NotConfirmed, detail).retry_after(Duration::from_millis(500))
}
