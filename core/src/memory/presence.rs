//! Which users are connected, in process memory. [`LeasedNodes`] owns the leases.

use std::time::Duration;

use super::leased_nodes::LeasedNodes;
use super::ready;
use crate::model::{NodeId, UserId};
use crate::ports::{BoxFuture, Presence, PresenceError};

/// A [`Presence`] in process memory.
///
/// Calls act when they are made, not when their future is first polled. Its size is that of the users
/// with sessions.
pub struct MemoryPresence {
    users: LeasedNodes<UserId>,
}

impl MemoryPresence {
    /// No user is connected.
    pub fn new() -> Self {
        Self { users: LeasedNodes::new() }
    }
}

impl Default for MemoryPresence {
    fn default() -> Self {
        Self::new()
    }
}

impl Presence for MemoryPresence {
    fn begin(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<(), PresenceError>> {
        self.users.begin(node, lease);
        ready(Ok(()))
    }

    fn join(&self, node: &NodeId, user_id: UserId) -> BoxFuture<'_, Result<bool, PresenceError>> {
        let joined = self.users.join(node, user_id);
        ready(joined.ok_or_else(|| PresenceError::Lapsed(node.clone())))
    }

    fn leave(&self, node: &NodeId, user_id: UserId) -> BoxFuture<'_, Result<bool, PresenceError>> {
        ready(Ok(self.users.leave(node, user_id)))
    }

    fn locate(&self, users: &[UserId]) -> BoxFuture<'_, Result<Vec<Vec<NodeId>>, PresenceError>> {
        ready(Ok(self.users.locate(users)))
    }

    fn online(&self, users: &[UserId]) -> BoxFuture<'_, Result<Vec<bool>, PresenceError>> {
        ready(Ok(self.users.held(users)))
    }

    fn renew(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<bool, PresenceError>> {
        ready(Ok(self.users.renew(node, lease)))
    }
}
