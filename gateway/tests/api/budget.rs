//! Bytes in flight: what clients do not take is bounded for the connection, the user and the node, and
//! others are served.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::line::Line;
use crate::support::{Node, Person, text};

const SOON: Duration = Duration::from_secs(20);
/// The limit of a user and of a connection in these tests: four pages.
const LIMIT: usize = 2 * 1024 * 1024 + 512 * 1024;

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

/// A node with small limits.
async fn start() -> Node {
    Node::start_with(|config| {
        config.limits.in_flight_user_bytes = LIMIT;
        config.limits.in_flight_connection_bytes = LIMIT;
    })
    .await
}

/// A group with half a mebibyte of JSON.
async fn long_group(person: &Person) -> String {
    let group = person.group("Long", &[]).await;
    for _ in 0..5 {
        person.say(&group, &"\u{1}".repeat(16 * 1024)).await;
    }
    group
}

/// A connection on which the client takes 1 KiB of a response, and then no more.
async fn slow(node: &Node) -> SendRequest<Body> {
    let stream = TcpStream::connect(node.address()).await.unwrap();
    let (client, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1024)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

fn get(person: &Person, path: &str) -> Request<Body> {
    Request::get(format!("http://pabal{path}"))
        .header("authorization", format!("Bearer {}", person.token))
        .body(Empty::new().boxed())
        .unwrap()
}

/// The heads of the responses to `count` requests at once. The bodies are not read.
async fn at_once(
    client: &SendRequest<Body>,
    count: usize,
    request: impl Fn() -> Request<Body>,
) -> Vec<Response<Incoming>> {
    let sent = (0..count).map(|_| {
        let (mut client, request) = (client.clone(), request());
        async move { client.send_request(request).await.unwrap() }
    });
    timeout(SOON, join_all(sent)).await.unwrap()
}

/// A value of the metrics page.
async fn metric(node: &Node, name: &str) -> u64 {
    let page = node.get("/metrics").await.text;
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}: {page}")).trim().parse().unwrap()
}

const ANSWERS: &str = "pabal_budget_bytes{kind=\"answers\"}";
const BODIES: &str = "pabal_budget_bytes{kind=\"bodies\"}";

async fn until_zero(node: &Node, name: &str) {
    let waited = async {
        while metric(node, name).await > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, waited).await.unwrap();
}

/// Asserts that some requests were served, and that the others were refused with the time for a retry.
async fn served_up_to_the_limit(answers: Vec<Response<Incoming>>, largest: usize) {
    let mut served = Vec::new();
    for answer in answers {
        if answer.status() == 200 {
            served.push(answer);
            continue;
        }
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.headers()["retry-after"], "1");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["code"], "rate_limited");
        assert_eq!(problem["retry_after_ms"], 1_000);
    }
    assert!((1..=largest).contains(&served.len()), "{} of at most {largest}", served.len());
    for answer in served {
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let whole: Value = serde_json::from_slice(&body).unwrap();
        assert!(whole.is_object(), "an answer that was begun is complete");
    }
}

#[tokio::test]
async fn pages_that_a_client_does_not_take_are_bounded_and_others_are_served() {
    let node = start().await;
    let (mina, jun) = (node.sign_up("mina").await, node.sign_up("jun").await);
    let group = long_group(&mina).await;
    let path = format!("/v1/channels/{group}/messages?limit=200");
    let client = slow(&node).await;
    let answers = at_once(&client, 40, || get(&mina, &path)).await;
    let held = metric(&node, ANSWERS).await as usize;
    assert!(held <= LIMIT && held > 400_000, "{held} bytes");
    let other = long_group(&jun).await;
    jun.get(&format!("/v1/channels/{other}/messages")).await.json(200);
    served_up_to_the_limit(answers, 5).await;
    until_zero(&node, ANSWERS).await;
    mina.get(&path).await.json(200);
    let answers = at_once(&client, 40, || get(&mina, &path)).await;
    drop((client, answers));
    until_zero(&node, ANSWERS).await;
    node.stop().await;
}

#[tokio::test]
async fn polls_that_a_client_does_not_take_are_bounded() {
    let node = start().await;
    let mina = node.sign_up("mina").await;
    let ears = mina.listen().await;
    long_group(&mina).await;
    let client = slow(&node).await;
    for mount in ["poll", "long-poll"] {
        let path = format!("/v1/sessions/{}/{mount}?after=0", ears.id);
        let answers = at_once(&client, 40, || get(&mina, &path)).await;
        assert!(metric(&node, ANSWERS).await as usize <= LIMIT);
        served_up_to_the_limit(answers, 6).await;
        until_zero(&node, ANSWERS).await;
    }
    node.stop().await;
}

