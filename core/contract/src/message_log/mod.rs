//! What every [`MessageLog`] must do. Owns no adapter.

use std::sync::Arc;

use super::property::{node, result_of};
use pabal_core::model::{ChannelId, Draft, MessageId, Partition, Timestamp, UserId};
use pabal_core::ports::{Clock, LogEntry, LogError, MessageLog, Origin, Sequenced, Trace};

mod ids;
mod repeats;
mod reading;
mod bounds;
mod together;

type Log = Arc<dyn MessageLog>;

/// Runs the suite. `fresh` creates an empty log with the given capacity in each partition.
///
/// # Panics
/// If the adapter breaks the contract.
pub async fn run(fresh: impl AsyncFn(usize) -> Log) {
    let roomy = async || fresh(ROOMY).await;
    ids::run(&roomy).await;
    repeats::run(&roomy).await;
    reading::run(&roomy).await;
    bounds::run(&fresh).await;
    together::run(&fresh).await;
}

/// Runs the suite for adapters that take their time from a [`Clock`]: ids follow the clock, and
/// rise when it does not. `fresh` creates an empty log with a large capacity on the given clock.
///
/// # Panics
/// If the adapter breaks the contract.
pub async fn run_with_clock(fresh: impl AsyncFn(Arc<dyn Clock>) -> Log) {
    ids::run_with_clock(fresh).await;
}

const ROOMY: usize = 10_000;
const TIGHT: usize = 8;

/// The limit for reading a whole partition.
const ALL: usize = ROOMY;
const START: MessageId = MessageId::new(0);

fn partition(number: u16) -> Partition {
    Partition::new(number).expect("a partition number")
}

fn draft(number: usize) -> Draft {
    Draft {
        channel_id: ChannelId::new(1),
        message_from: UserId::new(1),
        message_to: None,
        content: format!("message {number}").into(),
        client_message_id: None,
    }
}

fn named_draft(from: u64, channel: u64, name: &str) -> Draft {
    Draft {
        channel_id: ChannelId::new(channel),
        message_from: UserId::new(from),
        client_message_id: Some(name.into()),
        ..draft(0)
    }
}

/// Accepted by the node of this name, at a time with microseconds.
fn origin(name: &str) -> Origin {
    let accepted_at = Timestamp::from_micros(1_800_000_000_123_456);
    Origin { node: node(name), accepted_at, trace: Trace::default() }
}

fn id_of(entry: &LogEntry) -> MessageId {
    entry.message.message_id
}

fn new_id(sequenced: Result<Sequenced, LogError>) -> MessageId {
    match sequenced.expect("appends") {
        Sequenced::New(id) => id,
        Sequenced::Repeat(id) => panic!("a new send was treated as a repeat of {id}"),
    }
}

async fn append(log: &Log, partition: Partition, number: usize) -> MessageId {
    new_id(log.append(partition, START, draft(number), origin("a")).await)
}

async fn append_many(log: &Log, partition: Partition, count: usize) -> Vec<MessageId> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(append(log, partition, number).await);
    }
    ids
}

/// Appends from `senders` concurrent tasks; the ids of each sender must rise.
async fn append_concurrently(
    log: &Log,
    partition: Partition,
    senders: usize,
    each: usize,
) -> Vec<MessageId> {
    let spawn = |_| {
        let log = log.clone();
        tokio::spawn(async move {
            let mut ids = Vec::new();
            for number in 0..each {
                ids.push(append(&log, partition, number).await);
                tokio::task::yield_now().await;
            }
            ids
        })
    };
    let senders: Vec<_> = (0..senders).map(spawn).collect();
    let mut all = Vec::new();
    for sender in senders {
        let ids = result_of(sender).await;
        assert!(ids.is_sorted_by(|id, next| id < next), "the ids of a sender fell: {ids:?}");
        all.extend(ids);
    }
    all
}

async fn read(log: &Log, partition: Partition, after: MessageId, limit: usize) -> Vec<LogEntry> {
    let entries = log.read(partition, after, limit).await.expect("reads");
    assert!((1..=limit).contains(&entries.len()), "{} entries of {limit}", entries.len());
    entries
}

fn spawn_read(
    log: &Log,
    partition: Partition,
    after: MessageId,
) -> tokio::task::JoinHandle<Vec<LogEntry>> {
    let log = log.clone();
    tokio::spawn(async move { read(&log, partition, after, ALL).await })
}

/// Asserts that there are `count` entries with strictly rising ids.
fn assert_rising(entries: &[LogEntry], count: usize) {
    assert_eq!(entries.len(), count);
    assert!(entries.is_sorted_by(|entry, next| id_of(entry) < id_of(next)), "{entries:?}");
}
