//! Data folders that cannot be used, or no longer: on a disk that is full or read-only, damaged, with
//! parts gone. The program says what it is about in one line, and nothing that it acknowledged is lost.
//!
//! The disks are small ones that a test mounts in a namespace of its own, which ends with it. Where
//! the machine does not allow that, such a test says that it was left out, unless
//! `PABAL_LEAVE_NOTHING_OUT` is set, as it is in CI.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{end, heard, pabal, ready, signal};

/// Says within a namespace that it is one.
const WITHIN: &str = "PABAL_TEST_NAMESPACE";
const LISTEN: [&str; 3] = ["--listen", "127.0.0.1:0", "--no-rate-limits"];
const WORDS: &str = "words that are easy to find again in a file";

/// Whether this is a namespace where disks can be mounted. If it is not, runs `test` in one.
fn may_mount(test: &str) -> bool {
    if std::env::var_os(WITHIN).is_some() {
        return true;
    }
    // What root may, others may as root of a namespace of users, on most machines.
    let ways = [&["--mount"][..], &["--mount", "--user", "--map-root-user"]];
    let unshare = |way: &[&str]| {
        let mut command = std::process::Command::new("unshare");
        command.args(way).args(["--propagation", "private", "--"]);
        command
    };
    let possible = ways.into_iter().find(|way| {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = unshare(way);
        mount.args(["mount", "-t", "tmpfs", "none"]).arg(folder.path());
        mount.output().is_ok_and(|output| output.status.success())
    });
    let Some(way) = possible else {
        pabal_servers::leave_out("this machine lets nobody mount a disk in a namespace of its own");
        return false;
    };
    let mut again = unshare(way);
    again.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let output = again.env(WITHIN, "1").output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
    false
}

/// A disk of its own.
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

    /// Leaves no room.
    fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        let full = (0..100_000).find_map(|_| filler.write_all(&[1; 4_096]).err());
        assert_eq!(full.unwrap().kind(), ErrorKind::StorageFull);
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

/// Somebody who asks the program something.
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

    /// Status and body of the answer; nothing if the connection ended before it.
    async fn ask(&self, method: Method, path: &str, body: Value) -> Option<(StatusCode, Value)> {
        let request = self.http.request(method, format!("{}{path}", self.url)).json(&body);
        let answer = request.bearer_auth(&self.token).send().await.ok()?;
        Some((answer.status(), answer.json().await.ok()?))
    }

    /// What is answered to what must work.
    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, json!({})).await.unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn sign_up(&self, name: &str) -> (StatusCode, Value) {
        let body = json!({"username": name, "password": "correct horse"});
        self.ask(Method::POST, "/v1/users", body).await.unwrap()
    }

    /// Signs up and makes a group of one; the path of its messages.
    async fn settle(&mut self) -> String {
        let (status, ann) = self.sign_up("ann").await;
        assert_eq!(status, 201, "{ann}");
        self.token = ann["token"].as_str().unwrap().to_owned();
        let group = json!({"name": "notes", "members": []});
        let (status, group) = self.ask(Method::POST, "/v1/channels", group).await.unwrap();
        assert_eq!(status, 201, "{group}");
        format!("/v1/channels/{}/messages", group["channel"]["channel_id"].as_str().unwrap())
    }

    async fn say(&self, messages: &str, name: &str) -> Option<(StatusCode, Value)> {
        let body = json!({"content": WORDS.repeat(50), "client_message_id": name});
        self.ask(Method::POST, messages, body).await
    }

    /// The names of all messages of the channel, in order.
    async fn said(&self, messages: &str) -> Vec<String> {
        let mut said = Vec::new();
        let mut after = "0".to_owned();
        loop {
            let page = self.get(&format!("{messages}?limit=200&after={after}")).await;
            for message in page["messages"].as_array().unwrap() {
                said.push(message["client_message_id"].as_str().unwrap().to_owned());
                message["message_id"].as_str().unwrap().clone_into(&mut after);
            }
            if page["has_more"] == false {
                return said;
            }
        }
    }
}

