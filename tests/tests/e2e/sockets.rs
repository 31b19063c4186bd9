//! `GET /v1/websocket`: a session and a socket in one step. The session is like any other, whichever transport the
//! device uses next.

use pabal_tests::account::Cursors;
use pabal_tests::client::{Client, TransportPlan};
use pabal_tests::journal::Journal;
use pabal_tests::ledger::Ledger;
use pabal_tests::line::{Handshake, Line, Transport, WebSocket};
use pabal_tests::node::Node;
use pabal_tests::wait::SOON;
use serde_json::json;

use crate::stage::{cast, finish, from_the_start, lines, listen};

pub(crate) async fn in_one_step(plan: TransportPlan) {
    one_step(plan, Handshake::to("/v1/websocket")).await;
}

/// The token comes as a subprotocol, because browsers cannot set headers.
pub(crate) async fn of_a_browser(plan: TransportPlan) {
    one_step(plan, Handshake::to("/v1/websocket").as_browser()).await;
}

async fn one_step(plan: TransportPlan, handshake: Handshake<'_>) {
    let node = Node::shared().await;
    let [ann, bob] = cast(node.address(), ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let ledger = Ledger::default();
    let author = listen(&ann, plan, channel, &ledger).await;
    let speaking = ann.open(None).await;
    ann.say_many(&speaking, channel, &lines(10), &ledger).await;
    // An acknowledged message may not be delivered yet: an earlier session might receive some.
    author.holds(channel, ledger.newest(channel)).await;
    let (socket, session) =
        WebSocket::open_session(&bob, handshake).await.expect("a session in one step");
    let protocol = socket.headers.get("sec-websocket-protocol");
    let as_browser = protocol.is_some_and(|it| it == "pabal.v1");
    assert_eq!(protocol.is_some(), as_browser, "{protocol:?}");
    assert_eq!(session.next, 0);
    assert!(session.document["resume_window_ms"].is_u64());
    for (name, end) in [
        ("polling", "/poll"),
        ("long_polling", "/long-poll"),
        ("websocket", "/websocket"),
        ("sse", "/events"),
    ] {
        let url = session.document["transports"][name]["url"].as_str().expect("a URL");
        assert!(url.ends_with(&session.path(end)), "{url}");
    }
    let url = session.document["transports"]["websocket"]["url"].as_str().expect("a URL");
    assert!(url.starts_with(&format!("ws://{}/", node.address().get())), "{url}");

    // Commands, one and several, each with its reply.
    let writer = socket.socket();
    let send = |name: &str, content: &str| {
        ledger.begin(channel, bob.user_id, name, content);
        json!({"type": "send", "channel_id": channel.to_string(), "client_message_id": name,
               "content": content})
    };
    let names: Vec<_> = (0..4).map(|_| Ledger::name("bob")).collect();
    let one = [send(&names[0], "one")];
    let several: Vec<_> = names[1..].iter().map(|name| send(name, "of several")).collect();
    for (commands, names) in [(&one[..], &names[..1]), (&several, &names[1..])] {
        let replies = writer.commands(commands, SOON).await.expect("replies");
        for (reply, name) in replies.iter().zip(names) {
            ledger.acknowledge(name, pabal_tests::account::id(&reply["message_id"]));
        }
    }
    let wrong = [json!({"type": "send", "channel_id": channel.to_string(), "content": ""})];
    let replies = writer.commands(&wrong, SOON).await.expect("a reply");
    assert_eq!(replies[0]["error"]["code"], "invalid", "{}", replies[0]);

    // The session began without history: its own four messages are events. It continues on another
    // transport.
    let mut line = Line::WebSocket(socket);
    let first = line.read(0, SOON).await.expect("a batch");
    assert_eq!(first.events[0]["message"]["content"], "one");
    drop(line);
    let held = ledger_before(&ledger, &names[0]);
    let journal = Journal::new("bob", &Cursors::from([(channel, held)]));
    let device = Client::resume(&bob, plan, (&session, 0), journal, &ledger);
    let whole = Client::start(&bob, plan, &from_the_start(channel), &ledger).await;
    let (history, journals) = finish(channel, &ledger, &ann, [device, whole, author]).await;
    assert_eq!(history.len(), 14);
    assert_eq!(journals[0].count(channel), 4);
    refuse_strangers(&bob).await;
}

/// The id right below the message that was sent under `name`.
fn ledger_before(ledger: &Ledger, name: &str) -> u64 {
    let entries = ledger.entries();
    let entry = entries.iter().find(|entry| entry.client_message_id == name);
    entry.and_then(|entry| entry.acknowledged).expect("acknowledged").1 - 1
}

async fn refuse_strangers(account: &pabal_tests::account::Account) {
    let mut stranger = account.clone();
    stranger.token = "not-a-token".into();
    for handshake in [Handshake::to("/v1/websocket"), Handshake::to("/v1/websocket").as_browser()] {
        let refused = WebSocket::open(&stranger, handshake).await.expect_err("no token");
        let status = match &refused {
            pabal_tests::line::Break::Refused(response) => response.status.as_u16(),
            other => panic!("{other}"),
        };
        assert_eq!(status, 401);
    }
    let session = account.open(None).await;
    let refused = Line::open(Transport::WebSocket, &stranger, &session, 0).await;
    assert!(refused.is_err(), "a session does not open without its user's token");
}
