//! I7: everything is bounded, and a caller at a limit gets a clear error.

use std::sync::Arc;
use std::time::Duration;

use pabal_core::memory::MemoryPushNotifier;
use pabal_core::model::{ChannelId, Partition, UserId};
use pabal_core::ports::{
    Audience, Delivery, Directory, PushNotifier, PushPosition, RelationLimits,
};
use pabal_core::protocol::{ProblemCode, event};
use tokio::time::timeout;

use crate::harness::{Client, TestInbox, World, code, send_hello, sending, settle, text};

#[tokio::test(start_paused = true)]
async fn a_full_log_refuses_sends_until_it_has_capacity() {
    let mut world = World::new();
    world.log_of(4);
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    world.history.before_append.close();
    let accepted = [(); 4].map(|()| sending(&engine, ann, text(group, "hello")));
    settle().await;
    let refused = engine.submit(ann, text(group, "hello")).await.expect_err("is full");
    assert_eq!(refused.code, ProblemCode::Unavailable);
    assert!(refused.retryable() && refused.retry_after.is_some());
    world.history.before_append.open();
    for send in accepted {
        send.await.expect("no panic").expect("is stored");
    }
    settle().await;
    send_hello(&engine, ann, group).await;
    assert_eq!(world.stored(group).await.len(), 5);
}

/// How many events may wait to be routed.
const EVENTS: usize = 1_024;

