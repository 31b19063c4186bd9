//! The embedded history on a real disk: its contract, and the additional guarantees of this
//! adapter. Crashes are in `crash.rs`, damaged folders in `folder.rs`.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use pabal_contract::history_store;
use pabal_core::model::{ChannelId, Message, MessageId, Partition, SendKey, Timestamp, UserId};
use pabal_core::ports::{
    Appended, BoxFuture, HistoryError, HistoryStore, Page, PageFrom, PageLimit, SEND_KEY_WINDOW,
    Unread,
};
use pabal_storage::embedded::{EmbeddedConfig, EmbeddedStore};
use tempfile::TempDir;

const CHANNEL: ChannelId = ChannelId::new(77);

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn open(folder: &Path) -> EmbeddedStore {
    open_with(folder, &EmbeddedConfig::default())
}

fn open_with(folder: &Path, config: &EmbeddedConfig) -> EmbeddedStore {
    EmbeddedStore::open(folder, config).expect("the store opens")
}

/// So small that tables are written and merged continuously.
fn small_tables() -> EmbeddedConfig {
    EmbeddedConfig { message_memtable_bytes: 16 << 10, ..EmbeddedConfig::default() }
}

fn partition(number: u16) -> Partition {
    Partition::new(number).expect("a partition")
}

fn id(ms: u64) -> MessageId {
    let base = Timestamp::from_millis(1_790_000_000_000);
    MessageId::first_at(base.plus(Duration::from_millis(ms)), partition(0))
}

fn plain(ms: u64, content: &str) -> Message {
    Message {
        message_id: id(ms),
        channel_id: CHANNEL,
        message_from: UserId::new(1),
        message_to: None,
        content: content.into(),
        client_message_id: None,
    }
}

fn sent(ms: u64, name: &str) -> Message {
    Message { client_message_id: Some(name.into()), ..plain(ms, name) }
}

async fn append(store: &EmbeddedStore, messages: Vec<Message>) -> Vec<Appended> {
    store.history.append(partition(0), messages).await.expect("an append")
}

async fn all(store: &EmbeddedStore) -> Vec<Message> {
    let page =
        store.history.page(CHANNEL, PageFrom::After(MessageId::new(0)), usize::MAX.into()).await;
    page.expect("a page").messages
}

/// A store that owns its folder.
struct OnDisk {
    store: EmbeddedStore,
    _folder: Option<TempDir>,
}

macro_rules! forward {
    ($($method:ident($($name:ident: $type:ty),*) -> $result:ty;)+) => {$(
        fn $method(&self, $($name: $type),*) -> BoxFuture<'_, Result<$result, HistoryError>> {
            self.store.history.$method($($name),*)
        }
    )+};
}

impl HistoryStore for OnDisk {
    forward! {
        append(partition: Partition, messages: Vec<Message>) -> Vec<Appended>;
        stored_position(partition: Partition) -> MessageId;
        page(channel_id: ChannelId, from: PageFrom, limit: PageLimit) -> Page;
        get(channel_id: ChannelId, message_id: MessageId) -> Option<Message>;
        heads(channel_ids: &[ChannelId]) -> Vec<MessageId>;
        count_unread(channel_id: ChannelId, after: MessageId, reader: UserId, rows: usize) -> Unread;
        find_sent(key: SendKey) -> Option<MessageId>;
    }
}

