//! Unusable data folders: on a full or read-only disk, damaged, or with missing parts. The program
//! reports the cause in one line, and no acknowledged message is lost.
//!
//! A test mounts small disks in a namespace of its own, which ends with the test. On a machine that
//! does not allow this, the test reports that it was skipped, unless `PABAL_LEAVE_NOTHING_OUT` is
//! set, as it is in CI.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{captured, end, pabal, ready, signal};

/// The variable that marks a process in a namespace.
const WITHIN: &str = "PABAL_TEST_NAMESPACE";
const LISTEN: [&str; 3] = ["--listen", "127.0.0.1:0", "--no-rate-limits"];
const CONTENT: &str = "words that are easy to find again in a file";

/// Whether this process is in a namespace where disks can be mounted. Otherwise runs `test` in one.
fn may_mount(test: &str) -> bool {
    if std::env::var_os(WITHIN).is_some() {
        return true;
    }
    // On most machines a user without root may mount in a user namespace.
    let modes = [&["--mount"][..], &["--mount", "--user", "--map-root-user"]];
    let unshare = |mode: &[&str]| {
        let mut command = std::process::Command::new("unshare");
        command.args(mode).args(["--propagation", "private", "--"]);
        command
    };
    let possible = modes.into_iter().find(|mode| {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = unshare(mode);
        mount.args(["mount", "-t", "tmpfs", "none"]).arg(folder.path());
        mount.output().is_ok_and(|output| output.status.success())
    });
    let Some(mode) = possible else {
        pabal_servers::leave_out("this machine does not allow mounting a disk in a namespace");
        return false;
    };
    let mut again = unshare(mode);
    again.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let output = again.env(WITHIN, "1").output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
    false
}

/// A small disk of a test.
struct Disk {
    folder: TempDir,
}

impl Disk {
    fn mount(size: &str) -> Self {
        let disk = Self { folder: tempfile::tempdir().unwrap() };
        disk.mounted(&["-t", "tmpfs", "-o", &format!("size={size}"), "none"]);
        disk
    }

    fn mounted(&self, arguments: &[&str]) {
        let mut mount = std::process::Command::new("mount");
        let output = mount.args(arguments).arg(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }

    /// Fills the disk.
    fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        let full = (0..100_000).find_map(|_| filler.write_all(&[1; 4_096]).err());
        assert_eq!(full.unwrap().kind(), ErrorKind::StorageFull);
    }

    fn free_space(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

/// A client of the program.
struct Client {
    url: String,
    http: reqwest::Client,
    token: String,
}

impl Client {
    fn new(url: String) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { url, http, token: String::new() }
    }

    /// The status and body of a response, or `None` if the connection ended before it.
    async fn ask(&self, method: Method, path: &str, body: Value) -> Option<(StatusCode, Value)> {
        let request = self.http.request(method, format!("{}{path}", self.url)).json(&body);
        let response = request.bearer_auth(&self.token).send().await.ok()?;
        Some((response.status(), response.json().await.ok()?))
    }

    /// The body of a successful response.
    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, json!({})).await.unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn sign_up(&self, name: &str) -> (StatusCode, Value) {
        let body = json!({"username": name, "password": "correct horse"});
        self.ask(Method::POST, "/v1/users", body).await.unwrap()
    }

    /// Signs up and creates a group, and returns the path of its messages.
    async fn set_up(&mut self) -> String {
        let (status, ann) = self.sign_up("ann").await;
        assert_eq!(status, 201, "{ann}");
        self.token = ann["token"].as_str().unwrap().to_owned();
        let group = json!({"name": "notes", "members": []});
        let (status, group) = self.ask(Method::POST, "/v1/channels", group).await.unwrap();
        assert_eq!(status, 201, "{group}");
        format!("/v1/channels/{}/messages", group["channel"]["channel_id"].as_str().unwrap())
    }

    async fn send(&self, messages: &str, name: &str) -> Option<(StatusCode, Value)> {
        let body = json!({"content": CONTENT.repeat(50), "client_message_id": name});
        self.ask(Method::POST, messages, body).await
    }

