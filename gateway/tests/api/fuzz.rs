//! Fuzz target of WebSocket input: frames of a client, mutated, through a real connection into the engine,
//! while another client listens.

mod readers;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use futures::{SinkExt, StreamExt};
use pabal_contract::fuzz::{mutated, run_for_budget};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::frames::{
    BINARY, CLOSE, CONTINUATION, FINAL, PING, PONG, Raw, TEXT, close, fragments, frame, text,
};
use crate::line::{Line, upgrade};
use crate::support::{Node, Person};

const SOON: Duration = Duration::from_secs(30);
/// How long a client waits for a reply that may never come. Too short a time can only hide a fault.
const A_WHILE: Duration = Duration::from_millis(100);
/// The last command of a client: its reply means that everything before was read.
const LAST: &str = r#"{"id":"the last one","type":"fly"}"#;

/// Headers, masks and JSON, in positions where they may not belong.
const TOKENS: &[&[u8]] = &[
    &[FINAL | TEXT, 0x80, 0, 0, 0, 0],
    &[FINAL | TEXT, 0x81, 0, 0, 0, 0, b'7'],
    &[TEXT, 0x80, 0, 0, 0, 0],
    &[FINAL | CONTINUATION, 0x80, 0, 0, 0, 0],
    &[FINAL | BINARY, 0x80, 0, 0, 0, 0],
    &[FINAL | PING, 0x80, 0, 0, 0, 0],
    &[FINAL | PONG, 0x80, 0, 0, 0, 0],
    &[FINAL | CLOSE, 0x82, 0, 0, 0, 0, 3, 232],
    &[FINAL | CLOSE, 0x80, 0, 0, 0, 0],
    &[FINAL | 0x40 | TEXT, 0x80, 0, 0, 0, 0],
    &[FINAL | TEXT, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[FINAL | TEXT, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[FINAL | TEXT, 0xff, 0, 0, 0, 0, 0, 4, 0, 0],
    &[FINAL | TEXT, 0xfe, 0xff, 0xff],
    &[FINAL | TEXT, 0x7d],
    b"\xff\xff",
    b"\x00",
    b"{",
    b"\"",
    b"[[[[[[[[",
    b"GET / HTTP/1.1\r\n\r\n",
];

/// Texts as clients send them; `CHANNEL` stands for the channel of both clients.
fn texts() -> impl Strategy<Value = String> {
    let send = |channel: &'static str| {
        ("\\PC{0,40}", prop::option::of("[a-z]{1,3}")).prop_map(move |(content, name)| {
            let mut send = json!({"id": "s", "type": "send", "channel_id": channel});
            send["content"] = content.into();
            if let Some(name) = name {
                send["client_message_id"] = name.into();
            }
            send.to_string()
        })
    };
    let fixed = [
        r#"{"ack":"0"}"#,
        r#"{"ack":"1"}"#,
        r#"{"ack":"9223372036854775807"}"#,
        r#"{"ack":-1}"#,
        r#"{"channels":{}}"#,
        r#"{"channels":{"CHANNEL":"0"}}"#,
        r#"{"channels":{"CHANNEL":"9223372036854775807","1":"0"}}"#,
        r#"{"channels":[]}"#,
        r#"{"id":"t","type":"typing","channel_id":"CHANNEL"}"#,
        r#"{"id":"r","type":"read","channel_id":"CHANNEL","message_id":"1"}"#,
        r#"{"id":"r","type":"read","channel_id":"1","message_id":"x"}"#,
        r#"{"type":"dance"}"#,
        r#"[{"id":"a","type":"typing","channel_id":"CHANNEL"},{"id":7}]"#,
        "[]",
        "{}",
        "",
        "\u{feff}{}",
        "null",
    ];
    let fixed = fixed.map(str::to_owned).to_vec();
    prop_oneof![
        5 => send("CHANNEL"),
        1 => send("1"),
        5 => select(fixed),
        1 => (1..3_000_usize).prop_map(|depth| "[".repeat(depth)),
        1 => (1..300_usize).prop_map(|count| {
            let typing = r#"{"type":"typing","channel_id":"CHANNEL"}"#;
            format!("[{}]", vec![typing; count].join(","))
        }),
    ]
}

/// What is written at once. Frames are built when the channel is known.
#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Fragments(String, usize),
    Control(u8, Vec<u8>),
    Binary(Vec<u8>),
    Close(u16),
}

