//! Presence follows sessions, and friends are notified.

use std::sync::atomic::Ordering;
use std::time::Duration;

use pabal_core::engine::Engine;
use pabal_core::model::UserId;
use pabal_core::ports::{Directory, Presence, RelationLimits, SettingsChange};
use tokio::time::sleep;

use crate::harness::{Client, World, send_hello, settle};

async fn online(world: &World, user: UserId) -> bool {
    world.presence.online(&[user]).await.expect("reads")[0]
}

async fn befriend(world: &World, one: UserId, other: UserId) {
    world.directory.befriend(one, other, RelationLimits::DEFAULT).await.expect("sends a request");
    world.directory.befriend(other, one, RelationLimits::DEFAULT).await.expect("accepts");
}

/// The presence events of a client, as (user, online).
fn presence_events(client: &mut Client) -> Vec<(String, bool)> {
    client.poll();
    let events = client.events("presence").into_iter();
    events
        .map(|event| {
            let user = event["user_id"].as_str().expect("is a string").to_owned();
            (user, event["online"].as_bool().expect("is a bool"))
        })
        .collect()
}

/// Ann and Ben, who are friends, and a client of Ben.
async fn friends(world: &World, engine: &Engine) -> (UserId, Client) {
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    befriend(world, ann, ben).await;
    (ann, Client::open(engine, &world.log_in(ben).await).await)
}

