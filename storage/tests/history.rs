//! The embedded history on a real disk: its contract, and what only this adapter promises. Crashes
//! are in `crash.rs`, folders that are not as they should be in `folder.rs`.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use pabal_contract::history_store;
use pabal_core::model::{ChannelId, Message, MessageId, Partition, SendKey, Timestamp, UserId};
use pabal_core::ports::{
    Appended, BoxFuture, HistoryError, HistoryStore, Page, PageFrom, SEND_KEY_WINDOW,
};
use pabal_storage::embedded::{EmbeddedConfig, EmbeddedStore};
use tempfile::TempDir;

const ROOM: ChannelId = ChannelId::new(77);

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn open(folder: &Path) -> EmbeddedStore {
    open_with(folder, &EmbeddedConfig::default())
}

fn open_with(folder: &Path, config: &EmbeddedConfig) -> EmbeddedStore {
    EmbeddedStore::open(folder, config).expect("the store opens")
}

/// So small that tables are written and merged all the time.
fn restless() -> EmbeddedConfig {
    EmbeddedConfig { message_memtable_bytes: 16 << 10, ..EmbeddedConfig::default() }
}

fn partition(number: u16) -> Partition {
    Partition::new(number).expect("a partition")
}

fn id(ms: u64) -> MessageId {
    let base = Timestamp::from_millis(1_790_000_000_000);
    MessageId::first_at(base.plus(Duration::from_millis(ms)), partition(0))
}

fn said(ms: u64, content: &str) -> Message {
    Message {
        message_id: id(ms),
        channel_id: ROOM,
        message_from: UserId::new(1),
        message_to: None,
        content: content.into(),
        client_message_id: None,
    }
}

fn sent(ms: u64, name: &str) -> Message {
    Message { client_message_id: Some(name.into()), ..said(ms, name) }
}

async fn append(store: &EmbeddedStore, messages: Vec<Message>) -> Vec<Appended> {
    store.history.append(partition(0), messages).await.expect("an append")
}

async fn all(store: &EmbeddedStore) -> Vec<Message> {
    let page = store.history.page(ROOM, PageFrom::After(MessageId::new(0)), usize::MAX).await;
    page.expect("a page").messages
}

/// A store that takes its folder along.
struct OnDisk {
    store: EmbeddedStore,
    _folder: Option<TempDir>,
}

macro_rules! forward {
    ($($method:ident($($name:ident: $type:ty),*) -> $answer:ty;)+) => {$(
        fn $method(&self, $($name: $type),*) -> BoxFuture<'_, Result<$answer, HistoryError>> {
            self.store.history.$method($($name),*)
        }
    )+};
}

impl HistoryStore for OnDisk {
    forward! {
        append(partition: Partition, messages: Vec<Message>) -> Vec<Appended>;
        stored_position(partition: Partition) -> MessageId;
        page(channel_id: ChannelId, from: PageFrom, limit: usize) -> Page;
        get(channel_id: ChannelId, message_id: MessageId) -> Option<Message>;
        heads(channel_ids: &[ChannelId]) -> Vec<MessageId>;
        count_unread(channel_id: ChannelId, after: MessageId, reader: UserId, at_most: usize) -> usize;
        find_sent(key: SendKey) -> Option<MessageId>;
    }
}

