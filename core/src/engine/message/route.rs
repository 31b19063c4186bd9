//! Stage route: to the inbox of each node that is interested in the channel, and to push.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::push::PushQueue;
use super::store::StoredBatch;
use crate::engine::node_inboxes::NodeInboxes;
use crate::model::{ChannelId, NodeId};
use crate::ports::{Appended, Delivery, Origin, Stage, Trace};

/// Routes stored messages.
pub(in crate::engine) struct Router {
    pub(in crate::engine) inboxes: Arc<NodeInboxes>,
}

impl Router {
    /// Sends the messages of a batch, in order, to the inbox of every interested node, and hands
    /// them to push. A node gets one copy, however many of its users are members. A repeat is not
    /// routed: the first send was.
    pub(super) async fn route(&self, batch: StoredBatch, push: &PushQueue) {
        let messages: Vec<_> = batch
            .entries
            .into_iter()
            .zip(batch.outcomes)
            .filter(|(_, outcome)| *outcome == Appended::Stored)
            .map(|(entry, _)| (entry.message, entry.origin))
            .collect();
        let _spans = Trace::stages(messages.iter().map(|(_, it)| &it.trace), Stage::Route);
        let channels: Vec<ChannelId> = messages.iter().map(|(m, _)| m.channel_id).collect();
        let interested = self.inboxes.interested(&channels).await;
        debug_assert_eq!(interested.len(), channels.len(), "a list of nodes for each channel");
        let mut inboxes: BTreeMap<NodeId, Vec<Delivery>> = BTreeMap::new();
        for ((message, origin), nodes) in messages.into_iter().zip(interested) {
            let Origin { accepted_at, trace, .. } = origin;
            for node in nodes {
                let (message, trace) = (message.clone(), trace.clone());
                let delivery = Delivery::Message { message, accepted_at, trace };
                inboxes.entry(node).or_default().push(delivery);
            }
            push.offer(message);
        }
        for (node, deliveries) in inboxes {
            self.inboxes.send(&node, deliveries).await;
        }
    }
}