async fn start(data: &Path) -> (Child, String) {
    let mut command = pabal(data, &LISTEN);
    // Longer than anybody here waits: senders of whom nothing becomes are told so at once.
    command.env("PABAL_LIMITS_CONFIRM_WITHIN_MS", "60000");
    ready(&mut command).await
}

async fn stop(child: Child) {
    signal(&child, "-TERM");
    let (code, _, err) = end(child).await;
    assert_eq!(code, Some(0), "{err}");
}

/// A folder in which a few words were said, and how the speaker is known.
async fn spoken(data: &Path) -> (String, String) {
    let (child, url) = start(data).await;
    let mut ann = Client::new(url);
    let messages = ann.settle().await;
    for name in ["a", "b", "c"] {
        assert_eq!(ann.say(&messages, name).await.unwrap().0, 201);
    }
    stop(child).await;
    (messages, ann.token)
}

/// That the folder serves, and holds what was said.
async fn serves(data: &Path, (messages, token): &(String, String)) {
    let (child, url) = start(data).await;
    let ann = Client { token: token.clone(), ..Client::new(url) };
    assert_eq!(ann.said(messages).await, ["a", "b", "c"]);
    stop(child).await;
}

/// How `pabal check` ends on the folder, and what it says.
async fn check(data: &Path) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pabal"));
    command.arg("check").arg("--data").arg(data);
    heard(&mut command);
    let (code, out, err) = end(command.spawn().unwrap()).await;
    (code == Some(0), out + &err)
}

/// That the program does not start on the folder, and says so in one line that names it and why.
async fn refuses(data: &Path, why: &str) {
    let (code, out, err) = end(pabal(data, &LISTEN).spawn().unwrap()).await;
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    // Before it, the store may have logged what it met.
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
    let messages = ann.settle().await;
    let mut acknowledged = vec!["first".to_owned()];
    assert_eq!(ann.say(&messages, "first").await.unwrap().0, 201);

    // The directory: whoever wants to change something may come back, and the others go on.
    disk.fill();
    for name in ["bob", "cho"] {
        let (status, problem) = ann.sign_up(name).await;
        assert_eq!((status.as_u16(), &problem["code"]), (503, &json!("unavailable")), "{problem}");
        assert!(problem["retry_after_ms"].as_u64() > Some(0), "{problem}");
    }
    assert_eq!(ann.get("/v1/me").await["user"]["username"], "ann");
    disk.make_room();
    for name in ["bob", "cho"] {
        let (status, body) = ann.sign_up(name).await;
        assert_eq!(status, 201, "there is room: {body}");
    }

    // History: what may or may not be stored is not acknowledged, and the program ends.
    disk.fill();
    let refused = loop {
        let name = format!("m{}", acknowledged.len());
        match ann.say(&messages, &name).await {
            Some((StatusCode::CREATED, _)) => acknowledged.push(name),
            Some((status, problem)) => {
                assert_eq!(status, 503, "{problem}");
                assert_eq!(problem["code"], "not_confirmed", "{problem}");
                break name;
            }
            None => break name,
        }
        assert!(acknowledged.len() < 10_000, "there is no room for so many");
    };
    let (code, _, err) = end(child).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("No space left on device"), "{err}");
    let last = err.lines().last().unwrap();
    assert!(last.starts_with("pabal: history could not make a write durable"), "{err}");

    disk.make_room();
    let (sound, report) = check(&disk.data()).await;
    assert!(sound, "{report}");
    let (child, url) = start(&disk.data()).await;
    let ann = Client { token: ann.token, ..Client::new(url) };
    let stored = ann.said(&messages).await;
    assert!(
        stored == acknowledged
            || stored[..] == [&acknowledged[..], std::slice::from_ref(&refused)].concat()
    );
    // Repeated, it stands there once.
    let repeated = ann.say(&messages, &refused).await.unwrap();
    assert!(repeated.0.is_success(), "{repeated:?}");
    acknowledged.push(refused);
    assert_eq!(ann.said(&messages).await, acknowledged);
    stop(child).await;
}

