//! The events that are no messages: which sessions receive them, and which do not.

use pabal_core::engine::Engine;
use pabal_core::model::{ChannelId, MessageId, UserId};
use pabal_core::ports::{Delivery, Directory, SettingsChange};
use pabal_core::protocol::{Command, Cursors, ProblemCode};

use crate::harness::{Client, World, code, send_hello, settle};

/// Ann with two devices, and Ben, in a group.
struct Scene {
    world: World,
    engine: Engine,
    ann: UserId,
    group: ChannelId,
    devices: [Client; 2],
    ben: Client,
}

async fn scene() -> Scene {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann, ben]).await;
    let engine = world.start().await;
    let open = async |user| Client::open(&engine, &world.log_in(user).await).await;
    let devices = [open(ann).await, open(ann).await];
    let ben = open(ben).await;
    Scene { world, engine, ann, group, devices, ben }
}

impl Scene {
    /// How many events of a kind each of Ann's devices and Ben have received.
    async fn count(&mut self, kind: &str) -> [usize; 3] {
        settle().await;
        let [one, two] = &mut self.devices;
        [one, two, &mut self.ben].map(|client| {
            client.poll();
            client.events(kind).len()
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_other_members_are_notified_of_typing() {
    let mut scene = scene().await;
    let typing = Command::Typing { channel_id: scene.group };
    scene.engine.run_command(scene.ann, typing).await.expect("is published");
    assert_eq!(scene.count("typing").await, [0, 0, 1]);
    let refused = scene.engine.typing(scene.ann, ChannelId::new(999)).await;
    assert_eq!(code(refused), ProblemCode::NotAMember);
}

#[tokio::test(start_paused = true)]
async fn all_members_are_notified_once_of_a_read_position() {
    let mut scene = scene().await;
    let message_id = send_hello(&scene.engine, scene.ann, scene.group).await;
    for _ in 0..2 {
        let read = Command::Read { channel_id: scene.group, message_id };
        scene.engine.run_command(scene.ann, read).await.expect("is published");
    }
    assert_eq!(scene.count("read").await, [1, 1, 1]);
    let beyond = MessageId::new(message_id.get() + 1);
    assert_eq!(code(scene.engine.read(scene.ann, scene.group, beyond).await), ProblemCode::Invalid);
}

#[tokio::test(start_paused = true)]
async fn a_read_position_that_is_not_shared_reaches_only_own_devices() {
    let mut scene = scene().await;
    let change = SettingsChange { share_read: Some(false), ..SettingsChange::default() };
    scene.world.directory.change_settings(scene.ann, change).await.expect("changes");
    let message_id = send_hello(&scene.engine, scene.ann, scene.group).await;
    scene.engine.read(scene.ann, scene.group, message_id).await.expect("is published");
    assert_eq!(scene.count("read").await, [1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_sync_returns_channels_with_a_cursor_from_there_and_the_others_with_their_head() {
    let scene = scene().await;
    let (silent, other) =
        (scene.world.group(&[scene.ann]).await, scene.world.group(&[scene.ann]).await);
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(send_hello(&scene.engine, scene.ann, scene.group).await);
    }
    let head = send_hello(&scene.engine, scene.ann, other).await;
    let cursors = [(scene.group, ids[0])].into();
    let synced = scene.engine.sync(scene.ann, &cursors, None, 2).await.expect("reads");
    let synced = synced.channels;
    assert_eq!(synced.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [scene.group, other]);
    let (named, unnamed) = (&synced[0].1, &synced[1].1);
    assert_eq!(named.messages.iter().map(|m| m.message_id).collect::<Vec<_>>(), ids[1..3]);
    assert_eq!((named.cur_max_message_id, named.has_more), (ids[2], true));
    assert_eq!((unnamed.cur_max_message_id, unnamed.messages.len()), (head, 1));
    let _ = silent;
}

#[tokio::test(start_paused = true)]
async fn channels_that_were_left_or_deleted_block_no_catch_up() {
    let scene = scene().await;
    let cho = scene.world.user("cho").await;
    let (left, deleted) =
        (scene.world.group(&[cho, scene.ann]).await, scene.world.group(&[scene.ann]).await);
    let message_id = send_hello(&scene.engine, scene.ann, scene.group).await;
    for channel_id in [left, deleted] {
        send_hello(&scene.engine, scene.ann, channel_id).await;
    }
    scene.world.remove(&scene.engine, left, scene.ann).await;
    scene.world.directory.delete_group(scene.ann, deleted).await.expect("deletes");
    scene.engine.publish(Delivery::ChannelEnded { channel_id: deleted }).await;
    settle().await;
    let never = ChannelId::new(999);
    let cursors: Cursors =
        [scene.group, left, deleted, never].map(|id| (id, MessageId::new(0))).into();
    let synced = scene.engine.sync(scene.ann, &cursors, None, 50).await.expect("reads");
    let [(channel_id, beyond)] = &synced.channels[..] else { panic!("{synced:?}") };
    assert_eq!((*channel_id, beyond.cur_max_message_id), (scene.group, message_id));
    assert_eq!(synced.gone, [left, deleted, never]);
    // A session that opens with the same cursors gets the same result, channel by channel.
    let access = scene.world.log_in(scene.ann).await;
    let mut client = Client::open_from(&scene.engine, &access, cursors).await;
    client.poll_all();
    assert_eq!(client.received(scene.group), [message_id]);
    let events: Vec<_> =
        client.events("member").iter().map(|it| it["channel_id"].clone()).collect();
    assert_eq!(events, synced.gone.iter().map(|id| id.to_string()).collect::<Vec<_>>());
    assert!(client.events("member").iter().all(|it| it["joined"] == false));
}
