//! An inbox is there from `open` to `forget`. Owns the properties of both, but for waiting sends.

use super::{
    ALL, Inbox, START, assert_holds, assert_unknown, numbered, open, receive, spawn_receive,
};
use crate::property::{answer, assert_waits, node, properties};

pub(super) async fn run(fresh: impl AsyncFn() -> Inbox) {
    properties! { fresh() =>
        a_node_without_inbox_is_unknown
        opening_again_keeps_what_is_there
        forgetting_removes_what_is_in_the_inbox
        forgetting_ends_a_waiting_receive
    }
}

async fn a_node_without_inbox_is_unknown(inbox: Inbox) {
    let a = node("a");
    for _ in 0..2 {
        let sent = inbox.send(&a, numbered(0..1)).await;
        assert_unknown(&sent);
        assert_unknown(&inbox.receive(&a, START, ALL).await);
        inbox.forget(&a).await.expect("forgetting what is not there is no error");
    }
    inbox.open(&a).await.expect("opens");
    inbox.send(&a, numbered(0..1)).await.expect("sends");
}

async fn opening_again_keeps_what_is_there(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    inbox.send(&a, numbered(0..3)).await.expect("sends");
    inbox.open(&a).await.expect("opens");
    assert_holds(&receive(&inbox, "a", START).await, 0..3);
}

async fn forgetting_removes_what_is_in_the_inbox(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    inbox.send(&a, numbered(0..3)).await.expect("sends");
    inbox.forget(&a).await.expect("forgets");
    assert_unknown(&inbox.send(&a, numbered(0..1)).await);
    assert_unknown(&inbox.receive(&a, START, ALL).await);
    inbox.open(&a).await.expect("opens");
    let mut receiving = spawn_receive(&inbox, "a", START);
    assert_waits(&mut receiving).await;
    inbox.send(&a, numbered(5..6)).await.expect("sends");
    assert_holds(&answer(receiving).await.expect("receives"), 5..6);
}

async fn forgetting_ends_a_waiting_receive(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    let mut receiving = spawn_receive(&inbox, "a", START);
    assert_waits(&mut receiving).await;
    inbox.forget(&a).await.expect("forgets");
    assert_unknown(&answer(receiving).await);
}
