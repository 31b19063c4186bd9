//! The report of a run, as a table and as JSON.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::{Value, json};

use crate::counts::{Counts, Verdict};
use crate::latency::{add, histogram, quantile_ms};
use pabal_cost::{Plan, Transport};

/// The rows of the table, which has a column per transport. Bytes are of both directions, as TCP carries them.
const LABELS: [&str; 15] = [
    "",
    "clients",
    "messages",
    "deliveries",
    "  a second",
    "latency ms, p50",
    "            p90",
    "            p99",
    "          p99.9",
    "requests a delivery",
    "empty responses",
    "bytes a delivery",
    "lost",
    "repeated",
    "reordered",
];

/// A whole run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) url: String,
    pub(super) seed: u64,
    pub(super) clients: usize,
    /// How long messages were sent.
    pub(super) seconds: f64,
    /// CPU time of this process from the first message until all clients had closed.
    pub(super) cpu: Duration,
    pub(super) rows: Vec<Row>,
    pub(super) storms: Vec<Storm>,
}

/// One transport's part of it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) plan: Plan,
    /// From the first message until all clients had closed.
    pub(super) counts: Counts,
    pub(super) verdict: Verdict,
    pub(super) trouble: Option<String>,
    /// Of deliveries, in microseconds.
    pub(super) latency: Histogram<u64>,
    /// Of sends, in microseconds.
    pub(super) lateness: Histogram<u64>,
}

/// Clients that were disconnected at once.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Storm {
    pub(super) at_seconds: f64,
    pub(super) clients: usize,
    /// The time until the last of them had reconnected; absent if it had not.
    pub(super) back_ms: Option<f64>,
}

impl Report {
    /// What failed, in a line; none for a clean run.
    pub(super) fn complaint(&self) -> Option<String> {
        let (mut verdict, mut counts) = (Verdict::default(), Counts::default());
        for row in &self.rows {
            verdict += row.verdict;
            counts += row.counts;
        }
        let missing: usize =
            self.storms.iter().filter(|it| it.back_ms.is_none()).map(|it| it.clients).sum();
        let Verdict { lost, repeated, reordered } = verdict;
        let mut wrong = Vec::new();
        for (count, what) in [(lost, "lost"), (repeated, "repeated"), (reordered, "reordered")] {
            if count > 0 {
                wrong.push(format!("{count} {what}"));
            }
        }
        if counts.failed > 0 {
            wrong.push(format!("{} sends failed", counts.failed));
        }
        if missing > 0 {
            wrong.push(format!("not all of {missing} clients reconnected"));
        }
        let because = self.trouble().map(|trouble| format!(" (first error: {trouble})"));
        (!wrong.is_empty()).then(|| wrong.join(", ") + &because.unwrap_or_default())
    }

