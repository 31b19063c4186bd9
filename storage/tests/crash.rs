//! Guarantees of an embedded history in failures: `kill -9` at any moment, a disk that refuses
//! writes, damaged files. The store that is killed runs in a child process: this test binary,
//! started again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, iter};

use pabal_core::model::{ChannelId, Message, MessageId, Partition, Timestamp, UserId};
use pabal_core::ports::{
    Appended, HistoryError, HistoryStore, Notification, PageFrom, PushError, PushNotifier,
};
use pabal_storage::embedded::{EmbeddedConfig, EmbeddedStore};

/// The folder of a child; without it the tests for children do nothing.
const FOLDER: &str = "PABAL_CRASH_TEST_FOLDER";

const OWNERS: u16 = 4;

/// Tables are written and merged continuously, so that a kill can interrupt it.
fn config() -> EmbeddedConfig {
    EmbeddedConfig { message_memtable_bytes: 64 << 10, ..EmbeddedConfig::default() }
}

fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, &config()).expect("the store opens")
}

fn partition(number: u16) -> Partition {
    Partition::new(number).expect("a partition")
}

/// Each owner has one channel with the number of its partition.
fn channel(number: u16) -> ChannelId {
    ChannelId::new(u64::from(number))
}

fn message(number: u16, message_id: MessageId) -> Message {
    Message {
        message_id,
        channel_id: channel(number),
        message_from: UserId::new(1),
        message_to: None,
        content: format!("{message_id} and more words, so that tables fill up").into(),
        client_message_id: Some(format!("send {message_id}").into()),
    }
}

fn start_of(number: u16) -> MessageId {
    MessageId::first_at(Timestamp::from_millis(1_790_000_000_000), partition(number))
}

async fn channel_of(store: &EmbeddedStore, number: u16) -> Vec<Message> {
    let everything = PageFrom::After(MessageId::new(0));
    store
        .history
        .page(channel(number), everything, usize::MAX.into())
        .await
        .expect("a page")
        .messages
}

/// Starts `test` of this binary as a child that uses `folder`.
fn child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(env::current_exe().expect("this binary"));
    command.args(["--exact", test, "--nocapture"]).env(FOLDER, folder);
    command
}

fn folder_of_child() -> Option<PathBuf> {
    env::var_os(FOLDER).map(PathBuf::from)
}

/// The child: four owners append and print acknowledged ids; readers print the ids they have seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_appends_until_killed() {
    let Some(folder) = folder_of_child() else {
        return;
    };
    let store = open(&folder);
    let mut tasks = Vec::new();
    for number in 0..OWNERS {
        let history = store.history.clone();
        tasks.push(tokio::spawn(async move {
            let position = history.stored_position(partition(number)).await.expect("a position");
            let mut next = position.max(start_of(number)).successor();
            loop {
                let size = 1 + next.get() as usize % 5;
                let ids: Vec<_> =
                    iter::successors(Some(next), |id| Some(id.successor())).take(size).collect();
                next = ids[size - 1].successor();
                let batch: Vec<_> = ids.iter().map(|id| message(number, *id)).collect();
                let outcomes = history.append(partition(number), batch).await.expect("an append");
                assert!(outcomes.iter().all(|one| *one == Appended::Stored));
                for id in ids {
                    println!("acknowledged {number} {id}");
                }
            }
        }));
        let history = store.history.clone();
        tasks.push(tokio::spawn(async move {
            loop {
                let head = history.heads(&[channel(number)]).await.expect("heads")[0];
                if head != MessageId::new(0) {
                    println!("seen {number} {head}");
                }
                tokio::task::yield_now().await;
            }
        }));
    }
    // A task ends only by a panic; then the child must end too.
    let (ended, ..) = futures::future::select_all(tasks).await;
    panic!("{:?}", ended.err());
}

/// SplitMix64: the kills happen at varying moments, which are the same in every run.
fn seeded(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 27)
}

/// Invariants I1 and I2 on disk: acknowledged and seen messages are stored, once and in order.
#[tokio::test]
async fn kill_9_loses_nothing_acknowledged_or_seen() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut reported: BTreeMap<u16, BTreeSet<MessageId>> = BTreeMap::new();
    let mut seed = 0x7061_6261_6c00_0002;
    for round in 0..8 {
        let mut running = child("child_appends_until_killed", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let kill_after = 1 + seeded(&mut seed) % 1_500;
        let output = BufReader::new(running.stdout.take().expect("a pipe"));
        let mut acknowledged = 0;
        // Includes lines written before the kill but read after it.
        for line in output.lines().map(|line| line.expect("a line")) {
            let words: Vec<_> = line.split(' ').collect();
            let [verb @ ("acknowledged" | "seen"), number, id] = words[..] else {
                continue;
            };
            let number = number.parse().expect("a partition");
            let Ok(id) = id.parse() else { panic!("{line}") };
            reported.entry(number).or_default().insert(id);
            acknowledged += u64::from(verb == "acknowledged");
            if acknowledged == kill_after {
                running.kill().expect("killed");
            }
        }
        running.wait().expect("the child has ended");
        assert!(acknowledged >= kill_after, "the child ended by itself in round {round}");
        let store = open(folder.path());
        for number in 0..OWNERS {
            let stored = channel_of(&store, number).await;
            let ids: Vec<_> = stored.iter().map(|message| message.message_id).collect();
            assert!(ids.is_sorted_by(|one, next| one < next), "round {round}");
            let stored_ids = ids.iter().copied().collect();
            let lost: Vec<_> =
                reported.entry(number).or_default().difference(&stored_ids).collect();
            assert!(lost.is_empty(), "round {round} lost {lost:?} of channel {number}");
            let position = store.history.stored_position(partition(number)).await;
            let last = ids.last().copied().unwrap_or_default();
            assert_eq!(position.expect("a position"), last, "messages and position are one step");
            for message in &stored {
                let key = message.send_key().expect("a named send");
                let first = store.history.find_sent(key).await.expect("a look");
                assert_eq!(first, Some(message.message_id), "message and send are one step");
            }
        }
    }
}