impl Piece {
    fn frames(&self, channel_id: &str) -> Vec<u8> {
        let within = |text: &String| text.replace("CHANNEL", channel_id).into_bytes();
        match self {
            Self::Text(it) => text(&within(it)),
            Self::Fragments(it, size) => {
                let between = frame(FINAL | PING, b"between");
                fragments(&within(it), *size, &between)
            }
            Self::Control(opcode, payload) => frame(FINAL | opcode, payload),
            Self::Binary(payload) => frame(FINAL | BINARY, payload),
            Self::Close(code) => close(*code, b"bye"),
        }
    }
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let piece = prop_oneof![
        12 => texts().prop_map(Piece::Text),
        3 => (texts(), 1..50_usize).prop_map(|(text, size)| Piece::Fragments(text, size)),
        2 => (select(&[PING, PONG][..]), vec(any::<u8>(), 0..126))
            .prop_map(|(opcode, payload)| Piece::Control(opcode, payload)),
        1 => vec(any::<u8>(), 0..20).prop_map(Piece::Binary),
        1 => any::<u16>().prop_map(Piece::Close),
    ];
    vec(piece, 1..8)
}

/// A client in the same channel, which records the messages that it receives.
struct Witness {
    heard: watch::Receiver<BTreeSet<u64>>,
}

impl Witness {
    async fn listen(node: &Node, person: &Person) -> Self {
        let mut line = Line::open(node).await;
        assert_eq!(line.ask(upgrade(person, "/v1/websocket")).await.status, 101);
        let mut socket = line.into_socket().await;
        let (tell, heard) = watch::channel(BTreeSet::new());
        // Ends with its socket, which the end of the node ends.
        tokio::spawn(async move {
            let mut seq = 0;
            while let Some(Ok(frame)) = socket.next().await {
                let Message::Text(text) = frame else {
                    continue;
                };
                let batch: Value = serde_json::from_str(&text).unwrap();
                let Some(events) = batch["events"].as_array() else {
                    continue;
                };
                seq += events.len();
                assert_eq!(batch["next"], seq.to_string(), "no event is missing");
                for event in events {
                    assert_ne!(event["type"], "resync");
                    if let Some(id) = event["message"]["message_id"].as_str() {
                        let id = id.parse().unwrap();
                        tell.send_modify(|heard: &mut BTreeSet<u64>| {
                            assert!(heard.last() < Some(&id), "in order, once");
                            heard.insert(id);
                        });
                    }
                }
                socket
                    .send(Message::text(json!({"ack": batch["next"]}).to_string()))
                    .await
                    .unwrap();
            }
        });
        Self { heard }
    }

    /// Waits until all of these were received.
    async fn hears(&self, acknowledged: &BTreeSet<u64>) {
        let mut heard = self.heard.clone();
        let heard = heard.wait_for(|heard| heard.is_superset(acknowledged));
        timeout(SOON, heard).await.expect("every acknowledged message is delivered").unwrap();
    }
}

