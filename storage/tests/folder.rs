//! The folder of an embedded store: exclusive use, the recorded number of partitions, and the
//! detection of damage.

use std::fs;
use std::path::{Path, PathBuf};

use pabal_core::model::{ChannelId, Message, MessageId, Partition, Timestamp, UserId};
use pabal_core::ports::{HistoryError, HistoryStore, PageFrom};
use pabal_storage::embedded::{EmbeddedConfig, EmbeddedStore, OpenError};
use tempfile::TempDir;

const CHANNEL: ChannelId = ChannelId::new(77);
const WORDS: &str = "many words many words many words many words many words";

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn open_with(folder: &Path, config: &EmbeddedConfig) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(folder, config)
}

fn open(folder: &Path) -> EmbeddedStore {
    open_with(folder, &EmbeddedConfig::default()).expect("the store opens")
}

/// A closed folder with 2,000 messages in tables and in the journal.
async fn filled() -> TempDir {
    let folder = folder();
    let small = EmbeddedConfig { message_memtable_bytes: 16 << 10, ..EmbeddedConfig::default() };
    let store = open_with(folder.path(), &small).expect("a new folder");
    let partition = Partition::new(0).expect("a partition");
    let mut next = MessageId::first_at(Timestamp::from_millis(1_790_000_000_000), partition);
    for _ in 0..40 {
        let mut messages = Vec::new();
        for _ in 0..50 {
            messages.push(Message {
                message_id: next,
                channel_id: CHANNEL,
                message_from: UserId::new(1),
                message_to: None,
                content: WORDS.into(),
                client_message_id: None,
            });
            next = next.successor();
        }
        store.history.append(partition, messages).await.expect("an append");
    }
    drop(store);
    folder
}

async fn all(store: &EmbeddedStore) -> Result<Vec<Message>, HistoryError> {
    let page = store.history.page(CHANNEL, PageFrom::After(MessageId::new(0)), usize::MAX).await;
    page.map(|page| page.messages)
}

#[tokio::test]
async fn a_folder_can_be_opened_by_one_store_at_a_time() {
    let folder = folder();
    let store = open(folder.path());
    let second = open_with(folder.path(), &EmbeddedConfig::default());
    let Err(error @ OpenError::InUse(_)) = second else { panic!("opened twice") };
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(store);
    open(folder.path());
}

#[tokio::test]
async fn a_folder_keeps_its_number_of_partitions() {
    let folder = folder();
    let of = |partitions| EmbeddedConfig { partitions, ..EmbeddedConfig::default() };
    drop(open_with(folder.path(), &of(16)).expect("a new folder"));
    let Err(error) = open_with(folder.path(), &of(32)) else { panic!("opened with others") };
    let OpenError::OtherPartitions { recorded: 16, asked: 32, .. } = error else {
        panic!("{error}")
    };
    assert!(error.to_string().contains("created for 16 partitions"), "{error}");
    open_with(folder.path(), &of(16)).expect("the same number");
    for impossible in [0, 1_025] {
        let refused = open_with(folder.path(), &of(impossible));
        assert!(matches!(refused, Err(OpenError::ImpossiblePartitions { .. })));
    }
}

fn files_under(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(files_under(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn assert_damaged(folder: &Path, part: &str) {
    match open_with(folder, &EmbeddedConfig::default()) {
        Err(error @ OpenError::Damaged { .. }) => {
            assert!(error.to_string().contains(part), "{error}, expected {part}");
        }
        Err(error) => panic!("{error}, expected damage: {part}"),
        Ok(_) => panic!("opened, expected damage: {part}"),
    }
}

#[tokio::test]
async fn a_folder_with_missing_files_is_refused_and_not_changed() {
    let lost = ["fjall/version", "fjall/keyspaces/0/current", "fjall/keyspaces/1/current"];
    for name in lost {
        let folder = filled().await;
        fs::remove_file(folder.path().join(name)).expect("a file to lose");
        let before = files_under(folder.path());
        assert_damaged(folder.path(), &format!("{name} is gone"));
        assert_eq!(files_under(folder.path()), before, "nothing is deleted");
    }
    let folder = filled().await;
    let is_journal = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "jnl");
    for journal in files_under(folder.path()).into_iter().filter(is_journal) {
        fs::remove_file(journal).expect("a file to lose");
    }
    assert_damaged(folder.path(), "fjall/*.jnl is gone");
    let folder = filled().await;
    fs::remove_dir_all(folder.path().join("fjall/keyspaces/1")).expect("a folder to lose");
    assert_damaged(folder.path(), "keyspace messages is gone");
}

#[tokio::test]
async fn an_invalid_marker_is_refused() {
    let folder = filled().await;
    let marker = folder.path().join("pabal-store");
    let right = fs::read_to_string(&marker).expect("a marker");
    assert!(right.starts_with("pabal-store 2\npartitions 64\nsecret "), "{right}");
    let newer = right.replace("pabal-store 2", "pabal-store 3");
    for wrong in ["", &newer, "pabal-store 2\npartitions 64\n", "pabal-store 1\npartitions many\n"]
    {
        fs::write(&marker, wrong).expect("written");
        assert_damaged(folder.path(), "expected \"pabal-store 2\"");
    }
    fs::remove_file(&marker).expect("a file to lose");
    assert_damaged(folder.path(), "no pabal-store");
    fs::write(&marker, right).expect("written");
    assert_eq!(all(&open(folder.path())).await.expect("a page").len(), 2_000);
}

/// Changes one byte of a text in the middle of `file`.
fn damage_words(file: &Path) {
    let mut bytes = fs::read(file).expect("a file");
    let middle = bytes.len() / 2;
    let words = bytes[middle..].windows(WORDS.len()).position(|bytes| bytes == WORDS.as_bytes());
    bytes[middle + words.expect("words to damage") + 7] ^= 1;
    fs::write(file, bytes).expect("written");
}

#[tokio::test]
async fn a_damaged_journal_is_refused() {
    let folder = filled().await;
    // Reopening truncates the journal to its content.
    drop(open(folder.path()));
    damage_words(&folder.path().join("fjall/0.jnl"));
    assert_damaged(folder.path(), "whole batches come later");
}

#[tokio::test]
async fn a_damaged_table_fails_the_read_that_needs_it() {
    let folder = filled().await;
    let tables = files_under(&folder.path().join("fjall/keyspaces/1/tables"));
    damage_words(&tables[0]);
    let store = open(folder.path());
    let error = all(&store).await.expect_err("a damaged page");
    assert!(matches!(error, HistoryError::Damaged(_)), "{error:?}");
    assert!(!error.retryable());
}

#[tokio::test]
async fn a_truncated_file_is_refused() {
    let folder = filled().await;
    let table = files_under(&folder.path().join("fjall/keyspaces/1/tables")).swap_remove(0);
    let is_table_list = |path: &PathBuf| !path.ends_with("current") && !path.ends_with("version");
    let mut tables = files_under(&folder.path().join("fjall/keyspaces/3"));
    tables.retain(is_table_list);
    for file in [table, tables.swap_remove(0)] {
        let bytes = fs::read(&file).expect("a file");
        for length in [bytes.len() / 2, 0] {
            fs::write(&file, &bytes[..length]).expect("written");
            assert_damaged(folder.path(), "");
        }
        fs::write(&file, &bytes).expect("written");
    }
    assert_eq!(all(&open(folder.path())).await.expect("a page").len(), 2_000);
}
