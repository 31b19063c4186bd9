//! Fuzz target of the configuration: files, variables and flags with valid and invalid values, and
//! corrupted files.

use std::collections::BTreeMap;

use clap::Parser;
use pabal_contract::fuzz::{mutated, run_for_budget};
use pabal_gateway::config::{Config, ConfigError, ServeFlags, Source, Sources, print};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use crate::{Serve, file};

/// The longest line of an error, which has the names of all keys of a section.
const LONGEST_LINE: usize = 2_000;

/// Values in TOML, most of which are invalid for the key that they are assigned to.
const VALUES: &[&str] = &[
    "true",
    "false",
    "0",
    "1",
    "-1",
    "2",
    "65_536",
    "0x10",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "0.5",
    "-0.0",
    "1e400",
    "nan",
    "-inf",
    "''",
    "'x'",
    "'127.0.0.1:0'",
    "'[::1]:65536'",
    "'https://chat.example.org'",
    "'http://'",
    "'*'",
    "'a=b=c'",
    "'json'",
    r#""two\nlines""#,
    r#""\u0000\u001b[2J""#,
    "'''three\n\nlines'''",
    "[]",
    "['x']",
    "['https://a', 7]",
    "[[[[[[[[[]]]]]]]]]",
    "{}",
    "{ a = { b = [1] } }",
    "1979-05-27",
    "07:32:00",
    "'ÿ파발'",
    "'x",
    "nothing",
];

/// Pieces of the grammar, inserted at random positions.
const TOKENS: &[&[u8]] = &[
    b"[",
    b"]",
    b"[[",
    b"]]",
    b"=",
    b"'",
    b"\"",
    b"'''",
    b"\"\"\"",
    b"\n",
    b"\r",
    b"#",
    b"{",
    b"}",
    b",",
    b".",
    b"\\",
    b"\\uD800",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\0",
    b"[server]",
    b"[[server]]",
    b"[limits.server]",
    b"listen = ",
    b"server.listen = ",
    b"body_bytes = -1\n",
    b"9999999999999999999999",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"{a={a={a={a={a={a={a={a=",
];

/// Every key with a valid value in TOML, from the example.
fn keys() -> BTreeMap<(String, String), String> {
    let text = include_str!("../../pabal.example.toml");
    let (mut section, mut keys) = (String::new(), BTreeMap::new());
    for line in text.lines().map(|line| line.trim_start_matches("# ")) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, value)) = line.split_once(" = ")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            keys.insert((section.clone(), key.to_owned()), value.to_owned());
        }
    }
    assert!(keys.len() > 40, "{keys:?}");
    keys
}

/// Some keys with values, most of which are valid. A few keys do not exist.
fn settings() -> impl Strategy<Value = BTreeMap<(String, String), String>> {
    let keys = keys();
    let names: Vec<_> = keys.keys().cloned().collect();
    let unknown = [("server", "lisn"), ("sever", "listen"), ("limits", "")];
    let unknown = unknown.map(|(section, key)| (section.to_owned(), key.to_owned())).to_vec();
    let name = prop_oneof![60 => select(names), 1 => select(unknown)];
    let value = prop_oneof![3 => Just(None), 1 => select(VALUES).prop_map(Some)];
    btree_map(name, value, 0..8).prop_map(move |chosen| {
        let fits = |name: &(String, String)| keys.get(name).map_or("1", String::as_str);
        let value = |name: &_, value: Option<&str>| value.unwrap_or_else(|| fits(name)).to_owned();
        chosen.into_iter().map(|(name, it)| (name.clone(), value(&name, it))).collect()
    })
}

/// The settings as a file.
fn written(settings: &BTreeMap<(String, String), String>) -> String {
    let (mut text, mut open) = ("# a file\n".to_owned(), "");
    for ((section, key), value) in settings {
        if open != section {
            text += &format!("\n[{section}]\n");
            open = section;
        }
        text += &format!("{key} = {value} # why\n");
    }
    text
}

fn load(
    flags: &ServeFlags,
    environment: &[(String, String)],
) -> Result<(Config, Sources), ConfigError> {
    Config::load_with_sources(flags, environment.iter().cloned())
}

/// A valid configuration can be printed, and the output is a file with the same values.
fn comes_back(config: &Config, sources: &Sources) -> Result<(), TestCaseError> {
    let text = print(config, sources, true).expect("all values are UTF-8");
    let printed = file(&text);
    let flags = ServeFlags { config: Some(printed.path.clone()), ..ServeFlags::default() };
    let (again, _) =
        load(&flags, &[]).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
    prop_assert_eq!(&again, config);
    Ok(())
}

/// Asserts that an error is one line of bounded length without control characters.
fn is_a_line(error: &ConfigError) -> Result<(), TestCaseError> {
    let line = error.to_string();
    prop_assert!(!line.chars().any(char::is_control), "{line:?}");
    prop_assert!((10..LONGEST_LINE).contains(&line.len()), "{line:?}");
    Ok(())
}

/// Whether an error may name one key although only the other one was set wrongly.
fn go_together(one: &str, other: &str) -> bool {
    let pairs = [
        ("node.latitude", "node.longitude"),
        ("server.tls_cert", "server.tls_key"),
        ("limits.content_bytes", "limits.mailbox_bytes"),
    ];
    one == other || pairs.iter().any(|&(a, b)| (a, b) == (one, other) || (b, a) == (one, other))
}

