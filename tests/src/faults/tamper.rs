//! A proxy that lies to one client, so that it can be seen that the judge finds it out. It knows just
//! enough HTTP for clients that poll: answers with `content-length` and a JSON body.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::address::Address;

/// What it does to some of what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A message never arrives.
    Lose,
    /// A message arrives twice.
    Repeat,
    /// A message arrives behind the next one.
    Reorder,
    /// A send is acknowledged that is not in history.
    Forget,
    /// A send is acknowledged under an id below one that was acknowledged before.
    Late,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Lose, Self::Repeat, Self::Reorder, Self::Forget, Self::Late];

    /// What the judge calls it.
    pub fn is_called(self) -> &'static str {
        match self {
            Self::Lose => "Lost",
            Self::Repeat => "Repeated",
            Self::Reorder => "Reordered",
            Self::Forget => "Acknowledged",
            Self::Late => "LateSmallerId",
        }
    }
}

impl FromStr for Lie {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |lie: &Self| format!("{lie:?}").to_lowercase() == text;
        let all = Self::ALL.map(|lie| format!("{lie:?}").to_lowercase()).join(", ");
        Self::ALL.into_iter().find(named).ok_or(format!("{text:?} is none of {all}"))
    }
}

/// A lie is told at every so manieth message.
const EVERY: u64 = 5;

/// The proxy. Ends with its connections when dropped.
#[derive(Debug)]
pub(super) struct Liar {
    address: Address,
    accepting: JoinHandle<()>,
}

/// What it has seen.
#[derive(Debug)]
struct Memory {
    lie: Lie,
    messages: u64,
    acknowledged: u64,
    /// A message that was held back, or told before.
    message: Option<Value>,
    first_id: Option<Value>,
}

impl Liar {
    pub(super) async fn before(server: &Address, lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = Address::new(listener.local_addr().expect("a bound port"));
        let (messages, acknowledged) = (0, 0);
        let memory = Memory { lie, messages, acknowledged, message: None, first_id: None };
        let (server, memory) = (server.clone(), Arc::new(Mutex::new(memory)));
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(client, server.clone(), Arc::clone(&memory)));
            }
        });
        Self { address, accepting }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn relay(client: TcpStream, server: Address, memory: Arc<Mutex<Memory>>) {
    let Ok(server) = TcpStream::connect(server.get()).await else {
        return;
    };
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => {}
        () = answers(from_server, to_client, &memory) => {}
    }
}

/// Passes answers on; unchanged from where one has no length, as streams have none.
async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, memory: &Mutex<Memory>) {
    let mut buffer = Vec::new();
    loop {
        if is_stream(&buffer) {
            let _ = to.write_all(&buffer).await;
            let _ = copy(&mut from, &mut to).await;
            return;
        }
        while let Some((head, body, rest)) = split(&buffer) {
            let head: String = head.to_owned();
            let body = told(body, memory);
            let rest = rest.to_vec();
            let kept = head.split("\r\n").filter(|line| !is_length(line) && !line.is_empty());
            let head: String = kept.map(|line| format!("{line}\r\n")).collect();
            let head = format!("{head}content-length: {}\r\n\r\n", body.len());
            if to.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
                return;
            }
            buffer = rest;
        }
        if !matches!(from.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

fn is_length(line: &str) -> bool {
    line.to_lowercase().starts_with("content-length:")
}

/// Whether the head of an answer is there that does not say how long it is.
fn is_stream(buffer: &[u8]) -> bool {
    let end = buffer.windows(4).position(|it| it == b"\r\n\r\n");
    let head = end.and_then(|end| std::str::from_utf8(&buffer[..end]).ok());
    head.is_some_and(|head| !head.split("\r\n").any(is_length))
}

/// The first whole answer: its head, its body, and what is behind it.
fn split(buffer: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let end = buffer.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&buffer[..end]).ok()?;
    let length = head.split("\r\n").find(|line| is_length(line));
    let length = length.and_then(|line| line.split(':').nth(1)?.trim().parse().ok()).unwrap_or(0);
    let rest = &buffer[end + 4..];
    (rest.len() >= length).then(|| (head, &rest[..length], &rest[length..]))
}

/// What is told instead of this body.
fn told(body: &[u8], memory: &Mutex<Memory>) -> Vec<u8> {
    let Ok(mut document) = serde_json::from_slice::<Value>(body) else {
        return body.to_vec();
    };
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(events) = document.get_mut("events").and_then(Value::as_array_mut) {
        let messages = events.iter_mut().filter(|event| event["type"] == "message");
        messages.for_each(|event| memory.message(event));
    } else if document["message"]["message_id"].is_string() {
        memory.acknowledgement(&mut document["message"]["message_id"]);
    } else if document["replies"][0]["message_id"].is_string() {
        memory.acknowledgement(&mut document["replies"][0]["message_id"]);
    } else {
        return body.to_vec();
    }
    document.to_string().into_bytes()
}

impl Memory {
    fn message(&mut self, event: &mut Value) {
        // Something else stands in its place, or the positions would tell.
        let nothing = json!({"type": "typing"});
        self.messages += 1;
        match (self.lie, self.messages % EVERY) {
            (Lie::Lose, 0) => *event = nothing,
            (Lie::Repeat, 0) => self.message = Some(event.clone()),
            (Lie::Repeat, 1) => {
                if let Some(before) = self.message.take() {
                    *event = before;
                }
            }
            (Lie::Reorder, 0) => self.message = Some(std::mem::replace(event, nothing)),
            (Lie::Reorder, 1..) => {
                // Behind one of the same channel.
                let held = self.message.take_if(|held| {
                    let channel = |it: &Value| it["message"]["channel_id"].clone();
                    channel(held) == channel(event) && held.get("passed").is_some()
                });
                if let Some(held) = held {
                    *event = held;
                } else if let Some(held) = &mut self.message
                    && held["message"]["channel_id"] == event["message"]["channel_id"]
                {
                    held["passed"] = json!(true);
                }
            }
            _ => {}
        }
    }

    fn acknowledgement(&mut self, id: &mut Value) {
        self.acknowledged += 1;
        let first = self.first_id.get_or_insert_with(|| id.clone()).clone();
        match (self.lie, self.acknowledged % EVERY) {
            (Lie::Forget, 0) => {
                let number = id.as_str().and_then(|text| text.parse::<u64>().ok());
                *id = json!((number.unwrap_or_default() + 1).to_string());
            }
            (Lie::Late, 0) => *id = first,
            _ => {}
        }
    }
}
