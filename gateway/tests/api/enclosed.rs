//! WebSockets within TLS and within a stream of HTTP/2: one case of each rule of `frames`, and the close
//! codes of the contract, as on a plain connection.

use std::time::Duration;

use pabal_gateway::config::Config;
use tokio::time::timeout;

use crate::certificate::Certificate;
use crate::frames::{COMMAND, Case, FINAL, PING, Raw, Said, cases, frame, hold, text};
use crate::line::Line;
use crate::support::{Node, Person};
use crate::{streams, tls};

const SOON: Duration = Duration::from_secs(30);

/// The first case of each rule of RFC 6455, and cases of the rules of the contract.
fn one_of_each() -> Vec<Case> {
    let mut cases = cases();
    cases.dedup_by_key(|(name, ..)| *name);
    let malformed = vec![Said::Close(Some(4400))];
    cases.push(("JSON cut short", text(b"{"), malformed.clone()));
    cases.push(("a document too many", text(b"{} {}"), malformed.clone()));
    cases.push(("nested deeply", text(&[b'['; 100_000]), malformed.clone()));
    cases.push(("an ack ahead of what was sent", text(br#"{"ack":"7"}"#), malformed));
    cases
}

/// A client that sends frames too fast is closed with 4429, whether they are commands or pings.
async fn too_fast(open: impl AsyncFn(&str) -> Raw) {
    for (name, frames) in [("bob", text(COMMAND.as_bytes())), ("cho", frame(FINAL | PING, b"?"))] {
        let mut raw = open(name).await;
        raw.write(&frames.repeat(50)).await;
        let closed = async {
            loop {
                match raw.said().await {
                    Some(Said::Reply | Said::Pong(_)) => {}
                    said => return said,
                }
            }
        };
        let said = timeout(SOON, closed).await.unwrap();
        assert_eq!(said, Some(Said::Close(Some(4429))), "{name}");
    }
}

fn many(config: &mut Config) {
    config.limits.sessions_per_user = 1_000;
}

fn few(config: &mut Config) {
    config.limits.rate_limits = true;
    config.limits.requests_per_user_per_second = 1;
}

#[tokio::test]
async fn frames_are_handled_within_tls() {
    let (certificate, trust) = Certificate::new();
    let open = async |node: &Node, person: &Person| {
        Raw::over(Line::open_tls(node, &trust).await, person).await
    };
    let sign_up = async |node: &Node, name: &str| {
        tls::sign_up(node, &mut Line::open_tls(node, &trust).await, name).await
    };
    let node = tls::start_with(&certificate, many).await;
    let ann = sign_up(&node, "ann").await;
    hold(one_of_each(), async || open(&node, &ann).await).await;
    node.stop().await;
    let node = tls::start_with(&certificate, few).await;
    too_fast(async |name| open(&node, &sign_up(&node, name).await).await).await;
    node.stop().await;
}

#[tokio::test]
async fn frames_are_handled_within_a_stream_of_http_2() {
    let node = Node::start_with(many).await;
    let ann = node.sign_up("ann").await;
    // All on one connection, which outlives every one of them.
    let client = streams::connect(&node).await;
    let open = async |person: &Person| {
        let stream = streams::upgraded(&mut client.clone(), person, "/v1/websocket").await;
        Raw::greeted(stream).await
    };
    hold(one_of_each(), async || open(&ann).await).await;
    drop(client);
    node.stop().await;
    let node = Node::start_with(few).await;
    let client = streams::connect(&node).await;
    too_fast(async |name| {
        let person = node.sign_up(name).await;
        let stream = streams::upgraded(&mut client.clone(), &person, "/v1/websocket").await;
        Raw::greeted(stream).await
    })
    .await;
    drop(client);
    node.stop().await;
}
