//! The `Host` header (RFC 9112 section 3.2): HTTP/1.1 needs one, no version may have two, and its value
//! is a host with an optional port. Every other request is 400, on every path and from both readers.

use http::Request;
use http_body_util::Empty;
use serde_json::json;

use crate::line::{Answer, Line, get, poll, post, upgrade};
use crate::streams;
use crate::support::{Ears, Node, Person};

/// A request of each kind, with `host: pabal`.
fn requests(person: &Person, ears: &Ears) -> Vec<(&'static str, String)> {
    let session = format!("/v1/sessions/{}", ears.id);
    let poll_path = format!("{session}/poll");
    vec![
        ("poll", poll(ears, person, "poll")),
        ("long poll", poll(ears, person, "long-poll?wait_ms=1")),
        ("poll by hyper", get(person, &poll_path, "content-length: 0\r\n")),
        ("event stream", poll(ears, person, "events?after=99")),
        ("handshake", upgrade(person, &format!("{session}/websocket?after=99"))),
        ("commands", post(person, &format!("{session}/commands"), &json!({"commands": []}))),
        ("API", get(person, "/v1/me", "")),
        ("health", get(person, "/healthz", "")),
        ("no such path", get(person, "/nothing", "")),
        ("preflight", {
            let origin = "origin: https://x.example\r\naccess-control-request-method: GET\r\n";
            get(person, &poll_path, origin).replacen("GET", "OPTIONS", 1)
        }),
    ]
}

/// What may be wrong with the header lines of a request.
const WRONG: [(&str, &str); 12] = [
    ("the same host twice", "host: pabal\r\nhost: pabal\r\n"),
    ("two hosts", "host: pabal\r\nHost: other\r\n"),
    ("an empty host and another", "host:\r\nhost: pabal\r\n"),
    ("a space", "host: pa bal\r\n"),
    ("a path", "host: pabal/v1\r\n"),
    ("user information", "host: ann@pabal\r\n"),
    ("a port that is no number", "host: pabal:http\r\n"),
    ("two ports", "host: pabal:80:80\r\n"),
    ("an address without its bracket", "host: [::1\r\n"),
    ("a bracket around a name", "host: [pabal]\r\n"),
    ("a broken percent encoding", "host: pabal%2\r\n"),
    ("a query", "host: pabal?x\r\n"),
];

#[track_caller]
fn is_refused(answer: &Answer, shown: &str) {
    assert_eq!((answer.status, &answer.body["code"]), (400, &json!("invalid")), "{shown}");
    assert_eq!(answer.body["status"], 400, "{shown}");
    assert_eq!(answer.body["errors"][0]["field"], "host", "{shown}");
    assert_eq!(answer.header("content-type"), "application/problem+json", "{shown}");
    assert_eq!(answer.header("connection"), "close", "{shown}");
}

#[tokio::test]
async fn a_request_without_exactly_one_valid_host_is_refused_on_every_path() {
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    for (path, request) in requests(&ann, &ears) {
        let missing = [("no host", "")];
        for (name, lines) in WRONG.into_iter().chain(missing) {
            for polled in [false, true] {
                let mut line = Line::open(&node).await;
                if polled {
                    assert_eq!(line.ask(poll(&ears, &ann, "poll")).await.status, 200);
                }
                let answer = line.ask(request.replacen("host: pabal\r\n", lines, 1)).await;
                is_refused(&answer, &format!("{path}, {name}, after a poll: {polled}"));
                assert!(line.read().await.is_none(), "{path}, {name}: the connection ends");
            }
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn every_form_of_a_valid_host_is_served() {
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    let mut line = Line::open(&node).await;
    for host in [
        "pabal:",
        "pabal:8080",
        "127.0.0.1:8080",
        "chat.example.org.",
        "a_b~c!$&'()*+,;=",
        "%EB%B0%94",
        "[::1]",
        "[2001:db8::1]:443",
        "[v1.x:y]:1",
        "",
    ] {
        for request in [poll(&ears, &ann, "poll"), get(&ann, "/v1/me", "")] {
            let request = request.replacen("host: pabal", &format!("host: {host}"), 1);
            assert_eq!(line.ask(&request).await.status, 200, "{request}");
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn http_1_0_needs_no_host_and_may_not_have_two() {
    let node = Node::start().await;
    let request = |lines: &str| format!("GET /healthz HTTP/1.0\r\n{lines}\r\n");
    for lines in ["", "host: pabal\r\n"] {
        let answer = Line::open(&node).await.ask(request(lines)).await;
        assert_eq!(answer.status, 200, "{lines}");
    }
    for (name, lines) in WRONG {
        is_refused(&Line::open(&node).await.ask(request(lines)).await, name);
    }
    node.stop().await;
}

#[tokio::test]
async fn http_2_names_the_host_in_its_authority_and_may_not_have_two() {
    let node = Node::start().await;
    let mut client = streams::connect(&node).await;
    for (hosts, status) in [
        (&[][..], 200),
        (&["pabal"], 200),
        (&["pabal", "pabal"], 400),
        (&["pabal", "other"], 400),
        (&["pa bal"], 400),
        (&["ann@pabal"], 400),
    ] {
        let mut request = Request::get("http://pabal/healthz");
        for host in hosts {
            request = request.header("host", *host);
        }
        let answer = client.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "{hosts:?}");
    }
    drop(client);
    node.stop().await;
}
