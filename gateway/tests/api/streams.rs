//! WebSockets as streams of HTTP/2 (RFC 8441), and what HTTP/2 connections must bear.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Method, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::support::{Node, Person, text};

const SOON: Duration = Duration::from_secs(20);

/// How many bytes the server may send on a stream before the client has read some.
const WINDOW: u32 = 64 * 1024;

pub(crate) type Client = SendRequest<Empty<Bytes>>;
type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

pub(crate) async fn connect(node: &Node) -> Client {
    let stream = TcpStream::connect(node.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (client, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    // The server's settings say that it takes extended CONNECT; they come with its first answer.
    let mut asking = client.clone();
    let health = Request::get("http://pabal/healthz").body(Empty::new()).unwrap();
    assert_eq!(asking.send_request(health).await.unwrap().status(), 200);
    client
}

async fn shake(
    client: &mut Client,
    person: &Person,
    path: &str,
    more: &[(&str, &str)],
) -> Response<Incoming> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://pabal{path}"))
        .header("authorization", format!("Bearer {}", person.token))
        .extension(Protocol::from_static("websocket"));
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    client.send_request(request.body(Empty::new()).unwrap()).await.unwrap()
}

/// The stream after a handshake.
pub(crate) async fn upgraded(
    client: &mut Client,
    person: &Person,
    path: &str,
) -> TokioIo<hyper::upgrade::Upgraded> {
    let more = [("sec-websocket-version", "13"), ("sec-websocket-protocol", "pabal.v1")];
    let response = shake(client, person, path, &more).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["sec-websocket-protocol"], "pabal.v1");
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    TokioIo::new(hyper::upgrade::on(response).await.unwrap())
}

async fn open(client: &mut Client, person: &Person, path: &str) -> Socket {
    let stream = upgraded(client, person, path).await;
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}