    /// The first error of the run, with what to do about it.
    fn trouble(&self) -> Option<String> {
        let trouble = self.rows.iter().find_map(|row| row.trouble.clone())?;
        let limited = trouble.contains("rate_limited");
        Some(trouble + if limited { "; start the server with --no-rate-limits" } else { "" })
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{}, {} clients, {:.1} s, seed {}\n\n",
            self.url, self.clients, self.seconds, self.seed
        );
        let columns: Vec<_> = self.rows.iter().map(|row| row.cells(self.seconds)).collect();
        for (line, label) in LABELS.iter().enumerate() {
            text += &format!("{label:<22}");
            for column in &columns {
                text += &format!("{:>15}", column[line]);
            }
            text.push('\n');
        }
        text.push('\n');
        for storm in &self.storms {
            let Storm { at_seconds, clients, back_ms } = storm;
            let back = back_ms.map_or_else(
                || "not all reconnected".into(),
                |ms| format!("all back after {ms:.0} ms"),
            );
            text += &format!("storm at {at_seconds:.1} s: {clients} clients cut off, {back}\n");
        }
        let sum = |of: fn(&Counts) -> u64| self.rows.iter().map(|row| of(&row.counts)).sum::<u64>();
        let deliveries = sum(|counts| counts.deliveries);
        for (count, what) in [
            (sum(|counts| counts.fetched), "messages were read from history after a resync"),
            (sum(|counts| counts.reconnects), "connections were opened again"),
            (sum(|counts| counts.sessions), "sessions were opened again"),
            (sum(|counts| counts.retried), "sends were repeated"),
            (sum(|counts| counts.failed), "sends failed"),
        ] {
            if count > 0 {
                text += &format!("{count} {what}\n");
            }
        }
        if let Some(trouble) = self.trouble() {
            text += &format!("first error: {trouble}\n");
        }
        let mut lateness = histogram();
        for row in &self.rows {
            add(&mut lateness, &row.lateness);
        }
        let cpu = self.cpu.as_secs_f64();
        text += &format!("generator: {:.0} % of a core", cpu / self.seconds * 100.0);
        if deliveries > 0 {
            text += &format!(", {:.1} µs a delivery", cpu * 1e6 / deliveries as f64);
        }
        if !lateness.is_empty() {
            let p99 = quantile_ms(&lateness, 0.99);
            text += &format!("; sends left {p99:.2} ms late at p99");
        }
        text.push('\n');
        text
    }

    pub(super) fn json(&self) -> String {
        let transports: Vec<_> = self.rows.iter().map(Row::json).collect();
        let report = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "url": self.url,
            "seed": self.seed,
            "clients": self.clients,
            "seconds": self.seconds,
            "clean": self.complaint().is_none(),
            "complaint": self.complaint(),
            "generator_cpu_seconds": self.cpu.as_secs_f64(),
            "storms": self.storms,
            "transports": transports,
        });
        format!("{report:#}\n")
    }
}

impl Row {
    /// The cell of each of [`LABELS`].
    fn cells(&self, seconds: f64) -> [String; 15] {
        let Counts { messages, deliveries, requests, answers, empty, bytes_in, bytes_out, .. } =
            self.counts;
        // Without a whole there is no share.
        let of = |part: f64, whole: u64, digits: usize| {
            if whole == 0 { "-".into() } else { format!("{:.digits$}", part / whole as f64) }
        };
        let ms = |quantile| {
            let millis = quantile_ms(&self.latency, quantile);
            if self.latency.is_empty() { "-".into() } else { format!("{millis:.1}") }
        };
        let Verdict { lost, repeated, reordered } = self.verdict;
        [
            name(self.plan.transport),
            self.plan.clients.to_string(),
            messages.to_string(),
            deliveries.to_string(),
            format!("{:.0}", deliveries as f64 / seconds),
            ms(0.5),
            ms(0.9),
            ms(0.99),
            ms(0.999),
            of(requests as f64, deliveries, 2),
            of(empty as f64 * 100.0, answers, 0) + if answers == 0 { "" } else { " %" },
            of((bytes_in + bytes_out) as f64, deliveries, 0),
            lost.to_string(),
            repeated.to_string(),
            reordered.to_string(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "plan": self.plan,
            "counts": self.counts,
            "latency_ms": quantiles(&self.latency),
            "late_ms": quantiles(&self.lateness),
            "verdict": self.verdict,
            "trouble": self.trouble,
        })
    }
}

/// Quantiles in milliseconds; none for an empty histogram.
fn quantiles(of: &Histogram<u64>) -> Option<Value> {
    let ms = |quantile| quantile_ms(of, quantile);
    (!of.is_empty()).then(|| {
        json!({
            "count": of.len(),
            "p50": ms(0.5),
            "p90": ms(0.9),
            "p99": ms(0.99),
            "p999": ms(0.999),
            "max": of.max() as f64 / 1e3,
        })
    })
}

fn name(transport: Transport) -> String {
    match transport {
        Transport::ShortPolling { every_ms } => {
            format!("polling {:?}", Duration::from_millis(every_ms))
        }
        Transport::LongPolling => "long polling".into(),
        Transport::Sse => "SSE".into(),
        Transport::WebSocket => "WebSocket".into(),
    }
}
