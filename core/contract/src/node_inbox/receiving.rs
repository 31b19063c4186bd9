//! A receive waits, is repeatable, and removes only confirmed entries. Owns the properties of
//! `receive`.

use super::{ALL, Inbox, START, assert_holds, numbered, open, receive, spawn_receive};
use crate::property::{assert_waits, properties, result_of, start_and_cancel};
use pabal_core::ports::InboxEntry;

pub(super) async fn run(fresh: impl AsyncFn() -> Inbox) {
    properties! { fresh() =>
        a_receive_respects_its_limit
        entries_are_returned_again_until_confirmed
        a_receive_removes_up_to_and_including_its_position
        a_receive_waits_for_the_first_entry
        a_cancelled_receive_loses_nothing
    }
}

async fn a_receive_respects_its_limit(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    inbox.send(&a, numbered(0..7)).await.expect("sends");
    let mut after = START;
    for expected in [0..3, 3..6, 6..7] {
        let entries = inbox.receive(&a, after, 3).await.expect("receives");
        assert_holds(&entries, expected);
        after = entries[entries.len() - 1].position;
    }
}

async fn entries_are_returned_again_until_confirmed(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    inbox.send(&a, numbered(0..3)).await.expect("sends");
    let first = receive(&inbox, "a", START).await;
    inbox.send(&a, numbered(3..5)).await.expect("sends");
    let again = receive(&inbox, "a", START).await;
    assert_holds(&again, 0..5);
    let position = |entry: &InboxEntry| entry.position;
    assert!(first.iter().map(position).eq(again[..3].iter().map(position)), "positions changed");
}

async fn a_receive_removes_up_to_and_including_its_position(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    inbox.send(&a, numbered(0..5)).await.expect("sends");
    let entries = receive(&inbox, "a", START).await;
    assert_holds(&receive(&inbox, "a", entries[2].position).await, 3..5);
    assert_holds(&receive(&inbox, "a", START).await, 3..5);
}

async fn a_receive_waits_for_the_first_entry(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    let mut receiving = spawn_receive(&inbox, "a", START);
    assert_waits(&mut receiving).await;
    inbox.send(&a, numbered(0..1)).await.expect("sends");
    let entries = result_of(receiving).await.expect("receives");
    assert_holds(&entries, 0..1);
    let mut receiving = spawn_receive(&inbox, "a", entries[0].position);
    assert_waits(&mut receiving).await;
    inbox.send(&a, numbered(1..2)).await.expect("sends");
    assert_holds(&result_of(receiving).await.expect("receives"), 1..2);
}

async fn a_cancelled_receive_loses_nothing(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    start_and_cancel(inbox.receive(&a, START, ALL)).await;
    inbox.send(&a, numbered(0..3)).await.expect("sends");
    let entries = receive(&inbox, "a", START).await;
    assert_holds(&entries, 0..3);
    start_and_cancel(inbox.receive(&a, entries[2].position, ALL)).await;
    inbox.send(&a, numbered(3..4)).await.expect("sends");
    assert_holds(&receive(&inbox, "a", entries[2].position).await, 3..4);
}
