//! A send is sequenced once. Owns the properties of send keys.

use std::collections::BTreeSet;

use super::{ALL, Log, START, append, assert_rising, named_draft, new_id, origin, partition, read};
use crate::property::{properties, result_of};
use pabal_core::model::Draft;
use pabal_core::ports::Sequenced;

pub(super) async fn run(fresh: impl AsyncFn() -> Log) {
    properties! { fresh() =>
        a_repeat_names_the_first_and_appends_nothing
        only_the_same_send_is_a_repeat
        one_of_many_concurrent_repeats_is_new
    }
}

async fn a_repeat_names_the_first_and_appends_nothing(log: Log) {
    let p = partition(0);
    let first = new_id(log.append(p, START, named_draft(1, 1, "x"), origin("a")).await);
    append(&log, p, 0).await;
    let reworded = Draft { content: "other words".into(), ..named_draft(1, 1, "x") };
    for (draft, by) in [(named_draft(1, 1, "x"), "a"), (reworded, "b")] {
        let repeated = log.append(p, START, draft, origin(by)).await.expect("appends");
        assert_eq!(repeated, Sequenced::Repeat(first));
    }
    assert_rising(&read(&log, p, START, ALL).await, 2);
}

async fn only_the_same_send_is_a_repeat(log: Log) {
    let p = partition(0);
    let mut ids = BTreeSet::new();
    for (from, channel, name) in [(1, 1, "x"), (1, 1, "y"), (1, 2, "x"), (2, 1, "x"), (11, 1, "x")]
    {
        ids.insert(new_id(
            log.append(p, START, named_draft(from, channel, name), origin("a")).await,
        ));
    }
    // A send without a client_message_id is never a repeat.
    for _ in 0..2 {
        ids.insert(append(&log, p, 0).await);
    }
    assert_eq!(ids.len(), 7);
}

async fn one_of_many_concurrent_repeats_is_new(log: Log) {
    let p = partition(0);
    let sends: Vec<_> = (0..16)
        .map(|_| {
            let log = log.clone();
            tokio::spawn(
                async move { log.append(p, START, named_draft(1, 1, "x"), origin("a")).await },
            )
        })
        .collect();
    let (mut new, mut repeats) = (Vec::new(), Vec::new());
    for send in sends {
        match result_of(send).await.expect("appends") {
            Sequenced::New(id) => new.push(id),
            Sequenced::Repeat(id) => repeats.push(id),
        }
    }
    assert_eq!((new.len(), repeats.len()), (1, 15));
    assert!(repeats.iter().all(|id| *id == new[0]), "{repeats:?} of {new:?}");
    assert_rising(&read(&log, p, START, ALL).await, 1);
}
