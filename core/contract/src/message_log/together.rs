//! What is appended at one time: an adapter may keep it together, and nobody can tell. Owns the
//! properties of appends that are under way at once in one task.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join_all;

use super::{
    ALL, Log, ROOMY, START, TIGHT, append, append_many, assert_rising, draft, id_of, named_draft,
    new_id, origin, partition, read, spawn_read,
};
use crate::property::{answer, assert_waits, properties};
use pabal_core::memory::ManualClock;
use pabal_core::model::{Draft, MessageId, Partition};
use pabal_core::ports::{LogEntry, LogError, Sequenced};

type Told = Result<Sequenced, LogError>;

pub(super) async fn run(fresh: impl AsyncFn(usize) -> Log) {
    properties! { fresh(ROOMY) =>
        each_append_is_told_the_id_of_its_own_message
        a_read_may_begin_and_end_among_them
        a_trim_among_them_keeps_what_is_behind_it
        more_than_go_together_are_all_there
    }
    properties! { fresh(TIGHT) =>
        as_many_are_taken_as_there_is_room_for
    }
}

/// Appends in one task, so that what an adapter gathers does gather.
async fn append_together(log: &Log, partition: Partition, drafts: &[Draft]) -> Vec<Told> {
    let append = |draft: &Draft| log.append(partition, START, draft.clone(), origin("a"));
    join_all(drafts.iter().map(append)).await
}

/// The ids of `count` messages that were appended together, none of them named, in their order.
async fn ids_together(log: &Log, partition: Partition, count: usize) -> Vec<MessageId> {
    let drafts: Vec<_> = (0..count).map(draft).collect();
    let told = append_together(log, partition, &drafts).await;
    let mut ids: Vec<_> = told.into_iter().map(new_id).collect();
    ids.sort_unstable();
    ids
}

/// Reads `count` messages behind `after`, up to `limit` at a time.
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

async fn each_append_is_told_the_id_of_its_own_message(log: Log) {
    let p = partition(4);
    // Without a repeat, with repeats of each other, and with those of what was there before too.
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
        let told = append_together(&log, p, &drafts).await;
        let mut new = HashMap::new();
        for (draft, told) in drafts.iter().zip(&told) {
            if let Ok(Sequenced::New(id)) = told {
                assert!(new.insert(*id, draft).is_none(), "{id} was given twice");
                if let Some(name) = &draft.client_message_id {
                    assert!(of_name.insert(name.clone(), *id).is_none(), "{name} is there twice");
                }
            }
        }
        for (draft, told) in drafts.iter().zip(told) {
            if let Sequenced::Repeat(id) = told.expect("appends") {
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

async fn a_read_may_begin_and_end_among_them(log: Log) {
    let p = partition(4);
    let mut ids = vec![append(&log, p, 0).await];
    ids.extend(ids_together(&log, p, 30).await);
    ids.extend(ids_together(&log, p, 5).await);
    ids.extend(append_many(&log, p, 2).await);
    for start in 0..ids.len() - 1 {
        let behind = &ids[start + 1..];
        for limit in [1, 2, 7, ALL] {
            let seen = follow(&log, p, ids[start], limit, behind.len()).await;
            assert!(seen.iter().map(id_of).eq(behind.iter().copied()), "{limit} at a time");
        }
    }
    let mut reading = spawn_read(&log, p, ids[ids.len() - 1]);
    assert_waits(&mut reading).await;
    let id = append(&log, p, 3).await;
    assert_eq!(id_of(&answer(reading).await[0]), id);
}

async fn a_trim_among_them_keeps_what_is_behind_it(log: Log) {
    let p = partition(4);
    let names: Vec<_> = (0..20).map(|number| format!("{number}")).collect();
    let drafts: Vec<_> = names.iter().map(|name| named_draft(1, 1, name)).collect();
    let told = append_together(&log, p, &drafts).await;
    let mut sent: Vec<_> = told.into_iter().map(new_id).zip(drafts).collect();
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

async fn more_than_go_together_are_all_there(log: Log) {
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
    answer(reading).await;
}

async fn as_many_are_taken_as_there_is_room_for(log: Log) {
    let p = partition(4);
    let taken = |told: &[Told]| {
        let full = told.iter().filter(|told| matches!(told, Err(LogError::Full))).count();
        let new = told.iter().filter(|told| matches!(told, Ok(Sequenced::New(_)))).count();
        assert_eq!(new + full, told.len(), "{told:?}");
        new
    };
    for held in [0, 3] {
        let ids = append_many(&log, p, held).await;
        let drafts: Vec<_> = (0..TIGHT + 4)
            .map(|number| named_draft(1, held as u64, &format!("{number}")))
            .collect();
        let told = append_together(&log, p, &drafts).await;
        assert_eq!(taken(&told), TIGHT - held);
        let seen = follow(&log, p, START, ALL, TIGHT).await;
        assert!(seen.iter().map(id_of).take(held).eq(ids));
        // What was taken is known although there is no room, what was refused is still refused.
        for (again, told) in append_together(&log, p, &drafts).await.into_iter().zip(told) {
            match told {
                Ok(Sequenced::New(id)) => {
                    assert_eq!(again.expect("appends"), Sequenced::Repeat(id));
                }
                _ => assert!(matches!(again, Err(LogError::Full)), "{again:?} beyond the bound"),
            }
        }
        // Among them, and then behind all: the room of each comes back once.
        for stored in [TIGHT - 2, TIGHT - 1, TIGHT - 1] {
            log.trim(p, id_of(&seen[stored])).await.expect("trims");
        }
    }
}

pub(super) async fn ids_carry_among_them((log, clock): (Log, Arc<ManualClock>)) {
    let p = partition(6);
    let first = append(&log, p, 0).await;
    let near_the_end = MessageId::new((first.get() | 0xfff) - 20);
    let mut last = new_id(log.append(p, near_the_end, draft(1), origin("a")).await);
    let start = last;
    let ids = ids_together(&log, p, 60).await;
    for id in &ids {
        assert_eq!(*id, last.successor(), "{clock:?} stands still");
        last = *id;
    }
    assert!(last.created_at() > start.created_at(), "there was no carry");
    for behind in [start, ids[10], ids[40]] {
        let expected = ids.iter().copied().filter(|id| *id > behind);
        let seen = read(&log, p, behind, ALL).await;
        assert!(seen.iter().map(id_of).eq(expected));
    }
}
