//! I3: delivered in order, once, to every session; what a session could not hold is announced by a
//! `resync`.

use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use pabal_core::engine::WakeReason;
use pabal_core::model::{MessageId, Seq};
use pabal_core::ports::{Delivery, HistoryStore, NodeInbox, Trace};
use pabal_core::protocol::ProblemCode;
use tokio::time::timeout;

use crate::harness::{Client, World, code, node, read, send_hello, sending, settle, stream, text};

#[tokio::test(start_paused = true)]
async fn every_session_receives_every_message_of_its_channels_once_in_order() {
    let world = World::new();
    let users = [world.user("ann").await, world.user("ben").await, world.user("cho").await];
    let all = world.group(&users).await;
    let two = world.group(&users[..2]).await;
    let direct = world.direct(users[1], users[2]).await;
    let engine = world.start().await;
    let mut clients = Vec::new();
    for user in [0, 0, 1, 2] {
        clients.push(Client::open(&engine, &world.log_in(users[user]).await).await);
    }
    let mut sends = Vec::new();
    for number in 0..90 {
        let (from, channel) = [(0, all), (1, two), (2, direct)][number % 3];
        sends.push(sending(&engine, users[from], text(channel, &number.to_string())));
    }
    for send in sends {
        send.await.expect("no panic").expect("is stored");
    }
    settle().await;
    for client in &mut clients {
        client.poll();
    }
    let [in_all, in_two, in_direct] =
        [world.stored(all).await, world.stored(two).await, world.stored(direct).await];
    for (client, sees_two, sees_direct) in
        [(0, true, false), (1, true, false), (2, true, true), (3, false, true)]
    {
        let client = &clients[client];
        assert_eq!(client.received(all), in_all);
        assert_eq!(client.received(two), if sees_two { &in_two[..] } else { &[] });
        assert_eq!(client.received(direct), if sees_direct { &in_direct[..] } else { &[] });
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_read_returns_the_same_events_perhaps_followed_by_newer_ones() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let client = Client::open(&engine, &world.log_in(ann).await).await;
    for _ in 0..5 {
        send_hello(&engine, ann, group).await;
    }
    settle().await;
    let first = read(&client.session, 2, 2).expect("reads");
    assert_eq!(read(&client.session, 2, 2).expect("reads"), first);
    send_hello(&engine, ann, group).await;
    settle().await;
    let (events, next) = read(&client.session, 2, 50).expect("reads");
    assert_eq!((&events[..2], next), (&first.0[..], Seq::new(6)));
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_leads_to_one_resync_a_channel_and_live_messages_resume() {
    let world = World::with(|limits| limits.mailbox_events = 8);
    let ann = world.user("ann").await;
    let mut groups = Vec::new();
    for _ in 0..4 {
        groups.push(world.group(&[ann]).await);
    }
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    for round in 1..=3 {
        for _ in 0..20 {
            for group in &groups {
                send_hello(&engine, ann, *group).await;
            }
        }
        settle().await;
        client.poll_all();
        for group in &groups {
            assert_eq!(client.resyncs(*group), round, "one resync for each overflow");
            send_hello(&engine, ann, *group).await;
        }
        settle().await;
        assert_eq!(client.poll(), groups.len(), "live again");
    }
    client.fetch(&world).await;
    for group in groups {
        assert_eq!(client.all(group), world.stored(group).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_is_limited_by_bytes_too() {
    let world = World::with(|limits| limits.mailbox_bytes = 4_096);
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    for _ in 0..10 {
        engine.submit(ann, text(group, &"x".repeat(1_000))).await.expect("is stored");
    }
    settle().await;
    client.poll_all();
    assert_eq!((client.received(group).len(), client.resyncs(group)), (3, 1));
    client.fetch(&world).await;
    assert_eq!(client.all(group), world.stored(group).await);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_does_not_get_one_resync_after_another() {
    let world = World::with(|limits| limits.mailbox_events = 8);
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    for _ in 0..40 {
        send_hello(&engine, ann, group).await;
        settle().await;
    }
    // It takes one event for every one that comes.
    for _ in 0..40 {
        client.poll_some(1).expect("lives");
        send_hello(&engine, ann, group).await;
        settle().await;
    }
    assert_eq!(client.resyncs(group), 1);
}

#[tokio::test(start_paused = true)]
async fn repeated_deliveries_reach_a_session_once() {
    for seed in 0..20 {
        let world = World::with(|limits| limits.mailbox_events = 12);
        world.inbox.repeat(seed);
        let ann = world.user("ann").await;
        let groups = [world.group(&[ann]).await, world.group(&[ann]).await];
        let engine = world.start().await;
        let mut client = Client::open(&engine, &world.log_in(ann).await).await;
        for number in 0..60 {
            send_hello(&engine, ann, groups[number % 2]).await;
            if number % (1 + seed as usize) == 0 {
                settle().await;
                client.poll_some(5).expect("lives");
            }
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
async fn a_late_repeat_does_not_lower_what_a_resync_announces() {
    let world = World::with(|limits| limits.mailbox_events = 4);
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(send_hello(&engine, ann, group).await);
    }
    let message = world.history.get(group, ids[6]).await.expect("reads").expect("is there");
    let accepted_at = message.created_at();
    let repeat = Delivery::Message { message, accepted_at, trace: Trace::default() };
    world.inbox.send(&node("one"), vec![repeat]).await.expect("sends");
    settle().await;
    client.poll_all();
    assert_eq!(client.channels[&group].top, ids[9]);
    client.fetch(&world).await;
    assert_eq!(client.all(group), ids);
}

#[tokio::test(start_paused = true)]
async fn a_resync_wakes_the_waiting_reader() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let session = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    send_hello(&engine, ann, group).await;
    settle().await;
    let reader = session.attach();
    session.confirm(Seq::new(1));
    let waiting = tokio::spawn(async move { reader.wait(Seq::new(1)).await });
    settle().await;
    // The session was received messages above this cursor, so all it can get is a resync.
    engine.catch_up(&session, [(group, MessageId::new(0))].into()).await;
    let reason = timeout(Duration::from_secs(1), waiting).await.expect("is woken");
    assert_eq!(reason.expect("no panic"), WakeReason::Events);
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_client_never_confirms_receives_new_events() {
    let world = World::with(|limits| limits.mailbox_events = 8);
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    let reader = client.session.attach();
    for _ in 0..50 {
        send_hello(&engine, ann, group).await;
        settle().await;
        let events =
            stream(&reader, client.after, 10_000).expect("there are events").expect("lives");
        assert_eq!(client.take(events), 1);
    }
    assert_eq!(client.resyncs(group), 0, "slots of written events are free");
    assert_eq!(client.received(group), world.stored(group).await);
    assert!(stream(&reader, client.after, 10_000).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_stops_reading_gets_a_resync_when_it_reads_again() {
    let world = World::with(|limits| limits.mailbox_events = 8);
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    let reader = client.session.attach();
    for _ in 0..50 {
        send_hello(&engine, ann, group).await;
    }
    settle().await;
    while let Some(events) = stream(&reader, client.after, 500) {
        client.take(events.expect("lives"));
    }
    assert_eq!(client.resyncs(group), 1);
    client.fetch(&world).await;
    assert_eq!(client.all(group), world.stored(group).await);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_starts_at_the_last_event_gets_the_resync_of_what_was_lost() {
    let world = World::with(|limits| limits.mailbox_events = 4);
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    for _ in 0..9 {
        send_hello(&engine, ann, group).await;
    }
    settle().await;
    assert_eq!(client.poll(), 4);
    // The next transport starts after all held events, and does not confirm them first.
    let reader = client.session.attach();
    let events = stream(&reader, client.after, 10_000).expect("there are events").expect("lives");
    assert_eq!((client.take(events), client.resyncs(group)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_resume_below_the_first_held_event_is_session_gone() {
    let world = World::with(|limits| limits.mailbox_events = 8);
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    let reader = client.session.attach();
    for _ in 0..20 {
        send_hello(&engine, ann, group).await;
        settle().await;
        let events =
            stream(&reader, client.after, 10_000).expect("there are events").expect("lives");
        client.take(events);
    }
    drop(reader);
    let session = &client.session;
    assert_eq!(code(session.position(Some(Seq::new(11)))), ProblemCode::SessionGone);
    assert_eq!(code(read(session, 11, 50)), ProblemCode::SessionGone);
    assert_eq!(session.start(), Seq::new(12), "only as many events were evicted as needed");
    assert_eq!(read(session, 12, 50).expect("is held").0.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn events_written_to_one_reader_are_held_for_the_next() {
    let world = World::with(|limits| limits.mailbox_events = 8);
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    for _ in 0..6 {
        send_hello(&engine, ann, group).await;
    }
    settle().await;
    // Written to a connection that is lost before the client has any of it.
    let lost = client.session.attach();
    assert!(stream(&lost, 0, 10_000).is_some());
    let reader = client.session.attach();
    for _ in 0..10 {
        send_hello(&engine, ann, group).await;
    }
    settle().await;
    while let Some(events) = stream(&reader, client.after, 10_000) {
        client.take(events.expect("lives"));
    }
    client.fetch(&world).await;
    assert_eq!(client.all(group), world.stored(group).await);
}

#[tokio::test(start_paused = true)]
async fn a_reader_below_the_evicted_events_ends_and_never_skips() {
    let world = World::with(|limits| limits.mailbox_events = 8);
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let client = Client::open(&engine, &world.log_in(ann).await).await;
    let reader = client.session.attach();
    for _ in 0..20 {
        send_hello(&engine, ann, group).await;
        settle().await;
        stream(&reader, client.session.start().get(), 10_000);
    }
    // A reader that asks for evicted events must not get the ones after them.
    let evicted = std::future::poll_fn(|cx| {
        let after = Seq::new(3);
        Poll::Ready(reader.poll_stream(cx, after, 10_000, |_| panic!("events were skipped")))
    });
    assert!(evicted.await.is_ready());
}

#[tokio::test(start_paused = true)]
async fn while_the_inbox_is_unavailable_messages_wait_and_then_arrive_once_in_order() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    world.inbox.failing_sends.store(3, Ordering::SeqCst);
    let sends = [(); 5].map(|()| sending(&engine, ann, text(group, "hello")));
    settle().await;
    assert_eq!(client.poll(), 0, "delivered although the inbox is unavailable");
    for send in sends {
        send.await.expect("no panic").expect("is stored");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.poll_all();
    assert_eq!(client.received(group).len(), 5);
    assert_eq!(client.received(group), world.stored(group).await);
}
