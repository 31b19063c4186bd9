//! Which package may import which (design, section 8): the engine imports no backend and no transport, transports
//! and storage import the engine alone, and only the gateway imports all of them. The client imports none of
//! them; the terminal and the load generator import the client alone.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Packages that the engine must not reach, directly or indirectly.
const NOT_IN_CORE: [&str; 5] = ["hyper", "redis", "sqlx", "fjall", "scylla"];

/// Which of our packages each of our packages imports, for building and for its tests.
const ALLOWED: [(&str, &[&str]); 10] = [
    ("pabal-core", &[]),
    ("pabal-transports", &["pabal-core"]),
    ("pabal-storage", &["pabal-core", "pabal-servers"]),
    (
        "pabal-gateway",
        &[
            "pabal-core",
            "pabal-lab",
            "pabal-load",
            "pabal-servers",
            "pabal-storage",
            "pabal-terminal",
            "pabal-transports",
        ],
    ),
    ("pabal-servers", &[]),
    ("pabal-lab", &["pabal-load"]),
    ("pabal-client", &[]),
    ("pabal-terminal", &["pabal-client"]),
    ("pabal-tests", &["pabal-client", "pabal-servers", "pabal-terminal"]),
    ("pabal-load", &["pabal-client", "pabal-tests"]),
];

#[derive(Default)]
struct Imports {
    /// By package name, what it imports in order to be built.
    built_with: BTreeMap<String, BTreeSet<String>>,
    /// The same, with what its tests import.
    tested_with: BTreeMap<String, BTreeSet<String>>,
}

impl Imports {
    fn of_workspace() -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let name_of: BTreeMap<String, String> = list(&metadata["packages"])
            .iter()
            .map(|package| (text(&package["id"]), text(&package["name"])))
            .collect();
        let mut imports = Self::default();
        for node in list(&metadata["resolve"]["nodes"]) {
            let name = name_of[&text(&node["id"])].clone();
            let built = imports.built_with.entry(name.clone()).or_default();
            let tested = imports.tested_with.entry(name).or_default();
            for dependency in list(&node["deps"]) {
                let imported = name_of[&text(&dependency["pkg"])].clone();
                if list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev") {
                    built.insert(imported.clone());
                }
                tested.insert(imported);
            }
        }
        imports
    }

    /// Every package that is part of the built `package`.
    fn reached_from(&self, package: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut open = vec![package.to_owned()];
        while let Some(name) = open.pop() {
            for imported in self.built_with.get(&name).into_iter().flatten() {
                if reached.insert(imported.clone()) {
                    open.push(imported.clone());
                }
            }
        }
        reached
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

#[test]
fn packages_import_only_what_the_design_allows() {
    let imports = Imports::of_workspace();
    for (package, allowed) in ALLOWED {
        let ours: Vec<_> = imports.tested_with[package]
            .iter()
            .filter(|name| name.starts_with("pabal-") && *name != package)
            .collect();
        assert_eq!(ours, allowed, "what {package} imports of ours");
    }
}

#[test]
fn the_engine_reaches_no_backend_and_no_transport() {
    let reached = Imports::of_workspace().reached_from("pabal-core");
    assert!(reached.contains("tokio"), "the search finds a package that is imported");
    for name in NOT_IN_CORE {
        assert!(!reached.contains(name), "pabal-core reaches {name}");
    }
}

#[test]
fn the_client_reaches_no_package_of_the_server() {
    let reached = Imports::of_workspace().reached_from("pabal-client");
    assert!(reached.contains("hyper"), "the search finds a package that is imported");
    let ours: Vec<_> = reached.iter().filter(|name| name.starts_with("pabal-")).collect();
    assert!(ours.is_empty(), "pabal-client reaches {ours:?}");
}

#[test]
fn the_terminal_reaches_the_client_alone() {
    let reached = Imports::of_workspace().reached_from("pabal-terminal");
    let ours: Vec<_> = reached.iter().filter(|name| name.starts_with("pabal-")).collect();
    assert_eq!(ours, ["pabal-client"]);
}

#[test]
fn transports_reach_no_backend_and_storage_no_transport() {
    let imports = Imports::of_workspace();
    let transports = imports.reached_from("pabal-transports");
    for name in ["redis", "sqlx", "fjall", "scylla", "pabal-storage"] {
        assert!(!transports.contains(name), "pabal-transports reaches {name}");
    }
    let storage = imports.reached_from("pabal-storage");
    for name in ["tokio-tungstenite", "pabal-transports", "pabal-servers"] {
        assert!(!storage.contains(name), "pabal-storage reaches {name}");
    }
    let gateway = imports.reached_from("pabal-gateway");
    for name in ["hyper", "sqlx", "fjall", "tokio-tungstenite"] {
        assert!(gateway.contains(name), "the walk finds {name} where it belongs");
    }
}
