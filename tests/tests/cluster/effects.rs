//! A change on one node takes effect on all nodes, as soon as on that one.

use futures::future::join;
use http::Method;
use pabal_tests::account::{Cursors, id};
use pabal_tests::client::{Client, TransportPlan};
use pabal_tests::cluster::Cluster;
use pabal_tests::ledger::Ledger;
use pabal_tests::line::Transport;
use pabal_tests::node::Port;
use pabal_tests::wait;
use serde_json::json;
use tokio::time::Instant;

use crate::stage::{cast, doors, plans};

pub(crate) async fn logout(cluster: &Cluster) {
    let doors = doors(cluster);
    let [ann] = cast(&doors, ["ann"]).await;
    let ledger = Ledger::default();
    let mut devices = Vec::new();
    for (plan, door) in plans().zip(doors.iter().cycle()) {
        devices.push(Client::start(&ann.via(door), plan, &Cursors::new(), &ledger).await);
    }
    let other = ann.log_in().await;
    let stays =
        Client::start(&other, TransportPlan::Steady(Transport::Sse), &Cursors::new(), &ledger)
            .await;
    let began = Instant::now();
    ann.via(doors[1]).must(Method::POST, "/v1/logout", None, 204).await;
    for door in doors {
        let response = ann.via(door).call(Method::GET, "/v1/me", None).await.unwrap();
        assert_eq!(response.status.as_u16(), 401, "the token has ended on every node at once");
    }
    for device in &devices {
        device.until("is logged out", |journal| journal.logged_out).await;
    }
    eprintln!("a logout takes effect on all nodes after {:?}", began.elapsed());
    assert!(!stays.stop().await.logged_out, "another device of the same user");
}

pub(crate) async fn membership(cluster: &Cluster) {
    let doors = doors(cluster);
    let [ann, bob, carl] = cast(&doors, ["ann", "bob", "carl"]).await;
    let ledger = Ledger::default();
    let plan = TransportPlan::Steady(Transport::WebSocket);
    let c = Client::start(&carl, plan, &Cursors::new(), &ledger).await;
    let channel = ann.group(&[&bob]).await;
    let path = format!("/v1/channels/{channel}/members/{}", carl.user_id);
    let says = json!({"content": "?"});
    let messages = format!("/v1/channels/{channel}/messages");

    for round in 0..3 {
        // Carl joins: the next message reaches him.
        ann.must(Method::PUT, &path, Some(&json!({})), 201).await;
        let (_, welcome) = bob.say(channel, "welcome", None).await;
        c.holds(channel, welcome.message_id).await;
        let began = Instant::now();
        for door in doors {
            wait::until("Carl may send, on each node", async || {
                let response = carl.via(door).call(Method::POST, &messages, Some(&says)).await;
                response.unwrap().status.is_success().then_some(())
            })
            .await;
        }
        let joined = began.elapsed();
        // Carl leaves: later messages are not delivered to him, and his are refused.
        ann.must(Method::DELETE, &path, None, 204).await;
        let began = Instant::now();
        let (_, without) = bob.say(channel, "without him", None).await;
        for door in doors {
            wait::until("Carl may not send, on each node", async || {
                let response = carl.via(door).call(Method::POST, &messages, Some(&says)).await;
                (response.unwrap().code() == "not_a_member").then_some(())
            })
            .await;
        }
        eprintln!("membership takes effect after {joined:?}, its end after {:?}", began.elapsed());
        let left = |count: usize| {
            move |journal: &pabal_tests::journal::Journal| {
                let mine = journal.events_of("member").filter(|event| {
                    id(&event["user_id"]) == carl.user_id && event["joined"] == json!(false)
                });
                mine.count() == count
            }
        };
        c.until("is notified that Carl left", left(round + 1)).await;
        let heard = c.look(|journal| {
            let all = journal.messages.get(&channel).map(Vec::as_slice).unwrap_or_default();
            all.iter().any(|message| message.message_id == without.message_id)
        });
        assert!(!heard, "messages after he left");
    }
}

pub(crate) async fn block(cluster: &Cluster) {
    let doors = doors(cluster);
    let [ann, bob] = cast(&doors, ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let messages = format!("/v1/channels/{channel}/messages");
    let says = json!({"content": "hello"});
    for door in doors {
        ann.via(door).must(Method::POST, &messages, Some(&says), 201).await;
    }
    let path = format!("/v1/me/blocks/{}", ann.user_id);
    for (method, refused) in [(Method::PUT, true), (Method::DELETE, false)] {
        let response = bob.call(method, &path, None).await.unwrap();
        assert!(response.status.is_success(), "{}", response.json);
        let began = Instant::now();
        for door in doors {
            wait::until("it takes effect on each node", async || {
                let response = ann.via(door).call(Method::POST, &messages, Some(&says)).await;
                ((response.unwrap().code() == "blocked") == refused).then_some(())
            })
            .await;
        }
        eprintln!("a block (set: {refused}) takes effect on all nodes after {:?}", began.elapsed());
    }
}

/// A node dies after it has committed what takes access away and before it has told another node.
pub(crate) async fn of_a_node_that_died_before_it_told(cluster: &Cluster) {
    let doors = doors(cluster);
    let [ann, bob, carl] = cast(&doors, ["ann", "bob", "carl"]).await;
    let ledger = Ledger::default();
    let channel = ann.group(&[&bob, &carl]).await;
    let direct = ann.direct(&carl).await;
    let plan = TransportPlan::Steady(Transport::WebSocket);
    let phone = Client::start(&bob.via(doors[0]), plan, &Cursors::new(), &ledger).await;
    let c = Client::start(&carl.via(doors[2]), plan, &Cursors::new(), &ledger).await;
    let (_, hello) = ann.via(doors[0]).say(channel, "hello", None).await;
    phone.holds(channel, hello.message_id).await;
    c.holds(channel, hello.message_id).await;

    // The second node reaches PostgreSQL, but no longer the inboxes of the others.
    cluster.lines[1].block(true);
    cluster.lines[1].cut();
    let member = format!("/v1/channels/{channel}/members/{}", carl.user_id);
    let path = format!("/v1/channels/{channel}");
    let (by_ann, by_bob) = (ann.via(doors[1]), bob.via(doors[1]));
    // Neither returns: the node waits for Redis.
    let calls = join(
        by_ann.call(Method::DELETE, &member, None),
        by_bob.call(Method::POST, "/v1/logout", None),
    );
    let committed = wait::until("both changes are committed", async || {
        let shown = carl.via(doors[2]).call(Method::GET, &path, None).await.unwrap();
        let removed = shown.code() == "not_a_member";
        let out = bob.via(doors[0]).call(Method::GET, "/v1/me", None).await.unwrap();
        (removed && out.status.as_u16() == 401).then_some(())
    });
    tokio::select! {
        _ = join(calls, std::future::pending::<()>()) => {}
        _ = committed => {}
    }
    cluster.nodes[1].kill();
    cluster.lines[1].block(false);

    phone.until("is logged out", |journal| journal.logged_out).await;
    wait::until("Carl gets no more messages of the group", async || {
        let (_, without) = ann.via(doors[0]).say(channel, "without him", None).await;
        let (_, after) = ann.via(doors[0]).say(direct, "to him", None).await;
        c.holds(direct, after.message_id).await;
        let heard = c.look(|journal| {
            let all = journal.messages.get(&channel).map(Vec::as_slice).unwrap_or_default();
            all.iter().any(|message| message.message_id == without.message_id)
        });
        (!heard).then_some(())
    })
    .await;
    cluster.nodes[1].restart(Port::Same).await;
}
