//! Commands of an operator on the data folder of a node while the node runs: the program on one
//! side, users of the node on the other.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

#[path = "../../gateway/tests/api/support.rs"]
#[expect(dead_code, reason = "the tests of the API use the rest")]
mod support;

use support::{Node, PASSWORD, Person};

const SOON: Duration = Duration::from_secs(20);

/// The outcome of a command: whether it succeeded, and its output.
struct Done {
    ok: bool,
    out: String,
    err: String,
}

/// Runs `pabal` with these arguments and this standard input.
async fn pabal(arguments: &[&str], input: &str) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pabal"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
}

/// Runs `pabal user …` on the folder of a node, and returns its output.
async fn user(node: &Node, arguments: &[&str], input: &str) -> String {
    let data = node.data();
    let all = [&["user", "--data", data.to_str().unwrap()], arguments].concat();
    let done = pabal(&all, input).await;
    assert!(done.ok, "{arguments:?}: {}", done.err);
    done.out
}

async fn log_in(node: &Node, name: &str, password: &str) -> u16 {
    let body = json!({"username": name, "password": password});
    node.post("/v1/login", body).await.status.as_u16()
}

/// Starts a long poll, runs `action`, and asserts that the session ends within a second after it.
async fn ends_the_session(person: &Person, action: impl Future<Output = String>) -> String {
    let ears = person.listen().await;
    let path = format!("/v1/sessions/{}/long-poll?after=0&wait_ms=15000", ears.id);
    let poll = tokio::spawn({
        let person = person.clone();
        async move { person.get(&path).await }
    });
    let output = action.await;
    let begun = Instant::now();
    let ended = timeout(SOON, poll).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    ended.problem(401, "unauthenticated");
    person.get("/v1/me").await.problem(401, "unauthenticated");
    output
}

#[tokio::test]
async fn accounts_are_listed_and_shown() {
    let node = Node::start().await;
    for name in ["zoe", "mina", "파발"] {
        node.sign_up(name).await;
    }
    node.log_in("mina").await;
    let list = user(&node, &["list"], "").await;
    let rows: Vec<Vec<&str>> =
        list.lines().map(|line| line.split('\t').take(3).collect()).collect();
    let expected = [["mina", "enabled", "2"], ["zoe", "enabled", "1"], ["파발", "enabled", "1"]];
    assert_eq!(rows, expected, "{list}");
    let shown = user(&node, &["show", "Mina"], "").await;
    assert!(shown.contains("username      mina"), "{shown}");
    assert_eq!(shown.matches("\ndevice ").count(), 2, "{shown}");
    node.stop().await;
}

#[tokio::test]
async fn a_disabled_user_loses_access_within_a_second_until_enabled() {
    let node = Node::start().await;
    let (mina, bob) = (node.sign_up("mina").await, node.sign_up("bob").await);
    let out = ends_the_session(&mina, user(&node, &["disable", "mina"], "")).await;
    assert_eq!(out, "mina is disabled\n");
    assert_eq!(log_in(&node, "mina", PASSWORD).await, 403);
    assert_eq!(log_in(&node, "mina", "wrong password").await, 401);
    bob.get("/v1/me").await.is(200);
    assert!(user(&node, &["list"], "").await.contains("mina\tdisabled\t0"));
    assert_eq!(user(&node, &["disable", "mina"], "").await, "mina is already disabled\n");
    assert_eq!(user(&node, &["enable", "mina"], "").await, "mina is enabled\n");
    assert_eq!(log_in(&node, "mina", PASSWORD).await, 200);
    node.stop().await;
}

#[tokio::test]
async fn a_password_is_read_from_standard_input_or_generated() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    let reset = user(&node, &["reset-password", "mina", "--stdin"], "battery staple\n");
    let out = ends_the_session(&mina, reset).await;
    assert!(!out.contains("battery"), "{out}");
    assert_eq!(log_in(&node, "mina", PASSWORD).await, 401);
    assert_eq!(log_in(&node, "mina", "battery staple").await, 200);
    let out = user(&node, &["reset-password", "mina"], "").await;
    let generated = out.lines().find_map(|line| line.strip_prefix("new password: ")).unwrap();
    assert_eq!(log_in(&node, "mina", generated).await, 200);
    node.stop().await;
}

