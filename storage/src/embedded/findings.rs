//! The findings of a check of a data folder. Bounds their number: a badly damaged folder must not
//! exhaust the memory.

use std::fmt;

/// The most findings that are kept with their text.
const MAX_NAMED: usize = 100;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// Something is damaged or inconsistent.
    Wrong(String),
    /// The harmless remains of a crash.
    Note(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(what) => write!(f, "wrong: {what}"),
            Self::Note(what) => write!(f, "note: {what}"),
        }
    }
}

/// All findings; the first hundred with their text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    named: Vec<Finding>,
    wrong: u64,
}

impl Findings {
    /// Adds something damaged or inconsistent.
    pub fn wrong(&mut self, what: impl Into<String>) {
        self.wrong += 1;
        self.add(Finding::Wrong(what.into()));
    }

    /// Adds something harmless.
    pub fn note(&mut self, what: impl Into<String>) {
        self.add(Finding::Note(what.into()));
    }

    fn add(&mut self, finding: Finding) {
        if self.named.len() < MAX_NAMED {
            self.named.push(finding);
        }
    }

    /// The first hundred findings, in the order of their discovery.
    pub fn named(&self) -> &[Finding] {
        &self.named
    }

    /// The number of damaged or inconsistent things, including those without text.
    pub fn count_wrong(&self) -> u64 {
        self.wrong
    }

    /// Adds the findings of another check.
    pub fn extend(&mut self, other: Self) {
        self.wrong += other.wrong;
        other.named.into_iter().for_each(|finding| self.add(finding));
    }
}

/// The content of a store and the findings of its check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreReport {
    /// The number of partitions.
    pub partitions: u16,
    /// Readable messages.
    pub messages: u64,
    /// Channels with messages.
    pub channels: u64,
    /// Send keys for which repeats are recognised.
    pub sends: u64,
    /// Queued notifications.
    pub notifications: u64,
    /// The findings.
    pub findings: Findings,
}
