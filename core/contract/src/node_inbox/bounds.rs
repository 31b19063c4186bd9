//! A full inbox makes senders wait. Owns the properties of the capacity.

use super::{
    Inbox, START, TIGHT, assert_holds, assert_unknown, drain, number, numbered, open, receive,
    spawn_send,
};
use crate::property::{assert_waits, properties, result_of};

pub(super) async fn run(fresh: impl AsyncFn(usize) -> Inbox) {
    properties! { fresh(TIGHT) =>
        a_send_waits_at_capacity_until_entries_are_confirmed
        every_waiting_send_gets_its_turn
        freed_capacity_resumes_several_senders
        a_send_above_the_capacity_arrives_in_parts
        a_full_inbox_does_not_block_another
        forgetting_ends_a_waiting_send
    }
}

async fn a_send_waits_at_capacity_until_entries_are_confirmed(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    inbox.send(&a, numbered(0..TIGHT as u64)).await.expect("sends up to the capacity");
    let mut sending = spawn_send(&inbox, "a", numbered(4..5));
    assert_waits(&mut sending).await;
    // Reading alone frees no capacity; confirming a position does.
    let entries = receive(&inbox, "a", START).await;
    assert_holds(&entries, 0..4);
    assert_waits(&mut sending).await;
    let rest = receive(&inbox, "a", entries[0].position).await;
    result_of(sending).await.expect("sends");
    assert_eq!(number(&rest[0]), 1);
    assert_holds(&receive(&inbox, "a", entries[0].position).await, 1..5);
}

async fn every_waiting_send_gets_its_turn(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    inbox.send(&a, numbered(0..TIGHT as u64)).await.expect("sends up to the capacity");
    let mut sends: Vec<_> =
        (4..12).map(|number| spawn_send(&inbox, "a", numbered(number..number + 1))).collect();
    for sending in &mut sends {
        assert_waits(sending).await;
    }
    let mut numbers = drain(&inbox, "a", 12).await;
    for sending in sends {
        result_of(sending).await.expect("sends");
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..12));
}

async fn freed_capacity_resumes_several_senders(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    let bound = TIGHT as u64;
    inbox.send(&a, numbered(0..bound)).await.expect("sends up to the capacity");
    let mut sends: Vec<_> = (bound..2 * bound)
        .map(|number| spawn_send(&inbox, "a", numbered(number..number + 1)))
        .collect();
    for sending in &mut sends {
        assert_waits(sending).await;
    }
    let held = receive(&inbox, "a", START).await;
    let emptied_at = held[TIGHT - 1].position;
    receive(&inbox, "a", emptied_at).await;
    for sending in sends {
        result_of(sending).await.expect("sends");
    }
    let mut numbers: Vec<_> = receive(&inbox, "a", emptied_at).await.iter().map(number).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(bound..2 * bound));
}

async fn a_send_above_the_capacity_arrives_in_parts(inbox: Inbox) {
    open(&inbox, "a").await;
    let many = 5 * TIGHT as u64 + 1;
    let mut sending = spawn_send(&inbox, "a", numbered(0..many));
    assert_waits(&mut sending).await;
    let held = receive(&inbox, "a", START).await.len();
    assert!(held <= TIGHT, "{held} entries exceed the capacity of {TIGHT}");
    assert!(drain(&inbox, "a", many).await.into_iter().eq(0..many));
    result_of(sending).await.expect("sends");
}

async fn a_full_inbox_does_not_block_another(inbox: Inbox) {
    open(&inbox, "a").await;
    let b = open(&inbox, "b").await;
    let mut sending = spawn_send(&inbox, "a", numbered(0..2 * TIGHT as u64));
    assert_waits(&mut sending).await;
    inbox.send(&b, numbered(0..2)).await.expect("sends");
    assert_holds(&receive(&inbox, "b", START).await, 0..2);
    assert_waits(&mut sending).await;
}

async fn forgetting_ends_a_waiting_send(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    let mut sending = spawn_send(&inbox, "a", numbered(0..2 * TIGHT as u64));
    assert_waits(&mut sending).await;
    inbox.forget(&a).await.expect("forgets");
    let sent = result_of(sending).await;
    assert_unknown(&sent);
    assert!(
        sent.is_err_and(|error| !error.retryable()),
        "a send to a removed inbox is not retryable"
    );
}
