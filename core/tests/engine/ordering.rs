//! I2: no late smaller id.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pabal_core::engine::Engine;
use pabal_core::memory::ManualClock;
use pabal_core::model::{ChannelId, MessageId, Timestamp, UserId};
use pabal_core::ports::Clock;
use pabal_core::protocol::{Cursors, ProblemCode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::harness::{Client, Fault, World, code, send_hello, sending, settle, text};

const HOUR: Duration = Duration::from_secs(3_600);

/// Sends from `senders` tasks concurrently, `each` messages a task, with up to 2 ms of paused time
/// between two sends.
async fn send_from_many(
    engine: &Engine,
    from: UserId,
    channel: ChannelId,
    senders: u64,
    each: u64,
) {
    let senders: Vec<_> = (0..senders)
        .map(|seed| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let mut rng = StdRng::seed_from_u64(seed);
                let mut last = MessageId::new(0);
                for _ in 0..each {
                    let sent =
                        engine.submit(from, text(channel, "hello")).await.expect("is stored");
                    assert!(sent.message.message_id > last, "the ids of a sender rise");
                    last = sent.message.message_id;
                    tokio::time::sleep(Duration::from_millis(rng.random_range(0..3))).await;
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.expect("no panic");
    }
}

/// Sets the clock an hour forward and back until the task is aborted.
fn step_clock(clock: Arc<ManualClock>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            clock.advance(HOUR);
            tokio::time::sleep(Duration::from_millis(2)).await;
            clock.step_back(HOUR + Duration::from_millis(5));
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    })
}

fn assert_rising(ids: &[MessageId], count: usize) {
    assert_eq!(ids.len(), count);
    let falls = ids.windows(2).find(|pair| pair[0] >= pair[1]);
    assert!(falls.is_none(), "ids became visible in the wrong order: {falls:?}");
}

#[tokio::test(start_paused = true)]
async fn ids_rise_in_the_order_in_which_they_become_visible() {
    let world = World::new();
    world.history.delay_appends(1);
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let groups = [world.group(&[ann, ben]).await, world.group(&[ann, ben]).await];
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ben).await).await;
    let clock = step_clock(world.clock.clone());
    let sends = groups.map(|group| {
        let engine = engine.clone();
        tokio::spawn(async move { send_from_many(&engine, ann, group, 8, 25).await })
    });
    while sends.iter().any(|send| !send.is_finished()) {
        client.poll();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for (send, group) in sends.into_iter().zip(groups) {
        send.await.expect("no panic");
        assert_rising(&world.history.visible(group), 200);
    }
    clock.abort();
}

#[tokio::test(start_paused = true)]
async fn ids_rise_on_whichever_node_a_message_is_accepted() {
    let world = World::new();
    world.registry.grant_all.store(true, Ordering::SeqCst);
    world.history.delay_appends(4);
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engines = [world.start_node("one").await, world.start_node("two").await];
    let clock = step_clock(world.clock.clone());
    let sends = engines.map(|engine| {
        tokio::spawn(async move { send_from_many(&engine, ann, group, 4, 20).await })
    });
    for send in sends {
        send.await.expect("no panic");
    }
    clock.abort();
    assert_rising(&world.history.visible(group), 160);
}

#[tokio::test(start_paused = true)]
async fn ids_rise_on_a_new_log_with_a_clock_that_went_back() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    for restart in 1..=5 {
        let engine = world.start().await;
        let clock = step_clock(world.clock.clone());
        send_from_many(&engine, ann, group, 4, 5).await;
        clock.abort();
        engine.shutdown().await;
        world.log.lose();
        world.clock.step_back(HOUR);
        assert_rising(&world.history.visible(group), restart * 20);
    }
}

