//! The directory in memory keeps the contract that every directory keeps.

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
        let both = Arc::new(MemoryDirectory::default());
        contract::accounts::Both { directory: both.clone(), accounts: both }
    })
    .await;
}
