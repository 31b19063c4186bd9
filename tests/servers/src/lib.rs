//! Real servers for tests and benches: each one is a child process on spare loopback ports with a data folder of
//! its own, and ends when its value is dropped. The crate imports none of the other packages.
//!
//! A server whose program is not installed is [`Missing`]. A test begins with
//!
//! ```no_run
//! # async fn a_test() {
//! let redis = pabal_servers::started!(pabal_servers::Redis::start());
//! # }
//! ```
//!
//! and is skipped with a message where Redis is missing; with `PABAL_LEAVE_NOTHING_OUT`, which CI sets, it fails.
//! `make servers` installs all of them.

mod program;
mod port;
mod process;
mod ready;
pub mod cutter;
mod shared;
mod postgres;
mod cassandra;
pub mod redis;
mod reverse_proxy;

pub use cassandra::Cassandra;
pub use port::spare_ports;
pub use postgres::Postgres;
pub use process::Process;
pub use program::{Missing, Program, leave_out};
pub use ready::{READY_WITHIN, until};
pub use redis::Redis;
pub use reverse_proxy::ReverseProxy;
pub use shared::Shared;

/// The server that this future starts; where its program is missing, the test returns or fails as
/// [`Missing::leave_out`] says.
#[macro_export]
macro_rules! started {
    ($start:expr) => {
        match $start.await {
            Ok(server) => server,
            Err(missing) => {
                missing.leave_out();
                return;
            }
        }
    };
}
