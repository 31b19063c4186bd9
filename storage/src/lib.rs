//! Backends behind the ports of `pabal-core`.

#[cfg(any(feature = "cassandra", feature = "postgres"))]
pub mod error;
pub mod embedded;
pub mod directory;
pub mod history;
pub mod push;
#[cfg(feature = "redis")]
pub mod redis;

#[cfg(any(feature = "cassandra", feature = "redis"))]
/// The version of this package, as it introduces itself to servers.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
