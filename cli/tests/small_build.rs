//! A build without the optional parts runs a node, and reports for each missing part how to build it.
//! `make test` builds it that way.
#![cfg(not(any(
    feature = "chat",
    feature = "cluster",
    feature = "lab",
    feature = "load",
    feature = "traces"
)))]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

fn pabal(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pabal"));
    command.args(arguments).current_dir(data).env_clear();
    command
}

fn refused(mut command: Command) -> String {
    let output = command.output().expect("the program runs");
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn a_node_starts_on_its_data_folder() {
    let data = tempfile::tempdir().expect("a folder");
    let mut node = pabal(data.path(), &["serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    let out = node.stdout.take().expect("standard output");
    BufReader::new(out).read_line(&mut line).expect("a line");
    node.kill().expect("the node is killed");
    node.wait().expect("the node ends");
    assert!(line.starts_with("listening on http://127.0.0.1:"), "{line}");
}

#[test]
fn a_missing_command_reports_how_to_build_it() {
    let data = tempfile::tempdir().expect("a folder");
    for arguments in [&["chat", "--user", "ann"][..], &["lab", "--quick"], &["load"]] {
        let error = refused(pabal(data.path(), arguments));
        assert!(
            error.contains(arguments[0]) && error.contains("not part of this build"),
            "{error}"
        );
        assert!(error.contains("cargo build --release -p pabal-cli"), "{error}");
    }
}

#[test]
fn a_setting_of_a_missing_part_reports_how_to_build_it() {
    let data = tempfile::tempdir().expect("a folder");
    for (name, value, key) in [
        ("PABAL_STORAGE_QUEUE", "redis://127.0.0.1:1", "storage.queue"),
        ("PABAL_STORAGE_HISTORY", "cassandra://127.0.0.1/pabal", "storage.history"),
        ("PABAL_STORAGE_DIRECTORY", "postgres://127.0.0.1/pabal", "storage.directory"),
        ("PABAL_TELEMETRY_OTLP_ENDPOINT", "http://127.0.0.1:1", "telemetry.otlp_endpoint"),
    ] {
        let mut serve = pabal(data.path(), &["serve", "--listen", "127.0.0.1:0"]);
        serve.env(name, value);
        let error = refused(serve);
        assert!(error.contains(key), "{error}");
        assert!(error.contains("cargo build --release -p pabal-cli"), "{error}");
    }
}
