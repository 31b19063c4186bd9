//! Stage 4, acknowledge and route: back to the node that accepted a message, and on to each node
//! that wants its channel. A node gets one copy, however many of its users are members.
//!
//! While a port is away, routing asks it again until it answers or the engine is shut down. A
//! partition whose routing waits holds up nobody else: the others have tasks of their own, its own
//! messages stay in its log, which is bounded, and once that is full its senders are told. A node
//! whose inbox is full holds up those who have something for it, until it drains it or, dead, loses
//! its lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::model::{ChannelId, NodeId, UserId};
use crate::ports::{Appended, Audience, Delivery, InboxError, LogEntry, Origin, Stage, Trace};

/// How long routing waits before it asks a port again that failed, the first time. The wait doubles
/// with every time after that.
const RETRY: Duration = Duration::from_millis(100);
/// How long it waits at most.
const RETRY_AT_MOST: Duration = Duration::from_secs(2);
/// As many events as may be on their way to the inboxes at a time.
pub(super) const PUBLICATIONS: usize = 1_024;

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
            .map(|(entry, _)| (entry.message, entry.origin))
            .collect();
        let _spans = Trace::stages(messages.iter().map(|(_, it)| &it.trace), Stage::Route);
        let channels: Vec<ChannelId> = messages.iter().map(|(m, _)| m.channel_id).collect();
        let interested = self.interested(&channels).await;
        let mut inboxes: BTreeMap<NodeId, Vec<Delivery>> = BTreeMap::new();
        for ((message, origin), nodes) in messages.into_iter().zip(interested) {
            let Origin { accepted_at, trace, .. } = origin;
            for node in nodes {
                let (message, trace) = (message.clone(), trace.clone());
                let delivery = Delivery::Message { message, accepted_at, trace };
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
    ///
    /// While presence or interest is away, it waits for them, and ends unsent if the engine is shut
    /// down meanwhile. Of events, such as that somebody is typing, up to 1,024 wait; those beyond are
    /// dropped and counted. What changes who receives what is never dropped, so whoever makes such
    /// changes bounds how many of them are under way.
    pub async fn publish(&self, delivery: Delivery) {
        let mut place = None;
        if let Delivery::Event { .. } = delivery {
            place = Arc::clone(&self.inner.publications).try_acquire_owned().ok();
            if place.is_none() {
                self.inner.stats.events_dropped.add(1);
                return;
            }
        }
        let engine = self.clone();
        self.complete(async move {
            engine.publish_all(delivery).await;
            drop(place);
        })
        .await;
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
                let nodes: Vec<_> = self.locate(&[*user_id]).await.into_iter().flatten().collect();
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
    async fn join_interest(&self, nodes: &[NodeId], channel_id: ChannelId) {
        for node in nodes {
            let mut patience = Patience::default();
            while let Err(error) = self.inner.ports.interest.join(node, &[channel_id]).await {
                if !error.retryable() {
                    // It is gone, or will end its sessions as soon as it learns of its lapse.
                    tracing::info!(%error, "a node is not there to want a channel");
                    break;
                }
                patience.wait("interest", &error).await;
            }
        }
    }

    async fn interested(&self, channels: &[ChannelId]) -> Vec<Vec<NodeId>> {
        let mut patience = Patience::default();
        loop {
            match self.inner.ports.interest.nodes(channels).await {
                Ok(nodes) => return nodes,
                Err(error) => patience.wait("interest", &error).await,
            }
        }
    }

    async fn locate(&self, users: &[UserId]) -> Vec<Vec<NodeId>> {
        let mut patience = Patience::default();
        loop {
            match self.inner.ports.presence.locate(users).await {
                Ok(nodes) => return nodes,
                Err(error) => patience.wait("presence", &error).await,
            }
        }
    }

    /// Waits while the inbox is full: what cannot be delivered yet stays in the log, and in the end
    /// senders are told.
    async fn send_to(&self, node: &NodeId, deliveries: Vec<Delivery>) {
        let mut patience = Patience::default();
        loop {
            match self.inner.ports.inbox.send(node, deliveries.clone()).await {
                Ok(()) => return,
                Err(InboxError::UnknownNode(node)) => {
                    // Its sessions are gone with it; their clients catch up from history.
                    tracing::info!(%node, "not routed: the node is gone");
                    return;
                }
                Err(error) => patience.wait("an inbox", &error).await,
            }
        }
    }
}

/// The waits for one port that is away. Many may wait for it at once, so only the first failure of
/// each is a warning.
struct Patience {
    next: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { next: RETRY }
    }
}

impl Patience {
    async fn wait(&mut self, port: &'static str, error: &(dyn std::error::Error + Sync)) {
        if self.next == RETRY {
            tracing::warn!(%error, "{port} is away");
        } else {
            tracing::debug!(%error, "{port} is still away");
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(RETRY_AT_MOST);
    }
}
