//! Push: members without a session anywhere, according to what they want to hear of.

use std::sync::atomic::Ordering;

use pabal_core::model::{NotificationLevel, UserId};
use pabal_core::ports::{Directory, Notification, PushNotifier, PushPosition, SettingsChange};

use crate::harness::{World, named, quiet, text};

/// What was pushed so far, by user and content.
async fn pushed(world: &World) -> Vec<(UserId, String)> {
    quiet().await;
    let pending = world.push.pending(PushPosition(0), 1_000);
    let pending = tokio::time::timeout(std::time::Duration::from_millis(1), pending).await;
    let Ok(pending) = pending else {
        return Vec::new();
    };
    let notifications = pending.expect("reads").into_iter().map(|queued| queued.notification);
    notifications
        .map(|Notification { user_id, message, .. }| (user_id, message.content.to_string()))
        .collect()
}

async fn wants(world: &World, user: UserId, level: NotificationLevel) {
    let change = SettingsChange { notifications: Some(level), ..SettingsChange::default() };
    world.directory.change_settings(user, change).await.expect("changes");
}

#[tokio::test(start_paused = true)]
async fn only_members_who_are_nowhere_connected_are_notified() {
    let world = World::new();
    world.registry.grant_all.store(true, Ordering::SeqCst);
    let [ann, here, there, away, stranger] = [
        world.user("ann").await,
        world.user("here").await,
        world.user("there").await,
        world.user("away").await,
        world.user("stranger").await,
    ];
    let group = world.group(&[ann, here, there, away]).await;
    let engines = [world.start_node("one").await, world.start_node("two").await];
    let _here = engines[0].open_session(&world.log_in(here).await, None).await.expect("opens");
    let _there = engines[1].open_session(&world.log_in(there).await, None).await.expect("opens");
    // The second engine is a second owner: what both have stored is pushed at least once.
    engines[1].shutdown().await;
    engines[0].submit(ann, text(group, "hello")).await.expect("is stored");
    assert_eq!(pushed(&world).await, [(away, "hello".into())]);
    assert!(!pushed(&world).await.iter().any(|(user, _)| *user == stranger || *user == ann));
}

#[tokio::test(start_paused = true)]
async fn a_member_is_notified_again_once_their_last_session_has_ended() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann, ben]).await;
    let engine = world.start().await;
    let session = engine.open_session(&world.log_in(ben).await, None).await.expect("opens");
    engine.submit(ann, text(group, "seen")).await.expect("is stored");
    assert_eq!(pushed(&world).await, []);
    engine.close_session(&session).await;
    engine.submit(ann, text(group, "pushed")).await.expect("is stored");
    assert_eq!(pushed(&world).await, [(ben, "pushed".into())]);
}

#[tokio::test(start_paused = true)]
async fn everybody_is_notified_of_what_they_want_to_hear_of() {
    let world = World::new();
    let (ann, all) = (world.user("ann").await, world.user("all").await);
    let (some, none) = (world.user("some").await, world.user("none").await);
    wants(&world, some, NotificationLevel::Mentions).await;
    wants(&world, none, NotificationLevel::None).await;
    let group = world.group(&[ann, all, some, none]).await;
    let engine = world.start().await;
    engine.submit(ann, text(group, "hello")).await.expect("is stored");
    assert_eq!(pushed(&world).await, [(all, "hello".into())]);
    engine.submit(ann, text(group, "@some @none")).await.expect("is stored");
    let expected =
        [(all, "hello".into()), (all, "@some @none".into()), (some, "@some @none".into())];
    assert_eq!(pushed(&world).await, expected);
    // A direct message is meant for one: it counts as a mention.
    for (user, count) in [(some, 4), (none, 4)] {
        let direct = world.direct(ann, user).await;
        engine.submit(ann, text(direct, "hi")).await.expect("is stored");
        assert_eq!(pushed(&world).await.len(), count);
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_send_is_not_pushed_again() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann, ben]).await;
    let engine = world.start().await;
    for _ in 0..3 {
        engine.submit(ann, named(group, "once")).await.expect("is stored");
    }
    assert_eq!(pushed(&world).await, [(ben, "once".into())]);
}
