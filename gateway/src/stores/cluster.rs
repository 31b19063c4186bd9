//! The servers of a cluster: queues, presence and leases in Redis, history in Cassandra, the directory in
//! PostgreSQL.

use std::sync::Arc;

use pabal_core::ports::{BoxFuture, Clock, HistoryStore};
use pabal_storage::directory::PostgresDirectory;
use pabal_storage::error::ConnectFailure;
use pabal_storage::history::CassandraHistoryStore;
use pabal_storage::redis::{ConnectError, InvalidRedisUrl, RedisConfig, RedisStore, RedisUrl};

use super::{OpenDirectory, Queues, Servers, StoresError};
use crate::config::Storage;

/// Connects to every server that `storage` names.
pub(super) fn connect<'a>(
    storage: &'a Storage,
    clock: &'a Arc<dyn Clock>,
) -> BoxFuture<'a, Result<Servers, StoresError>> {
    Box::pin(async move {
        let queues = match &storage.queue {
            Some(url) => {
                Some(queues(&connect_redis(url, storage.partitions).await?, storage, clock))
            }
            None => None,
        };
        let history: Option<Arc<dyn HistoryStore>> = match &storage.history {
            Some(url) => Some(Arc::new(connect_cassandra(url, storage.partitions).await?)),
            None => None,
        };
        let directory = connect_directory(storage, storage.directory_connections).await?;
        Ok(Servers { queues, history, directory })
    })
}

/// Connects to the server of the directory, if `storage` names one.
pub(super) fn connect_directory(
    storage: &Storage,
    connections: u32,
) -> BoxFuture<'_, Result<Option<OpenDirectory>, StoresError>> {
    Box::pin(async move {
        let Some(url) = &storage.directory else { return Ok(None) };
        let opened = PostgresDirectory::connect(url, connections).await;
        let store = opened.map_err(unusable("storage.directory"))?;
        let close = |store: PostgresDirectory| async move { store.close().await };
        Ok(Some(OpenDirectory::new(store, close)))
    })
}

/// See [`migrate`](super::migrate).
pub(super) fn migrate(storage: &Storage) -> BoxFuture<'_, Result<Vec<&'static str>, StoresError>> {
    Box::pin(async move {
        let mut migrated = Vec::new();
        if let Some(url) = &storage.directory {
            PostgresDirectory::migrate(url).await.map_err(unusable("storage.directory"))?;
            migrated.push("storage.directory");
        }
        if let Some(url) = &storage.history {
            CassandraHistoryStore::migrate(url).await.map_err(unusable("storage.history"))?;
            migrated.push("storage.history");
        }
        Ok(migrated)
    })
}

fn queues(redis: &RedisStore, storage: &Storage, clock: &Arc<dyn Clock>) -> Queues {
    Queues {
        log: Arc::new(redis.message_log(Arc::clone(clock), storage.log_messages_per_partition)),
        inbox: Arc::new(redis.node_inbox(storage.inbox_deliveries)),
        presence: Arc::new(redis.presence()),
        interest: Arc::new(redis.interest()),
        registry: Arc::new(redis.node_registry()),
        push: Some(Arc::new(redis.push_notifier(storage.push_queue_notifications))),
    }
}

fn unusable(key: &'static str) -> impl Fn(pabal_storage::error::ConnectError) -> StoresError {
    move |error| StoresError::Server { key, why: error.to_string() }
}

async fn connect_redis(url: &str, partitions: u16) -> Result<RedisStore, StoresError> {
    let unusable = |error: ConnectError| {
        let key = match error {
            ConnectError::Partitions { .. } => "storage.partitions",
            _ => "storage.queue",
        };
        StoresError::Server { key, why: error.to_string() }
    };
    let url: RedisUrl = url.parse().map_err(|error: InvalidRedisUrl| {
        let (key, why) = ("storage.queue", error.to_string());
        StoresError::Server { key, why }
    })?;
    let store = RedisStore::connect(&url, &RedisConfig::default()).await.map_err(unusable)?;
    store.require_partitions(partitions).await.map_err(unusable)?;
    Ok(store)
}

async fn connect_cassandra(
    url: &str,
    partitions: u16,
) -> Result<CassandraHistoryStore, StoresError> {
    let store = CassandraHistoryStore::connect(url).await.map_err(unusable("storage.history"))?;
    let kept = store.require_partitions(url, partitions).await;
    kept.map_err(|error| match error.failure() {
        ConnectFailure::Partitions(..) => unusable("storage.partitions")(error),
        _ => unusable("storage.history")(error),
    })?;
    Ok(store)
}