#[tokio::test(start_paused = true)]
async fn ids_rise_when_a_running_engine_loses_the_log() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    for round in 1..=5 {
        send_hello(&engine, ann, group).await;
        world.log.lose();
        world.clock.step_back(HOUR);
        send_hello(&engine, ann, group).await;
        assert_rising(&world.history.visible(group), round * 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_with_a_cursor_never_misses_a_message() {
    let world = World::new();
    world.history.delay_appends(2);
    world.history.delay_pages(3);
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let clock = step_clock(world.clock.clone());
    let sends = tokio::spawn({
        let engine = engine.clone();
        async move { send_from_many(&engine, ann, group, 6, 20).await }
    });
    let mut cursors = Cursors::from([(group, MessageId::new(0))]);
    let mut seen = Vec::new();
    loop {
        let done = sends.is_finished();
        let synced = engine.sync(ann, &cursors, 7).await.expect("reads").channels;
        let (_, sync) = &synced[0];
        seen.extend(sync.messages.iter().map(|message| message.message_id));
        cursors.insert(group, sync.cur_max_message_id);
        if done && !sync.has_more && sync.messages.is_empty() {
            break;
        }
    }
    clock.abort();
    assert_eq!(seen, world.stored(group).await);
    assert_rising(&seen, 120);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_the_log_lost_is_not_assigned_again() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    world.history.before_append.close();
    let first = sending(&engine, ann, text(group, "first"));
    settle().await;
    let lost = sending(&engine, ann, text(group, "lost"));
    settle().await;
    world.log.lose();
    world.clock.step_back(HOUR);
    let next = sending(&engine, ann, text(group, "next"));
    settle().await;
    world.history.before_append.open();
    let mut ids = Vec::new();
    for send in [first, next] {
        ids.push(send.await.expect("no panic").expect("is stored").message.message_id);
    }
    assert_eq!(code(lost.await.expect("no panic")), ProblemCode::NotConfirmed);
    assert_eq!(world.stored(group).await, ids);
    assert_rising(&world.history.visible(group), 2);
}

#[tokio::test(start_paused = true)]
async fn ids_rise_above_what_the_previous_owner_left_in_the_log() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let before = world.start().await;
    world.history.before_append.close();
    let left = sending(&before, ann, text(group, "left"));
    settle().await;
    before.shutdown().await;
    drop(left);
    world.history.before_append.open();
    world.history.set_fault(Fault::UnavailableAfterStoring);
    let engine = world.start().await;
    settle().await;
    assert_eq!(
        world.history.visible(group).len(),
        1,
        "visible, although the owner does not know it"
    );
    world.log.lose();
    world.clock.step_back(HOUR);
    let next = sending(&engine, ann, text(group, "next"));
    settle().await;
    world.history.set_fault(Fault::None);
    next.await.expect("no panic").expect("is stored");
    assert_rising(&world.history.visible(group), 2);
}

#[tokio::test(start_paused = true)]
async fn ids_rise_above_what_another_owner_stored() {
    let world = World::new();
    world.registry.grant_all.store(true, Ordering::SeqCst);
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let slow = world.start_node("one").await;
    let mut client = Client::open(&slow, &world.log_in(ann).await).await;
    let pause = world.history.pause_next_append();
    let first = sending(&slow, ann, text(group, "first"));
    settle().await;
    assert_eq!(pause.waiting(), 1);
    let fast = world.start_node("two").await;
    for _ in 0..3 {
        send_hello(&fast, ann, group).await;
    }
    settle().await;
    client.poll_all();
    assert_eq!(client.received(group).len(), 4, "seen on the slow node");
    world.log.lose();
    world.clock.step_back(HOUR);
    let next = sending(&slow, ann, text(group, "next"));
    settle().await;
    pause.open();
    for send in [first, next] {
        send.await.expect("no panic").expect("is stored");
    }
    settle().await;
    client.poll_all();
    assert_eq!(client.received(group), world.stored(group).await);
    assert_rising(&world.history.visible(group), 5);
}

#[tokio::test(start_paused = true)]
async fn no_id_passes_the_last_one_and_sends_come_back_with_the_clock() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let now = world.clock.now();
    // A minute before the last millisecond that an id can name.
    let end = Timestamp::from_millis(1_704_067_200_000 + (1 << 41) - 1 - 60_000);
    for late in [end, end.plus(HOUR), end.plus(HOUR * 24 * 366 * 70)] {
        world.clock.set(late);
        let refused = engine.submit(ann, text(group, "late")).await;
        assert_eq!(code(refused), ProblemCode::Unavailable, "{late}");
    }
    world.clock.set(now);
    send_hello(&engine, ann, group).await;
    assert_eq!(engine.clock_ahead(), Duration::ZERO);
    // The last id that is given; after it the ids go on from there, whatever the clock says.
    world.clock.set(end.plus(HOUR));
    world.clock.step_back(HOUR + Duration::from_millis(1));
    send_hello(&engine, ann, group).await;
    world.clock.set(now);
    assert!(engine.clock_ahead() > HOUR * 24 * 365 * 60);
    let mut refused = 0;
    for _ in 0..5_000 {
        match engine.submit(ann, text(group, "more")).await {
            Ok(sent) => assert!(sent.message.message_id.get() <= i64::MAX as u64),
            Err(problem) => {
                assert_eq!(problem.code, ProblemCode::Unavailable);
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "the partition is used up");
    let stored = world.stored(group).await;
    assert!(stored.iter().all(|id| id.get() <= i64::MAX as u64));
}
