//! Nodes die, stop and restart.

use std::time::Duration;

use futures::future::{join, join_all, join3};
use http::Method;
use pabal_tests::account::{Account, Cursors, id};
use pabal_tests::address::Address;
use pabal_tests::client::{Client, TransportPlan};
use pabal_tests::cluster::{Cluster, PARTITIONS};
use pabal_tests::journal::Journal;
use pabal_tests::ledger::Ledger;
use pabal_tests::line::{Break, Handshake, Line, Transport, WebSocket};
use pabal_tests::node::Port;
use pabal_tests::wait;
use serde_json::json;
use tokio::time::Instant;

use crate::stage::{cast, doors, finish, listen, plans};

/// The nodes that discovery names.
async fn discovered(account: &Account, at: &Address) -> Vec<String> {
    let json = account.via(at).must(Method::GET, "/v1/discover", None, 200).await;
    let nodes = json["nodes"].as_array().expect("a list of nodes");
    let mut names: Vec<_> =
        nodes.iter().map(|node| node["node"].as_str().expect("a name").to_owned()).collect();
    names.sort_unstable();
    names
}

async fn until_discovered(account: &Account, at: &[&Address], names: &[&str]) {
    for at in at {
        wait::until("discovery names the running nodes", async || {
            (discovered(account, at).await == names).then_some(())
        })
        .await;
    }
}

async fn befriend(one: &Account, other: &Account) {
    for (one, other) in [(one, other), (other, one)] {
        let path = format!("/v1/me/friends/{}", other.user_id);
        let response = one.call(Method::PUT, &path, None).await.unwrap();
        assert!(response.status.is_success(), "{}", response.json);
    }
}

pub(crate) async fn of_a_killed_node(cluster: &Cluster) {
    let doors = doors(cluster);
    let [ann, bob] = cast(&doors, ["ann", "bob"]).await;
    befriend(&ann, &bob).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let plan = TransportPlan::Steady(Transport::LongPolling);
    let a = listen(&ann, plan, &[channel], &ledger).await;
    let session = bob.open(None).await;
    let online = |online: bool| {
        move |journal: &Journal| {
            let events =
                journal.events_of("presence").filter(|it| id(&it["user_id"]) == bob.user_id);
            events.last().is_some_and(|event| event["online"] == json!(online))
        }
    };
    a.until("sees Bob online", online(true)).await;
    until_discovered(&ann, &doors, &["n1", "n2", "n3"]).await;

    cluster.nodes[1].kill();
    let began = Instant::now();
    let rest = [doors[0], doors[2]];
    let last = a.send(channel, "after the kill").await;
    a.holds(channel, last).await;
    eprintln!("delivery of a partition continues after {:?}", began.elapsed());
    until_discovered(&ann, &rest, &["n1", "n3"]).await;
    eprintln!("discovery leaves a dead node out after {:?}", began.elapsed());
    for door in rest {
        wait::until("a session of the dead node ends", async || {
            let path = session.path("/poll?after=0");
            let response = bob.via(door).call(Method::GET, &path, None).await.unwrap();
            (response.code() == "session_gone").then_some(())
        })
        .await;
        wait::until("no client is redirected to the dead node", async || {
            let path = session.path("/websocket?after=0");
            let refused = WebSocket::open(&bob.via(door), Handshake::to(&path)).await;
            let refused = refused.expect_err("no socket to a dead node");
            refused.is_gone().then_some(())
        })
        .await;
    }
    eprintln!("its sessions end after {:?}", began.elapsed());
    // The other nodes own all of its partitions.
    wait::until("its partitions are assigned", async || {
        let mut owned = 0.0;
        for node in [0, 2] {
            owned += cluster.nodes[node].metrics().await.get("pabal_partitions");
        }
        (owned == PARTITIONS).then_some(())
    })
    .await;
    eprintln!("its partitions are assigned after {:?}", began.elapsed());
    // Bob connects to another node and catches up.
    let b = listen(&bob.via(doors[2]), plan, &[channel], &ledger).await;
    b.holds(channel, last).await;
    cluster.nodes[1].restart(Port::Same).await;
    cluster.partitions_assigned().await;
    until_discovered(&ann, &doors, &["n1", "n2", "n3"]).await;
    finish(&[channel], &ledger, &ann, [a, b]).await;
}

