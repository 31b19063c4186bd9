//! Who owns which partition, and that a message finds its owner while that changes.

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

use crate::harness::{Client, World, named, node, quiet, say, sending};

/// Within this a partition changes hands if its owner lives.
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

/// Groups of one, enough of them for every partition to hold some.
async fn groups(world: &World, user: pabal_core::model::UserId) -> Vec<ChannelId> {
    let mut groups = Vec::new();
    for _ in 0..4 * world.partitions {
        groups.push(world.group(&[user]).await);
    }
    groups
}

#[tokio::test(start_paused = true)]
async fn nodes_that_come_and_go_share_the_partitions_within_two_seconds() {
    let mut world = World::new();
    world.partitions = 16;
    let ann = world.user("ann").await;
    let groups = groups(&world, ann).await;
    let one = world.start_node("one").await;
    world.announce("one", LONG, false).await;
    assert_eq!(owned(&one), 16);

    let two = world.start_node("two").await;
    assert_eq!(owned(&two), 0, "nobody knows it yet");
    world.announce("two", LONG, false).await;
    let shared = || owned(&one) + owned(&two) == 16 && owned(&two) > 2 && owned(&one) > 2;
    timeout(SOON, until(shared)).await.expect("the new node has its share");
    for (number, group) in groups.iter().enumerate() {
        say([&one, &two][number % 2], ann, *group).await;
    }

    world.announce("one", LONG, true).await;
    let draining = tokio::spawn({
        let one = one.clone();
        async move { one.drain(Duration::ZERO).await }
    });
    timeout(SOON, until(|| owned(&two) == 16)).await.expect("the node that stays has all");
    timeout(SOON, draining).await.expect("the node that leaves knows").expect("no panic");
    for group in groups {
        say(&two, ann, group).await;
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
    world.history.before_append.shut();
    let accepted = sending(&engine, ann, named(group, "accepted"));
    quiet().await;
    engine.drain(Duration::ZERO).await;
    assert_eq!(owned(&engine), u64::from(world.partitions));
    world.history.before_append.open();
    accepted.await.expect("no panic").expect("is acknowledged still");
    engine.shutdown().await;
    for partition in Partition::all(world.partitions) {
        assert_eq!(world.registry.owner(partition).await.expect("answers"), None, "given back");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_accepted_while_partitions_move_is_acknowledged_once_and_in_order() {
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
        // It comes and goes.
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
    quiet().await;
    for mut client in clients {
        client.poll_all();
        for group in &groups {
            assert_eq!(client.handed(*group), world.stored(*group).await);
            assert_eq!(world.stored(*group).await.len(), 40);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_share_of_a_node_that_died_is_taken_when_its_lease_ends() {
    let mut world = World::new();
    world.partitions = 16;
    let ann = world.user("ann").await;
    let groups = groups(&world, ann).await;
    let engine = world.start_node("one").await;
    world.announce("one", LONG, false).await;
    let lease = engine.limits().lease;
    // A node of which only leases are left.
    world.announce("dead", lease, false).await;
    let dead = node("dead");
    world.inbox.open(&dead).await.expect("opens");
    let taken = async || {
        let mut taken = 0;
        for partition in Partition::all(world.partitions) {
            let held = world.registry.acquire(&dead, partition, lease).await.expect("answers");
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
    timeout(lease + SOON, until(|| owned(&engine) == 16)).await.expect("it owns all");
    let mut repeats = 0;
    for (send, group) in sends.into_iter().zip(&groups) {
        if send.await.expect("no panic").is_err() {
            // The sender was told that it may not have been accepted.
            let again = engine.submit(ann, named(*group, "one")).await.expect("is stored");
            repeats += usize::from(again.repeat);
        }
        assert_eq!(world.stored(*group).await.len(), 1);
    }
    assert!(repeats > 0, "nothing waited for the dead node");
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
    timeout(lease + SOON, removed).await.expect("its inbox is removed");
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_owner_stored_but_did_not_route_is_delivered_and_nothing_else() {
    let mut world = World::new();
    world.partitions = 1;
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let partition = Partition::new(0).expect("a partition");
    let (dead, lease) = (node("dead"), world.limits.lease);
    world.registry.acquire(&dead, partition, lease).await.expect("answers").expect("is free");
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
    // As if it had come into a log that had forgotten how far history is.
    append("too late").await;
    let stored = append("stored").await;
    world.history.append(partition, vec![stored.clone()]).await.expect("stores");
    let waiting = append("waiting").await;
    tokio::time::sleep(lease + SOON).await;
    assert_eq!(owned(&engine), 1);
    client.poll_all();
    assert_eq!(client.handed(group), [stored.message_id, waiting.message_id]);
    assert_eq!(world.stored(group).await, [stored.message_id, waiting.message_id]);
}

#[tokio::test(start_paused = true)]
async fn an_owner_stores_nothing_once_its_lease_has_ended() {
    // The registry may be of the opinion that it has not: then the node goes on with it.
    for patient in [false, true] {
        let world = World::new();
        world.registry.patient.store(patient, Ordering::SeqCst);
        let ann = world.user("ann").await;
        let group = world.group(&[ann]).await;
        let engine = world.start().await;
        say(&engine, ann, group).await;
        world.registry.away.store(true, Ordering::SeqCst);
        tokio::time::sleep(engine.limits().lease).await;
        let held_up = sending(&engine, ann, named(group, "held up"));
        tokio::time::sleep(SOON).await;
        assert_eq!(world.stored(group).await.len(), 1, "another node may own the partition");
        world.registry.away.store(false, Ordering::SeqCst);
        held_up.await.expect("no panic").expect("is stored by the next owner");
        assert_eq!(world.stored(group).await.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_lost_its_entries_learns_how_far_history_is() {
    let world = World::new();
    let ann = world.user("ann").await;
    let group = world.group(&[ann]).await;
    let engine = world.start().await;
    let last = say(&engine, ann, group).await;
    world.log.lose();
    world.clock.step_back(Duration::from_secs(3_600));
    tokio::time::sleep(Duration::from_secs(6)).await;
    // As a node does that has seen nothing of this partition.
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
    assert!(matches!(given, Ok(Sequenced::New(id)) if id > last), "{given:?} after {last}");
    quiet().await;
    assert_eq!(world.stored(group).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn sessions_are_told_to_go_elsewhere_each_at_a_moment_of_its_own() {
    let world = World::new();
    let one = world.start_node("one").await;
    world.announce("one", LONG, true).await;
    world.announce("two", LONG, false).await;
    world.announce("also-draining", LONG, true).await;
    // Until it has heard of them.
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
    quiet().await;
    let mut moments = BTreeSet::new();
    for client in &mut clients {
        client.poll_all();
        let told = client.events("draining");
        assert_eq!(told[0]["url"], "http://two");
        moments.insert(told[0]["reconnect_after_ms"].as_u64().expect("a time"));
    }
    assert!(moments.len() > 10 && moments.iter().all(|ms| *ms <= 5_000), "{moments:?}");
    draining.await.expect("no panic");
}
