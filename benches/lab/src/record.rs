//! A cell of the grid and what was measured in it. Raw data: everything else is computed from these.

use pabal_cost::{Cell, Transport};
use pabal_load::{Counts, Verdict};
use serde::{Deserialize, Serialize};

/// The transports, without the interval of polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Short polling at any interval.
    ShortPolling,
    /// Long polling.
    LongPolling,
    /// Server-sent events.
    Sse,
    /// WebSocket.
    WebSocket,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ShortPolling, Self::LongPolling, Self::Sse, Self::WebSocket];

    /// The one of a transport.
    pub fn of(transport: Transport) -> Self {
        match transport {
            Transport::ShortPolling { .. } => Self::ShortPolling,
            Transport::LongPolling => Self::LongPolling,
            Transport::Sse => Self::Sse,
            Transport::WebSocket => Self::WebSocket,
        }
    }

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::ShortPolling => "short polling",
            Self::LongPolling => "long polling",
            Self::Sse => "SSE",
            Self::WebSocket => "WebSocket",
        }
    }
}

/// The name of a transport in the report, with the interval of polls.
pub fn transport_name(transport: Transport) -> String {
    match transport {
        Transport::ShortPolling { every_ms } => format!("polling {} s", every_ms as f64 / 1e3),
        other => Family::of(other).name().to_owned(),
    }
}

/// Time from send to receipt, in milliseconds, over all deliveries of the window. It counts from when the
/// message was due, so that a delayed send is included (no coordinated omission).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile; none with fewer than 10,000 deliveries.
    pub p999: Option<f64>,
}

/// What the kernel counted on the loopback interface in the window, as an independent check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Loopback {
    /// Packets of both directions.
    pub packets: u64,
    /// Their bytes, with headers of IP and TCP.
    pub bytes: u64,
}

/// The headers of IPv4 and of TCP with timestamps of each packet. The loopback interface does not count the
/// Ethernet header.
pub const PACKET_HEADERS: u64 = 20 + 32;

impl Loopback {
    /// What TCP carried.
    pub fn payload(&self) -> u64 {
        self.bytes.saturating_sub(self.packets * PACKET_HEADERS)
    }
}

/// The server's CPU from its start to its end, in microseconds, from two accounts of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuAccounts {
    /// The sum over the threads of the process, by which windows are measured (`schedstat`).
    pub by_clock_us: f64,
    /// User and system time that the kernel adds to the parent when it waits for the ended process: what
    /// `getrusage` returns as `RUSAGE_CHILDREN`, read from `/proc/self/stat` in steps of 10 ms.
    pub by_rusage_us: f64,
}

/// A measured cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The workload.
    pub cell: Cell,
    /// Length of the measured window, in seconds.
    pub seconds: f64,
    /// The counts of the clients in the window.
    pub counts: Counts,
    /// How long deliveries took; none in a silent cell.
    pub latency: Option<Latency>,
    /// CPU time of the server in the window, user and system, in microseconds.
    pub server_cpu_us: f64,
    /// CPU time of the generator in the window, in microseconds.
    pub generator_cpu_us: f64,
    /// What the kernel counted, including other traffic on the loopback interface.
    pub loopback: Loopback,
    /// The server's CPU over its whole life.
    pub accounts: CpuAccounts,
    /// Resident memory of the server that a client added, in bytes.
    pub rss_per_client: f64,
    /// Memory of the kernel for the sockets that a client added, both ends, in bytes.
    pub kernel_per_client: f64,
    /// The verdict from the first message to the last, not only of the window.
    pub verdict: Verdict,
    /// The delay of sends against the schedule at the 99th percentile, in milliseconds.
    pub late_p99_ms: f64,
    /// Whether the generator was the bottleneck: its core was busy for more than nine tenths of the window, or
    /// sends left so late that the latency includes it. The figures then describe the generator.
    pub generator_bound: bool,
}

impl Record {
    /// Whether the cell is valid: every message reached every client once and in order.
    pub fn is_valid(&self) -> bool {
        self.verdict.is_clean()
    }

    /// CPU of the server per delivery, in microseconds; none without deliveries.
    pub fn cpu_us_per_delivery(&self) -> Option<f64> {
        self.per_delivery(self.server_cpu_us)
    }

    /// Bytes that TCP carries for a delivery, both ways.
    pub fn bytes_per_delivery(&self) -> Option<f64> {
        self.per_delivery((self.counts.bytes_in + self.counts.bytes_out) as f64)
    }

    /// Requests for a delivery.
    pub fn requests_per_delivery(&self) -> Option<f64> {
        self.per_delivery(self.counts.requests as f64)
    }

    /// CPU of the server in microseconds for a client and a second.
    pub fn cpu_us_per_client_second(&self) -> f64 {
        self.server_cpu_us / self.seconds / self.cell.plan.clients as f64
    }

    /// Share of the responses to polls that held no event; none without responses.
    pub fn empty_share(&self) -> Option<f64> {
        let answers = self.counts.answers;
        (answers > 0).then(|| self.counts.empty as f64 / answers as f64)
    }

    /// The ratio of the bytes that the generator counted to those that the kernel counted on the loopback
    /// interface; 1 if they agree, none without traffic.
    pub fn metered_by_counted(&self) -> Option<f64> {
        let Counts { bytes_in, bytes_out, speaker_bytes, .. } = self.counts;
        let counted = self.loopback.payload();
        (counted > 0).then(|| (bytes_in + bytes_out + speaker_bytes) as f64 / counted as f64)
    }

    fn per_delivery(&self, total: f64) -> Option<f64> {
        let deliveries = self.counts.deliveries;
        (deliveries > 0).then(|| total / deliveries as f64)
    }
}
