//! Load for Pabal: thousands of clients on any transport, messages on an open-loop schedule, and a
//! check of every delivery. `pabal load` is its command line; the lab measures servers with it.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use pabal_load::{Headers, Http, People, Plan, Schedule, Target, Transport};
//!
//! # async fn example() -> Result<(), pabal_load::LoadError> {
//! let plan = Plan {
//!     transport: Transport::WebSocket,
//!     clients: 1_000,
//!     group: 16,
//!     per_minute: 6.0,
//!     content_bytes: 128,
//!     http: Http::One,
//!     headers: Headers::Minimal,
//! };
//! let people = People::gather(&Target::new("http://127.0.0.1:8080"), &plan).await?;
//! let mut crowd = people.connect().await?;
//! crowd.talk(Schedule::steady(plan.per_minute, 1))?;
//! tokio::time::sleep(Duration::from_secs(5)).await;
//! crowd.take_latency();
//! let before = crowd.counts();
//! tokio::time::sleep(Duration::from_secs(30)).await;
//! let (window, latency) = (crowd.counts() - before, crowd.take_latency());
//! println!("{} deliveries, p99 {} µs", window.deliveries, latency.value_at_quantile(0.99));
//! assert!(crowd.leave(Duration::from_secs(30)).await.is_clean());
//! # Ok(())
//! # }
//! ```
//!
//! In reading order: `plan` checks the bounds of a plan, [`counts`] and [`latency`] are the figures, `error`
//! the failures. `net`, `target` and `http` are connections; `wire` parses documents, `socket` and `line`
//! are the transports. `oracle` checks the deliveries. `orders` go to all clients at once, `scenario` is the
//! state that they share, `listener` is a receiving client. `schedule` is the arrival process, `speaker` a
//! sending user. `people` makes users and channels and connects them, `crowd` is the handle of a run,
//! `command` is `pabal load`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod plan;
pub mod counts;
pub mod latency;
mod error;
mod net;
mod target;
mod http;
mod wire;
mod socket;
mod line;
mod oracle;
mod orders;
mod scenario;
mod listener;
mod schedule;
mod speaker;
mod people;
mod crowd;
mod command;

pub use command::{Failure, Flags, run};
pub use counts::{Counts, Verdict};
pub use crowd::Crowd;
pub use error::LoadError;
pub use hdrhistogram::Histogram;
pub use pabal_cost::{Headers, Http, Plan, Transport};
pub use people::People;
pub use schedule::{Arrivals, Schedule, Spike};
pub use target::Target;
