//! The capacity of the log. Owns the properties of `trim` and of the capacity.

use std::time::Duration;

use super::{
    ALL, Log, START, TIGHT, append, append_many, assert_rising, draft, id_of, new_id, origin,
    partition, read, spawn_read,
};
use crate::property::{assert_waits, properties, result_of};
use pabal_core::model::MessageId;
use pabal_core::ports::LogError;

pub(super) async fn run(fresh: impl AsyncFn(usize) -> Log) {
    properties! { fresh(TIGHT) =>
        a_trim_removes_up_to_and_including_its_position
        a_trim_never_moves_back
        ids_are_above_the_trimmed_position
        the_log_is_full_at_capacity_until_trimmed
    }
}

async fn a_trim_removes_up_to_and_including_its_position(log: Log) {
    let p = partition(2);
    log.trim(p, START).await.expect("trims an empty partition");
    let ids = append_many(&log, p, 6).await;
    log.trim(p, ids[1]).await.expect("trims");
    assert!(read(&log, p, START, ALL).await.iter().map(id_of).eq(ids[2..].iter().copied()));
    // A position need not be the id of an entry.
    let gap = MessageId::first_at(ids[5].created_at().plus(Duration::from_secs(3_600)), p);
    let beyond = new_id(log.append(p, gap, draft(6), origin("a")).await);
    log.trim(p, gap).await.expect("trims");
    assert!(read(&log, p, START, ALL).await.iter().map(id_of).eq([beyond]));
    log.trim(p, beyond).await.expect("trims");
    let mut reading = spawn_read(&log, p, START);
    assert_waits(&mut reading).await;
    let id = append(&log, p, 7).await;
    assert_eq!(id_of(&result_of(reading).await[0]), id);
}

async fn a_trim_never_moves_back(log: Log) {
    let p = partition(2);
    let ids = append_many(&log, p, 6).await;
    for stored in [ids[3], ids[1], START, ids[3]] {
        log.trim(p, stored).await.expect("trims");
        assert!(read(&log, p, START, ALL).await.iter().map(id_of).eq(ids[4..].iter().copied()));
    }
}

/// The log lost its tail, and the owner knows the stored position but the sender does not.
async fn ids_are_above_the_trimmed_position(log: Log) {
    let (p, empty) = (partition(2), partition(3));
    let first = append(&log, p, 0).await;
    for (p, other) in [(p, p), (empty, empty), (p, partition(9)), (empty, partition(0))] {
        let later = append(&log, p, 1).await.max(first).created_at().plus(Duration::from_secs(60));
        let stored = MessageId::new(MessageId::first_at(later, other).get() | 5);
        for stored in [stored, first] {
            log.trim(p, stored).await.expect("trims");
        }
        let id = append(&log, p, 2).await;
        assert!(id > stored, "{id} is not above {stored}");
        assert_eq!(id.partition(), p);
        assert!(read(&log, p, START, ALL).await.iter().map(id_of).eq([id]));
    }
}

async fn the_log_is_full_at_capacity_until_trimmed(log: Log) {
    let (p, other) = (partition(1), partition(2));
    let ids = append_many(&log, p, TIGHT).await;
    for _ in 0..2 {
        let refused = log.append(p, START, draft(99), origin("a")).await;
        assert!(matches!(refused, Err(LogError::Full)), "{refused:?} beyond the capacity");
        assert!(LogError::Full.retryable());
    }
    assert!(read(&log, p, START, ALL).await.iter().map(id_of).eq(ids.iter().copied()));
    append(&log, other, 0).await;
    log.trim(p, ids[1]).await.expect("trims");
    let more = append_many(&log, p, 2).await;
    assert!(more[0] > ids[TIGHT - 1]);
    let refused = log.append(p, START, draft(99), origin("a")).await;
    assert!(matches!(refused, Err(LogError::Full)), "{refused:?} beyond the capacity");
    assert_rising(&read(&log, p, START, ALL).await, TIGHT);
}
