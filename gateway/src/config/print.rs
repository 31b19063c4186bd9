//! The whole configuration as `pabal config print` shows it: a file that `pabal serve --config` takes,
//! in which every key stands with its unit, its default, where it was set, and what it is for.

use std::fmt::Write;

use toml::Table;

use super::keys::{Config, Key, SECTIONS};
use super::{ConfigError, Sources};

/// What is shown only when it is asked for.
/// The URLs may hold passwords.
const SECRETS: [&str; 4] =
    ["push.webhook_token", "storage.queue", "storage.history", "storage.directory"];

/// The text of `config`, whose values come from `sources`. Without `show_secrets` a secret that is
/// set is a comment that says so.
///
/// # Errors
/// [`ConfigError::Value`] for what TOML cannot hold: a path that is not UTF-8.
pub fn print(
    config: &Config,
    sources: &Sources,
    show_secrets: bool,
) -> Result<String, ConfigError> {
    let (present, defaults) = (table(config)?, table(&Config::default())?);
    let mut text =
        String::from("# Every key of the configuration. Those that are not set are comments.\n");
    for (section, keys) in SECTIONS {
        let value =
            |table: &Table, key: &Key| Some(table.get(*section)?.get(key.name)?.to_string());
        // Text grows in memory, which cannot fail.
        let _ = writeln!(text, "\n[{section}]");
        for key in *keys {
            let (name, full) = (key.name, format!("{section}.{}", key.name));
            let default = value(&defaults, key).unwrap_or_else(|| "none".to_owned());
            let why: String = key.why.concat();
            let _ = writeln!(text, "\n#{why}");
            let _ =
                writeln!(text, "# {}; default {default}; from {}", unit(key), sources.of(&full));
            let _ = match value(&present, key) {
                Some(_) if SECRETS.contains(&&*full) && !show_secrets => {
                    writeln!(text, "# {name} is set, and shown by --show-secrets")
                }
                Some(value) => writeln!(text, "{name} = {value}"),
                None => writeln!(text, "# {name} ="),
            };
        }
    }
    Ok(text)
}

fn table(config: &Config) -> Result<Table, ConfigError> {
    let unwritable = |error: toml::ser::Error| ConfigError::Value {
        key: "storage.data_dir".to_owned(),
        reason: error.to_string(),
    };
    Table::try_from(config).map_err(unwritable)
}

/// What a value counts: its name says so, or else its type.
fn unit(key: &Key) -> &'static str {
    const BY_NAME: [(&str, &str); 9] = [
        ("_ratio", "0 to 1"),
        ("_ms", "milliseconds"),
        ("_bytes", "bytes"),
        ("_days", "days"),
        ("_hours", "hours"),
        ("_per_second", "a second"),
        ("_per_minute", "a minute"),
        ("latitude", "degrees"),
        ("longitude", "degrees"),
    ];
    let kind = key.kind.trim_start_matches("Option<").trim_end_matches('>');
    if let Some((_, unit)) = BY_NAME.iter().find(|(end, _)| key.name.ends_with(end)) {
        return unit;
    }
    match kind {
        "bool" => "true or false",
        "u16" | "u32" | "u64" | "usize" => "a count",
        "SocketAddr" => "address and port",
        "PathBuf" => "a path",
        "PublicUrl" => "a URL",
        "NodeId" => "a name",
        "LogFormat" => "text or json",
        kind if kind.starts_with("Vec<") => "a list",
        _ => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_told_by_name_or_type() {
        let told = |name, kind| unit(&Key { name, kind, why: &[] });
        assert_eq!(told("ping_interval_ms", "u64"), "milliseconds");
        assert_eq!(told("latitude", "Option<f64>"), "degrees");
        assert_eq!(told("admin_listen", "Option<SocketAddr>"), "address and port");
        assert_eq!(told("allowed", "Vec<String>"), "a list");
        assert_eq!(told("capacity", "u32"), "a count");
    }
}
