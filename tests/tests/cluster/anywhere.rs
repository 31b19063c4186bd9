//! Any request may reach any node.

use std::time::Duration;

use futures::future::join;
use http::Method;
use pabal_tests::account::id;
use pabal_tests::cluster::Cluster;
use pabal_tests::line::{Break, Handshake, Line, Transport, WebSocket};
use serde_json::json;

use crate::stage::{cast, doors};

pub(crate) async fn reads_and_commands(cluster: &Cluster) {
    let doors = doors(cluster);
    let [ann, bob] = cast(&doors, ["ann", "bob"]).await;
    let channel = ann.direct(&bob).await;
    let session = ann.open(None).await;
    let elsewhere = ann.via(doors[2]);

    // A long poll through another node returns when there is an event.
    let mut waiting = Line::open(Transport::LongPolling, &elsewhere, &session, 0).await.unwrap();
    let (read, said) = join(waiting.read(0, Duration::from_secs(20)), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        bob.say(channel, "over there", None).await.1
    })
    .await;
    let first = read.unwrap().events;
    assert_eq!(id(&first[0]["message"]["message_id"]), said.message_id);
    for transport in [Transport::ShortPolling, Transport::LongPolling, Transport::Sse] {
        let mut line = Line::open(transport, &elsewhere, &session, 0).await.unwrap();
        let batch = line.read(0, Duration::from_secs(20)).await.unwrap();
        assert_eq!(batch.events[0], first[0], "nothing was confirmed, so it is read again");
        let command = json!({"commands": [{"type": "send", "id": "c", "content": "replied",
            "channel_id": channel.to_string()}]});
        let path = session.path("/commands");
        let replies = elsewhere.must(Method::POST, &path, Some(&command), 200).await;
        assert!(id(&replies["replies"][0]["message_id"]) > said.message_id, "{replies}");
    }

    // A refusal is the same through another node.
    let path = session.path("/poll?after=x");
    let there = elsewhere.call(Method::GET, &path, None).await.unwrap();
    let here = ann.call(Method::GET, &path, None).await.unwrap();
    assert_eq!((there.status, &there.json), (here.status, &here.json));
    // The session of another user is not found, on every node.
    let path = session.path("/poll?after=0");
    let eve = bob.via(doors[2]).call(Method::GET, &path, None).await.unwrap();
    let bob = bob.via(doors[0]).call(Method::GET, &path, None).await.unwrap();
    assert_eq!((eve.status, &eve.json), (bob.status, &bob.json));
    assert!(eve.status.is_client_error(), "{}", eve.json);
}

pub(crate) async fn sockets(cluster: &Cluster) {
    let doors = doors(cluster);
    let [ann] = cast(&doors, ["ann"]).await;
    let session = ann.open(None).await;
    let path = session.path("/websocket?after=0");
    let refused = WebSocket::open(&ann.via(doors[1]), Handshake::to(&path)).await;
    let Err(broken @ Break::Refused(_)) = refused else {
        panic!("another node accepted the socket: {refused:?}");
    };
    let Break::Refused(response) = &broken else { unreachable!("it was just looked at") };
    assert_eq!(
        (response.status.as_u16(), response.code()),
        (421, "wrong_node"),
        "{}",
        response.json
    );
    assert_eq!(broken.elsewhere(), Some(doors[0].get()), "the node as clients reach it");
    let url = response.json["url"].as_str().expect("a URL");
    assert!(url.contains(&session.session_id), "the socket's own URL: {url}");
    let socket = WebSocket::open_where_it_lives(&ann.via(doors[1]), &path).await;
    assert!(socket.is_ok(), "{socket:?}");
}

pub(crate) async fn deletion(cluster: &Cluster) {
    let doors = doors(cluster);
    let [ann] = cast(&doors, ["ann"]).await;
    let session = ann.open(None).await;
    ann.via(doors[2]).close(&session).await;
    for door in doors {
        let path = session.path("/poll?after=0");
        let response = ann.via(door).call(Method::GET, &path, None).await.unwrap();
        assert_eq!((response.status.as_u16(), response.code()), (410, "session_gone"));
    }
}
