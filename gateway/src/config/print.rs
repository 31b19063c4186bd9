//! The output of `pabal config print`: a file for `pabal serve --config` that lists every key with
//! its purpose, unit, default and source.

use std::fmt::Write;

use toml::Table;

use super::keys::{Config, Key, SECTIONS};
use super::{ConfigError, Sources};

/// Values that are shown on request only. The URLs may contain passwords.
const SECRETS: [&str; 4] =
    ["push.webhook_token", "storage.queue", "storage.history", "storage.directory"];

/// The text of `config`, whose values come from `sources`. Without `show_secrets`, a comment
/// replaces each secret that is set.
///
/// # Errors
/// [`ConfigError::Value`] for a path that is not UTF-8, which TOML cannot represent.
pub fn print(
    config: &Config,
    sources: &Sources,
    show_secrets: bool,
) -> Result<String, ConfigError> {
    let (present, defaults) = (table(config)?, table(&Config::default())?);
    let mut text = String::from("# All configuration keys. Keys without a value are comments.\n");
    for (section, keys) in SECTIONS {
        let value =
            |table: &Table, key: &Key| Some(table.get(*section)?.get(key.name)?.to_string());
        // Writing to a string cannot fail.
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
                    writeln!(text, "# {name} is set; --show-secrets prints it")
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

/// The unit of a value, from the name of the key or from its type.
fn unit(key: &Key) -> &'static str {
    const BY_NAME: [(&str, &str); 9] = [
        ("_ratio", "0 to 1"),
        ("_ms", "milliseconds"),
        ("_bytes", "bytes"),
        ("_days", "days"),
        ("_hours", "hours"),
        ("_per_second", "per second"),
        ("_per_minute", "per minute"),
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
    fn the_unit_comes_from_the_name_or_the_type() {
        let unit_of = |name, kind| unit(&Key { name, kind, why: &[] });
        assert_eq!(unit_of("ping_interval_ms", "u64"), "milliseconds");
        assert_eq!(unit_of("latitude", "Option<f64>"), "degrees");
        assert_eq!(unit_of("admin_listen", "Option<SocketAddr>"), "address and port");
        assert_eq!(unit_of("allowed", "Vec<String>"), "a list");
        assert_eq!(unit_of("capacity", "u32"), "a count");
    }
}
