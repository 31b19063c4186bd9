//! Clients that do not read, or send a request too slowly: each is disconnected after a while and loses
//! nothing of its session.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::line::{Line, get, poll, upgrade};
use crate::support::{Ears, Node, Person, pluck};

const SOON: Duration = Duration::from_secs(30);
/// The connection limit of an address in these tests.
const CONNECTIONS: usize = 4;
/// About the capacity of a mailbox in messages, and more than the sockets of these clients hold.
const MESSAGES: usize = 55;

/// A connection from an address of its own, with small buffers.
async fn narrow(node: &Node) -> std::io::Result<Line> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4_096)?;
    socket2::SockRef::from(&socket).set_tcp_mss(536)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 2], 0)))?;
    Ok(Line::over(socket.connect(node.address().parse().unwrap()).await?))
}

/// Waits until the address may open all of its connections again.
async fn all_connections_released(node: &Node) {
    let back = async {
        loop {
            let mut held = Vec::new();
            while held.len() < CONNECTIONS
                && let Ok(mut line) = narrow(node).await
                && line.try_ask("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.is_some()
            {
                held.push(line);
            }
            if held.len() == CONNECTIONS {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, back).await.expect("stalled connections are closed");
}

async fn start() -> Node {
    Node::start_with(|config| {
        config.limits.rate_limits = true;
        config.limits.sends_per_second = 1_000;
        config.server.max_connections_per_address = CONNECTIONS;
        config.server.write_timeout_ms = 300;
        config.server.body_timeout_ms = 300;
        config.server.first_request_timeout_ms = 1_000;
    })
    .await
}

async fn heard(ears: &Ears, person: &Person) -> usize {
    let path = format!("/v1/sessions/{}/poll?after=0", ears.id);
    let batch = person.get(&path).await.json(200);
    pluck(&batch["events"], "type").iter().filter(|kind| **kind == "message").count()
}

#[tokio::test]
async fn a_client_that_never_reads_is_disconnected_and_loses_nothing() {
    let node = start().await;
    let (ann, bob) = (node.sign_up("ann").await, node.sign_up("bob").await);
    let channel_id = ann.direct(&bob).await;
    let ears = [bob.listen().await, bob.listen().await, bob.listen().await];
    let content = "x".repeat(16_000);
    for _ in 0..MESSAGES {
        ann.say(&channel_id, &content).await;
    }
    let history = format!("/v1/channels/{channel_id}/messages?limit=200");
    let session = |ears: &Ears, mount: &str| format!("/v1/sessions/{}/{mount}?after=0", ears.id);
    let mut held = Vec::new();
    for request in [
        upgrade(&bob, &session(&ears[0], "websocket")),
        get(&bob, &session(&ears[1], "events"), ""),
        poll(&ears[2], &bob, "poll?after=0"),
        get(&bob, &history, ""),
    ] {
        let mut line = narrow(&node).await.unwrap();
        line.write(request).await;
        held.push(line);
    }
    all_connections_released(&node).await;
    for ears in &ears {
        assert_eq!(heard(ears, &bob).await, MESSAGES);
    }
    drop(held);
    node.stop().await;
}

#[tokio::test]
async fn a_client_that_never_finishes_a_request_is_disconnected() {
    let node = start().await;
    let ann = node.sign_up("ann").await;
    let ears = ann.listen().await;
    let post = |path: &str| {
        let token = &ann.token;
        format!(
            "POST {path} HTTP/1.1\r\nhost: pabal\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: 100\r\n\r\n"
        )
    };
    let commands = format!("/v1/sessions/{}/commands", ears.id);
    let mut held = Vec::new();
    for request in ["", "GET /v1/me HT", &post("/v1/sessions"), &post(&commands)] {
        let mut line = narrow(&node).await.unwrap();
        line.write(request).await;
        held.push(line);
    }
    all_connections_released(&node).await;
    for line in &mut held[2..] {
        let answer = line.read().await.unwrap();
        assert_eq!((answer.status, answer.body["code"].as_str()), (422, Some("invalid")));
        assert_eq!(
            answer.body["errors"],
            json!([{"field": "body", "detail": "took too long to arrive"}])
        );
    }
    node.stop().await;
}

#[tokio::test]
async fn a_byte_now_and_then_does_not_extend_a_deadline() {
    let node = start().await;
    let trickle = async |request: &str| {
        let mut line = narrow(&node).await.unwrap();
        // Each byte comes well within every deadline, the whole far beyond it.
        for byte in request.as_bytes().iter().cycle() {
            if line.try_write(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let head = format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(1_000));
    let (first, second) = (trickle(&head), trickle("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    timeout(SOON, async { tokio::join!(first, second) }).await.expect("closed");
    all_connections_released(&node).await;
    node.stop().await;
}
