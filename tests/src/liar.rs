//! A proxy that lies: it stands before a server, speaks HTTP/1.1, and loses, repeats or swaps one message
//! in so many on every transport, so that it can be seen that tests and load tools find it out. Positions
//! (`next`, `id:`) stay what the server said: only what the batch holds is not true.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use futures::stream::unfold;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::tungstenite;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{Frame as Framed, FrameHeader};

use crate::address::Address;

/// What it does to some of what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A message never arrives.
    Lose,
    /// A message arrives twice.
    Repeat,
    /// A message arrives behind the next one of its channel.
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

/// As much of a batch is looked into; what is longer passes as it is.
const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// For so many readers a message is kept aside at a time; others are told the truth.
const ASIDE: usize = 65_536;

/// The proxy. Ends with its connections when dropped.
#[derive(Debug)]
pub struct Liar {
    address: Address,
    tale: Arc<Tale>,
    accepting: JoinHandle<()>,
}

impl Liar {
    /// A proxy on a free port, which lies at every so manieth message (or acknowledgement).
    ///
    /// # Panics
    /// If there is no free port, or `every` is 0.
    pub async fn before(server: &Address, lie: Lie, every: u64) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::on(any, server, lie, every).await.expect("a free port")
    }

    /// The same at an address.
    ///
    /// # Errors
    /// If somebody else has it.
    ///
    /// # Panics
    /// If `every` is 0.
    pub async fn on(
        at: SocketAddr,
        server: &Address,
        lie: Lie,
        every: u64,
    ) -> std::io::Result<Self> {
        assert!(every > 0, "a lie at every 0th message");
        let listener = TcpListener::bind(at).await?;
        let address = Address::new(listener.local_addr()?);
        let tale = Arc::new(Tale { lie, every, memory: Mutex::default() });
        let way = Way { server: server.clone(), here: address.clone(), tale: Arc::clone(&tale) };
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0u64.. {
                // Those that have ended are not kept.
                while connections.try_join_next().is_some() {}
                let Ok((client, _)) = listener.accept().await else {
                    return;
                };
                connections.spawn(way.clone().relay(client, number));
            }
        });
        Ok(Self { address, tale, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How many lies it has told.
    pub fn lies(&self) -> u64 {
        self.tale.memory().lies
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// From where to where, and what is told on it.
#[derive(Clone, Debug)]
struct Way {
    server: Address,
    here: Address,
    tale: Arc<Tale>,
}

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// The state of a connection that may become a WebSocket.
#[derive(Debug, Default)]
struct Upgrade {
    is_asked_for: AtomicBool,
    /// What was agreed upon: who reads, its client, its server.
    agreed: Mutex<Option<(String, OnUpgrade, OnUpgrade)>>,
}

impl Way {
    /// A connection of the client is one to the server.
    async fn relay(self, client: TcpStream, number: u64) {
        let Ok(server) = TcpStream::connect(self.server.get()).await else {
            return;
        };
        if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
            return;
        }
        let Ok((send, upstream)) =
            hyper::client::conn::http1::handshake(TokioIo::new(server)).await
        else {
            return;
        };
        let (send, upgrade) = (tokio::sync::Mutex::new(send), Upgrade::default());
        let service = service_fn(|request| self.answer(request, &send, &upgrade, number));
        let downstream = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(client), service)
            .with_upgrades();
        let mut downstream = std::pin::pin!(downstream);
        // Either end may break the connection whenever it likes.
        tokio::select! {
            _ = &mut downstream => {}
            _ = upstream.with_upgrades() => {
                // What HTTP has of the connection ends then as well.
                if !upgrade.is_asked_for.load(Ordering::Relaxed) {
                    downstream.as_mut().graceful_shutdown();
                }
                let _ = downstream.await;
            }
        }
        let agreed = lock(&upgrade.agreed).take();
        if let Some((reader, client, server)) = agreed
            && let (Ok(client), Ok(server)) = tokio::join!(client, server)
        {
            let (mut from_client, to_client) = split(TokioIo::new(client));
            let (from_server, mut to_server) = split(TokioIo::new(server));
            tokio::select! {
                _ = copy(&mut from_client, &mut to_server) => {}
                _ = self.frames(from_server, to_client, &reader) => {}
            }
        }
    }

    /// The answer that the server gives, or what is told instead.
    async fn answer(
        &self,
        mut request: Request<Incoming>,
        send: &tokio::sync::Mutex<SendRequest<Incoming>>,
        upgrade: &Upgrade,
        number: u64,
    ) -> hyper::Result<Response<Body>> {
        // Two devices of a user have sessions of their own; a socket may be opened before its session.
        let session = request.uri().path().strip_prefix("/v1/sessions/");
        let session = session.and_then(|path| path.split('/').next());
        let reader = session.map_or_else(|| format!("connection {number}"), str::to_owned);
        let client = hyper::upgrade::on(&mut request);
        let is_asked_for = request.headers().contains_key(UPGRADE);
        upgrade.is_asked_for.store(is_asked_for, Ordering::Relaxed);
        let mut answer = send.lock().await.send_request(request).await?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            *lock(&upgrade.agreed) = Some((reader, client, hyper::upgrade::on(&mut answer)));
            return Ok(answer.map(|body| body.boxed_unsync()));
        }
        let (mut head, body) = answer.into_parts();
        let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        match kind.unwrap_or_default() {
            "text/event-stream" => {
                Ok(Response::from_parts(head, self.clone().blocks(body, reader)))
            }
            kind if kind.starts_with("application/") && kind.contains("json") => {
                let mut body = body.collect().await?.to_bytes();
                if let Some(Told { text, .. }) = self.told(&reader, &body) {
                    body = text.into();
                }
                // Of a HEAD, or without a body, it stays what it is.
                if !body.is_empty() {
                    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
                }
                let body = Full::new(body).map_err(|never: Infallible| match never {});
                Ok(Response::from_parts(head, body.boxed_unsync()))
            }
            _ => Ok(Response::from_parts(head, body.boxed_unsync())),
        }
    }

    /// The blocks of an event stream.
    fn blocks(self, body: Incoming, reader: String) -> Body {
        let state = (self, reader, body, BytesMut::new());
        let stream = unfold(state, async |(way, reader, mut body, mut buffer)| {
            loop {
                let end = buffer.windows(2).position(|pair| pair == b"\n\n");
                if let Some(end) = end {
                    let block = buffer.split_to(end + 2).freeze();
                    if let Some(block) = way.block(&reader, block) {
                        return Some((Ok(Frame::data(block)), (way, reader, body, buffer)));
                    }
                    continue;
                }
                match body.frame().await {
                    Some(Ok(frame)) => {
                        buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
                    }
                    Some(Err(error)) => return Some((Err(error), (way, reader, body, buffer))),
                    None => return None,
                }
            }
        });
        StreamBody::new(stream).boxed_unsync()
    }

    /// What is told instead of a block of an event stream, if anything.
    fn block(&self, reader: &str, block: Bytes) -> Option<Bytes> {
        let lines: Vec<&[u8]> = block.split(|byte| *byte == b'\n').collect();
        let at = lines.iter().position(|line| line.starts_with(b"data: "));
        let told = at.and_then(|at| Some((at, self.told(reader, &lines[at][6..])?)));
        match told {
            None => Some(block),
            Some((_, told)) if told.is_empty => None,
            Some((at, told)) => {
                let data = [b"data: ", &*told.text].concat();
                let mut lines = lines;
                lines[at] = &data;
                Some(lines.join(&b'\n').into())
            }
        }
    }

    /// Passes the frames of a server on. Batches are whole text frames; all else passes as it is.
    async fn frames(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        reader: &str,
    ) -> tungstenite::Result<()> {
        let (mut buffer, mut passed) = (BytesMut::new(), Vec::new());
        loop {
            while let Some((header, head, length)) = frame(&buffer)? {
                let is_text = header.is_final && header.opcode == OpCode::Data(Data::Text);
                let all = buffer.split_to(head + length);
                let told = if is_text { self.told(reader, &all[head..]) } else { None };
                match told {
                    None => passed.extend_from_slice(&all),
                    Some(told) if told.is_empty => {}
                    Some(told) => {
                        Framed::message(told.text, header.opcode, true).format(&mut passed)?;
                    }
                }
            }
            to.write_all(&passed).await?;
            to.flush().await?;
            passed.clear();
            if from.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
    }

    /// What is told instead of a document, if it is not told as it is.
    fn told(&self, reader: &str, text: &[u8]) -> Option<Told> {
        if text.len() > BATCH_BYTES {
            return None;
        }
        let mut document: Value = serde_json::from_slice(text).ok()?;
        let is_told = if document["events"].is_array() {
            self.tale.batch(reader, &mut document)
        } else {
            let server = self.server.get().to_string();
            let is_moved = stay(&mut document, &server, &self.here.get().to_string());
            self.tale.acknowledgement(&mut document) || is_moved
        };
        let is_empty = document["events"].as_array().is_some_and(Vec::is_empty);
        is_told.then(|| Told { text: document.to_string().into_bytes(), is_empty })
    }
}

/// Another document than the server's.
struct Told {
    text: Vec<u8>,
    /// A batch in which nothing is left. Streams do not send such.
    is_empty: bool,
}

/// The first whole frame of a server: its header, and the lengths of header and payload.
fn frame(buffer: &BytesMut) -> tungstenite::Result<Option<(FrameHeader, usize, usize)>> {
    let mut cursor = std::io::Cursor::new(buffer);
    let Some((header, length)) = FrameHeader::parse(&mut cursor)? else {
        return Ok(None);
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let is_whole = cursor.remaining() >= length;
    let head = buffer.len() - cursor.remaining();
    Ok(is_whole.then_some((header, head, length)))
}

/// Clients that are told where the server is would go past the proxy: URLs of a document that lead to
/// `server` lead `here`. Whether there were any.
fn stay(value: &mut Value, server: &str, here: &str) -> bool {
    match value {
        Value::Array(values) => {
            values.iter_mut().fold(false, |any, value| stay(value, server, here) | any)
        }
        Value::Object(fields) => fields.iter_mut().fold(false, |any, (name, value)| {
            let url = value.as_str().filter(|_| name.ends_with("url"));
            let moved = url
                .and_then(|url| url.split_once("://"))
                .and_then(|(scheme, rest)| Some((scheme, rest.strip_prefix(server)?)))
                .filter(|(_, path)| path.is_empty() || path.starts_with('/'))
                .map(|(scheme, path)| format!("{scheme}://{here}{path}"));
            match moved {
                Some(moved) => {
                    *value = json!(moved);
                    true
                }
                None => stay(value, server, here) | any,
            }
        }),
        _ => false,
    }
}

/// What is told to all readers together.
#[derive(Debug)]
struct Tale {
    lie: Lie,
    every: u64,
    memory: Mutex<Memory>,
}

/// What has passed.
#[derive(Debug, Default)]
struct Memory {
    messages: u64,
    acknowledged: u64,
    lies: u64,
    /// By reader, the message that it was lied out of, or that arrives behind the next one of its channel.
    aside: HashMap<String, Value>,
    first_id: Option<Value>,
}

impl Tale {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }

    /// Tells a batch. Whether it is another one then.
    fn batch(&self, reader: &str, document: &mut Value) -> bool {
        let Some(events) = document["events"].as_array_mut() else {
            return false;
        };
        let Memory { messages, lies, aside, .. } = &mut *self.memory();
        let (mut told, before) = (Vec::with_capacity(events.len() + 1), events.len());
        let mut is_told = false;
        for event in std::mem::take(events) {
            if event["type"] != "message" {
                told.push(event);
                continue;
            }
            let kept = aside.get(reader).map(|kept| &kept["message"]);
            let has_same = |name: &str| kept.is_some_and(|it| it[name] == event["message"][name]);
            if has_same("message_id") {
                // Who has got nothing may ask again, and is told the same.
                continue;
            }
            if self.lie == Lie::Reorder && has_same("channel_id") {
                told.push(event);
                told.extend(aside.remove(reader));
                *lies += 1;
                is_told = true;
                continue;
            }
            *messages += 1;
            let is_due = messages.is_multiple_of(self.every);
            let has_room = aside.len() < ASIDE;
            match self.lie {
                Lie::Lose if is_due && (has_room || aside.contains_key(reader)) => {
                    aside.insert(reader.to_owned(), event);
                    *lies += 1;
                }
                Lie::Reorder if is_due && has_room && !aside.contains_key(reader) => {
                    aside.insert(reader.to_owned(), event);
                }
                Lie::Repeat if is_due => {
                    told.extend([event.clone(), event]);
                    *lies += 1;
                }
                _ => told.push(event),
            }
        }
        is_told |= told.len() != before;
        *events = told;
        is_told
    }

    /// Tells the acknowledgement of a send, if it is one. Whether it is another one then.
    fn acknowledgement(&self, document: &mut Value) -> bool {
        let ways = ["/message/message_id", "/replies/0/message_id", "/reply/message_id"];
        let way = ways.into_iter().find(|way| document.pointer(way).is_some_and(Value::is_string));
        let Some(id) = way.and_then(|way| document.pointer_mut(way)) else {
            return false;
        };
        let mut memory = self.memory();
        memory.acknowledged += 1;
        let first = memory.first_id.get_or_insert_with(|| id.clone()).clone();
        if !memory.acknowledged.is_multiple_of(self.every) {
            return false;
        }
        match self.lie {
            Lie::Forget => {
                let number = id.as_str().and_then(|text| text.parse::<u64>().ok());
                *id = json!((number.unwrap_or_default() + 1).to_string());
            }
            Lie::Late => *id = first,
            Lie::Lose | Lie::Repeat | Lie::Reorder => return false,
        }
        memory.lies += 1;
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of batches of messages of channel 7, told by `lie` at every third.
    fn told(lie: Lie, batches: &[&[u64]]) -> Vec<Vec<u64>> {
        let tale = Tale { lie, every: 3, memory: Mutex::default() };
        let batches = batches.iter().map(|ids| {
            let events: Vec<_> = ids
                .iter()
                .map(|id| {
                    json!({"type": "message", "message": {"message_id": id, "channel_id": "7"}})
                })
                .collect();
            let mut document = json!({"events": events, "next": "9"});
            let before = document.clone();
            assert_eq!(tale.batch("ann", &mut document), document != before, "it says so");
            assert_eq!(document["next"], "9");
            let events = document["events"].as_array().expect("events");
            events.iter().map(|it| it["message"]["message_id"].as_u64().expect("an id")).collect()
        });
        batches.collect()
    }

    #[test]
    fn every_third_message_is_lost() {
        assert_eq!(told(Lie::Lose, &[&[1, 2], &[3], &[4, 5, 6]]), [vec![1, 2], vec![], vec![4, 5]]);
    }

    #[test]
    fn every_third_message_is_repeated() {
        assert_eq!(told(Lie::Repeat, &[&[1, 2], &[3, 4]]), [vec![1, 2], vec![3, 3, 4]]);
    }

    #[test]
    fn every_third_message_is_behind_the_next_one() {
        assert_eq!(told(Lie::Reorder, &[&[1, 2, 3, 4]]), [vec![1, 2, 4, 3]]);
        let told = told(Lie::Reorder, &[&[1, 2, 3], &[], &[4, 5]]);
        assert_eq!(told, [vec![1, 2], vec![], vec![4, 3, 5]]);
    }

    #[test]
    fn urls_of_the_server_lead_to_the_proxy() {
        let mut document = json!({
            "transports": {"websocket": {"url": "ws://[::1]:80/v1/x"}, "sse": {"url": "/v1/y"}},
            "nodes": [{"url": "http://[::1]:80", "websocket_url": "ws://[::1]:8000/v1/z"}],
            "content": "http://[::1]:80",
        });
        assert!(stay(&mut document, "[::1]:80", "[::1]:99"));
        let stays = json!({
            "transports": {"websocket": {"url": "ws://[::1]:99/v1/x"}, "sse": {"url": "/v1/y"}},
            "nodes": [{"url": "http://[::1]:99", "websocket_url": "ws://[::1]:8000/v1/z"}],
            "content": "http://[::1]:80",
        });
        assert_eq!(document, stays);
        assert!(!stay(&mut document, "[::1]:80", "[::1]:99"), "nothing is left to move");
    }
}