async fn next(socket: &mut Socket) -> Value {
    let frame = timeout(SOON, socket.next()).await.unwrap().unwrap().unwrap();
    let Message::Text(text) = frame else { panic!("{frame:?}") };
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn several_websockets_share_a_connection() {
    let node = Node::start().await;
    let (ann, bob) = (node.sign_up("ann").await, node.sign_up("bob").await);
    let channel_id = ann.direct(&bob).await;
    let ears = bob.listen().await;
    let mut client = connect(&node).await;
    let path = format!("/v1/sessions/{}/websocket?after=0", ears.id);
    let mut bobs = open(&mut client, &bob, &path).await;
    let mut anns = open(&mut client, &ann, "/v1/websocket").await;
    assert!(next(&mut anns).await["session"]["session_id"].is_string());
    let send = json!({"id": "c1", "type": "send", "channel_id": channel_id, "content": "hello"});
    anns.send(Message::text(send.to_string())).await.unwrap();
    let heard = next(&mut bobs).await;
    assert_eq!(heard["events"][0]["message"]["content"], "hello");
    let mut said = next(&mut anns).await;
    if said["reply"].is_null() {
        said = next(&mut anns).await;
    }
    assert_eq!(said["reply"]["id"], "c1");

    bobs.close(None).await.unwrap();
    while let Some(Ok(_)) = bobs.next().await {}
    // The stream has ended; the connection, the other stream and the session have not.
    anns.send(Message::text(r#"{"id":"c2","type":"fly"}"#)).await.unwrap();
    loop {
        let frame = next(&mut anns).await;
        if frame["reply"]["id"] == "c2" {
            break;
        }
    }
    let path = format!("/v1/sessions/{}/poll?after=0", ears.id);
    let batch = bob.get(&path).await.json(200);
    assert_eq!(text(&batch["events"][0]["message"]["content"]), "hello");
    // The end of the node ends the other stream.
    let (_, farewell) = tokio::join!(node.stop(), async {
        loop {
            match timeout(SOON, anns.next()).await.unwrap() {
                Some(Ok(Message::Close(close))) => return close.unwrap(),
                Some(Ok(_)) => {}
                end => panic!("{end:?}"),
            }
        }
    });
    assert_eq!(u16::from(farewell.code), 1012);
}

#[tokio::test]
async fn a_refused_handshake_over_http_2_is_a_problem() {
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    let mut client = connect(&node).await;
    let version = ("sec-websocket-version", "13");
    for path in ["/v1/websocket", "/v1/sessions/0000000000000000.n1/websocket"] {
        let evil = [version, ("origin", "https://evil.example.org")];
        let refused = shake(&mut client, &ann, path, &evil).await;
        assert_eq!(refused.status(), 403, "{path}");
    }
    let none = shake(&mut client, &ann, "/v1/websocket", &[]).await;
    assert_eq!(none.status(), 426);
    assert_eq!(none.headers()["sec-websocket-version"], "13");
    let gone = "/v1/sessions/0000000000000000.n1/websocket";
    assert_eq!(shake(&mut client, &ann, gone, &[version]).await.status(), 410);
    for path in ["/v1/me", "/v1/sessions", "/v1/nothing"] {
        let refused = shake(&mut client, &ann, path, &[version]).await;
        assert!(matches!(refused.status().as_u16(), 404 | 405), "{path}: {}", refused.status());
    }
    drop(client);
    node.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_closed_although_its_client_sends_frames() {
    let node = Node::start_with(|config| config.limits.ping_interval_ms = 300).await;
    let (ann, bob) = (node.sign_up("ann").await, node.sign_up("bob").await);
    let channel_id = ann.direct(&bob).await;
    let ears = bob.listen().await;
    // More than the window and the buffers of HTTP/2, and less than the capacity of a mailbox.
    for _ in 0..55 {
        ann.say(&channel_id, &"x".repeat(16_000)).await;
    }
    let mut client = connect(&node).await;
    let path = format!("/v1/sessions/{}/websocket?after=0", ears.id);
    let mut socket = open(&mut client, &bob, &path).await;
    let closed = async {
        let wanted = "pabal_transport_attached{transport=\"websocket\"} 0";
        while !node.get("/metrics").await.text.contains(wanted) {
            // A frame of the client, over the same connection.
            let _ = socket.send(Message::text(r#"{"ack":"0"}"#)).await;
        }
    };
    timeout(SOON, closed).await.expect("closed");
    let batch = bob.get(&format!("/v1/sessions/{}/poll?after=0", ears.id)).await.json(200);
    assert_eq!(batch["events"].as_array().unwrap().len(), 55, "nothing is lost");
    drop(socket);
    node.stop().await;
}

#[tokio::test]
async fn headers_that_are_too_long_are_refused_and_the_connection_stays_open() {
    let node = Node::start().await;
    let mut client = connect(&node).await;
    let mut ask = async |bytes: usize| {
        let request = Request::get("http://pabal/healthz").header("x-much", "x".repeat(bytes));
        client.send_request(request.body(Empty::new()).unwrap()).await.unwrap().status().as_u16()
    };
    assert_eq!(ask(10_000).await, 200);
    // RFC 6585 section 5.
    assert_eq!(ask(20_000).await, 431);
    assert_eq!(ask(10).await, 200);
    drop(client);
    node.stop().await;
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    [&[a, b, c, kind, 0, 0, 0, 0, stream], payload].concat()
}

#[tokio::test]
async fn a_flood_of_frames_without_content_ends_its_connection_with_goaway() {
    const PRIORITY: u8 = 2;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;
    const UNKNOWN: u8 = 0xfa;
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    for (name, flood) in [
        ("priorities", frame(PRIORITY, 3, &[0, 0, 0, 0, 1])),
        ("window updates", frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1])),
        ("settings", frame(SETTINGS, 0, &[])),
        ("pings", frame(PING, 0, &[7; 8])),
        ("of a type that is not known", frame(UNKNOWN, 0, &[])),
    ] {
        let stream = TcpStream::connect(node.address()).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, &[])[..]].concat();
        let writing = async {
            write.write_all(&preface).await.unwrap();
            // Beyond what the server reads on, the connection is reset.
            let flood = flood.repeat(1_000);
            while write.write_all(&flood).await.is_ok() {}
        };
        let mut seen = Vec::new();
        let reading = async {
            while let Ok(1..) = read.read_buf(&mut seen).await {
                // A neighbour is served.
                ann.get("/v1/me").await.is(200);
            }
        };
        timeout(SOON, async { tokio::join!(reading, writing) }).await.expect("an end");
        let goaway = &seen[seen.len() - 17..];
        assert_eq!((&goaway[..4], goaway[16]), (&[0, 0, 8, 7][..], 0x0b), "{name}");
    }
    node.stop().await;
}