/// The child: appends until the disk refuses, and prints the results.
#[tokio::test]
async fn child_appends_until_the_disk_refuses() {
    let Some(folder) = folder_of_child() else {
        return;
    };
    let store = open(&folder);
    let owner = partition(0);
    let mut next = start_of(0).successor();
    let refused = loop {
        let one = Message { content: "x".repeat(4_000).into(), ..message(0, next) };
        match store.history.append(owner, vec![one]).await {
            Ok(_) => println!("acknowledged 0 {next}"),
            Err(error) => break error,
        }
        next = next.successor();
    };
    assert!(matches!(refused, HistoryError::Poisoned(_)), "{refused:?}");
    assert!(!refused.retryable());
    // Small enough to fit, but the store can no longer tell what is durable.
    let outcomes = [
        store.history.append(owner, vec![message(0, next)]).await.err(),
        store.history.append(owner, vec![]).await.err(),
        store.history.stored_position(owner).await.err(),
        store.history.page(channel(0), PageFrom::Newest, 1.into()).await.err(),
        store.history.get(channel(0), next).await.err(),
        store.history.heads(&[channel(0)]).await.err(),
        store.history.count_unread(channel(0), next, UserId::new(1), 1).await.err(),
        store.history.find_sent(message(0, next).send_key().expect("named")).await.err(),
    ];
    for outcome in outcomes {
        assert!(matches!(outcome, Some(HistoryError::Poisoned(_))), "{outcome:?}");
    }
    let notification = Notification {
        user_id: UserId::new(1),
        message: message(0, next),
        queued_at: Timestamp::default(),
    };
    let push = store.push.enqueue(vec![notification]).await;
    assert!(matches!(push, Err(PushError::Unavailable(_))), "{push:?}");
    println!("all is refused");
}

/// A limit on the file size makes the disk refuse in the middle of a journal.
#[cfg(unix)]
#[tokio::test]
async fn a_disk_that_refuses_poisons_the_store() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Created without the limit, because a new journal is longer than the limit allows. Reopening
    // truncates the journal to its content.
    drop(open(folder.path()));
    drop(open(folder.path()));
    let this = child("child_appends_until_the_disk_refuses", folder.path());
    let limited = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", limited]).arg(this.get_program()).args(this.get_args());
    let output = shell.env(FOLDER, folder.path()).output().expect("the child runs");
    let output_text = String::from_utf8(output.stdout).expect("text");
    assert!(output_text.contains("all is refused"), "{output_text}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let store = open(folder.path());
    let stored: BTreeSet<_> =
        channel_of(&store, 0).await.iter().map(|message| message.message_id.to_string()).collect();
    let acknowledged = output_text.lines().filter_map(|line| line.strip_prefix("acknowledged 0 "));
    assert!(acknowledged.clone().count() > 10, "{output_text}");
    for id in acknowledged {
        assert!(stored.contains(id), "{id} was acknowledged");
    }
}

/// The bytes that this process dirtied in the page cache. A page counts again only if it was
/// written to the disk in between. `None` if the kernel does not count.
#[cfg(target_os = "linux")]
fn dirtied() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

#[cfg(target_os = "linux")]
const PAGE: u64 = 4_096;
#[cfg(target_os = "linux")]
const COMMITS: u64 = 64;

/// The child: appends small messages one by one and prints the number of dirtied pages; before
/// that, the number for as many plain writes and syncs.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn child_appends_one_by_one() {
    use std::io::Write;

    let (Some(folder), Some(start)) = (folder_of_child(), dirtied()) else {
        return;
    };
    let mut file = std::fs::File::create(folder.with_extension("by-hand")).expect("a file");
    for _ in 0..COMMITS {
        file.write_all(b"few bytes").expect("written");
        file.sync_data().expect("synced");
    }
    let by_hand = dirtied().expect("counted") - start;
    let store = open(&folder);
    let start = dirtied().expect("counted");
    for id in iter::successors(Some(start_of(0)), |id| Some(id.successor())).take(COMMITS as usize)
    {
        store.history.append(partition(0), vec![message(0, id)]).await.expect("an append");
    }
    let appending = dirtied().expect("counted") - start;
    println!("pages {} {}", by_hand / PAGE, appending / PAGE);
}

/// Invariant I1 on power loss: each append is on the disk before it is acknowledged. A kill does
/// not test this, because written data survives the process.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn every_acknowledged_append_was_synced() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path().join("store");
    let output = child("child_appends_one_by_one", &folder).output().expect("the child runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output_text = String::from_utf8(output.stdout).expect("text");
    let pages = output_text.lines().find_map(|line| line.strip_prefix("pages "));
    let pages: Vec<u64> = pages
        .map(|pages| pages.split(' ').map(|count| count.parse().expect("a number")).collect())
        .unwrap_or_default();
    match pages[..] {
        [by_hand, appending] if by_hand >= COMMITS => {
            assert!(appending >= COMMITS, "{appending} pages for {COMMITS} appends");
        }
        // The disk is in memory, or the kernel does not count.
        _ => eprintln!("cannot tell what was synced: {output_text}"),
    }
}
