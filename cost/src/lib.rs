//! What a transport costs a server: CPU, bytes and memory of a workload, computed from prices that
//! were fitted to measurements. Service discovery advises a transport by it; the lab fits the prices,
//! checks them against cells that the fit did not see, and draws the curves.
//!
//! A [`Cell`] is broken down into [`Terms`]: messages stored, requests served, frames written and
//! connections held in a second. Each term has a price in CPU, in bytes and in memory; a [`Model`] holds
//! the prices. [`cost`] is what one client costs, [`cheapest`] the transport that costs least, [`month`] a
//! bill.
//!
//! The advice for a client that receives six messages a minute and accepts two seconds of latency:
//!
//! ```
//! use std::time::Duration;
//!
//! use pabal_cost::{Candidate, Model, Transport, cheapest, cost};
//!
//! let model = Model::committed();
//! let (per_minute, max_latency) = (6.0, Duration::from_secs(2));
//! // By server CPU; differences below 1 µs a second count as none.
//! let advice = cheapest(model, per_minute, max_latency, |cost| cost.cpu_us, 1.0);
//! assert_eq!(advice, Candidate::LongPolling);
//!
//! let polling = cost(model, Transport::ShortPolling { every_ms: 2_000 }, per_minute);
//! let advised = cost(model, Transport::LongPolling, per_minute);
//! assert!(advised.cpu_us < polling.cpu_us, "µs of CPU a second and client");
//! assert!(advised.requests < polling.requests, "requests a second and client");
//! ```
//!
//! The prices are in `prices.json`, from a run of `pabal lab`; its README (`benches/lab/README.md`) describes
//! the measurement, the fit and its error.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod workload;
mod terms;
mod model;
mod choose;
mod month;

pub use choose::{CANDIDATES, Candidate, Cost, break_even_seconds, cheapest, cost};
pub use model::{Model, Predicted, typical};
pub use month::{Habit, Month, month};
pub use terms::{Pace, Polls, Terms, polls};
pub use workload::{Cell, Headers, Http, Plan, Transport};
