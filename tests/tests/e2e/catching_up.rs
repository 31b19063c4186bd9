//! A device was disconnected and catches up from a `cur_max_message_id` per channel, while other devices send:
//! between history and live events there is neither gap nor repeat.

use std::time::Duration;

use futures::future::join;
use http::Method;
use pabal_tests::account::{Account, Cursors, Id, Message, cursors_json, id};
use pabal_tests::client::{Client, TransportPlan};
use pabal_tests::journal::Journal;
use pabal_tests::ledger::Ledger;
use pabal_tests::line::{Line, Transport};
use pabal_tests::node::Node;
use pabal_tests::oracle::expect_whole;
use pabal_tests::wait::SOON;
use serde_json::json;
use tokio::time::sleep;

use crate::stage::{cast, finish, from_the_start, lines, listen, open};

/// Ann sends to Bob, who is not connected, and continues while Bob connects.
struct Scene {
    _node: std::sync::Arc<Node>,
    ann: Account,
    bob: Account,
    channel: Id,
    ledger: Ledger,
    author: Client,
    before: Vec<Message>,
}

async fn scene(plan: TransportPlan, count: usize) -> Scene {
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let session = ann.open(None).await;
    ann.say_many(&session, channel, &lines(count), &ledger).await;
    ann.close(&session).await;
    let before = ann.history(channel, 0).await;
    assert_eq!(before.len(), count);
    let author = listen(&ann, plan, channel, &ledger).await;
    Scene { _node: node, ann, bob, channel, ledger, author, before }
}

pub(crate) async fn as_the_session_opens(plan: TransportPlan) {
    let Scene { _node, ann, bob, channel, ledger, author, before } = scene(plan, 300).await;
    let talk = async {
        for number in 0..60 {
            author.send(channel, &format!("meanwhile {number}")).await;
        }
    };
    let come_back = async {
        let mut devices = Vec::new();
        for held in [0usize, 1, 150, 299, 300, 150] {
            let cursor = held.checked_sub(1).map_or(0, |at| before[at].message_id);
            let cursors = Cursors::from([(channel, cursor)]);
            devices.push(Client::start(&bob, plan, &cursors, &ledger).await);
            sleep(Duration::from_millis(20)).await;
        }
        devices
    };
    let ((), mut devices) = join(talk, come_back).await;
    devices.push(author);
    let (history, journals) = finish(channel, &ledger, &ann, devices).await;
    assert_eq!(history.len(), 360);
    assert!(journals.iter().all(|journal| journal.resyncs == 0), "all of it fits the mailbox");
}

/// A session without catch-up, then `/v1/sync` until it returns no more messages: together they are complete.
pub(crate) async fn by_synchronisation(plan: TransportPlan) {
    let Scene { _node, ann, bob, channel, ledger, author, .. } = scene(plan, 120).await;
    let other = bob.group(&[&ann]).await;
    let session = bob.open(None).await;
    let head = {
        bob.say_many(&session, other, &lines(3), &Ledger::default()).await;
        bob.history(other, 0).await.pop().expect("three messages")
    };
    let talk = async {
        for number in 0..40 {
            author.send(channel, &format!("meanwhile {number}")).await;
        }
    };
    let synchronise = async {
        let mut journal = Journal::new("bob, synchronised", &from_the_start(channel));
        loop {
            let cursors = Cursors::from([(channel, journal.cursor(channel))]);
            let body = json!({ "channels": cursors_json(&cursors) });
            let json = bob.must(Method::POST, "/v1/sync?limit=50", Some(&body), 200).await;
            let part = &json["channels"][channel.to_string()];
            for message in part["messages"].as_array().expect("messages") {
                journal.message(Message::of(message));
            }
            assert_eq!(id(&part["cur_max_message_id"]), journal.cursor(channel));
            let unnamed = &json["channels"][other.to_string()];
            assert_eq!(id(&unnamed["cur_max_message_id"]), head.message_id);
            assert_eq!(
                Message::of(&unnamed["messages"][0]),
                head,
                "the others come with their head"
            );
            if part["has_more"] == json!(false) {
                return journal;
            }
        }
    };
    let ((), mut synchronised) = join(talk, synchronise).await;
    let live = Journal::new("bob, live", &Cursors::new());
    let live = Client::resume(&bob, plan, (&session, session.next), live, &ledger);
    let newest = ledger.newest(channel);
    live.holds(channel, newest).await;
    let live = live.stop().await;
    assert_eq!(live.violations, []);
    // A client drops events that it has synchronised already; the rest must follow without a gap.
    let held = synchronised.cursor(channel);
    let rest = &live.messages[&channel];
    for message in rest.iter().filter(|message| message.message_id > held) {
        synchronised.message(message.clone());
    }
    let (history, _) = finish(channel, &ledger, &ann, [author]).await;
    expect_whole(channel, &ledger, &history, &[synchronised]);
    assert!(history.ends_with(rest), "live events are one unbroken run");
}

/// The frame `{"channels":{…}}` on a WebSocket; its events stay available to every transport.
pub(crate) async fn by_socket_frame(plan: TransportPlan) {
    let Scene { _node, ann, bob, channel, ledger, author, before } = scene(plan, 200).await;
    let session = bob.open(None).await;
    let cursors = Cursors::from([(channel, before[49].message_id)]);
    let talk = async {
        for number in 0..30 {
            author.send(channel, &format!("meanwhile {number}")).await;
        }
    };
    let ask = async {
        let mut line = open(Transport::WebSocket, &bob, &session, 0).await;
        let socket = line.socket().expect("a socket");
        socket.catch_up(&cursors).await;
        let batch = line.read(0, SOON).await.expect("catch-up");
        assert!(!batch.events.is_empty());
    };
    // Requested before any live event: messages that a session has delivered cannot be caught up in order.
    ask.await;
    talk.await;
    let journal = Journal::new("bob", &cursors);
    let device = Client::resume(&bob, plan, (&session, 0), journal, &ledger);
    let (history, _) = finish(channel, &ledger, &ann, [author, device]).await;
    assert_eq!(history.len(), 230);
    // Requested again after later messages were delivered: a resync, and no message out of order.
    let session = bob.open(None).await;
    ann.open(None).await;
    let speaker = listen(&ann, plan, channel, &ledger).await;
    let spoken = speaker.send(channel, "later").await;
    let mut line = open(Transport::WebSocket, &bob, &session, 0).await;
    let first = line.read(0, SOON).await.expect("the message");
    line.socket().expect("a socket").catch_up(&cursors).await;
    let second = expect_batch(&mut line, first.next).await;
    assert_eq!(second["type"], "resync");
    assert_eq!(id(&second["cur_max_message_id"]), spoken);
    drop(line);
    let mut journal = Journal::new("bob, again", &cursors);
    for message in bob.history(channel, before[49].message_id).await {
        journal.message(message);
    }
    finish(channel, &ledger, &ann, [speaker]).await;
    let history = ann.history(channel, 0).await;
    expect_whole(channel, &ledger, &history, &[journal]);
}

async fn expect_batch(line: &mut Line, after: Id) -> serde_json::Value {
    let batch = line.read(after, SOON).await.expect("a batch");
    batch.events.first().expect("an event").clone()
}