/// Writes `bytes` on a new socket and reads to the end. Whatever the bytes were, the server sends frames of
/// the contract until it closes with a code of the contract, or the client closes. Returns the messages
/// that the server acknowledged.
async fn meets(raw: Raw, bytes: &[u8], chunk: usize) -> Result<BTreeSet<u64>, TestCaseError> {
    let (read, mut write) = tokio::io::split(raw.stream);
    let over = Notify::new();
    let writing = async {
        // The server may close before the end.
        for chunk in bytes.chunks(chunk) {
            if write.write_all(chunk).await.is_err() {
                break;
            }
        }
        let _ = write.write_all(&text(LAST.as_bytes())).await;
        // Where the bytes end within a frame, the server waits for the rest.
        let _ = timeout(A_WHILE, over.notified()).await;
        let _ = write.shutdown().await;
    };
    let mut incoming = Raw { stream: Box::new(tokio::io::join(read, tokio::io::sink())) };
    let reading = async {
        let mut acknowledged = BTreeSet::new();
        while let Some((first, payload)) = incoming.read().await {
            match (first & FINAL != 0, first & 0x7f) {
                (true, TEXT) => {
                    let said: Value = serde_json::from_slice(&payload).expect("JSON");
                    acknowledged.extend(of_the_contract(&said)?);
                    if said["reply"]["id"] == "the last one" {
                        over.notify_one();
                    }
                }
                (true, PONG | PING) => prop_assert!(payload.len() <= 125),
                (true, CLOSE) => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    // Ours, or the client's own that comes back (RFC 6455 section 7.4).
                    let known = |code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                    prop_assert!(code.is_none_or(known), "closed with {code:?}");
                    over.notify_one();
                }
                _ => prop_assert!(false, "a frame that begins with {first:02x}"),
            }
        }
        Ok(acknowledged)
    };
    let both = async { tokio::join!(writing, reading).1 };
    timeout(SOON, both).await.expect("the connection ends")
}

/// Checks that the server may send this document. Returns the message that it acknowledges, if any.
fn of_the_contract(said: &Value) -> Result<Option<u64>, TestCaseError> {
    let reply = &said["reply"];
    let problem = if said["error"].is_null() { &reply["error"] } else { &said["error"] };
    if !problem.is_null() {
        prop_assert!(problem["code"].is_string(), "{problem}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        prop_assert!((1..500).contains(&detail.len()), "{problem}");
    }
    let known = ["events", "reply", "error"].iter().any(|it| !said[it].is_null());
    prop_assert!(known, "{said}");
    Ok(reply["message_id"].as_str().map(|id| id.parse().expect("an id")))
}

/// Whatever a client writes, the server says what is wrong, stays alive, and serves other clients.
#[test]
fn websocket() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (node, ann, channel_id, witness) = runtime.block_on(async {
        let node = Node::start_with(|config| {
            // Each client leaves a session open, and the witness may lag.
            config.limits.sessions_per_user = 100_000;
            config.limits.resume_window_ms = 1_000;
            config.limits.mailbox_events = 1_000_000;
            config.limits.mailbox_bytes = 256 << 20;
        })
        .await;
        let (ann, bob) = (node.sign_up("ann").await, node.sign_up("bob").await);
        let channel_id = ann.direct(&bob).await;
        let witness = Witness::listen(&node, &bob).await;
        (node, ann, channel_id, witness)
    });
    // The channel is written in before anything is mutated.
    let frames = pieces().prop_map(move |pieces| {
        pieces.iter().flat_map(|piece| piece.frames(&channel_id)).collect::<Vec<u8>>()
    });
    let chunk = prop_oneof![2 => Just(usize::MAX), 1 => 1..40_usize];
    let sent = Cell::new(0);
    // Several at once, beside each other.
    let clients = vec((mutated(frames, TOKENS), chunk), 1..9);
    run_for_budget(file!(), clients, |clients| {
        runtime.block_on(async {
            let met = clients.iter().map(async |(bytes, chunk)| {
                meets(Raw::open(&node, &ann).await, bytes, *chunk).await
            });
            for acknowledged in join_all(met).await {
                let acknowledged = acknowledged?;
                sent.set(sent.get() + acknowledged.len());
                witness.hears(&acknowledged).await;
            }
            prop_assert_eq!(node.get("/healthz").await.status, 200);
            Ok(())
        })
    });
    assert_ne!(sent.get(), 0, "now and then a send was right");
    runtime.block_on(node.stop());
}
