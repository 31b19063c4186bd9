//! The reads of an embedded push queue, and the way of its writes to the writer.

use std::ops::Bound;
use std::sync::Arc;

use fjall::Readable;
use pabal_core::ports::{
    BoxFuture, Notification, PushError, PushNotifier, PushPosition, QueuedNotification,
};

use super::codec;
use crate::embedded::{Request, Unreadable, Writer, breathe};

/// A [`PushNotifier`] on local disk, opened by
/// [`EmbeddedStore::open`](crate::embedded::EmbeddedStore::open).
///
/// It shares the writer and the syncs of the history. Notifications enter all together or, at the
/// bound, not at all. A call whose future is dropped may still be done. When the store is poisoned
/// every call answers [`PushError::Unavailable`]; that the process must stop, the history tells.
pub struct FjallPushNotifier {
    writer: Arc<Writer>,
}

impl FjallPushNotifier {
    pub(crate) fn new(writer: Arc<Writer>) -> Self {
        Self { writer }
    }

    async fn behind(
        &self,
        after: PushPosition,
        limit: usize,
    ) -> Result<Vec<QueuedNotification>, PushError> {
        let database = self.writer.database()?;
        // Also above 0 where the last position is kept.
        let from = Bound::Excluded(after.0.to_be_bytes());
        let rows = database.durable().range(&database.push, (from, Bound::Unbounded));
        let mut pending = Vec::new();
        for (row, guard) in rows.take(limit).enumerate() {
            let (key, value) = guard.into_inner().map_err(Unreadable::from)?;
            let damaged = |error| PushError::Unavailable(format!("notification {key:?}: {error}"));
            let position = PushPosition(codec::decode_position(&key).map_err(damaged)?);
            let notification = codec::decode(&value).map_err(damaged)?;
            pending.push(QueuedNotification { position, notification });
            breathe(row).await;
        }
        Ok(pending)
    }
}

impl PushNotifier for FjallPushNotifier {
    fn enqueue(&self, notifications: Vec<Notification>) -> BoxFuture<'_, Result<(), PushError>> {
        Box::pin(async move {
            let request = |answer| Request::Enqueue { notifications, answer };
            self.writer.ask(request).await?
        })
    }

    fn pending(
        &self,
        after: PushPosition,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<QueuedNotification>, PushError>> {
        Box::pin(async move {
            let mut arrived = self.writer.arrived();
            loop {
                // Marked as seen before the look, so that what arrives in between is not missed.
                arrived.mark_unchanged();
                let pending = self.behind(after, limit).await?;
                if !pending.is_empty() || limit == 0 {
                    return Ok(pending);
                }
                arrived.changed().await.map_err(|_| self.writer.stopped())?;
            }
        })
    }

    fn confirm(&self, positions: &[PushPosition]) -> BoxFuture<'_, Result<(), PushError>> {
        let positions = positions.to_vec();
        Box::pin(async move {
            let request = |answer| Request::Confirm { positions, answer };
            self.writer.ask(request).await?
        })
    }
}
