//! The check of a data folder: a sound folder has no findings and is not changed; each kind of
//! damage is reported.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pabal_core::model::{ChannelId, Message, MessageId, Partition, Timestamp, UserId};
use pabal_core::ports::{HistoryStore, Notification, PushNotifier};
use pabal_storage::embedded::{
    EmbeddedConfig, EmbeddedStore, Finding, OpenError, StoreReport, repair, verify,
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

/// A closed folder with its journal, and where the last two batches of it begin and end.
async fn with_two_more_batches() -> (TempDir, PathBuf, [usize; 3]) {
    let folder = filled().await;
    let store = open(folder.path());
    append(&store, vec![message(1, 5_000)]).await;
    append(&store, vec![message(1, 5_001)]).await;
    drop(store);
    let path = journal(folder.path());
    let sound = fs::read(&path).expect("a journal");
    let end = sound.iter().rposition(|&byte| byte != 0).expect("something") + 1;
    let is_start = |at: &usize| sound[*at] == 1 && sound[..*at].ends_with(b"FJL\x03");
    let starts: Vec<_> = (4..end).filter(is_start).collect();
    let [.., first, second] = starts[..] else { panic!("{starts:?}") };
    (folder, path, [first, second, end])
}

/// The folder is refused with this text, also by a check, and its journal stays as it is.
fn assert_refused(folder: &Path, journal: &Path, expected: &str) {
    let before = fs::read(journal).expect("a journal");
    let Err(error) = EmbeddedStore::open(folder, &config()) else { panic!("opened: {expected}") };
    let error = error.to_string();
    let name = journal.file_name().expect("a name").display().to_string();
    for part in [expected, &name, "pabal repair --keep DIR"] {
        assert!(error.contains(part), "{error}, expected {part}");
    }
    assert!(fs::read(journal).expect("a journal") == before, "the evidence stays");
    let (wrong, _) = found(folder);
    assert!(wrong[0].contains(expected), "{wrong:?}, expected {expected}");
}

#[tokio::test]
async fn a_flipped_bit_of_any_byte_of_a_batch_is_refused() {
    let (folder, path, [first, second, end]) = with_two_more_batches().await;
    let sound = fs::read(&path).expect("a journal");
    // Every field of the batch before the last, and some bytes of its rows.
    let mut places: Vec<_> = (first..first + 40).collect();
    places.extend((first + 40..second - 13).step_by(23));
    places.extend(second - 13..second);
    for at in places {
        let mut rotten = sound.clone();
        rotten[at] ^= 1 << (at % 8);
        fs::write(&path, &rotten).expect("written");
        // A low bit of the sequence number may change nothing, or contradict the batch that follows.
        let sequence = (first + 5..first + 7).contains(&at);
        match EmbeddedStore::open(folder.path(), &config()) {
            Ok(_) => assert!(sequence, "byte {at} of {first}"),
            Err(_) if sequence => assert_refused(folder.path(), &path, "at byte"),
            Err(_) => assert_refused(folder.path(), &path, &format!("at byte {first}")),
        }
    }
    // The last batch: nothing follows it but the mark.
    for at in (second..end).step_by(7) {
        let mut rotten = sound.clone();
        rotten[at] ^= 0x80;
        fs::write(&path, &rotten).expect("written");
        let expected = "1 acknowledged batches that were written after it are missing";
        if EmbeddedStore::open(folder.path(), &config()).is_err() {
            assert_refused(folder.path(), &path, &format!("at byte {second}: {expected}"));
        } else {
            assert!((second + 5..second + 7).contains(&at), "byte {at} of {second}");
        }
    }
}

#[tokio::test]
async fn a_journal_that_was_cut_is_refused() {
    let (folder, path, [first, second, end]) = with_two_more_batches().await;
    let sound = fs::read(&path).expect("a journal");
    for (length, at) in [(end - 1, second), (end - 100, second), (second, second), (first, first)] {
        fs::write(&path, &sound[..length]).expect("written");
        let lost = if at == first { 2 } else { 1 };
        let expected = format!("at byte {at}: {lost} acknowledged batches");
        assert_refused(folder.path(), &path, &expected);
    }
    fs::write(&path, &sound[..0]).expect("written");
    let Err(error) = EmbeddedStore::open(folder.path(), &config()) else { panic!("opened") };
    assert!(error.to_string().contains("was acknowledged"), "{error}");
    assert!(found(folder.path()).0[0].contains("was acknowledged"));
    fs::write(&path, &sound).expect("written");
    assert_eq!(found(folder.path()), (vec![], vec![]));
}

#[tokio::test]
async fn a_write_torn_after_the_mark_is_kept_aside_and_the_store_goes_on() {
    let (folder, path, [first, second, end]) = with_two_more_batches().await;
    let sound = fs::read(&path).expect("a journal");
    // What a crash leaves: the start of a write, or all of it with a part missing.
    let start_only = sound[first..first + 60].to_vec();
    let mut with_a_hole = sound[second..end].to_vec();
    with_a_hole[40..80].fill(0);
    for torn in [start_only, with_a_hole, vec![0xff; 9]] {
        fs::write(&path, [&sound[..end], &torn].concat()).expect("written");
        let (wrong, notes) = found(folder.path());
        assert_eq!(wrong, [] as [String; 0]);
        assert!(
            notes[0].contains(&format!("in the middle of a write, at byte {end}")),
            "{notes:?}"
        );
        drop(open(folder.path()));
        assert_eq!(fs::read(&path).expect("a journal").len(), end);
        let name = format!("torn/{}-{end}", path.file_name().expect("a name").display());
        assert_eq!(fs::read(folder.path().join(name)).expect("kept aside"), torn);
    }
    let store = open(folder.path());
    append(&store, vec![message(1, 5_002)]).await;
    drop(store);
    assert_eq!(checked(folder.path()).messages, 1_003);
}

#[tokio::test]
async fn a_mark_that_is_gone_or_unreadable_is_refused() {
    let folder = filled().await;
    let mark = folder.path().join("mark");
    let sound = fs::read(&mark).expect("a mark");
    fs::write(&mark, vec![0; sound.len()]).expect("written");
    let Err(error) = EmbeddedStore::open(folder.path(), &config()) else { panic!("opened") };
    assert!(error.to_string().contains("mark is damaged"), "{error}");
    fs::remove_file(&mark).expect("removed");
    let Err(error) = EmbeddedStore::open(folder.path(), &config()) else { panic!("opened") };
    assert!(error.to_string().contains("mark is gone"), "{error}");
    assert!(found(folder.path()).0[0].contains("mark is gone"));
    fs::write(&mark, sound).expect("written");
    assert_eq!(found(folder.path()), (vec![], vec![]));
}

/// A folder as releases wrote it that had neither chain nor mark: one message, and its position.
fn old_folder() -> TempDir {
    let folder = folder();
    let fjall = fjall::Database::builder(folder.path().join("fjall")).open().expect("opens");
    let keyspaces = ["messages", "positions", "sent", "push"]
        .map(|name| fjall.keyspace(name, Default::default).expect("a keyspace"));
    let message = Message { client_message_id: None, ..message(1, 5) };
    let id = message.message_id.get().to_be_bytes();
    let mut batch = fjall.batch();
    let value = [&[1, 0, 0, 0, 0, 0, 0, 0, 0, 7], "hello".as_bytes()].concat();
    batch.insert(&keyspaces[0], [1u64.to_be_bytes(), id].concat(), value);
    let partition = message.message_id.partition().get().to_be_bytes();
    batch.insert(&keyspaces[1], partition, id);
    batch.commit().expect("written");
    fjall.persist(fjall::PersistMode::SyncAll).expect("durable");
    drop((keyspaces, fjall));
    fs::write(folder.path().join("pabal-store"), "pabal-store 1\npartitions 4\n").expect("written");
    folder
}

#[tokio::test]
async fn a_folder_of_an_older_release_is_opened_once_and_gets_a_chain() {
    let folder = old_folder();
    assert_eq!(checked(folder.path()).messages, 1);
    let store = open(folder.path());
    append(&store, vec![message(1, 6)]).await;
    drop(store);
    let marker = fs::read_to_string(folder.path().join("pabal-store")).expect("a marker");
    assert!(marker.starts_with("pabal-store 2\npartitions 4\nsecret "), "{marker}");
    assert_eq!(found(folder.path()), (vec![], vec![]));
    assert_eq!(checked(folder.path()).messages, 2);
    // From now on the end of the journal is known.
    let path = journal(folder.path());
    let bytes = fs::read(&path).expect("a journal");
    let end = bytes.iter().rposition(|&byte| byte != 0).expect("something") + 1;
    fs::write(&path, &bytes[..end - 1]).expect("written");
    assert_refused(folder.path(), &path, " acknowledged");
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
    let recorded = fs::read_to_string(&marker).expect("a marker");
    fs::write(&marker, recorded.replace("partitions 4", "partitions 8")).expect("written");
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
    // In tables only: a journal has nothing but batches of the chain.
    for keyspace in [&messages, &positions, &sent, &push] {
        keyspace.rotate_memtable_and_wait().expect("a flush");
    }
    drop((messages, positions, sent, push, fjall));
    for entry in fs::read_dir(folder.path().join("fjall")).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|it| it == "jnl") {
            fs::write(path, "").expect("emptied");
        }
    }
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

