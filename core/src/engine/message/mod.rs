//! The way of a message, from the command of a client to the mailboxes of sessions and to push.
//!
//! ```text
//! task of the sender       authorize → sequence + enqueue ─ log ┐        ┌─→ wait returns
//! task of the owner                                             └→ store → acknowledge → route ─┐
//! task of each inbox                                                             deliver ←──────┤
//! task of push                                                                      push ←──────┘
//! ```
//!
//! Each stage is a type in a file of its own, with the ports and the state that it needs. The methods
//! of [`MessagePath`] are the way itself: one method a task, one line a stage.
//!
//! The hand-over between the sender's task and the owner's is the log: the sender appends, the owner
//! reads. They meet again at `acknowledge`, which completes the wait of the sender. Each partition has
//! one owner, on the node to which [`partitions`](super::partitions) assigns it, so the two tasks may
//! run on different nodes.

mod authorize;
mod sequence;
mod store;
mod acknowledge;
mod pending_sends;
mod route;
mod turns;
mod deliver;
mod push;

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

pub use acknowledge::Sent;
pub use authorize::SendRequest;

pub(super) use acknowledge::Acknowledger;
pub(super) use authorize::Authorizer;
pub(super) use deliver::Deliverer;
pub(super) use push::{PushQueue, PushReceiver, PushStage};
pub(super) use route::Router;
pub(super) use sequence::Sequencer;
pub(super) use store::Store;

use super::partitions::OwnerLease;
use crate::model::{Partition, UserId};
use crate::ports::{Stage, Trace};
use crate::protocol::Problem;

/// How often the stages forget what is no longer of use.
const TIDY_EVERY: Duration = Duration::from_secs(10);

/// The stages, in the order in which a message meets them.
pub(super) struct MessagePath {
    pub(super) authorizer: Authorizer,
    pub(super) sequencer: Arc<Sequencer>,
    pub(super) store: Store,
    pub(super) acknowledger: Arc<Acknowledger>,
    pub(super) router: Router,
    pub(super) deliverer: Deliverer,
    pub(super) push_queue: PushQueue,
    pub(super) push: PushStage,
}

/// A message with its position in the log that is not acknowledged yet. Dropping it ends the wait
/// only: the message is stored and delivered all the same.
#[must_use = "the sender waits for the outcome"]
pub struct Submission {
    path: Arc<MessagePath>,
    pending: acknowledge::PendingSend,
}

impl MessagePath {
    /// The task of the sender, first part: when this returns, the log has the message, and its order
    /// among the messages of its channel is fixed.
    pub(super) async fn accept(
        self: &Arc<Self>,
        from: UserId,
        send: SendRequest,
    ) -> Result<Submission, Problem> {
        let trace = Trace::begin();
        let span = trace.stage(Stage::Authorize);
        let draft = self.authorizer.authorize(from, send).instrument(span).await?;

        let deadline = self.acknowledger.deadline();
        let span = trace.stage(Stage::Sequence);
        let sequenced = self.sequencer.append(draft, trace).instrument(span).await?;

        // Here the task of the owner takes over. This task waits in `Submission::stored`.
        let pending = self.acknowledger.expect(sequenced, deadline);
        Ok(Submission { path: Arc::clone(self), pending })
    }

    /// The task of the owner of a partition: takes each batch of the log through the stages. Returns
    /// when the lease ends, the partition goes to another node, or history has failed.
    pub(super) async fn own_partition(self: Arc<Self>, partition: Partition, lease: OwnerLease) {
        let mut owner = self.store.take_over(partition, lease).await;
        while let Some(batch) = owner.next_batch().await {
            let Some(stored) = owner.store(batch).await else { return };
            // Only now, when the batch is durable (invariant I1).
            self.acknowledger.acknowledge(&stored).await;
            let last = stored.last;
            self.router.route(stored, &self.push_queue).await;
            // Only now: what is still in the log is routed again by the next owner.
            owner.trim(last).await;
        }
    }

    /// The task of this node's inbox: delivers what the owners of all partitions have routed to it.
    /// Never returns.
    pub(super) async fn deliver(self: Arc<Self>) {
        self.deliverer.run().await;
    }

    /// The task of push: notifies offline members of what the owners on this node have routed.
    pub(super) async fn push(self: Arc<Self>, waiting: PushReceiver) {
        self.push.run(waiting).await;
    }

    /// Forgets regularly what is no longer of use. Never returns.
    pub(super) async fn tidy(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TIDY_EVERY).await;
            self.authorizer.tidy();
            self.acknowledger.tidy();
        }
    }
}

impl Submission {
    /// The task of the sender, second part: waits until the message is durable, for at most
    /// [`Limits::confirm_within`](crate::engine::Limits::confirm_within) since it was submitted.
    ///
    /// # Errors
    /// `not_confirmed` at the end of that time, or if history can store nothing more: the message may
    /// be stored or not. Retry with the same `client_message_id`.
    pub async fn stored(self) -> Result<Sent, Problem> {
        self.path.acknowledger.wait(self.pending).await
    }
}
