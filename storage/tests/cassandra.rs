//! History in Cassandra, on a real server: the contract, long histories with gaps, crashes during a
//! batch, a server that hangs or restarts under load, and invalid addresses.

#![expect(clippy::unwrap_used, reason = "a failed call fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pabal_contract::history_store;
use pabal_core::model::{ChannelId, Message, MessageId, Partition, Timestamp, UserId};
use pabal_core::ports::{Appended, HistoryStore, PageFrom};
use pabal_servers::{Cassandra, Missing, Shared, started};
use pabal_storage::error::ConnectFailure;
use pabal_storage::history::CassandraHistoryStore;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use tokio::time::{Instant, sleep, timeout};

/// Longer than any call may take: the deadline of the port and a margin for a busy machine.
const CALL_LIMIT: Duration = Duration::from_secs(60);

static SERVER: Shared<Cassandra> = Shared::new();

async fn server() -> Result<&'static Cassandra, Missing> {
    SERVER.get(async || Cassandra::start().await, Cassandra::folder).await
}

async fn connect(url: &str) -> CassandraHistoryStore {
    CassandraHistoryStore::connect(url).await.unwrap()
}

async fn location(server: &Cassandra) -> String {
    let url = server.keyspace();
    CassandraHistoryStore::migrate(&url).await.unwrap();
    url
}