/// Asserts that the error names an invalid setting, or one that needs another setting.
fn names_a_setting(
    settings: &BTreeMap<(String, String), String>,
    named: &str,
) -> Result<(), TestCaseError> {
    let fit = keys();
    let suspects = settings.iter().filter(|(name, value)| {
        let (section, key) = name;
        let full = format!("{section}.{key}");
        // An error for a key that is not in its section names the section only.
        let about = named == *section || named.starts_with(&full) || go_together(&full, named);
        let alone = ["latitude", "longitude", "tls_cert", "tls_key"].contains(&key.as_str());
        about && (alone || fit.get(*name) != Some(*value))
    });
    prop_assert!(suspects.count() > 0, "{named} is not an invalid setting of {settings:?}");
    Ok(())
}

#[test]
fn configuration_of_a_file() {
    run_for_budget(file!(), settings(), |settings| {
        let text = written(&settings);
        let given = file(&text);
        let flags = ServeFlags { config: Some(given.path.clone()), ..ServeFlags::default() };
        match load(&flags, &[]) {
            Ok((config, sources)) => {
                comes_back(&config, &sources)?;
                for (section, key) in settings.keys() {
                    let Source::File { line, .. } = sources.of(&format!("{section}.{key}")) else {
                        return Err(TestCaseError::fail(format!(
                            "{section}.{key} has no line number"
                        )));
                    };
                    let found = text.lines().nth(line - 1).unwrap_or_default();
                    prop_assert!(found.starts_with(&format!("{key} = ")), "{line}: {found}");
                }
            }
            Err(error) => {
                is_a_line(&error)?;
                match &error {
                    // Text that is not TOML has no keys.
                    ConfigError::File { key, line, .. } if key == "TOML" => {
                        prop_assert!((1..=text.lines().count()).contains(line), "{error}");
                    }
                    ConfigError::File { key, line, .. } => {
                        prop_assert!((1..=text.lines().count()).contains(line), "{error}");
                        names_a_setting(&settings, key)?;
                    }
                    ConfigError::Value { key, .. } => names_a_setting(&settings, key)?,
                    other => prop_assert!(false, "{other}"),
                }
            }
        }
        Ok(())
    });
}

#[test]
fn configuration_of_the_environment() {
    run_for_budget(file!(), settings(), |settings| {
        let name = |section: &str, key: &str| format!("PABAL_{section}_{key}").to_uppercase();
        let variables: Vec<_> = settings
            .iter()
            .map(|((section, key), value)| (name(section, key), value.clone()))
            .collect();
        match load(&ServeFlags::default(), &variables) {
            Ok((config, sources)) => {
                comes_back(&config, &sources)?;
                for (section, key) in settings.keys().filter(|(section, _)| section != "sever") {
                    let expected = Source::Environment { name: name(section, key) };
                    prop_assert_eq!(sources.of(&format!("{section}.{key}")), expected);
                }
            }
            Err(error) => {
                is_a_line(&error)?;
                match &error {
                    ConfigError::Environment { name, .. } => {
                        prop_assert!(variables.iter().any(|(known, _)| known == name), "{error}");
                    }
                    // One of two keys that need each other was not set.
                    ConfigError::Value { key, .. } => names_a_setting(&settings, key)?,
                    other => prop_assert!(false, "{other}"),
                }
            }
        }
        Ok(())
    });
}

#[test]
fn configuration_of_flags() {
    const FLAGS: &[&str] = &[
        "--listen",
        "--data",
        "--admin-listen",
        "--public-url",
        "--tls-cert",
        "--tls-key",
        "--no-rate-limits",
        "--node-name",
        "--region",
        "--latitude",
        "--longitude",
        "--capacity",
        "--push-webhook",
        "--log",
        "--lisn",
        "-x",
        "--",
    ];
    const GIVEN: &[&str] = &[
        "127.0.0.1:0",
        "[::1]:1",
        ":80",
        "x",
        "",
        "-1",
        "0",
        "1",
        "90.5",
        "nan",
        "1e400",
        "4294967296",
        "https://chat.example.org",
        "http://a/b",
        "debug",
        "a=b=c",
        "two\nlines",
        "\u{1b}[2J",
        "--listen",
        "=",
        "ÿ파발",
        "n1",
        "seoul",
    ];
    let argument = prop_oneof![
        4 => (select(FLAGS), select(GIVEN)).prop_map(|(flag, value)| vec![flag, value]),
        1 => select(FLAGS).prop_map(|flag| vec![flag]),
    ];
    run_for_budget(file!(), vec(argument, 0..6), |arguments| {
        let all = ["serve"].into_iter().chain(arguments.concat());
        let Ok(Serve { flags }) = Serve::try_parse_from(all) else {
            return Ok(());
        };
        match load(&flags, &[]) {
            Ok((config, sources)) => comes_back(&config, &sources)?,
            Err(error) => {
                is_a_line(&error)?;
                prop_assert!(matches!(error, ConfigError::Value { .. }), "{error}");
            }
        }
        Ok(())
    });
}

#[test]
fn configuration_of_a_corrupted_file() {
    let whole = settings().prop_map(|settings| written(&settings).into_bytes());
    run_for_budget(file!(), mutated(whole, TOKENS), |bytes| {
        let given = file("");
        std::fs::write(&given.path, &bytes).unwrap();
        let flags = ServeFlags { config: Some(given.path.clone()), ..ServeFlags::default() };
        match load(&flags, &[]) {
            Ok((config, sources)) => comes_back(&config, &sources),
            Err(error) => {
                let is_text = std::str::from_utf8(&bytes).is_ok();
                let unreadable = matches!(error, ConfigError::Unreadable { .. });
                prop_assert_eq!(unreadable, !is_text, "{}", error);
                let named = error.to_string().contains(given.path.to_str().unwrap());
                prop_assert!(named || matches!(error, ConfigError::Value { .. }), "{error}");
                is_a_line(&error)
            }
        }
    });
}
