//! The k6 scripts, each for a few seconds: they pass against a node, and fail behind a faulty proxy that
//! loses, repeats or reorders messages.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use futures::future::join_all;
use pabal_tests::address::Address;
use pabal_tests::faulty_proxy::{Corruption, FaultyProxy};
use pabal_tests::node::Node;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

/// No run takes longer, even on a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(300);
/// Every fifth message is corrupted.
const EVERY: u64 = 5;
/// The exit code of k6 after a threshold was crossed.
const CROSSED: i32 = 99;

/// A few busy users, and no threshold that depends on how fast the machine is.
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

/// Each script runs another scenario, so that all four are covered.
async fn smoke(script: &str, scenario: &str) {
    let Some(k6) = k6().await else { return };
    let run = Run { k6: &k6, script, scenario };
    let node = Node::shared().await;
    let (output, report) = run.against(node.address(), &[]).await;
    assert!(output.status.success(), "{script}: {}", text(&output));
    assert!(text(&output).contains("nothing lost, repeated or out of order"), "{}", text(&output));
    assert_eq!(crossed(&report), Vec::<String>::new(), "{report}");
    let corruptions = [
        (Corruption::Lose, "lost"),
        (Corruption::Repeat, "repeated"),
        (Corruption::Reorder, "reordered"),
    ];
    let detected = corruptions.map(async |(corruption, name)| {
        let proxy = FaultyProxy::before(node.address(), corruption, EVERY).await;
        // A lost message never arrives, so a short wait for it is enough.
        let (output, report) = run.against(proxy.address(), &[("SETTLE_S", "3")]).await;
        assert!(proxy.corrupted() > 0, "{script}: nothing was corrupted: {}", text(&output));
        let status = output.status.code();
        assert_eq!(status, Some(CROSSED), "{script}, {corruption:?}: {}", text(&output));
        let is_named = |metric: &String| metric.starts_with(&format!("{name}{{"));
        assert!(
            crossed(&report).iter().any(is_named),
            "{script}, {corruption:?}: {}",
            text(&output)
        );
    });
    join_all(detected).await;
}

/// The path of k6, which is built if it is missing. Without Go it cannot be built: the test is then skipped
/// with a message, or fails where skipping is not allowed, as in CI.
async fn k6() -> Option<PathBuf> {
    // Only one of the tests builds it.
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

/// The folder of the scripts.
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
    /// The output of k6, and the report that the script wrote.
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
        let report =
            report.unwrap_or_else(|| panic!("{script} wrote no report: {}", text(&output)));
        (output, report)
    }
}

fn text(output: &Output) -> String {
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    format!("{stdout}\n{stderr}")
}

/// The metrics whose thresholds were crossed.
fn crossed(report: &Value) -> Vec<String> {
    let thresholds = report["thresholds"].as_array().expect("a list of thresholds");
    assert!(!thresholds.is_empty(), "{report}");
    let crossed = thresholds.iter().filter(|threshold| threshold["ok"] != true);
    crossed.map(|threshold| threshold["metric"].as_str().expect("a metric").to_owned()).collect()
}
