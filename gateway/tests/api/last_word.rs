//! The last response, or the last frame, arrives although the client is still sending (RFC 9112 section
//! 9.6); and a client that has closed its side gets the response to its last request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use futures::{SinkExt, StreamExt};
use pabal_servers::{ReverseProxy, started};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::certificate::Certificate;
use crate::frames::{CONTINUATION, FINAL, PONG, Raw, Said, TEXT, frame};
use crate::line::{Line, get, poll, post, upgrade};
use crate::support::{Node, Person};
use crate::{streams, tls};

const SOON: Duration = Duration::from_secs(20);
const TIMES: usize = 10;

/// A request with a body of so many bytes, and a first part of them.
fn begun(person: Option<&Person>, path: &str, length: usize) -> String {
    let token = person
        .map_or_else(String::new, |person| format!("authorization: Bearer {}\r\n", person.token));
    format!(
        "POST {path} HTTP/1.1\r\nhost: pabal\r\n{token}content-type: application/json\r\n\
         content-length: {length}\r\n\r\n{{"
    )
}

/// Writes a request whose body the server does not want, and the whole of that body. Returns the status.
async fn refused(line: Line, request: &str, length: usize) -> u16 {
    let ((mut read, mut write), _) = line.into_parts();
    let writing = async {
        write.write_all(request.as_bytes()).await.unwrap();
        // Slower than the server refuses.
        for piece in vec![b' '; length - 1].chunks(16 * 1024) {
            write.write_all(piece).await.expect("the server reads on");
            tokio::task::yield_now().await;
        }
    };
    let reading = async {
        let mut answer = Vec::new();
        read.read_to_end(&mut answer).await.expect("no reset");
        String::from_utf8(answer).unwrap()
    };
    let (answer, ()) = timeout(SOON, async { tokio::join!(reading, writing) }).await.unwrap();
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    answer[9..12].parse().unwrap()
}

#[tokio::test]
async fn a_refusal_before_the_body_says_close_and_arrives() {
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    let commands = format!("/v1/sessions/{}/commands", ears.id);
    for _ in 0..TIMES {
        for (person, path, length, status) in [
            (None, "/v1/sync", 60_000, 401),
            (None, commands.as_str(), 60_000, 401),
            (Some(&ann), "/v1/nothing", 60_000, 404),
            (Some(&ann), "/v1/sync", 5_000_000, 413),
            (Some(&ann), commands.as_str(), 5_000_000, 413),
        ] {
            let line = Line::open(&node).await;
            assert_eq!(refused(line, &begun(person, path, length), length).await, status);
        }
    }
    // A poll before it: the poll server had the connection.
    let mut line = Line::open(&node).await;
    assert_eq!(line.ask(poll(&ears, &ann, "poll")).await.status, 200);
    assert_eq!(refused(line, &begun(None, "/v1/sync", 60_000), 60_000).await, 401);
    node.stop().await;
}

