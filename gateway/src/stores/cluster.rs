//! The servers of a cluster: queues, presence and leases in Redis, history in Cassandra, the directory in
//! PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use pabal_core::model::Timestamp;
use pabal_core::ports::{BoxFuture, Clock, HistoryStore};
use pabal_storage::directory::PostgresDirectory;
use pabal_storage::error::ConnectFailure;
use pabal_storage::history::CassandraHistoryStore;
use pabal_storage::redis::{ConnectError, InvalidRedisUrl, RedisConfig, RedisStore, RedisUrl};

use super::{OpenDirectory, Queues, Servers, StoresError};
use crate::config::Storage;

/// How far the clocks of a node and of a server may be apart when the node starts.
const MAX_APART: Duration = Duration::from_secs(60);

/// Connects to every server that `storage` names.
pub(super) fn connect<'a>(
    storage: &'a Storage,
    clock: &'a Arc<dyn Clock>,
) -> BoxFuture<'a, Result<Servers, StoresError>> {
    Box::pin(async move {
        let queues = match &storage.queue {
            Some(url) => {
                let redis = connect_redis(url, storage.partitions).await?;
                let theirs = redis.time().await;
                let theirs = theirs.map_err(|error| StoresError::Server {
                    key: "storage.queue",
                    why: error.to_string(),
                })?;
                agree_on_time("storage.queue", clock.now(), theirs)?;
                Some(queues(&redis, storage, clock))
            }
            None => None,
        };
        let history: Option<Arc<dyn HistoryStore>> = match &storage.history {
            Some(url) => Some(Arc::new(connect_cassandra(url, storage.partitions).await?)),
            None => None,
        };
        let directory = match &storage.directory {
            Some(url) => {
                let store = connect_postgres(url, storage.directory_connections).await?;
                let theirs = store.time().await.map_err(|error| StoresError::Server {
                    key: "storage.directory",
                    why: error.to_string(),
                })?;
                agree_on_time("storage.directory", clock.now(), theirs)?;
                Some(open_directory(store))
            }
            None => None,
        };
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
        Ok(Some(open_directory(connect_postgres(url, connections).await?)))
    })
}

async fn connect_postgres(url: &str, connections: u32) -> Result<PostgresDirectory, StoresError> {
    let opened = PostgresDirectory::connect(url, connections).await;
    opened.map_err(unusable("storage.directory"))
}

fn open_directory(store: PostgresDirectory) -> OpenDirectory {
    OpenDirectory::new(store, |store: PostgresDirectory| async move { store.close().await })
}

/// Refuses a clock that differs from that of a server by more than [`MAX_APART`].
fn agree_on_time(key: &'static str, ours: Timestamp, theirs: Timestamp) -> Result<(), StoresError> {
    let apart = ours.since(theirs).max(theirs.since(ours));
    if apart <= MAX_APART {
        return Ok(());
    }
    let why = format!(
        "the clock of the server says {theirs}, and the one of this machine {ours}: set both right"
    );
    Err(StoresError::Server { key, why })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_be_a_minute_apart() {
        let ours = Timestamp::from_millis(1_800_000_000_000);
        let agree = |theirs| agree_on_time("storage.queue", ours, theirs);
        assert!(agree(ours.plus(MAX_APART)).is_ok());
        for millis in [1_800_000_060_001, 1_799_999_939_999] {
            let error = agree(Timestamp::from_millis(millis)).expect_err("is too far");
            assert!(error.to_string().starts_with("storage.queue: the clock of the server"));
        }
    }
}
