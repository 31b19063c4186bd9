//! The embedded push queue: reads, and forwarding of writes to the writer.

use std::ops::Bound;
use std::sync::Arc;

use fjall::Readable;
use pabal_core::ports::{
    BoxFuture, Notification, PushError, PushNotifier, PushPosition, QueuedNotification,
};

use super::chain;
use super::database::{ReadError, yield_between_rows};
use super::writer::{Request, Writer};
use crate::codec::notification as codec;

/// A [`PushNotifier`] on local disk, opened by
/// [`EmbeddedStore::open`](crate::embedded::EmbeddedStore::open).
///
/// It shares the writer and the syncs of the history. Notifications of one call enter together or,
/// at capacity, not at all; they are durable when the call returns. A call whose future is dropped
/// may still be executed.
///
/// # Errors
/// [`PushError::Full`]: retry once notifications are confirmed. [`PushError::Unavailable`]: retry;
/// if the store is poisoned every call fails, and the history reports
/// [`HistoryError::Poisoned`](pabal_core::ports::HistoryError::Poisoned), after which the process
/// must stop.
pub struct FjallPushNotifier {
    writer: Arc<Writer>,
}

impl FjallPushNotifier {
    pub(super) fn new(writer: Arc<Writer>) -> Self {
        Self { writer }
    }

    async fn read_after(
        &self,
        after: PushPosition,
        limit: usize,
    ) -> Result<Vec<QueuedNotification>, PushError> {
        let database = self.writer.database()?;
        // The range excludes key 0, which holds the last position, and the key of the chain.
        let from = Bound::Excluded(after.0.to_be_bytes().to_vec());
        let to = Bound::Excluded(chain::KEY.to_vec());
        let rows = database.durable().range(&database.push, (from, to));
        let mut pending = Vec::new();
        for (row, guard) in rows.take(limit).enumerate() {
            let (key, value) = guard.into_inner().map_err(ReadError::from)?;
            let damaged = |error| PushError::Unavailable(format!("notification {key:?}: {error}"));
            let position = PushPosition(codec::decode_position(&key).map_err(damaged)?);
            let notification = codec::decode(&value).map_err(damaged)?;
            pending.push(QueuedNotification { position, notification });
            yield_between_rows(row).await;
        }
        Ok(pending)
    }
}

impl PushNotifier for FjallPushNotifier {
    fn enqueue(&self, notifications: Vec<Notification>) -> BoxFuture<'_, Result<(), PushError>> {
        Box::pin(async move {
            let request = |reply| Request::Enqueue { notifications, reply };
            self.writer.submit(request).await?
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
                // Marked before the read, so that an arrival during the read is not missed.
                arrived.mark_unchanged();
                let pending = self.read_after(after, limit).await?;
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
            let request = |reply| Request::Confirm { positions, reply };
            self.writer.submit(request).await?
        })
    }
}
