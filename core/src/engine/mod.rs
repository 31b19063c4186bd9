//! The routing engine: what happens between a client's command and the mailboxes of the sessions that
//! receive it. It knows ports, not backends, and sessions, not transports.
//!
//! - `message/` is the way of a message, a type a stage. Start with its `mod.rs`.
//! - `sessions/` is what devices receive, and what the node publishes because of them.
//! - `partitions/` decides which node owns which partition.
//! - `wiring.rs` builds all of it, and `facade.rs` is the API over it, [`Engine`].
//!
//! **Invariant:** imports go one way. `message/` imports `sessions/` and `partitions/`, which import
//! neither each other nor `message/`. No stage imports the facade or the wiring.

mod limits;
mod budget;
mod stats;
mod rate_limiter;
mod moment_pace;
mod read_marks;
mod tasks;
mod node_inboxes;
mod membership_cache;
mod publisher;
mod message;
mod sessions;
mod partitions;
mod channel_queries;
mod channel_sync;
mod facade;
mod wiring;

pub use budget::{
    Budget, BudgetKind, BudgetLimits, BudgetReading, ConnectionBytes, Holder, Reservation,
};
pub use channel_sync::{ChannelSync, Synced};
pub use facade::Engine;
pub use limits::Limits;
pub use message::{SendRequest, Sent, Submission};
pub use partitions::partition_owner;
pub use rate_limiter::RateLimiter;
pub use sessions::{
    AuthorizedSession, EndReason, Grant, Reader, Session, Streamed, View, WakeReason,
};
pub use stats::EngineStats;
pub use wiring::{EngineConfig, StartError};
