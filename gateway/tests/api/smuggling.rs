//! Requests whose end two readers might see in different positions (RFC 9112 section 11.2): they are
//! refused or end the connection, and the request hidden in them is never served. Each on a new connection,
//! and on one that the poll server has.

use std::time::Duration;

use tokio::time::timeout;

use crate::line::{Line, get, poll};
use crate::support::Node;

const SOON: Duration = Duration::from_secs(20);
/// What a second reader might take for a request.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: pabal\r\n\r\n";

/// Heads without their end, with a body each; the first line is added.
fn shapes() -> Vec<(&'static str, String)> {
    let hidden = HIDDEN.len();
    let chunked = format!("0\r\n\r\n{HIDDEN}");
    let all = chunked.len();
    vec![
        ("two lengths", format!("content-length: 0\r\ncontent-length: {hidden}\r\n\r\n{HIDDEN}")),
        ("two lengths in one", format!("content-length: 0, {hidden}\r\n\r\n{HIDDEN}")),
        ("a length with a sign", format!("content-length: +{hidden}\r\n\r\n{HIDDEN}")),
        ("a negative length", format!("content-length: -1\r\n\r\n{HIDDEN}")),
        ("a length in hex", format!("content-length: 0x0\r\n\r\n{HIDDEN}")),
        (
            "a length beyond 64 bits",
            format!("content-length: 18446744073709551616\r\n\r\n{HIDDEN}"),
        ),
        (
            "length, then chunked",
            format!("content-length: {all}\r\ntransfer-encoding: chunked\r\n\r\n{chunked}"),
        ),
        (
            "chunked, then length",
            format!("transfer-encoding: chunked\r\ncontent-length: {all}\r\n\r\n{chunked}"),
        ),
        (
            "an encoding that is not chunked",
            format!("transfer-encoding: xchunked\r\ncontent-length: 0\r\n\r\n{HIDDEN}"),
        ),
        ("chunked is not last", format!("transfer-encoding: chunked, x\r\n\r\n{chunked}")),
        ("a space before the colon", format!("content-length : {hidden}\r\n\r\n{HIDDEN}")),
        ("a name with a space", format!("content length: {hidden}\r\n\r\n{HIDDEN}")),
        ("a folded line", format!("x: y\r\n content-length: {hidden}\r\n\r\n{HIDDEN}")),
        ("a bare carriage return", format!("x: y\rcontent-length: {hidden}\r\n\r\n{HIDDEN}")),
        ("a null", format!("x: \0\r\ncontent-length: {hidden}\r\n\r\n{HIDDEN}")),
        ("a chunk of negative size", format!("transfer-encoding: chunked\r\n\r\n-1\r\n{HIDDEN}")),
        (
            "a chunk beyond 64 bits",
            format!("transfer-encoding: chunked\r\n\r\n10000000000000000\r\n{HIDDEN}"),
        ),
        ("a chunk without its end", format!("transfer-encoding: chunked\r\n\r\n1\r\nx{HIDDEN}")),
    ]
}

#[tokio::test]
async fn a_request_hidden_in_another_is_not_served() {
    let node = Node::start().await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    let session = format!("/v1/sessions/{}", ears.id);
    for (name, rest) in shapes() {
        for (method, path) in [
            ("GET", format!("{session}/poll")),
            ("POST", format!("{session}/commands")),
            ("POST", "/v1/sync".to_owned()),
        ] {
            let token = &ann.token;
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: pabal\r\nauthorization: Bearer {token}\r\n{rest}"
            );
            for polled in [false, true] {
                let shown = format!("{name}, {method} {path}, after a poll: {polled}");
                let mut line = Line::open(&node).await;
                if polled {
                    assert_eq!(line.ask(poll(&ears, &ann, "poll")).await.status, 200);
                }
                line.write(&request).await;
                // An unambiguous last request ends the wait if the server expects more bytes.
                line.write(get(&ann, "/v1/me", "connection: close\r\n")).await;
                let mut answers = Vec::new();
                let reading = async {
                    while let Some(answer) = line.try_read().await.ok().flatten() {
                        answers.push(answer);
                    }
                };
                timeout(SOON, reading).await.unwrap_or_else(|_| panic!("{shown}: still open"));
                assert!(answers.len() <= 1, "{shown}: {answers:?}");
                for answer in &answers {
                    assert_ne!(answer.status, 404, "{shown}: the hidden request was served");
                }
            }
        }
    }
    // A body in which the same bytes are data is read, and the connection stays open.
    let mut line = Line::open(&node).await;
    for more in [
        format!("content-length: {}\r\n\r\n{HIDDEN}", HIDDEN.len()),
        format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len()),
    ] {
        let head = get(&ann, &format!("{session}/poll"), "");
        let request = head.strip_suffix("\r\n").unwrap().to_owned() + &more;
        assert_eq!(line.ask(request).await.status, 200);
        assert_eq!(line.ask(poll(&ears, &ann, "poll")).await.status, 200);
    }
    node.stop().await;
}
