//! An inbox exists from `open` to `forget`. Owns the properties of both, except for waiting
//! senders.

use super::{
    ALL, Inbox, START, assert_holds, assert_unknown, numbered, open, receive, spawn_receive,
};
use crate::property::{assert_waits, node, properties, result_of};

pub(super) async fn run(fresh: impl AsyncFn() -> Inbox) {
    properties! { fresh() =>
        a_node_without_inbox_is_unknown
        a_repeated_open_keeps_the_entries
        forgetting_removes_the_entries
        forgetting_ends_a_waiting_receive
    }
}

async fn a_node_without_inbox_is_unknown(inbox: Inbox) {
    let a = node("a");
    for _ in 0..2 {
        let sent = inbox.send(&a, numbered(0..1)).await;
        assert_unknown(&sent);
        assert_unknown(&inbox.receive(&a, START, ALL).await);
        inbox.forget(&a).await.expect("forgetting an unknown inbox is not an error");
    }
    inbox.open(&a).await.expect("opens");
    inbox.send(&a, numbered(0..1)).await.expect("sends");
}

async fn a_repeated_open_keeps_the_entries(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    inbox.send(&a, numbered(0..3)).await.expect("sends");
    inbox.open(&a).await.expect("opens");
    assert_holds(&receive(&inbox, "a", START).await, 0..3);
}

async fn forgetting_removes_the_entries(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    inbox.send(&a, numbered(0..3)).await.expect("sends");
    inbox.forget(&a).await.expect("forgets");
    assert_unknown(&inbox.send(&a, numbered(0..1)).await);
    assert_unknown(&inbox.receive(&a, START, ALL).await);
    inbox.open(&a).await.expect("opens");
    let mut receiving = spawn_receive(&inbox, "a", START);
    assert_waits(&mut receiving).await;
    inbox.send(&a, numbered(5..6)).await.expect("sends");
    assert_holds(&result_of(receiving).await.expect("receives"), 5..6);
}

async fn forgetting_ends_a_waiting_receive(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    let mut receiving = spawn_receive(&inbox, "a", START);
    assert_waits(&mut receiving).await;
    inbox.forget(&a).await.expect("forgets");
    assert_unknown(&result_of(receiving).await);
}
