//! Documents name what exists: files, folders and tests. A rename that forgets a document fails here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Documents whose names of files are checked.
const DOCUMENTS: [&str; 6] = [
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "README.md",
    "docs/deployment.md",
    "docs/invariants.md",
    "docs/operations.md",
];
/// Folders at the top level, with which the name of a file begins.
const FOLDERS: [&str; 11] = [
    "benches/",
    "cli/",
    "clients/",
    "core/",
    "cost/",
    "deploy/",
    "docs/",
    "gateway/",
    "storage/",
    "tests/",
    "transports/",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// What stands between backticks on one line.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The names of all functions in the Rust files below `folder`.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let source = fs::read_to_string(&path).expect("a source file");
            for rest in source.split("fn ").skip(1) {
                names.insert(
                    rest.chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect(),
                );
            }
        }
    }
}

#[test]
fn documents_name_files_that_exist() {
    let mut checked = 0;
    for document in DOCUMENTS {
        let text = read(document);
        for name in code(&text).filter(|it| FOLDERS.iter().any(|folder| it.starts_with(folder))) {
            // A glob or a command is no name of a file.
            if name.contains(['*', ' ', '{', '…']) {
                continue;
            }
            assert!(root().join(name).exists(), "{document} names {name}");
            checked += 1;
        }
    }
    assert!(checked > 80, "only {checked} names were found");
}

#[test]
fn invariants_name_tests_that_exist() {
    let mut known = BTreeSet::new();
    for folder in ["core", "storage", "transports", "gateway", "tests"] {
        functions(&root().join(folder), &mut known);
    }
    let text = read("docs/invariants.md");
    let mut checked = 0;
    for row in text.lines().filter(|line| line.starts_with("| I")) {
        let test = row.rsplit('|').nth(1).unwrap_or_default();
        for name in code(test) {
            let function = name.rsplit("::").next().unwrap_or_default();
            assert!(known.contains(function), "docs/invariants.md names {name}");
            checked += 1;
        }
    }
    assert!(checked > 80, "only {checked} tests were found");
}
