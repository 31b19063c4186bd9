//! Ids rise, independent of clock and floor. Owns the properties of `append` except repeats.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::together::ids_carry_within_a_batch;
use super::{
    ALL, Log, START, append, append_concurrently, assert_rising, draft, id_of, new_id, origin,
    partition, read,
};
use crate::property::{properties, result_of};
use pabal_core::memory::ManualClock;
use pabal_core::model::{MAX_PARTITIONS, MessageId, Timestamp};
use pabal_core::ports::{Clock, LogEntry};

pub(super) async fn run(fresh: impl AsyncFn() -> Log) {
    properties! { fresh() =>
        ids_rise_and_name_their_partition
        ids_are_above_a_floor_in_the_same_partition
        ids_are_above_a_floor_of_another_partition
        a_low_floor_changes_nothing
        concurrent_appends_are_read_in_the_order_of_their_ids
        a_following_reader_misses_nothing
        ids_rise_after_everything_was_trimmed
        a_raised_log_assigns_higher_ids_and_keeps_its_entries
    }
}

pub(super) async fn run_with_clock(fresh: impl AsyncFn(Arc<dyn Clock>) -> Log) {
    let make = async || {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_800_000_000_000)));
        (fresh(clock.clone()).await, clock)
    };
    properties! { make() =>
        ids_follow_the_clock
        ids_rise_while_the_clock_is_stopped
        ids_rise_when_the_clock_steps_back
        ids_carry_within_a_batch
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

async fn ids_rise_and_name_their_partition(log: Log) {
    for partition in [partition(0), partition(1), partition(MAX_PARTITIONS - 1)] {
        let mut last = START;
        for number in 0..50 {
            let id = append(&log, partition, number).await;
            assert!(id > last, "{id} after {last}");
            assert_eq!(id.partition(), partition);
            last = id;
        }
    }
}

async fn ids_are_above_a_floor_in_the_same_partition(log: Log) {
    let p = partition(3);
    let first = append(&log, p, 0).await;
    let ahead = MessageId::first_at(first.created_at().plus(Duration::from_secs(3_600)), p);
    let last_of_its_ms = MessageId::new(ahead.get() | 0xfff);
    for floor in [first, ahead, last_of_its_ms] {
        let above = new_id(log.append(p, floor, draft(1), origin("a")).await);
        assert_eq!(above.partition(), p);
        assert!(above > floor, "{above} is not above the floor {floor}");
        let next = append(&log, p, 2).await;
        assert!(next > above, "the id fell below one that a floor had raised");
    }
    assert_rising(&read(&log, p, START, ALL).await, 7);
}

async fn ids_are_above_a_floor_of_another_partition(log: Log) {
    let p = partition(3);
    for (number, other) in [0, 4, MAX_PARTITIONS - 1].into_iter().enumerate() {
        let later = append(&log, p, 0).await.created_at().plus(HOUR);
        let floor = MessageId::new(MessageId::first_at(later, partition(other)).get() | 7);
        let above = new_id(log.append(p, floor, draft(1), origin("a")).await);
        assert!(above > floor, "{above} is not above the floor {floor}, case {number}");
        assert_eq!(above.partition(), p);
    }
}

async fn a_low_floor_changes_nothing(log: Log) {
    let p = partition(3);
    let first = append(&log, p, 0).await;
    let second = new_id(log.append(p, MessageId::new(1), draft(1), origin("a")).await);
    assert!(second > first);
}

async fn concurrent_appends_are_read_in_the_order_of_their_ids(log: Log) {
    let p = partition(5);
    let ids = append_concurrently(&log, p, 8, 40).await;
    let unique: BTreeSet<_> = ids.iter().copied().collect();
    assert_eq!(unique.len(), ids.len(), "an id was assigned twice");
    let entries = read(&log, p, START, ALL).await;
    assert_rising(&entries, ids.len());
    assert!(entries.iter().map(id_of).eq(unique), "the read entries differ from the appended ones");
}

async fn a_following_reader_misses_nothing(log: Log) {
    let p = partition(5);
    let follower = tokio::spawn({
        let log = log.clone();
        async move {
            let mut seen: Vec<LogEntry> = Vec::new();
            while seen.len() < 8 * 40 {
                let after = seen.last().map_or(START, id_of);
                seen.extend(read(&log, p, after, 7).await);
            }
            seen
        }
    });
    let ids = append_concurrently(&log, p, 8, 40).await;
    let seen = result_of(follower).await;
    assert_rising(&seen, ids.len());
    assert!(seen.iter().map(id_of).eq(ids.into_iter().collect::<BTreeSet<_>>()));
}

async fn a_raised_log_assigns_higher_ids_and_keeps_its_entries(log: Log) {
    let [p, empty] = [partition(3), partition(4)];
    let first = append(&log, p, 0).await;
    let ahead = |p| MessageId::new(MessageId::first_at(first.created_at().plus(HOUR), p).get() | 7);
    for p in [p, empty] {
        log.raise(p, ahead(p)).await.expect("raises");
        // A lower position changes nothing.
        log.raise(p, first).await.expect("raises");
        log.raise(p, START).await.expect("raises");
        assert_eq!(append(&log, p, 1).await.get(), ahead(p).get() + 1);
    }
    let ids = read(&log, p, START, ALL).await;
    assert!(ids.iter().map(id_of).eq([first, MessageId::new(ahead(p).get() + 1)]), "{ids:?}");
}

async fn ids_rise_after_everything_was_trimmed(log: Log) {
    let p = partition(1);
    let ahead = append(&log, p, 0).await.created_at().plus(HOUR);
    let last = new_id(log.append(p, MessageId::first_at(ahead, p), draft(1), origin("a")).await);
    log.trim(p, last).await.expect("trims");
    assert!(append(&log, p, 2).await > last);
}

async fn ids_follow_the_clock((log, clock): (Log, Arc<ManualClock>)) {
    let p = partition(6);
    for number in 0..3 {
        assert_eq!(append(&log, p, number).await, MessageId::first_at(clock.now(), p));
        clock.advance(Duration::from_millis(1));
    }
}

async fn ids_rise_while_the_clock_is_stopped((log, clock): (Log, Arc<ManualClock>)) {
    let p = partition(6);
    let mut last = append(&log, p, 0).await;
    for number in 1..20 {
        let next = append(&log, p, number).await;
        assert_eq!(next, last.successor());
        last = next;
    }
    // An exhausted sequence carries into the next millisecond.
    let end_of_ms = MessageId::new(last.get() | 0xfff);
    let carried = new_id(log.append(p, end_of_ms, draft(20), origin("a")).await);
    assert_eq!(carried, end_of_ms.successor());
    assert!(carried.created_at() > clock.now());
}

async fn ids_rise_when_the_clock_steps_back((log, clock): (Log, Arc<ManualClock>)) {
    let p = partition(6);
    let mut last = append(&log, p, 0).await;
    clock.step_back(HOUR);
    for number in 1..20 {
        clock.advance(Duration::from_millis(3));
        let next = append(&log, p, number).await;
        assert_eq!(next, last.successor());
        last = next;
    }
    clock.advance(HOUR + Duration::from_millis(1));
    assert_eq!(append(&log, p, 20).await, MessageId::first_at(clock.now(), p));
    assert_rising(&read(&log, p, START, ALL).await, 21);
}