#[tokio::test(start_paused = true)]
async fn a_user_is_present_from_the_first_session_to_the_last() {
    let world = World::new();
    let engine = world.start().await;
    let (ann, mut ben) = friends(&world, &engine).await;
    let stranger = world.user("cho").await;
    let mut stranger = Client::open(&engine, &world.log_in(stranger).await).await;
    assert!(!online(&world, ann).await);
    let first = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    let second = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    settle().await;
    assert!(online(&world, ann).await);
    assert_eq!(presence_events(&mut ben), [(ann.to_string(), true)], "one event for two sessions");
    engine.close_session(&first).await;
    settle().await;
    assert!(online(&world, ann).await);
    assert_eq!(presence_events(&mut ben).len(), 1);
    drop(second);
    for _ in 0..62 {
        sleep(Duration::from_secs(1)).await;
        presence_events(&mut ben);
        assert_eq!(presence_events(&mut stranger), []);
    }
    assert!(!online(&world, ann).await, "the last session was not read for its resume window");
    assert_eq!(presence_events(&mut ben).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn friends_are_notified_once_when_a_user_comes_online_and_once_when_offline() {
    let world = World::new();
    let engine = world.start().await;
    let (ann, mut ben) = friends(&world, &engine).await;
    for round in 1..=3 {
        let session = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
        settle().await;
        engine.close_session(&session).await;
        engine.close_session(&session).await;
        settle().await;
        let events = presence_events(&mut ben);
        assert_eq!(events.len(), round * 2);
        assert_eq!(events[round * 2 - 2..], [(ann.to_string(), true), (ann.to_string(), false)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_who_does_not_share_presence_is_not_announced() {
    let world = World::new();
    let engine = world.start().await;
    let (ann, mut ben) = friends(&world, &engine).await;
    let change = SettingsChange { share_presence: Some(false), ..SettingsChange::default() };
    world.directory.change_settings(ann, change).await.expect("changes");
    let session = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    settle().await;
    engine.close_session(&session).await;
    settle().await;
    assert_eq!(presence_events(&mut ben), []);
}

#[tokio::test(start_paused = true)]
async fn a_pending_friend_is_not_notified() {
    let world = World::new();
    let engine = world.start().await;
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    world.directory.befriend(ben, ann, RelationLimits::DEFAULT).await.expect("sends a request");
    let mut ben = Client::open(&engine, &world.log_in(ben).await).await;
    let _session = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    settle().await;
    assert_eq!(presence_events(&mut ben), []);
}

#[tokio::test(start_paused = true)]
async fn a_user_on_two_nodes_is_present_until_the_last_session_ends() {
    let world = World::new();
    world.registry.grant_all.store(true, Ordering::SeqCst);
    let engines = [world.start_node("one").await, world.start_node("two").await];
    let (ann, mut ben) = friends(&world, &engines[0]).await;
    let one = engines[0].open_session(&world.log_in(ann).await, None).await.expect("opens");
    let two = engines[1].open_session(&world.log_in(ann).await, None).await.expect("opens");
    engines[0].close_session(&one).await;
    settle().await;
    assert!(online(&world, ann).await);
    engines[1].close_session(&two).await;
    settle().await;
    assert!(!online(&world, ann).await);
    assert_eq!(presence_events(&mut ben), [(ann.to_string(), true), (ann.to_string(), false)]);
}

#[tokio::test(start_paused = true)]
async fn a_presence_that_could_not_be_ended_is_ended_later() {
    let world = World::new();
    let engine = world.start().await;
    let (ann, mut ben) = friends(&world, &engine).await;
    let session = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    settle().await;
    world.presence.failing_leaves.store(3, Ordering::SeqCst);
    engine.close_session(&session).await;
    assert!(online(&world, ann).await);
    sleep(Duration::from_secs(5)).await;
    assert!(!online(&world, ann).await);
    assert_eq!(presence_events(&mut ben), [(ann.to_string(), true), (ann.to_string(), false)]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_opens_while_the_last_one_is_removed_keeps_its_user_present() {
    let world = World::new();
    let engine = world.start().await;
    let (ann, mut ben) = friends(&world, &engine).await;
    world.group(&[ann]).await;
    let old = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    world.interest.before_leave.close();
    let closing = tokio::spawn({
        let engine = engine.clone();
        async move { engine.close_session(&old).await }
    });
    settle().await;
    assert_eq!(world.interest.before_leave.waiting(), 1);
    let opening = tokio::spawn({
        let (engine, access) = (engine.clone(), world.log_in(ann).await);
        async move { engine.open_session(&access, None).await }
    });
    settle().await;
    world.interest.before_leave.open();
    closing.await.expect("no panic");
    opening.await.expect("no panic").expect("opens");
    settle().await;
    assert!(online(&world, ann).await);
    assert_eq!(presence_events(&mut ben), [(ann.to_string(), true)], "the user never went offline");
}

#[tokio::test(start_paused = true)]
async fn an_outdated_presence_is_not_announced() {
    let world = World::new();
    let engine = world.start().await;
    let (ann, mut ben) = friends(&world, &engine).await;
    let old = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    settle().await;
    assert_eq!(presence_events(&mut ben), [(ann.to_string(), true)]);
    // The directory is slow to return the friends to notify; by then the user is online again.
    world.directory.after_settings.close();
    engine.close_session(&old).await;
    settle().await;
    let _new = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    settle().await;
    assert_eq!(world.directory.after_settings.waiting(), 2);
    world.directory.after_settings.open();
    settle().await;
    assert!(presence_events(&mut ben).iter().all(|(_, online)| *online));
}

/// A reloaded page closes one session and opens another at the same time.
#[tokio::test(start_paused = true)]
async fn a_user_who_replaces_a_session_stays_present_and_reachable() {
    let world = World::new();
    let engine = world.start().await;
    let (ann, mut ben) = friends(&world, &engine).await;
    let owner = world.user("cho").await;
    let group = world.group(&[owner]).await;
    let old = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    settle().await;
    world.presence.before_leave.close();
    let closing = tokio::spawn({
        let engine = engine.clone();
        async move { engine.close_session(&old).await }
    });
    settle().await;
    let opening = tokio::spawn({
        let (engine, access) = (engine.clone(), world.log_in(ann).await);
        async move { Client::open(&engine, &access).await }
    });
    settle().await;
    world.presence.before_leave.open();
    closing.await.expect("no panic");
    let mut client = opening.await.expect("no panic");
    world.add(&engine, group, ann).await;
    let sent = send_hello(&engine, owner, group).await;
    settle().await;
    client.poll();
    assert_eq!(client.received(group), [sent]);
    assert!(online(&world, ann).await);
    let last = presence_events(&mut ben).pop();
    assert_eq!(last, Some((ann.to_string(), true)), "the last event is true");
}
