//! How this node reaches the sessions of other nodes, and its own: through the inboxes of nodes.
//!
//! While a port is unavailable, each call retries until the port returns or the engine shuts down. A
//! partition whose routing waits delays no other partition: each has its own task. Its messages stay
//! in its log, which is bounded; once the log is full, its senders get an error. A node whose inbox is
//! full delays the partitions that have a message for it, until it reads its inbox or, dead, loses its
//! lease.

use std::sync::Arc;
use std::time::Duration;

use crate::Backoff;
use crate::model::{ChannelId, NodeId, UserId};
use crate::ports::{Delivery, InboxError, Interest, NodeInbox, Presence};

/// The waits before a call of an unavailable port is repeated.
const WAITS: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// Finds the nodes that a delivery concerns, and sends it to their inboxes.
pub(super) struct NodeInboxes {
    pub(super) inbox: Arc<dyn NodeInbox>,
    pub(super) interest: Arc<dyn Interest>,
    pub(super) presence: Arc<dyn Presence>,
}

impl NodeInboxes {
    /// The nodes with a session that subscribes, for each channel in the order given.
    pub(super) async fn interested(&self, channels: &[ChannelId]) -> Vec<Vec<NodeId>> {
        let mut backoff = WAITS;
        loop {
            match self.interest.nodes(channels).await {
                Ok(nodes) => return nodes,
                Err(error) => wait(&mut backoff, "interest", &error).await,
            }
        }
    }

    /// The nodes with a session of one of these users, each node once.
    pub(super) async fn locate(&self, users: &[UserId]) -> Vec<NodeId> {
        let mut backoff = WAITS;
        let nodes = loop {
            match self.presence.locate(users).await {
                Ok(nodes) => break nodes,
                Err(error) => wait(&mut backoff, "presence", &error).await,
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
            let mut backoff = WAITS;
            while let Err(error) = self.interest.join(node, &[channel_id]).await {
                if !error.retryable() {
                    // The node is dead, or ends its sessions as soon as it learns that its lease
                    // has ended.
                    tracing::info!(%error, %node, "interest of a node without a lease");
                    break;
                }
                wait(&mut backoff, "interest", &error).await;
            }
        }
    }

    /// Sends deliveries to the inbox of a node, in order. Waits while the inbox is full: what cannot
    /// be delivered yet stays in the log.
    pub(super) async fn send(&self, node: &NodeId, deliveries: Vec<Delivery>) {
        let mut backoff = WAITS;
        loop {
            match self.inbox.send(node, deliveries.clone()).await {
                Ok(()) => return,
                Err(InboxError::UnknownNode(node)) => {
                    // Its sessions ended with it; their clients catch up from history.
                    tracing::info!(%node, "not routed: the node is gone");
                    return;
                }
                Err(error) => wait(&mut backoff, "inbox of a node", &error).await,
            }
        }
    }
}

/// Waits before the next attempt to call `port`, which failed with `error`. Many callers may wait for
/// the same port, so only the first failure of a call is logged as a warning.
async fn wait(backoff: &mut Backoff, port: &'static str, error: &(dyn std::error::Error + Sync)) {
    if backoff.failures() == 0 {
        tracing::warn!(%error, "{port} unavailable");
    } else {
        tracing::debug!(%error, "{port} still unavailable");
    }
    tokio::time::sleep(backoff.next_wait()).await;
}
