//! The ports of a cluster on Redis 7: the log, the inboxes, presence, interest, the registry and the
//! push queue. Owns what stands in Redis; why each of it may be lost there, and nothing acknowledged
//! with it, is told in `docs/adr/0009-what-redis-may-lose.md`.
//!
//! Every call is one script, a file in `lua/`, on keys of one slot. So it happens or it does not, and
//! the same keys do on one Redis, behind Sentinels and on a Redis Cluster. Waiting reads are `XREAD
//! BLOCK` from explicit positions, on connections of their own.

mod url;
mod error;
mod script;
mod server;
mod servers;
mod store;
mod stream;
mod log_entry;
mod lane;
mod message_log;
mod delivery;
mod node_inbox;
mod leased;
mod presence;
mod interest;
mod node_registry;
mod push_notifier;

pub use error::ConnectError;
pub use interest::RedisInterest;
pub use message_log::RedisMessageLog;
pub use node_inbox::RedisNodeInbox;
pub use node_registry::RedisNodeRegistry;
pub use presence::RedisPresence;
pub use push_notifier::RedisPushNotifier;
pub use store::{RedisConfig, RedisStore};
pub use url::{InvalidRedisUrl, RedisUrl};
