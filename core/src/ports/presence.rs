//! Which users are connected, and on which nodes.

use std::time::Duration;

use super::BoxFuture;
use crate::model::{NodeId, UserId};

/// Presence is a lease: each node renews **one** lease for all its users, so that a crash leaves
/// nobody online for longer than the lease. It [begins](Self::begin) with none of them; once its
/// lease has ended they are gone for good, and it is told so until it begins again, as in
/// [`Interest`](super::Interest).
pub trait Presence: Send + Sync + 'static {
    /// A process begins to be `node`, alive for `lease` from now, with no users: those of an earlier
    /// process of this name are forgotten.
    ///
    /// # Errors
    /// [`PresenceError::Unavailable`]; retry.
    fn begin(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<(), PresenceError>>;

    /// `user_id` has a session on `node`. Idempotent. Answers whether the user was offline before.
    ///
    /// # Errors
    /// [`PresenceError::Lapsed`]: the node has not begun, or its lease has ended; do not retry.
    /// [`PresenceError::Unavailable`]; retry.
    fn join(&self, node: &NodeId, user_id: UserId) -> BoxFuture<'_, Result<bool, PresenceError>>;

    /// `user_id` has no session on `node` any more. Idempotent. Answers whether the user is offline
    /// now.
    ///
    /// # Errors
    /// [`PresenceError::Unavailable`]; retry, or let the lease end.
    fn leave(&self, node: &NodeId, user_id: UserId) -> BoxFuture<'_, Result<bool, PresenceError>>;

    /// The nodes of each of `users`, in the order asked; empty for those offline.
    ///
    /// # Errors
    /// [`PresenceError::Unavailable`]; retry.
    fn locate(&self, users: &[UserId]) -> BoxFuture<'_, Result<Vec<Vec<NodeId>>, PresenceError>>;

    /// Whether each of `users` is connected anywhere, in the order asked.
    ///
    /// # Errors
    /// [`PresenceError::Unavailable`]; retry.
    fn online(&self, users: &[UserId]) -> BoxFuture<'_, Result<Vec<bool>, PresenceError>>;

    /// Keeps what `node` has joined alive for `lease` from now. A node that never renews again has
    /// no users once the lease has ended. Answers false if it lapsed: it must begin again.
    ///
    /// # Errors
    /// [`PresenceError::Unavailable`]; retry well within the lease.
    fn renew(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<bool, PresenceError>>;
}

/// Why a presence call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PresenceError {
    /// The node has no lease: it has not begun, or was too late to renew. It must begin again.
    #[error("the lease of node {0} has ended")]
    Lapsed(NodeId),
    /// It cannot be reached. Retry.
    #[error("presence cannot be reached: {0}")]
    Unavailable(String),
}

impl PresenceError {
    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
