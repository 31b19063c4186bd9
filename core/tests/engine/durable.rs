//! I1: acknowledged means durable.

use std::time::Duration;

use pabal_core::model::MessageId;
use pabal_core::ports::{HistoryStore, PageFrom};
use pabal_core::protocol::ProblemCode;
use tokio::time::{Instant, timeout};

use crate::harness::{Client, Trouble, World, code, named, quiet, say, sending, text};

/// Longer than the engine waits before it asks a failing port again.
const RETRIED: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn nobody_is_acknowledged_or_told_before_history_has_the_message() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    world.history.before_append.shut();
    let send = sending(&engine, ann, text(group, "hello"));
    quiet().await;
    assert_eq!(world.history.before_append.waiting(), 1, "the owner writes");
    assert!(!send.is_finished(), "acknowledged before it was written");
    assert_eq!(client.poll(), 0, "delivered before it was written");
    world.history.before_append.open();
    let sent = send.await.expect("no panic").expect("is stored");
    assert_eq!(world.stored(group).await, [sent.message.message_id]);
    quiet().await;
    assert_eq!(client.poll(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_has_not_come_back_does_not_count() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    world.history.after_append.shut();
    let send = sending(&engine, ann, text(group, "hello"));
    quiet().await;
    assert_eq!(world.history.after_append.waiting(), 1);
    assert!(!send.is_finished());
    assert_eq!(client.poll(), 0);
    world.history.after_append.open();
    assert!(send.await.expect("no panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn while_history_is_away_nobody_is_acknowledged_and_then_everybody_is() {
    for trouble in [Trouble::Away, Trouble::AwayAfterStoring] {
        let world = World::new();
        let ann = world.user("ann").await;
        let group = world.group(&[ann]).await;
        let engine = world.start().await;
        let mut client = Client::open(&engine, &world.log_in(ann).await).await;
        world.history.trouble(trouble);
        let sends: Vec<_> =
            (0..10).map(|n| sending(&engine, ann, text(group, &n.to_string()))).collect();
        tokio::time::sleep(RETRIED).await;
        assert!(sends.iter().all(|send| !send.is_finished()), "acknowledged under {trouble:?}");
        assert_eq!(client.poll(), 0, "delivered under {trouble:?}");
        world.history.trouble(Trouble::None);
        let mut ids = Vec::new();
        for send in sends {
            ids.push(send.await.expect("no panic").expect("is stored").message.message_id);
        }
        quiet().await;
        client.poll();
        assert_eq!(client.handed(group), ids, "{trouble:?}");
        assert_eq!(world.stored(group).await, ids, "{trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_that_is_never_answered_is_made_again() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    let dead = world.history.pause_next_append();
    let send = engine.submit(ann, named(group, "first")).await;
    assert_eq!(code(send), ProblemCode::NotConfirmed);
    assert_eq!((dead.waiting(), client.poll()), (1, 0));
    // Longer than the engine waits for an answer.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(dead.waiting(), 0, "nobody waits for it any more");
    let again = engine.submit(ann, named(group, "first")).await.expect("is stored");
    assert!(again.repeat);
    assert_eq!(world.stored(group).await, [again.message.message_id]);
    let next = say(&engine, ann, group).await;
    quiet().await;
    client.poll_all();
    assert_eq!(client.handed(group), [again.message.message_id, next]);
}

#[tokio::test(start_paused = true)]
async fn a_history_that_cannot_go_on_stops_the_engine_and_acknowledges_nobody() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    world.history.trouble(Trouble::Poisoned);
    let sends = [(); 3].map(|()| sending(&engine, ann, text(group, "hello")));
    timeout(RETRIED, engine.failed()).await.expect("tells that it cannot go on");
    // Whatever history says from now on, nobody may rely on it, or has to wait for it.
    world.history.trouble(Trouble::None);
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
async fn every_read_behind_an_acknowledgement_shows_the_message() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann, ben]).await;
    let engine = world.start().await;
    for number in 1..=5 {
        let sent = say(&engine, ann, group).await;
        let after = PageFrom::After(MessageId::new(0));
        let page = engine.page(ben, group, after, 50).await.expect("reads");
        assert_eq!(page.messages.len(), number);
        assert_eq!(page.messages[number - 1].message_id, sent);
        assert_eq!(world.history.heads(&[group]).await.expect("reads"), [sent]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_there_after_the_engine_went_away() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let first = say(&engine, ann, group).await;
    // As a killed process does: what waits in the log goes with it.
    world.history.before_append.shut();
    let unstored = sending(&engine, ann, text(group, "hello"));
    quiet().await;
    engine.shutdown().await;
    world.log.lose();
    world.history.before_append.open();
    let engine = world.start().await;
    assert_eq!(code(unstored.await.expect("no panic")), ProblemCode::NotConfirmed);
    let next = say(&engine, ann, group).await;
    assert_eq!(world.stored(group).await, [first, next]);
}
