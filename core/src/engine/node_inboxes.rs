//! How this node reaches the sessions of other nodes, and its own: through the inboxes of nodes.
//!
//! While a port is unavailable, each call retries until the port returns or the engine shuts down. A
//! partition whose routing waits delays no other partition: each has its own task. Its messages stay
//! in its log, which is bounded; once the log is full, its senders get an error. A node whose inbox is
//! full delays the partitions that have a message for it, until it reads its inbox or, dead, loses its
//! lease.

use std::sync::Arc;

use super::backoff::Backoff;
use crate::model::{ChannelId, NodeId, UserId};
use crate::ports::{Delivery, InboxError, Interest, NodeInbox, Presence};

/// Finds the nodes that a delivery concerns, and sends it to their inboxes.
pub(super) struct NodeInboxes {
    pub(super) inbox: Arc<dyn NodeInbox>,
    pub(super) interest: Arc<dyn Interest>,
    pub(super) presence: Arc<dyn Presence>,
}

impl NodeInboxes {
    /// The nodes with a session that subscribes, for each channel in the order given.
    pub(super) async fn interested(&self, channels: &[ChannelId]) -> Vec<Vec<NodeId>> {
        let mut backoff = Backoff::default();
        loop {
            match self.interest.nodes(channels).await {
                Ok(nodes) => return nodes,
                Err(error) => backoff.wait("interest", &error).await,
            }
        }
    }

    /// The nodes with a session of one of these users, each node once.
    pub(super) async fn locate(&self, users: &[UserId]) -> Vec<NodeId> {
        let mut backoff = Backoff::default();
        let nodes = loop {
            match self.presence.locate(users).await {
                Ok(nodes) => break nodes,
                Err(error) => backoff.wait("presence", &error).await,
            }
        };
        let mut nodes: Vec<_> = nodes.into_iter().flatten().collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Registers the interest of `nodes` in a channel on their behalf.
    pub(super) async fn join_interest(&self, nodes: &[NodeId], channel_id: ChannelId) {
        for node in nodes {
            let mut backoff = Backoff::default();
            while let Err(error) = self.interest.join(node, &[channel_id]).await {
                if !error.retryable() {
                    // The node is dead, or ends its sessions as soon as it learns that its lease
                    // has ended.
                    tracing::info!(%error, %node, "interest of a node without a lease");
                    break;
                }
                backoff.wait("interest", &error).await;
            }
        }
    }

    /// Sends deliveries to the inbox of a node, in order. Waits while the inbox is full: what cannot
    /// be delivered yet stays in the log.
    pub(super) async fn send(&self, node: &NodeId, deliveries: Vec<Delivery>) {
        let mut backoff = Backoff::default();
        loop {
            match self.inbox.send(node, deliveries.clone()).await {
                Ok(()) => return,
                Err(InboxError::UnknownNode(node)) => {
                    // Its sessions ended with it; their clients catch up from history.
                    tracing::info!(%node, "not routed: the node is gone");
                    return;
                }
                Err(error) => backoff.wait("inbox of a node", &error).await,
            }
        }
    }
}
