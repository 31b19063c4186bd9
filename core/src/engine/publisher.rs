//! Deliveries that are no messages: events and changes of who receives what.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::membership_cache::MembershipCache;
use super::node_inboxes::NodeInboxes;
use super::stats::Stats;
use super::tasks::Tasks;
use crate::model::NodeId;
use crate::ports::{Audience, Delivery};

/// How many events may be on their way to inboxes at a time.
const MAX_EVENTS_IN_FLIGHT: usize = 1_024;

/// Sends deliveries that are no messages to the nodes that they concern.
pub(super) struct Publisher {
    inboxes: Arc<NodeInboxes>,
    memberships: Arc<MembershipCache>,
    event_permits: Arc<Semaphore>,
    stats: Arc<Stats>,
    tasks: Tasks,
}

impl Publisher {
    pub(super) fn new(
        inboxes: Arc<NodeInboxes>,
        memberships: Arc<MembershipCache>,
        stats: Arc<Stats>,
        tasks: Tasks,
    ) -> Self {
        let event_permits = Arc::new(Semaphore::new(MAX_EVENTS_IN_FLIGHT));
        Self { inboxes, memberships, event_permits, stats, tasks }
    }

    /// See [`Engine::publish`](super::Engine::publish).
    pub(super) async fn publish(self: &Arc<Self>, delivery: Delivery) {
        let mut permit = None;
        if let Delivery::Event { .. } = delivery {
            permit = Arc::clone(&self.event_permits).try_acquire_owned().ok();
            if permit.is_none() {
                self.stats.events_dropped.add(1);
                return;
            }
        }
        let publisher = Arc::clone(self);
        let sent = async move {
            publisher.send(delivery).await;
            drop(permit);
        };
        self.tasks.complete(sent).await;
    }

    async fn send(&self, delivery: Delivery) {
        let nodes: Vec<NodeId> = match &delivery {
            Delivery::Event { audience: Audience::Channel { channel_id, .. }, .. }
            | Delivery::ChannelEnded { channel_id } => {
                self.inboxes.interested(&[*channel_id]).await.into_iter().flatten().collect()
            }
            Delivery::Event { audience: Audience::Users(users), .. } => {
                self.inboxes.locate(users).await
            }
            Delivery::Membership { channel_id, user_id, joined } => {
                self.memberships.invalidate(*user_id, *channel_id).await;
                let nodes = self.inboxes.locate(&[*user_id]).await;
                if *joined {
                    // Before any node is notified, so that the very next message of the channel
                    // reaches the nodes of this user.
                    self.inboxes.join_interest(&nodes, *channel_id).await;
                }
                nodes
            }
            Delivery::EndSessions { user_id, .. } => self.inboxes.locate(&[*user_id]).await,
            // The owner of a partition routes and acknowledges messages.
            Delivery::Message { .. } | Delivery::Stored { .. } => Vec::new(),
        };
        for node in nodes {
            self.inboxes.send(&node, vec![delivery.clone()]).await;
        }
    }
}
