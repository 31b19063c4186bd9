//! The check of a data folder: a sound folder has no findings and is not changed; each kind of
//! damage is reported.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pabal_core::model::{ChannelId, Message, MessageId, Partition, Timestamp, UserId};
use pabal_core::ports::{HistoryStore, Notification, PushNotifier};
use pabal_storage::embedded::{
    EmbeddedConfig, EmbeddedStore, Finding, OpenError, StoreReport, verify,
};
use tempfile::TempDir;

const PARTITIONS: u16 = 4;
const WORDS: &str = "many words many words many words many words many words";

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn config() -> EmbeddedConfig {
    EmbeddedConfig {
        partitions: PARTITIONS,
        message_memtable_bytes: 16 << 10,
        ..EmbeddedConfig::default()
    }
}

fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, &config()).expect("the store opens")
}

fn message(channel: u64, number: u64) -> Message {
    let channel_id = ChannelId::new(channel);
    let moment = Timestamp::from_millis(1_790_000_000_000 + number);
    Message {
        message_id: MessageId::first_at(moment, Partition::of(channel_id, PARTITIONS)),
        channel_id,
        message_from: UserId::new(1),
        message_to: None,
        content: WORDS.into(),
        client_message_id: Some(format!("send {number}").into()),
    }
}

async fn append(store: &EmbeddedStore, messages: Vec<Message>) {
    let partition = messages[0].message_id.partition();
    store.history.append(partition, messages).await.expect("an append");
}

/// A closed folder with five channels of 200 messages, in tables and in the journal, and a push
/// queue.
async fn filled() -> TempDir {
    let folder = folder();
    let store = open(folder.path());
    for round in 0..20 {
        for channel in 1..=5 {
            let numbers = round * 10..round * 10 + 10;
            append(&store, numbers.map(|number| message(channel, number)).collect()).await;
        }
    }
    let notification = |number| Notification {
        user_id: UserId::new(2),
        message: message(1, number),
        queued_at: Timestamp::from_millis(1_790_000_000_000),
    };
    store.push.enqueue((0..3).map(notification).collect()).await.expect("a queue");
    drop(store);
    // Reopening truncates the journal to its content.
    drop(open(folder.path()));
    folder
}

fn checked(folder: &Path) -> StoreReport {
    verify(folder, self::folder().path()).expect("a check")
}

/// The errors and the notes found in `folder`.
fn found(folder: &Path) -> (Vec<String>, Vec<String>) {
    let (mut wrong, mut notes) = (Vec::new(), Vec::new());
    for finding in checked(folder).findings.named() {
        match finding {
            Finding::Wrong(what) => wrong.push(what.clone()),
            Finding::Note(what) => notes.push(what.clone()),
            other => panic!("{other}"),
        }
    }
    (wrong, notes)
}

fn contents(path: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(path).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            into.insert(path.clone(), Vec::new());
            contents(&path, into);
        } else {
            into.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
}

fn journal(folder: &Path) -> PathBuf {
    let database = folder.join("fjall");
    let entries = fs::read_dir(database).expect("a folder").map(|entry| entry.expect("one").path());
    entries.filter(|path| path.extension().is_some_and(|it| it == "jnl")).max().expect("a journal")
}

#[tokio::test]
async fn a_sound_folder_has_no_findings_and_is_not_changed() {
    let folder = filled().await;
    let [mut before, mut after] = [BTreeMap::new(), BTreeMap::new()];
    contents(folder.path(), &mut before);
    let report = checked(folder.path());
    contents(folder.path(), &mut after);
    assert!(before == after, "nothing is changed, created or removed");
    assert_eq!(report.findings.named(), []);
    assert_eq!((report.partitions, report.messages, report.channels), (PARTITIONS, 1_000, 5));
    assert_eq!((report.sends, report.notifications), (1_000, 3));
    let again = open(folder.path());
    append(&again, vec![message(1, 10_000)]).await;
}

#[tokio::test]
async fn a_folder_in_use_cannot_be_checked() {
    let folder = filled().await;
    let store = open(folder.path());
    let refused = verify(folder.path(), self::folder().path());
    assert!(matches!(refused, Err(OpenError::InUse(_))), "{refused:?}");
    drop(store);
    assert_eq!(found(folder.path()), (vec![], vec![]));
}

