//! The contract of every port, on each kind of Redis deployment.

use std::sync::Arc;

use pabal_contract::{interest, message_log, node_inbox, node_registry, presence, push_notifier};
use pabal_core::ports::MessageLog;
use pabal_servers::redis::{RedisCluster, RedisSentinel};
use pabal_servers::{Redis, started};

use crate::{store, store_in, system_clock};

/// Runs every suite on the servers at `url`.
async fn all(url: &str) {
    message_log::run(async |capacity| {
        Arc::new(store(url).await.message_log(system_clock(), capacity)) as Arc<dyn MessageLog>
    })
    .await;
    message_log::run_with_clock(async |clock| {
        Arc::new(store(url).await.message_log(clock, 10_000)) as Arc<dyn MessageLog>
    })
    .await;
    node_inbox::run(async |capacity| Arc::new(store(url).await.node_inbox(capacity)) as _).await;
    presence::run(async || Arc::new(store(url).await.presence()) as _).await;
    interest::run(async || Arc::new(store(url).await.interest()) as _).await;
    node_registry::run(async || Arc::new(store(url).await.node_registry()) as _).await;
    push_notifier::run(async |capacity| store(url).await.push_notifier(capacity)).await;
    push_notifier::run_reopened(
        async || format!("location-{}", rand::random::<u64>()),
        async |location, capacity| store_in(url, location).await.push_notifier(capacity),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_redis_fulfils_the_contracts() {
    let redis = started!(Redis::start());
    all(&redis.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_cluster_fulfils_the_contracts() {
    let cluster = started!(RedisCluster::start());
    all(&cluster.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_with_a_sentinel_fulfils_the_contracts() {
    let sentinel = started!(RedisSentinel::start());
    all(&sentinel.url()).await;
}
