//! The configuration of a node. Flags override the environment, the environment overrides the file,
//! and the file overrides the defaults. This module owns the keys, their sources and their rules;
//! other modules implement what the keys configure.

mod values;
mod keys;
mod source;
mod layers;
mod check;
mod flags;
mod print;

pub use flags::ServeFlags;
pub use keys::{Auth, Config, Limits, Log, LogFormat, Node, Push, Server, Storage, Telemetry};
pub use print::print;
pub use source::{Source, Sources};
pub use values::{Network, Origin, PublicUrl};

/// Why a configuration cannot be used: one line with the key and its source. Do not retry.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// The error of the operating system.
        reason: String,
    },
    /// A line of the file is invalid.
    #[error("{path}:{line}: {}: {}", plain(key), plain(reason))]
    File {
        /// The file.
        path: String,
        /// The line number, from 1.
        line: usize,
        /// The key, or `TOML` for a syntax error.
        key: String,
        /// The cause.
        reason: String,
    },
    /// An environment variable is invalid.
    #[error("{name}: {}", plain(reason))]
    Environment {
        /// The variable.
        name: String,
        /// The cause.
        reason: String,
    },
    /// A value from the command line or a default is out of range, or contradicts another value.
    #[error("{key}: {}", plain(reason))]
    Value {
        /// The key.
        key: String,
        /// What the value must be.
        reason: String,
    },
}

/// The longest key or reason in an error: enough for the names of all keys of a section.
const LONGEST: usize = 600;

/// Escapes control characters and truncates the text: a reason quotes the input, which must not
/// break the line or send commands to the terminal.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for char in text.chars() {
        if plain.len() > LONGEST {
            plain.push('…');
            break;
        }
        match char.is_control() {
            true => plain.extend(char.escape_default()),
            false => plain.push(char),
        }
    }
    plain
}

impl Config {
    /// Reads the configuration of `pabal serve`: `flags`, then `environment`, then the file that
    /// either of them names, then the defaults.
    ///
    /// # Errors
    /// [`ConfigError`], for the first key that is unknown or has a wrong value.
    pub fn load(
        flags: &ServeFlags,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Self::load_with_sources(flags, environment).map(|(config, _)| config)
    }

    /// Like [`load`](Self::load), and returns where each value was set.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_with_sources(
        flags: &ServeFlags,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Sources), ConfigError> {
        let mut merged = layers::Layers::default();
        if let Some(path) = &flags.config {
            merged.add_file(path)?;
        }
        merged.add_environment(environment)?;
        flags.add_to(&mut merged);
        let (mut config, mut sources) = merged.finish()?;
        if let Some(folder) = &flags.data {
            // Set directly: TOML cannot represent a path that is not UTF-8.
            config.storage.data_dir.clone_from(folder);
            sources.record("storage", "data_dir", Source::Flag);
        }
        config.check().map_err(|error| sources.locate(error))?;
        Ok((config, sources))
    }
}

/// The variables of the environment that are valid UTF-8.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