#[tokio::test]
async fn a_torn_journal_is_a_note_and_bit_rot_is_an_error() {
    let folder = filled().await;
    let store = open(folder.path());
    append(&store, vec![message(1, 5_000)]).await;
    append(&store, vec![message(1, 5_001)]).await;
    drop(store);
    let path = journal(folder.path());
    let sound = fs::read(&path).expect("a journal");
    let end = sound.iter().rposition(|&byte| byte != 0).expect("something") + 1;

    // As after a crash: the last batch is incomplete.
    let mut torn = sound.clone();
    torn.truncate(end - 30);
    fs::write(&path, &torn).expect("written");
    let (wrong, notes) = found(folder.path());
    assert_eq!(wrong, [] as [String; 0]);
    assert!(notes[0].contains("in the middle of a batch"), "{notes:?}");

    // The start tag of the batch before the last: fjall would open the store without both batches.
    let is_start = |at: &usize| sound[*at] == 1 && sound[..*at].ends_with(b"FJL\x03");
    let starts: Vec<_> = (4..end).filter(is_start).collect();
    let start = starts[starts.len() - 2];
    let mut rotten = sound.clone();
    rotten[start] ^= 0x40;
    fs::write(&path, &rotten).expect("written");
    let (wrong, _) = found(folder.path());
    let name = path.file_name().expect("a name").display().to_string();
    assert!(wrong[0].contains(&format!("{name} is invalid after byte {start}")), "{wrong:?}");

    // A byte of a text: fjall refuses to open.
    let mut rotten = sound.clone();
    let words = sound[start..].windows(10).position(|bytes| bytes == &WORDS.as_bytes()[..10]);
    rotten[start + words.expect("words") + 3] ^= 1;
    fs::write(&path, &rotten).expect("written");
    let (wrong, notes) = found(folder.path());
    assert!(wrong[0].contains("does not open"), "{wrong:?}");
    assert!(notes[0].contains("checksum"), "{notes:?}");
}

#[tokio::test]
async fn a_damaged_table_reports_the_unreadable_messages() {
    let folder = filled().await;
    let tables = fs::read_dir(folder.path().join("fjall/keyspaces/1/tables")).expect("tables");
    let table = tables.map(|entry| entry.expect("one").path()).min().expect("a table");
    let mut bytes = fs::read(&table).expect("a table");
    let words = bytes.windows(WORDS.len()).position(|it| it == WORDS.as_bytes()).expect("words");
    bytes[words + 3] ^= 1;
    fs::write(&table, bytes).expect("written");
    let (wrong, _) = found(folder.path());
    assert!(wrong[0].starts_with("messages ") && wrong[0].contains("cannot be read"), "{wrong:?}");
}

#[tokio::test]
async fn missing_files_and_a_wrong_number_of_partitions_are_reported() {
    let folder = filled().await;
    let marker = folder.path().join("pabal-store");
    fs::write(&marker, "pabal-store 1\npartitions 8\n").expect("written");
    let (wrong, _) = found(folder.path());
    assert!(wrong.iter().any(|what| what.contains("has an id of partition")), "{wrong:?}");
    fs::remove_file(&marker).expect("removed");
    assert_eq!(found(folder.path()).0, ["history: there is no pabal-store in it"]);
    let folder = filled().await;
    fs::remove_file(folder.path().join("fjall/version")).expect("removed");
    assert_eq!(found(folder.path()).0, ["history: fjall/version is gone"]);
}

/// Rows that no release writes, inserted through fjall.
#[tokio::test]
async fn contradicting_rows_are_reported() {
    let folder = filled().await;
    let fjall = fjall::Database::builder(folder.path().join("fjall")).open().expect("opens");
    let keyspace = |name| fjall.keyspace(name, Default::default).expect("a keyspace");
    let (messages, positions) = (keyspace("messages"), keyspace("positions"));
    let (sent, push) = (keyspace("sent"), keyspace("push"));
    let key = |message: &Message| {
        let (channel, id) = (message.channel_id.get(), message.message_id.get());
        [channel.to_be_bytes(), id.to_be_bytes()].concat()
    };
    messages.insert(key(&message(1, 5)), [9, 9]).expect("written");
    messages
        .insert(key(&message(2, 90_000)), [1, 0, 0, 0, 0, 0, 0, 0, 0, 7, b'x'])
        .expect("written");
    positions.insert(7u16.to_be_bytes(), 1u64.to_be_bytes()).expect("written");
    let first = sent.iter().next().expect("a send").key().expect("a key");
    sent.remove(first).expect("removed");
    push.insert(0u64.to_be_bytes(), 1u64.to_be_bytes()).expect("written");
    push.insert(2u64.to_be_bytes(), [7]).expect("written");
    fjall.persist(fjall::PersistMode::SyncAll).expect("durable");
    drop((messages, positions, sent, push, fjall));
    let (wrong, _) = found(folder.path());
    for expected in [
        "of channel 1: its version is 9",
        "of channel 2 is above the stored position",
        "is of partition 7 of 4",
        "a repeat of its send is not known",
        "its version is 7",
        "is above 1, the last position",
    ] {
        assert!(wrong.iter().any(|what| what.contains(expected)), "{expected}: {wrong:#?}");
    }
}
