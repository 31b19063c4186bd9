//! Events other than messages reach the users whom they concern and no others.

use http::Method;
use pabal_tests::account::{Account, Cursors, id};
use pabal_tests::client::{Client, TransportPlan};
use pabal_tests::journal::Journal;
use pabal_tests::ledger::Ledger;
use pabal_tests::node::Node;
use serde_json::{Value, json};

use crate::stage::{cast, finish};

/// A command by `POST …/commands`.
async fn command(account: &Account, client: &Client, command: Value) -> Value {
    let (session, _) = client.position();
    let path = session.expect("a session").path("/commands");
    let body = json!({ "commands": [command] });
    let json = account.must(Method::POST, &path, Some(&body), 200).await;
    json["replies"][0].clone()
}

/// Whether there is an event of this type with this user.
fn has(journal: &Journal, kind: &str, user: &Account) -> bool {
    journal.events_of(kind).any(|event| id(&event["user_id"]) == user.user_id)
}

pub(crate) async fn reach_the_right_users(plan: TransportPlan) {
    let node = Node::shared().await;
    let [ann, bob, carl, eve] = cast(node.address(), ["ann", "bob", "carl", "eve"]).await;
    let (ledger, none) = (Ledger::default(), Cursors::new());
    let channel = ann.group(&[&bob, &carl]).await;
    for (one, other) in [(&ann, &bob), (&bob, &ann)] {
        let path = format!("/v1/me/friends/{}", other.user_id);
        let response = one.call(Method::PUT, &path, None).await.expect("a response");
        assert!(response.status.is_success(), "{}", response.json);
    }
    let a = Client::start(&ann, plan, &none, &ledger).await;
    let c = Client::start(&carl, plan, &none, &ledger).await;
    let e = Client::start(&eve, plan, &none, &ledger).await;

    // Presence follows the session, and friends are notified.
    let b = Client::start(&bob, plan, &none, &ledger).await;
    let online = |journal: &Journal, online: bool| {
        journal
            .events_of("presence")
            .any(|event| id(&event["user_id"]) == bob.user_id && event["online"] == json!(online))
    };
    a.until("sees Bob come", |journal| online(journal, true)).await;

    // Typing: the others of the channel.
    let typing = json!({"id": "t", "type": "typing", "channel_id": channel.to_string()});
    let reply = command(&bob, &b, typing).await;
    assert!(reply.get("error").is_none(), "{reply}");
    a.until("sees Bob type", |journal| has(journal, "typing", &bob)).await;
    c.until("sees Bob type", |journal| has(journal, "typing", &bob)).await;

    // Read: every member, including the other devices of the reader.
    let (_, message) = ann.say(channel, "read this", None).await;
    let other_device = bob.log_in().await;
    let tablet = Client::start(&other_device, plan, &none, &ledger).await;
    let read = json!({"id": "r", "type": "read", "channel_id": channel.to_string(),
                      "message_id": message.message_id.to_string()});
    let reply = command(&bob, &b, read).await;
    assert!(reply.get("error").is_none(), "{reply}");
    for client in [&a, &b, &c, &tablet] {
        client.until("sees how far Bob read", |journal| has(journal, "read", &bob)).await;
        let seen = client.look(|journal| journal.events_of("read").next().cloned());
        assert_eq!(id(&seen.expect("a read event")["message_id"]), message.message_id);
    }

    // A user who is no member may not send typing notices.
    let typing = json!({"id": "t", "type": "typing", "channel_id": channel.to_string()});
    let reply = command(&eve, &e, typing).await;
    assert_eq!(reply["error"]["code"], "not_a_member", "{reply}");

    for (client, device) in [(b, &bob), (tablet, &other_device)] {
        let (session, _) = client.position();
        let journal = client.stop().await;
        assert!(!has(&journal, "typing", &bob), "a typing notice is not delivered to its sender");
        device.close(&session.expect("a session")).await;
    }
    a.until("sees Bob leave", |journal| online(journal, false)).await;
    // A last message, so that an event that has not arrived by then was not sent.
    let (_, last) = ann.say(channel, "the end", None).await;
    c.holds(channel, last.message_id).await;
    let carl = c.stop().await;
    assert!(!has(&carl, "presence", &bob), "no friend of Bob's");
    let eve = e.stop().await;
    assert!(eve.events.is_empty() && eve.messages.is_empty(), "{:?}", eve.events);
}

pub(crate) async fn membership_takes_effect(plan: TransportPlan) {
    let node = Node::shared().await;
    let [ann, bob, carl] = cast(node.address(), ["ann", "bob", "carl"]).await;
    let ledger = Ledger::default();
    let listening = [&ann, &bob, &carl];
    let mut clients = Vec::new();
    for user in listening {
        clients.push(Client::start(user, plan, &Cursors::new(), &ledger).await);
    }
    let channel = ann.group(&[&bob]).await;
    let of_channel = |journal: &Journal, action: &str| {
        journal
            .events_of("channel")
            .any(|event| id(&event["channel_id"]) == channel && event["action"] == json!(action))
    };
    for client in &clients[..2] {
        client.until("sees the new group", |journal| of_channel(journal, "added")).await;
    }
    let before = clients[0].send(channel, "before Carl").await;
    clients[1].holds(channel, before).await;

    // Carl joins: he and the others are notified, and the next message reaches him.
    let path = format!("/v1/channels/{channel}/members/{}", carl.user_id);
    ann.must(Method::PUT, &path, Some(&json!({})), 201).await;
    let first = clients[0].send(channel, "welcome").await;
    clients[2].until("is notified of the group", |journal| of_channel(journal, "added")).await;
    clients[2].holds(channel, first).await;
    clients[1].until("sees Carl join", |journal| has(journal, "member", &carl)).await;
    let replied = clients[2].send(channel, "thank you").await;
    clients[1].holds(channel, replied).await;

    let renamed = json!({"name": "another name"});
    ann.must(Method::PATCH, &format!("/v1/channels/{channel}"), Some(&renamed), 200).await;
    for client in &clients {
        client.until("sees the new name", |journal| of_channel(journal, "renamed")).await;
    }

    // Carl leaves: later messages are not delivered to him.
    ann.must(Method::DELETE, &path, None, 204).await;
    let gone = |journal: &Journal| {
        journal
            .events_of("member")
            .any(|event| id(&event["user_id"]) == carl.user_id && event["joined"] == json!(false))
    };
    for client in &clients {
        client.until("sees Carl leave", gone).await;
    }
    let without = clients[0].send(channel, "without Carl").await;
    clients[1].holds(channel, without).await;
    let carl_says = json!({"type": "send", "channel_id": channel.to_string(), "content": "?"});
    let reply = command(&carl, &clients[2], carl_says).await;
    assert_eq!(reply["error"]["code"], "not_a_member", "{reply}");
    let direct = carl.direct(&ann).await;
    let (_, marker) = ann.say(direct, "a marker after it", None).await;
    clients[2].holds(direct, marker.message_id).await;
    let carl = clients.pop().expect("three clients").stop().await;
    assert_eq!(carl.count(channel), 2, "the messages of his membership");
    let (history, _) = finish(channel, &ledger, &ann, clients).await;
    assert_eq!(history.len(), 4);
}
