//! Which nodes are interested in a channel, in process memory. [`LeasedNodes`] owns the leases.

use std::time::Duration;

use super::leased_nodes::LeasedNodes;
use super::ready;
use crate::model::{ChannelId, NodeId};
use crate::ports::{BoxFuture, Interest, InterestError};

/// An [`Interest`] in process memory.
///
/// Calls act when they are made, not when their future is first polled. Its size is that of the
/// channels to which sessions subscribe.
pub struct MemoryInterest {
    channels: LeasedNodes<ChannelId>,
}

impl MemoryInterest {
    /// No node is interested in a channel.
    pub fn new() -> Self {
        Self { channels: LeasedNodes::new() }
    }
}

impl Default for MemoryInterest {
    fn default() -> Self {
        Self::new()
    }
}

impl Interest for MemoryInterest {
    fn begin(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<(), InterestError>> {
        self.channels.begin(node, lease);
        ready(Ok(()))
    }

    fn join(
        &self,
        node: &NodeId,
        channels: &[ChannelId],
    ) -> BoxFuture<'_, Result<(), InterestError>> {
        if !self.channels.lives(node) {
            return ready(Err(InterestError::Lapsed(node.clone())));
        }
        for channel_id in channels {
            self.channels.join(node, *channel_id);
        }
        ready(Ok(()))
    }

    fn leave(
        &self,
        node: &NodeId,
        channels: &[ChannelId],
    ) -> BoxFuture<'_, Result<(), InterestError>> {
        for channel_id in channels {
            self.channels.leave(node, *channel_id);
        }
        ready(Ok(()))
    }

    fn nodes(
        &self,
        channels: &[ChannelId],
    ) -> BoxFuture<'_, Result<Vec<Vec<NodeId>>, InterestError>> {
        ready(Ok(self.channels.locate(channels)))
    }

    fn renew(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<bool, InterestError>> {
        ready(Ok(self.channels.renew(node, lease)))
    }
}
