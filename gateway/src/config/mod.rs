//! What a node is told before it starts. Flags go before environment, environment before the file,
//! the file before the defaults. Owns the keys, where they come from and what they may be; what they
//! do is the business of the modules that are given them.

mod keys;
mod source;
mod layers;
mod check;
mod flags;
mod print;

pub use check::{Network, Origin, PublicUrl};
pub use flags::ServeFlags;
pub use keys::{Auth, Config, Limits, Log, LogFormat, Node, Push, Server, Storage, Telemetry};
pub use print::print;
pub use source::{Source, Sources};

/// Why a configuration cannot be used. Each names the key, and where it was set, in one line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// A line of the file makes no sense.
    #[error("{path}:{line}: {}: {}", plain(key), plain(reason))]
    File {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// The key, as far as it can be told.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable of the environment makes no sense.
    #[error("{name}: {}", plain(reason))]
    Environment {
        /// The variable.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value that was set on the command line, or nowhere, is out of range or does not go with
    /// another one.
    #[error("{key}: {}", plain(reason))]
    Value {
        /// The key.
        key: String,
        /// What it must be.
        reason: String,
    },
}

/// As much of a key or reason as is told: all keys of a section, and what stands there instead.
const LONGEST: usize = 600;

/// Without what would break the line, command the terminal or fill it: reasons quote what they are
/// about.
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

    /// [`load`](Self::load), and where each value was set.
    ///
    /// # Errors
    /// As there.
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
            // Not by way of TOML, which knows no paths that are not UTF-8.
            config.storage.data_dir.clone_from(folder);
            sources.record("storage", "data_dir", Source::Flag);
        }
        config.check().map_err(|error| sources.locate(error))?;
        Ok((config, sources))
    }
}

/// The environment, as far as it is text.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
