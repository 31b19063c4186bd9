//! The table of a run, from the estimates that criterion writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use pabal_benches::disk::BareSync;
use pabal_benches::report::figure;
use pabal_core::model::Timestamp;
use serde_json::Value;

pub(crate) const EMBEDDED: &str = "embedded";
pub(crate) const CLUSTER: &str = "cluster";

/// The folder of criterion's estimates.
pub(crate) fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/ports"))
}

/// Prints the rates estimated since `began`, by port and bench. Prints nothing without estimates, as in a test
/// run of the benches.
pub(crate) fn print(began: Timestamp, disk: &BareSync) {
    let mut rows: BTreeMap<(String, String), [Option<f64>; 2]> = BTreeMap::new();
    for estimate in estimates(folder()) {
        let written = fs::metadata(&estimate).and_then(|file| file.modified());
        let since_1970 = written.ok().and_then(|written| written.duration_since(UNIX_EPOCH).ok());
        if since_1970.is_none_or(|span| span.as_micros() < u128::from(began.as_micros())) {
            continue;
        }
        let bench = read(&estimate.with_file_name("benchmark.json"));
        let (group, function) = (text(&bench, "group_id"), text(&bench, "function_id"));
        let function = match text(&bench, "value_str") {
            count if count.is_empty() => function,
            count => format!("{function}: {count} together"),
        };
        let (port, backend) = group.split_once('/').expect("a port and a backend");
        let median_ns = read(&estimate)["median"]["point_estimate"].as_f64().expect("a median");
        let count = bench["throughput"]["Elements"].as_f64().expect("a count");
        let row = rows.entry((port.to_owned(), function)).or_default();
        row[usize::from(backend == CLUSTER)] = Some(count * 1e9 / median_ns);
    }
    if rows.is_empty() {
        return;
    }
    println!("\n| port | what | {EMBEDDED}, a second | {CLUSTER}, a second |\n|---|---|---|---|");
    for ((port, what), rates) in rows {
        let [embedded, cluster] = rates.map(|rate| rate.map_or("–".to_owned(), figure));
        println!("| `{port}` | {what} | {embedded} | {cluster} |");
    }
    let BareSync { median_us, per_second } = disk;
    println!(
        "\nthe disk: {} fdatasync a second, one at a time, median {} µs",
        figure(*per_second),
        figure(*median_us)
    );
}

/// All files of new estimates below a folder.
fn estimates(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(estimates(&path));
        } else if path.ends_with("new/estimates.json") {
            found.push(path);
        }
    }
    found
}

fn read(file: &Path) -> Value {
    let text = fs::read_to_string(file).expect("criterion wrote it");
    serde_json::from_str(&text).expect("criterion writes JSON")
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}