    /// The client message ids of all messages of the channel, in order.
    async fn sent(&self, messages: &str) -> Vec<String> {
        let mut sent = Vec::new();
        let mut after = "0".to_owned();
        loop {
            let page = self.get(&format!("{messages}?limit=200&after={after}")).await;
            for message in page["messages"].as_array().unwrap() {
                sent.push(message["client_message_id"].as_str().unwrap().to_owned());
                message["message_id"].as_str().unwrap().clone_into(&mut after);
            }
            if page["has_more"] == false {
                return sent;
            }
        }
    }
}

async fn start(data: &Path) -> (Child, String) {
    let mut command = pabal(data, &LISTEN);
    // Longer than any test waits: a send that cannot succeed must be refused at once.
    command.env("PABAL_LIMITS_CONFIRM_WITHIN_MS", "60000");
    // The disks of these tests are smaller than the reserve.
    command.env("PABAL_STORAGE_RESERVE_BYTES", "0");
    ready(&mut command).await
}

async fn stop(child: Child) {
    signal(&child, "-TERM");
    let (code, _, err) = end(child).await;
    assert_eq!(code, Some(0), "{err}");
}

/// Fills a folder with a few messages; returns the path of the messages and the token of the
/// sender.
async fn filled(data: &Path) -> (String, String) {
    let (child, url) = start(data).await;
    let mut ann = Client::new(url);
    let messages = ann.set_up().await;
    for name in ["a", "b", "c"] {
        assert_eq!(ann.send(&messages, name).await.unwrap().0, 201);
    }
    stop(child).await;
    (messages, ann.token)
}

/// Asserts that a node starts on the folder and has all messages.
async fn assert_serves(data: &Path, (messages, token): &(String, String)) {
    let (child, url) = start(data).await;
    let ann = Client { token: token.clone(), ..Client::new(url) };
    assert_eq!(ann.sent(messages).await, ["a", "b", "c"]);
    stop(child).await;
}

/// Runs `pabal check` on the folder; returns whether the folder is sound, and the output.
async fn check(data: &Path) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pabal"));
    command.arg("check").arg("--data").arg(data);
    captured(&mut command);
    let (code, out, err) = end(command.spawn().unwrap()).await;
    (code == Some(0), out + &err)
}

/// Asserts that the program does not start on the folder, and reports the folder and the reason in
/// one line.
async fn assert_refuses(data: &Path, why: &str) {
    let (code, out, err) = end(pabal(data, &LISTEN).spawn().unwrap()).await;
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    // The store may have logged errors before.
    let lines: Vec<_> = err.lines().collect();
    let (line, logged) = lines.split_last().unwrap();
    assert!(logged.iter().all(|line| line.contains(" ERROR fjall")), "{err}");
    assert!(line.starts_with("pabal: ") && line.contains(why), "{err}");
    assert!(line.contains(data.to_str().unwrap()), "{err}");
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    if !may_mount("disk::a_full_disk_loses_nothing_that_was_acknowledged") {
        return;
    }
    let disk = Disk::mount("12m");
    let (child, url) = start(&disk.data()).await;
    let mut ann = Client::new(url);
    let messages = ann.set_up().await;
    let mut acknowledged = vec!["first".to_owned()];
    assert_eq!(ann.send(&messages, "first").await.unwrap().0, 201);

    // The directory: changes are refused and may be retried; reads continue.
    disk.fill();
    for name in ["bob", "cho"] {
        let (status, problem) = ann.sign_up(name).await;
        assert_eq!((status.as_u16(), &problem["code"]), (503, &json!("unavailable")), "{problem}");
        assert!(problem["retry_after_ms"].as_u64() > Some(0), "{problem}");
    }
    assert_eq!(ann.get("/v1/me").await["user"]["username"], "ann");
    disk.free_space();
    for name in ["bob", "cho"] {
        let (status, body) = ann.sign_up(name).await;
        assert_eq!(status, 201, "the disk has space again: {body}");
    }

    // History: a send that may or may not be stored is not acknowledged, and the program ends.
    disk.fill();
    let refused = loop {
        let name = format!("m{}", acknowledged.len());
        match ann.send(&messages, &name).await {
            Some((StatusCode::CREATED, _)) => acknowledged.push(name),
            Some((status, problem)) => {
                assert_eq!(status, 503, "{problem}");
                assert_eq!(problem["code"], "not_confirmed", "{problem}");
                break name;
            }
            None => break name,
        }
        assert!(acknowledged.len() < 10_000, "the disk cannot hold so many messages");
    };
    let (code, _, err) = end(child).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("No space left on device"), "{err}");
    let last = err.lines().last().unwrap();
    assert!(last.starts_with("pabal: history could not make a write durable"), "{err}");

    disk.free_space();
    let (sound, report) = check(&disk.data()).await;
    assert!(sound, "{report}");
    let (child, url) = start(&disk.data()).await;
    let ann = Client { token: ann.token, ..Client::new(url) };
    let stored = ann.sent(&messages).await;
    assert!(
        stored == acknowledged
            || stored[..] == [&acknowledged[..], std::slice::from_ref(&refused)].concat()
    );
    // A repeated send is stored once.
    let repeated = ann.send(&messages, &refused).await.unwrap();
    assert!(repeated.0.is_success(), "{repeated:?}");
    acknowledged.push(refused);
    assert_eq!(ann.sent(&messages).await, acknowledged);
    stop(child).await;
}

