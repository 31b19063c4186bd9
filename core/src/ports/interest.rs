//! Which nodes have sessions that subscribe to a channel.

use std::time::Duration;

use super::BoxFuture;
use crate::model::{ChannelId, NodeId};

/// Channel → nodes. It makes a message cost one copy a node, not one a member.
///
/// # Leases
/// A node has **one** lease for all its channels. It [begins](Self::begin) without channels, joins
/// them, and [renews](Self::renew). Once the lease has ended, what it joined is gone for good:
/// messages are no longer routed to the node. Every call of the node reports that until it begins
/// again, so that the node can end its sessions, which would miss messages silently.
///
/// # Order
/// A node joins **before** it reads history for a session, and leaves after its last session has
/// ended (invariant I6). A message is therefore in what was read, or is routed to the node, or both.
///
/// # Example
/// ```
/// use std::time::Duration;
///
/// use pabal_core::memory::MemoryInterest;
/// use pabal_core::model::{ChannelId, NodeId};
/// use pabal_core::ports::Interest;
///
/// # futures::executor::block_on(async {
/// let interest = MemoryInterest::new();
/// let node: NodeId = "n1".parse().expect("is a node name");
/// let channels = [ChannelId::new(7), ChannelId::new(8)];
/// interest.begin(&node, Duration::from_secs(10)).await?;
/// interest.join(&node, &channels[..1]).await?;
/// assert_eq!(interest.nodes(&channels).await?, [vec![node], vec![]]);
/// # Ok::<(), pabal_core::ports::InterestError>(())
/// # }).unwrap();
/// ```
pub trait Interest: Send + Sync + 'static {
    /// A process begins to be `node`, for `lease` from now, without channels. Those that an earlier
    /// process of this name joined, or this one before its lease ended, are removed.
    ///
    /// # Errors
    /// [`InterestError::Unavailable`]: retry.
    fn begin(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<(), InterestError>>;

    /// From the return of this call on, messages of these channels are routed to `node`. Idempotent.
    ///
    /// A node may also join channels on behalf of another one whose sessions are about to subscribe.
    ///
    /// # Errors
    /// [`InterestError::Lapsed`]: the node has not begun, or its lease has ended; do not retry.
    /// [`InterestError::Unavailable`]: retry.
    fn join(
        &self,
        node: &NodeId,
        channels: &[ChannelId],
    ) -> BoxFuture<'_, Result<(), InterestError>>;

    /// Messages of these channels need not be routed to `node` any more. Idempotent.
    ///
    /// # Errors
    /// [`InterestError::Unavailable`]: retry, or leave it to the end of the lease. A message that is
    /// routed needlessly does no harm.
    fn leave(
        &self,
        node: &NodeId,
        channels: &[ChannelId],
    ) -> BoxFuture<'_, Result<(), InterestError>>;

    /// The interested nodes of each channel, in the order given.
    ///
    /// # Errors
    /// [`InterestError::Unavailable`]: retry.
    fn nodes(
        &self,
        channels: &[ChannelId],
    ) -> BoxFuture<'_, Result<Vec<Vec<NodeId>>, InterestError>>;

    /// Extends the lease of `node` to `lease` from now. Returns false if it had ended: messages were
    /// not routed to the node, and it must begin again.
    ///
    /// # Errors
    /// [`InterestError::Unavailable`]: retry well within the lease.
    fn renew(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<bool, InterestError>>;
}

/// Why an interest call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterestError {
    /// The node has no lease: it has not begun, or renewed too late. It must begin again. Do not
    /// retry.
    #[error("the lease of node {0} has ended")]
    Lapsed(NodeId),
    /// Interest is unreachable. Retry.
    #[error("interest is unreachable: {0}")]
    Unavailable(String),
}

impl InterestError {
    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