#[tokio::test]
async fn a_refusal_before_the_body_arrives_within_tls() {
    let (certificate, trust) = Certificate::new();
    let node = tls::start_with(&certificate, |_| {}).await;
    for _ in 0..TIMES {
        let line = Line::open_tls(&node, &trust).await;
        assert_eq!(refused(line, &begun(None, "/v1/sync", 1_000_000), 1_000_000).await, 401);
    }
    node.stop().await;
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_the_body() {
    let node = Node::start().await;
    for more in ["", "expect: 100-continue\r\n"] {
        let mut line = Line::open(&node).await;
        let request = begun(None, "/v1/sync", 60_000);
        let head = request.replace("content-type", &format!("{more}content-type"));
        let answer = line.ask(head).await;
        assert_eq!((answer.status, answer.header("connection")), (401, "close"));
        // The server stops writing, and the client may close.
        assert!(line.read().await.is_none());
    }
    node.stop().await;
}

#[tokio::test]
async fn a_short_body_that_is_not_read_does_not_end_the_connection() {
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    let mut line = Line::open(&node).await;
    for _ in 0..3 {
        let answer = line.ask(post(&ann, "/v1/nothing", &json!({"x": "y".repeat(1_000)}))).await;
        assert_eq!((answer.status, answer.header("connection")), (404, ""));
    }
    assert_eq!(line.ask(get(&ann, "/v1/me", "")).await.status, 200);
    node.stop().await;
}

/// Sends a frame of 5 MB, reads only after that, and returns the code that the server closes with.
async fn close_code<S: crate::line::Stream>(mut socket: WebSocketStream<S>) -> u16 {
    let closing = async {
        socket.send(Message::text("x".repeat(5_000_000))).await.expect("the server reads on");
        loop {
            match socket.next().await.expect("a close frame comes before the end") {
                Ok(Message::Close(close)) => return u16::from(close.expect("a code").code),
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    timeout(SOON, closing).await.unwrap()
}

#[tokio::test]
async fn the_close_code_of_a_frame_of_5_mb_arrives() {
    let (certificate, trust) = Certificate::new();
    let many = |config: &mut pabal_gateway::config::Config| config.limits.sessions_per_user = 1_000;
    let (node, secure) = (Node::start_with(many).await, tls::start_with(&certificate, many).await);
    let ann = node.sign_up("ann").await;
    let bob = tls::sign_up(&secure, &mut Line::open_tls(&secure, &trust).await, "bob").await;
    for _ in 0..TIMES {
        let mut line = Line::open(&node).await;
        assert_eq!(line.ask(upgrade(&ann, "/v1/websocket")).await.status, 101);
        assert_eq!(close_code(line.into_socket().await).await, 4413);
        let mut line = Line::open_tls(&secure, &trust).await;
        assert_eq!(line.ask(upgrade(&bob, "/v1/websocket")).await.status, 101);
        assert_eq!(close_code(line.into_socket().await).await, 4413, "within TLS");
        let mut client = streams::connect(&node).await;
        let stream = streams::upgraded(&mut client, &ann, "/v1/websocket").await;
        let socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        assert_eq!(close_code(socket).await, 4413, "over HTTP/2");
    }
    node.stop().await;
    secure.stop().await;
}

#[tokio::test]
async fn fragments_count_as_frames() {
    let node = Node::start_with(|config| {
        config.limits.rate_limits = true;
        config.limits.requests_per_user_per_second = 10;
    })
    .await;
    let ann = node.sign_up("ann").await;
    let mut raw = Raw::open(&node, &ann).await;
    raw.write(&frame(TEXT, b"{")).await;
    raw.write(&frame(CONTINUATION, b"").repeat(100_000)).await;
    assert_eq!(raw.said().await, Some(Said::Close(Some(4429))));
    assert_eq!(raw.said().await, None);
    node.stop().await;
}

#[tokio::test]
async fn a_message_in_fragments_has_a_deadline() {
    let node = Node::start_with(|config| config.limits.ping_interval_ms = 200).await;
    let ann = node.sign_up("ann").await;
    let mut raw = Raw::open(&node, &ann).await;
    raw.write(&frame(TEXT, b"{")).await;
    let code = loop {
        let (first, payload) = raw.read().await.expect("a close");
        match first & 0x0f {
            // Every ping is answered, and a fragment sent.
            9 => {
                raw.write(&[frame(FINAL | PONG, &payload), frame(CONTINUATION, b" ")].concat())
                    .await
            }
            8 => break u16::from_be_bytes(*payload.first_chunk().unwrap()),
            _ => assert!(String::from_utf8(payload).unwrap().contains("took too long to arrive")),
        }
    };
    assert_eq!(code, 4400);
    node.stop().await;
}

#[tokio::test]
async fn a_transfer_coding_that_is_not_known_is_501() {
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    for path in ["/v1/sync", &format!("/v1/sessions/{}/commands", ears.id), "/v1/nothing"] {
        for coding in ["gzip, chunked", "chunked, chunked", "gzip\r\ntransfer-encoding: chunked"] {
            let mut line = Line::open(&node).await;
            let (token, all) = (&ann.token, "2\r\n{}\r\n0\r\n\r\n");
            let request = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
                 transfer-encoding: {coding}\r\n\r\n{all}"
            );
            let answer = line.ask(request).await;
            assert_eq!((answer.status, answer.header("connection")), (501, "close"), "{coding}");
            assert_eq!(answer.body["errors"][0]["field"], "transfer-encoding");
            assert!(line.read().await.is_none());
        }
    }
    let mut line = Line::open(&node).await;
    let usual = get(&ann, "/v1/me", "transfer-encoding: Chunked\r\n") + "0\r\n\r\n";
    assert_eq!(line.ask(usual).await.status, 200);
    node.stop().await;
}

#[tokio::test]
async fn a_method_pri_is_no_preface_of_http_2() {
    let node = Node::start().await;
    for line in ["PRI /path HTTP/1.1", "PRIVATE / HTTP/1.1", "PRI * HTTP/1.1"] {
        for cut in [1, 3, 6] {
            let mut connection = Line::open(&node).await;
            connection.write(&line[..cut]).await;
            tokio::task::yield_now().await;
            let rest = format!("{}\r\nhost: x\r\n\r\n", &line[cut..]);
            let answer = connection.ask(rest).await;
            assert!(matches!(answer.status, 404 | 405), "{line}: {}", answer.status);
            assert!(answer.head.starts_with("http/1.1"));
        }
    }
    node.stop().await;
}

/// Writes requests, closes the writing side, and returns what comes until the end.
async fn half_closed(node: &Node, requests: &str) -> String {
    let ((mut read, mut write), _) = Line::open(node).await.into_parts();
    write.write_all(requests.as_bytes()).await.unwrap();
    write.shutdown().await.unwrap();
    let mut answers = Vec::new();
    timeout(SOON, read.read_to_end(&mut answers)).await.expect("the end").expect("no reset");
    String::from_utf8(answers).unwrap()
}

#[tokio::test]
async fn a_client_that_has_closed_its_side_gets_its_responses() {
    let node = Node::start_with(|config| config.limits.sessions_per_user = 1_000).await;
    let (ann, bob) = (node.sign_up("ann").await, node.sign_up("bob").await);
    let ears = ann.listen().await;
    let channel_id = bob.direct(&ann).await;
    bob.say(&channel_id, "hello").await;
    let send = format!("/v1/channels/{channel_id}/messages");
    let long = "long-poll?after=0&wait_ms=60000";
    let by_hyper = |query: &str| {
        get(&ann, &format!("/v1/sessions/{}/{query}", ears.id), "content-length: 0\r\n")
    };
    let commands = json!({"commands": [
        {"id": "c", "type": "send", "channel_id": channel_id, "content": "again"}
    ]});
    for (name, request, expected) in [
        ("API", get(&ann, "/v1/me", ""), "\"ann\""),
        ("send", post(&bob, &send, &json!({"content": "x"})), "HTTP/1.1 201"),
        ("commands", post(&ann, &format!("/v1/sessions/{}/commands", ears.id), &commands), "\"c\""),
        ("session", post(&ann, "/v1/sessions", &json!({})), "HTTP/1.1 201"),
        ("poll", poll(&ears, &ann, "poll?after=0"), "hello"),
        ("poll by hyper", by_hyper("poll?after=0"), "hello"),
        ("long poll with events", poll(&ears, &ann, long), "hello"),
        ("long poll with events, by hyper", by_hyper(long), "hello"),
    ] {
        for _ in 0..TIMES {
            let answers = half_closed(&node, &request).await;
            assert!(answers.contains(expected), "{name}: {answers:?}");
        }
        let two = half_closed(&node, &(request.clone() + &request)).await;
        assert_eq!(two.matches("HTTP/1.1 2").count(), 2, "{name}, twice: {two}");
    }
    // A body that is cut short is a mistake, which is said at once.
    let cut = post(&bob, &send, &json!({"content": "x"}));
    let answer = half_closed(&node, &cut[..cut.len() - 3]).await;
    assert!(answer.contains("was cut short"), "{answer}");
    node.stop().await;
}

#[tokio::test]
async fn parked_polls_and_streams_end_with_the_clients_side_and_consume_nothing() {
    let node = Node::start().await;
    let (ann, bob) = (node.sign_up("ann").await, node.sign_up("bob").await);
    let channel_id = bob.direct(&ann).await;
    let ears = ann.listen().await;
    for query in ["long-poll?after=0&wait_ms=60000", "events?after=0"] {
        let hyper =
            get(&ann, &format!("/v1/sessions/{}/{query}", ears.id), "content-length: 0\r\n");
        for request in [poll(&ears, &ann, query), hyper] {
            // Ends long before the wait, without an event.
            let answers = half_closed(&node, &request).await;
            assert!(!answers.contains("events\":"), "{answers}");
            let wanted = ["long_polling", "sse"]
                .map(|name| format!("pabal_transport_attached{{transport=\"{name}\"}} 0"));
            let ended = async {
                loop {
                    let metrics = node.get("/metrics").await.text;
                    if wanted.iter().all(|line| metrics.contains(line)) {
                        return;
                    }
                }
            };
            timeout(SOON, ended).await.expect("no reader is left");
        }
    }
    bob.say(&channel_id, "hello").await;
    let batch = ann.get(&format!("/v1/sessions/{}/poll?after=0", ears.id)).await.json(200);
    assert_eq!(batch["events"][0]["message"]["content"], "hello");
    node.stop().await;
}

/// Strangers post through a proxy that keeps its connections to the node, and no other client of it
/// notices.
async fn neighbours_of_strangers(node: &Node, proxy: &ReverseProxy) {
    const STRANGERS: usize = 8;
    const EACH: usize = 100;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("http://{}{path}", proxy.address());
    let body = "x".repeat(60_000);
    let left = AtomicUsize::new(STRANGERS);
    let stranger = async || {
        for _ in 0..EACH {
            let posted = http.post(url("/v1/sync")).body(body.clone()).send().await;
            assert_eq!(posted.expect("a response").status(), 401);
        }
        left.fetch_sub(1, Ordering::Relaxed);
    };
    let neighbour = async || {
        let mut served = 0;
        while left.load(Ordering::Relaxed) > 0 || served < EACH {
            // A proxy must not repeat this on another connection, so it reports each that breaks.
            let posted = http.post(url("/v1/login")).body("{}").send().await;
            assert_eq!(posted.expect("a response").status(), 422, "after {served}");
            served += 1;
        }
    };
    let strangers = join_all((0..STRANGERS).map(|_| stranger()));
    tokio::join!(strangers, neighbour(), neighbour());
    node.get("/healthz").await.is(200);
}

#[tokio::test]
async fn refusals_do_not_break_other_requests_through_nginx() {
    let node = Node::start().await;
    let proxy = started!(ReverseProxy::nginx(node.address().parse().unwrap()));
    neighbours_of_strangers(&node, &proxy).await;
    node.stop().await;
}

#[tokio::test]
async fn refusals_do_not_break_other_requests_through_haproxy() {
    let node = Node::start().await;
    let proxy = started!(ReverseProxy::haproxy(node.address().parse().unwrap()));
    neighbours_of_strangers(&node, &proxy).await;
    node.stop().await;
}
