//! The in-memory directory fulfils the contract of every directory.

use std::sync::Arc;

use pabal_contract as contract;
use pabal_core::memory::MemoryDirectory;

#[tokio::test(flavor = "multi_thread")]
async fn memory_directory() {
    contract::directory::run(async || Arc::new(MemoryDirectory::default()) as _).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_accounts() {
    contract::accounts::run(async || {
        let store = Arc::new(MemoryDirectory::default());
        contract::accounts::AccountsStore { directory: store.clone(), accounts: store }
    })
    .await;
}
