//! The inbox of each node: a stream that only its node reads and trims.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pabal_core::Backoff;
use pabal_core::model::NodeId;
use pabal_core::ports::{BoxFuture, Delivery, InboxEntry, InboxError, InboxPosition, NodeInbox};
use tokio::time::sleep;

use super::delivery;
use super::error::CallError;
use super::keyspace::Keyspace;
use super::script::{INBOX_CONFIRM, INBOX_FORGET, INBOX_OPEN, INBOX_SEND};
use super::server::ServerInfo;
use super::stream;

/// The most deliveries in one call: a script blocks the server while it runs.
const MAX_DELIVERIES: usize = 128;
/// The pause before a send checks for capacity again: initial and maximum.
const FULL_BACKOFF: Backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(100));

/// A [`NodeInbox`] in Redis.
///
/// Deliveries of one call keep their order; more than fit at once are sent in several steps. A send
/// to a full inbox waits, polling with exponential backoff of 2 to 100 ms.
///
/// A server that restarted or failed over may have lost entries, which are not sent again. So
/// [`receive`](NodeInbox::receive) returns [`InboxError::UnknownNode`] when the server's `run_id`
/// differs from the one on which this process opened the inbox. The node's sessions then end, and
/// clients catch up from history.
///
/// # Errors
/// [`InboxError::UnknownNode`]: do not retry; open the inbox again. [`InboxError::Unavailable`]:
/// retry; the deliveries may have been sent, so a retry may repeat them.
pub struct RedisNodeInbox {
    keyspace: Keyspace,
    capacity: String,
    /// The `run_id` of the server on which this process opened each inbox.
    opened: Mutex<HashMap<NodeId, String>>,
}

/// The keys of an inbox.
struct Keys {
    entries: String,
    last: String,
}

impl Keys {
    fn both(&self) -> [&str; 2] {
        [&self.entries, &self.last]
    }
}

impl RedisNodeInbox {
    pub(super) fn new(keyspace: Keyspace, capacity: usize) -> Self {
        Self { keyspace, capacity: capacity.max(1).to_string(), opened: Mutex::default() }
    }

    fn keys(&self, node: &NodeId) -> Keys {
        let tag = format!("inbox:{node}");
        Keys { entries: self.keyspace.key(&tag, "entries"), last: self.keyspace.key(&tag, "last") }
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<NodeId, String>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server still has the `run_id` on which this process opened the inbox. An inbox
    /// that another process opened is recorded as opened here.
    fn is_same_server(&self, node: &NodeId, info: &Arc<ServerInfo>) -> bool {
        let mut opened = self.opened();
        opened.entry(node.clone()).or_insert_with(|| info.run_id.clone()) == &info.run_id
    }

    /// The inbox is lost, completely or in part.
    fn lost(&self, node: &NodeId) -> InboxError {
        self.opened().remove(node);
        InboxError::UnknownNode(node.clone())
    }
}

impl NodeInbox for RedisNodeInbox {
    fn send(
        &self,
        node: &NodeId,
        deliveries: Vec<Delivery>,
    ) -> BoxFuture<'_, Result<(), InboxError>> {
        let (node, keys) = (node.clone(), self.keys(node));
        Box::pin(async move {
            let values: Vec<_> = deliveries.iter().map(delivery::encode).collect();
            let mut remaining = &values[..];
            let mut backoff = FULL_BACKOFF;
            loop {
                let mut args = vec![self.capacity.as_bytes()];
                args.extend(remaining.iter().take(MAX_DELIVERIES).map(|value| &value[..]));
                let reply = self.keyspace.servers.call(&INBOX_SEND, &keys.both(), &args).await?;
                let count = usize::try_from(stream::number(&reply.value)?)
                    .map_err(|_| InboxError::UnknownNode(node.clone()))?;
                remaining = remaining.get(count..).ok_or_else(|| {
                    InboxError::Unavailable("Redis reports more deliveries than were sent".into())
                })?;
                if remaining.is_empty() {
                    return Ok(());
                }
                if count == 0 {
                    sleep(backoff.next_wait()).await;
                } else {
                    backoff.reset();
                }
            }
        })
    }

    fn receive(
        &self,
        node: &NodeId,
        after: InboxPosition,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InboxEntry>, InboxError>> {
        let (node, keys) = (node.clone(), self.keys(node));
        Box::pin(async move {
            let position = after.0.to_string();
            let (from, limit) = (format!("{position}-0"), stream::limit(limit));
            loop {
                let args = [position.as_bytes()];
                let confirmed =
                    self.keyspace.servers.call(&INBOX_CONFIRM, &keys.both(), &args).await?;
                if stream::number(&confirmed.value)? == 0
                    || !self.is_same_server(&node, &confirmed.info)
                {
                    return Err(self.lost(&node));
                }
                let reply = self.keyspace.servers.read(&keys.entries, &from, limit).await?;
                if !self.is_same_server(&node, &reply.info) {
                    return Err(self.lost(&node));
                }
                let mut received = Vec::new();
                for mut entry in stream::entries(reply.value)? {
                    let Some(value) = entry.take("d") else {
                        // An entry without a delivery marks a closed inbox.
                        return Err(self.lost(&node));
                    };
                    let position = InboxPosition(entry.id.0);
                    let delivery = delivery::decode(&value).map_err(|error| {
                        let reason = format!("entry {} cannot be read: {error}", position.0);
                        InboxError::Unavailable(reason)
                    })?;
                    received.push(InboxEntry { position, delivery });
                }
                debug_assert!(
                    received.is_sorted_by(|one: &InboxEntry, next| one.position < next.position),
                    "positions rise in the order of the stream"
                );
                if !received.is_empty() {
                    return Ok(received);
                }
            }
        })
    }

    fn open(&self, node: &NodeId) -> BoxFuture<'_, Result<(), InboxError>> {
        let (node, keys) = (node.clone(), self.keys(node));
        Box::pin(async move {
            let reply = self.keyspace.servers.call(&INBOX_OPEN, &keys.both(), &[]).await?;
            self.opened().insert(node, reply.info.run_id.clone());
            Ok(())
        })
    }

    fn forget(&self, node: &NodeId) -> BoxFuture<'_, Result<(), InboxError>> {
        let keys = self.keys(node);
        Box::pin(async move {
            self.keyspace.servers.call(&INBOX_FORGET, &keys.both(), &[]).await?;
            Ok(())
        })
    }
}

impl From<CallError> for InboxError {
    fn from(error: CallError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
