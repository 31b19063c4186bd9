//! What a look at a data folder has found. Owns the bound: a folder that is damaged all over must not
//! fill the memory of whoever looks.

use std::fmt;

/// As many findings as are kept by name.
const AT_MOST: usize = 100;

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// Something is not as it must be.
    Wrong(String),
    /// Something that a crash may leave behind, and that costs nobody anything.
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

/// All that was found, the first hundred by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    named: Vec<Finding>,
    wrong: u64,
}

impl Findings {
    /// Something is not as it must be.
    pub fn wrong(&mut self, what: impl Into<String>) {
        self.wrong += 1;
        self.add(Finding::Wrong(what.into()));
    }

    /// Something worth knowing that is no damage.
    pub fn note(&mut self, what: impl Into<String>) {
        self.add(Finding::Note(what.into()));
    }

    fn add(&mut self, finding: Finding) {
        if self.named.len() < AT_MOST {
            self.named.push(finding);
        }
    }

    /// The first hundred, in the order in which they were found.
    pub fn named(&self) -> &[Finding] {
        &self.named
    }

    /// How many things are wrong, with those that are not named.
    pub fn count_wrong(&self) -> u64 {
        self.wrong
    }

    /// Adds what another look has found.
    pub fn extend(&mut self, other: Self) {
        self.wrong += other.wrong;
        other.named.into_iter().for_each(|finding| self.add(finding));
    }
}
