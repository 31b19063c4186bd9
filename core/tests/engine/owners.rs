//! I8: a crash is ordinary. Two owners of a partition repeat work and break nothing.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pabal_core::engine::EndReason;
use pabal_core::model::MessageId;
use pabal_core::ports::{HistoryStore, Interest, NodeInbox, Presence};
use pabal_core::protocol::Cursors;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::harness::{Client, Fault, World, named, send_hello, sending, settle};

#[tokio::test(start_paused = true)]
async fn two_owners_store_and_deliver_every_message_once_in_order() {
    for seed in 0..30 {
        let world = World::new();
        world.registry.grant_all.store(true, Ordering::SeqCst);
        world.history.delay_appends(seed);
        world.history.delay_pages(seed);
        if seed % 2 == 0 {
            world.inbox.repeat(seed);
        }
        let (ann, ben) = (world.user("ann").await, world.user("ben").await);
        let groups = [world.group(&[ann, ben]).await, world.group(&[ann, ben]).await];
        let engines = [world.start_node("one").await, world.start_node("two").await];
        let mut clients = Vec::new();
        for engine in &engines {
            for user in [ann, ben] {
                clients.push(Client::open(engine, &world.log_in(user).await).await);
            }
        }
        let mut rng = StdRng::seed_from_u64(seed);
        let mut sends = Vec::new();
        for number in 0..80 {
            // Every tenth name is used again, here or on the other node.
            let send = named(groups[number % 2], &(number - number % 20 / 18 * 2).to_string());
            sends.push(sending(&engines[rng.random_range(0..2)], ann, send));
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..2))).await;
        }
        let cursors: Cursors = groups.iter().map(|group| (*group, MessageId::new(0))).collect();
        let late = Client::open_from(&engines[1], &world.log_in(ben).await, cursors).await;
        let mut acknowledged = BTreeSet::new();
        for send in sends {
            let sent = send.await.expect("no panic").expect("is acknowledged");
            acknowledged.insert(sent.message.message_id);
        }
        settle().await;
        for mut client in clients.into_iter().chain([late]) {
            client.poll_all();
            for group in groups {
                assert_eq!(client.received(group), world.stored(group).await, "seed {seed}");
                assert_eq!(world.history.visible(group), world.stored(group).await);
            }
        }
        let mut stored = world.stored(groups[0]).await;
        stored.extend(world.stored(groups[1]).await);
        assert!(acknowledged.iter().eq(&BTreeSet::from_iter(stored)), "seed {seed}");
        for engine in engines {
            engine.shutdown().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_was_paused_changes_nothing_when_it_continues() {
    let world = World::new();
    world.registry.grant_all.store(true, Ordering::SeqCst);
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let paused = world.start_node("one").await;
    let pause = world.history.pause_next_append();
    let held_up = sending(&paused, ann, named(group, "once"));
    settle().await;
    assert_eq!(pause.waiting(), 1);
    let owner = world.start_node("two").await;
    let mut client = Client::open(&owner, &world.log_in(ann).await).await;
    let first = owner.submit(ann, named(group, "once")).await.expect("is stored");
    for _ in 0..10 {
        send_hello(&owner, ann, group).await;
    }
    pause.open();
    let sent = held_up.await.expect("no panic").expect("is acknowledged");
    assert_eq!(sent.message.message_id, first.message.message_id);
    send_hello(&owner, ann, group).await;
    settle().await;
    client.poll_all();
    assert_eq!(world.stored(group).await.len(), 12);
    assert_eq!(world.history.visible(group), world.stored(group).await);
    assert_eq!(client.received(group), world.stored(group).await);
}

#[tokio::test(start_paused = true)]
async fn an_id_whose_write_has_no_known_result_is_not_assigned_again() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    world.history.set_fault(Fault::UnavailableAfterStoring);
    let in_doubt = sending(&engine, ann, named(group, "one"));
    settle().await;
    world.log.lose();
    let next = sending(&engine, ann, named(group, "two"));
    settle().await;
    world.history.set_fault(Fault::None);
    let mut contents = Vec::new();
    for send in [in_doubt, next] {
        let message = send.await.expect("no panic").expect("is stored").message;
        let stored = world.history.get(group, message.message_id).await.expect("reads");
        let stored = stored.expect("what is acknowledged is there");
        assert_eq!(stored.content, message.content);
        contents.push(stored.content);
    }
    assert_eq!(contents, ["one".into(), "two".into()]);
}

#[tokio::test(start_paused = true)]
async fn sessions_end_with_the_inbox_of_their_node_and_their_clients_miss_no_message() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let access = world.log_in(ann).await;
    let mut client = Client::open(&engine, &access).await;
    send_hello(&engine, ann, group).await;
    settle().await;
    client.poll_all();
    // As other nodes do that take the node for dead.
    world.inbox.forget(engine.node()).await.expect("forgets");
    let missed = send_hello(&engine, ann, group).await;
    settle().await;
    assert_eq!(
        client.session.ended(),
        Some(EndReason::Draining),
        "the session would receive nothing more"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    let cursors = Cursors::from([(group, client.channels[&group].top)]);
    let mut client = Client::open_from(&engine, &access, cursors).await;
    let next = send_hello(&engine, ann, group).await;
    settle().await;
    client.poll_all();
    assert_eq!(client.received(group), [missed, next]);
}