#[tokio::test]
async fn a_user_can_log_in_again_after_sessions_were_ended() {
    let node = Node::start().await;
    let mina = node.sign_up("mina").await;
    let out = ends_the_session(&mina, user(&node, &["end-sessions", "mina"], "")).await;
    assert_eq!(out, "mina: 1 tokens ended\n");
    assert_eq!(log_in(&node, "mina", PASSWORD).await, 200);
    // The command also works on a folder that no node has open.
    let folder = node.stop().await;
    let data = folder.path().join("data");
    let done = pabal(&["user", "end-sessions", "mina", "--data", data.to_str().unwrap()], "").await;
    assert_eq!(done.out, "mina: 1 tokens ended\n", "{}", done.err);
}

#[tokio::test]
async fn a_failure_is_one_line_on_standard_error() {
    let node = Node::start().await;
    node.sign_up("mina").await;
    let (data, empty) = (node.data(), tempfile::tempdir().unwrap());
    let (data, empty) = (data.to_str().unwrap(), empty.path().to_str().unwrap());
    let failures = [
        (&["user", "--data", data, "show", "unknown"][..], "", "no user \"unknown\""),
        (&["user", "--data", data, "reset-password", "mina", "--stdin"], "short\n", "8 to 256"),
        (&["user", "--data", empty, "list"], "", "directory.sqlite"),
    ];
    for (arguments, input, expected) in failures {
        let Done { ok, out, err } = pabal(arguments, input).await;
        assert!(!ok && out.is_empty() && err.contains(expected), "{arguments:?}: {out} {err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    assert_eq!(log_in(&node, "mina", PASSWORD).await, 200);
    node.stop().await;
}

#[tokio::test]
async fn the_data_folder_of_a_stopped_node_is_checked() {
    let node = Node::start().await;
    let (mina, bob) = (node.sign_up("mina").await, node.sign_up("bob").await);
    let channel = mina.direct(&bob).await;
    for number in 0..5 {
        mina.say(&channel, &format!("message {number}")).await;
    }
    let data = node.data();
    let check = async || pabal(&["check", "--data", data.to_str().unwrap()], "").await;
    let busy = check().await;
    assert!(!busy.ok && busy.err.contains("in use"), "{}", busy.err);
    let _folder = node.stop().await;
    let done = check().await;
    assert!(done.ok && done.err.is_empty(), "{} {}", done.out, done.err);
    assert!(done.out.contains("5 messages in 1 channels, 4 partitions"), "{}", done.out);
    assert!(done.out.contains("2 users"), "{}", done.out);
    // Overwrites the middle of the file, where its pages are.
    let file = data.join("directory.sqlite");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle - 4096..middle + 4096].fill(0xa5);
    std::fs::write(&file, &bytes).unwrap();
    std::fs::remove_file(data.join("history/pabal-store")).unwrap();
    let done = check().await;
    assert!(!done.ok && done.err.contains("wrong"), "{} {}", done.out, done.err);
    assert!(done.out.contains("wrong: directory: "), "{}", done.out);
    assert!(done.out.contains("wrong: history: there is no pabal-store"), "{}", done.out);
}

/// The acknowledged messages: the message id by client message id.
type Acknowledged = Arc<Mutex<BTreeMap<String, u64>>>;

async fn send(person: &Person, channel: &str, name: &str) -> (u16, u64) {
    let path = format!("/v1/channels/{channel}/messages");
    let body = json!({"content": format!("this is {name}"), "client_message_id": name});
    let reply = person.post(&path, body).await;
    let id = reply.body["message"]["message_id"].as_str().unwrap_or_else(|| panic!("{reply:?}"));
    (reply.status.as_u16(), id.parse().unwrap())
}

/// Sends messages until `stop` is set.
async fn keep_sending(
    person: Person,
    channel: String,
    sender: usize,
    acknowledged: Acknowledged,
    stop: Arc<AtomicBool>,
) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("{sender}-{number}");
        let (_, id) = send(&person, &channel, &name).await;
        acknowledged.lock().unwrap().insert(name, id);
    }
}

