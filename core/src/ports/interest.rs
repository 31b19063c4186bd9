//! Which nodes have sessions that want a channel.

use std::time::Duration;

use super::BoxFuture;
use crate::model::{ChannelId, NodeId};

/// Channel → nodes: what makes a message cost one copy a node and not one a member.
///
/// # Leases
/// A node has **one** lease for all its channels. It [begins](Self::begin) with none of them, joins,
/// and [renews](Self::renew). Once the lease has ended, all that it joined is gone for good: messages
/// passed the node by, and it must be told so, or its sessions would miss them in silence. So from
/// then on every call of it answers that it lapsed, until it begins again.
///
/// # Order
/// A node joins **before** it reads history for a session and leaves after its last session is
/// gone (invariant I6), so that a message is either in what was read or routed to the node.
pub trait Interest: Send + Sync + 'static {
    /// A process begins to be `node`, alive for `lease` from now, with no channels: those that an
    /// earlier process of this name had joined, or this one before it lapsed, are forgotten.
    ///
    /// # Errors
    /// [`InterestError::Unavailable`]; retry.
    fn begin(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<(), InterestError>>;

    /// From the return of this call on, messages of these channels are routed to `node`. Idempotent.
    ///
    /// A node may also join channels for another one that is about to want them.
    ///
    /// # Errors
    /// [`InterestError::Lapsed`]: the node has not begun, or its lease has ended; do not retry.
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

    /// Keeps what `node` has joined alive for `lease` from now. Answers false if it lapsed: messages
    /// passed it by, and it must begin again.
    ///
    /// # Errors
    /// [`InterestError::Unavailable`]; retry well within the lease.
    fn renew(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<bool, InterestError>>;
}

/// Why an interest call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterestError {
    /// The node has no lease: it has not begun, or was too late to renew. It must begin again.
    #[error("the lease of node {0} has ended")]
    Lapsed(NodeId),
    /// It cannot be reached. Retry.
    #[error("interest cannot be reached: {0}")]
    Unavailable(String),
}

impl InterestError {
    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
