//! Bytes in flight: catch-ups and mailboxes stay within the budget of the node, and a limit refuses or
//! leads to a `resync`, never to a loss.

use pabal_core::engine::{BudgetKind, BudgetLimits, Engine, Holder};
use pabal_core::model::{ChannelId, MessageId, UserId};
use pabal_core::protocol::{Cursors, ProblemCode};

use crate::harness::{Client, World, code, settle, text};

/// The limit of the mailboxes in these tests, in bytes.
const MAILBOXES: usize = 200_000;

fn small_node(limits: &mut pabal_core::engine::Limits) {
    limits.content_bytes = 1_000;
    limits.budget = BudgetLimits { node: 2 * MAILBOXES, ..BudgetLimits::default() };
}

async fn send_kilobyte(engine: &Engine, from: UserId, channel_id: ChannelId) -> MessageId {
    let sent = engine.submit(from, text(channel_id, &"x".repeat(1_000))).await;
    sent.expect("is stored").message.message_id
}

#[tokio::test(start_paused = true)]
async fn at_the_budget_the_largest_unread_mailbox_becomes_a_resync_and_others_keep_their_events() {
    let world = World::with(small_node);
    let (ann, ben, cho) =
        (world.user("ann").await, world.user("ben").await, world.user("cho").await);
    let (flooded, other) = (world.group(&[ann, ben]).await, world.group(&[ann, cho]).await);
    let engine = world.start().await;
    let mut absent = Client::open(&engine, &world.log_in(ben).await).await;
    let mut quiet = Client::open(&engine, &world.log_in(cho).await).await;
    let kept = [send_kilobyte(&engine, ann, other).await, send_kilobyte(&engine, ann, other).await];
    let mut sent = Vec::new();
    for _ in 0..400 {
        sent.push(send_kilobyte(&engine, ann, flooded).await);
        let held = engine.budget().reading().mailboxes;
        assert!(held <= MAILBOXES, "{held} bytes");
    }
    settle().await;
    assert!(engine.budget().reading().shed > 0);
    quiet.poll_all();
    assert_eq!((quiet.received(other), quiet.resyncs(other)), (kept.to_vec(), 0));
    absent.poll_all();
    assert!(absent.resyncs(flooded) >= 1);
    absent.fetch(&world).await;
    assert_eq!(absent.all(flooded), sent, "what was not delivered was announced");
    let last = send_kilobyte(&engine, ann, flooded).await;
    settle().await;
    absent.poll_all();
    assert_eq!(absent.received(flooded).last(), Some(&last), "live messages resume");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_many_mailboxes_share_counts_once() {
    let world = World::with(small_node);
    let ann = world.user("ann").await;
    let mut members = vec![ann];
    for number in 0..50 {
        members.push(world.user(&number.to_string()).await);
    }
    let group = world.group(&members).await;
    let engine = world.start().await;
    let mut clients = Vec::new();
    for member in &members {
        clients.push(Client::open(&engine, &world.log_in(*member).await).await);
    }
    for _ in 0..20 {
        send_kilobyte(&engine, ann, group).await;
    }
    settle().await;
    let held = engine.budget().reading().mailboxes;
    assert!(held < MAILBOXES, "51 mailboxes of 20 KB would exceed it");
    for client in &mut clients {
        client.poll_all();
        assert_eq!((client.received(group).len(), client.resyncs(group)), (20, 0));
    }
    assert!(engine.budget().reading().mailboxes < held / 2, "the events were released");
}

#[tokio::test(start_paused = true)]
async fn sessions_that_catch_up_with_the_same_messages_share_them() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    for _ in 0..40 {
        send_kilobyte(&engine, ann, group).await;
    }
    let cursors = Cursors::from([(group, MessageId::new(0))]);
    let mut held = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..8 {
        let access = world.log_in(ann).await;
        clients.push(Client::open_from(&engine, &access, cursors.clone()).await);
        held.push(engine.budget().reading().mailboxes);
    }
    assert!(held[0] > 40_000 && held[7] < 2 * held[0], "{held:?}");
    for client in &mut clients {
        client.poll_all();
        assert_eq!(client.received(group), world.stored(group).await);
    }
    assert_eq!(engine.budget().reading().catch_ups, 0);
}

#[tokio::test(start_paused = true)]
async fn a_catch_up_beyond_the_budget_is_refused_before_history_is_read() {
    let world = World::with(|limits| {
        limits.budget = BudgetLimits { node: 2_000_000, user: 400_000, connection: 400_000 };
    });
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann, ben]).await;
    let engine = world.start().await;
    send_kilobyte(&engine, ann, group).await;
    let cursors = Cursors::from([(group, MessageId::new(0))]);
    let before = world.history.messages_read();
    let held = |user: Option<UserId>, bytes| {
        let holder = Holder { user, connection: None };
        engine.budget().reserve(BudgetKind::Answers, holder, bytes).expect("fits")
    };
    let of_user = held(Some(ann), 300_000);
    let access = world.log_in(ann).await;
    let refused = engine.open_session(&access, Some(cursors.clone())).await.expect_err("is full");
    assert_eq!(refused.code, ProblemCode::RateLimited);
    assert!(refused.retry_after.is_some());
    drop(of_user);
    let of_node = held(None, 900_000);
    let other = world.log_in(ben).await;
    assert_eq!(
        code(engine.open_session(&other, Some(cursors.clone())).await),
        ProblemCode::Unavailable
    );
    assert_eq!(engine.stats().sessions, 0);
    assert_eq!(world.history.messages_read(), before);
    let session = engine.open_session(&other, None).await.expect("a session without catch-up");
    engine.catch_up(&session, cursors.clone()).await;
    drop(of_node);
    let mut client = Client::open_from(&engine, &access, cursors).await;
    client.poll_all();
    assert_eq!(client.received(group).len(), 1);
    let resyncs = session.read(None, 10, |view| view.len()).expect("reads");
    assert_eq!(resyncs, 1, "the session gets a resync of the channel");
}

#[tokio::test(start_paused = true)]
async fn a_catch_up_with_many_long_channels_reads_no_more_than_two_mailboxes() {
    let world = World::with(|limits| limits.mailbox_bytes = 20_000);
    let ann = world.user("ann").await;
    let engine = world.start().await;
    let mut cursors = Cursors::new();
    for _ in 0..12 {
        let group = world.group(&[ann]).await;
        for _ in 0..25 {
            send_kilobyte(&engine, ann, group).await;
        }
        cursors.insert(group, MessageId::new(0));
    }
    let before = world.history.messages_read();
    let mut client = Client::open_from(&engine, &world.log_in(ann).await, cursors.clone()).await;
    let read = world.history.messages_read() - before;
    assert!(read <= 40 + cursors.len(), "{read} messages of a kilobyte");
    client.poll_all();
    client.fetch(&world).await;
    for group in cursors.into_keys() {
        assert_eq!(client.all(group), world.stored(group).await);
    }
}
