//! Presence follows sessions, and friends are told.

use std::sync::atomic::Ordering;
use std::time::Duration;

use pabal_core::engine::Engine;
use pabal_core::model::UserId;
use pabal_core::ports::{Directory, Presence, SettingsChange};
use tokio::time::sleep;

use crate::harness::{Client, World, quiet, say};

async fn online(world: &World, user: UserId) -> bool {
    world.presence.online(&[user]).await.expect("reads")[0]
}

async fn befriend(world: &World, one: UserId, other: UserId) {
    world.directory.befriend(one, other).await.expect("asks");
    world.directory.befriend(other, one).await.expect("accepts");
}

/// The presence events of a client, as (user, online).
fn told(client: &mut Client) -> Vec<(String, bool)> {
    client.poll();
    let events = client.events("presence").into_iter();
    events
        .map(|event| {
            let user = event["user_id"].as_str().expect("a string").to_owned();
            (user, event["online"].as_bool().expect("a bool"))
        })
        .collect()
}

/// Ann and Ben, friends, and a client of Ben's.
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
    quiet().await;
    assert!(online(&world, ann).await);
    assert_eq!(told(&mut ben), [(ann.to_string(), true)], "once for two sessions");
    engine.close_session(&first).await;
    quiet().await;
    assert!(online(&world, ann).await);
    assert_eq!(told(&mut ben).len(), 1);
    drop(second);
    for _ in 0..62 {
        sleep(Duration::from_secs(1)).await;
        told(&mut ben);
        assert_eq!(told(&mut stranger), []);
    }
    assert!(!online(&world, ann).await, "the last session was not read for its resume window");
    assert_eq!(told(&mut ben).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn friends_are_told_once_when_somebody_comes_and_once_when_they_go() {
    let world = World::new();
    let engine = world.start().await;
    let (ann, mut ben) = friends(&world, &engine).await;
    for round in 1..=3 {
        let session = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
        quiet().await;
        engine.close_session(&session).await;
        engine.close_session(&session).await;
        quiet().await;
        let told = told(&mut ben);
        assert_eq!(told.len(), round * 2);
        assert_eq!(told[round * 2 - 2..], [(ann.to_string(), true), (ann.to_string(), false)]);
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_share_presence_is_not_announced() {
    let world = World::new();
    let engine = world.start().await;
    let (ann, mut ben) = friends(&world, &engine).await;
    let change = SettingsChange { share_presence: Some(false), ..SettingsChange::default() };
    world.directory.change_settings(ann, change).await.expect("changes");
    let session = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    quiet().await;
    engine.close_session(&session).await;
    quiet().await;
    assert_eq!(told(&mut ben), []);
}

#[tokio::test(start_paused = true)]
async fn one_who_only_asked_to_be_a_friend_is_not_told() {
    let world = World::new();
    let engine = world.start().await;
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    world.directory.befriend(ben, ann).await.expect("asks");
    let mut ben = Client::open(&engine, &world.log_in(ben).await).await;
    let _session = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    quiet().await;
    assert_eq!(told(&mut ben), []);
}

#[tokio::test(start_paused = true)]
async fn a_user_on_two_nodes_is_present_until_the_last_of_them() {
    let world = World::new();
    world.registry.grant_all.store(true, Ordering::SeqCst);
    let engines = [world.start_node("one").await, world.start_node("two").await];
    let (ann, mut ben) = friends(&world, &engines[0]).await;
    let one = engines[0].open_session(&world.log_in(ann).await, None).await.expect("opens");
    let two = engines[1].open_session(&world.log_in(ann).await, None).await.expect("opens");
    engines[0].close_session(&one).await;
    quiet().await;
    assert!(online(&world, ann).await);
    engines[1].close_session(&two).await;
    quiet().await;
    assert!(!online(&world, ann).await);
    assert_eq!(told(&mut ben), [(ann.to_string(), true), (ann.to_string(), false)]);
}

#[tokio::test(start_paused = true)]
async fn a_presence_that_could_not_be_given_back_is_given_back_later() {
    let world = World::new();
    let engine = world.start().await;
    let (ann, mut ben) = friends(&world, &engine).await;
    let session = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    quiet().await;
    world.presence.failing_leaves.store(3, Ordering::SeqCst);
    engine.close_session(&session).await;
    assert!(online(&world, ann).await);
    sleep(Duration::from_secs(5)).await;
    assert!(!online(&world, ann).await);
    assert_eq!(told(&mut ben), [(ann.to_string(), true), (ann.to_string(), false)]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_opens_while_the_last_one_is_cleared_away_keeps_its_user_present() {
    let world = World::new();
    let engine = world.start().await;
    let (ann, mut ben) = friends(&world, &engine).await;
    world.group(&[ann]).await;
    let old = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    world.interest.before_leave.shut();
    let closing = tokio::spawn({
        let engine = engine.clone();
        async move { engine.close_session(&old).await }
    });
    quiet().await;
    assert_eq!(world.interest.before_leave.waiting(), 1);
    let opening = tokio::spawn({
        let (engine, access) = (engine.clone(), world.log_in(ann).await);
        async move { engine.open_session(&access, None).await }
    });
    quiet().await;
    world.interest.before_leave.open();
    closing.await.expect("no panic");
    opening.await.expect("no panic").expect("opens");
    quiet().await;
    assert!(online(&world, ann).await);
    assert_eq!(told(&mut ben), [(ann.to_string(), true)], "they never left");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_so_is_not_announced() {
    let world = World::new();
    let engine = world.start().await;
    let (ann, mut ben) = friends(&world, &engine).await;
    let old = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    quiet().await;
    assert_eq!(told(&mut ben), [(ann.to_string(), true)]);
    // The directory is slow to tell who is to hear that Ann has gone; by then she is back.
    world.directory.after_settings.shut();
    engine.close_session(&old).await;
    quiet().await;
    let _new = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    quiet().await;
    assert_eq!(world.directory.after_settings.waiting(), 2);
    world.directory.after_settings.open();
    quiet().await;
    assert!(told(&mut ben).iter().all(|(_, online)| *online));
}

/// A page that is loaded again closes one session and opens another at the same moment.
#[tokio::test(start_paused = true)]
async fn a_user_whose_sessions_change_over_stays_present_and_reachable() {
    let world = World::new();
    let engine = world.start().await;
    let (ann, mut ben) = friends(&world, &engine).await;
    let owner = world.user("cho").await;
    let group = world.group(&[owner]).await;
    let old = engine.open_session(&world.log_in(ann).await, None).await.expect("opens");
    quiet().await;
    world.presence.before_leave.shut();
    let closing = tokio::spawn({
        let engine = engine.clone();
        async move { engine.close_session(&old).await }
    });
    quiet().await;
    let opening = tokio::spawn({
        let (engine, access) = (engine.clone(), world.log_in(ann).await);
        async move { Client::open(&engine, &access).await }
    });
    quiet().await;
    world.presence.before_leave.open();
    closing.await.expect("no panic");
    let mut client = opening.await.expect("no panic");
    world.add(&engine, group, ann).await;
    let sent = say(&engine, owner, group).await;
    quiet().await;
    client.poll();
    assert_eq!(client.handed(group), [sent]);
    assert!(online(&world, ann).await);
    let last = told(&mut ben).pop();
    assert_eq!(last, Some((ann.to_string(), true)), "what friends heard last is true");
}
