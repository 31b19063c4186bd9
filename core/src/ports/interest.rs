//! Which nodes have sessions that want a channel.

use std::time::Duration;

use super::BoxFuture;
use crate::model::{ChannelId, NodeId};

/// Channel → nodes: what makes a message cost one copy a node and not one a member. Like presence
/// it is a lease of the node.
///
/// A node joins **before** it reads history for a session and leaves after its last session is
/// gone (invariant I6), so that a message is either in what was read or routed to the node.
pub trait Interest: Send + Sync + 'static {
    /// From the return of this call on, messages of these channels are routed to `node`. Idempotent.
    ///
    /// # Errors
    /// [`InterestError::Unavailable`]; retry.
    fn join(
        &self,
        node: &NodeId,
        channels: &[ChannelId],
    ) -> BoxFuture<'_, Result<(), InterestError>>;

    /// `node` wants these channels no more. Idempotent.
    ///
    /// # Errors
    /// [`InterestError::Unavailable`]; retry, or let the lease end: what is routed needlessly does
    /// no harm.
    fn leave(
        &self,
        node: &NodeId,
        channels: &[ChannelId],
    ) -> BoxFuture<'_, Result<(), InterestError>>;

    /// The nodes that want each of `channels`, in the order asked.
    ///
    /// # Errors
    /// [`InterestError::Unavailable`]; retry.
    fn nodes(
        &self,
        channels: &[ChannelId],
    ) -> BoxFuture<'_, Result<Vec<Vec<NodeId>>, InterestError>>;

    /// Keeps what `node` has joined alive for `lease` from now.
    ///
    /// # Errors
    /// [`InterestError::Unavailable`]; retry well within the lease.
    fn renew(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<(), InterestError>>;
}

/// Why an interest call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterestError {
    /// It cannot be reached. Retry.
    #[error("interest cannot be reached: {0}")]
    Unavailable(String),
}

impl InterestError {
    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        true
    }
}
