//! Imports between the folders of the engine go one way (`src/engine/mod.rs` states it).

use std::fs;
use std::path::{Path, PathBuf};

/// What the files of a folder must not name.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("message", &["engine::facade", "engine::wiring", "super::facade", "super::wiring"]),
    ("sessions", &["engine::message", "engine::partitions", "engine::facade", "engine::wiring"]),
    ("partitions", &["engine::message", "engine::sessions", "engine::facade", "engine::wiring"]),
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("is a folder") {
        let path = entry.expect("is readable").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn sessions_and_partitions_import_neither_each_other_nor_the_way_of_a_message() {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine");
    for (folder, forbidden) in FORBIDDEN {
        let files = files(&engine.join(folder));
        assert!(files.len() > 3, "{folder} has its files");
        for file in files {
            let source = fs::read_to_string(&file).expect("is UTF-8");
            let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                for name in *forbidden {
                    assert!(!line.contains(name), "{}: {line}", file.display());
                }
            }
        }
    }
}
