//! The push queue, a stream. The encoding of a notification is in
//! [`codec::notification`](crate::codec::notification).

use pabal_core::ports::{
    BoxFuture, Notification, PushError, PushNotifier, PushPosition, QueuedNotification,
};

use super::error::CallError;
use super::keyspace::Keyspace;
use super::script::{PUSH_CONFIRM, PUSH_ENQUEUE};
use super::stream;
use crate::codec::notification;

const TAG: &str = "push";

/// The most positions in one call.
const MAX_POSITIONS: usize = 1_000;

/// A [`PushNotifier`] in Redis.
///
/// Notifications of one call enter together or, at capacity, not at all. They are as durable as
/// Redis is configured to be. A notification that Redis loses is not sent; its message is kept in
/// history.
///
/// # Errors
/// [`PushError::Full`]: retry once notifications are confirmed. [`PushError::Unavailable`]: retry;
/// a repeated enqueue may duplicate notifications.
pub struct RedisPushNotifier {
    keyspace: Keyspace,
    capacity: String,
    queue: String,
    last: String,
}

impl RedisPushNotifier {
    pub(super) fn new(keyspace: Keyspace, capacity: usize) -> Self {
        let [queue, last] = ["queue", "last"].map(|what| keyspace.key(TAG, what));
        Self { keyspace, capacity: capacity.max(1).to_string(), queue, last }
    }
}

impl PushNotifier for RedisPushNotifier {
    fn enqueue(&self, notifications: Vec<Notification>) -> BoxFuture<'_, Result<(), PushError>> {
        Box::pin(async move {
            if notifications.is_empty() {
                return Ok(());
            }
            let values: Vec<_> = notifications.iter().map(notification::encode).collect();
            let mut args = vec![self.capacity.as_bytes()];
            args.extend(values.iter().map(|value| &value[..]));
            let keys = [&*self.queue, &*self.last];
            let reply = self.keyspace.servers.call(&PUSH_ENQUEUE, &keys, &args).await?;
            match stream::number(&reply.value)? {
                0 => Err(PushError::Full),
                _ => Ok(()),
            }
        })
    }

    fn pending(
        &self,
        after: PushPosition,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<QueuedNotification>, PushError>> {
        Box::pin(async move {
            let from = format!("{}-0", after.0);
            loop {
                let limit = stream::limit(limit);
                let reply = self.keyspace.servers.read(&self.queue, &from, limit).await?;
                let mut pending = Vec::new();
                for mut entry in stream::entries(reply.value)? {
                    let position = PushPosition(entry.id.0);
                    let value = entry.take("n").unwrap_or_default();
                    let notification = notification::decode(&value).map_err(|error| {
                        let reason = format!("notification {}: {error}", position.0);
                        PushError::Unavailable(reason)
                    })?;
                    pending.push(QueuedNotification { position, notification });
                }
                if !pending.is_empty() {
                    return Ok(pending);
                }
            }
        })
    }

    fn confirm(&self, positions: &[PushPosition]) -> BoxFuture<'_, Result<(), PushError>> {
        let ids: Vec<_> = positions.iter().map(|position| format!("{}-0", position.0)).collect();
        Box::pin(async move {
            for ids in ids.chunks(MAX_POSITIONS) {
                let args: Vec<_> = ids.iter().map(String::as_bytes).collect();
                self.keyspace.servers.call(&PUSH_CONFIRM, &[&self.queue], &args).await?;
            }
            Ok(())
        })
    }
}

impl From<CallError> for PushError {
    fn from(error: CallError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
