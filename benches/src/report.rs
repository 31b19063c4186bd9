//! The claims and what was measured for them, for people and as JSON.

use serde::Serialize;

/// One claim with both of its figures.
#[derive(Clone, Debug, Serialize)]
pub struct Claim {
    /// The cell it belongs to.
    pub cell: &'static str,
    /// What is claimed.
    pub what: String,
    /// The figure of Pabal.
    pub ours: f64,
    /// What it is compared with; nothing for a plain bound.
    pub theirs: Option<f64>,
    /// The unit of both.
    pub unit: &'static str,
    /// What has to hold.
    pub target: Target,
}

/// A bound on a figure, or on the ratio of two.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
    /// Printed for comparison; nothing is claimed.
    None,
}

impl Claim {
    /// The ratio, or the figure itself where there is nothing to compare with.
    pub fn value(&self) -> f64 {
        self.theirs.map_or(self.ours, |theirs| self.ours / theirs)
    }

    /// Whether the target is met; nothing if there is none.
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
        let unit = if self.theirs.is_some() { "×" } else { self.unit };
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

/// A figure with three digits that say something.
pub fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 10_000.0 => format!("{:.0} k", value / 1e3),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Everything that a run of `measure` found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The machine, in one line.
    pub machine: String,
    /// Claims, in the order in which they were measured.
    pub claims: Vec<Claim>,
    /// Further lines, each under its cell.
    pub notes: Vec<String>,
}

impl Report {
    /// Notes a claim and shows it.
    pub fn claim(&mut self, claim: Claim) {
        eprintln!("{}", claim.line());
        self.claims.push(claim);
    }

    /// Notes a line and shows it.
    pub fn note(&mut self, line: impl Into<String>) {
        let line = line.into();
        eprintln!("  {line}");
        self.notes.push(line);
    }

    /// All of it, as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("machine: {}\n\n", self.machine);
        text += "| cell | what | Pabal | compared with | ratio | target | |\n";
        text += "|---|---|---|---|---|---|---|\n";
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
