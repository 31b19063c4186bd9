//! Push: members without a session on any node are notified by their notification level.

use std::sync::atomic::Ordering;

use pabal_core::model::{NotificationLevel, UserId};
use pabal_core::ports::{Directory, Notification, PushNotifier, PushPosition, SettingsChange};

use crate::harness::{World, named, settle, text};

/// The notifications so far, by user and content.
async fn pushed(world: &World) -> Vec<(UserId, String)> {
    settle().await;
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
async fn only_offline_members_are_notified() {
    let world = World::new();
    world.registry.grant_all.store(true, Ordering::SeqCst);
    let [ann, on_one, on_two, offline, stranger] = [
        world.user("ann").await,
        world.user("on-one").await,
        world.user("on-two").await,
        world.user("offline").await,
        world.user("stranger").await,
    ];
    let group = world.group(&[ann, on_one, on_two, offline]).await;
    let engines = [world.start_node("one").await, world.start_node("two").await];
    let _on_one = engines[0].open_session(&world.log_in(on_one).await, None).await.expect("opens");
    let _on_two = engines[1].open_session(&world.log_in(on_two).await, None).await.expect("opens");
    // Both engines own the partition; a message that both store is pushed at least once.
    engines[1].shutdown().await;
    engines[0].submit(ann, text(group, "hello")).await.expect("is stored");
    assert_eq!(pushed(&world).await, [(offline, "hello".into())]);
    assert!(!pushed(&world).await.iter().any(|(user, _)| *user == stranger || *user == ann));
}

#[tokio::test(start_paused = true)]
async fn a_member_is_notified_again_after_the_last_session_ended() {
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
async fn members_are_notified_by_their_notification_level() {
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
    // A direct message counts as a mention.
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
