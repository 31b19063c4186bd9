//! Configuration: the sources of values, their precedence, and errors for invalid values.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod deploy;
mod fuzz;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use pabal_gateway::config::{Config, ConfigError, LogFormat, ServeFlags, print};

/// The flags of `pabal serve` on a command line of their own.
#[derive(Debug, Parser)]
struct Serve {
    #[command(flatten)]
    flags: ServeFlags,
}

fn flags(arguments: &[&str]) -> ServeFlags {
    let all = ["serve"].iter().chain(arguments);
    Serve::try_parse_from(all).unwrap().flags
}

struct File {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

fn file(text: &str) -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pabal.toml");
    std::fs::write(&path, text).unwrap();
    File { path, _folder: folder }
}

fn load(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Config::load(&flags(arguments), environment.iter().map(owned))
}

fn load_file(text: &str) -> Result<Config, ConfigError> {
    let file = file(text);
    load(&["--config", file.path.to_str().unwrap()], &[])
}

#[test]
fn without_settings_the_defaults_apply() {
    let config = load(&[], &[]).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.limits.content_bytes, 16 * 1024);
    assert_eq!(config.limits.body_bytes, 256 * 1024);
    assert_eq!(config.auth.token_lifetime_days, 30);
    let engine = config.engine_limits();
    assert_eq!((engine.mailbox_events, engine.mailbox_bytes), (1_024, 1024 * 1024));
    assert_eq!((engine.sessions_per_user, config.limits.group_members), (16, 10_000));
    assert!(engine.sends_per_second.is_some());
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let file = file("[server]\nlisten = '127.0.0.1:1'\n[node]\nregion = 'file'\nname = 'file'\n");
    let environment = [("PABAL_NODE_REGION", "environment"), ("PABAL_NODE_NAME", "environment")];
    let path = file.path.to_str().unwrap();
    let config = load(&["--config", path, "--node-name", "flag"], &environment).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:1");
    assert_eq!(config.node.region, "environment");
    assert_eq!(config.node.name.as_str(), "flag");
}

#[test]
fn every_flag_sets_its_key() {
    let config = load(
        &[
            "--listen",
            "[::1]:0",
            "--data",
            "/tmp/x",
            "--admin-listen",
            "127.0.0.1:9",
            "--public-url",
            "https://chat.example.org",
            "--no-rate-limits",
            "--node-name",
            "a",
            "--region",
            "seoul",
            "--latitude",
            "-33.9",
            "--longitude",
            "18.4",
            "--capacity",
            "7",
            "--push-webhook",
            "https://push.example.org/x",
            "--log",
            "debug",
        ],
        &[],
    )
    .unwrap();
    assert_eq!(config.server.listen.to_string(), "[::1]:0");
    assert_eq!(config.storage.data_dir, PathBuf::from("/tmp/x"));
    assert_eq!(config.server.admin_listen.unwrap().port(), 9);
    let public_url = config.server.public_url.as_ref().unwrap();
    assert_eq!(public_url.http(), "https://chat.example.org");
    assert_eq!(public_url.websocket(), "wss://chat.example.org");
    assert!(!config.limits.rate_limits && config.engine_limits().sends_per_second.is_none());
    assert_eq!((config.node.name.as_str(), config.node.region.as_str()), ("a", "seoul"));
    assert_eq!((config.node.latitude, config.node.longitude), (Some(-33.9), Some(18.4)));
    assert_eq!(config.engine_limits().sessions, 7);
    assert_eq!(config.push.webhook_url.as_deref(), Some("https://push.example.org/x"));
    assert_eq!(config.log.filter, "debug");
}