async fn keeps_the_contract_with(config: EmbeddedConfig) {
    history_store::run(async || {
        let folder = folder();
        let store = open_with(folder.path(), &config);
        OnDisk { store, _folder: Some(folder) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    keeps_the_contract_with(EmbeddedConfig::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract_while_tables_are_written_and_merged() {
    keeps_the_contract_with(restless()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract_with_groups_of_one() {
    let config = EmbeddedConfig {
        group_messages: 1,
        group_bytes: 1,
        waiting_requests: 1,
        ..EmbeddedConfig::default()
    };
    keeps_the_contract_with(config).await;
}

#[tokio::test]
async fn keeps_all_when_reopened() {
    for config in [EmbeddedConfig::default(), restless()] {
        history_store::run_reopened(
            async || folder(),
            // The folder outlives the store: the suite owns it.
            async |folder: &TempDir| OnDisk {
                store: open_with(folder.path(), &config),
                _folder: None,
            },
        )
        .await;
    }
}

/// A reader that walks up a channel sees no hole, although batches are applied message by message
/// and tables change under it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_batches_whole() {
    const BATCH: u64 = 50;
    const BATCHES: u64 = 400;
    let folder = folder();
    let store = open_with(folder.path(), &restless());
    let (done, mut is_done) = tokio::sync::oneshot::channel::<()>();
    let history = store.history.clone();
    let reader = tokio::spawn(async move {
        let (mut held, mut last_round) = (0, false);
        while !last_round {
            last_round = is_done.try_recv().is_ok();
            let page = history.page(ROOM, PageFrom::After(id(held)), usize::MAX).await;
            let ids = page.expect("a page").messages.into_iter().map(|m| m.message_id);
            let expected = (held + 1..).map(id);
            let mut seen = 0;
            for (id, expected) in ids.zip(expected) {
                assert_eq!(id, expected, "a hole behind {held}");
                seen += 1;
            }
            held += seen;
            assert!(held.is_multiple_of(BATCH), "half a batch: {held}");
            tokio::task::yield_now().await;
        }
        held
    });
    for batch in 0..BATCHES {
        let messages = (1..=BATCH).map(|ms| said(batch * BATCH + ms, "some words to say"));
        append(&store, messages.collect()).await;
    }
    done.send(()).expect("the reader still reads");
    assert_eq!(reader.await.expect("the reader ends"), BATCHES * BATCH);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_concurrent_sends_is_stored() {
    let folder = folder();
    let store = open(folder.path());
    let answers = join_all((1..=64).map(|ms| {
        let history = store.history.clone();
        tokio::spawn(async move {
            let answer = history.append(partition(0), vec![sent(ms, "once")]).await;
            (id(ms), answer.expect("an append")[0])
        })
    }));
    let answers: Vec<_> = answers.await.into_iter().map(|a| a.expect("an answer")).collect();
    let stored: Vec<_> = answers.iter().filter(|(_, b)| *b == Appended::Stored).collect();
    let [(first, _)] = stored[..] else { panic!("stored {} times", stored.len()) };
    let repeats = answers.iter().filter(|(_, became)| *became == Appended::Repeat(*first));
    assert_eq!(repeats.count(), 63);
    assert_eq!(all(&store).await.len(), 1);
}

#[tokio::test]
async fn a_send_is_forgotten_right_after_the_window() {
    let window = u64::try_from(SEND_KEY_WINDOW.as_millis()).expect("a short window");
    let folder = folder();
    let store = open(folder.path());
    append(&store, vec![sent(1, "a"), sent(1_000, "b")]).await;
    let answer = append(&store, vec![sent(window + 1, "a"), sent(window + 2, "a")]).await;
    let again = Appended::Stored;
    assert_eq!(answer, [Appended::Repeat(id(1)), again], "the window ends between the two");
    let find = async |name| {
        let key = sent(1, name).send_key().expect("a named send");
        store.history.find_sent(key).await.expect("a look")
    };
    assert_eq!(find("a").await, Some(id(window + 2)));
    assert_eq!(find("b").await, Some(id(1_000)));
    append(&store, vec![said(window + 1_001, "time goes by")]).await;
    assert_eq!(find("b").await, None);
    // What was stored stays stored, whoever holds its name now.
    assert_eq!(append(&store, vec![sent(1, "a")]).await, [Appended::Stored]);
    assert_eq!(all(&store).await.len(), 4);
}

#[tokio::test]
async fn a_closed_store_can_be_opened_at_once() {
    let folder = folder();
    for round in 1..=3 {
        let EmbeddedStore { history, push } = open(folder.path());
        drop(push);
        let answer = history.append(partition(0), vec![said(round, "words")]).await;
        assert_eq!(answer.expect("an append"), [Appended::Stored]);
    }
    assert_eq!(all(&open(folder.path())).await.len(), 3);
}
