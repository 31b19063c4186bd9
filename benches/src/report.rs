//! The claims and their measurements, as Markdown and as JSON.

use serde::{Deserialize, Serialize};

/// A claim and its measured figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// The cell of the claim.
    pub cell: String,
    /// The measured quantity.
    pub what: String,
    /// The figure of Pabal.
    pub ours: f64,
    /// The figure that it is compared with; none for an absolute bound.
    pub theirs: Option<f64>,
    /// The unit of both.
    pub unit: String,
    /// The bound.
    pub target: Target,
}

/// A bound on a figure, or on the ratio of two.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// No bound: the figure is printed for comparison.
    None,
}

impl Claim {
    /// The ratio, or the figure itself without a comparison.
    pub fn value(&self) -> f64 {
        self.theirs.map_or(self.ours, |theirs| self.ours / theirs)
    }

    /// Whether the target is met; none without a target.
    pub fn holds(&self) -> Option<bool> {
        match self.target {
            Target::AtMost(most) => Some(self.value() <= most),
            Target::AtLeast(least) => Some(self.value() >= least),
            Target::None => None,
        }
    }

    fn line(&self) -> String {
        let theirs = self.theirs.map_or("–".into(), figure);
        let ratio = self.theirs.map_or("–".into(), |_| format!("{:.2} ×", self.value()));
        let unit = if self.theirs.is_some() { "×" } else { &self.unit };
        let target = match self.target {
            Target::AtMost(most) => format!("≤ {} {unit}", figure(most)),
            Target::AtLeast(least) => format!("≥ {} {unit}", figure(least)),
            Target::None => "–".into(),
        };
        let verdict = match self.holds() {
            Some(true) => "pass",
            Some(false) => "FAIL",
            None => "",
        };
        let Self { cell, what, ours, unit, .. } = self;
        let ours = figure(*ours);
        format!("| {cell} | {what} | {ours} {unit} | {theirs} | {ratio} | {target} | {verdict} |")
    }
}

/// A figure with three significant digits.
pub fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 10_000.0 => format!("{:.0} k", value / 1e3),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The results of a run of `measure`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The machine, in one line.
    pub machine: String,
    /// The day in UTC, as `2026-11-22`.
    pub day: String,
    /// Whether runs were shorter and coarser than those that are published.
    pub quick: bool,
    /// Claims, in the order in which they were measured.
    pub claims: Vec<Claim>,
    /// Further lines, in the order of the cells.
    pub notes: Vec<String>,
}

impl Report {
    /// The head of a table of claims.
    pub const HEAD: &str = "| cell | what | Pabal | compared with | ratio | target | |\n\
                            |---|---|---|---|---|---|---|\n";

    /// Adds a claim and prints it.
    pub fn claim(&mut self, claim: Claim) {
        eprintln!("{}", claim.line());
        self.claims.push(claim);
    }

    /// Adds a line and prints it.
    pub fn note(&mut self, line: impl Into<String>) {
        let line = line.into();
        eprintln!("  {line}");
        self.notes.push(line);
    }

    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let quick = if self.quick { ", a quick run" } else { "" };
        let mut text = format!("{}, {}{quick}\n\n{}", self.machine, self.day, Self::HEAD);
        for claim in &self.claims {
            text += &claim.line();
            text.push('\n');
        }
        text.push('\n');
        for note in &self.notes {
            text += &format!("- {note}\n");
        }
        text
    }
}

/// The median of some figures; 0 of none.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => figures[odd / 2],
        even => (figures[even / 2 - 1] + figures[even / 2]) / 2.0,
    }
}
