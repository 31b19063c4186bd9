//! I1: acknowledged means durable.

use std::time::Duration;

use pabal_core::model::MessageId;
use pabal_core::ports::{HistoryStore, PageFrom};
use pabal_core::protocol::ProblemCode;
use tokio::time::{Instant, timeout};

use crate::harness::{Client, Fault, World, code, named, send_hello, sending, settle, text};

/// Longer than the engine waits before it calls a failing port again.
const RETRIED: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn no_message_is_acknowledged_or_delivered_before_history_has_it() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    world.history.before_append.close();
    let send = sending(&engine, ann, text(group, "hello"));
    settle().await;
    assert_eq!(world.history.before_append.waiting(), 1, "the owner is appending");
    assert!(!send.is_finished(), "acknowledged before it was written");
    assert_eq!(client.poll(), 0, "delivered before it was written");
    world.history.before_append.open();
    let sent = send.await.expect("no panic").expect("is stored");
    assert_eq!(world.stored(group).await, [sent.message.message_id]);
    settle().await;
    assert_eq!(client.poll(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_without_a_response_does_not_count() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    world.history.after_append.close();
    let send = sending(&engine, ann, text(group, "hello"));
    settle().await;
    assert_eq!(world.history.after_append.waiting(), 1);
    assert!(!send.is_finished());
    assert_eq!(client.poll(), 0);
    world.history.after_append.open();
    assert!(send.await.expect("no panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn while_history_is_unavailable_no_send_is_acknowledged_and_then_all_are() {
    for fault in [Fault::Unavailable, Fault::UnavailableAfterStoring] {
        let world = World::new();
        let ann = world.user("ann").await;
        let group = world.group(&[ann]).await;
        let engine = world.start().await;
        let mut client = Client::open(&engine, &world.log_in(ann).await).await;
        world.history.set_fault(fault);
        let sends: Vec<_> =
            (0..10).map(|n| sending(&engine, ann, text(group, &n.to_string()))).collect();
        tokio::time::sleep(RETRIED).await;
        assert!(sends.iter().all(|send| !send.is_finished()), "acknowledged under {fault:?}");
        assert_eq!(client.poll(), 0, "delivered under {fault:?}");
        world.history.set_fault(Fault::None);
        let mut ids = Vec::new();
        for send in sends {
            ids.push(send.await.expect("no panic").expect("is stored").message.message_id);
        }
        settle().await;
        client.poll();
        assert_eq!(client.received(group), ids, "{fault:?}");
        assert_eq!(world.stored(group).await, ids, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_without_a_response_is_repeated() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    let dead = world.history.pause_next_append();
    let send = engine.submit(ann, named(group, "first")).await;
    assert_eq!(code(send), ProblemCode::NotConfirmed);
    assert_eq!((dead.waiting(), client.poll()), (1, 0));
    // Longer than the engine waits for a response.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(dead.waiting(), 0, "the call was given up");
    let again = engine.submit(ann, named(group, "first")).await.expect("is stored");
    assert!(again.repeat);
    assert_eq!(world.stored(group).await, [again.message.message_id]);
    let next = send_hello(&engine, ann, group).await;
    settle().await;
    client.poll_all();
    assert_eq!(client.received(group), [again.message.message_id, next]);
}

#[tokio::test(start_paused = true)]
async fn a_poisoned_history_stops_the_engine_and_no_send_is_acknowledged() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    world.history.set_fault(Fault::Poisoned);
    let sends = [(); 3].map(|()| sending(&engine, ann, text(group, "hello")));
    timeout(RETRIED, engine.failed()).await.expect("reports that it cannot continue");
    // From now on no send may rely on history or wait for it.
    world.history.set_fault(Fault::None);
    let failed = Instant::now();
    for send in sends {
        assert_eq!(code(send.await.expect("no panic")), ProblemCode::NotConfirmed);
    }
    assert_eq!(code(engine.submit(ann, text(group, "late")).await), ProblemCode::NotConfirmed);
    assert_eq!(failed.elapsed(), Duration::ZERO);
    assert_eq!(client.poll(), 0);
    assert_eq!(engine.stats().messages_stored, 0);
}

#[tokio::test(start_paused = true)]
async fn every_read_after_an_acknowledgement_returns_the_message() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann, ben]).await;
    let engine = world.start().await;
    for number in 1..=5 {
        let sent = send_hello(&engine, ann, group).await;
        let after = PageFrom::After(MessageId::new(0));
        let page = engine.page(ben, group, after, 50).await.expect("reads");
        assert_eq!(page.messages.len(), number);
        assert_eq!(page.messages[number - 1].message_id, sent);
        assert_eq!(world.history.heads(&[group]).await.expect("reads"), [sent]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_message_survives_the_engine() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let first = send_hello(&engine, ann, group).await;
    // Like a killed process, which loses the entries of its log.
    world.history.before_append.close();
    let unstored = sending(&engine, ann, text(group, "hello"));
    settle().await;
    engine.shutdown().await;
    world.log.lose();
    world.history.before_append.open();
    let engine = world.start().await;
    assert_eq!(code(unstored.await.expect("no panic")), ProblemCode::NotConfirmed);
    let next = send_hello(&engine, ann, group).await;
    assert_eq!(world.stored(group).await, [first, next]);
}
