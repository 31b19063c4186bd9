//! The embedded push queue on a real disk: its contract.

use std::path::Path;

use pabal_contract::push_notifier;
use pabal_core::ports::{BoxFuture, Notification, PushError, PushNotifier};
use pabal_core::ports::{PushPosition, QueuedNotification};
use pabal_storage::embedded::{EmbeddedConfig, EmbeddedStore};
use tempfile::TempDir;

fn open(folder: &Path, push_capacity: usize) -> EmbeddedStore {
    let config = EmbeddedConfig { push_capacity, ..EmbeddedConfig::default() };
    EmbeddedStore::open(folder, &config).expect("the store opens")
}

/// A queue, and the folder if the queue owns it.
struct OnDisk {
    store: EmbeddedStore,
    _folder: Option<TempDir>,
}

impl PushNotifier for OnDisk {
    fn enqueue(&self, notifications: Vec<Notification>) -> BoxFuture<'_, Result<(), PushError>> {
        self.store.push.enqueue(notifications)
    }

    fn pending(
        &self,
        after: PushPosition,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<QueuedNotification>, PushError>> {
        self.store.push.pending(after, limit)
    }

    fn confirm(&self, positions: &[PushPosition]) -> BoxFuture<'_, Result<(), PushError>> {
        self.store.push.confirm(positions)
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fulfils_the_contract() {
    push_notifier::run(async |capacity| {
        let folder = folder();
        OnDisk { store: open(folder.path(), capacity), _folder: Some(folder) }
    })
    .await;
}

#[tokio::test]
async fn keeps_the_queue_when_reopened() {
    push_notifier::run_reopened(
        async || folder(),
        async |folder: &TempDir, capacity| OnDisk {
            store: open(folder.path(), capacity),
            _folder: None,
        },
    )
    .await;
}
