//! What other systems were seen to do at the same work, on the same machine, in the same run.

use serde::{Deserialize, Serialize};

/// The work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "name")]
pub enum Task {
    /// Messages of 128 bytes to 1,000 subscribers of one channel.
    FanOut {
        /// Messages that are on their way at the same time.
        in_flight: usize,
    },
    /// Clients that are connected and hear nothing.
    Idle,
    /// 100 pairs, each of which sends its next message when the last one was answered.
    Pairs,
}

/// One system at one task. What a task does not measure is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerRow {
    /// Its name: `Pabal`, `nchan`, `Socket.IO`, `Centrifugo`.
    pub system: String,
    /// Its version.
    pub version: String,
    /// `websocket` or `long_polling`.
    pub transport: String,
    /// What it did.
    pub task: Task,
    /// Whether a message is on disk before anybody receives it.
    pub durable: bool,
    /// Deliveries a second, with the server on one core.
    pub deliveries_per_second: Option<f64>,
    /// CPU of all its processes for a delivery, in microseconds.
    pub cpu_us_per_delivery: Option<f64>,
    /// Bytes that TCP carries for a delivery, both ways.
    pub bytes_per_delivery: Option<f64>,
    /// Requests for a delivery.
    pub requests_per_delivery: Option<f64>,
    /// From send to receipt, in milliseconds.
    pub p50_ms: Option<f64>,
    /// The same at the 99th percentile.
    pub p99_ms: Option<f64>,
    /// Round trips of all pairs in a second.
    pub round_trips_per_second: Option<f64>,
    /// Resident memory of all its processes for a client, in bytes.
    pub rss_per_client: Option<f64>,
    /// Memory of the kernel for the sockets of a client, both ends, in bytes.
    pub kernel_per_client: Option<f64>,
    /// Share of the generator's core that was busy; above 0.9 the generator was the bottleneck.
    pub generator_busy: f64,
}
