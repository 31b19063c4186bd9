//! Log lines, traces of messages, and metrics for Prometheus.

#[cfg_attr(not(feature = "traces"), path = "no_export.rs")]
mod export;
mod log;
mod metrics;
mod process;

pub use export::ExportError;
pub(crate) use log::parse_filter;
pub use log::{Telemetry, TelemetryError, start};
pub use metrics::{Metrics, Sources};
