//! HTTP/2 connections that are alive without progress: the client acknowledges pings but leaves the window of a
//! stream closed, or has no stream at all.

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

/// A connection whose streams have a window of `window` bytes.
async fn open(node: &Node, window: u32) -> (Http2, Frames) {
    let settings = [(INITIAL_WINDOW_SIZE, window)];
    Http2::open(node.address().get(), &settings, None).await.expect("a connection")
}

async fn ask(http2: &mut Http2, stream: u32, block: &[u8], flags: u8) {
    http2.send(kind::HEADERS, flags, stream, block).await.expect("the request is written");
}

/// The next frame that is `wanted`. Meanwhile the client acknowledges the server's pings and sends its own:
/// the connection is as alive as possible.
async fn until(
    (http2, frames): &mut (Http2, Frames),
    what: &str,
    wanted: impl Fn(&Frame) -> bool,
) -> Frame {
    wait::soon(what, async {
        http2.send(kind::PING, 0, 0, &[7; 8]).await.expect("the ping is written");
        loop {
            let frame = frames.next().await.expect("a frame").expect("no end");
            match frame.kind {
                kind::PING if frame.flags & ACK == 0 => {
                    http2
                        .send(kind::PING, ACK, 0, &frame.payload)
                        .await
                        .expect("the frame is written");
                }
                kind::PING => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    http2.send(kind::PING, 0, 0, &[7; 8]).await.expect("the ping is written");
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

async fn no_reader(node: &Node, transport: &str) {
    wait::until("no connection reads the session", async || {
        (node.metrics().await.attached(transport) == 0.0).then_some(())
    })
    .await;
}

/// The events of a session from its beginning.
async fn held(account: &Account, session: &Session) -> Vec<Value> {
    let path = session.path("/poll?after=0");
    let batch = account.must(Method::GET, &path, None, 200).await;
    batch["events"].as_array().expect("a batch").clone()
}

/// A session with this many long messages that are not read yet.
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
async fn responses_and_event_streams_whose_window_stays_closed_are_reset() {
    const MESSAGES: usize = 20;
    let (node, ann) = start().await;
    let session = unread(&node, &ann, MESSAGES).await;
    let end = END_HEADERS | END_STREAM;
    // Closed from the beginning, and after a part of the response.
    for window in [0, 20_000] {
        let mut connection = open(&node, window).await;
        for (stream, path) in
            [(1, session.path("/events?after=0")), (3, session.path("/poll?after=0"))]
        {
            ask(&mut connection.0, stream, &get(&path, &ann.token), end).await;
            let frame = until(&mut connection, "the stream is reset", reset(stream)).await;
            assert_eq!(frame.error(), CANCEL);
        }
        no_reader(&node, "sse").await;
        // Other streams of the connection are served: a small window is enough for a small response.
        ask(&mut connection.0, 5, &get("/v1/me", &ann.token), end).await;
        let window = 10_000_u32.to_be_bytes();
        connection.0.send(kind::WINDOW_UPDATE, 0, 5, &window).await.expect("the frame is written");
        until(&mut connection, "the whole response", |frame| {
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
        no_reader(&node, "websocket").await;
    }
    let events = held(&ann, &session).await;
    let messages = events.iter().filter(|event| event["type"] == "message").count();
    assert_eq!(messages, MESSAGES, "nothing is lost");
}

#[tokio::test]
async fn a_connection_with_pings_only_is_closed_and_one_with_an_event_stream_is_not() {
    let (node, ann) = start().await;
    let session = ann.open(None).await;
    let end = END_HEADERS | END_STREAM;
    let mut reader = open(&node, 1_000_000).await;
    ask(&mut reader.0, 1, &get(&session.path("/events"), &ann.token), end).await;
    until(&mut reader, "the stream begins", |frame| frame.kind == kind::DATA).await;
    let before = node.metrics().await.get("pabal_connections");

    let mut idle = open(&node, 1_000_000).await;
    ask(&mut idle.0, 1, &get("/v1/me", &ann.token), end).await;
    let goaway =
        until(&mut idle, "the idle connection is closed", |frame| frame.kind == kind::GOAWAY).await;
    assert_eq!(goaway.error(), 0, "no error");
    // The client does not close its side, and the server ends the connection nevertheless.
    wait::until("the connection is no longer counted", async || {
        (node.metrics().await.get("pabal_connections") <= before).then_some(())
    })
    .await;
    // The stream carries a comment every half second.
    until(&mut reader, "the stream continues", |frame| {
        frame.kind == kind::DATA && frame.stream == 1
    })
    .await;
    assert_eq!(node.metrics().await.attached("sse"), 1.0);
}
