//! I5: a read removes nothing, on every transport.

use std::time::Duration;

use pabal_core::engine::WakeReason;
use pabal_core::model::Seq;
use pabal_core::protocol::ProblemCode;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::timeout;

use crate::harness::{Client, World, code, message_id_of, read, send_hello, settle, stream};

#[tokio::test(start_paused = true)]
async fn events_stay_until_a_read_after_them_confirms_them() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let session = Client::open(&engine, &world.log_in(ann).await).await.session;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(send_hello(&engine, ann, group).await);
    }
    settle().await;
    for _ in 0..3 {
        let (events, next) = read(&session, 0, 50).expect("reads");
        assert_eq!(events.iter().map(message_id_of).collect::<Vec<_>>(), ids);
        assert_eq!(next, Seq::new(4));
    }
    assert_eq!(read(&session, 3, 50).expect("reads").0.len(), 1);
    assert_eq!(session.start(), Seq::new(3), "confirmed events are removed");
    let named_none = session.read(None, 50, |view| (view.len(), view.next()));
    assert_eq!(named_none.expect("reads"), (1, Seq::new(4)));
    assert_eq!(read(&session, 4, 50).expect("reads"), (vec![], Seq::new(4)));
}

#[tokio::test(start_paused = true)]
async fn a_position_lies_between_what_is_confirmed_and_what_was_sent() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let session = Client::open(&engine, &world.log_in(ann).await).await.session;
    for _ in 0..6 {
        send_hello(&engine, ann, group).await;
    }
    settle().await;
    for wrong in [7, u64::MAX >> 1] {
        assert_eq!(code(read(&session, wrong, 50)), ProblemCode::Invalid);
        assert_eq!(code(session.position(Some(Seq::new(wrong)))), ProblemCode::Invalid);
    }
    assert_eq!(
        read(&session, 0, 50).expect("reads").0.len(),
        6,
        "an invalid position confirms nothing"
    );
    session.confirm(Seq::new(4));
    session.confirm(Seq::new(2));
    let refused = read(&session, 3, 50).expect_err("is confirmed");
    assert_eq!((refused.code, &*refused.errors[0].field), (ProblemCode::Invalid, "after"));
    assert_eq!(read(&session, 4, 50).expect("reads").0.len(), 2);
    assert_eq!(session.position(Some(Seq::new(6))).expect("is a position"), Seq::new(6));
    assert_eq!(session.position(None).expect("is a position"), Seq::new(4));
}

#[tokio::test(start_paused = true)]
async fn a_limit_leaves_the_rest_for_the_next_read() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    for _ in 0..10 {
        send_hello(&engine, ann, group).await;
    }
    settle().await;
    assert_eq!(client.poll_some(0).expect("lives"), 0);
    for expected in [3, 3, 3, 1, 0] {
        assert_eq!(client.poll_some(3).expect("lives"), expected);
    }
    assert_eq!(client.received(group), world.stored(group).await);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_reader_is_woken_by_the_first_event_and_removes_nothing() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    let reader = client.session.attach();
    let waited = timeout(Duration::from_secs(30), reader.wait(Seq::new(0))).await;
    assert!(waited.is_err(), "there is no event");
    let waiting = tokio::spawn(async move { (reader.wait(Seq::new(0)).await, reader) });
    settle().await;
    send_hello(&engine, ann, group).await;
    let (reason, reader) = waiting.await.expect("no panic");
    assert_eq!(reason, WakeReason::Events);
    assert_eq!(reader.wait(Seq::new(0)).await, WakeReason::Events, "the event is still held");
    assert_eq!(client.poll(), 1);
}

/// A client that changes between the three transports, and loses responses and connections.
#[tokio::test(start_paused = true)]
async fn a_client_that_changes_transports_and_loses_responses_misses_no_message() {
    for seed in 0..40 {
        let world = World::with(|limits| limits.mailbox_events = 24);
        let ann = world.user("ann").await;
        let groups = [world.group(&[ann]).await, world.group(&[ann]).await];
        let engine = world.start().await;
        let mut client = Client::open(&engine, &world.log_in(ann).await).await;
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..60 {
            for _ in 0..rng.random_range(0..4) {
                send_hello(&engine, ann, groups[rng.random_range(0..2)]).await;
            }
            settle().await;
            let lost = rng.random_ratio(1, 3);
            let events = match rng.random_range(0..3) {
                0 => Some(read(&client.session, client.after, rng.random_range(1..9))),
                1 => {
                    let reader = client.session.attach();
                    let wait = reader.wait(Seq::new(client.after));
                    let reason = timeout(Duration::from_millis(5), wait).await;
                    assert_ne!(reason, Ok(WakeReason::Replaced));
                    Some(read(&client.session, client.after, 50))
                }
                _ => {
                    let reader = client.session.attach();
                    let events = stream(&reader, client.after, rng.random_range(1..2_000));
                    if rng.random() {
                        client.session.confirm(Seq::new(client.after));
                    }
                    events.map(|events| Ok(events.expect("lives")))
                }
            };
            match events {
                Some(events) if !lost => drop(client.take(events.expect("lives"))),
                _ => {}
            }
        }
        client.poll_all();
        client.fetch(&world).await;
        for group in groups {
            assert_eq!(client.all(group), world.stored(group).await, "seed {seed}");
        }
        engine.shutdown().await;
    }
}
