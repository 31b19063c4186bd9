//! Which nodes are interested in a channel, in Redis. The leases are managed in
//! [`leased`](super::leased).

use std::time::Duration;

use pabal_core::model::{ChannelId, NodeId};
use pabal_core::ports::{BoxFuture, Interest, InterestError};

use super::error::CallError;
use super::keyspace::Keyspace;
use super::leased::Leased;

/// An [`Interest`] in Redis. Cancel safe: a call whose future is dropped may still be executed.
///
/// If the Redis server restarted or failed over, [`renew`](Interest::renew) returns false even when
/// the lease has not expired: the server may have lost joins, and messages for those channels did
/// not reach the node.
///
/// # Errors
/// [`InterestError::Lapsed`]: begin again, do not retry. [`InterestError::Unavailable`]: retry.
pub struct RedisInterest {
    channels: Leased,
}

impl RedisInterest {
    pub(super) fn new(keyspace: Keyspace) -> Self {
        Self { channels: Leased::new(keyspace, "interest") }
    }
}

impl Interest for RedisInterest {
    fn begin(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<(), InterestError>> {
        let node = node.clone();
        Box::pin(async move { Ok(self.channels.begin(&node, lease).await?) })
    }

    fn join(
        &self,
        node: &NodeId,
        channels: &[ChannelId],
    ) -> BoxFuture<'_, Result<(), InterestError>> {
        let (node, channels) = (node.clone(), texts(channels));
        Box::pin(async move {
            let joined = self.channels.join(&node, &channels).await?;
            joined.map(drop).ok_or(InterestError::Lapsed(node))
        })
    }

    fn leave(
        &self,
        node: &NodeId,
        channels: &[ChannelId],
    ) -> BoxFuture<'_, Result<(), InterestError>> {
        let (node, channels) = (node.clone(), texts(channels));
        Box::pin(async move { Ok(self.channels.leave(&node, &channels).await.map(drop)?) })
    }

    fn nodes(
        &self,
        channels: &[ChannelId],
    ) -> BoxFuture<'_, Result<Vec<Vec<NodeId>>, InterestError>> {
        let channels = texts(channels);
        Box::pin(async move { Ok(self.channels.locate(&channels).await?) })
    }

    fn renew(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<bool, InterestError>> {
        let node = node.clone();
        Box::pin(async move { Ok(self.channels.renew(&node, lease).await?) })
    }
}

fn texts(channels: &[ChannelId]) -> Vec<String> {
    channels.iter().map(ChannelId::to_string).collect()
}

impl From<CallError> for InterestError {
    fn from(error: CallError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