#[tokio::test]
async fn ids_from_the_future_are_named() {
    let folder = filled().await;
    let store = open(folder.path());
    let years = 50 * 366 * 24 * 60 * 60 * 1_000;
    append(&store, vec![message(1, years)]).await;
    drop(store);
    let (wrong, notes) = found(folder.path());
    assert_eq!(wrong, [] as [String; 0]);
    assert!(notes[0].contains("of channel 1 is of 207"), "{notes:?}");
    assert!(notes[1].contains("1 messages have ids from the future"), "{notes:?}");
}

#[tokio::test]
async fn a_repair_keeps_every_whole_batch_and_says_what_is_gone() {
    let (folder, path, [first, second, end]) = with_two_more_batches().await;
    let sound = fs::read(&path).expect("a journal");
    let mut rotten = sound.clone();
    rotten[second - 20] ^= 1;
    fs::write(&path, &rotten[..end]).expect("written");
    assert!(EmbeddedStore::open(folder.path(), &config()).is_err());
    let report = repair(folder.path(), PARTITIONS).expect("is repaired");
    assert_eq!((report.messages, report.lost_messages), (1_001, 1));
    let said: Vec<_> = report.findings.named().iter().map(ToString::to_string).collect();
    let said = said.join("\n");
    let gone = message(1, 5_000).message_id;
    for part in
        [&format!("at byte {first}"), "with 1 acknowledged", &format!("{gone} of channel 1")]
    {
        assert!(said.contains(part), "{said}, expected {part}");
    }
    let (wrong, _) = found(folder.path());
    assert!(wrong.is_empty(), "{wrong:?}");
    let store = open(folder.path());
    append(&store, vec![message(1, 6_000)]).await;
    drop(store);
    assert_eq!(checked(folder.path()).messages, 1_002);
}

#[tokio::test]
async fn a_repair_steps_over_the_unreadable_part_of_a_table() {
    let folder = filled().await;
    let tables = fs::read_dir(folder.path().join("fjall/keyspaces/1/tables")).expect("tables");
    let table = tables.map(|entry| entry.expect("one").path()).min().expect("a table");
    let mut bytes = fs::read(&table).expect("a table");
    let words = bytes.windows(WORDS.len()).position(|it| it == WORDS.as_bytes()).expect("words");
    bytes[words + 3] ^= 1;
    fs::write(&table, bytes).expect("written");
    let report = repair(folder.path(), PARTITIONS).expect("is repaired");
    assert!((500..1_000).contains(&report.messages), "{report:?}");
    let said = format!("{:?}", report.findings.named());
    assert!(said.contains("rows of messages after"), "{said}");
    let read = checked(folder.path()).messages;
    assert_eq!(read, report.messages);
}