#[test]
fn an_error_in_a_file_names_the_line_and_the_key() {
    let wrong = |text: &str| match load_file(text).unwrap_err() {
        ConfigError::File { line, key, reason, .. } => (line, key, reason),
        other => panic!("{other:?}"),
    };
    let (line, key, reason) = wrong("[server]\n\nlisten = '127.0.0.1:1'\nlisn = 7\n");
    assert_eq!((line, key.as_str()), (4, "server.lisn"), "{reason}");
    assert!(reason.contains("unknown field") && reason.contains("listen"), "{reason}");
    let (line, key, _) = wrong("# a comment\n[limits]\nbody_bytes = 'many'\n");
    assert_eq!((line, key.as_str()), (3, "limits.body_bytes"));
    let (line, _, reason) = wrong("[server]\nlisten = 'here'\n");
    assert_eq!(line, 2, "{reason}");
    let (line, _, reason) = wrong("\n[sever]\n");
    assert!(line == 2 && reason.contains("sever"), "{line} {reason}");
    let (line, ..) = wrong("[server]\nlisten = \n");
    assert_eq!(line, 2);
    let (line, key, _) = wrong("[limits]\ncontent_bytes = -1\n");
    assert_eq!((line, key.as_str()), (2, "limits.content_bytes"));
    for text in ["[node]\nname = 'Seoul'", "[node]\nname = ''"] {
        let (line, key, _) = wrong(text);
        assert_eq!((line, key.as_str()), (2, "node.name"), "{text}");
    }
    for url in ["chat.example.org", "https://example.org/chat", "ws://x", "https://a@b"] {
        let (line, key, _) = wrong(&format!("[server]\npublic_url = '{url}'"));
        assert_eq!((line, key.as_str()), (2, "server.public_url"), "{url}");
    }
    for origin in ["chat.example.org", "https://example.org/", "https://*.example.org", ""] {
        let (line, key, _) = wrong(&format!("[server]\nallowed_origins = ['{origin}']"));
        assert_eq!((line, key.as_str()), (2, "server.allowed_origins[0]"), "{origin}");
    }
    for network in ["proxy.example.org", "10.1.2.3/8", "10.0.0.0/33", "10.0.0", ""] {
        let (line, key, _) = wrong(&format!("[server]\ntrusted_proxies = ['{network}']"));
        assert_eq!((line, key.as_str()), (2, "server.trusted_proxies[0]"), "{network}");
    }
    let shown = load_file("[server]\nlisn = 7\n").unwrap_err().to_string();
    assert!(shown.contains("pabal.toml:2: server.lisn: unknown field"), "{shown}");
    assert!(!shown.contains('\n'), "{shown}");
}

#[test]
fn a_missing_file_is_named() {
    let error = load(&["--config", "/nowhere/pabal.toml"], &[]).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nowhere/pabal.toml"), "{error}");
}