#[tokio::test]
async fn a_disk_without_room_or_without_writing_is_said_at_the_start() {
    if !may_mount("disk::a_disk_without_room_or_without_writing_is_said_at_the_start") {
        return;
    }
    let disk = Disk::mount("8m");
    let data = disk.data();
    disk.fill();
    refuses(&data, "No space left on device").await;
    disk.make_room();
    disk.mounted(&["-o", "remount,ro"]);
    refuses(&data, "Read-only file system").await;
    disk.mounted(&["-o", "remount,rw"]);
    // What the starts above have left behind is no hindrance.
    let spoken = spoken(&data).await;
    disk.fill();
    refuses(&data, "directory.sqlite cannot be opened: No space left on device").await;
    disk.make_room();
    disk.mounted(&["-o", "remount,ro"]);
    refuses(&data, "Read-only file system").await;
    let (sound, report) = check(&data).await;
    assert!(sound && report.contains("3 messages"), "to look needs no writing: {report}");
    disk.mounted(&["-o", "remount,rw"]);
    serves(&data, &spoken).await;
}

#[tokio::test]
async fn half_a_folder_is_not_taken_for_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (data, aside) = (folder.path().join("data"), folder.path().join("aside"));
    let spoken = spoken(&data).await;
    for (part, named) in [
        ("directory.sqlite", "directory.sqlite is gone"),
        ("history", "history/pabal-store is gone"),
        ("history/fjall/version", "fjall/version is gone"),
    ] {
        let part = data.join(part);
        fs::rename(&part, &aside).unwrap();
        refuses(&data, named).await;
        let (sound, report) = check(&data).await;
        assert!(
            !sound && report.contains(part.to_str().unwrap()) || report.contains(named),
            "{report}"
        );
        fs::rename(&aside, &part).unwrap();
    }
    let directory = fs::read(data.join("directory.sqlite")).unwrap();
    fs::write(data.join("directory.sqlite"), "").unwrap();
    refuses(&data, "directory.sqlite is gone").await;
    assert!(!check(&data).await.0);
    fs::write(data.join("directory.sqlite"), directory).unwrap();
    serves(&data, &spoken).await;
}

#[tokio::test]
async fn a_damaged_folder_is_refused_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let spoken = spoken(&data).await;
    let is_journal = |path: &PathBuf| path.extension().is_some_and(|it| it == "jnl");
    let entries = fs::read_dir(data.join("history/fjall")).unwrap();
    let journal = entries.map(|entry| entry.unwrap().path()).find(is_journal).unwrap();
    let directory = data.join("directory.sqlite");
    let (sound_journal, sound_directory) =
        (fs::read(&journal).unwrap(), fs::read(&directory).unwrap());

    // A bit in what was said.
    let mut damaged = sound_journal.clone();
    let words = damaged.windows(WORDS.len()).position(|it| it == WORDS.as_bytes()).unwrap();
    damaged[words + 1] ^= 1;
    fs::write(&journal, damaged).unwrap();
    refuses(&data, "is damaged").await;
    let (sound, report) = check(&data).await;
    assert!(!sound && report.contains("wrong: history: it does not open"), "{report}");

    // The beginning of another batch, as a crash leaves it: nobody was answered about it.
    let mut torn = sound_journal.clone();
    let ends = torn.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    torn.truncate(ends);
    torn.extend([1, 1, 0, 0, 0]);
    fs::write(&journal, torn).unwrap();
    let (sound, report) = check(&data).await;
    assert!(sound && report.contains("in the middle of a batch"), "{report}");
    serves(&data, &spoken).await;

    // No database any more.
    let mut damaged = sound_directory.clone();
    damaged[..16].fill(b'?');
    fs::write(&directory, damaged).unwrap();
    refuses(&data, "directory.sqlite is damaged").await;
    let (sound, report) = check(&data).await;
    assert!(!sound && report.contains(&format!("{} is damaged", directory.display())), "{report}");
    fs::write(&directory, sound_directory).unwrap();
    serves(&data, &spoken).await;
}
