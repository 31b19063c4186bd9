//! Reading is ordered and repeatable. Owns the properties of `read`.

use std::sync::Arc;
use std::time::Duration;

use super::{
    ALL, Log, START, append, append_many, assert_rising, draft, id_of, named_draft, new_id, origin,
    partition, read, spawn_read,
};
use crate::property::{assert_waits, properties, result_of, start_and_cancel};
use pabal_core::model::{Draft, MAX_PARTITIONS, MessageId, UserId};
use pabal_core::ports::LogEntry;

pub(super) async fn run(fresh: impl AsyncFn() -> Log) {
    properties! { fresh() =>
        an_entry_is_returned_unchanged
        reading_consumes_nothing
        a_read_starts_after_its_position_and_respects_its_limit
        a_read_waits_for_the_first_entry
        a_read_waits_after_the_last_entry
        every_waiting_reader_is_woken
        a_cancelled_read_loses_nothing
        partitions_are_independent
        every_partition_holds_its_own_entries
    }
}

async fn an_entry_is_returned_unchanged(log: Log) {
    let p = partition(7);
    let long: Arc<str> = "파발 \u{1f40e} \0\r\n\"\\ ".repeat(512).into();
    let direct =
        Draft { message_to: Some(UserId::new(9)), ..named_draft(8, i64::MAX as u64, "x:y") };
    let mut given = Vec::new();
    for (draft, by) in
        [(draft(0), "a"), (direct, "b-2"), (Draft { content: long, ..draft(1) }, "c")]
    {
        let id = new_id(log.append(p, START, draft.clone(), origin(by)).await);
        given.push(LogEntry { message: draft.at(id), origin: origin(by) });
    }
    assert_eq!(read(&log, p, START, ALL).await, given);
}

async fn reading_consumes_nothing(log: Log) {
    let p = partition(2);
    let ids = append_many(&log, p, 5).await;
    let first = read(&log, p, ids[0], ALL).await;
    assert_eq!(read(&log, p, ids[0], ALL).await, first);
    let newer = append(&log, p, 5).await;
    let again = read(&log, p, ids[0], ALL).await;
    assert_eq!(again[..first.len()], first);
    assert_eq!(id_of(&again[first.len()]), newer);
}

async fn a_read_starts_after_its_position_and_respects_its_limit(log: Log) {
    let p = partition(2);
    let ids = append_many(&log, p, 6).await;
    for start in 0..5 {
        let found = read(&log, p, ids[start], 2).await;
        let expected = &ids[start + 1..6.min(start + 3)];
        assert!(found.iter().map(id_of).eq(expected.iter().copied()), "after entry {start}");
    }
    // A position need not be the id of an entry.
    let gap = MessageId::first_at(ids[5].created_at().plus(Duration::from_secs(3_600)), p);
    let beyond = new_id(log.append(p, gap, draft(6), origin("a")).await);
    assert_eq!(id_of(&read(&log, p, gap, 1).await[0]), beyond);
}

async fn a_read_waits_for_the_first_entry(log: Log) {
    let p = partition(2);
    let mut reading = spawn_read(&log, p, START);
    assert_waits(&mut reading).await;
    let id = append(&log, p, 0).await;
    assert_eq!(result_of(reading).await.iter().map(id_of).collect::<Vec<_>>(), [id]);
}

async fn a_read_waits_after_the_last_entry(log: Log) {
    let p = partition(2);
    let ids = append_many(&log, p, 3).await;
    let mut reading = spawn_read(&log, p, ids[2]);
    assert_waits(&mut reading).await;
    let id = append(&log, p, 3).await;
    assert_eq!(result_of(reading).await.iter().map(id_of).collect::<Vec<_>>(), [id]);
}

async fn every_waiting_reader_is_woken(log: Log) {
    let p = partition(2);
    let mut readers: Vec<_> = (0..4).map(|_| spawn_read(&log, p, START)).collect();
    for reader in &mut readers {
        assert_waits(reader).await;
    }
    let id = append(&log, p, 0).await;
    for reader in readers {
        assert_eq!(id_of(&result_of(reader).await[0]), id);
    }
}

async fn a_cancelled_read_loses_nothing(log: Log) {
    let p = partition(2);
    start_and_cancel(log.read(p, START, ALL)).await;
    let first = append(&log, p, 0).await;
    start_and_cancel(log.read(p, first, ALL)).await;
    append(&log, p, 1).await;
    assert_rising(&read(&log, p, START, ALL).await, 2);
}

async fn partitions_are_independent(log: Log) {
    let (one, other) = (partition(1), partition(2));
    let mut reading = spawn_read(&log, other, START);
    let ids = append_many(&log, one, 3).await;
    assert_waits(&mut reading).await;
    let id = append(&log, other, 9).await;
    assert_eq!(result_of(reading).await.iter().map(id_of).collect::<Vec<_>>(), [id]);
    log.trim(other, id).await.expect("trims");
    assert!(read(&log, one, START, ALL).await.iter().map(id_of).eq(ids));
}

async fn every_partition_holds_its_own_entries(log: Log) {
    // Numbers that collide if a partition number is truncated.
    let numbers = [0, 1, 2, 3, 16, 64, 255, 256, 512, MAX_PARTITIONS - 1];
    let mut ids = Vec::new();
    for number in numbers {
        ids.push(append(&log, partition(number), usize::from(number)).await);
    }
    for (number, id) in numbers.into_iter().zip(ids) {
        let entries = read(&log, partition(number), START, ALL).await;
        assert!(entries.iter().map(id_of).eq([id]), "partition {number}: {entries:?}");
    }
}
