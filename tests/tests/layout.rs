//! Which package may import which (ARCHITECTURE.md, "Who imports whom"), dev-dependencies included. The engine
//! imports no backend and no transport, and the server contains no lab, load generator or terminal. Top-level
//! folders import each other without a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Packages that the engine must not reach, directly or indirectly.
const NOT_IN_CORE: [&str; 5] = ["hyper", "redis", "sqlx", "fjall", "scylla"];
/// Packages that the server must not reach.
const NOT_IN_GATEWAY: [&str; 5] =
    ["pabal-lab", "pabal-load", "pabal-terminal", "pabal-client", "ratatui"];

/// Each package of the workspace, with the other ones that it imports to be built or tested.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("pabal-core", &[]),
    ("pabal-contract", &["pabal-core"]),
    ("pabal-transports", &["pabal-core"]),
    ("pabal-storage", &["pabal-contract", "pabal-core", "pabal-servers"]),
    ("pabal-cost", &[]),
    (
        "pabal-gateway",
        &[
            "pabal-contract",
            "pabal-core",
            "pabal-cost",
            "pabal-servers",
            "pabal-storage",
            "pabal-transports",
        ],
    ),
    (
        "pabal-cli",
        &[
            "pabal-core",
            "pabal-gateway",
            "pabal-lab",
            "pabal-load",
            "pabal-servers",
            "pabal-storage",
            "pabal-terminal",
        ],
    ),
    ("pabal-client", &[]),
    ("pabal-terminal", &["pabal-client"]),
    ("pabal-servers", &[]),
    ("pabal-tests", &["pabal-client", "pabal-servers", "pabal-terminal"]),
    ("pabal-load", &["pabal-client", "pabal-cost", "pabal-tests"]),
    ("pabal-lab", &["pabal-cost", "pabal-load"]),
    (
        "pabal-benches",
        &[
            "pabal-client",
            "pabal-core",
            "pabal-lab",
            "pabal-servers",
            "pabal-storage",
            "pabal-transports",
        ],
    ),
    ("pabal-simulate", &["pabal-core", "pabal-gateway", "pabal-lab"]),
];

type Graph = BTreeMap<String, BTreeSet<String>>;

#[derive(Default)]
struct Imports {
    /// By package name, the packages that it imports to be built.
    built_with: Graph,
    /// The same, with those that its tests import.
    tested_with: Graph,
    /// By package of the workspace, its folder at the top level.
    folders: BTreeMap<String, String>,
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
        let mut imports = Self::default();
        let mut name_of = BTreeMap::new();
        let root = text(&metadata["workspace_root"]);
        for package in list(&metadata["packages"]) {
            let name = text(&package["name"]);
            name_of.insert(text(&package["id"]), name.clone());
            let manifest = text(&package["manifest_path"]);
            if let Ok(path) = Path::new(&manifest).strip_prefix(&root) {
                let folder = path.iter().next().expect("a manifest is in a folder");
                imports.folders.insert(name, folder.to_string_lossy().into_owned());
            }
        }
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

    /// All packages that are part of `package` when it is built.
    fn reached_from(&self, package: &str) -> BTreeSet<String> {
        reached(&self.built_with, package)
    }

    /// By top-level folder, the other ones that its packages import.
    fn between_folders(&self) -> Graph {
        let mut graph = Graph::new();
        for (package, folder) in &self.folders {
            let imported = self.tested_with[package].iter().filter_map(|it| self.folders.get(it));
            let others = imported.filter(|it| *it != folder).cloned();
            graph.entry(folder.clone()).or_default().extend(others);
        }
        graph
    }
}

/// All that is reached from `start`, itself only in a circle.
fn reached(graph: &Graph, start: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start.to_owned()];
    while let Some(name) = open.pop() {
        for imported in graph.get(&name).into_iter().flatten() {
            if reached.insert(imported.clone()) {
                open.push(imported.clone());
            }
        }
    }
    reached
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

#[test]
fn packages_import_only_what_the_architecture_allows() {
    let imports = Imports::of_workspace();
    let listed: BTreeSet<_> = ALLOWED.iter().map(|(package, _)| (*package).to_owned()).collect();
    assert_eq!(imports.folders.keys().cloned().collect::<BTreeSet<_>>(), listed);
    for (package, allowed) in ALLOWED {
        let ours: Vec<_> = imports.tested_with[package]
            .iter()
            .filter(|name| imports.folders.contains_key(*name) && *name != package)
            .collect();
        assert_eq!(ours, allowed, "the packages of the workspace that {package} imports");
    }
}

#[test]
fn top_level_folders_import_each_other_without_a_circle() {
    let graph = Imports::of_workspace().between_folders();
    assert!(graph["cli"].contains("gateway"), "the graph contains what exists");
    for folder in graph.keys() {
        assert!(!reached(&graph, folder).contains(folder), "{folder} imports itself: {graph:?}");
    }
}

#[test]
fn a_circle_is_found() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    };
    let chain = graph(&[("cli", "gateway"), ("gateway", "core")]);
    assert!(!reached(&chain, "gateway").contains("gateway"));
    let circle = graph(&[("cli", "gateway"), ("gateway", "core"), ("core", "cli")]);
    assert!(reached(&circle, "gateway").contains("gateway"));
}

#[test]
fn the_engine_reaches_no_backend_and_no_transport() {
    let reached = Imports::of_workspace().reached_from("pabal-core");
    assert!(reached.contains("tokio"), "the walk finds what is there");
    for name in NOT_IN_CORE {
        assert!(!reached.contains(name), "pabal-core reaches {name}");
    }
}

#[test]
fn the_server_contains_no_lab_load_generator_or_terminal() {
    let reached = Imports::of_workspace().reached_from("pabal-gateway");
    for name in ["hyper", "sqlx", "fjall", "tokio-tungstenite", "pabal-cost"] {
        assert!(reached.contains(name), "the walk finds {name} where it belongs");
    }
    for name in NOT_IN_GATEWAY {
        assert!(!reached.contains(name), "pabal-gateway reaches {name}");
    }
}

#[test]
fn the_client_is_usable_without_the_server() {
    let imports = Imports::of_workspace();
    let reached = imports.reached_from("pabal-client");
    assert!(reached.contains("hyper"), "the walk finds what is there");
    let ours: Vec<_> = reached.iter().filter(|it| imports.folders.contains_key(*it)).collect();
    assert!(ours.is_empty(), "pabal-client reaches {ours:?}");
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
}
