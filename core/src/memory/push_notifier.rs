//! The queue of notifications, in process memory. Its data ends with it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Mutex;

use tokio::sync::Notify;

use super::{lock, ready};
use crate::ports::{
    BoxFuture, Notification, PushError, PushNotifier, PushPosition, QueuedNotification,
};

/// A [`PushNotifier`] in process memory, which counts as durable while the process lives.
///
/// The notifications of a call enter all together or, at the limit, not at all. `enqueue` and `confirm`
/// act when they are called, not when their future is first polled.
pub struct MemoryPushNotifier {
    capacity: usize,
    queue: Mutex<Queue>,
    /// Notified after each enqueue.
    arrived: Notify,
}

#[derive(Default)]
struct Queue {
    last: u64,
    waiting: BTreeMap<u64, Notification>,
}

impl MemoryPushNotifier {
    /// An empty queue that holds up to `capacity` (at least 1) notifications until they are
    /// confirmed.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), queue: Mutex::default(), arrived: Notify::new() }
    }
}

impl PushNotifier for MemoryPushNotifier {
    fn enqueue(&self, notifications: Vec<Notification>) -> BoxFuture<'_, Result<(), PushError>> {
        let mut queue = lock(&self.queue);
        if queue.waiting.len() + notifications.len() > self.capacity {
            return ready(Err(PushError::Full));
        }
        for notification in notifications {
            queue.last += 1;
            let position = queue.last;
            queue.waiting.insert(position, notification);
        }
        drop(queue);
        self.arrived.notify_waiters();
        ready(Ok(()))
    }

    fn pending(
        &self,
        after: PushPosition,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<QueuedNotification>, PushError>> {
        Box::pin(async move {
            loop {
                // Created before the read, so that an enqueue between read and wait is not missed.
                let arrived = self.arrived.notified();
                let pending = lock(&self.queue).after(after, limit);
                if !pending.is_empty() || limit == 0 {
                    return Ok(pending);
                }
                arrived.await;
            }
        })
    }

    fn confirm(&self, positions: &[PushPosition]) -> BoxFuture<'_, Result<(), PushError>> {
        let mut queue = lock(&self.queue);
        for position in positions {
            queue.waiting.remove(&position.0);
        }
        ready(Ok(()))
    }
}

impl Queue {
    fn after(&self, after: PushPosition, limit: usize) -> Vec<QueuedNotification> {
        self.waiting
            .range((Bound::Excluded(after.0), Bound::Unbounded))
            .take(limit)
            .map(|(position, notification)| QueuedNotification {
                position: PushPosition(*position),
                notification: notification.clone(),
            })
            .collect()
    }
}
