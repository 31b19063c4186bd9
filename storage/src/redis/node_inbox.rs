//! The queue to each node, a stream that only its node reads and trims.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pabal_core::model::NodeId;
use pabal_core::ports::{BoxFuture, Delivery, InboxEntry, InboxError, InboxPosition, NodeInbox};
use tokio::time::sleep;

use super::RedisStore;
use super::delivery;
use super::error::CallError;
use super::script::{INBOX_CONFIRM, INBOX_FORGET, INBOX_OPEN, INBOX_SEND};
use super::server::About;
use super::stream;

/// As many deliveries as one call puts in: it must not hold the server up.
const TOGETHER: usize = 128;
/// How long a send waits before it looks for room again, at first and at most.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(100)];

/// A [`NodeInbox`] in Redis.
///
/// A server that was restarted, or took over from another one, may have lost entries that nobody will
/// send again. So once the server is not the one that this process opened its inbox on,
/// [`receive`](NodeInbox::receive) answers [`InboxError::UnknownNode`]: what the node's sessions may
/// have missed, their clients read from history.
pub struct RedisNodeInbox {
    store: RedisStore,
    capacity: String,
    /// On which run of which server this process opened an inbox.
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
    pub(super) fn new(store: RedisStore, capacity: usize) -> Self {
        Self { store, capacity: capacity.max(1).to_string(), opened: Mutex::default() }
    }

    fn keys(&self, node: &NodeId) -> Keys {
        let tag = format!("inbox:{node}");
        Keys { entries: self.store.key(&tag, "entries"), last: self.store.key(&tag, "last") }
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<NodeId, String>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what this process opened is still what it was. An inbox that another process opened
    /// counts from now on as opened here.
    fn is_whole(&self, node: &NodeId, about: &Arc<About>) -> bool {
        let mut opened = self.opened();
        opened.entry(node.clone()).or_insert_with(|| about.run.clone()) == &about.run
    }

    /// The inbox is gone, in whole or in part.
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
            let mut left = &values[..];
            let [mut pause, at_most] = LOOK_AGAIN;
            loop {
                let mut args = vec![self.capacity.as_bytes()];
                args.extend(left.iter().take(TOGETHER).map(|value| &value[..]));
                let answer = self.store.servers.call(&INBOX_SEND, &keys.both(), &args).await?;
                let count = usize::try_from(stream::number(&answer.value)?)
                    .map_err(|_| InboxError::UnknownNode(node.clone()))?;
                left = left.get(count..).ok_or_else(|| {
                    InboxError::Unavailable("more was put in than was sent".into())
                })?;
                if left.is_empty() {
                    return Ok(());
                }
                if count == 0 {
                    sleep(pause).await;
                    pause = (pause * 2).min(at_most);
                } else {
                    [pause, _] = LOOK_AGAIN;
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
                    self.store.servers.call(&INBOX_CONFIRM, &keys.both(), &args).await?;
                if stream::number(&confirmed.value)? == 0 || !self.is_whole(&node, &confirmed.about)
                {
                    return Err(self.lost(&node));
                }
                let answer = self.store.servers.read(&keys.entries, &from, limit).await?;
                if !self.is_whole(&node, &answer.about) {
                    return Err(self.lost(&node));
                }
                let mut received = Vec::new();
                for mut entry in stream::entries(answer.value)? {
                    let Some(value) = entry.take("d") else {
                        // It says that the inbox was closed.
                        return Err(self.lost(&node));
                    };
                    let position = InboxPosition(entry.id.0);
                    let delivery = delivery::decode(&value).map_err(|error| {
                        let reason = format!("entry {} cannot be read: {error}", position.0);
                        InboxError::Unavailable(reason)
                    })?;
                    received.push(InboxEntry { position, delivery });
                }
                if !received.is_empty() {
                    return Ok(received);
                }
            }
        })
    }

    fn open(&self, node: &NodeId) -> BoxFuture<'_, Result<(), InboxError>> {
        let (node, keys) = (node.clone(), self.keys(node));
        Box::pin(async move {
            let answer = self.store.servers.call(&INBOX_OPEN, &keys.both(), &[]).await?;
            self.opened().insert(node, answer.about.run.clone());
            Ok(())
        })
    }

    fn forget(&self, node: &NodeId) -> BoxFuture<'_, Result<(), InboxError>> {
        let keys = self.keys(node);
        Box::pin(async move {
            self.store.servers.call(&INBOX_FORGET, &keys.both(), &[]).await?;
            Ok(())
        })
    }
}

impl From<CallError> for InboxError {
    fn from(error: CallError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
