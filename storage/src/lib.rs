//! The backends of the ports of `pabal-core`: an embedded store, SQLite, PostgreSQL, Cassandra and
//! Redis.

pub mod error;
mod backoff;
mod send_window;
mod codec;
pub mod embedded;
pub mod directory;
pub mod history;
pub mod push;
pub mod redis;

/// The version of this package, which is sent to servers as part of the client's name.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
