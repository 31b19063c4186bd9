//! The connections to Redis, from which the adapters of the ports are made.

use std::sync::Arc;
use std::time::Duration;

use pabal_core::ports::Clock;

use super::error::ConnectError;
use super::script::KEEP_TO;
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
    /// What all keys begin with, so that several clusters may share a Redis.
    pub namespace: String,
    /// How long a call may take, connecting and following fail-overs included. A read that waits
    /// for entries waits beyond it.
    pub call_within: Duration,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self { namespace: "pabal".into(), call_within: Duration::from_secs(2) }
    }
}

/// Redis, as the ports share it. Cheap to clone. Connections are made again as they are needed; they
/// end with the last adapter.
#[derive(Clone)]
pub struct RedisStore {
    pub(super) servers: Arc<Servers>,
    pub(super) namespace: Arc<str>,
}

impl RedisStore {
    /// Connects to every server, so that what is wrong is told now.
    ///
    /// # Errors
    /// [`ConnectError`], in one line.
    pub async fn connect(url: &RedisUrl, config: &RedisConfig) -> Result<Self, ConnectError> {
        let servers = Servers::connect(url.clone(), config.call_within).await?;
        let namespace = config.namespace.as_str().into();
        Ok(Self { servers: Arc::new(servers), namespace })
    }

    /// Sees to it that channels are divided into so many partitions by everybody who uses this Redis
    /// and its namespace: the first who says so decides, until the server loses what it has.
    ///
    /// # Errors
    /// [`ConnectError::Partitions`] if it is another number, and as of [`connect`](Self::connect).
    pub async fn keep_to(&self, partitions: u16) -> Result<(), ConnectError> {
        let (key, asked) = (self.key("log", "partitions"), partitions.to_string());
        let at = |error| ConnectError::at(self.servers.first_host(), &error);
        let answer = self.servers.call(&KEEP_TO, &[&key], &[asked.as_bytes()]).await.map_err(at)?;
        let recorded = stream::text(answer.value).map_err(at)?;
        if recorded != asked {
            let address = self.servers.first_host().to_string();
            return Err(ConnectError::Partitions { address, recorded, asked: partitions });
        }
        Ok(())
    }

    /// The sync queue of each partition, which holds up to `capacity_per_partition` (at least 1)
    /// messages until they are trimmed.
    pub fn message_log(
        &self,
        clock: Arc<dyn Clock>,
        capacity_per_partition: usize,
    ) -> RedisMessageLog {
        RedisMessageLog::new(self.clone(), clock, capacity_per_partition)
    }

    /// The inboxes, each of which holds up to `capacity` (at least 1) entries.
    pub fn node_inbox(&self, capacity: usize) -> RedisNodeInbox {
        RedisNodeInbox::new(self.clone(), capacity)
    }

    /// Which users are connected.
    pub fn presence(&self) -> RedisPresence {
        RedisPresence::new(self.clone())
    }

    /// Which nodes want a channel.
    pub fn interest(&self) -> RedisInterest {
        RedisInterest::new(self.clone())
    }

    /// The nodes and what they own.
    pub fn node_registry(&self) -> RedisNodeRegistry {
        RedisNodeRegistry::new(self.clone())
    }

    /// The push queue, which holds up to `capacity` (at least 1) notifications until they are
    /// confirmed.
    pub fn push_notifier(&self, capacity: usize) -> RedisPushNotifier {
        RedisPushNotifier::new(self.clone(), capacity)
    }

    /// The key of `what`, in the slot that all keys of this `tag` share.
    pub(super) fn key(&self, tag: &str, what: &str) -> String {
        format!("{{{}:{tag}}}:{what}", self.namespace)
    }
}
