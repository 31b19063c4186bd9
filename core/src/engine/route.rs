//! Stage 4, acknowledge and route: back to the node that accepted a message, and on to each node
//! that wants its channel. A node gets one copy, however many of its users are members.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Engine;
use crate::model::{ChannelId, NodeId, UserId};
use crate::ports::{Appended, Audience, Delivery, InboxError, LogEntry};

/// How long routing waits before it asks a port again that failed.
const RETRY: Duration = Duration::from_millis(100);

impl Engine {
    /// Answers the senders, whether here or through the inbox of the node they speak to.
    pub(super) async fn acknowledge(&self, entries: &[LogEntry], outcomes: &[Appended]) {
        let mut elsewhere: BTreeMap<&NodeId, Vec<Delivery>> = BTreeMap::new();
        let mut here = Vec::with_capacity(entries.len());
        for (entry, outcome) in entries.iter().zip(outcomes) {
            let message_id = entry.message.message_id;
            let first_id = match outcome {
                Appended::Stored => message_id,
                Appended::Repeat(first_id) => *first_id,
            };
            if entry.origin.node == self.inner.node {
                here.push((message_id, first_id));
            } else {
                let stored = Delivery::Stored { message_id, first_id };
                elsewhere.entry(&entry.origin.node).or_default().push(stored);
            }
        }
        self.inner.sequencer.stored(here.into_iter());
        for (node, deliveries) in elsewhere {
            self.send_to(node, deliveries).await;
        }
    }

    /// Puts stored messages into the inbox of every node that wants them, in order, and hands them
    /// to push. Repeats were routed when they were first said.
    pub(super) async fn route(&self, entries: Vec<LogEntry>, outcomes: &[Appended]) {
        let messages: Vec<_> = entries
            .into_iter()
            .zip(outcomes)
            .filter(|(_, outcome)| **outcome == Appended::Stored)
            .map(|(entry, _)| (entry.message, entry.origin.accepted_at))
            .collect();
        let channels: Vec<ChannelId> = messages.iter().map(|(m, _)| m.channel_id).collect();
        let interested = self.interested(&channels).await;
        let mut inboxes: BTreeMap<NodeId, Vec<Delivery>> = BTreeMap::new();
        for ((message, accepted_at), nodes) in messages.into_iter().zip(interested) {
            for node in nodes {
                let delivery = Delivery::Message { message: message.clone(), accepted_at };
                inboxes.entry(node).or_default().push(delivery);
            }
            self.push_if_away(message).await;
        }
        for (node, deliveries) in inboxes {
            self.send_to(&node, deliveries).await;
        }
    }

    /// Sends what is no message to the nodes it concerns. When this returns, it stands in their
    /// inboxes, before whatever is routed to them later. It gets there even if the caller does not
    /// wait.
    pub async fn publish(&self, delivery: Delivery) {
        let engine = self.clone();
        self.complete(async move { engine.publish_all(delivery).await }).await;
    }

    async fn publish_all(&self, delivery: Delivery) {
        let nodes = match &delivery {
            Delivery::Event { audience: Audience::Channel { channel_id, .. }, .. }
            | Delivery::ChannelEnded { channel_id } => {
                self.interested(&[*channel_id]).await.into_iter().flatten().collect()
            }
            Delivery::Event { audience: Audience::Users(users), .. } => {
                let mut nodes: Vec<_> = self.locate(users).await.into_iter().flatten().collect();
                nodes.sort_unstable();
                nodes.dedup();
                nodes
            }
            Delivery::Membership { channel_id, user_id, joined } => {
                self.forget_membership(*user_id, *channel_id).await;
                let nodes = self.locate(&[*user_id]).await.into_iter().flatten().collect();
                if *joined {
                    self.join_interest(&nodes, *channel_id).await;
                }
                nodes
            }
            Delivery::EndSessions { user_id, .. } => {
                self.locate(&[*user_id]).await.into_iter().flatten().collect()
            }
            Delivery::Message { .. } | Delivery::Stored { .. } => Vec::<NodeId>::new(),
        };
        for node in nodes {
            self.send_to(&node, vec![delivery.clone()]).await;
        }
    }

    /// Before anybody is told that a user came to a channel, the nodes of that user want it, so
    /// that the very next message reaches them.
    async fn join_interest(&self, nodes: &Vec<NodeId>, channel_id: ChannelId) {
        for node in nodes {
            while let Err(error) = self.inner.ports.interest.join(node, &[channel_id]).await {
                tracing::warn!(%error, "interest is away");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn interested(&self, channels: &[ChannelId]) -> Vec<Vec<NodeId>> {
        loop {
            match self.inner.ports.interest.nodes(channels).await {
                Ok(nodes) => return nodes,
                Err(error) => {
                    tracing::warn!(%error, "interest is away");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn locate(&self, users: &[UserId]) -> Vec<Vec<NodeId>> {
        loop {
            match self.inner.ports.presence.locate(users).await {
                Ok(nodes) => return nodes,
                Err(error) => {
                    tracing::warn!(%error, "presence is away");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Waits while the inbox is full: what cannot be delivered yet stays in the log, and in the end
    /// senders are told.
    async fn send_to(&self, node: &NodeId, deliveries: Vec<Delivery>) {
        loop {
            match self.inner.ports.inbox.send(node, deliveries.clone()).await {
                Ok(()) => return,
                Err(InboxError::UnknownNode(node)) => {
                    // Its sessions are gone with it; their clients catch up from history.
                    tracing::info!(%node, "not routed: the node is gone");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%node, %error, "the inbox is away");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}