/// All messages of a channel: the id by content.
async fn all_messages(person: &Person, channel: &str) -> BTreeMap<String, u64> {
    let (mut all, mut after) = (BTreeMap::new(), 0);
    loop {
        let path = format!("/v1/channels/{channel}/messages?after={after}&limit=100");
        let page = person.get(&path).await.json(200);
        let messages = page["messages"].as_array().unwrap();
        for message in messages {
            after = message["message_id"].as_str().unwrap().parse().unwrap();
            all.insert(message["content"].as_str().unwrap().to_owned(), after);
        }
        if messages.is_empty() {
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_has_all_messages_acknowledged_before_it() {
    let node = Node::start().await;
    let (mina, bob) = (node.sign_up("mina").await, node.sign_up("bob").await);
    let channel = mina.direct(&bob).await;
    let (acknowledged, stop) = (Acknowledged::default(), Arc::new(AtomicBool::new(false)));
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let person = if sender % 2 == 0 { mina.clone() } else { bob.clone() };
            let (acknowledged, stop) = (Arc::clone(&acknowledged), Arc::clone(&stop));
            tokio::spawn(keep_sending(person, channel.clone(), sender, acknowledged, stop))
        })
        .collect();
    let enough = async {
        while acknowledged.lock().unwrap().len() < 200 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, enough).await.unwrap();
    let before = acknowledged.lock().unwrap().clone();
    let folder = tempfile::tempdir().unwrap();
    let (backup, data) = (folder.path().join("backup"), folder.path().join("data"));
    let (from, to) = (backup.to_str().unwrap(), data.to_str().unwrap());
    let done = pabal(&["backup", "--data", node.data().to_str().unwrap(), from], "").await;
    assert!(done.ok && done.out.contains("2 users"), "{} {}", done.out, done.err);
    let during = acknowledged.lock().unwrap().len();
    assert!(during > before.len(), "the senders continued during the backup");
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.unwrap();
    }
    let live = all_messages(&mina, &channel).await;
    drop(node.stop().await);

    let done = pabal(&["restore", from, "--data", to], "").await;
    assert!(done.ok, "{} {}", done.out, done.err);
    let refused = pabal(&["restore", from, "--data", to], "").await;
    assert!(!refused.ok && refused.err.contains("not empty"), "{}", refused.err);
    let node = Node::start_on(folder).await;
    // Tokens are in the backup as well; only the address is new.
    let (mina, bob) = [mina, bob].map(|person| Person { url: node.url.clone(), ..person }).into();
    let restored = all_messages(&bob, &channel).await;
    for (name, id) in &before {
        assert_eq!(restored.get(&format!("this is {name}")), Some(id), "{name}");
    }
    assert!(
        restored.iter().all(|(content, id)| live.get(content) == Some(id)),
        "the backup has no other messages"
    );
    let highest = *restored.values().max().unwrap();
    let (name, id) = before.iter().next().unwrap();
    let person = if name.starts_with(['0', '2']) { &mina } else { &bob };
    assert_eq!(send(person, &channel, name).await, (200, *id), "a repeated send is recognised");
    let (status, id) = send(&mina, &channel, "new").await;
    assert!(status == 201 && id > highest, "{id} is above {highest}");
    node.stop().await;
}

#[tokio::test]
async fn a_stopped_node_is_backed_up_and_a_damaged_backup_is_not_restored() {
    let node = Node::start().await;
    let (mina, bob) = (node.sign_up("mina").await, node.sign_up("bob").await);
    let channel = mina.direct(&bob).await;
    mina.say(&channel, "hello").await;
    let stopped = node.stop().await;
    let data = stopped.path().join("data");
    let data = data.to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pabal.toml");
    std::fs::write(&config, format!("[storage]\npartitions = 4\ndata_dir = '{data}'\n")).unwrap();
    let backup = folder.path().join("backup");
    let (config, from) = (config.to_str().unwrap(), backup.to_str().unwrap());
    let done = pabal(&["backup", "--config", config, from], "").await;
    assert!(done.ok && done.out.contains("1 messages"), "{} {}", done.out, done.err);
    let again = pabal(&["backup", "--config", config, from], "").await;
    assert!(!again.ok && again.err.contains("not empty"), "{}", again.err);
    let new = folder.path().join("new");
    let new = new.to_str().unwrap();
    let nothing = pabal(&["backup", "--data", new, &format!("{from}2")], "").await;
    assert!(!nothing.ok && nothing.err.contains("neither a data folder"), "{}", nothing.err);
    // Damage is found after copying, and the folder is left empty, so that no node starts on it.
    std::fs::remove_file(backup.join("history/fjall/version")).unwrap();
    let done = pabal(&["restore", from, "--data", new], "").await;
    assert!(!done.ok && done.out.contains("fjall/version is gone"), "{} {}", done.out, done.err);
    assert_eq!(std::fs::read_dir(new).unwrap().count(), 0);
    std::fs::rename(backup.join("history"), backup.join("history.unfinished")).unwrap();
    let done = pabal(&["restore", from, "--data", new], "").await;
    assert!(!done.ok && done.err.contains("nor a complete backup"), "{}", done.err);
}