#[tokio::test]
async fn event_streams_that_a_client_does_not_take_are_bounded() {
    let limit = 300_000;
    let node = Node::start_with(|config| config.limits.in_flight_user_bytes = limit).await;
    let mina = node.sign_up("mina").await;
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(mina.listen().await.id);
    }
    long_group(&mina).await;
    let client = slow(&node).await;
    let mut streams = Vec::new();
    for id in &sessions {
        let path = format!("/v1/sessions/{id}/events");
        streams.extend(at_once(&client, 1, || get(&mina, &path)).await);
    }
    assert!(streams.iter().all(|stream| stream.status() == 200));
    // What each stream holds is one message or more, and a stream beyond the limit ends.
    let held = async {
        while metric(&node, "pabal_budget_refused_total").await == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        metric(&node, ANSWERS).await as usize
    };
    let held = timeout(SOON, held).await.unwrap();
    assert!(held <= limit && held > 90_000, "{held} bytes");
    drop((client, streams));
    until_zero(&node, ANSWERS).await;
    node.stop().await;
}

#[tokio::test]
async fn pipelined_pages_are_built_one_after_the_other() {
    let node = start().await;
    let mina = node.sign_up("mina").await;
    let group = long_group(&mina).await;
    let mut line = Line::open(&node).await;
    let request = format!(
        "GET /v1/channels/{group}/messages HTTP/1.1\r\nhost: pabal\r\nauthorization: Bearer {}\r\n\r\n",
        mina.token
    );
    const REQUESTS: usize = 60;
    line.write(request.repeat(REQUESTS)).await;
    let mut largest = 0;
    for read in 0..REQUESTS {
        if read < 10 {
            let held = metric(&node, ANSWERS).await;
            largest = held.max(largest);
        }
        assert_eq!(line.read().await.unwrap().status, 200, "request {read}");
    }
    assert!(largest <= 2 * 600_000, "{largest} bytes: an answer is built, another one is written");
    until_zero(&node, ANSWERS).await;
    node.stop().await;
}

#[tokio::test]
async fn bodies_are_counted_before_they_are_read() {
    let node = start().await;
    let client = slow(&node).await;
    let (keep_open, _) = tokio::sync::broadcast::channel::<()>(1);
    let begun = || {
        let mut end = keep_open.subscribe();
        // A body that has its length and never comes.
        let body = StreamBody::new(futures::stream::once(async move {
            let _ = end.recv().await;
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"{}")))
        }));
        Request::post("http://pabal/v1/login")
            .header("content-type", "application/json")
            .header("content-length", 250_000)
            .body(body.boxed())
            .unwrap()
    };
    let sending: Vec<_> = (0..30)
        .map(|_| {
            let (mut client, request) = (client.clone(), begun());
            tokio::spawn(async move { client.send_request(request).await.map(|it| it.status()) })
        })
        .collect();
    let refused = async {
        while metric(&node, "pabal_budget_refused_total").await < 20 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, refused).await.unwrap();
    let held = metric(&node, BODIES).await as usize;
    assert!((2_000_000..=LIMIT).contains(&held), "{held} bytes");
    let mina = node.sign_up("mina").await;
    mina.get("/v1/me").await.json(200);
    for request in &sending {
        request.abort();
    }
    drop((client, keep_open));
    until_zero(&node, BODIES).await;
    node.stop().await;
}

#[tokio::test]
async fn a_session_document_and_replies_are_counted_and_released() {
    let node = start().await;
    let mina = node.sign_up("mina").await;
    let group = mina.group("Notes", &[]).await;
    let ears = mina.listen().await;
    let commands: Vec<_> = (0..256)
        .map(|number| {
            serde_json::json!({"id": number.to_string(), "type": "typing", "channel_id": group})
        })
        .collect();
    let path = format!("/v1/sessions/{}/commands", ears.id);
    let replies = mina.post(&path, serde_json::json!({"commands": commands})).await.json(200);
    assert_eq!(replies["replies"].as_array().unwrap().len(), 256);
    assert_eq!(text(&replies["replies"][255]["id"]), "255");
    until_zero(&node, BODIES).await;
    until_zero(&node, ANSWERS).await;
    node.stop().await;
}
