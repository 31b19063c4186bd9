//! Merges the layers of a configuration. Every value is parsed as it is added, so that an error
//! names the line or variable that has it.

use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::ConfigError;
use super::keys::{Config, Key, SECTIONS};
use super::source::{Source, Sources};

/// The prefix of the environment variables of this program.
const PREFIX: &str = "PABAL_";

/// The values set so far. Later layers override earlier ones.
#[derive(Debug, Default)]
pub(super) struct Layers {
    merged: Table,
    sources: Sources,
}

impl Layers {
    /// Adds the values of a TOML file.
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        let line_at = |start: usize| text[..start.min(text.len())].matches('\n').count() + 1;
        let at = |error: &toml::de::Error, key: String| {
            let start = error.span().map_or(0, |span| span.start);
            ConfigError::File {
                path: path.display().to_string(),
                line: line_at(start),
                key,
                reason: error.message().replace('\n', " "),
            }
        };
        let file = toml::Deserializer::parse(&text).map_err(|error| at(&error, "TOML".into()))?;
        serde_path_to_error::deserialize::<_, Config>(file)
            .map_err(|error| at(error.inner(), error.path().to_string()))?;
        let lines = DeTable::parse(&text).map_err(|error| at(&error, "TOML".into()))?;
        let line_of = |section: &str, key: &str| match lines.get_ref().get(section)?.get_ref() {
            DeValue::Table(keys) => Some(line_at(keys.get_key_value(key)?.0.span().start)),
            _ => None,
        };
        let table: Table = text.parse().map_err(|error| at(&error, "TOML".into()))?;
        for (section, keys) in table {
            if let Value::Table(keys) = keys {
                for (key, value) in keys {
                    let line = line_of(&section, &key).unwrap_or_default();
                    let source = Source::File { path: path.display().to_string(), line };
                    self.set(&section, &key, value, source);
                }
            }
        }
        Ok(())
    }

    /// Adds the environment variables that name a key: `PABAL_LIMITS_BODY_BYTES` is
    /// `limits.body_bytes`.
    ///
    /// A variable that begins with a section but names no key of it is an error. Other variables
    /// with the prefix are ignored: orchestrators set such variables (`PABAL_PORT`), and so do
    /// clients (`PABAL_URL`).
    pub(super) fn add_environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let rest = rest.to_lowercase();
            let of_section = |(section, keys)| Some((section, keys, key_of(&rest, section)?));
            let Some((section, keys, key)) = SECTIONS.iter().copied().find_map(of_section) else {
                continue;
            };
            if !keys.iter().any(|known| known.name == key) {
                let names: Vec<_> = keys.iter().map(|Key { name, .. }| *name).collect();
                let reason = format!("unknown key, expected one of {}", names.join(", "));
                return Err(ConfigError::Environment { name, reason });
            }
            let wrong = |reason| ConfigError::Environment { name: name.clone(), reason };
            let value = value_of(section, key, &text).map_err(wrong)?;
            self.set(section, key, value, Source::Environment { name });
        }
        Ok(())
    }

    /// Sets one key.
    pub(super) fn set(&mut self, section: &str, key: &str, value: Value, source: Source) {
        self.sources.record(section, key, source);
        let section = self.merged.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(section) = section {
            section.insert(key.to_owned(), value);
        }
    }

    /// The merged configuration, and the source of each value.
    pub(super) fn finish(self) -> Result<(Config, Sources), ConfigError> {
        let Self { merged, sources } = self;
        match serde_path_to_error::deserialize(Value::Table(merged)) {
            Ok(config) => Ok((config, sources)),
            Err(error) => {
                let reason = error.inner().message().to_owned();
                Err(sources.locate(ConfigError::Value { key: error.path().to_string(), reason }))
            }
        }
    }
}

/// The part of a variable name after the section, if the name begins with it.
fn key_of<'a>(rest: &'a str, section: &str) -> Option<&'a str> {
    rest.strip_prefix(section)?.strip_prefix('_')
}

/// The text of a variable as a value for its key: parsed as TOML if that yields a value of the
/// right type, otherwise as a string.
fn value_of(section: &str, key: &str, text: &str) -> Result<Value, String> {
    let fits = |value: &Value| {
        let mut keys = Table::new();
        keys.insert(key.to_owned(), value.clone());
        let mut sections = Table::new();
        sections.insert(section.to_owned(), Value::Table(keys));
        let tried: Result<Config, toml::de::Error> = Value::Table(sections).try_into();
        tried.map(|_| ()).map_err(|error| error.message().to_owned())
    };
    let plain = Value::String(text.to_owned());
    let Ok(value) = text.parse::<Value>() else {
        return fits(&plain).map(|()| plain);
    };
    match fits(&value) {
        Ok(()) => Ok(value),
        Err(reason) => fits(&plain).map(|()| plain).map_err(|_| reason),
    }
}
