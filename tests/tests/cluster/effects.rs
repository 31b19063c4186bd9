//! What is changed on one node is felt on all, as soon as on one.

use http::Method;
use pabal_tests::account::{Cursors, id};
use pabal_tests::client::{Client, TransportPlan};
use pabal_tests::cluster::Cluster;
use pabal_tests::ledger::Ledger;
use pabal_tests::line::Transport;
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
        let answer = ann.via(door).call(Method::GET, "/v1/me", None).await.unwrap();
        assert_eq!(answer.status.as_u16(), 401, "the token is dead on every node at once");
    }
    for device in &devices {
        device.until("is logged out", |journal| journal.logged_out).await;
    }
    eprintln!("a logout is felt on all nodes after {:?}", began.elapsed());
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
        // He comes: the very next message reaches him.
        ann.must(Method::PUT, &path, Some(&json!({})), 201).await;
        let (_, welcome) = bob.say(channel, "welcome", None).await;
        c.holds(channel, welcome.message_id).await;
        let began = Instant::now();
        for door in doors {
            wait::until("he may speak, on each node", async || {
                let answer = carl.via(door).call(Method::POST, &messages, Some(&says)).await;
                answer.unwrap().status.is_success().then_some(())
            })
            .await;
        }
        let joined = began.elapsed();
        // He goes: what is said then is not for him, and nobody takes what he says.
        ann.must(Method::DELETE, &path, None, 204).await;
        let began = Instant::now();
        let (_, without) = bob.say(channel, "without him", None).await;
        for door in doors {
            wait::until("he may not speak, on each node", async || {
                let answer = carl.via(door).call(Method::POST, &messages, Some(&says)).await;
                (answer.unwrap().code() == "not_a_member").then_some(())
            })
            .await;
        }
        eprintln!("membership is felt after {joined:?}, its end after {:?}", began.elapsed());
        let left = |count: usize| {
            move |journal: &pabal_tests::journal::Journal| {
                let mine = journal.events_of("member").filter(|event| {
                    id(&event["user_id"]) == carl.user_id && event["joined"] == json!(false)
                });
                mine.count() == count
            }
        };
        c.until("is told that he left", left(round + 1)).await;
        let heard = c.look(|journal| {
            let all = journal.messages.get(&channel).map(Vec::as_slice).unwrap_or_default();
            all.iter().any(|message| message.message_id == without.message_id)
        });
        assert!(!heard, "what was said without him");
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
        let answer = bob.call(method, &path, None).await.unwrap();
        assert!(answer.status.is_success(), "{}", answer.json);
        let began = Instant::now();
        for door in doors {
            wait::until("it is felt on each node", async || {
                let answer = ann.via(door).call(Method::POST, &messages, Some(&says)).await;
                ((answer.unwrap().code() == "blocked") == refused).then_some(())
            })
            .await;
        }
        eprintln!("a block (set: {refused}) is felt on all nodes after {:?}", began.elapsed());
    }
}
