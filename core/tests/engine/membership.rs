//! I6, the part of members: who comes to a channel gets the very next message, who leaves gets
//! none, at whatever moment it happens.

use pabal_core::ports::Delivery;
use pabal_core::protocol::ProblemCode;

use crate::harness::{Client, DOORS, World, door, opening_at, quiet, say};

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
async fn it_reaches_them_even_if_whoever_added_them_did_not_wait() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ben).await).await;
    world.put(group, ben).await;
    world.inbox.before_send.shut();
    let adding = tokio::spawn({
        let engine = engine.clone();
        let joined = Delivery::Membership { channel_id: group, user_id: ben, joined: true };
        async move { engine.publish(joined).await }
    });
    quiet().await;
    adding.abort();
    quiet().await;
    world.inbox.before_send.open();
    quiet().await;
    let sent = say(&engine, ann, group).await;
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
    let (group, other) = (world.group(&[ann, ben]).await, world.group(&[ann, ben]).await);
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ben).await).await;
    say(&engine, ann, group).await;
    quiet().await;
    engine.publish(Delivery::ChannelEnded { channel_id: group }).await;
    say(&engine, ann, group).await;
    let last = say(&engine, ann, other).await;
    quiet().await;
    client.poll();
    assert_eq!((client.handed(group).len(), client.handed(other)), (1, vec![last]));
}

#[tokio::test(start_paused = true)]
async fn who_is_added_while_a_session_opens_gets_the_next_message() {
    for number in 0..DOORS {
        let world = World::new();
        let (ann, ben) = (world.user("ann").await, world.user("ben").await);
        let (group, other) = (world.group(&[ann]).await, world.group(&[ann, ben]).await);
        let engine = world.start().await;
        say(&engine, ann, other).await;
        let (mut client, sent) = {
            let opening = opening_at(&world, number, &engine, ben, other).await;
            world.put(group, ben).await;
            let adding = tokio::spawn({
                let engine = engine.clone();
                let joined = Delivery::Membership { channel_id: group, user_id: ben, joined: true };
                async move { engine.publish(joined).await }
            });
            quiet().await;
            door(&world, number).open();
            adding.await.expect("no panic");
            let sent = say(&engine, ann, group).await;
            (opening.await.expect("no panic"), sent)
        };
        quiet().await;
        client.poll();
        assert_eq!(client.handed(group), [sent], "added at door {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_removed_while_a_session_opens_gets_nothing_more() {
    for number in 0..DOORS {
        let world = World::new();
        let (ann, ben) = (world.user("ann").await, world.user("ben").await);
        let (group, other) = (world.group(&[ann, ben]).await, world.group(&[ann, ben]).await);
        let engine = world.start().await;
        let first = say(&engine, ann, other).await;
        let opening = opening_at(&world, number, &engine, ben, other).await;
        world.remove(&engine, group, ben).await;
        quiet().await;
        door(&world, number).open();
        quiet().await;
        let (_, last) = (say(&engine, ann, group).await, say(&engine, ann, other).await);
        let mut client = opening.await.expect("no panic");
        quiet().await;
        client.poll();
        assert_eq!(client.handed(group), [], "removed at door {number}");
        assert_eq!(client.handed(other), [first, last]);
    }
}
