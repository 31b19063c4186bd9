//! The events that are no messages: who is told, and who is not.

use pabal_core::engine::Engine;
use pabal_core::model::{ChannelId, MessageId, UserId};
use pabal_core::ports::{Delivery, Directory, SettingsChange};
use pabal_core::protocol::{Command, Cursors, ProblemCode};

use crate::harness::{Client, World, code, quiet, say};

/// Ann with two devices, and Ben, in a group.
struct Room {
    world: World,
    engine: Engine,
    ann: UserId,
    group: ChannelId,
    devices: [Client; 2],
    ben: Client,
}

async fn room() -> Room {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann, ben]).await;
    let engine = world.start().await;
    let open = async |user| Client::open(&engine, &world.log_in(user).await).await;
    let devices = [open(ann).await, open(ann).await];
    let ben = open(ben).await;
    Room { world, engine, ann, group, devices, ben }
}

impl Room {
    /// How many events of a kind each of Ann's devices and Ben have.
    async fn count(&mut self, kind: &str) -> [usize; 3] {
        quiet().await;
        let [one, two] = &mut self.devices;
        [one, two, &mut self.ben].map(|client| {
            client.poll();
            client.events(kind).len()
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_others_are_told_that_somebody_is_typing() {
    let mut room = room().await;
    let typing = Command::Typing { channel_id: room.group };
    room.engine.run_command(room.ann, typing).await.expect("is told");
    assert_eq!(room.count("typing").await, [0, 0, 1]);
    let refused = room.engine.typing(room.ann, ChannelId::new(999)).await;
    assert_eq!(code(refused), ProblemCode::NotAMember);
}

#[tokio::test(start_paused = true)]
async fn everybody_is_told_how_far_somebody_has_read_once() {
    let mut room = room().await;
    let message_id = say(&room.engine, room.ann, room.group).await;
    for _ in 0..2 {
        let read = Command::Read { channel_id: room.group, message_id };
        room.engine.run_command(room.ann, read).await.expect("is told");
    }
    assert_eq!(room.count("read").await, [1, 1, 1]);
    let beyond = MessageId::new(message_id.get() + 1);
    assert_eq!(code(room.engine.read(room.ann, room.group, beyond).await), ProblemCode::Invalid);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_share_reading_tells_only_their_own_devices() {
    let mut room = room().await;
    let change = SettingsChange { share_read: Some(false), ..SettingsChange::default() };
    room.world.directory.change_settings(room.ann, change).await.expect("changes");
    let message_id = say(&room.engine, room.ann, room.group).await;
    room.engine.read(room.ann, room.group, message_id).await.expect("is told");
    assert_eq!(room.count("read").await, [1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_sync_gives_named_channels_from_their_cursor_and_the_others_with_their_head() {
    let room = room().await;
    let (quiet_one, other) =
        (room.world.group(&[room.ann]).await, room.world.group(&[room.ann]).await);
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(say(&room.engine, room.ann, room.group).await);
    }
    let head = say(&room.engine, room.ann, other).await;
    let cursors = [(room.group, ids[0])].into();
    let synced = room.engine.sync(room.ann, &cursors, 2).await.expect("reads");
    let synced = synced.channels;
    assert_eq!(synced.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [room.group, other]);
    let (named, unnamed) = (&synced[0].1, &synced[1].1);
    assert_eq!(named.messages.iter().map(|m| m.message_id).collect::<Vec<_>>(), ids[1..3]);
    assert_eq!((named.cur_max_message_id, named.has_more), (ids[2], true));
    assert_eq!((unnamed.cur_max_message_id, unnamed.messages.len()), (head, 1));
    let _ = quiet_one;
}

#[tokio::test(start_paused = true)]
async fn channels_that_were_left_or_deleted_hold_up_no_catch_up() {
    let room = room().await;
    let cho = room.world.user("cho").await;
    let (left, deleted) =
        (room.world.group(&[cho, room.ann]).await, room.world.group(&[room.ann]).await);
    let message_id = say(&room.engine, room.ann, room.group).await;
    for channel_id in [left, deleted] {
        say(&room.engine, room.ann, channel_id).await;
    }
    room.world.remove(&room.engine, left, room.ann).await;
    assert!(room.world.directory.delete_group(deleted).await.expect("deletes"));
    room.engine.publish(Delivery::ChannelEnded { channel_id: deleted }).await;
    quiet().await;
    let never = ChannelId::new(999);
    let cursors: Cursors =
        [room.group, left, deleted, never].map(|id| (id, MessageId::new(0))).into();
    let synced = room.engine.sync(room.ann, &cursors, 50).await.expect("reads");
    let [(channel_id, beyond)] = &synced.channels[..] else { panic!("{synced:?}") };
    assert_eq!((*channel_id, beyond.cur_max_message_id), (room.group, message_id));
    assert_eq!(synced.gone, [left, deleted, never]);
    // A session that opens with the same cursors is told the same, channel by channel.
    let access = room.world.log_in(room.ann).await;
    let mut client = Client::open_from(&room.engine, &access, cursors).await;
    client.poll_all();
    assert_eq!(client.handed(room.group), [message_id]);
    let told: Vec<_> = client.events("member").iter().map(|it| it["channel_id"].clone()).collect();
    assert_eq!(told, synced.gone.iter().map(|id| id.to_string()).collect::<Vec<_>>());
    assert!(client.events("member").iter().all(|it| it["joined"] == false));
}
