//! Where each value was set. `pabal config print` shows it, and errors name it.

use std::collections::BTreeMap;
use std::fmt;

use super::ConfigError;

/// Where a value was set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Not set: the default applies.
    #[default]
    Default,
    /// In a file.
    File {
        /// The file.
        path: String,
        /// The line number, from 1.
        line: usize,
    },
    /// In the environment.
    Environment {
        /// The variable.
        name: String,
    },
    /// On the command line.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Environment { name } => f.write_str(name),
            Self::Flag => f.write_str("the command line"),
        }
    }
}

/// The sources of all keys that were set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(BTreeMap<String, Source>);

impl Sources {
    pub(super) fn record(&mut self, section: &str, key: &str, source: Source) {
        self.0.insert(format!("{section}.{key}"), source);
    }

    /// The source of the key, given as `section.key`.
    pub fn of(&self, key: &str) -> Source {
        self.0.get(key).cloned().unwrap_or_default()
    }

    /// Adds the line or variable to the error of a value that was found invalid after all layers
    /// were merged.
    pub(super) fn locate(&self, error: ConfigError) -> ConfigError {
        let ConfigError::Value { key, reason } = error else {
            return error;
        };
        match self.of(&key) {
            Source::File { path, line } => ConfigError::File { path, line, key, reason },
            Source::Environment { name } => ConfigError::Environment { name, reason },
            Source::Default | Source::Flag => ConfigError::Value { key, reason },
        }
    }
}
