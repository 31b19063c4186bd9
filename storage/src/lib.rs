//! The backends of the ports of `pabal-core`: an embedded store, SQLite, PostgreSQL, Cassandra and
//! Redis.

#[cfg(any(feature = "cassandra", feature = "postgres"))]
pub mod error;
mod send_window;
mod codec;
pub mod embedded;
pub mod directory;
pub mod history;
pub mod push;
#[cfg(feature = "redis")]
pub mod redis;

#[cfg(any(feature = "cassandra", feature = "redis"))]
/// The version of this package, which is sent to servers as part of the client's name.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
