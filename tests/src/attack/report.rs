//! The report: a row for each attack, as a table for people and for docs/reliability.md.

use std::fmt;
use std::time::Duration;

use super::kind::Attack;
use super::neighbours::Latencies;

/// The node's budget of bytes in flight by default, in MiB (`limits.in_flight_bytes`).
const BUDGET: f64 = 512.0;
/// What a node may need besides, in MiB.
const BESIDE: f64 = 64.0;
/// How many times longer the slowest hundredth of the neighbours' messages may take.
const SLOWER: f64 = 2.0;
/// A time below which a difference is the machine's, not the attack's.
const NOISE: Duration = Duration::from_millis(2);

/// What one attack did.
#[derive(Clone, Debug)]
pub struct Row {
    /// The attack.
    pub attack: Attack,
    /// How many requests or frames it sent.
    pub requests: u64,
    /// The memory before the attack, in MiB.
    pub warmed_up: f64,
    /// The highest memory during the attack, in MiB.
    pub peak: f64,
    /// How long it took to release what it held; `None` if longer than a minute.
    pub recovered: Option<Duration>,
    /// The neighbours' messages without the attack.
    pub alone: Latencies,
    /// The same beside the attack.
    pub beside: Latencies,
    /// Whether the node still serves.
    pub alive: bool,
}

impl Row {
    /// What did not hold; empty if everything did.
    pub fn violations(&self) -> Vec<&'static str> {
        let allowed = (self.alone.quantile(0.99).mul_f64(SLOWER)).max(NOISE);
        let checks = [
            (self.alive, "the node is down"),
            (self.peak <= self.warmed_up + BUDGET + BESIDE, "memory"),
            (self.recovered.is_some(), "memory is kept"),
            (self.beside.count() > 0 && self.beside.quantile(0.99) <= allowed, "neighbours"),
        ];
        checks.into_iter().filter(|(held, _)| !held).map(|(_, name)| name).collect()
    }

    fn verdict(&self) -> String {
        let violations = self.violations();
        if violations.is_empty() {
            "held".to_owned()
        } else {
            format!("FAIL: {}", violations.join(", "))
        }
    }
}

/// Milliseconds with one decimal.
fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1_000.0)
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sent; memory {:.0} MiB, at most {:.0} MiB, {}; neighbours' p99 {} ms, before {} ms: {}",
            self.requests,
            self.warmed_up,
            self.peak,
            self.recovered.map_or("not released in a minute".to_owned(), |time| format!(
                "released after {:.0} s",
                time.as_secs_f64()
            )),
            ms(self.beside.quantile(0.99)),
            ms(self.alone.quantile(0.99)),
            self.verdict(),
        )
    }
}

/// The rows of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One for each attack, in order.
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether every attack was withstood.
    pub fn held(&self) -> bool {
        self.rows.iter().all(|row| row.violations().is_empty())
    }
}

impl fmt::Display for Report {
    /// A table in Markdown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| attack | sent | MiB before | MiB at most | released | p99 alone, ms | p99 beside, ms | |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|---|")?;
        for row in &self.rows {
            let recovered =
                row.recovered.map_or("no".to_owned(), |it| format!("{} s", it.as_secs()));
            writeln!(
                f,
                "| {} | {} | {:.0} | {:.0} | {recovered} | {} | {} | {} |",
                row.attack.description(),
                row.requests,
                row.warmed_up,
                row.peak,
                ms(row.alone.quantile(0.99)),
                ms(row.beside.quantile(0.99)),
                row.verdict(),
            )?;
        }
        Ok(())
    }
}
