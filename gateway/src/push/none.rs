//! What stands in for the queue when no webhook is configured.

use futures::FutureExt;
use pabal_core::ports::{
    BoxFuture, Notification, PushError, PushNotifier, PushPosition, QueuedNotification,
};

/// Accepts notifications and forgets them: with nobody to deliver them, a durable queue would fill
/// the disk up to its bound and then report drops that are none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPush;

impl PushNotifier for NoPush {
    fn enqueue(&self, _: Vec<Notification>) -> BoxFuture<'_, Result<(), PushError>> {
        std::future::ready(Ok(())).boxed()
    }

    /// There never is one, so this waits for as long as it is polled.
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
