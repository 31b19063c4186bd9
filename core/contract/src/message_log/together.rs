//! Concurrent appends, which an adapter may batch. Batching must not be observable. Owns the
//! properties of appends that are in flight at the same time in one task.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join_all;

use super::{
    ALL, Log, ROOMY, START, TIGHT, append, append_many, assert_rising, draft, id_of, named_draft,
    new_id, origin, partition, read, spawn_read,
};
use crate::property::{assert_waits, properties, result_of};
use pabal_core::memory::ManualClock;
use pabal_core::model::{Draft, MessageId, Partition};
use pabal_core::ports::{LogEntry, LogError, Sequenced};

type AppendResult = Result<Sequenced, LogError>;

pub(super) async fn run(fresh: impl AsyncFn(usize) -> Log) {
    properties! { fresh(ROOMY) =>
        each_append_returns_the_id_of_its_own_message
        a_read_may_begin_and_end_within_a_batch
        a_trim_within_a_batch_keeps_later_messages
        more_appends_than_a_batch_holds_are_all_kept
    }
    properties! { fresh(TIGHT) =>
        a_batch_is_accepted_up_to_the_capacity
    }
}

/// Appends in one task, so that an adapter that batches does batch.
async fn append_together(log: &Log, partition: Partition, drafts: &[Draft]) -> Vec<AppendResult> {
    let append = |draft: &Draft| log.append(partition, START, draft.clone(), origin("a"));
    join_all(drafts.iter().map(append)).await
}

/// The sorted ids of `count` messages without client_message_id that were appended concurrently.
async fn ids_together(log: &Log, partition: Partition, count: usize) -> Vec<MessageId> {
    let drafts: Vec<_> = (0..count).map(draft).collect();
    let appended = append_together(log, partition, &drafts).await;
    let mut ids: Vec<_> = appended.into_iter().map(new_id).collect();
    ids.sort_unstable();
    ids
}

/// Reads `count` messages after `after`, up to `limit` at a time.
async fn follow(
    log: &Log,
    partition: Partition,
    mut after: MessageId,
    limit: usize,
    count: usize,
) -> Vec<LogEntry> {
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.extend(read(log, partition, after, limit).await);
        after = seen.last().map_or(after, id_of);
    }
    assert_rising(&seen, count);
    seen
}

async fn each_append_returns_the_id_of_its_own_message(log: Log) {
    let p = partition(4);
    // Without repeats, with repeats within the batch, and with repeats of earlier messages too.
    let mut of_name = HashMap::new();
    for names in
        [&["u", "", "v"][..], &["x", "y", "x", "", "z", "", "y", "x"], &["x", "", "u", "w"]]
    {
        let before = append(&log, p, 0).await;
        let known = of_name.len();
        let name = |name: &str| (!name.is_empty()).then(|| name.into());
        let drafts = names.iter().cycle().zip(0..if known == 0 { names.len() } else { 40 });
        let drafts: Vec<_> = drafts
            .map(|(it, number)| Draft { client_message_id: name(it), ..draft(number) })
            .collect();
        let appended = append_together(&log, p, &drafts).await;
        let mut new = HashMap::new();
        for (draft, appended) in drafts.iter().zip(&appended) {
            if let Ok(Sequenced::New(id)) = appended {
                assert!(new.insert(*id, draft).is_none(), "{id} was assigned twice");
                if let Some(name) = &draft.client_message_id {
                    assert!(
                        of_name.insert(name.clone(), *id).is_none(),
                        "{name} was appended twice"
                    );
                }
            }
        }
        for (draft, appended) in drafts.iter().zip(appended) {
            if let Sequenced::Repeat(id) = appended.expect("appends") {
                let name = draft.client_message_id.as_ref().expect("a name");
                assert_eq!(of_name.get(name), Some(&id), "the repeat of {name}");
            }
        }
        let nameless = drafts.iter().filter(|draft| draft.client_message_id.is_none()).count();
        assert_eq!(new.len(), nameless + of_name.len() - known);
        for entry in follow(&log, p, before, ALL, new.len()).await {
            let id = id_of(&entry);
            assert_eq!(entry.message, new[&id].clone().at(id));
        }
    }
    assert_eq!(of_name.len(), 6);
}

async fn a_read_may_begin_and_end_within_a_batch(log: Log) {
    let p = partition(4);
    let mut ids = vec![append(&log, p, 0).await];
    ids.extend(ids_together(&log, p, 30).await);
    ids.extend(ids_together(&log, p, 5).await);
    ids.extend(append_many(&log, p, 2).await);
    for start in 0..ids.len() - 1 {
        let later = &ids[start + 1..];
        for limit in [1, 2, 7, ALL] {
            let seen = follow(&log, p, ids[start], limit, later.len()).await;
            assert!(seen.iter().map(id_of).eq(later.iter().copied()), "{limit} at a time");
        }
    }
    let mut reading = spawn_read(&log, p, ids[ids.len() - 1]);
    assert_waits(&mut reading).await;
    let id = append(&log, p, 3).await;
    assert_eq!(id_of(&result_of(reading).await[0]), id);
}

