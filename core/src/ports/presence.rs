//! Which users are connected, and on which nodes.

use std::time::Duration;

use super::BoxFuture;
use crate::model::{NodeId, UserId};

/// User → nodes.
///
/// # Leases
/// A node has **one** lease for all its users, so that after a crash no user stays online for longer
/// than the lease. A node [begins](Self::begin) without users, joins them, and [renews](Self::renew).
/// Once the lease has ended, its users are gone for good, and its calls report that until it begins
/// again, as in [`Interest`](super::Interest).
///
/// # Example
/// ```
/// use std::time::Duration;
///
/// use pabal_core::memory::MemoryPresence;
/// use pabal_core::model::{NodeId, UserId};
/// use pabal_core::ports::Presence;
///
/// # futures::executor::block_on(async {
/// let presence = MemoryPresence::new();
/// let node: NodeId = "n1".parse().expect("is a node name");
/// let user_id = UserId::new(1);
/// presence.begin(&node, Duration::from_secs(10)).await?;
/// assert!(presence.join(&node, user_id).await?, "was offline before");
/// assert_eq!(presence.locate(&[user_id]).await?, [[node]]);
/// # Ok::<(), pabal_core::ports::PresenceError>(())
/// # }).unwrap();
/// ```
pub trait Presence: Send + Sync + 'static {
    /// A process begins to be `node`, for `lease` from now, without users. Those of an earlier
    /// process of this name are removed.
    ///
    /// # Errors
    /// [`PresenceError::Unavailable`]: retry.
    fn begin(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<(), PresenceError>>;

    /// `user_id` has a session on `node`. Idempotent. Returns whether the user was offline before.
    ///
    /// # Errors
    /// [`PresenceError::Lapsed`]: the node has not begun, or its lease has ended; do not retry.
    /// [`PresenceError::Unavailable`]: retry.
    fn join(&self, node: &NodeId, user_id: UserId) -> BoxFuture<'_, Result<bool, PresenceError>>;

    /// `user_id` has no session on `node` any more. Idempotent. Returns whether the user is offline
    /// now.
    ///
    /// # Errors
    /// [`PresenceError::Unavailable`]: retry, because the lease of a living node does not end.
    fn leave(&self, node: &NodeId, user_id: UserId) -> BoxFuture<'_, Result<bool, PresenceError>>;

    /// The nodes of each user, in the order given; empty for an offline user.
    ///
    /// # Errors
    /// [`PresenceError::Unavailable`]: retry.
    fn locate(&self, users: &[UserId]) -> BoxFuture<'_, Result<Vec<Vec<NodeId>>, PresenceError>>;

    /// Whether each user is connected to any node, in the order given.
    ///
    /// # Errors
    /// [`PresenceError::Unavailable`]: retry.
    fn online(&self, users: &[UserId]) -> BoxFuture<'_, Result<Vec<bool>, PresenceError>>;

    /// Extends the lease of `node` to `lease` from now. Returns false if it had ended: the node must
    /// begin again.
    ///
    /// # Errors
    /// [`PresenceError::Unavailable`]: retry well within the lease.
    fn renew(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<bool, PresenceError>>;
}

/// Why a presence call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PresenceError {
    /// The node has no lease: it has not begun, or renewed too late. It must begin again. Do not
    /// retry.
    #[error("the lease of node {0} has ended")]
    Lapsed(NodeId),
    /// Presence is unreachable. Retry.
    #[error("presence is unreachable: {0}")]
    Unavailable(String),
}

impl PresenceError {
    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
