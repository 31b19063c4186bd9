//! Nodes die, stop and come back.

use std::time::Duration;

use futures::future::{join, join_all, join3};
use http::Method;
use pabal_tests::account::{Account, Cursors, id};
use pabal_tests::address::Address;
use pabal_tests::client::{Client, Way};
use pabal_tests::cluster::{Cluster, PARTITIONS};
use pabal_tests::journal::Journal;
use pabal_tests::ledger::Ledger;
use pabal_tests::line::{Break, Handshake, Line, Transport, WebSocket};
use pabal_tests::node::Port;
use pabal_tests::wait;
use serde_json::json;
use tokio::time::Instant;

use crate::stage::{cast, doors, finish, listen, ways};

/// The nodes that a client is told of.
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
        wait::until("discovery knows who is there", async || {
            (discovered(account, at).await == names).then_some(())
        })
        .await;
    }
}

async fn befriend(one: &Account, other: &Account) {
    for (one, other) in [(one, other), (other, one)] {
        let path = format!("/v1/me/friends/{}", other.user_id);
        let answer = one.call(Method::PUT, &path, None).await.unwrap();
        assert!(answer.status.is_success(), "{}", answer.json);
    }
}

pub(crate) async fn of_a_killed_node(cluster: &Cluster) {
    let doors = doors(cluster);
    let [ann, bob] = cast(&doors, ["ann", "bob"]).await;
    befriend(&ann, &bob).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let way = Way::Steady(Transport::LongPolling);
    let a = listen(&ann, way, &[channel], &ledger).await;
    let session = bob.open(None).await;
    let online = |online: bool| {
        move |journal: &Journal| {
            let told = journal.events_of("presence").filter(|it| id(&it["user_id"]) == bob.user_id);
            told.last().is_some_and(|event| event["online"] == json!(online))
        }
    };
    a.until("sees Bob come", online(true)).await;
    until_discovered(&ann, &doors, &["n1", "n2", "n3"]).await;

    cluster.nodes[1].kill();
    let began = Instant::now();
    let rest = [doors[0], doors[2]];
    let last = a.send(channel, "is anybody there?").await;
    a.holds(channel, last).await;
    eprintln!("a message of a partition goes on after {:?}", began.elapsed());
    until_discovered(&ann, &rest, &["n1", "n3"]).await;
    eprintln!("discovery leaves a dead node out after {:?}", began.elapsed());
    for door in rest {
        wait::until("a session of the dead node is gone", async || {
            let path = session.path("/poll?after=0");
            let answer = bob.via(door).call(Method::GET, &path, None).await.unwrap();
            (answer.code() == "session_gone").then_some(())
        })
        .await;
        wait::until("nobody is sent to the dead node", async || {
            let path = session.path("/websocket?after=0");
            let refused = WebSocket::open(&bob.via(door), Handshake::to(&path)).await;
            let refused = refused.expect_err("no socket to a dead node");
            refused.is_gone().then_some(())
        })
        .await;
    }
    eprintln!("its sessions are gone after {:?}", began.elapsed());
    // The other nodes own its partitions, all of them.
    wait::until("its partitions are shared out", async || {
        let mut owned = 0.0;
        for node in [0, 2] {
            owned += cluster.nodes[node].metrics().await.get("pabal_partitions");
        }
        (owned == PARTITIONS).then_some(())
    })
    .await;
    eprintln!("its partitions are shared out after {:?}", began.elapsed());
    // He comes back elsewhere, and catches up.
    let b = listen(&bob.via(doors[2]), way, &[channel], &ledger).await;
    b.holds(channel, last).await;
    cluster.nodes[1].restart(Port::Same).await;
    cluster.shared_out().await;
    until_discovered(&ann, &doors, &["n1", "n2", "n3"]).await;
    finish(&[channel], &ledger, &ann, [a, b]).await;
}

pub(crate) async fn of_a_drained_node(cluster: &Cluster) {
    let doors = doors(cluster);
    let [ann, bob] = cast(&doors, ["ann", "bob"]).await;
    let ledger = Ledger::default();
    let way = Way::Steady(Transport::WebSocket);
    let b = Client::start(&bob.via(doors[1]), way, &Cursors::new(), &ledger).await;
    // A node that stops takes no connections: who has none yet cannot be told.
    b.until("reads", |journal| journal.lines > 0).await;
    cluster.nodes[1].ask_to_stop();
    let rest = [doors[0], doors[2]];
    until_discovered(&ann, &rest, &["n1", "n3"]).await;
    b.until("is told", |journal| journal.events_of("draining").next().is_some()).await;
    let told = b.look(|journal| journal.events_of("draining").next().cloned());
    let told = told.expect("it was just there");
    assert!(told["reconnect_after_ms"].is_u64(), "{told}");
    let places: Vec<_> = rest.iter().map(|door| json!(format!("http://{}", door.get()))).collect();
    assert!(places.contains(&told["url"]), "where to go is another node: {told}, {places:?}");
    assert_eq!(cluster.nodes[1].ended().await.code(), Some(0), "a clean exit");
    cluster.nodes[1].restart(Port::Same).await;
    cluster.shared_out().await;
}

/// A poll and a stream run through a node that stops, to sessions of another.
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
    let (answer, end, ()) = join3(poll.read(0, long), stream.read(0, long), stopped).await;
    let Err(Break::Refused(answer)) = answer else { panic!("the poll was cut off: {answer:?}") };
    assert_eq!((answer.status.as_u16(), answer.code()), (503, "unavailable"), "{}", answer.json);
    assert!(matches!(end, Err(Break::Connection(_))), "the stream ends: {end:?}");
    // Nothing of it was the session's end.
    for session in [&polled, &streamed] {
        let mut poll = Line::open(Transport::ShortPolling, &ann, session, 0).await.unwrap();
        poll.read(0, long).await.unwrap();
    }
    cluster.nodes[1].restart(Port::Same).await;
    cluster.shared_out().await;
}

/// Each node in turn, while people on all transports send and receive.
pub(crate) async fn rolling_restart(cluster: &Cluster) {
    let balancer = &[cluster.balancer.address()];
    let users = cast(balancer, ["ann", "bob", "carl", "dora", "emil"]).await;
    let others: Vec<&Account> = users[1..].iter().collect();
    let channel = users[0].group(&others).await;
    let ledger = Ledger::default();
    let mut devices = Vec::new();
    for (user, way) in users.iter().zip(ways()) {
        devices.push(listen(user, way, &[channel], &ledger).await);
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
            cluster.shared_out().await;
        }
        stop.send_replace(true);
    };
    join(talk, restarts).await;
    eprintln!("{} sends were not confirmed at first", ledger.count_not_confirmed());
    let (histories, _) = finish(&[channel], &ledger, &users[0], devices).await;
    assert_eq!(histories[0].len(), ledger.entries().len(), "one message a send");
}