pub(crate) async fn of_a_drained_node(cluster: &Cluster) {
    let doors = doors(cluster);
    let [ann, bob] = cast(&doors, ["ann", "bob"]).await;
    let ledger = Ledger::default();
    let plan = TransportPlan::Steady(Transport::WebSocket);
    let b = Client::start(&bob.via(doors[1]), plan, &Cursors::new(), &ledger).await;
    // A node that stops accepts no connections, so only connected clients are notified.
    b.until("reads", |journal| journal.lines > 0).await;
    cluster.nodes[1].ask_to_stop();
    let rest = [doors[0], doors[2]];
    until_discovered(&ann, &rest, &["n1", "n3"]).await;
    b.until("is notified", |journal| journal.events_of("draining").next().is_some()).await;
    let draining = b.look(|journal| journal.events_of("draining").next().cloned());
    let draining = draining.expect("a draining event");
    assert!(draining["reconnect_after_ms"].is_u64(), "{draining}");
    let others: Vec<_> = rest.iter().map(|door| json!(format!("http://{}", door.get()))).collect();
    assert!(
        others.contains(&draining["url"]),
        "the URL is that of another node: {draining}, {others:?}"
    );
    assert_eq!(cluster.nodes[1].ended().await.code(), Some(0), "a clean exit");
    cluster.nodes[1].restart(Port::Same).await;
    cluster.partitions_assigned().await;
}

/// A poll and a stream pass through a node that stops, to sessions of another one.
pub(crate) async fn reads_through_a_drained_node(cluster: &Cluster) {
    let doors = doors(cluster);
    let [ann] = cast(&doors, ["ann"]).await;
    let through = ann.via(doors[1]);
    let (polled, streamed) = (ann.open(None).await, ann.open(None).await);
    let forwarded = async || cluster.nodes[1].metrics().await.get("pabal_requests_forwarded_total");
    let before = forwarded().await;
    let mut poll = Line::open(Transport::LongPolling, &through, &polled, 0).await.unwrap();
    let mut stream = Line::open(Transport::Sse, &through, &streamed, 0).await.unwrap();
    let long = Duration::from_secs(50);
    let stopped = async {
        wait::until("both are forwarded", async || {
            (forwarded().await >= before + 2.0).then_some(())
        })
        .await;
        cluster.nodes[1].ask_to_stop();
        assert_eq!(cluster.nodes[1].ended().await.code(), Some(0), "a clean exit");
    };
    let (response, end, ()) = join3(poll.read(0, long), stream.read(0, long), stopped).await;
    let Err(Break::Refused(response)) = response else {
        panic!("the poll was cut off: {response:?}")
    };
    assert_eq!(
        (response.status.as_u16(), response.code()),
        (503, "unavailable"),
        "{}",
        response.json
    );
    assert!(matches!(end, Err(Break::Connection(_))), "the stream ends: {end:?}");
    // The session has not ended.
    for session in [&polled, &streamed] {
        let mut poll = Line::open(Transport::ShortPolling, &ann, session, 0).await.unwrap();
        poll.read(0, long).await.unwrap();
    }
    cluster.nodes[1].restart(Port::Same).await;
    cluster.partitions_assigned().await;
}

/// Each node restarts in turn, while devices on all transports send and receive.
pub(crate) async fn rolling_restart(cluster: &Cluster) {
    let balancer = &[cluster.balancer.address()];
    let users = cast(balancer, ["ann", "bob", "carl", "dora", "emil"]).await;
    let others: Vec<&Account> = users[1..].iter().collect();
    let channel = users[0].group(&others).await;
    let ledger = Ledger::default();
    let mut devices = Vec::new();
    for (user, plan) in users.iter().zip(plans()) {
        devices.push(listen(user, plan, &[channel], &ledger).await);
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let talk = join_all(devices.iter().map(async |device| {
        for number in 0.. {
            if *stopped.borrow() {
                return;
            }
            let content = format!("{number} by {}", device.account().username);
            device.send(channel, &content).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }));
    let restarts = async {
        for node in &cluster.nodes {
            node.ask_to_stop();
            assert_eq!(node.ended().await.code(), Some(0), "a clean exit");
            node.restart(Port::Same).await;
            cluster.partitions_assigned().await;
        }
        stop.send_replace(true);
    };
    join(talk, restarts).await;
    eprintln!("{} sends were not confirmed at first", ledger.count_not_confirmed());
    let (histories, _) = finish(&[channel], &ledger, &users[0], devices).await;
    assert_eq!(histories[0].len(), ledger.entries().len(), "one message per send");
}
