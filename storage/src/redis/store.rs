//! The connections to Redis, from which the adapters of the ports are made.

use std::sync::Arc;
use std::time::Duration;

use pabal_core::ports::Clock;

use super::error::ConnectError;
use super::servers::Servers;
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

    /// The sync queue of each partition, which holds up to `capacity_per_partition` (at least 1)
    /// entries until they are trimmed.
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
