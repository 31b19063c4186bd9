//! The connection to Redis from which the port adapters are created.

use std::sync::Arc;
use std::time::Duration;

use pabal_core::ports::{BoxFuture, Clock};

use super::error::ConnectError;
use super::keyspace::Keyspace;
use super::script::REQUIRE_PARTITIONS;
use super::servers::Servers;
use super::stream;
use super::url::RedisUrl;
use super::{
    RedisInterest, RedisMessageLog, RedisNodeInbox, RedisNodeRegistry, RedisPresence,
    RedisPushNotifier,
};

/// How Redis is used.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// The prefix of all keys, so that several clusters can share a Redis. Default `pabal`.
    pub namespace: String,
    /// The deadline of a call, including connecting and following failovers. A blocking read waits
    /// up to 5 s longer. Default 2 s.
    pub call_within: Duration,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self { namespace: "pabal".into(), call_within: Duration::from_secs(2) }
    }
}

/// The Redis connections that all port adapters share. Cheap to clone. Broken connections are
/// reopened on demand; all connections close when the last adapter is dropped.
#[derive(Clone)]
pub struct RedisStore {
    keyspace: Keyspace,
}

impl RedisStore {
    /// Connects to every server, so that a wrong configuration is reported at startup.
    ///
    /// Takes at most [`call_within`](RedisConfig::call_within).
    ///
    /// # Errors
    /// [`ConnectError`] as one line; only [`ConnectError::Unreachable`] is worth a retry.
    pub fn connect<'a>(
        url: &'a RedisUrl,
        config: &'a RedisConfig,
    ) -> BoxFuture<'a, Result<Self, ConnectError>> {
        Box::pin(async move {
            let servers = Servers::connect(url.clone(), config.call_within).await?;
            let namespace = config.namespace.as_str().into();
            Ok(Self { keyspace: Keyspace { servers: Arc::new(servers), namespace } })
        })
    }

    /// Records that channels are divided into `partitions` partitions in this namespace, or checks
    /// the recorded number. The first node decides. The record is lost if Redis loses its data.
    ///
    /// # Errors
    /// [`ConnectError::Partitions`] if another number is recorded; otherwise as for
    /// [`connect`](Self::connect).
    pub fn require_partitions(&self, partitions: u16) -> BoxFuture<'_, Result<(), ConnectError>> {
        Box::pin(async move {
            let (key, asked) = (self.keyspace.key("log", "partitions"), partitions.to_string());
            let at = |error| ConnectError::at(self.keyspace.servers.first_host(), &error);
            let reply = self
                .keyspace
                .servers
                .call(&REQUIRE_PARTITIONS, &[&key], &[asked.as_bytes()])
                .await
                .map_err(at)?;
            let recorded = stream::text(reply.value).map_err(at)?;
            if recorded != asked {
                let address = self.keyspace.servers.first_host().to_string();
                return Err(ConnectError::Partitions { address, recorded, asked: partitions });
            }
            Ok(())
        })
    }

    /// The sync queue of each partition. Each holds up to `capacity_per_partition` messages (at
    /// least 1) until they are trimmed.
    pub fn message_log(
        &self,
        clock: Arc<dyn Clock>,
        capacity_per_partition: usize,
    ) -> RedisMessageLog {
        RedisMessageLog::new(self.keyspace.clone(), clock, capacity_per_partition)
    }

    /// The inboxes of nodes. Each holds up to `capacity` entries (at least 1).
    pub fn node_inbox(&self, capacity: usize) -> RedisNodeInbox {
        RedisNodeInbox::new(self.keyspace.clone(), capacity)
    }

    /// Presence: which users are connected.
    pub fn presence(&self) -> RedisPresence {
        RedisPresence::new(self.keyspace.clone())
    }

    /// Interest: which nodes want a channel's messages.
    pub fn interest(&self) -> RedisInterest {
        RedisInterest::new(self.keyspace.clone())
    }

    /// The registry of nodes and partition leases.
    pub fn node_registry(&self) -> RedisNodeRegistry {
        RedisNodeRegistry::new(self.keyspace.clone())
    }

    /// The push queue. It holds up to `capacity` notifications (at least 1) until they are
    /// confirmed.
    pub fn push_notifier(&self, capacity: usize) -> RedisPushNotifier {
        RedisPushNotifier::new(self.keyspace.clone(), capacity)
    }
}
