//! `pabal load` as people run it: what it prints, writes and answers.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::process::{Output, Stdio};

use pabal_tests::binary;
use pabal_tests::faulty_proxy::{Corruption, FaultyProxy};
use pabal_tests::node::Node;
use pabal_tests::wait::soon;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// A small load.
const SMALL: [&str; 10] =
    ["--clients", "12", "--group", "4", "--rate", "600", "--bytes", "64", "--interval", "100ms"];
/// It takes a second.
const SHORT: [&str; 2] = ["--duration", "1s"];

fn command(url: &str, flags: &[&str]) -> Command {
    let mut command = Command::new(binary::path());
    command.args(["load", "--url", url]).args(flags).kill_on_drop(true);
    command
}

/// Runs a small load for a second, with further flags.
async fn load(url: &str, flags: &[&str]) -> Output {
    let flags = [&SMALL[..], &SHORT, flags].concat();
    soon("pabal load ends", command(url, &flags).output()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_run_prints_a_table_and_writes_json() {
    let node = Node::shared().await;
    let url = format!("http://{}", node.address().get());
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("load.json");
    let all = "websocket,sse,long-polling,polling";
    let storm = ["--storm", "50%:400ms", "--slow", "25%:200ms", "--spike", "3x:300ms"];
    let flags = ["--transport", all, "--json", json.to_str().unwrap(), "--ramp", "200ms"];
    let output = load(&url, &[&flags[..], &storm[..]].concat()).await;
    let (out, told) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{told}");
    for column in ["WebSocket", "SSE", "long polling", "polling 100ms"] {
        assert!(out.contains(column), "{column}: {out}");
    }
    assert!(out.contains("clients cut off, all back after"), "{out}");
    assert!(!told.contains('\x1b'), "this is no terminal: {told}");
    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(report["clean"], true);
    assert_eq!(report["transports"].as_array().unwrap().len(), 4);
    for row in report["transports"].as_array().unwrap() {
        assert_eq!(row["plan"]["clients"], 3);
        assert!(row["counts"]["deliveries"].as_u64().unwrap() > 0, "{row}");
        assert!(row["latency_ms"]["p99"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!(row["verdict"]["lost"], 0, "{row}");
    }
    assert!(report["storms"][0]["back_ms"].as_f64().unwrap() > 0.0, "{report}");
    assert!(report["generator_cpu_seconds"].as_f64().unwrap() > 0.0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_repeats_itself_fails_it() {
    let node = Node::shared().await;
    let proxy = FaultyProxy::before(node.address(), Corruption::Repeat, 20).await;
    let url = format!("http://{}", proxy.address().get());
    let honest = format!("http://{}", node.address().get());
    let output = load(&url, &["--transport", "sse", "--speak-url", &honest]).await;
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(proxy.corrupted() > 0);
    assert!(told.ends_with(&format!("pabal: {} repeated\n", proxy.corrupted())), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_told_in_a_line() {
    let node = Node::shared().await;
    let url = format!("http://{}", node.address().get());
    for (url, flags, told) in [
        ("http://127.0.0.1:1", &[][..], "http://127.0.0.1:1 cannot be reached"),
        ("chat.example", &["--seed", "2"], "not the URL of a server"),
        (&url, &["--json", "/nowhere/load.json"], "/nowhere/load.json"),
    ] {
        fails(load(url, flags).await, told);
    }
    let of = async |flags: &[&str]| soon("it ends", command(&url, flags).output()).await.unwrap();
    fails(of(&["--bytes", "10"]).await, "32 to 16384 bytes");
    fails(of(&["--clients", "10000000"]).await, "more open files");
}

/// Not one line more than needed.
fn fails(output: Output, told: &str) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(told) && error.lines().count() == 1, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_limits_is_told_from_a_broken_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Command::new(binary::path())
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path().join("data"))
        .env("PABAL_AUTH_ATTEMPTS_PER_ADDRESS_PER_SECOND", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = soon("the server listens", lines.next_line()).await.unwrap().unwrap();
    let url = line.strip_prefix("listening on ").unwrap();
    let flags = ["--clients", "400", "--group", "1"];
    let output = soon("it ends", command(url, &flags).output()).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.lines().last().unwrap().contains("--no-rate-limits"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_it_early_with_the_report() {
    let node = Node::shared().await;
    let url = format!("http://{}", node.address().get());
    let flags = [&SMALL[..], &["--duration", "1h"]].concat();
    let mut command = command(&url, &flags);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    soon("it talks", async {
        while !lines.next_line().await.unwrap().unwrap().contains("delivered/s") {}
    })
    .await;
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let output = soon("it ends", child.wait_with_output()).await.unwrap();
    let out = text(&output.stdout);
    assert!(output.status.success(), "{out}");
    assert!(out.contains("WebSocket"), "{out}");
}
