//! Rate limits: a client beyond its limit gets 429 with a time to wait, and other clients are not affected.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::line::{Answer, Line, get, poll, post, upgrade};
use crate::support::{Ears, Node, Person};

const SOON: Duration = Duration::from_secs(20);

/// Limits in requests a second, with a burst of ten times that.
async fn start(per_address: u32, per_user: u32) -> Node {
    Node::start_with(|config| {
        config.limits.rate_limits = true;
        config.limits.requests_per_address_per_second = per_address;
        config.limits.requests_per_user_per_second = per_user;
    })
    .await
}

/// A request of a user on every path.
fn ways(person: &Person, ears: &Ears) -> Vec<(&'static str, String)> {
    let session = format!("/v1/sessions/{}", ears.id);
    vec![
        ("poll", poll(ears, person, "poll")),
        ("long poll", poll(ears, person, "long-poll?wait_ms=1")),
        ("poll by hyper", get(person, &format!("{session}/poll"), "content-length: 0\r\n")),
        ("stream", get(person, &format!("{session}/events?after=99"), "")),
        ("handshake", upgrade(person, &format!("{session}/websocket?after=99"))),
        ("one-step handshake", upgrade(person, "/v1/websocket").replace("13\r\n", "12\r\n")),
        ("commands", post(person, &format!("{session}/commands"), &json!({"commands": []}))),
        ("session", post(person, "/v1/sessions", &json!({"channels": 7}))),
        ("API", get(person, "/v1/me", "")),
    ]
}

async fn refused(line: &mut Line, name: &str, request: &str) {
    for _ in 0..1_000 {
        let answer: Answer = line.ask(request).await;
        if answer.status == 429 {
            assert_eq!(answer.body["code"], "rate_limited", "{name}");
            let wait = answer.body["retry_after_ms"].as_u64().unwrap();
            assert!((1..=1_000).contains(&wait), "{name}: {wait}");
            assert_eq!(answer.header("retry-after"), "1", "{name}");
            return;
        }
    }
    panic!("{name}: the limit is never reached");
}

#[tokio::test]
async fn the_rate_limit_of_a_user_holds_on_every_path() {
    let node = start(1_000_000, 1).await;
    let (ann, bob) = (node.sign_up("ann").await, node.sign_up("bob").await);
    let (anns, bobs) = (ann.listen().await, bob.listen().await);
    let mut line = Line::open(&node).await;
    for (name, request) in ways(&ann, &anns) {
        refused(&mut line, name, &request).await;
    }
    assert_eq!(line.ask(poll(&bobs, &bob, "poll")).await.status, 200);
    node.stop().await;
}

#[tokio::test]
async fn the_rate_limit_of_an_address_holds_on_every_path() {
    let node = start(1, 1_000_000).await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    let mut line = Line::open(&node).await;
    for (name, request) in ways(&ann, &ears) {
        refused(&mut line, name, &request).await;
    }
    refused(&mut line, "nothing", "GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").await;
    node.stop().await;
}

#[tokio::test]
async fn a_websocket_that_is_too_fast_is_closed_with_4429() {
    let node = start(1_000_000, 1).await;
    for (name, frame) in [
        ("ann", Message::text(r#"{"ack":"0"}"#)),
        ("bob", Message::Ping(Bytes::from_static(b"?"))),
        ("cho", Message::Pong(Bytes::new())),
    ] {
        let person = node.sign_up(name).await;
        let mut line = Line::open(&node).await;
        assert_eq!(line.ask(upgrade(&person, "/v1/websocket")).await.status, 101);
        let (mut write, mut read) = line.into_socket().await.split();
        let mut texts = Vec::new();
        let reading = async {
            while let Some(Ok(frame)) = read.next().await {
                match frame {
                    Message::Text(text) => {
                        texts.push(serde_json::from_str::<Value>(&text).unwrap());
                    }
                    Message::Close(close) => return close.unwrap(),
                    _ => {}
                }
            }
            panic!("{name}: no close");
        };
        let writing = async {
            while write.send(frame.clone()).await.is_ok() {}
            std::future::pending::<()>().await;
        };
        let close = tokio::select! {
            close = timeout(SOON, reading) => close.unwrap(),
            () = writing => unreachable!(),
        };
        assert_eq!(u16::from(close.code), 4429, "{name}");
        let error = &texts.last().unwrap()["error"];
        assert_eq!(error["code"], "rate_limited", "{name}: {texts:?}");
        assert!(error["retry_after_ms"].as_u64().unwrap() > 0);
    }
    node.stop().await;
}

#[tokio::test]
async fn rate_limits_can_be_switched_off_for_load_tests() {
    let node = Node::start_with(|config| {
        config.limits.requests_per_address_per_second = 1;
        config.limits.requests_per_user_per_second = 1;
    })
    .await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    let mut line = Line::open(&node).await;
    for _ in 0..100 {
        assert_eq!(line.ask(poll(&ears, &ann, "poll")).await.status, 200);
        assert_eq!(line.ask(get(&ann, "/v1/me", "")).await.status, 200);
    }
    node.stop().await;
}
