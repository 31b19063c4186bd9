//! I6 for members: a new member gets the very next message of the channel, a former member gets none,
//! at any moment of the opening of a session.

use pabal_core::ports::Delivery;
use pabal_core::protocol::ProblemCode;

use crate::harness::{
    Client, OPENING_STEPS, World, opening_paused_at, read, send_hello, settle, step_gate,
};

#[tokio::test(start_paused = true)]
async fn the_very_next_message_reaches_a_new_member() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ben).await).await;
    let mut expected = Vec::new();
    for _ in 0..5 {
        send_hello(&engine, ann, group).await;
        world.add(&engine, group, ben).await;
        expected.push(send_hello(&engine, ann, group).await);
        world.remove(&engine, group, ben).await;
    }
    settle().await;
    client.poll();
    assert_eq!(client.received(group), expected);
}

#[tokio::test(start_paused = true)]
async fn the_next_message_reaches_a_new_member_before_the_node_learns_of_the_membership() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ben).await).await;
    world.inbox.before_receive.close();
    world.add(&engine, group, ben).await;
    let sent = send_hello(&engine, ann, group).await;
    settle().await;
    world.inbox.before_receive.open();
    settle().await;
    client.poll();
    assert_eq!(client.received(group), [sent]);
}

#[tokio::test(start_paused = true)]
async fn the_next_message_reaches_a_new_member_even_if_the_caller_did_not_wait() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ben).await).await;
    world.put(group, ben).await;
    world.inbox.before_send.close();
    let adding = tokio::spawn({
        let engine = engine.clone();
        let joined = Delivery::Membership { channel_id: group, user_id: ben, joined: true };
        async move { engine.publish(joined).await }
    });
    settle().await;
    adding.abort();
    settle().await;
    world.inbox.before_send.open();
    settle().await;
    let sent = send_hello(&engine, ann, group).await;
    settle().await;
    client.poll();
    assert_eq!(client.received(group), [sent]);
}

#[tokio::test(start_paused = true)]
async fn a_former_member_is_refused_at_once() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann, ben]).await;
    let engine = world.start().await;
    send_hello(&engine, ben, group).await;
    world.remove(&engine, group, ben).await;
    let refused = engine.typing(ben, group).await.expect_err("is not a member");
    assert_eq!(refused.code, ProblemCode::NotAMember);
    world.add(&engine, group, ben).await;
    send_hello(&engine, ben, group).await;
}

#[tokio::test(start_paused = true)]
async fn no_session_receives_messages_of_a_deleted_channel() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let (group, other) = (world.group(&[ann, ben]).await, world.group(&[ann, ben]).await);
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ben).await).await;
    send_hello(&engine, ann, group).await;
    settle().await;
    engine.publish(Delivery::ChannelEnded { channel_id: group }).await;
    send_hello(&engine, ann, group).await;
    let last = send_hello(&engine, ann, other).await;
    settle().await;
    client.poll();
    assert_eq!((client.received(group).len(), client.received(other)), (1, vec![last]));
}

#[tokio::test(start_paused = true)]
async fn a_member_added_while_a_session_opens_gets_the_next_message() {
    for number in 0..OPENING_STEPS {
        let world = World::new();
        let (ann, ben) = (world.user("ann").await, world.user("ben").await);
        let (group, other) = (world.group(&[ann]).await, world.group(&[ann, ben]).await);
        let engine = world.start().await;
        send_hello(&engine, ann, other).await;
        let (mut client, sent) = {
            let opening = opening_paused_at(&world, number, &engine, ben, other).await;
            world.put(group, ben).await;
            let adding = tokio::spawn({
                let engine = engine.clone();
                let joined = Delivery::Membership { channel_id: group, user_id: ben, joined: true };
                async move { engine.publish(joined).await }
            });
            settle().await;
            step_gate(&world, number).open();
            adding.await.expect("no panic");
            let sent = send_hello(&engine, ann, group).await;
            (opening.await.expect("no panic"), sent)
        };
        settle().await;
        client.poll();
        assert_eq!(client.received(group), [sent], "added after step {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_removed_while_a_session_opens_gets_no_further_message() {
    for number in 0..OPENING_STEPS {
        let world = World::new();
        let (ann, ben) = (world.user("ann").await, world.user("ben").await);
        let (group, other) = (world.group(&[ann, ben]).await, world.group(&[ann, ben]).await);
        let engine = world.start().await;
        let first = send_hello(&engine, ann, other).await;
        let opening = opening_paused_at(&world, number, &engine, ben, other).await;
        world.remove(&engine, group, ben).await;
        settle().await;
        step_gate(&world, number).open();
        settle().await;
        let (_, last) =
            (send_hello(&engine, ann, group).await, send_hello(&engine, ann, other).await);
        let mut client = opening.await.expect("no panic");
        settle().await;
        client.poll();
        assert_eq!(client.received(group), [], "removed after step {number}");
        assert_eq!(client.received(other), [first, last]);
    }
}

/// I9: whether a user may see a message is decided when it is delivered to the session. What was
/// delivered before the removal stays in the mailbox, or a repeated read would differ (I5).
#[tokio::test(start_paused = true)]
async fn a_removed_member_keeps_what_was_delivered_and_gets_nothing_more() {
    let world = World::new();
    let (ann, ben) = (world.user("ann").await, world.user("ben").await);
    let group = world.group(&[ann, ben]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ben).await).await;
    let delivered = send_hello(&engine, ann, group).await;
    settle().await;
    // Routed before the removal, so it is before it in the inbox of the node.
    world.inbox.before_receive.close();
    let routed = send_hello(&engine, ann, group).await;
    world.remove(&engine, group, ben).await;
    send_hello(&engine, ann, group).await;
    settle().await;
    world.inbox.before_receive.open();
    settle().await;
    let before = read(&client.session, 0, usize::MAX).expect("reads");
    send_hello(&engine, ann, group).await;
    settle().await;
    assert_eq!(read(&client.session, 0, usize::MAX).expect("reads again"), before);
    client.poll_all();
    assert_eq!(client.received(group), [delivered, routed]);
}