#[tokio::test]
async fn a_full_or_read_only_disk_is_reported_at_the_start() {
    if !may_mount("disk::a_full_or_read_only_disk_is_reported_at_the_start") {
        return;
    }
    let disk = Disk::mount("8m");
    let data = disk.data();
    disk.fill();
    assert_refuses(&data, "No space left on device").await;
    disk.free_space();
    disk.mounted(&["-o", "remount,ro"]);
    assert_refuses(&data, "Read-only file system").await;
    disk.mounted(&["-o", "remount,rw"]);
    // Files left by the failed starts do not prevent a start.
    let account = filled(&data).await;
    disk.fill();
    assert_refuses(&data, "directory.sqlite cannot be opened: No space left on device").await;
    disk.free_space();
    disk.mounted(&["-o", "remount,ro"]);
    assert_refuses(&data, "Read-only file system").await;
    let (sound, report) = check(&data).await;
    assert!(sound && report.contains("3 messages"), "a check needs no write access: {report}");
    disk.mounted(&["-o", "remount,rw"]);
    assert_serves(&data, &account).await;
}

#[tokio::test]
async fn sends_are_refused_below_the_reserve_and_come_back_by_themselves() {
    if !may_mount("disk::sends_are_refused_below_the_reserve_and_come_back_by_themselves") {
        return;
    }
    let disk = Disk::mount("64m");
    let mut command = pabal(&disk.data(), &LISTEN);
    command.env("PABAL_STORAGE_RESERVE_BYTES", (16 << 20).to_string());
    let (child, url) = ready(&mut command).await;
    let mut ann = Client::new(url);
    let messages = ann.set_up().await;
    let mut acknowledged = vec!["first".to_owned()];
    assert_eq!(ann.send(&messages, "first").await.unwrap().0, 201);
    // Less than the reserve is left, but enough for what is accepted until the node has looked.
    fs::write(disk.filler(), vec![1; 52 << 20]).unwrap();
    let refused = loop {
        let name = format!("m{}", acknowledged.len());
        let (status, problem) = ann.send(&messages, &name).await.unwrap();
        match status {
            StatusCode::CREATED => acknowledged.push(name),
            _ => break (status, problem),
        }
        assert!(acknowledged.len() < 10_000, "sends are not refused");
    };
    assert_eq!((refused.0.as_u16(), &refused.1["code"]), (503, &json!("unavailable")));
    assert_eq!(ann.sent(&messages).await, acknowledged, "reading goes on");
    disk.free_space();
    let mut tries = 0;
    while ann.send(&messages, "again").await.unwrap().0 != StatusCode::CREATED {
        tries += 1;
        assert!(tries < 1_000, "sends do not come back");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    acknowledged.push("again".to_owned());
    assert_eq!(ann.sent(&messages).await, acknowledged);
    stop(child).await;
}

#[tokio::test]
async fn a_folder_with_missing_parts_is_not_treated_as_new() {
    let folder = tempfile::tempdir().unwrap();
    let (data, aside) = (folder.path().join("data"), folder.path().join("aside"));
    let account = filled(&data).await;
    for (part, named) in [
        ("directory.sqlite", "directory.sqlite is missing"),
        ("history", "history/pabal-store is missing"),
        ("history/fjall/version", "fjall/version is gone"),
    ] {
        let part = data.join(part);
        fs::rename(&part, &aside).unwrap();
        assert_refuses(&data, named).await;
        let (sound, report) = check(&data).await;
        assert!(
            !sound && report.contains(part.to_str().unwrap()) || report.contains(named),
            "{report}"
        );
        fs::rename(&aside, &part).unwrap();
    }
    let directory = fs::read(data.join("directory.sqlite")).unwrap();
    fs::write(data.join("directory.sqlite"), "").unwrap();
    assert_refuses(&data, "directory.sqlite is missing").await;
    assert!(!check(&data).await.0);
    fs::write(data.join("directory.sqlite"), directory).unwrap();
    assert_serves(&data, &account).await;
}

#[tokio::test]
async fn a_damaged_folder_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let account = filled(&data).await;
    let is_journal = |path: &PathBuf| path.extension().is_some_and(|it| it == "jnl");
    let entries = fs::read_dir(data.join("history/fjall")).unwrap();
    let journal = entries.map(|entry| entry.unwrap().path()).find(is_journal).unwrap();
    let directory = data.join("directory.sqlite");
    let (sound_journal, sound_directory) =
        (fs::read(&journal).unwrap(), fs::read(&directory).unwrap());

    // One bit of a message is flipped.
    let mut damaged = sound_journal.clone();
    let words = damaged.windows(CONTENT.len()).position(|it| it == CONTENT.as_bytes()).unwrap();
    damaged[words + 1] ^= 1;
    fs::write(&journal, damaged).unwrap();
    assert_refuses(&data, "is damaged").await;
    let (sound, report) = check(&data).await;
    assert!(!sound && report.contains("wrong: history: ") && report.contains(".jnl at byte"));
    // What is left is kept, and the damaged files are too.
    let (kept, copy) = (folder.path().join("kept"), folder.path().join("copy"));
    let copied = std::process::Command::new("cp").arg("-r").args([&data, &copy]).status().unwrap();
    assert!(copied.success());
    let mut repair = Command::new(env!("CARGO_BIN_EXE_pabal"));
    repair.arg("repair").arg("--data").arg(&copy).arg("--keep").arg(&kept);
    captured(&mut repair);
    let (code, out, err) = end(repair.spawn().unwrap()).await;
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("2 messages are kept, 1 acknowledged messages are gone"), "{out}");
    let name = journal.file_name().unwrap();
    let evidence = fs::read(kept.join("history/fjall").join(name)).unwrap();
    assert!(evidence == fs::read(&journal).unwrap());
    let (child, url) = start(&copy).await;
    let ann = Client { token: account.1.clone(), ..Client::new(url) };
    assert_eq!(ann.sent(&account.0).await, ["b", "c"]);
    stop(child).await;

    // The beginning of another batch, as a crash leaves it: no send in it was acknowledged.
    let mut torn = sound_journal.clone();
    let ends = torn.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    torn.truncate(ends);
    torn.extend([1, 1, 0, 0, 0]);
    fs::write(&journal, torn).unwrap();
    let (sound, report) = check(&data).await;
    assert!(sound && report.contains("in the middle of a write"), "{report}");
    assert_serves(&data, &account).await;

    // The file is no longer a database.
    let mut damaged = sound_directory.clone();
    damaged[..16].fill(b'?');
    fs::write(&directory, damaged).unwrap();
    assert_refuses(&data, "directory.sqlite is damaged").await;
    let (sound, report) = check(&data).await;
    assert!(!sound && report.contains(&format!("{} is damaged", directory.display())), "{report}");
    fs::write(&directory, sound_directory).unwrap();
    assert_serves(&data, &account).await;
}
