//! Connections: sessions, transports, repeated sends and recovery, which work without the caller.
//!
//! Read from the top: `connection` is what the caller holds; `sender` and `outbox` carry what is sent,
//! `driver` carries what is received. Each file imports only from files above it in this list.

mod backoff;
mod options;
mod status;
mod held;
mod ladder;
mod nodes;
mod session;
mod command;
mod line;
mod acks;
mod recovery;
mod probe;
mod route;
mod outbox;
mod sender;
mod driver;
mod connection;

pub use self::backoff::Backoff;
pub use self::connection::Connection;
pub use self::options::{Fallback, Options, Policy, Renewal, Transport};
pub use self::sender::{SendHandle, Sender};
pub use self::status::{Cost, State, Status};