/// A session of the test's own, like that of another program.
async fn outside(url: &str) -> Session {
    let rest = url.strip_prefix("cassandra://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let keyspace = path.split('?').next().unwrap();
    let session = SessionBuilder::new().known_node(host).build().await.unwrap();
    session.use_keyspace(keyspace, false).await.unwrap();
    session
}

async fn empty(session: &Session, tables: &[&str]) {
    for table in tables {
        Box::pin(session.query_unpaged(format!("TRUNCATE {table}"), ())).await.unwrap();
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
const CHANNEL: ChannelId = ChannelId::new(7);

fn partition(number: u16) -> Partition {
    Partition::new(number).unwrap()
}

/// An id that is `since` after a moment in 2026.
fn id(since: Duration) -> MessageId {
    let base = Timestamp::from_millis(1_790_000_000_000);
    MessageId::first_at(base.plus(since), partition(0))
}

fn message(message_id: MessageId, name: &str) -> Message {
    Message {
        message_id,
        channel_id: CHANNEL,
        message_from: UserId::new(1),
        message_to: None,
        content: format!("content of {message_id}").into(),
        client_message_id: Some(name.into()),
    }
}

/// Appends as the engine does: repeats the same batch until it succeeds.
async fn append(history: &CassandraHistoryStore, batch: &[Message]) -> Vec<Appended> {
    loop {
        match history.append(partition(0), batch.to_vec()).await {
            Ok(outcomes) => return outcomes,
            Err(error) => assert!(error.retryable(), "{error}"),
        }
    }
}

async fn ids(history: &CassandraHistoryStore, from: PageFrom, limit: usize) -> Vec<MessageId> {
    let page = history.page(CHANNEL, from, limit.into()).await.unwrap();
    page.messages.into_iter().map(|message| message.message_id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fulfils_the_contract() {
    let server = started!(server());
    // Emptying the tables is faster than creating them.
    let url = location(server).await;
    let session = outside(&url).await;
    history_store::run(async || {
        empty(&session, &["messages", "channels", "sends", "positions"]).await;
        connect(&url).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fulfils_the_contract_of_reopening() {
    let server = started!(server());
    history_store::run_reopened(async || location(server).await, async |url| connect(url).await)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pages_span_more_buckets_than_one_index_read() {
    let server = started!(server());
    let history = connect(&location(server).await).await;
    // Three messages a bucket, with every third bucket empty, over two years.
    let mut messages = Vec::new();
    for window in (0..260).filter(|window| window % 3 != 1) {
        for hour in [0, 20, 40] {
            let id = id(HOUR * (window * 75 + hour));
            messages.push(message(id, &id.to_string()));
        }
    }
    for batch in messages.chunks(100) {
        append(&history, batch).await;
    }
    let all: Vec<_> = messages.iter().map(|message| message.message_id).collect();
    assert_eq!(ids(&history, PageFrom::After(MessageId::new(0)), usize::MAX).await, all);
    let mut back = ids(&history, PageFrom::Newest, 10_000).await;
    back.reverse();
    assert_eq!(back, all);
    let mut seen: Vec<MessageId> = Vec::new();
    loop {
        let after = seen.last().copied().unwrap_or_default();
        let next = ids(&history, PageFrom::After(after), 7).await;
        if next.is_empty() {
            break;
        }
        seen.extend(next);
    }
    assert_eq!(seen, all);
    assert_eq!(ids(&history, PageFrom::Around(all[200]), 10).await, all[195..205]);
    let unread = history.count_unread(CHANNEL, all[99], UserId::new(2), 1_000).await.unwrap();
    assert_eq!((unread.messages, unread.at_least), (all.len() - 100, false));
}

/// Whatever part of a batch a crash leaves, the owner that reads its log again from the position
/// produces the same history.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_partly_written_batch_is_completed_by_its_replay() {
    let server = started!(server());
    let url = location(server).await;
    let (mut history, session) = (connect(&url).await, outside(&url).await);
    // Two buckets; in the second a repeat, and the same name again once it may be reused.
    let window = |hour: u32| id(HOUR * hour).get() >> 50;
    let hour = (0..).find(|hour| window(*hour) != window(hour + 20)).unwrap();
    let [first, second, third, fourth] = [0, 20, 21, 60].map(|later| id(HOUR * (hour + later)));
    let batch =
        [message(first, "a"), message(second, "b"), message(third, "a"), message(fourth, "a")];
    let expected = [Appended::Stored, Appended::Stored, Appended::Repeat(first), Appended::Stored];
    // The state of the batch after a crash: a number of written messages, and the steps that were
    // written for them. Nothing is deleted, because a tombstone would hide later writes.
    let lost_of_steps = [
        &["positions"][..],
        &["positions", "channels"],
        &["positions", "channels", "messages"],
        &["positions", "channels", "messages", "sends"],
    ];
    for (written, lost) in
        [1, 2, 4].into_iter().flat_map(|n| lost_of_steps.iter().map(move |lost| (n, lost)))
    {
        empty(&session, &["positions", "channels", "messages", "sends"]).await;
        history.append(partition(0), batch[..written].to_vec()).await.unwrap();
        empty(&session, lost).await;
        let owner = connect(&url).await;
        let position = owner.stored_position(partition(0)).await.unwrap();
        assert_eq!(position, MessageId::new(0), "the position is written last");
        for _ in 0..2 {
            let outcomes = owner.append(partition(0), batch.to_vec()).await.unwrap();
            assert_eq!(outcomes, expected, "{written} written, {lost:?} lost");
        }
        assert_eq!(
            ids(&owner, PageFrom::After(MessageId::new(0)), 9).await,
            [first, second, fourth]
        );
        assert_eq!(owner.heads(&[CHANNEL]).await.unwrap(), [fourth]);
        assert_eq!(owner.stored_position(partition(0)).await.unwrap(), fourth);
        history = owner;
    }
}

/// The append is cancelled after increasing times, at any step: the visible messages are a prefix
/// of the batch, and complete once the position or the head includes the batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cancelled_append_leaves_a_prefix_of_its_batch() {
    let server = started!(server());
    let history = connect(&location(server).await).await;
    let (mut cut_off, mut partial) = (0, 0);
    let mut stored = Vec::new();
    let mut whole = Duration::ZERO;
    for round in 0..60_u32 {
        // Four buckets.
        let batch: Vec<_> = (0..12)
            .map(|n| id(HOUR * (round * 400 + n * 25)))
            .map(|id| message(id, &id.to_string()))
            .collect();
        if round < 3 {
            // The duration of one append on this machine now.
            let started = Instant::now();
            append(&history, &batch).await;
            whole = started.elapsed();
            stored.extend(batch);
            continue;
        }
        let last = batch.last().unwrap().message_id;
        let call = history.append(partition(0), batch.clone());
        cut_off += u32::from(timeout(whole * round / 50, call).await.is_err());
        let before = stored.len();
        // Writes in flight still arrive; each read starts after the one before it.
        loop {
            let position = history.stored_position(partition(0)).await.unwrap();
            let head = history.heads(&[CHANNEL]).await.unwrap()[0];
            let seen = ids(&history, PageFrom::After(MessageId::new(0)), usize::MAX).await;
            let of_batch = &seen[before..];
            partial += u32::from(!of_batch.is_empty() && of_batch.len() < batch.len());
            let expected: Vec<_> = batch.iter().map(|message| message.message_id).collect();
            assert!(expected.starts_with(of_batch), "a hole: {of_batch:?} of {expected:?}");
            if let Some(newest) = of_batch.last() {
                let key = message(*newest, &newest.to_string()).send_key().unwrap();
                let found = history.find_sent(key).await.unwrap();
                assert_eq!(found, Some(*newest), "a message was visible before its send key");
            }
            if position >= last || head >= last {
                assert_eq!(of_batch, expected, "the position or the head was visible first");
            }
            if position >= last {
                break;
            }
            append(&history, &batch).await;
        }
        stored.extend(batch);
    }
    assert!(
        cut_off > 0 && partial > 0,
        "{cut_off} were cancelled, {partial} of them with a part stored"
    );
}

/// A reader that continues from the highest id it holds misses no message, although every batch
/// ends in another bucket than it begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_following_reader_misses_nothing_across_buckets() {
    let server = started!(server());
    let history = connect(&location(server).await).await;
    let all: Vec<_> = (0..1_500).map(|n| message(id(HOUR * (n * 20)), &n.to_string())).collect();
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (history, done) = (history.clone(), done.clone());
        async move {
            let mut seen: Vec<MessageId> = Vec::new();
            loop {
                let last_round = done.load(Ordering::SeqCst);
                let after = seen.last().copied().unwrap_or_default();
                seen.extend(ids(&history, PageFrom::After(after), 1_000).await);
                if last_round {
                    return seen;
                }
            }
        }
    });
    for batch in all.chunks(5) {
        append(&history, batch).await;
    }
    done.store(true, Ordering::SeqCst);
    let expected: Vec<_> = all.iter().map(|message| message.message_id).collect();
    assert!(reader.await.unwrap() == expected, "the reader missed messages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_send_key_without_its_message_is_ignored() {
    let server = started!(server());
    let url = location(server).await;
    let (history, session) = (connect(&url).await, outside(&url).await);
    // A crash prevented the write of the message, then the log was lost.
    history.append(partition(0), vec![message(id(HOUR), "a")]).await.unwrap();
    empty(&session, &["messages", "channels", "positions"]).await;
    let again = message(id(HOUR * 2), "a");
    assert_eq!(history.find_sent(again.send_key().unwrap()).await.unwrap(), None);
    let outcomes = connect(&url).await.append(partition(0), vec![again.clone()]).await.unwrap();
    assert_eq!(outcomes, [Appended::Stored]);
    let found = history.find_sent(again.send_key().unwrap()).await.unwrap();
    assert_eq!(found, Some(again.message_id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_edit_is_not_undone_by_a_replay() {
    let server = started!(server());
    let url = location(server).await;
    let (history, session) = (connect(&url).await, outside(&url).await);
    let message = message(id(HOUR), "a");
    history.append(partition(0), vec![message.clone()]).await.unwrap();
    // As an editor would write: the whole value, with the current time.
    let copy = "SELECT body FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?";
    let key = (7_i64, (message.message_id.get() >> 50) as i32, message.message_id.get() as i64);
    let rows = session.query_unpaged(copy, key).await.unwrap().into_rows_result().unwrap();
    let (mut body,) = rows.first_row::<(Vec<u8>,)>().unwrap();
    // Content that sorts below the original, so that only the timestamp decides.
    let content = message.content.len();
    let start = body.len() - content;
    body[start..].fill(b'!');
    let edit =
        "UPDATE messages SET body = ? WHERE channel_id = ? AND bucket = ? AND message_id = ?";
    session.query_unpaged(edit, (body, key.0, key.1, key.2)).await.unwrap();
    // The position is lost, so the replay writes again.
    empty(&session, &["positions"]).await;
    let outcomes = history.append(partition(0), vec![message.clone()]).await.unwrap();
    assert_eq!(outcomes, [Appended::Stored]);
    let read = history.get(CHANNEL, message.message_id).await.unwrap().unwrap();
    assert_eq!(&*read.content, "!".repeat(content));
}

/// Owners that continue after failures, as the engine does: they repeat a batch until it succeeds.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    owners: Vec<tokio::task::JoinHandle<(Vec<Message>, u64)>>,
}

impl Load {
    fn on(history: &CassandraHistoryStore) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let owner = |number: u16| {
            let (history, stop) = (history.clone(), stop.clone());
            let acknowledged = Arc::clone(&acknowledged);
            tokio::spawn(async move {
                let (mut stored, mut refused) = (Vec::new(), 0);
                let mut last = MessageId::first_at(
                    Timestamp::from_millis(1_790_000_000_000),
                    partition(number),
                );
                while !stop.load(Ordering::Relaxed) {
                    let batch: Vec<_> = (0..20)
                        .map(|_| {
                            last = last.successor();
                            let channel_id = ChannelId::new(u64::from(number));
                            Message { channel_id, ..message(last, &last.to_string()) }
                        })
                        .collect();
                    loop {
                        let call = history.append(partition(number), batch.clone());
                        match timeout(CALL_LIMIT, call).await.expect("a result in time") {
                            Ok(outcomes) => {
                                assert_eq!(outcomes, [Appended::Stored; 20]);
                                break;
                            }
                            Err(error) => {
                                assert!(error.retryable(), "{error}");
                                refused += 1;
                                sleep(Duration::from_millis(100)).await;
                            }
                        }
                    }
                    acknowledged.fetch_add(20, Ordering::Relaxed);
                    stored.extend(batch);
                }
                (stored, refused)
            })
        };
        let owners = (0..4).map(owner).collect();
        Self { stop, acknowledged, owners }
    }

    /// Waits until `by` more messages are acknowledged.
    async fn wait_for(&self, by: u64) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + by;
        pabal_servers::until("the load continues", async || {
            (self.acknowledged.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Stops the load, checks that all acknowledged messages are stored, and returns the number of
    /// failed calls.
    async fn check(self, history: &CassandraHistoryStore) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut all_refused = 0;
        for (number, owner) in (0..).zip(self.owners) {
            let (stored, refused) = owner.await.unwrap();
            all_refused += refused;
            let channel_id = ChannelId::new(number);
            let from = PageFrom::After(MessageId::new(0));
            let page = history.page(channel_id, from, usize::MAX.into()).await.unwrap();
            assert!(page.messages == stored, "acknowledged messages are missing or out of order");
            let head = history.heads(&[channel_id]).await.unwrap();
            assert_eq!(head, [stored.last().unwrap().message_id]);
        }
        all_refused
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_hangs_or_restarts_under_load_loses_nothing() {
    let server = started!(Cassandra::start());
    let history = connect(&location(&server).await).await;
    let load = Load::on(&history);
    load.wait_for(200).await;
    server.pause();
    let heads = timeout(CALL_LIMIT, history.heads(&[CHANNEL])).await.unwrap();
    assert!(matches!(&heads, Err(error) if error.retryable()), "{heads:?}");
    // Longer than the deadline of a request.
    sleep(Duration::from_secs(10)).await;
    server.resume();
    load.wait_for(200).await;
    server.restart().await;
    load.wait_for(200).await;
    assert!(load.check(&history).await > 0, "calls failed meanwhile");
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let server = started!(server());
    let url = location(server).await;
    for _ in 0..2 {
        let history = connect(&url).await;
        history.require_partitions(&url, 16).await.unwrap();
        let error = history.require_partitions(&url, 32).await.unwrap_err();
        assert_eq!(*error.failure(), ConnectFailure::Partitions(16, 32));
        let line = error.to_string();
        assert!(
            line.contains("was created for 16 partitions and cannot be used with 32"),
            "{line}"
        );
        assert!(!error.retryable());
        // A later migration does not change the number.
        CassandraHistoryStore::migrate(&url).await.unwrap();
    }
    // If two nodes start concurrently, one of them decides.
    let url = location(server).await;
    let history = connect(&url).await;
    let (first, second) =
        tokio::join!(history.require_partitions(&url, 16), history.require_partitions(&url, 32));
    assert!(first.is_ok() != second.is_ok(), "{first:?} and {second:?}");
}

#[tokio::test]
async fn an_unusable_address_gives_a_one_line_error() {
    let server = started!(server());
    let url = server.keyspace();
    let error = CassandraHistoryStore::connect(&url).await.map(drop).unwrap_err();
    assert_eq!(*error.failure(), ConnectFailure::Older(0));
    assert!(error.to_string().ends_with("has schema version 0: run `pabal migrate`"), "{error}");
    for _ in 0..2 {
        CassandraHistoryStore::migrate(&url).await.unwrap();
    }
    let session = outside(&url).await;
    let newer = "UPDATE schema_version SET version = 9000 WHERE name = 'history'";
    session.query_unpaged(newer, ()).await.unwrap();
    for error in [
        CassandraHistoryStore::connect(&url).await.map(drop).unwrap_err(),
        CassandraHistoryStore::migrate(&url).await.unwrap_err(),
    ] {
        assert_eq!(*error.failure(), ConnectFailure::Newer(9_000));
    }
    let unused_port = pabal_servers::spare_ports(1)[0];
    let unreachable = format!("cassandra://ann:secret@127.0.0.1:{unused_port}/chat");
    let error = CassandraHistoryStore::connect(&unreachable).await.map(drop).unwrap_err();
    let line = error.to_string();
    assert!(error.retryable() && line.contains("cannot be reached"), "{line}");
    assert!(line.contains(&format!("127.0.0.1:{unused_port}/chat")), "{line}");
    assert!(!line.contains('\n') && !line.contains("secret"), "{line}");
}