async fn a_trim_within_a_batch_keeps_later_messages(log: Log) {
    let p = partition(4);
    let names: Vec<_> = (0..20).map(|number| format!("{number}")).collect();
    let drafts: Vec<_> = names.iter().map(|name| named_draft(1, 1, name)).collect();
    let appended = append_together(&log, p, &drafts).await;
    let mut sent: Vec<_> = appended.into_iter().map(new_id).zip(drafts).collect();
    sent.sort_unstable_by_key(|(id, _)| *id);
    for stored in [0, 0, 7, 18] {
        let (stored, held) = (sent[stored].0, &sent[stored + 1..]);
        log.trim(p, stored).await.expect("trims");
        let seen = follow(&log, p, stored, ALL, held.len()).await;
        assert!(seen.iter().map(id_of).eq(held.iter().map(|(id, _)| *id)));
        for (id, draft) in held {
            let repeated = log.append(p, START, draft.clone(), origin("b")).await;
            assert_eq!(repeated.expect("appends"), Sequenced::Repeat(*id));
        }
    }
    let last = sent[sent.len() - 1].0;
    log.trim(p, last).await.expect("trims");
    assert!(append(&log, p, 0).await > last);
    assert_rising(&read(&log, p, START, ALL).await, 1);
}

async fn more_appends_than_a_batch_holds_are_all_kept(log: Log) {
    let p = partition(4);
    let mut stored = START;
    for count in [1, 700, 1, 300] {
        let ids = ids_together(&log, p, count).await;
        let seen = follow(&log, p, stored, 256, count).await;
        assert!(seen.iter().map(id_of).eq(ids.iter().copied()));
        stored = ids[count - 1];
        log.trim(p, stored).await.expect("trims");
    }
    let mut reading = spawn_read(&log, p, START);
    assert_waits(&mut reading).await;
    append(&log, p, 0).await;
    result_of(reading).await;
}

async fn a_batch_is_accepted_up_to_the_capacity(log: Log) {
    let p = partition(4);
    let accepted = |appended: &[AppendResult]| {
        let full =
            appended.iter().filter(|appended| matches!(appended, Err(LogError::Full))).count();
        let new =
            appended.iter().filter(|appended| matches!(appended, Ok(Sequenced::New(_)))).count();
        assert_eq!(new + full, appended.len(), "{appended:?}");
        new
    };
    for held in [0, 3] {
        let ids = append_many(&log, p, held).await;
        let drafts: Vec<_> = (0..TIGHT + 4)
            .map(|number| named_draft(1, held as u64, &format!("{number}")))
            .collect();
        let appended = append_together(&log, p, &drafts).await;
        assert_eq!(accepted(&appended), TIGHT - held);
        let seen = follow(&log, p, START, ALL, TIGHT).await;
        assert!(seen.iter().map(id_of).take(held).eq(ids));
        // An accepted send is recognised as a repeat although the log is full; a refused send is
        // refused again.
        for (again, appended) in append_together(&log, p, &drafts).await.into_iter().zip(appended) {
            match appended {
                Ok(Sequenced::New(id)) => {
                    assert_eq!(again.expect("appends"), Sequenced::Repeat(id));
                }
                _ => assert!(matches!(again, Err(LogError::Full)), "{again:?} beyond the capacity"),
            }
        }
        // A trim within the batch, then after all of it: the capacity of each message is returned
        // once.
        for stored in [TIGHT - 2, TIGHT - 1, TIGHT - 1] {
            log.trim(p, id_of(&seen[stored])).await.expect("trims");
        }
    }
}

pub(super) async fn ids_carry_within_a_batch((log, clock): (Log, Arc<ManualClock>)) {
    let p = partition(6);
    let first = append(&log, p, 0).await;
    let near_the_end = MessageId::new((first.get() | 0xfff) - 20);
    let mut last = new_id(log.append(p, near_the_end, draft(1), origin("a")).await);
    let start = last;
    let ids = ids_together(&log, p, 60).await;
    for id in &ids {
        assert_eq!(*id, last.successor(), "{clock:?} is stopped");
        last = *id;
    }
    assert!(last.created_at() > start.created_at(), "there was no carry");
    for later in [start, ids[10], ids[40]] {
        let expected = ids.iter().copied().filter(|id| *id > later);
        let seen = read(&log, p, later, ALL).await;
        assert!(seen.iter().map(id_of).eq(expected));
    }
}
