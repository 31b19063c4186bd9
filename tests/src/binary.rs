//! The `pabal` binary: built on first use, with the profile and target folder of the running test.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The path of the built binary. `PABAL_BINARY` names another one, which is used without a build.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| std::env::var_os("PABAL_BINARY").map_or_else(build, PathBuf::from))
}

/// Builds the binary. Cargo reports its path, which depends on the target folder and triple.
fn build() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "-p", "pabal-cli", "--bin", "pabal"])
        .args(["--message-format=json-render-diagnostics", "--profile", &profile()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit());
    // The variables that `cargo test` sets for this package must not reach the build of another one.
    for (name, _) in std::env::vars_os() {
        if is_of_this_package(&name) {
            cargo.env_remove(name);
        }
    }
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "the pabal binary does not build");
    let text = String::from_utf8_lossy(&output.stdout);
    let executable = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "pabal")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.expect("cargo names the binary it built")
}

fn is_of_this_package(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// The profile of the running program: the name of its folder, or for a test of the folder above `deps`.
fn profile() -> String {
    let executable = std::env::current_exe().expect("a program knows its path");
    let folders = executable.ancestors().skip(1).filter_map(Path::file_name);
    let folder = folders.into_iter().find(|name| *name != "deps");
    match folder.map(|name| name.to_string_lossy().into_owned()) {
        Some(name) if name != "debug" => name,
        _ => "dev".into(),
    }
}
