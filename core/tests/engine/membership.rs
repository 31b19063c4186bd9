//! I6, the part of members: who comes to a channel gets the very next message, who leaves gets
//! none, at whatever moment it happens.

use pabal_core::engine::Engine;
use pabal_core::model::{ChannelId, MessageId, UserId};
use pabal_core::ports::Delivery;
use pabal_core::protocol::{Cursors, ProblemCode};
use tokio::task::JoinHandle;

use crate::harness::{Client, Gate, World, quiet, say};

#[tokio::test(start_paused = true)]
async fn the_very_next_message_reaches_a_new_member() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ben).await).await;
    let mut expected = Vec::new();
    for _ in 0..5 {
        say(&engine, ann, group).await;
        world.add(&engine, group, ben).await;
        expected.push(say(&engine, ann, group).await);
        world.remove(&engine, group, ben).await;
    }
    quiet().await;
    client.poll();
    assert_eq!(client.handed(group), expected);
}

#[tokio::test(start_paused = true)]
async fn it_reaches_them_even_while_their_node_has_not_heard_of_it() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ben).await).await;
    world.inbox.before_receive.shut();
    world.add(&engine, group, ben).await;
    let sent = say(&engine, ann, group).await;
    quiet().await;
    world.inbox.before_receive.open();
    quiet().await;
    client.poll();
    assert_eq!(client.handed(group), [sent]);
}

#[tokio::test(start_paused = true)]
async fn a_former_member_may_not_send_at_once() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann, ben]).await;
    let engine = world.start().await;
    say(&engine, ben, group).await;
    world.remove(&engine, group, ben).await;
    let refused = engine.typing(ben, group).await.expect_err("is no member");
    assert_eq!(refused.code, ProblemCode::NotAMember);
    world.add(&engine, group, ben).await;
    say(&engine, ben, group).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_receives_a_channel_that_is_no_more() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let (group, other) = (
        world.group(&[ann, ben]).await,
        world.group(&[ann, ben]).await,
    );
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ben).await).await;
    say(&engine, ann, group).await;
    quiet().await;
    engine
        .publish(Delivery::ChannelEnded { channel_id: group })
        .await;
    say(&engine, ann, group).await;
    let last = say(&engine, ann, other).await;
    quiet().await;
    client.poll();
    assert_eq!(
        (client.handed(group).len(), client.handed(other)),
        (1, vec![last])
    );
}

/// The doors at which an opening session can be made to stand.
fn doors(world: &World) -> [&Gate; 4] {
    [
        &world.presence.after_join,
        &world.directory.after_memberships,
        &world.interest.after_join,
        &world.history.after_page,
    ]
}

#[tokio::test(start_paused = true)]
async fn who_is_added_while_a_session_opens_gets_the_next_message() {
    for door in 0..4 {
        let world = World::new();
        let (ann, ben) = (world.user("ann").await, world.user("ben").await);
        let (group, other) = (world.group(&[ann]).await, world.group(&[ann, ben]).await);
        let engine = world.start().await;
        say(&engine, ann, other).await;
        let (mut client, sent) = {
            let opening = opening_at(&world, &engine, ben, other, door).await;
            world.put(group, ben).await;
            let adding = tokio::spawn({
                let engine = engine.clone();
                let joined = Delivery::Membership {
                    channel_id: group,
                    user_id: ben,
                    joined: true,
                };
                async move { engine.publish(joined).await }
            });
            quiet().await;
            doors(&world)[door].open();
            adding.await.expect("no panic");
            let sent = say(&engine, ann, group).await;
            (opening.await.expect("no panic"), sent)
        };
        quiet().await;
        client.poll();
        assert_eq!(client.handed(group), [sent], "added at door {door}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_removed_while_a_session_opens_gets_nothing_more() {
    for door in 0..4 {
        let world = World::new();
        let (ann, ben) = (world.user("ann").await, world.user("ben").await);
        let (group, other) = (
            world.group(&[ann, ben]).await,
            world.group(&[ann, ben]).await,
        );
        let engine = world.start().await;
        let first = say(&engine, ann, other).await;
        let opening = opening_at(&world, &engine, ben, other, door).await;
        world.remove(&engine, group, ben).await;
        quiet().await;
        doors(&world)[door].open();
        quiet().await;
        let (_, last) = (
            say(&engine, ann, group).await,
            say(&engine, ann, other).await,
        );
        let mut client = opening.await.expect("no panic");
        quiet().await;
        client.poll();
        assert_eq!(client.handed(group), [], "removed at door {door}");
        assert_eq!(client.handed(other), [first, last]);
    }
}

/// A session of `user` that stands at `door` while it is being opened.
async fn opening_at(
    world: &World,
    engine: &Engine,
    user: UserId,
    channel: ChannelId,
    door: usize,
) -> JoinHandle<Client> {
    doors(world)[door].shut();
    let (engine, access) = (engine.clone(), world.log_in(user).await);
    let cursors = Cursors::from([(channel, MessageId::new(0))]);
    let opening = tokio::spawn(async move { Client::open_from(&engine, &access, cursors).await });
    quiet().await;
    assert_eq!(doors(world)[door].waiting(), 1, "stands at door {door}");
    opening
}
