//! The queue of notifications of a node without a webhook.

use futures::FutureExt;
use pabal_core::ports::{
    BoxFuture, Notification, PushError, PushNotifier, PushPosition, QueuedNotification,
};

/// Accepts notifications and discards them. Without a webhook a durable queue would fill up to its
/// bound and then report drops.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPush;

impl PushNotifier for NoPush {
    fn enqueue(&self, _: Vec<Notification>) -> BoxFuture<'_, Result<(), PushError>> {
        std::future::ready(Ok(())).boxed()
    }

    /// Never returns: no notification is ever queued.
    fn pending(
        &self,
        _: PushPosition,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<QueuedNotification>, PushError>> {
        std::future::pending().boxed()
    }

    fn confirm(&self, _: &[PushPosition]) -> BoxFuture<'_, Result<(), PushError>> {
        std::future::ready(Ok(())).boxed()
    }
}