#[tokio::test(start_paused = true)]
async fn sessions_end_with_a_lease_of_their_node_and_their_clients_miss_no_message() {
    for of_interest in [true, false] {
        let world = World::new();
        let ann = world.user("ann").await;
        let group = world.group(&[ann]).await;
        let engine = world.start().await;
        let access = world.log_in(ann).await;
        let mut client = Client::open(&engine, &access).await;
        send_hello(&engine, ann, group).await;
        settle().await;
        client.poll_all();
        // As when the node is paused for longer than the lease.
        if of_interest {
            assert!(world.interest.renew(engine.node(), Duration::ZERO).await.expect("renews"));
        } else {
            assert!(world.presence.renew(engine.node(), Duration::ZERO).await.expect("renews"));
        }
        let missed = send_hello(&engine, ann, group).await;
        tokio::time::sleep(engine.limits().lease).await;
        assert_eq!(
            client.session.ended(),
            Some(EndReason::Draining),
            "the session missed a message"
        );
        let cursors = Cursors::from([(group, client.channels[&group].top)]);
        let mut client = Client::open_from(&engine, &access, cursors).await;
        let next = send_hello(&engine, ann, group).await;
        tokio::time::sleep(engine.limits().lease).await;
        client.poll_all();
        assert_eq!(client.received(group), [missed, next]);
        assert_eq!(client.session.ended(), None, "the node has begun again");
        assert_eq!(world.presence.online(&[ann]).await.expect("reads"), [true]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_owner_stores_what_the_previous_one_left_in_the_log() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let first = send_hello(&engine, ann, group).await;
    world.history.before_append.close();
    let left = sending(&engine, ann, named(group, "left"));
    settle().await;
    assert_eq!(world.history.before_append.waiting(), 1, "the owner writes");
    engine.shutdown().await;
    drop(left);
    world.history.before_append.open();
    let engine = world.start().await;
    settle().await;
    let stored = world.stored(group).await;
    assert_eq!(stored.len(), 2);
    let again = engine.submit(ann, named(group, "left")).await.expect("is known");
    assert!(again.repeat);
    assert_eq!(stored, [first, again.message.message_id]);
}

#[tokio::test(start_paused = true)]
async fn an_inbox_that_was_opened_again_hides_no_entry() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    settle().await;
    world.inbox.before_receive.close();
    let first = send_hello(&engine, ann, group).await;
    settle().await;
    // While the node handles what it received.
    world.inbox.forget(engine.node()).await.expect("forgets");
    world.inbox.open(engine.node()).await.expect("opens");
    let second = send_hello(&engine, ann, group).await;
    settle().await;
    world.inbox.before_receive.open();
    settle().await;
    client.poll_all();
    assert_eq!(client.received(group), [first, second]);
}

/// A session misses messages while its node has no lease. Its client must learn that, and must not get
/// the next message as if there were none before it.
#[tokio::test(start_paused = true)]
async fn a_node_that_begins_again_delivers_nothing_to_its_old_sessions() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let access = world.log_in(ann).await;
    let mut client = Client::open(&engine, &access).await;
    settle().await;
    assert!(world.interest.renew(engine.node(), Duration::ZERO).await.expect("renews"));
    let missed = send_hello(&engine, ann, group).await;
    // The node is interested in the channel again, and has not continued yet.
    world.interest.after_join.close();
    tokio::time::sleep(engine.limits().lease).await;
    assert_eq!(world.interest.after_join.waiting(), 1, "the node begins again");
    let next = send_hello(&engine, ann, group).await;
    settle().await;
    client.poll_some(10).expect_err("the session has ended");
    world.interest.after_join.open();
    settle().await;
    let cursors = Cursors::from([(group, MessageId::new(0))]);
    let mut client = Client::open_from(&engine, &access, cursors).await;
    client.poll_all();
    assert_eq!(client.received(group), [missed, next]);
}

/// The same for a session that opens while the inbox is removed and not opened again.
#[tokio::test(start_paused = true)]
async fn a_client_whose_session_opens_before_the_new_inbox_misses_no_message() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let access = world.log_in(ann).await;
    settle().await;
    world.inbox.before_open.close();
    world.inbox.forget(engine.node()).await.expect("forgets");
    settle().await;
    assert_eq!(world.inbox.before_open.waiting(), 1, "the node opens its inbox again");
    let mut client = Client::open(&engine, &access).await;
    let missed = send_hello(&engine, ann, group).await;
    settle().await;
    world.inbox.before_open.open();
    settle().await;
    let next = send_hello(&engine, ann, group).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.poll_some(10).expect_err("the session has ended");
    let cursors = Cursors::from([(group, MessageId::new(0))]);
    let mut client = Client::open_from(&engine, &access, cursors).await;
    client.poll_all();
    assert_eq!(client.received(group), [missed, next]);
}
