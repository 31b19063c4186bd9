//! The in-memory history store and push queue fulfil the contracts of their ports.

use pabal_contract::{history_store, push_notifier};
use pabal_core::memory::{MemoryHistoryStore, MemoryPushNotifier};

#[tokio::test]
async fn memory_history_store() {
    history_store::run(async || MemoryHistoryStore::new()).await;
}

#[tokio::test]
async fn memory_push_notifier() {
    push_notifier::run(async |capacity| MemoryPushNotifier::new(capacity)).await;
}
