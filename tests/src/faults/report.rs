//! The report of a run: one row per fault with the longest interruption of delivery, and the violations.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Kind;
use crate::account::Id;
use crate::journal::Journal;
use crate::ledger::Ledger;

/// The report of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// The seed of the run.
    pub seed: u64,
    /// The faults, in their order.
    pub rows: Vec<Row>,
    /// How many messages were acknowledged.
    pub messages: usize,
    /// How many were delivered to devices.
    pub deliveries: usize,
    /// How many attempts to send failed with `not_confirmed`, in total.
    pub not_confirmed: u64,
    /// The violations. The run has failed unless there are none.
    pub violations: Vec<String>,
    /// The logs of the nodes, if the run has failed.
    pub logs: Vec<String>,
}

/// One fault.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its kind.
    pub kind: Kind,
    /// What it was injected into; `None` if it was skipped.
    pub what: Option<String>,
    /// How long after the beginning of its act.
    pub at: Duration,
    /// How long it lasted.
    pub lasted: Duration,
    /// For each channel the longest time around the fault without a delivery to any member, the shortest
    /// first.
    pub channels: Vec<Duration>,
    /// The same for single devices in single channels.
    pub devices: Vec<Duration>,
    /// How many sends were `not_confirmed` meanwhile.
    pub not_confirmed: u64,
    window: Option<(Instant, Instant)>,
}

impl Row {
    pub(super) fn of(
        kind: Kind,
        what: String,
        (began, at, lasted, until): (Instant, Instant, Duration, Instant),
        not_confirmed: u64,
    ) -> Self {
        let (window, what, at) = (Some((at, until)), Some(what), at - began);
        let (channels, devices) = (Vec::new(), Vec::new());
        Self { kind, what, at, lasted, channels, devices, not_confirmed, window }
    }

    pub(super) fn left_out(kind: Kind) -> Self {
        let (channels, devices) = (Vec::new(), Vec::new());
        let (at, lasted) = (Duration::ZERO, Duration::ZERO);
        Self { kind, what: None, at, lasted, channels, devices, not_confirmed: 0, window: None }
    }

    fn measure(&mut self, story: &Story) {
        let Some(window) = self.window else { return };
        for (channel, members) in &story.channels {
            let mut all = Vec::new();
            for member in members {
                let arrived = story.journals[*member].arrived.get(channel);
                let arrived = arrived.map(Vec::as_slice).unwrap_or_default();
                self.devices.extend(longest_gap(arrived, window));
                all.extend_from_slice(arrived);
            }
            all.sort_unstable();
            self.channels.extend(longest_gap(&all, window));
        }
        self.channels.sort_unstable();
        self.devices.sort_unstable();
    }

    /// The values of the worst channel and of the median one.
    fn standstill(&self) -> (Duration, Duration) {
        let longest = self.channels.last().copied().unwrap_or_default();
        let median = self.channels.get(self.channels.len() / 2).copied().unwrap_or_default();
        (longest, median)
    }
}

/// The longest time between two consecutive deliveries, as far as it lies in a window.
fn longest_gap(arrived: &[Instant], (from, until): (Instant, Instant)) -> Option<Duration> {
    let pairs = arrived.windows(2).filter(|pair| pair[1] >= from && pair[0] <= until);
    pairs.map(|pair| pair[1] - pair[0]).max()
}

/// What was sent and delivered in an act.
pub(super) struct Story {
    pub(super) ledger: Ledger,
    pub(super) journals: Vec<Journal>,
    /// The channels with the devices of their members.
    pub(super) channels: Vec<(Id, Vec<usize>)>,
    pub(super) violations: Vec<String>,
}

impl Report {
    pub(super) fn add(
        &mut self,
        story: Story,
        mut rows: Vec<Row>,
        logs: impl FnOnce() -> Vec<String>,
    ) {
        rows.iter_mut().for_each(|row| row.measure(&story));
        self.rows.append(&mut rows);
        self.messages += story.ledger.acknowledged();
        self.not_confirmed += story.ledger.count_not_confirmed();
        let held = story.journals.iter().flat_map(|journal| journal.messages.values());
        self.deliveries += held.map(Vec::len).sum::<usize>();
        self.violations.extend(story.violations);
        if !self.violations.is_empty() {
            self.logs = logs();
        }
    }

    /// The report as JSON.
    pub fn json(&self) -> Value {
        let ms = |time: Duration| json!(time.as_secs_f64() * 1e3);
        let rows = self.rows.iter().filter_map(|row| {
            let (longest, median) = row.standstill();
            Some(json!({
                "fault": row.kind.to_string(), "to": row.what.as_ref()?, "at_ms": ms(row.at),
                "lasted_ms": ms(row.lasted), "channel_longest_ms": ms(longest),
                "channel_median_ms": ms(median), "not_confirmed": row.not_confirmed,
                "device_longest_ms": ms(row.devices.last().copied().unwrap_or_default()),
            }))
        });
        json!({
            "seed": self.seed, "messages": self.messages, "deliveries": self.deliveries,
            "not_confirmed": self.not_confirmed, "violations": self.violations,
            "faults": rows.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        writeln!(
            f,
            "{:<30} {:<16} {:>8} {:>9} {:>9} {:>9} {:>9} {:>13}",
            "fault", "to", "at", "lasted", "channel", "longest", "device", "not confirmed"
        )?;
        for row in &self.rows {
            let Some(what) = &row.what else {
                writeln!(f, "{:<30} left out: it could not be done", row.kind)?;
                continue;
            };
            let (longest, median) = row.standstill();
            writeln!(
                f,
                "{:<30} {what:<16} {:>8} {:>9} {:>9} {:>9} {:>9} {:>13}",
                row.kind,
                seconds(row.at),
                seconds(row.lasted),
                seconds(median),
                seconds(longest),
                seconds(row.devices.last().copied().unwrap_or_default()),
                row.not_confirmed,
            )?;
        }
        writeln!(
            f,
            "channel, longest: the longest time without a delivery in the median and in the worst \
             channel; device: the same for one device"
        )?;
        let Self { seed, messages, deliveries, violations, .. } = self;
        writeln!(f, "seed {seed}: {messages} messages acknowledged, {deliveries} deliveries")?;
        if violations.is_empty() {
            return write!(f, "PASSED: nothing lost, repeated or out of order");
        }
        write!(f, "FAILED: {} violations", violations.len())?;
        violations.iter().take(20).try_for_each(|it| write!(f, "\n  {it}"))
    }
}
