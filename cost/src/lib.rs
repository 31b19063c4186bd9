//! What a transport costs a server: CPU, bytes and memory of a workload, computed from prices that
//! were fitted to measurements. Service discovery advises a transport by it; the lab fits the prices,
//! checks them against cells that the fit did not see, and draws the curves.
//!
//! A [`Cell`] is taken apart into [`Terms`]: so many messages stored, requests answered, frames written
//! and connections held in a second. Each has a price in CPU, in bytes and in memory; a [`Model`] holds
//! the prices. [`cost`] is what one client costs, [`cheapest`] the transport that costs least,
//! [`month`] a bill.
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
