//! A cell of the grid and what was measured in it. Raw data: everything else is computed from these.

use pabal_load::{Counts, Plan, Verdict};
use serde::{Deserialize, Serialize};

/// What a cell is about.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The crowd.
    pub plan: Plan,
    /// Whether connections are encrypted (TLS 1.3).
    pub tls: bool,
}

/// Time from send to receipt, in milliseconds, over all deliveries of the window. It counts from when
/// the schedule wanted the message sent, so that waiting is not hidden.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half are at most this.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
}

/// What the kernel counted on the loopback interface in the window, as a check from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Loopback {
    /// Packets of both directions.
    pub packets: u64,
    /// Their bytes, with headers of Ethernet, IP and TCP.
    pub bytes: u64,
}

/// A measured cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was asked for.
    pub cell: Cell,
    /// Length of the measured window, in seconds.
    pub seconds: f64,
    /// What the clients saw in the window.
    pub counts: Counts,
    /// How long deliveries took; none in a silent cell.
    pub latency: Option<Latency>,
    /// CPU time of the server in the window, user and system, in microseconds.
    pub server_cpu_us: f64,
    /// CPU time of the generator in the window, in microseconds.
    pub generator_cpu_us: f64,
    /// What the kernel counted.
    pub loopback: Loopback,
    /// Resident memory of the server that a client added, in bytes.
    pub rss_per_client: f64,
    /// Memory of the kernel for the sockets that a client added, both ends, in bytes.
    pub kernel_per_client: f64,
    /// What the oracle found from the first message to the last, not only in the window.
    pub verdict: Verdict,
    /// How late sends left, against the schedule, at the 99th percentile, in milliseconds.
    pub late_p99_ms: f64,
    /// Whether the generator was the bottleneck: its core was busy for more than nine tenths of the
    /// window, or sends left late. Its figures then say more about the generator.
    pub generator_bound: bool,
}
