//! Moments (`typing`, `read`, `presence`): the newest is enough, and none takes the place of a message.

use std::time::Duration;

use pabal_core::engine::Engine;
use pabal_core::model::{ChannelId, MessageId, UserId};
use pabal_core::ports::{Audience, Delivery};
use pabal_core::protocol::{ProblemCode, event};

use crate::harness::{Client, World, code, send_hello, settle};

/// Ann writes, Ben reads.
struct Scene {
    _world: World,
    engine: Engine,
    ann: UserId,
    group: ChannelId,
    ben: Client,
}

async fn scene() -> Scene {
    let world = World::with(|limits| limits.mailbox_events = 64);
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann, ben]).await;
    let engine = world.start().await;
    let ben = Client::open(&engine, &world.log_in(ben).await).await;
    Scene { _world: world, engine, ann, group, ben }
}

impl Scene {
    /// The moments of a kind that Ben has received by now.
    async fn received(&mut self, kind: &str) -> usize {
        settle().await;
        self.ben.poll_all();
        self.ben.events(kind).len()
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_is_announced_as_typing_once_in_three_seconds() {
    let mut scene = scene().await;
    for _ in 0..256 {
        scene.engine.typing(scene.ann, scene.group).await.expect("is allowed");
    }
    settle().await;
    assert_eq!(scene.engine.stats().deliveries, 1, "the others cost no delivery");
    assert_eq!(scene.received("typing").await, 1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    scene.engine.typing(scene.ann, scene.group).await.expect("is allowed");
    assert_eq!(scene.received("typing").await, 2);
}

#[tokio::test(start_paused = true)]
async fn the_newest_read_position_is_announced_once_a_second() {
    let mut scene = scene().await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(send_hello(&scene.engine, scene.ann, scene.group).await);
    }
    for &message_id in &ids {
        scene.engine.read(scene.ann, scene.group, message_id).await.expect("is recorded");
    }
    assert_eq!(scene.received("read").await, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.received("read").await, 2);
    let events = scene.ben.events("read");
    let upto: Vec<_> = events.iter().map(|event| event["message_id"].clone()).collect();
    assert_eq!(upto, [ids[0].to_string(), ids[9].to_string()]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let last = send_hello(&scene.engine, scene.ann, scene.group).await;
    scene.engine.read(scene.ann, scene.group, last).await.expect("is recorded");
    assert_eq!(scene.received("read").await, 3, "at once again");
}

/// Publishes a moment of each of so many users, as other nodes may.
async fn flood(scene: &Scene, users: u64) {
    for user in 0..users {
        let event = event::typing(scene.group, UserId::new(1_000 + user));
        let audience = Audience::Channel { channel_id: scene.group, except: None };
        scene.engine.publish(Delivery::Event { audience, event }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn moments_cause_no_resync_and_come_behind_messages() {
    let mut scene = scene().await;
    let mut sent: Vec<MessageId> = Vec::new();
    flood(&scene, 1_536).await;
    for _ in 0..64 {
        sent.push(send_hello(&scene.engine, scene.ann, scene.group).await);
    }
    flood(&scene, 1_536).await;
    settle().await;
    scene.ben.poll();
    assert_eq!(scene.ben.received(scene.group), sent, "a mailbox of 64 events holds them");
    assert_eq!(scene.ben.resyncs(scene.group), 0);
    assert_eq!(scene.ben.after, 64 + 64, "and as many moments behind them");
    scene.ben.poll_all();
    let last = send_hello(&scene.engine, scene.ann, scene.group).await;
    settle().await;
    scene.ben.poll_all();
    assert_eq!(scene.ben.received(scene.group).last(), Some(&last));
}

#[tokio::test(start_paused = true)]
async fn a_moment_wakes_a_reader_that_waits() {
    let scene = scene().await;
    let reader = scene.ben.session.attach();
    let waiting = tokio::spawn(async move { reader.wait(pabal_core::model::Seq::new(0)).await });
    settle().await;
    assert!(!waiting.is_finished());
    scene.engine.typing(scene.ann, scene.group).await.expect("is allowed");
    waiting.await.expect("is woken");
}

#[tokio::test(start_paused = true)]
async fn moments_cost_the_sessions_that_they_reach() {
    let world = World::with(|limits| limits.moments_per_second = Some(1));
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let mut groups = Vec::new();
    for _ in 0..4 {
        groups.push(world.group(&[ann, ben]).await);
    }
    let engine = world.start().await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(Client::open(&engine, &world.log_in(ben).await).await);
    }
    // A burst of ten reaches four sessions twice.
    engine.typing(ann, groups[0]).await.expect("is allowed");
    engine.typing(ann, groups[1]).await.expect("is allowed");
    let refused = engine.typing(ann, groups[2]).await;
    assert!(refused.as_ref().is_err_and(|problem| problem.retry_after.is_some()));
    assert_eq!(code(refused), ProblemCode::RateLimited);
    send_hello(&engine, ann, groups[3]).await;
    settle().await;
    clients[0].poll_all();
    assert_eq!(clients[0].events("typing").len(), 2);
    assert_eq!(clients[0].received(groups[3]).len(), 1, "a send costs no moment");
}
