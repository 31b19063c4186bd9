//! The k6 scripts, each for a few seconds: they pass against a node, and fail against one that loses,
//! repeats or swaps messages.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use futures::future::join_all;
use pabal_tests::address::Address;
use pabal_tests::liar::{Liar, Lie};
use pabal_tests::node::Node;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

/// No run takes longer, even on a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(300);
/// A lie is told at every so manieth message.
const EVERY: u64 = 5;
/// What k6 ends with if a threshold was not kept to.
const CROSSED: i32 = 99;

/// A few people who talk much, and nothing that depends on how fast the machine is.
const SETTINGS: [(&str, &str); 8] = [
    ("VUS", "6"),
    ("GROUP", "3"),
    ("DURATION_S", "3"),
    ("VISIT_S", "2"),
    ("SAY_EVERY_MS", "100"),
    ("POLL_MS", "100"),
    ("WAIT_MS", "2000"),
    ("P95_MS", "60000"),
];

#[tokio::test]
async fn short_polling() {
    smoke("short-polling", "ramp").await;
}

#[tokio::test]
async fn long_polling() {
    smoke("long-polling", "steady").await;
}

#[tokio::test]
async fn websocket() {
    smoke("websocket", "spike").await;
}

#[tokio::test]
async fn mixed() {
    smoke("mixed", "soak").await;
}

/// Each script in another scenario, so that all four are run.
async fn smoke(script: &str, scenario: &str) {
    let Some(k6) = k6().await else { return };
    let run = Run { k6: &k6, script, scenario };
    let node = Node::shared().await;
    let (output, report) = run.against(node.address(), &[]).await;
    assert!(output.status.success(), "{script}: {}", said(&output));
    assert!(said(&output).contains("nothing lost, repeated or out of order"), "{}", said(&output));
    assert_eq!(broken(&report), Vec::<String>::new(), "{report}");
    let lies = [(Lie::Lose, "lost"), (Lie::Repeat, "repeated"), (Lie::Reorder, "reordered")];
    let found_out = lies.map(async |(lie, is_called)| {
        let liar = Liar::before(node.address(), lie, EVERY).await;
        // What was lied away never comes.
        let (output, report) = run.against(liar.address(), &[("SETTLE_S", "3")]).await;
        assert!(liar.lies() > 0, "{script}: no lie was told: {}", said(&output));
        let status = output.status.code();
        assert_eq!(status, Some(CROSSED), "{script} believes {lie:?}: {}", said(&output));
        let calls_it = |metric: &String| metric.starts_with(&format!("{is_called}{{"));
        assert!(broken(&report).iter().any(calls_it), "{script}, {lie:?}: {}", said(&output));
    });
    join_all(found_out).await;
}

/// Where k6 is, built if it is not there. Without Go there is none, which is said; where it must not
/// be left out, as in CI, that fails.
async fn k6() -> Option<PathBuf> {
    // One of the tests builds it.
    static BUILDING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _building = BUILDING.lock().await;
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
    let installed = Command::new(folder().join("install.sh"))
        .arg(target)
        .stderr(Stdio::inherit())
        .output()
        .await
        .expect("a shell script runs");
    if !installed.status.success() {
        pabal_servers::leave_out("k6 is not installed");
        return None;
    }
    Some(PathBuf::from(String::from_utf8_lossy(&installed.stdout).trim()))
}

/// Where the scripts are.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/k6")
}

/// A script in a scenario.
struct Run<'a> {
    k6: &'a Path,
    script: &'a str,
    scenario: &'a str,
}

impl Run<'_> {
    /// What k6 said, and the report that the script left.
    async fn against(&self, server: &Address, more: &[(&str, &str)]) -> (Output, Value) {
        let Self { k6, script, scenario } = self;
        let results = TempDir::with_prefix("pabal-k6-").expect("a folder for the report");
        let mut command = Command::new(k6);
        command
            .args(["run", "--quiet", "--no-color", "--no-usage-report", "--address", ""])
            .arg(folder().join(format!("{script}.js")))
            .env("K6_AUTO_EXTENSION_RESOLUTION", "false")
            .env("BASE_URL", format!("http://{}", server.get()))
            .env("RESULTS", results.path())
            .env("SCENARIO", scenario)
            .envs(SETTINGS)
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = timeout(DEADLINE, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("{script} took longer than {DEADLINE:?}"));
        let output = output.expect("k6 runs");
        let report = std::fs::read(results.path().join(format!("{script}-{scenario}.json")));
        let report = report.ok().and_then(|json| serde_json::from_slice(&json).ok());
        let report = report.unwrap_or_else(|| panic!("{script} left no report: {}", said(&output)));
        (output, report)
    }
}

fn said(output: &Output) -> String {
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    format!("{stdout}\n{stderr}")
}

/// The metrics whose thresholds were not kept to.
fn broken(report: &Value) -> Vec<String> {
    let thresholds = report["thresholds"].as_array().expect("a list of thresholds");
    assert!(!thresholds.is_empty(), "{report}");
    let broken = thresholds.iter().filter(|threshold| threshold["ok"] != true);
    broken.map(|threshold| threshold["metric"].as_str().expect("a metric").to_owned()).collect()
}
