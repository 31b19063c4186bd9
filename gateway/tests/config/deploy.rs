//! The files in `deploy/` match the program: each setting in them exists, and its value is valid.

use std::fs;
use std::path::{Path, PathBuf};

use pabal_gateway::config::{Config, ConfigError, ServeFlags};

fn deploy(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The variables that a file sets, in the syntax of YAML, of Kubernetes and of a Dockerfile.
fn variables(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut named = None;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("- name: PABAL_") {
            named = Some(format!("PABAL_{name}"));
        } else if let (Some(value), Some(name)) = (line.strip_prefix("value: "), &named) {
            found.push((name.clone(), value.to_owned()));
        } else if let Some(at) = line.find("PABAL_") {
            let set = line[at..].trim_end_matches(['\\', ' ']);
            if let Some((name, value)) = set.split_once(": ").or_else(|| set.split_once('=')) {
                found.push((name.to_owned(), value.trim_matches('\'').to_owned()));
            }
        }
    }
    // Variables whose values Kubernetes takes from other resources.
    for (name, value) in [
        ("PABAL_NODE_NAME", "pabal-0"),
        ("PABAL_STORAGE_QUEUE", "redis://redis"),
        ("PABAL_STORAGE_HISTORY", "cassandra://cassandra/pabal"),
        ("PABAL_STORAGE_DIRECTORY", "postgres://postgres/pabal"),
    ] {
        if text.contains(name) && !found.iter().any(|(found, _)| found == name) {
            found.push((name.to_owned(), value.to_owned()));
        }
    }
    for (_, value) in &mut found {
        *value = value.replace("$(PABAL_NODE_NAME)", "pabal-0");
    }
    found
}

/// Loads a configuration as the program does.
fn check(variables: &[(String, String)], config: Option<&Path>) -> Result<Config, ConfigError> {
    let config = config.map(Path::to_path_buf);
    let flags = ServeFlags { config, ..ServeFlags::default() };
    Config::load(&flags, variables.iter().cloned())
}

#[test]
fn every_variable_is_a_setting_with_a_valid_value() {
    for (file, at_least) in [
        ("Dockerfile", 4),
        ("compose/compose.yaml", 7),
        ("kubernetes/pabal.yaml", 6),
        ("systemd/pabal.service", 1),
    ] {
        let variables = variables(&deploy(file));
        assert!(variables.len() >= at_least, "{file}: {variables:?}");
        check(&variables, None).unwrap_or_else(|error| panic!("{file}: {error}"));
        // The check detects an unknown variable.
        let wrong = ("PABAL_SERVER_LISEN".to_owned(), "x".to_owned());
        let error = check(&[&variables[..], &[wrong]].concat(), None).expect_err("is unknown");
        assert!(error.to_string().contains("PABAL_SERVER_LISEN"), "{error}");
    }
}

#[test]
fn the_configuration_in_kubernetes_is_valid() {
    let text = deploy("kubernetes/pabal.yaml");
    let (_, block) = text.split_once("  pabal.toml: |\n").expect("a file in the ConfigMap");
    let lines = block.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    let toml: String = lines.map(|line| format!("{}\n", line.trim_start())).collect();
    assert!(toml.contains("[server]") && toml.contains("[log]"), "{toml}");
    let folder = tempfile::tempdir().expect("a folder");
    let config: PathBuf = folder.path().join("pabal.toml");
    fs::write(&config, toml).expect("writes");
    let config = check(&[], Some(&config)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.server.trusted_proxies.len(), 1);
}
