//! The adapters on real Redis servers: the contracts on a single server, on a Redis Cluster and
//! with a Sentinel, and failures of servers.

mod contract;
mod connect;
mod cuts;
mod load;
mod failing;
mod log;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pabal_core::memory::SystemClock;
use pabal_core::ports::Clock;
use pabal_storage::redis::{RedisConfig, RedisStore};

/// A store in a namespace of its own on shared servers.
async fn store(url: &str) -> RedisStore {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let namespace = format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    store_in(url, &namespace).await
}

async fn store_in(url: &str, namespace: &str) -> RedisStore {
    let config = RedisConfig { namespace: namespace.to_owned(), ..RedisConfig::default() };
    let url = url.parse().expect("an address of Redis");
    RedisStore::connect(&url, &config).await.expect("connects")
}

fn system_clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}
