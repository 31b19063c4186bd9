//! Backends behind the ports of `pabal-core`.

pub mod error;
pub mod embedded;
pub mod directory;
pub mod history;
pub mod push;
#[cfg(feature = "redis")]
pub mod redis;

/// The version of this package, as it introduces itself to servers.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
