//! History in Cassandra, on a real server: the contract, long histories with silences, crashes in
//! the middle of a batch, a server that hangs or is restarted under load, and addresses that cannot
//! be used.

#![expect(clippy::unwrap_used, reason = "a failed call fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pabal_contract::history_store;
use pabal_core::model::{ChannelId, Message, MessageId, Partition, Timestamp, UserId};
use pabal_core::ports::{Appended, HistoryStore, PageFrom};
use pabal_servers::{Cassandra, Missing, Shared, started};
use pabal_storage::error::Why;
use pabal_storage::history::CassandraHistoryStore;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use tokio::time::{Instant, sleep, timeout};

/// Longer than a call may take; the port's bound and what a busy machine adds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

static SERVER: Shared<Cassandra> = Shared::new();

async fn server() -> Result<&'static Cassandra, Missing> {
    SERVER.get(async || Cassandra::start().await, Cassandra::folder).await
}

async fn connect(url: &str) -> CassandraHistoryStore {
    CassandraHistoryStore::connect(url).await.unwrap()
}

async fn place(server: &Cassandra) -> String {
    let url = server.keyspace();
    CassandraHistoryStore::migrate(&url).await.unwrap();
    url
}

/// A session of the test's own, as another program would have it.
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
const ROOM: ChannelId = ChannelId::new(7);

fn partition(number: u16) -> Partition {
    Partition::new(number).unwrap()
}

/// An id that stands so much behind a moment in 2026.
fn id(since: Duration) -> MessageId {
    let base = Timestamp::from_millis(1_790_000_000_000);
    MessageId::first_at(base.plus(since), partition(0))
}

fn said(message_id: MessageId, name: &str) -> Message {
    Message {
        message_id,
        channel_id: ROOM,
        message_from: UserId::new(1),
        message_to: None,
        content: format!("content of {message_id}").into(),
        client_message_id: Some(name.into()),
    }
}

/// Appends as the engine does: the same batch until it is answered.
async fn append(history: &CassandraHistoryStore, batch: &[Message]) -> Vec<Appended> {
    loop {
        match history.append(partition(0), batch.to_vec()).await {
            Ok(outcomes) => return outcomes,
            Err(error) => assert!(error.retryable(), "{error}"),
        }
    }
}

