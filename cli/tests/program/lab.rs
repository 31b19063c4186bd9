//! `pabal lab` with a few clients for a second: its measurements, files and report.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

/// A generous limit for a run of a few seconds.
const LIMIT: Duration = Duration::from_secs(120);

fn lab(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pabal"));
    command.args(["lab", "--tiny", "--out"]).arg(folder).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs the lab, and returns whether it succeeded, standard output and standard error.
async fn run(folder: &Path, arguments: &[&str]) -> (bool, String, String) {
    let output = timeout(LIMIT, lab(folder, arguments).output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn lines(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("cells.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn cells_are_measured_once_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (clean, _, output) = run(folder.path(), &[]).await;
    assert!(clean, "{output}");
    let measured = lines(folder.path());
    assert_eq!(measured.len(), 2);
    for line in &measured {
        let record = &line["record"];
        let number = |path: &str| record.pointer(path).and_then(Value::as_f64).unwrap();
        assert!(number("/counts/deliveries") > 0.0, "{record}");
        // Batches contain more than the content of messages.
        assert!(number("/counts/bytes_in") > number("/counts/deliveries") * 128.0, "{record}");
        assert!(number("/latency/p50") <= number("/latency/p99"), "{record}");
        assert!(record["latency"]["p999"].is_null(), "too few samples for this quantile: {record}");
        assert!(number("/server_cpu_us") > 0.0 && number("/generator_cpu_us") > 0.0, "{record}");
        // CPU time measured in two ways.
        let (clock, usage) = (number("/accounts/by_clock_us"), number("/accounts/by_rusage_us"));
        assert!(clock > 0.0 && clock <= usage * 1.01 + 2_000.0, "{record}");
        // Other programs may use the interface at the same time, so the kernel counts at least as
        // much.
        let payload = number("/loopback/bytes") - number("/loopback/packets") * 52.0;
        let metered = ["bytes_in", "bytes_out", "speaker_bytes"];
        let metered: f64 = metered.iter().map(|name| number(&format!("/counts/{name}"))).sum();
        assert!(metered <= payload * 1.05, "{record}");
        assert_eq!(record["verdict"].to_string(), r#"{"lost":0,"reordered":0,"repeated":0}"#);
    }
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.contains("websocket/1200-a-minute/20-clients/128-bytes/groups-of-20/tls"));
    for file in ["cells.csv", "lab.json", "summary.md"] {
        assert!(folder.path().join(file).exists(), "no {file}");
    }
    let left = fs::read_dir(folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("cell-"));
    assert_eq!(left.count(), 0, "data folders are removed");

    let (clean, _, output) = run(folder.path(), &[]).await;
    assert!(clean && output.contains("2 cells are known, 0 to measure"), "{output}");
    assert_eq!(lines(folder.path()), measured, "no cell was measured again");

    let (clean, _, output) = run(folder.path(), &["--fresh", "--only", "websocket"]).await;
    assert!(clean, "{output}");
    assert_eq!(lines(folder.path()).len(), 3, "one cell was measured again");
    let (clean, _, output) = run(folder.path(), &["--only", "pigeon"]).await;
    assert!(!clean && output.contains("no cell has such a name"), "{output}");
}

#[tokio::test]
async fn an_interrupted_run_keeps_its_measurements() {
    let folder = tempfile::tempdir().unwrap();
    let child = lab(folder.path(), &[]).spawn().unwrap();
    let one = async {
        while lines(folder.path()).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, one).await.expect("one cell was measured");
    let pid = rustix::process::Pid::from_raw(child.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("not every cell was measured"), "{errors}");
    assert_eq!(lines(folder.path()).len(), 1);
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.contains("/tls was not measured: interrupted"));
}