/// Two groups of `user` in two partitions.
async fn apart(world: &World, user: UserId) -> [ChannelId; 2] {
    let first = world.group(&[user]).await;
    loop {
        let second = world.group(&[user]).await;
        let partition = |channel_id| Partition::of(channel_id, world.partitions);
        if partition(first) != partition(second) {
            return [first, second];
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_cannot_route_is_bounded_and_delays_no_other() {
    let mut world = World::new();
    world.log_of(4);
    let ann = world.user("ann").await;
    let [stuck, other] = apart(&world, ann).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    world.interest.unavailable_for(Some(stuck));
    let mut sent = vec![send_hello(&engine, ann, stuck).await];
    let mut waiting = Vec::new();
    let refused = loop {
        match engine.begin_submit(ann, text(stuck, "hello")).await {
            Ok(submission) => waiting.push(submission),
            Err(problem) => break problem,
        }
        assert!(waiting.len() <= 4, "more sends are accepted than the log holds");
        settle().await;
    };
    assert_eq!(refused.code, ProblemCode::Unavailable);
    for _ in 0..10 {
        let message_id = send_hello(&engine, ann, other).await;
        settle().await;
        client.poll();
        assert_eq!(client.received(other).last(), Some(&message_id));
    }
    assert_eq!(client.received(stuck), []);
    world.interest.unavailable_for(None);
    for submission in waiting {
        sent.push(submission.stored().await.expect("is stored").message.message_id);
    }
    settle().await;
    client.poll_all();
    assert_eq!(client.received(stuck), sent);
}

#[tokio::test(start_paused = true)]
async fn events_that_cannot_be_routed_are_bounded_and_end_at_shutdown() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann, ben]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ben).await).await;
    let publishing = |count: usize| {
        let publishing = (0..count).map(|_| {
            let engine = engine.clone();
            let event = event::member(group, ann, true, None);
            let audience = Audience::Channel { channel_id: group, except: Some(ann) };
            tokio::spawn(async move { engine.publish(Delivery::Event { audience, event }).await })
        });
        publishing.collect::<Vec<_>>()
    };
    world.interest.unavailable_for(Some(group));
    let callers = publishing(EVENTS);
    settle().await;
    // The events still wait although their callers were dropped, so there is no permit.
    callers.iter().for_each(|caller| caller.abort());
    for caller in publishing(10) {
        caller.await.expect("no panic");
    }
    assert_eq!(engine.stats().events_dropped, 10);
    world.interest.unavailable_for(None);
    // Longer than the backoff of routing.
    tokio::time::sleep(Duration::from_secs(3)).await;
    client.poll_all();
    assert_eq!(client.events("member").len(), EVENTS);
    world.interest.unavailable_for(Some(group));
    let callers = publishing(10);
    settle().await;
    assert_eq!(engine.stats().events_dropped, 10, "there are permits again");
    timeout(Duration::from_secs(1), engine.shutdown())
        .await
        .expect("the shutdown does not wait for events");
    for caller in callers {
        caller.await.expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_inbox_slows_senders_and_loses_no_message() {
    let mut world = World::new();
    world.log_of(8);
    world.inbox = Arc::new(TestInbox::new(4));
    world.partitions = 1;
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    world.inbox.before_receive.close();
    let (mut taken, mut refused) = (Vec::new(), 0);
    for _ in 0..60 {
        match engine.begin_submit(ann, text(group, "hello")).await {
            Ok(submission) => taken.push(submission),
            Err(problem) => {
                assert_eq!(problem.code, ProblemCode::Unavailable);
                refused += 1;
            }
        }
        settle().await;
    }
    assert!(refused > 30, "{refused} of 60 were refused although nothing was delivered");
    world.inbox.before_receive.open();
    for submission in taken {
        submission.stored().await.expect("is stored");
    }
    send_hello(&engine, ann, group).await;
    settle().await;
    client.poll_all();
    assert_eq!(client.received(group), world.stored(group).await);
    assert_eq!(client.received(group).len(), 61 - refused);
}

#[tokio::test(start_paused = true)]
async fn sessions_are_limited_per_user_and_per_node() {
    let world = World::with(|limits| {
        limits.sessions_per_user = 3;
        limits.sessions = 5;
    });
    let (ann, ben, cho) =
        (world.user("ann").await, world.user("ben").await, world.user("cho").await);
    let engine = world.start().await;
    let mut sessions = Vec::new();
    for user in [ann, ann, ann, ben] {
        sessions.push(engine.open_session(&world.log_in(user).await, None).await.expect("opens"));
    }
    let refused =
        engine.open_session(&world.log_in(ann).await, None).await.expect_err("is at the limit");
    assert_eq!(refused.code, ProblemCode::RateLimited);
    assert!(refused.retry_after.is_some());
    engine.open_session(&world.log_in(cho).await, None).await.expect("opens");
    let refused =
        engine.open_session(&world.log_in(ben).await, None).await.expect_err("is at capacity");
    assert_eq!(refused.code, ProblemCode::Unavailable);
    assert_eq!(engine.stats().sessions, 5);
    engine.close_session(&sessions[0]).await;
    engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_node_holds_for_sessions_that_open_concurrently() {
    let world = World::with(|limits| limits.sessions = 5);
    let engine = world.start().await;
    world.presence.after_join.close();
    let mut opening = Vec::new();
    for number in 0..12 {
        let user = world.user(&format!("user-{number}")).await;
        let (engine, access) = (engine.clone(), world.log_in(user).await);
        opening.push(tokio::spawn(async move { engine.open_session(&access, None).await }));
    }
    settle().await;
    world.presence.after_join.open();
    let mut opened = 0;
    for each in opening {
        opened += usize::from(each.await.expect("no panic").is_ok());
    }
    assert_eq!(opened, 5);
}

#[tokio::test(start_paused = true)]
async fn content_has_between_one_byte_and_the_limit_in_utf_8() {
    let world = World::with(|limits| limits.content_bytes = 12);
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    for (content, expected) in [
        ("", Some(ProblemCode::Invalid)),
        ("x", None),
        ("twelve bytes", None),
        ("thirteen bytes", Some(ProblemCode::TooLarge)),
        ("파발파발", None),
        ("파발파발!", Some(ProblemCode::TooLarge)),
        ("🐎🐎🐎", None),
    ] {
        let sent = engine.submit(ann, text(group, content)).await;
        match expected {
            Some(expected) => assert_eq!(code(sent), expected, "{content}"),
            None => assert_eq!(&*sent.expect("is stored").message.content, content),
        }
    }
    assert_eq!(world.stored(group).await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_client_message_id_has_at_most_128_bytes() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    for (bytes, fits) in [(0, false), (1, true), (128, true), (129, false)] {
        let mut send = text(group, "hello");
        send.client_message_id = Some("x".repeat(bytes));
        let sent = engine.submit(ann, send).await;
        assert_eq!(sent.is_ok(), fits, "{bytes} bytes");
        if let Err(problem) = sent {
            assert_eq!(problem.code, ProblemCode::Invalid);
            assert_eq!(problem.errors[0].field, "client_message_id");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_send_states_the_reason() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let (group, direct) = (world.group(&[ben]).await, world.direct(ann, ben).await);
    let engine = world.start().await;
    assert_eq!(code(engine.submit(ann, text(group, "hello")).await), ProblemCode::NotAMember);
    let limits = RelationLimits::DEFAULT;
    Directory::block(&*world.directory, ben, ann, limits).await.expect("blocks");
    assert_eq!(code(engine.submit(ann, text(direct, "hello")).await), ProblemCode::Blocked);
    send_hello(&engine, ben, direct).await;
}

#[tokio::test(start_paused = true)]
async fn a_sender_above_the_rate_learns_when_to_retry_and_others_are_not_limited() {
    let world = World::with(|limits| limits.sends_per_second = Some(2));
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann, ben]).await;
    let engine = world.start().await;
    let mut sent = 0;
    let refused = loop {
        match engine.submit(ann, text(group, "hello")).await {
            Ok(_) => sent += 1,
            Err(problem) => break problem,
        }
        assert!(sent < 100, "no send was refused");
    };
    assert!(sent >= 20, "a burst of ten times the rate, not {sent}");
    assert_eq!(refused.code, ProblemCode::RateLimited);
    let wait = refused.retry_after.expect("states when to retry");
    assert!(wait > Duration::ZERO && wait <= Duration::from_millis(500), "{wait:?}");
    send_hello(&engine, ben, group).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_push_queue_delays_no_send_and_is_counted() {
    let mut world = World::new();
    world.push = Arc::new(MemoryPushNotifier::new(10));
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann, ben]).await;
    let engine = world.start().await;
    for _ in 0..30 {
        send_hello(&engine, ann, group).await;
        settle().await;
    }
    let stats = engine.stats();
    assert_eq!((stats.pushes_queued, stats.pushes_dropped), (10, 20));
    let queued = world.push.pending(PushPosition(0), 100).await.expect("reads");
    assert_eq!(queued.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn notifications_of_a_large_group_need_not_fit_into_the_queue_together() {
    let mut world = World::new();
    world.push = Arc::new(MemoryPushNotifier::new(2_000));
    let mut users = Vec::new();
    for number in 0..500 {
        users.push(world.user(&format!("user-{number}")).await);
    }
    let group = world.group(&users).await;
    let engine = world.start().await;
    // Ten messages to 499 offline members, all before the push stage handles the first one.
    let sends: Vec<_> = (0..10).map(|_| sending(&engine, users[0], text(group, "hi"))).collect();
    for send in sends {
        send.await.expect("no panic").expect("is stored");
    }
    settle().await;
    let stats = engine.stats();
    assert_eq!(stats.pushes_queued + stats.pushes_dropped, 4_990);
    assert!(stats.pushes_queued >= 1_000, "{} were queued", stats.pushes_queued);
}

#[tokio::test(start_paused = true)]
async fn the_queue_before_push_is_bounded_and_delays_no_send() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann, ben]).await;
    let engine = world.start().await;
    world.presence.before_online.close();
    for _ in 0..9_000 {
        send_hello(&engine, ann, group).await;
    }
    assert_eq!(world.presence.before_online.waiting(), 1);
    let dropped = engine.stats().pushes_dropped;
    assert!(dropped > 0, "all of 9000 wait for push");
    world.presence.before_online.open();
    settle().await;
    let stats = engine.stats();
    assert_eq!((stats.pushes_dropped, stats.pushes_queued), (dropped, 9_000 - dropped));
}

#[tokio::test(start_paused = true)]
async fn an_owner_stores_at_most_one_batch_at_a_time() {
    let world = World::with(|limits| limits.batch = 4);
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    world.history.before_append.close();
    let mut sends = vec![sending(&engine, ann, text(group, "hello"))];
    settle().await;
    sends.extend((0..12).map(|_| sending(&engine, ann, text(group, "hello"))));
    settle().await;
    world.history.before_append.open();
    for send in sends {
        send.await.expect("no panic").expect("is stored");
    }
    assert_eq!(engine.stats().history_batches, 1 + 3);
}
