//! What the node tells its operator: log lines, and metrics for Prometheus.

pub mod log;
mod metrics;
mod process;

pub use metrics::{Metrics, Sources};
