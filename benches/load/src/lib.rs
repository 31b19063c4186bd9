//! Load for Pabal: thousands of clients on any transport, messages on an open-loop schedule, and a
//! check of every delivery. `pabal load` is its command line; the lab measures servers with it.
//!
//! In reading order: [`plan`] says who is there and what they do, [`counts`] what was seen.

pub mod plan;
pub mod counts;

pub use counts::{Counts, Verdict};
pub use plan::{Headers, Http, Plan, Transport};
