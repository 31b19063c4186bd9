//! HTTP/2 connections that are alive, and on which nothing moves: a client answers pings and leaves
//! the window of a stream closed, or has no stream at all.

use std::net::Ipv4Addr;

use http::Method;
use pabal_tests::account::{Account, Session};
use pabal_tests::http2::{
    ACK, END_HEADERS, END_STREAM, Frame, Frames, Http2, INITIAL_WINDOW_SIZE, block, get, kind,
};
use pabal_tests::node::Node;
use pabal_tests::wait;
use serde_json::Value;

const CANCEL: u32 = 8;

async fn start() -> (Node, Account) {
    let settings = [
        ("PABAL_SERVER_WRITE_TIMEOUT_MS", "1000"),
        ("PABAL_SERVER_IDLE_CONNECTION_TIMEOUT_MS", "2000"),
        ("PABAL_LIMITS_PING_INTERVAL_MS", "500"),
    ];
    let node = Node::start_watched(Ipv4Addr::LOCALHOST.into(), &settings).await;
    let ann = Account::sign_up(node.address(), "ann").await;
    (node, ann)
}

/// A connection whose streams get no more than `window` bytes.
async fn open(node: &Node, window: u32) -> (Http2, Frames) {
    let settings = [(INITIAL_WINDOW_SIZE, window)];
    Http2::open(node.address().get(), &settings, None).await.expect("a connection")
}

async fn ask(http2: &mut Http2, stream: u32, block: &[u8], flags: u8) {
    http2.send(kind::HEADERS, flags, stream, block).await.expect("a request is taken");
}

/// The next frame that is `wanted`. Meanwhile the server's pings are answered, and it is pinged: the
/// client is as alive as can be.
async fn until(
    (http2, frames): &mut (Http2, Frames),
    what: &str,
    wanted: impl Fn(&Frame) -> bool,
) -> Frame {
    wait::soon(what, async {
        http2.send(kind::PING, 0, 0, &[7; 8]).await.expect("a ping is taken");
        loop {
            let frame = frames.next().await.expect("a frame").expect("no end");
            match frame.kind {
                kind::PING if frame.flags & ACK == 0 => {
                    http2.send(kind::PING, ACK, 0, &frame.payload).await.expect("taken");
                }
                kind::PING => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    http2.send(kind::PING, 0, 0, &[7; 8]).await.expect("a ping is taken");
                }
                _ => {}
            }
            if wanted(&frame) {
                return frame;
            }
        }
    })
    .await
}

fn reset(stream: u32) -> impl Fn(&Frame) -> bool {
    move |frame| frame.kind == kind::RST_STREAM && frame.stream == stream
}

async fn nobody_attached(node: &Node, transport: &str) {
    wait::until("nobody reads the session", async || {
        (node.metrics().await.attached(transport) == 0.0).then_some(())
    })
    .await;
}

/// What a session holds from its start.
async fn held(account: &Account, session: &Session) -> Vec<Value> {
    let path = session.path("/poll?after=0");
    let batch = account.must(Method::GET, &path, None, 200).await;
    batch["events"].as_array().expect("a batch").clone()
}

/// A session with so many long messages that were not read.
async fn unread(node: &Node, ann: &Account, count: usize) -> Session {
    let bob = Account::sign_up(node.address(), "bob").await;
    let session = ann.open(None).await;
    let channel_id = bob.direct(ann).await;
    for _ in 0..count {
        bob.say(channel_id, &"x".repeat(10_000), None).await;
    }
    session
}

#[tokio::test]
async fn answers_and_streams_whose_window_stays_closed_are_given_up() {
    const MESSAGES: usize = 20;
    let (node, ann) = start().await;
    let session = unread(&node, &ann, MESSAGES).await;
    let end = END_HEADERS | END_STREAM;
    // Closed from the beginning, and after a part of the answer.
    for window in [0, 20_000] {
        let mut connection = open(&node, window).await;
        for (stream, path) in
            [(1, session.path("/events?after=0")), (3, session.path("/poll?after=0"))]
        {
            ask(&mut connection.0, stream, &get(&path, &ann.token), end).await;
            let given_up = until(&mut connection, "the stream is reset", reset(stream)).await;
            assert_eq!(given_up.error(), CANCEL);
        }
        nobody_attached(&node, "sse").await;
        // The connection serves who reads: a little room is enough for a little answer.
        ask(&mut connection.0, 5, &get("/v1/me", &ann.token), end).await;
        let room = 10_000_u32.to_be_bytes();
        connection.0.send(kind::WINDOW_UPDATE, 0, 5, &room).await.expect("taken");
        until(&mut connection, "the whole answer", |frame| {
            frame.kind == kind::DATA && frame.stream == 5 && frame.flags & END_STREAM != 0
        })
        .await;
    }
    let events = held(&ann, &session).await;
    let messages = events.iter().filter(|event| event["type"] == "message").count();
    assert_eq!(messages, MESSAGES, "nothing is lost");
}

#[tokio::test]
async fn a_websocket_whose_window_stays_closed_ends_and_its_session_does_not() {
    const MESSAGES: usize = 20;
    let (node, ann) = start().await;
    let session = unread(&node, &ann, MESSAGES).await;
    let (path, authorization) =
        (session.path("/websocket?after=0"), format!("Bearer {}", ann.token));
    let handshake = block(&[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", &path),
        (":authority", "pabal"),
        ("sec-websocket-version", "13"),
        ("authorization", &authorization),
    ]);
    for window in [0, 20_000] {
        let mut connection = open(&node, window).await;
        ask(&mut connection.0, 1, &handshake, END_HEADERS).await;
        until(&mut connection, "the stream is reset", reset(1)).await;
        nobody_attached(&node, "websocket").await;
    }
    let events = held(&ann, &session).await;
    let messages = events.iter().filter(|event| event["type"] == "message").count();
    assert_eq!(messages, MESSAGES, "nothing is lost");
}

#[tokio::test]
async fn who_only_answers_pings_is_sent_away_and_who_reads_a_stream_is_not() {
    let (node, ann) = start().await;
    let session = ann.open(None).await;
    let end = END_HEADERS | END_STREAM;
    let mut reader = open(&node, 1_000_000).await;
    ask(&mut reader.0, 1, &get(&session.path("/events"), &ann.token), end).await;
    until(&mut reader, "the stream begins", |frame| frame.kind == kind::DATA).await;
    let before = node.metrics().await.get("pabal_connections");

    let mut idle = open(&node, 1_000_000).await;
    ask(&mut idle.0, 1, &get("/v1/me", &ann.token), end).await;
    let goaway = until(&mut idle, "it is sent away", |frame| frame.kind == kind::GOAWAY).await;
    assert_eq!(goaway.error(), 0, "it did nothing wrong");
    // It answers no more, and does not close.
    wait::until("its place is free", async || {
        (node.metrics().await.get("pabal_connections") <= before).then_some(())
    })
    .await;
    // A comment every half second, since long before that.
    until(&mut reader, "the stream goes on", |frame| frame.kind == kind::DATA && frame.stream == 1)
        .await;
    assert_eq!(node.metrics().await.attached("sse"), 1.0);
}