#[test]
fn a_variable_is_read_as_the_type_of_its_key() {
    let config = load(
        &[],
        &[
            ("PABAL_LIMITS_BODY_BYTES", "4096"),
            ("PABAL_LIMITS_RATE_LIMITS", "false"),
            ("PABAL_NODE_NAME", "7"),
            ("PABAL_NODE_REGION", "true"),
            ("PABAL_NODE_LATITUDE", "37"),
            ("PABAL_NODE_LONGITUDE", "127.5"),
            ("PABAL_SERVER_LISTEN", "0.0.0.0:80"),
            ("PABAL_STORAGE_DATA_DIR", "/var/lib/pabal"),
            ("PABAL_PUSH_WEBHOOK_TOKEN", "\"quoted\""),
            ("PABAL_LOG_FORMAT", "json"),
            ("HOME", "/root"),
            ("PABAL_PORT", "tcp://10.0.0.1:80"),
            ("PABAL_URL", "http://localhost"),
        ],
    )
    .unwrap();
    assert_eq!(config.limits.body_bytes, 4_096);
    assert!(!config.limits.rate_limits);
    assert_eq!((config.node.name.as_str(), config.node.region.as_str()), ("7", "true"));
    assert_eq!((config.node.latitude, config.node.longitude), (Some(37.0), Some(127.5)));
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:80");
    assert_eq!(config.storage.data_dir, PathBuf::from("/var/lib/pabal"));
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn an_error_in_the_environment_names_the_variable() {
    let wrong = |name: &str, value: &str| match load(&[], &[(name, value)]).unwrap_err() {
        ConfigError::Environment { name, reason } => (name, reason),
        other => panic!("{other:?}"),
    };
    let (name, reason) = wrong("PABAL_LIMITS_BODY_BITES", "1");
    assert_eq!(name, "PABAL_LIMITS_BODY_BITES");
    assert!(reason.contains("body_bytes"), "{reason}");
    let (name, reason) = wrong("PABAL_LIMITS_BODY_BYTES", "many");
    assert!(name == "PABAL_LIMITS_BODY_BYTES" && reason.contains("many"), "{reason}");
    wrong("PABAL_SERVER_LISTEN", "here");
    wrong("PABAL_LOG_FORMAT", "xml");
    // Quoted input cannot break the line or send commands to the terminal.
    let error = load(&[], &[("PABAL_LOG_FORMAT", "two\nlines\u{1b}[2J")]).unwrap_err().to_string();
    assert!(error.contains(r"two\nlines\u{1b}[2J") && !error.contains('\n'), "{error:?}");
}

#[test]
fn a_value_out_of_range_is_reported_with_its_key_and_source() {
    let wrong = [
        ("[node]\nlatitude = 91.0\nlongitude = 0.0", "node.latitude"),
        ("[node]\nlatitude = 1.0\nlongitude = nan", "node.longitude"),
        ("[node]\ncapacity = 0", "node.capacity"),
        ("[server]\nidle_connection_timeout_ms = 0", "server.idle_connection_timeout_ms"),
        ("[push]\nwebhook_url = 'ftp://example.org'", "push.webhook_url"),
        ("[limits]\ngroup_members = 1", "limits.group_members"),
        ("[limits]\nmailbox_bytes = 100", "limits.mailbox_bytes"),
        ("[limits]\nbody_bytes = 1", "limits.body_bytes"),
        ("[limits]\nresume_window_ms = 90000000", "limits.resume_window_ms"),
        ("[storage]\npartitions = 0", "storage.partitions"),
        ("[storage]\npartitions = 1025", "storage.partitions"),
        ("[auth]\ntoken_lifetime_days = 0", "auth.token_lifetime_days"),
        ("[limits]\ncontent_bytes = 9223372036854775807", "limits.content_bytes"),
        ("[push]\nconcurrent_posts = 9223372036854775807", "push.concurrent_posts"),
        ("[telemetry]\notlp_endpoint = 'localhost'", "telemetry.otlp_endpoint"),
        ("[telemetry]\nsample_ratio = 1.5", "telemetry.sample_ratio"),
    ];
    for (text, expected) in wrong {
        let (_, key) = expected.split_once('.').unwrap();
        let expected_line = text.lines().position(|line| line.starts_with(key)).unwrap() + 1;
        match load_file(text).unwrap_err() {
            ConfigError::File { key, line, .. } => {
                assert_eq!((key.as_str(), line), (expected, expected_line), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    // A key that is not set has no line. A variable or flag is named instead.
    for (text, expected) in [
        ("[node]\nlatitude = 1.0", "node.longitude"),
        ("[node]\nlongitude = 1.0", "node.latitude"),
        ("[server]\ntls_cert = 'cert.pem'", "server.tls_key"),
        ("[server]\ntls_key = 'key.pem'", "server.tls_cert"),
    ] {
        match load_file(text).unwrap_err() {
            ConfigError::Value { key, .. } => assert_eq!(key, expected, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    let error = load(&[], &[("PABAL_NODE_CAPACITY", "0")]).unwrap_err().to_string();
    assert!(error.starts_with("PABAL_NODE_CAPACITY: "), "{error}");
    let error = load(&["--capacity", "0"], &[]).unwrap_err().to_string();
    assert!(error.starts_with("node.capacity: "), "{error}");
}

/// The output of `pabal config print`.
fn printed(arguments: &[&str], environment: &[(&str, &str)], show_secrets: bool) -> String {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let all = environment.iter().map(owned);
    let (config, sources) = Config::load_with_sources(&flags(arguments), all).unwrap();
    print(&config, &sources, show_secrets).unwrap()
}

#[test]
fn the_printed_configuration_is_a_file_with_the_same_values() {
    let given = file("[server]\n\npublic_url = 'https://chat.example.org'\n");
    let arguments =
        ["--config", given.path.to_str().unwrap(), "--latitude", "37.5", "--longitude", "127"];
    let environment = [("PABAL_LIMITS_BODY_BYTES", "4096"), ("PABAL_PUSH_WEBHOOK_TOKEN", "abc\"1")];
    let text = printed(&arguments, &environment, true);
    assert_eq!(load_file(&text).unwrap(), load(&arguments, &environment).unwrap(), "{text}");
    let keys = text.lines().filter(|line| line.contains("; default ")).count();
    assert_eq!(keys, config_keys(), "{text}");
    let line_before = |key: &str| {
        let lines: Vec<_> = text.lines().collect();
        let at = lines.iter().position(|line| line.starts_with(key)).unwrap();
        lines[at - 1].to_owned()
    };
    let line = format!("# a URL; default none; from {}:3", given.path.display());
    assert_eq!(line_before("public_url = "), line);
    assert_eq!(
        line_before("body_bytes = 4096"),
        "# bytes; default 262144; from PABAL_LIMITS_BODY_BYTES"
    );
    assert_eq!(line_before("latitude = 37.5"), "# degrees; default none; from the command line");
    assert_eq!(line_before("partitions = 16"), "# a count; default 16; from the default");
    assert!(text.contains("# Partitions of channels, 1 to 1,024, the same on all nodes"), "{text}");
}

#[test]
fn secrets_are_printed_on_request_only() {
    let environment = [("PABAL_PUSH_WEBHOOK_TOKEN", "sesame")];
    assert!(!printed(&[], &environment, false).contains("sesame"));
    assert!(printed(&[], &environment, false).contains("# webhook_token is set"));
    assert!(printed(&[], &environment, true).contains("webhook_token = \"sesame\""));
}

#[test]
fn flags_of_the_wrong_type_are_refused() {
    for wrong in [["--listen", "here"], ["--capacity", "-1"], ["--latitude", "north"]] {
        let all = ["serve"].iter().chain(&wrong);
        assert!(Serve::try_parse_from(all).is_err(), "{wrong:?}");
    }
}

#[test]
fn the_example_has_every_key_with_its_default() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/pabal.example.toml");
    assert_eq!(load(&["--config", path], &[]).unwrap(), Config::default());
    // With the optional keys uncommented, each key is there once; an unknown key would be refused.
    let text = std::fs::read_to_string(path).unwrap();
    let optional = |line: &str| line.starts_with("# ") && line.contains(" = ");
    let whole: Vec<&str> =
        text.lines().map(|line| if optional(line) { &line[2..] } else { line }).collect();
    let config = load_file(&whole.join("\n")).unwrap();
    let debug = format!("{config:?}");
    assert!(!debug.contains("None"), "a key is not in the example: {debug}");
    let keys = whole.iter().filter(|line| !line.starts_with('#') && line.contains(" = "));
    assert_eq!(keys.count(), config_keys(), "a key is not in the example");
}

#[test]
fn the_example_has_the_documentation_of_every_key() {
    let (source, example) =
        (include_str!("../../src/config/keys.rs"), include_str!("../../pabal.example.toml"));
    let (mut documentation, mut checked) = (Vec::new(), 0);
    for line in source.lines() {
        if let Some(text) = line.strip_prefix("        /// ") {
            documentation.push(format!("# {text}"));
            continue;
        }
        let comment = documentation.join("\n");
        documentation.clear();
        if is_key(&line) {
            let key = line.trim().split(": ").next().unwrap();
            let documented = [format!("{comment}\n{key} = "), format!("{comment}\n# {key} = ")]
                .iter()
                .any(|entry| example.contains(entry));
            assert!(documented && !comment.is_empty(), "{key} needs this comment:\n{comment}");
            checked += 1;
        }
    }
    assert_eq!(checked, config_keys());
}

/// The number of keys: in the source each is a line `key: Type = default,`.
fn config_keys() -> usize {
    include_str!("../../src/config/keys.rs").lines().filter(is_key).count()
}

fn is_key(line: &&str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c == '_';
    let (name, rest) = line.split_once(": ").unwrap_or_default();
    let name = name.strip_prefix("        ").unwrap_or_default();
    !name.is_empty() && name.chars().all(plain) && rest.contains(" = ")
}

#[test]
fn only_a_node_in_a_cluster_has_a_short_lease() {
    let lease = |arguments: &[&str]| load(arguments, &[]).unwrap().engine_limits().lease;
    assert!(lease(&[]) >= Duration::from_secs(60 * 60), "no other node could take over");
    assert_eq!(lease(&["--queue", "redis://127.0.0.1"]), Duration::from_secs(10));
}
