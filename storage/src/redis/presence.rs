//! Which users are connected, in Redis. The leases are managed in [`leased`](super::leased).

use std::time::Duration;

use pabal_core::model::{NodeId, UserId};
use pabal_core::ports::{BoxFuture, Presence, PresenceError};

use super::error::CallError;
use super::keyspace::Keyspace;
use super::leased::Leased;

/// A [`Presence`] in Redis. A call whose future is dropped may still be executed.
///
/// If the Redis server restarted or failed over, [`renew`](Presence::renew) returns false even when
/// the lease has not expired, because the server may have lost joins.
///
/// # Errors
/// [`PresenceError::Lapsed`]: begin again, do not retry. [`PresenceError::Unavailable`]: retry.
pub struct RedisPresence {
    users: Leased,
}

impl RedisPresence {
    pub(super) fn new(keyspace: Keyspace) -> Self {
        Self { users: Leased::new(keyspace, "presence") }
    }
}

impl Presence for RedisPresence {
    fn begin(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<(), PresenceError>> {
        let node = node.clone();
        Box::pin(async move { Ok(self.users.begin(&node, lease).await?) })
    }

    fn join(&self, node: &NodeId, user_id: UserId) -> BoxFuture<'_, Result<bool, PresenceError>> {
        let node = node.clone();
        Box::pin(async move {
            let joined = self.users.join(&node, &[user_id.to_string()]).await?;
            joined.ok_or(PresenceError::Lapsed(node))
        })
    }

    fn leave(&self, node: &NodeId, user_id: UserId) -> BoxFuture<'_, Result<bool, PresenceError>> {
        let node = node.clone();
        Box::pin(async move { Ok(self.users.leave(&node, &[user_id.to_string()]).await?) })
    }

    fn locate(&self, users: &[UserId]) -> BoxFuture<'_, Result<Vec<Vec<NodeId>>, PresenceError>> {
        let users: Vec<_> = users.iter().map(UserId::to_string).collect();
        Box::pin(async move { Ok(self.users.locate(&users).await?) })
    }

    fn online(&self, users: &[UserId]) -> BoxFuture<'_, Result<Vec<bool>, PresenceError>> {
        let located = self.locate(users);
        Box::pin(async move { Ok(located.await?.iter().map(|nodes| !nodes.is_empty()).collect()) })
    }

    fn renew(&self, node: &NodeId, lease: Duration) -> BoxFuture<'_, Result<bool, PresenceError>> {
        let node = node.clone();
        Box::pin(async move { Ok(self.users.renew(&node, lease).await?) })
    }
}

impl From<CallError> for PresenceError {
    fn from(error: CallError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