async fn fulfils_the_contract_with(config: EmbeddedConfig) {
    history_store::run(async || {
        let folder = folder();
        let store = open_with(folder.path(), &config);
        OnDisk { store, _folder: Some(folder) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fulfils_the_contract() {
    fulfils_the_contract_with(EmbeddedConfig::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fulfils_the_contract_while_tables_are_written_and_merged() {
    fulfils_the_contract_with(small_tables()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fulfils_the_contract_with_groups_of_one() {
    let config = EmbeddedConfig {
        group_messages: 1,
        group_bytes: 1,
        waiting_requests: 1,
        ..EmbeddedConfig::default()
    };
    fulfils_the_contract_with(config).await;
}

#[tokio::test]
async fn keeps_everything_when_reopened() {
    for config in [EmbeddedConfig::default(), small_tables()] {
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

/// A reader that follows a channel sees no gap, although batches are applied message by message and
/// tables change meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_batches_whole() {
    const BATCH: u64 = 50;
    const BATCHES: u64 = 400;
    let folder = folder();
    let store = open_with(folder.path(), &small_tables());
    let (done, mut done_receiver) = tokio::sync::oneshot::channel::<()>();
    let history = store.history.clone();
    let reader = tokio::spawn(async move {
        let (mut held, mut last_round) = (0, false);
        while !last_round {
            last_round = done_receiver.try_recv().is_ok();
            let page = history.page(CHANNEL, PageFrom::After(id(held)), usize::MAX.into()).await;
            let ids = page.expect("a page").messages.into_iter().map(|m| m.message_id);
            let expected = (held + 1..).map(id);
            let mut seen = 0;
            for (id, expected) in ids.zip(expected) {
                assert_eq!(id, expected, "a gap after {held}");
                seen += 1;
            }
            held += seen;
            assert!(held.is_multiple_of(BATCH), "half a batch: {held}");
            tokio::task::yield_now().await;
        }
        held
    });
    for batch in 0..BATCHES {
        let messages = (1..=BATCH).map(|ms| plain(batch * BATCH + ms, "some words to say"));
        append(&store, messages.collect()).await;
    }
    done.send(()).expect("the reader still reads");
    assert_eq!(reader.await.expect("the reader ends"), BATCHES * BATCH);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_concurrent_sends_is_stored() {
    let folder = folder();
    let store = open(folder.path());
    let outcomes = join_all((1..=64).map(|ms| {
        let history = store.history.clone();
        tokio::spawn(async move {
            let result = history.append(partition(0), vec![sent(ms, "once")]).await;
            (id(ms), result.expect("an append")[0])
        })
    }));
    let outcomes: Vec<_> = outcomes.await.into_iter().map(|a| a.expect("a result")).collect();
    let stored: Vec<_> =
        outcomes.iter().filter(|(_, outcome)| *outcome == Appended::Stored).collect();
    let [(first, _)] = stored[..] else { panic!("stored {} times", stored.len()) };
    let repeats = outcomes.iter().filter(|(_, outcome)| *outcome == Appended::Repeat(*first));
    assert_eq!(repeats.count(), 63);
    assert_eq!(all(&store).await.len(), 1);
}

#[tokio::test]
async fn a_send_key_expires_right_after_the_window() {
    let window = u64::try_from(SEND_KEY_WINDOW.as_millis()).expect("a short window");
    let folder = folder();
    let store = open(folder.path());
    append(&store, vec![sent(1, "a"), sent(1_000, "b")]).await;
    let outcomes = append(&store, vec![sent(window + 1, "a"), sent(window + 2, "a")]).await;
    let again = Appended::Stored;
    assert_eq!(outcomes, [Appended::Repeat(id(1)), again], "the window ends between the two");
    let find = async |name| {
        let key = sent(1, name).send_key().expect("a named send");
        store.history.find_sent(key).await.expect("a look")
    };
    assert_eq!(find("a").await, Some(id(window + 2)));
    assert_eq!(find("b").await, Some(id(1_000)));
    append(&store, vec![plain(window + 1_001, "time goes by")]).await;
    assert_eq!(find("b").await, None);
    // A stored message stays stored, although another send has reused its name.
    assert_eq!(append(&store, vec![sent(1, "a")]).await, [Appended::Stored]);
    assert_eq!(all(&store).await.len(), 4);
}

#[tokio::test]
async fn a_closed_store_can_be_opened_immediately() {
    let folder = folder();
    for round in 1..=3 {
        let EmbeddedStore { history, push } = open(folder.path());
        drop(push);
        let result = history.append(partition(0), vec![plain(round, "words")]).await;
        assert_eq!(result.expect("an append"), [Appended::Stored]);
    }
    assert_eq!(all(&open(folder.path())).await.len(), 3);
}
