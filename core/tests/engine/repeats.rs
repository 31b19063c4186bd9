//! I4: a send may be repeated after any timeout; the channel holds one message.

use std::collections::BTreeSet;
use std::time::Duration;

use pabal_core::engine::SendRequest;
use pabal_core::protocol::ProblemCode;

use crate::harness::{Client, Fault, World, named, sending, settle, text};

const DAY: Duration = Duration::from_secs(24 * 3_600);

#[tokio::test(start_paused = true)]
async fn of_many_concurrent_repeats_one_is_stored_and_all_are_acknowledged_with_its_id() {
    for slow in [false, true] {
        let world = World::new();
        let ann = world.user("ann").await;
        let group = world.group(&[ann]).await;
        let engine = world.start().await;
        let mut client = Client::open(&engine, &world.log_in(ann).await).await;
        if slow {
            world.history.before_append.close();
        }
        let mut sends = Vec::new();
        for round in 0..32 {
            sends.push(sending(&engine, ann, named(group, "once")));
            if round % 4 == 0 {
                settle().await;
            }
        }
        settle().await;
        world.history.before_append.open();
        let mut new = 0;
        for send in sends {
            let sent = send.await.expect("no panic").expect("is acknowledged");
            assert_eq!(world.stored(group).await, [sent.message.message_id]);
            new += usize::from(!sent.repeat);
        }
        assert_eq!(new, 1, "one of the sends is new");
        settle().await;
        assert_eq!(client.poll(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_after_a_restart_returns_the_first_message() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let first = engine.submit(ann, named(group, "once")).await.expect("is stored");
    engine.shutdown().await;
    for loses_its_log in [false, true] {
        if loses_its_log {
            world.log.lose();
        }
        let engine = world.start().await;
        let mut client = Client::open(&engine, &world.log_in(ann).await).await;
        let again = engine.submit(ann, named(group, "once")).await.expect("is known");
        assert_eq!((again.message, again.repeat), (first.message.clone(), true));
        settle().await;
        assert_eq!(client.poll(), 0, "delivered again");
        engine.shutdown().await;
    }
    assert_eq!(world.stored(group).await, [first.message.message_id]);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_after_not_confirmed_is_the_same_send() {
    for loses_its_log in [false, true] {
        let world = World::new();
        let ann = world.user("ann").await;
        let group = world.group(&[ann]).await;
        let engine = world.start().await;
        let mut client = Client::open(&engine, &world.log_in(ann).await).await;
        world.history.set_fault(Fault::UnavailableAfterStoring);
        let refused = engine.submit(ann, named(group, "once")).await.expect_err("is not confirmed");
        assert_eq!(refused.code, ProblemCode::NotConfirmed);
        assert!(refused.retryable() && refused.retry_after.is_some());
        if loses_its_log {
            world.log.lose();
        }
        let repeat = sending(&engine, ann, named(group, "once"));
        settle().await;
        world.history.set_fault(Fault::None);
        let sent = repeat.await.expect("no panic").expect("is stored");
        assert!(sent.repeat);
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.poll();
        assert_eq!(world.stored(group).await, [sent.message.message_id]);
        assert_eq!(client.received(group), [sent.message.message_id]);
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_same_name_of_the_same_sender_in_the_same_channel_is_a_repeat() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let (group, other) = (world.group(&[ann, ben]).await, world.group(&[ann, ben]).await);
    let engine = world.start().await;
    let mut ids = BTreeSet::new();
    for (from, send) in [
        (ann, named(group, "a")),
        (ann, named(group, "b")),
        (ann, named(other, "a")),
        (ben, named(group, "a")),
        // A send without a name is never a repeat.
        (ann, text(group, "a")),
        (ann, text(group, "a")),
    ] {
        let sent = engine.submit(from, send).await.expect("is stored");
        assert!(!sent.repeat);
        ids.insert(sent.message.message_id);
    }
    assert_eq!(ids.len(), 6);
    let reworded = SendRequest { content: "otherwise".into(), ..named(group, "a") };
    let again = engine.submit(ann, reworded).await.expect("is known");
    assert_eq!((again.repeat, &*again.message.content), (true, "a"), "the first one is kept");
}

#[tokio::test(start_paused = true)]
async fn a_client_message_id_is_remembered_for_a_day() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    assert!(!engine.submit(ann, named(group, "a")).await.expect("is stored").repeat);
    world.clock.advance(DAY - Duration::from_secs(1));
    assert!(engine.submit(ann, named(group, "a")).await.expect("is known").repeat);
    world.clock.advance(DAY);
    assert!(!engine.submit(ann, named(group, "a")).await.expect("is stored").repeat);
}

#[tokio::test(start_paused = true)]
async fn a_sender_whose_log_response_comes_after_storage_is_acknowledged() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    // The log remembers the send as long as it is not trimmed.
    world.log.before_trim.close();
    let gate = world.log.hold_responses();
    let first = sending(&engine, ann, named(group, "once"));
    settle().await;
    assert_eq!(world.stored(group).await.len(), 1);
    world.log.respond_at_once();
    let repeat = engine.submit(ann, named(group, "once")).await.expect("is known");
    gate.open();
    let first = first.await.expect("no panic").expect("is acknowledged");
    assert_eq!(first.message.message_id, repeat.message.message_id);
}

#[tokio::test(start_paused = true)]
async fn a_send_whose_caller_was_dropped_is_stored() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    world.history.before_append.close();
    let given_up = engine.begin_submit(ann, named(group, "once")).await.expect("is accepted");
    drop(given_up);
    world.history.before_append.open();
    let again = engine.submit(ann, named(group, "once")).await.expect("is known");
    settle().await;
    assert_eq!(world.stored(group).await, [again.message.message_id]);
}
