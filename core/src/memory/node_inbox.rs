//! The inbox of each node, in process memory.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use foldhash::fast::RandomState;
use tokio::sync::Notify;

use super::{lock, ready};
use crate::model::NodeId;
use crate::ports::{BoxFuture, Delivery, InboxEntry, InboxError, InboxPosition, NodeInbox};

/// A [`NodeInbox`] in process memory.
///
/// `open` and `forget` act when they are called, not when their future is first polled; `send` and
/// `receive` select the inbox when they are called. The positions of an inbox that is opened again
/// continue after those of every removed inbox, so that an old position never hides a new entry.
pub struct MemoryNodeInbox {
    capacity: usize,
    inboxes: RwLock<HashMap<NodeId, Arc<Inbox>, RandomState>>,
    /// The highest position of any removed inbox.
    highest_forgotten: AtomicU64,
}

impl MemoryNodeInbox {
    /// No inboxes. Each that is opened holds up to `capacity` (at least 1) entries.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            inboxes: RwLock::default(),
            highest_forgotten: AtomicU64::new(0),
        }
    }

    fn inbox(&self, node: &NodeId) -> Result<Arc<Inbox>, InboxError> {
        let inboxes = self.inboxes.read().unwrap_or_else(PoisonError::into_inner);
        inboxes.get(node).cloned().ok_or_else(|| InboxError::UnknownNode(node.clone()))
    }
}

impl NodeInbox for MemoryNodeInbox {
    fn send(
        &self,
        node: &NodeId,
        deliveries: Vec<Delivery>,
    ) -> BoxFuture<'_, Result<(), InboxError>> {
        let inbox = self.inbox(node);
        Box::pin(async move {
            let inbox = inbox?;
            let mut deliveries = deliveries.into_iter();
            loop {
                // Created before the append, so that a confirmation between append and wait is not missed.
                let freed = inbox.freed.notified();
                let accepted = lock(&inbox.entries).accept(&mut deliveries, self.capacity);
                match accepted {
                    None => return Err(InboxError::UnknownNode(inbox.node.clone())),
                    Some(0) => {}
                    Some(_) => inbox.arrived.notify_waiters(),
                }
                if deliveries.len() == 0 {
                    return Ok(());
                }
                freed.await;
            }
        })
    }

    fn receive(
        &self,
        node: &NodeId,
        after: InboxPosition,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InboxEntry>, InboxError>> {
        let inbox = self.inbox(node);
        Box::pin(async move {
            let inbox = inbox?;
            let freed = lock(&inbox.entries).confirm(after);
            if freed {
                inbox.freed.notify_waiters();
            }
            loop {
                // Created before the read, so that an append between read and wait is not missed.
                let arrived = inbox.arrived.notified();
                let entries = lock(&inbox.entries).read(after, limit);
                match entries {
                    None => return Err(InboxError::UnknownNode(inbox.node.clone())),
                    Some(entries) if !entries.is_empty() => return Ok(entries),
                    Some(_) => arrived.await,
                }
            }
        })
    }

    fn open(&self, node: &NodeId) -> BoxFuture<'_, Result<(), InboxError>> {
        let mut inboxes = self.inboxes.write().unwrap_or_else(PoisonError::into_inner);
        inboxes.entry(node.clone()).or_insert_with(|| {
            let last = self.highest_forgotten.load(Ordering::Relaxed);
            Arc::new(Inbox::new(node.clone(), last))
        });
        ready(Ok(()))
    }

    fn forget(&self, node: &NodeId) -> BoxFuture<'_, Result<(), InboxError>> {
        let mut inboxes = self.inboxes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(inbox) = inboxes.remove(node) {
            let last = lock(&inbox.entries).close();
            // Under the write lock, like the load in `open`.
            self.highest_forgotten.fetch_max(last, Ordering::Relaxed);
            inbox.freed.notify_waiters();
            inbox.arrived.notify_waiters();
        }
        ready(Ok(()))
    }
}

struct Inbox {
    node: NodeId,
    entries: Mutex<Entries>,
    /// Notified when entries were appended, and when the inbox is removed.
    arrived: Notify,
    /// Notified when there is capacity again, and when the inbox is removed.
    freed: Notify,
}

impl Inbox {
    /// An empty inbox whose first entry has the position after `last`.
    fn new(node: NodeId, last: u64) -> Self {
        let entries = Entries { queue: VecDeque::new(), last, closed: false };
        Self { node, entries: Mutex::new(entries), arrived: Notify::new(), freed: Notify::new() }
    }
}

/// The entries of an inbox, in order of position.
struct Entries {
    queue: VecDeque<InboxEntry>,
    /// The position of the newest entry.
    last: u64,
    /// The inbox was removed while calls were using it.
    closed: bool,
}

impl Entries {
    /// Appends as many of `deliveries` as there is capacity for, and returns their number; absent if
    /// the inbox is closed.
    fn accept(
        &mut self,
        deliveries: &mut std::vec::IntoIter<Delivery>,
        capacity: usize,
    ) -> Option<usize> {
        if self.closed {
            return None;
        }
        let before = self.queue.len();
        for delivery in deliveries.take(capacity.saturating_sub(before)) {
            self.last += 1;
            self.queue.push_back(InboxEntry { position: InboxPosition(self.last), delivery });
        }
        Some(self.queue.len() - before)
    }

    /// Removes the entries up to and including `after`. Returns whether there were any.
    fn confirm(&mut self, after: InboxPosition) -> bool {
        let before = self.queue.len();
        while self.queue.pop_front_if(|entry| entry.position <= after).is_some() {}
        self.queue.len() < before
    }

    /// Up to `limit` entries after `after`, empty if there are none yet; absent if closed.
    fn read(&self, after: InboxPosition, limit: usize) -> Option<Vec<InboxEntry>> {
        if self.closed {
            return None;
        }
        let start = self.queue.partition_point(|entry| entry.position <= after);
        let end = self.queue.len().min(start.saturating_add(limit.max(1)));
        Some(self.queue.range(start..end).cloned().collect())
    }

    /// Removes all entries. Returns the position of the newest one.
    fn close(&mut self) -> u64 {
        self.closed = true;
        self.queue = VecDeque::new();
        self.last
    }
}
