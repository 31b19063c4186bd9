//! I6: from history to live without gap or repeat.

use std::sync::atomic::Ordering;
use std::time::Duration;

use pabal_core::engine::Engine;
use pabal_core::model::{ChannelId, MessageId, Seq, UserId};
use pabal_core::ports::{Audience, Delivery, HistoryStore, NodeInbox, Trace};
use pabal_core::protocol::{Cursors, ProblemCode, event};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;

use crate::harness::{
    Client, OPENING_STEPS, World, code, node, opening_paused_at, send_hello, settle, step_gate,
    text,
};

/// Sends `count` messages to random `channels`, with up to 2 ms between them.
fn keep_sending(
    engine: &Engine,
    from: UserId,
    channels: &[ChannelId],
    count: usize,
    seed: u64,
) -> JoinHandle<()> {
    let (engine, channels) = (engine.clone(), channels.to_vec());
    tokio::spawn(async move {
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..count {
            send_hello(&engine, from, channels[rng.random_range(0..channels.len())]).await;
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..3))).await;
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_session_opened_while_others_send_receives_all_above_its_cursor_once() {
    for seed in 0..40 {
        let world = World::new();
        world.history.delay_pages(seed);
        world.history.delay_appends(seed);
        let ann = world.user("ann").await;
        let groups = [world.group(&[ann]).await, world.group(&[ann]).await];
        let engine = world.start().await;
        let senders = [1, 2, 3].map(|n| keep_sending(&engine, ann, &groups, 20, seed * 3 + n));
        let mut clients = Vec::new();
        for pause in 0..4 {
            tokio::time::sleep(Duration::from_millis(pause * 3)).await;
            let mut cursors = Cursors::new();
            for group in groups {
                let stored = world.stored(group).await;
                let held = stored.len() / (pause as usize + 1);
                cursors.insert(group, held.checked_sub(1).map_or_else(none, |last| stored[last]));
            }
            let access = world.log_in(ann).await;
            clients.push((Client::open_from(&engine, &access, cursors.clone()).await, cursors));
        }
        for sender in senders {
            sender.await.expect("no panic");
        }
        settle().await;
        for (mut client, cursors) in clients {
            client.poll_all();
            for group in groups {
                assert_eq!(client.resyncs(group), 0, "the mailbox holds all, seed {seed}");
                let mut expected = world.stored(group).await;
                expected.retain(|id| *id > cursors[&group]);
                assert_eq!(client.received(group), expected, "seed {seed}");
            }
        }
        engine.shutdown().await;
    }
}

fn none() -> MessageId {
    MessageId::new(0)
}

#[tokio::test(start_paused = true)]
async fn a_message_at_any_moment_of_the_opening_is_received_once_in_order() {
    for number in 0..OPENING_STEPS {
        let world = World::new();
        let ann = world.user("ann").await;
        let group = world.group(&[ann]).await;
        let engine = world.start().await;
        send_hello(&engine, ann, group).await;
        let opening = opening_paused_at(&world, number, &engine, ann, group).await;
        send_hello(&engine, ann, group).await;
        settle().await;
        step_gate(&world, number).open();
        let mut client = opening.await.expect("no panic");
        send_hello(&engine, ann, group).await;
        settle().await;
        client.poll_all();
        assert_eq!(client.resyncs(group), 0, "after step {number}");
        assert_eq!(client.received(group), world.stored(group).await, "after step {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_live_session_may_catch_up_at_any_time() {
    for seed in 0..40 {
        let world = World::with(|limits| limits.mailbox_events = 32);
        world.history.delay_pages(seed);
        world.inbox.repeat(seed);
        let ann = world.user("ann").await;
        let groups = [world.group(&[ann]).await, world.group(&[ann]).await];
        let engine = world.start().await;
        let mut client = Client::open(&engine, &world.log_in(ann).await).await;
        let sender = keep_sending(&engine, ann, &groups, 80, seed);
        let mut rng = StdRng::seed_from_u64(seed);
        let mut catching_up: Vec<JoinHandle<()>> = Vec::new();
        while !sender.is_finished() {
            tokio::time::sleep(Duration::from_millis(rng.random_range(1..6))).await;
            if rng.random_ratio(1, 4) {
                client.poll();
            }
            if rng.random_ratio(1, 3) {
                let cursors: Cursors = groups
                    .iter()
                    .map(|group| (*group, client.channels.get(group).map_or(none(), |c| c.top)))
                    .collect();
                let (engine, session) = (engine.clone(), client.session.clone());
                catching_up.push(tokio::spawn(async move {
                    engine.catch_up(&session, cursors).await;
                }));
            }
            if rng.random_ratio(1, 5)
                && let Some(last) = catching_up.pop()
            {
                // A connection that closes drops the catch-up that it requested.
                last.abort();
            }
        }
        for each in catching_up {
            each.await.expect("no panic");
        }
        settle().await;
        client.poll_all();
        client.fetch(&world).await;
        for group in groups {
            assert_eq!(client.all(group), world.stored(group).await, "seed {seed}");
        }
        engine.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_catch_up_whose_caller_was_dropped_ends_in_a_resync() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    send_hello(&engine, ann, group).await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    world.history.after_page.close();
    let catch_up = tokio::spawn({
        let (engine, session) = (engine.clone(), client.session.clone());
        async move { engine.catch_up(&session, [(group, none())].into()).await }
    });
    settle().await;
    assert_eq!(world.history.after_page.waiting(), 1);
    send_hello(&engine, ann, group).await;
    settle().await;
    catch_up.abort();
    settle().await;
    assert_eq!(world.history.after_page.waiting(), 0, "it reads no further");
    assert_eq!(engine.budget().reading().catch_ups, 0);
    world.history.after_page.open();
    settle().await;
    send_hello(&engine, ann, group).await;
    settle().await;
    client.poll_all();
    assert_eq!(client.resyncs(group), 1);
    client.fetch(&world).await;
    assert_eq!(client.all(group), world.stored(group).await);
}

#[tokio::test(start_paused = true)]
async fn a_late_repeat_does_not_end_a_catch_up_early() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let first = send_hello(&engine, ann, group).await;
    world.history.after_page.close();
    let opening = tokio::spawn({
        let (engine, access) = (engine.clone(), world.log_in(ann).await);
        async move { Client::open_from(&engine, &access, [(group, none())].into()).await }
    });
    settle().await;
    // The page holds the first message. The second one arrives live, and then the first one again.
    send_hello(&engine, ann, group).await;
    let message = world.history.get(group, first).await.expect("reads").expect("is stored");
    let accepted_at = message.created_at();
    let repeat = Delivery::Message { message, accepted_at, trace: Trace::default() };
    world.inbox.send(&node("one"), vec![repeat]).await.expect("sends");
    settle().await;
    world.history.after_page.open();
    let mut client = opening.await.expect("no panic");
    settle().await;
    client.poll_all();
    assert_eq!(client.received(group), world.stored(group).await);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_does_not_fit_does_not_break_a_catch_up() {
    let world = World::with(|limits| limits.mailbox_events = 4);
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let (group, other) = (world.group(&[ann, ben]).await, world.group(&[ann, ben]).await);
    let engine = world.start().await;
    send_hello(&engine, ann, group).await;
    send_hello(&engine, ann, group).await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    world.history.after_page.close();
    let catch_up = tokio::spawn({
        let (engine, session) = (engine.clone(), client.session.clone());
        async move { engine.catch_up(&session, [(group, none())].into()).await }
    });
    settle().await;
    for _ in 0..4 {
        send_hello(&engine, ann, other).await;
    }
    // This event, about the channel that is catching up, does not fit into the mailbox.
    let event = event::member(group, ben, true, None);
    let audience = Audience::Channel { channel_id: group, except: None };
    engine.publish(Delivery::Event { audience, event }).await;
    settle().await;
    client.poll_all();
    world.history.after_page.open();
    catch_up.await.expect("no panic");
    client.poll_all();
    assert_eq!(client.resyncs(group), 1, "an event was lost");
    client.fetch(&world).await;
    assert_eq!(client.all(group), world.stored(group).await);
}

#[tokio::test(start_paused = true)]
async fn a_channel_with_more_messages_than_the_mailbox_holds_gets_one_resync() {
    let world = World::with(|limits| limits.mailbox_events = 8);
    let ann = world.user("ann").await;
    let (long, short) = (world.group(&[ann]).await, world.group(&[ann]).await);
    let engine = world.start().await;
    for _ in 0..300 {
        send_hello(&engine, ann, long).await;
    }
    send_hello(&engine, ann, short).await;
    let cursors = Cursors::from([(long, none()), (short, none())]);
    let mut client = Client::open_from(&engine, &world.log_in(ann).await, cursors).await;
    client.poll_all();
    assert_eq!((client.resyncs(long), client.received(long).len()), (1, 0));
    assert_eq!(client.received(short), world.stored(short).await);
    client.fetch(&world).await;
    assert_eq!(client.all(long), world.stored(long).await);
    send_hello(&engine, ann, long).await;
    settle().await;
    assert_eq!(client.poll(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_catch_up_reads_all_pages() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    for _ in 0..700 {
        send_hello(&engine, ann, group).await;
    }
    let cursors = Cursors::from([(group, world.stored(group).await[9])]);
    let mut client = Client::open_from(&engine, &world.log_in(ann).await, cursors).await;
    client.poll();
    assert_eq!(client.received(group), world.stored(group).await[10..]);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_of_a_channel_that_was_left_gets_a_member_event_and_no_message() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    send_hello(&engine, ann, group).await;
    let cursors = Cursors::from([(group, none())]);
    let mut client = Client::open_from(&engine, &world.log_in(ben).await, cursors).await;
    send_hello(&engine, ann, group).await;
    settle().await;
    client.poll();
    let member = client.events("member");
    assert_eq!((member.len(), &member[0]["joined"]), (1, &false.into()));
    assert_eq!(client.channels[&group].received, []);
    // A user who joins again gets the messages from then on.
    world.add(&engine, group, ben).await;
    send_hello(&engine, ann, group).await;
    settle().await;
    client.poll();
    assert_eq!(client.received(group).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_above_the_newest_message_hides_no_message() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    send_hello(&engine, ann, group).await;
    let cursors = Cursors::from([(group, MessageId::new(i64::MAX as u64))]);
    let session = engine.open_session(&world.log_in(ann).await, Some(cursors)).await;
    let session = session.expect("opens");
    send_hello(&engine, ann, group).await;
    settle().await;
    assert_eq!(session.read(Some(Seq::new(0)), 50, |view| view.len()), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn while_history_cannot_be_read_a_catch_up_ends_in_a_resync() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    send_hello(&engine, ann, group).await;
    world.history.fail_reads(true);
    let cursors = Cursors::from([(group, none())]);
    let mut client = Client::open_from(&engine, &world.log_in(ann).await, cursors).await;
    send_hello(&engine, ann, group).await;
    settle().await;
    client.poll_all();
    assert_eq!((client.resyncs(group), client.received(group).len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn too_many_cursors_are_refused() {
    let world = World::with(|limits| limits.channels_per_request = 2);
    let ann = world.user("ann").await;
    let engine = world.start().await;
    let cursors: Cursors = (1..=3).map(|id| (ChannelId::new(id), none())).collect();
    let opened = engine.open_session(&world.log_in(ann).await, Some(cursors.clone())).await;
    assert_eq!(code(opened), ProblemCode::Invalid);
    assert_eq!(code(engine.sync(ann, &cursors, None, 50).await), ProblemCode::Invalid);
}

#[tokio::test(start_paused = true)]
async fn interest_that_was_not_registered_is_registered_by_the_next_session() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann, ben]).await;
    let engine = world.start().await;
    world.interest.failing_joins.store(1, Ordering::SeqCst);
    let (first, second) = (world.log_in(ann).await, world.log_in(ben).await);
    // The second session opens before the first one has been removed.
    let (refused, opened) =
        tokio::join!(engine.open_session(&first, None), engine.open_session(&second, None));
    assert_eq!(code(refused), ProblemCode::Unavailable);
    let session = opened.expect("opens");
    engine.submit(ann, text(group, "hello")).await.expect("is stored");
    settle().await;
    assert_eq!(session.read(None, 50, |view| view.len()), Ok(1));
}
