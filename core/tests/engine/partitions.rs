//! Which node owns which partition, and how a message reaches its owner while that changes.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pabal_core::engine::Engine;
use pabal_core::model::{ChannelId, MessageId, Partition};
use pabal_core::ports::{
    Delivery, HistoryStore, InboxError, MessageLog, NodeInbox, NodeRegistry, Origin, Sequenced,
    Trace,
};
use tokio::time::timeout;

use crate::harness::{Client, World, named, node, send_hello, sending, settle};

/// How long a partition needs at most to move if its owner is alive.
const SOON: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(3_600);

fn owned(engine: &Engine) -> u64 {
    engine.stats().partitions
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Groups with one member, enough for every partition to have some.
async fn groups(world: &World, user: pabal_core::model::UserId) -> Vec<ChannelId> {
    let mut groups = Vec::new();
    for _ in 0..4 * world.partitions {
        groups.push(world.group(&[user]).await);
    }
    groups
}

#[tokio::test(start_paused = true)]
async fn partitions_follow_nodes_that_join_and_leave_within_two_seconds() {
    let mut world = World::new();
    world.partitions = 16;
    let ann = world.user("ann").await;
    let groups = groups(&world, ann).await;
    let one = world.start_node("one").await;
    world.announce("one", LONG, false).await;
    assert_eq!(owned(&one), 16);

    let two = world.start_node("two").await;
    assert_eq!(owned(&two), 0, "the other node has not listed it yet");
    world.announce("two", LONG, false).await;
    let shared = || owned(&one) + owned(&two) == 16 && owned(&two) > 2 && owned(&one) > 2;
    timeout(SOON, until(shared)).await.expect("the new node owns its part");
    for (number, group) in groups.iter().enumerate() {
        send_hello([&one, &two][number % 2], ann, *group).await;
    }

    world.announce("one", LONG, true).await;
    let draining = tokio::spawn({
        let one = one.clone();
        async move { one.drain(Duration::ZERO).await }
    });
    timeout(SOON, until(|| owned(&two) == 16)).await.expect("the node that stays owns all");
    timeout(SOON, draining).await.expect("the drain ends").expect("no panic");
    for group in groups {
        send_hello(&two, ann, group).await;
        assert_eq!(world.stored(group).await.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_node_keeps_its_partitions_while_it_drains() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    world.announce("one", LONG, false).await;
    world.history.before_append.close();
    let accepted = sending(&engine, ann, named(group, "accepted"));
    settle().await;
    engine.drain(Duration::ZERO).await;
    assert_eq!(owned(&engine), u64::from(world.partitions));
    world.history.before_append.open();
    accepted.await.expect("no panic").expect("is acknowledged");
    engine.shutdown().await;
    for partition in Partition::all(world.partitions) {
        assert_eq!(world.registry.owner(partition).await.expect("responds"), None, "released");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_accepted_while_partitions_move_are_acknowledged_once_and_in_order() {
    let mut world = World::new();
    world.partitions = 8;
    world.history.delay_appends(7);
    let ann = world.user("ann").await;
    let groups = groups(&world, ann).await;
    let one = world.start_node("one").await;
    world.announce("one", LONG, false).await;
    let mut clients = vec![Client::open(&one, &world.log_in(ann).await).await];
    let two = world.start_node("two").await;
    clients.push(Client::open(&two, &world.log_in(ann).await).await);
    let mut sends = Vec::new();
    for round in 0..40 {
        // The node drains and returns.
        world.announce("two", LONG, round % 10 >= 5).await;
        for (number, group) in groups.iter().enumerate() {
            let engine = [&one, &two][(number + round) % 2];
            sends.push(sending(engine, ann, named(*group, &round.to_string())));
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
        clients.iter_mut().for_each(Client::poll_all);
    }
    let mut acknowledged = BTreeSet::new();
    for send in sends {
        let sent = send.await.expect("no panic").expect("is acknowledged");
        assert!(acknowledged.insert(sent.message.message_id), "acknowledged twice");
    }
    settle().await;
    for mut client in clients {
        client.poll_all();
        for group in &groups {
            assert_eq!(client.received(*group), world.stored(*group).await);
            assert_eq!(world.stored(*group).await.len(), 40);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_partitions_of_a_dead_node_are_taken_over_when_its_lease_ends() {
    let mut world = World::new();
    world.partitions = 16;
    let ann = world.user("ann").await;
    let groups = groups(&world, ann).await;
    let engine = world.start_node("one").await;
    world.announce("one", LONG, false).await;
    let lease = engine.limits().lease;
    // A dead node that still has leases.
    world.announce("dead", lease, false).await;
    let dead = node("dead");
    world.inbox.open(&dead).await.expect("opens");
    let taken = async || {
        let mut taken = 0;
        for partition in Partition::all(world.partitions) {
            let held = world.registry.acquire(&dead, partition, lease).await.expect("responds");
            taken += u64::from(held.is_some());
        }
        taken
    };
    let mut dead_owns = taken().await;
    while dead_owns + owned(&engine) < 16 || dead_owns == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        dead_owns = taken().await;
    }
    world.announce("dead", lease, false).await;
    let sends: Vec<_> =
        groups.iter().map(|group| sending(&engine, ann, named(*group, "one"))).collect();
    timeout(lease + SOON, until(|| owned(&engine) == 16)).await.expect("the engine owns all");
    let mut repeats = 0;
    for (send, group) in sends.into_iter().zip(&groups) {
        if send.await.expect("no panic").is_err() {
            // The sender got `not_confirmed`.
            let again = engine.submit(ann, named(*group, "one")).await.expect("is stored");
            repeats += usize::from(again.repeat);
        }
        assert_eq!(world.stored(*group).await.len(), 1);
    }
    assert!(repeats > 0, "no send waited for the dead node");
    let gone = async || {
        let delivery = Delivery::ChannelEnded { channel_id: groups[0] };
        let sent = world.inbox.send(&dead, vec![delivery]).await;
        matches!(sent, Err(InboxError::UnknownNode(_)))
    };
    let removed = async {
        while !gone().await {
            tokio::time::sleep(SOON / 10).await
        }
    };
    timeout(lease + SOON, removed).await.expect("the inbox is removed");
}

#[tokio::test(start_paused = true)]
async fn messages_that_a_dead_owner_stored_but_did_not_route_are_delivered() {
    let mut world = World::new();
    world.partitions = 1;
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let partition = Partition::new(0).expect("is in range");
    let (dead, lease) = (node("dead"), world.limits.lease);
    world.registry.acquire(&dead, partition, lease).await.expect("responds").expect("is free");
    let engine = world.start_node("one").await;
    let mut client = Client::open(&engine, &world.log_in(ann).await).await;
    let append = async |content: &str| {
        let draft = pabal_core::model::Draft {
            channel_id: group,
            message_from: ann,
            message_to: None,
            content: content.into(),
            client_message_id: Some(content.into()),
        };
        let at = pabal_core::model::Timestamp::from_millis(1_800_000_000_000);
        let origin = Origin { node: dead.clone(), accepted_at: at, trace: Trace::default() };
        let floor = MessageId::new(0);
        match world.log.append(partition, floor, draft.clone(), origin).await.expect("appends") {
            Sequenced::New(message_id) => draft.at(message_id),
            Sequenced::Repeat(_) => panic!("is new"),
        }
    };
    // Appended to a log that had lost the stored position.
    append("too late").await;
    let stored = append("stored").await;
    world.history.append(partition, vec![stored.clone()]).await.expect("stores");
    let waiting = append("waiting").await;
    tokio::time::sleep(lease + SOON).await;
    assert_eq!(owned(&engine), 1);
    client.poll_all();
    assert_eq!(client.received(group), [stored.message_id, waiting.message_id]);
    assert_eq!(world.stored(group).await, [stored.message_id, waiting.message_id]);
}

#[tokio::test(start_paused = true)]
async fn an_owner_stores_nothing_once_its_lease_has_ended() {
    // With long leases the registry still grants the lease, and the same node continues.
    for long in [false, true] {
        let world = World::new();
        world.registry.long_leases.store(long, Ordering::SeqCst);
        let ann = world.user("ann").await;
        let group = world.group(&[ann]).await;
        let engine = world.start().await;
        send_hello(&engine, ann, group).await;
        world.registry.unavailable.store(true, Ordering::SeqCst);
        tokio::time::sleep(engine.limits().lease).await;
        let waiting = sending(&engine, ann, named(group, "waiting"));
        tokio::time::sleep(SOON).await;
        assert_eq!(world.stored(group).await.len(), 1, "another node may own the partition");
        world.registry.unavailable.store(false, Ordering::SeqCst);
        waiting.await.expect("no panic").expect("is stored by the next owner");
        assert_eq!(world.stored(group).await.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_lost_its_entries_is_raised_to_the_stored_position() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let last = send_hello(&engine, ann, group).await;
    world.log.lose();
    world.clock.step_back(Duration::from_secs(3_600));
    tokio::time::sleep(Duration::from_secs(6)).await;
    // As a node appends that has seen no message of this partition.
    let partition = last.partition();
    let draft = pabal_core::model::Draft {
        channel_id: group,
        message_from: ann,
        message_to: None,
        content: "hello".into(),
        client_message_id: None,
    };
    let at = pabal_core::model::Timestamp::from_millis(1_800_000_000_000);
    let origin = Origin { node: node("two"), accepted_at: at, trace: Trace::default() };
    let given = world.log.append(partition, MessageId::new(0), draft, origin).await;
    assert!(matches!(given, Ok(Sequenced::New(id)) if id > last), "{given:?}, last was {last}");
    settle().await;
    assert_eq!(world.stored(group).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_drain_sends_each_session_to_another_node_at_its_own_moment() {
    let world = World::new();
    let one = world.start_node("one").await;
    world.announce("one", LONG, true).await;
    world.announce("two", LONG, false).await;
    world.announce("also-draining", LONG, true).await;
    // Until the node has listed the others.
    while one.other_node_urls(3) != ["http://two"] {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut clients = Vec::new();
    for number in 0..20 {
        let user = world.user(&format!("user{number}")).await;
        clients.push(Client::open(&one, &world.log_in(user).await).await);
    }
    let draining = tokio::spawn({
        let one = one.clone();
        async move { one.drain(Duration::from_secs(5)).await }
    });
    settle().await;
    let mut moments = BTreeSet::new();
    for client in &mut clients {
        client.poll_all();
        let events = client.events("draining");
        assert_eq!(events[0]["url"], "http://two");
        moments.insert(events[0]["reconnect_after_ms"].as_u64().expect("is a number"));
    }
    assert!(moments.len() > 10 && moments.iter().all(|ms| *ms <= 5_000), "{moments:?}");
    draining.await.expect("no panic");
}