async fn ids(history: &CassandraHistoryStore, from: PageFrom, limit: usize) -> Vec<MessageId> {
    let page = history.page(ROOM, from, limit).await.unwrap();
    page.messages.into_iter().map(|message| message.message_id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keeps_the_contract() {
    let server = started!(server());
    // Tables are slow to make, and quicker to empty.
    let url = place(server).await;
    let session = outside(&url).await;
    history_store::run(async || {
        empty(&session, &["messages", "channels", "sends", "positions"]).await;
        connect(&url).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keeps_the_contract_of_reopening() {
    let server = started!(server());
    history_store::run_reopened(async || place(server).await, async |url| connect(url).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pages_cross_more_buckets_than_are_looked_up_at_once() {
    let server = started!(server());
    let history = connect(&place(server).await).await;
    // Three messages a bucket, of which every third one is empty, over two years.
    let mut messages = Vec::new();
    for window in (0..260).filter(|window| window % 3 != 1) {
        for hour in [0, 20, 40] {
            let id = id(HOUR * (window * 75 + hour));
            messages.push(said(id, &id.to_string()));
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
    let unread = history.count_unread(ROOM, all[99], UserId::new(2), 1_000).await.unwrap();
    assert_eq!(unread, all.len() - 100);
}

/// Whatever part of a batch a crash leaves, the owner that reads its log again from the position
/// ends with the same history.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_batch_that_was_written_in_part_is_completed_by_its_replay() {
    let server = started!(server());
    let url = place(server).await;
    let (mut history, session) = (connect(&url).await, outside(&url).await);
    // Two buckets; in the second a repeat, and the same name again when it may be used again.
    let window = |hour: u32| id(HOUR * hour).get() >> 50;
    let hour = (0..).find(|hour| window(*hour) != window(hour + 20)).unwrap();
    let [first, second, third, fourth] = [0, 20, 21, 60].map(|later| id(HOUR * (hour + later)));
    let batch = [said(first, "a"), said(second, "b"), said(third, "a"), said(fourth, "a")];
    let expected = [Appended::Stored, Appended::Stored, Appended::Repeat(first), Appended::Stored];
    // What came of the batch before the crash: so many messages, and of those what the first steps
    // write. Nothing is deleted here, because a deletion would outlive what is written later.
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
            let answer = owner.append(partition(0), batch.to_vec()).await.unwrap();
            assert_eq!(answer, expected, "{written} written, {lost:?} lost");
        }
        assert_eq!(
            ids(&owner, PageFrom::After(MessageId::new(0)), 9).await,
            [first, second, fourth]
        );
        assert_eq!(owner.heads(&[ROOM]).await.unwrap(), [fourth]);
        assert_eq!(owner.stored_position(partition(0)).await.unwrap(), fourth);
        history = owner;
    }
}

/// Given up after another time each, at whatever step that is: what is visible is a beginning of the
/// batch, and all of it is there once the position or the head says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_append_cut_off_anywhere_shows_a_beginning_of_its_batch() {
    let server = started!(server());
    let history = connect(&place(server).await).await;
    let (mut cut_off, mut begun) = (0, 0);
    let mut stored = Vec::new();
    let mut whole = Duration::ZERO;
    for round in 0..60_u32 {
        // Four buckets.
        let batch: Vec<_> = (0..12)
            .map(|n| id(HOUR * (round * 400 + n * 25)))
            .map(|id| said(id, &id.to_string()))
            .collect();
        if round < 3 {
            // How long one takes, on this machine now.
            let begun = Instant::now();
            append(&history, &batch).await;
            whole = begun.elapsed();
            stored.extend(batch);
            continue;
        }
        let last = batch.last().unwrap().message_id;
        let call = history.append(partition(0), batch.clone());
        cut_off += u32::from(timeout(whole * round / 50, call).await.is_err());
        let before = stored.len();
        // What is under way still comes in the meantime; what was seen first was there first.
        loop {
            let position = history.stored_position(partition(0)).await.unwrap();
            let head = history.heads(&[ROOM]).await.unwrap()[0];
            let seen = ids(&history, PageFrom::After(MessageId::new(0)), usize::MAX).await;
            let of_batch = &seen[before..];
            begun += u32::from(!of_batch.is_empty() && of_batch.len() < batch.len());
            let expected: Vec<_> = batch.iter().map(|message| message.message_id).collect();
            assert!(expected.starts_with(of_batch), "a hole: {of_batch:?} of {expected:?}");
            if let Some(newest) = of_batch.last() {
                let key = said(*newest, &newest.to_string()).send_key().unwrap();
                let found = history.find_sent(key).await.unwrap();
                assert_eq!(found, Some(*newest), "a message came before its name");
            }
            if position >= last || head >= last {
                assert_eq!(of_batch, expected, "the position or the head came first");
            }
            if position >= last {
                break;
            }
            append(&history, &batch).await;
        }
        stored.extend(batch);
    }
    assert!(cut_off > 0 && begun > 0, "{cut_off} were cut off, {begun} of them half-way");
}

/// A reader that goes on from the highest id it holds misses nothing, although every batch ends in
/// another bucket than it begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_that_follows_across_buckets_misses_nothing() {
    let server = started!(server());
    let history = connect(&place(server).await).await;
    let all: Vec<_> = (0..1_500).map(|n| said(id(HOUR * (n * 20)), &n.to_string())).collect();
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
    assert!(reader.await.unwrap() == expected, "the reader passed over messages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_name_without_its_message_is_no_send() {
    let server = started!(server());
    let url = place(server).await;
    let (history, session) = (connect(&url).await, outside(&url).await);
    // A crash kept the message from coming, and then the log was lost.
    history.append(partition(0), vec![said(id(HOUR), "a")]).await.unwrap();
    empty(&session, &["messages", "channels", "positions"]).await;
    let again = said(id(HOUR * 2), "a");
    assert_eq!(history.find_sent(again.send_key().unwrap()).await.unwrap(), None);
    let answer = connect(&url).await.append(partition(0), vec![again.clone()]).await.unwrap();
    assert_eq!(answer, [Appended::Stored]);
    let found = history.find_sent(again.send_key().unwrap()).await.unwrap();
    assert_eq!(found, Some(again.message_id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_edit_is_not_undone_by_a_replay() {
    let server = started!(server());
    let url = place(server).await;
    let (history, session) = (connect(&url).await, outside(&url).await);
    let message = said(id(HOUR), "a");
    history.append(partition(0), vec![message.clone()]).await.unwrap();
    // As an editor would write: the whole value, now.
    let copy = "SELECT body FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?";
    let key = (7_i64, (message.message_id.get() >> 50) as i32, message.message_id.get() as i64);
    let rows = session.query_unpaged(copy, key).await.unwrap().into_rows_result().unwrap();
    let (mut body,) = rows.first_row::<(Vec<u8>,)>().unwrap();
    // Something that sorts below, so that the time alone can decide.
    let content = message.content.len();
    let start = body.len() - content;
    body[start..].fill(b'!');
    let edit =
        "UPDATE messages SET body = ? WHERE channel_id = ? AND bucket = ? AND message_id = ?";
    session.query_unpaged(edit, (body, key.0, key.1, key.2)).await.unwrap();
    // The position is lost, so that nothing keeps the replay from writing.
    empty(&session, &["positions"]).await;
    let answer = history.append(partition(0), vec![message.clone()]).await.unwrap();
    assert_eq!(answer, [Appended::Stored]);
    let read = history.get(ROOM, message.message_id).await.unwrap().unwrap();
    assert_eq!(&*read.content, "!".repeat(content));
}

/// Owners that go on whatever happens, as the engine does: the same batch until it is answered.
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
                            Message { channel_id, ..said(last, &last.to_string()) }
                        })
                        .collect();
                    loop {
                        let call = history.append(partition(number), batch.clone());
                        match timeout(ANSWERED_WITHIN, call).await.expect("an answer in time") {
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

    /// Waits until as many more are acknowledged.
    async fn goes_on(&self, by: u64) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + by;
        pabal_servers::until("the load goes on", async || {
            (self.acknowledged.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Ends it. Answers how many calls failed, having seen that all acknowledged ones happened.
    async fn check(self, history: &CassandraHistoryStore) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut all_refused = 0;
        for (number, owner) in (0..).zip(self.owners) {
            let (stored, refused) = owner.await.unwrap();
            all_refused += refused;
            let channel_id = ChannelId::new(number);
            let from = PageFrom::After(MessageId::new(0));
            let page = history.page(channel_id, from, usize::MAX).await.unwrap();
            assert!(page.messages == stored, "acknowledged and gone, or out of order");
            let head = history.heads(&[channel_id]).await.unwrap();
            assert_eq!(head, [stored.last().unwrap().message_id]);
        }
        all_refused
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_hangs_or_is_restarted_under_load_loses_nothing_and_calls_go_on() {
    let server = started!(Cassandra::start());
    let history = connect(&place(&server).await).await;
    let load = Load::on(&history);
    load.goes_on(200).await;
    server.pause();
    let answer = timeout(ANSWERED_WITHIN, history.heads(&[ROOM])).await.unwrap();
    assert!(matches!(&answer, Err(error) if error.retryable()), "{answer:?}");
    // As long as issue 4 asks for: longer than a request may take.
    sleep(Duration::from_secs(10)).await;
    server.resume();
    load.goes_on(200).await;
    server.restart().await;
    load.goes_on(200).await;
    assert!(load.check(&history).await > 0, "calls were refused meanwhile");
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let server = started!(server());
    let url = place(server).await;
    for _ in 0..2 {
        let history = connect(&url).await;
        history.keep_to(&url, 16).await.unwrap();
        let error = history.keep_to(&url, 32).await.unwrap_err();
        assert_eq!(*error.why(), Why::Partitions(16, 32));
        let line = error.to_string();
        assert!(line.contains("was begun with 16 partitions and cannot be used with 32"), "{line}");
        assert!(!error.retryable());
        // What a release adds later changes nothing about it.
        CassandraHistoryStore::migrate(&url).await.unwrap();
    }
    // Of two nodes that begin at once one decides.
    let url = place(server).await;
    let history = connect(&url).await;
    let (first, second) = tokio::join!(history.keep_to(&url, 16), history.keep_to(&url, 32));
    assert!(first.is_ok() != second.is_ok(), "{first:?} and {second:?}");
}

#[tokio::test]
async fn an_address_that_cannot_be_used_gives_one_clear_line() {
    let server = started!(server());
    let url = server.keyspace();
    let error = CassandraHistoryStore::connect(&url).await.map(drop).unwrap_err();
    assert_eq!(*error.why(), Why::Older(0));
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
        assert_eq!(*error.why(), Why::Newer(9_000));
    }
    let nobody = pabal_servers::spare_ports(1)[0];
    let away = format!("cassandra://ann:secret@127.0.0.1:{nobody}/chat");
    let error = CassandraHistoryStore::connect(&away).await.map(drop).unwrap_err();
    let line = error.to_string();
    assert!(error.retryable() && line.contains("cannot be reached"), "{line}");
    assert!(line.contains(&format!("127.0.0.1:{nobody}/chat")), "{line}");
    assert!(!line.contains('\n') && !line.contains("secret"), "{line}");
}
