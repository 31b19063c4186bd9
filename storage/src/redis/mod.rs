//! The ports of a cluster on Redis 7: log, inboxes, presence, interest, registry and push queue.
//! Owns the keys in Redis. `docs/adr/0009-what-redis-may-lose.md` explains what Redis may lose and
//! why no acknowledged message is lost with it.
//!
//! Every call is one script from `lua/` on keys of one slot, so it is executed completely or not at
//! all, and the same code works on a single Redis, with Sentinels and on a Redis Cluster. Blocking
//! reads are `XREAD BLOCK` from explicit positions, on dedicated connections.

mod url;
mod error;
mod script;
mod server;
mod slots;
mod servers;
mod keyspace;
mod stream;
mod log_entry;
mod append_batcher;
mod message_log;
mod delivery;
mod node_inbox;
mod leased;
mod presence;
mod interest;
mod node_registry;
mod push_notifier;
mod store;

pub use error::ConnectError;
pub use interest::RedisInterest;
pub use message_log::RedisMessageLog;
pub use node_inbox::RedisNodeInbox;
pub use node_registry::RedisNodeRegistry;
pub use presence::RedisPresence;
pub use push_notifier::RedisPushNotifier;
pub use store::{RedisConfig, RedisStore};
pub use url::{InvalidRedisUrl, RedisUrl};
