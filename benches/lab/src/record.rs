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

    /// As the report calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ShortPolling => "short polling",
            Self::LongPolling => "long polling",
            Self::Sse => "SSE",
            Self::WebSocket => "WebSocket",
        }
    }
}

/// A transport as the report calls it, with the interval of polls.
pub fn transport_name(transport: Transport) -> String {
    match transport {
        Transport::ShortPolling { every_ms } => format!("polling {} s", every_ms as f64 / 1e3),
        other => Family::of(other).name().to_owned(),
    }
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
    /// 99.9 %; nothing if there were too few deliveries to say.
    pub p999: Option<f64>,
}

/// What the kernel counted on the loopback interface in the window, as a check from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Loopback {
    /// Packets of both directions.
    pub packets: u64,
    /// Their bytes, with headers of IP and TCP.
    pub bytes: u64,
}

/// Headers of IPv4 and of TCP with its timestamps, which each packet has. The loopback interface counts
/// no header of Ethernet: the kernel has taken it off by then.
pub const PACKET_HEADERS: u64 = 20 + 32;

impl Loopback {
    /// What TCP carried.
    pub fn payload(&self) -> u64 {
        self.bytes.saturating_sub(self.packets * PACKET_HEADERS)
    }
}

/// The server's CPU from its start to its end, in microseconds, as told by two of the kernel's accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuAccounts {
    /// The clock of the process, which windows are measured by: the sum of all spans.
    pub by_clock_us: f64,
    /// User and system time as the kernel adds them up for whoever waits for a process that ended
    /// (`getrusage`, `RUSAGE_CHILDREN`).
    pub by_rusage_us: f64,
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
    /// What the kernel counted. Whatever else uses the loopback interface at the time is in it.
    pub loopback: Loopback,
    /// The server's CPU over its whole life.
    pub accounts: CpuAccounts,
    /// Resident memory of the server that a client added, in bytes.
    pub rss_per_client: f64,
    /// Memory of the kernel for the sockets that a client added, both ends, in bytes.
    pub kernel_per_client: f64,
    /// What the oracle found from the first message to the last, not only in the window.
    pub verdict: Verdict,
    /// How late sends left, against the schedule, at the 99th percentile, in milliseconds.
    pub late_p99_ms: f64,
    /// Whether the generator was the bottleneck: its core was busy for more than nine tenths of the
    /// window, or sends left so late that it shows in the latency. Its figures then say more about the
    /// generator.
    pub generator_bound: bool,
}

impl Record {
    /// Whether what the cell says counts: every message reached every client once and in order.
    pub fn is_valid(&self) -> bool {
        self.verdict.is_clean()
    }

    /// CPU of the server in microseconds a delivery; nothing if there was none.
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

    /// Share of the answers to polls that held no event; nothing if there were no answers.
    pub fn empty_share(&self) -> Option<f64> {
        let answers = self.counts.answers;
        (answers > 0).then(|| self.counts.empty as f64 / answers as f64)
    }

    /// Bytes that the generator metered, by what the kernel counted on the loopback interface; 1 if
    /// they agree, nothing if nothing travelled.
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
