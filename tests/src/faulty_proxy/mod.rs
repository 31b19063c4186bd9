//! A faulty proxy in front of a server: it speaks HTTP/1.1, and loses, repeats or reorders every n-th message on
//! every transport. It shows that tests and load tools detect such faults. Positions (`next`, `id:`) stay as
//! the server sent them; only the events of a batch are changed.

mod corruption;

use std::convert::Infallible;
use std::net::SocketAddr;
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

use self::corruption::Corruptor;
use crate::address::Address;

pub use self::corruption::Corruption;

/// The largest document that may be corrupted; a larger one passes unchanged.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The proxy. Dropping it ends it and its connections.
#[derive(Debug)]
pub struct FaultyProxy {
    address: Address,
    corruptor: Arc<Corruptor>,
    accepting: JoinHandle<()>,
}

impl FaultyProxy {
    /// A proxy on a free port that corrupts every `every`-th message (or acknowledgement).
    ///
    /// # Panics
    /// If there is no free port, or `every` is 0.
    pub async fn before(server: &Address, kind: Corruption, every: u64) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::on(any, server, kind, every).await.expect("a free port")
    }

    /// The same at an address.
    ///
    /// # Errors
    /// If the address is in use.
    ///
    /// # Panics
    /// If `every` is 0.
    pub async fn on(
        at: SocketAddr,
        server: &Address,
        kind: Corruption,
        every: u64,
    ) -> std::io::Result<Self> {
        assert!(every > 0, "`every` is at least 1");
        let listener = TcpListener::bind(at).await?;
        let address = Address::new(listener.local_addr()?);
        let corruptor = Arc::new(Corruptor::new(kind, every));
        let relay = Relay {
            server: server.clone(),
            here: address.clone(),
            corruptor: Arc::clone(&corruptor),
        };
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0u64.. {
                // Connections that have ended are removed.
                while connections.try_join_next().is_some() {}
                let Ok((client, _)) = listener.accept().await else {
                    return;
                };
                connections.spawn(relay.clone().run(client, number));
            }
        });
        Ok(Self { address, corruptor, accepting })
    }

    /// The address at which it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How many messages or acknowledgements it has corrupted.
    pub fn corrupted(&self) -> u64 {
        self.corruptor.corrupted()
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What every connection shares.
#[derive(Clone, Debug)]
struct Relay {
    server: Address,
    here: Address,
    corruptor: Arc<Corruptor>,
}

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// The state of a connection that may become a WebSocket.
#[derive(Debug, Default)]
struct Upgrade {
    requested: AtomicBool,
    /// The reader and both sides of the connection, once the server has agreed.
    agreed: Mutex<Option<(String, OnUpgrade, OnUpgrade)>>,
}

impl Relay {
    /// Relays a connection of a client over one to the server.
    async fn run(self, client: TcpStream, number: u64) {
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
        let service = service_fn(|request| self.respond(request, &send, &upgrade, number));
        let downstream = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(client), service)
            .with_upgrades();
        let mut downstream = std::pin::pin!(downstream);
        // Either side may close the connection at any time.
        tokio::select! {
            _ = &mut downstream => {}
            _ = upstream.with_upgrades() => {
                // Without an upgrade the client's side ends as well.
                if !upgrade.requested.load(Ordering::Relaxed) {
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

    /// The server's response, corrupted if it is due.
    async fn respond(
        &self,
        mut request: Request<Incoming>,
        send: &tokio::sync::Mutex<SendRequest<Incoming>>,
        upgrade: &Upgrade,
        number: u64,
    ) -> hyper::Result<Response<Body>> {
        // Devices are distinguished by their sessions. A WebSocket that is opened in one step has none yet.
        let session = request.uri().path().strip_prefix("/v1/sessions/");
        let session = session.and_then(|path| path.split('/').next());
        let reader = session.map_or_else(|| format!("connection {number}"), str::to_owned);
        let client = hyper::upgrade::on(&mut request);
        let requested = request.headers().contains_key(UPGRADE);
        upgrade.requested.store(requested, Ordering::Relaxed);
        let mut response = send.lock().await.send_request(request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            *lock(&upgrade.agreed) = Some((reader, client, hyper::upgrade::on(&mut response)));
            return Ok(response.map(|body| body.boxed_unsync()));
        }
        let (mut head, body) = response.into_parts();
        let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        match kind.unwrap_or_default() {
            "text/event-stream" => {
                Ok(Response::from_parts(head, self.clone().blocks(body, reader)))
            }
            kind if kind.starts_with("application/") && kind.contains("json") => {
                let mut body = body.collect().await?.to_bytes();
                if let Some(Corrupted { text, .. }) = self.corrupt(&reader, &body) {
                    body = text.into();
                }
                // A response to HEAD, or one without a body, keeps its length.
                if !body.is_empty() {
                    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
                }
                let body = Full::new(body).map_err(|never: Infallible| match never {});
                Ok(Response::from_parts(head, body.boxed_unsync()))
            }
            _ => Ok(Response::from_parts(head, body.boxed_unsync())),
        }
    }

    /// Relays the blocks of an event stream.
    fn blocks(self, body: Incoming, reader: String) -> Body {
        let state = (self, reader, body, BytesMut::new());
        let stream = unfold(state, async |(relay, reader, mut body, mut buffer)| {
            loop {
                let end = buffer.windows(2).position(|pair| pair == b"\n\n");
                if let Some(end) = end {
                    let block = buffer.split_to(end + 2).freeze();
                    if let Some(block) = relay.block(&reader, block) {
                        return Some((Ok(Frame::data(block)), (relay, reader, body, buffer)));
                    }
                    continue;
                }
                match body.frame().await {
                    Some(Ok(frame)) => {
                        buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
                    }
                    Some(Err(error)) => return Some((Err(error), (relay, reader, body, buffer))),
                    None => return None,
                }
            }
        });
        StreamBody::new(stream).boxed_unsync()
    }

    /// A block of an event stream, corrupted if it is due; `None` if nothing of it is left.
    fn block(&self, reader: &str, block: Bytes) -> Option<Bytes> {
        let lines: Vec<&[u8]> = block.split(|byte| *byte == b'\n').collect();
        let at = lines.iter().position(|line| line.starts_with(b"data: "));
        let corrupted = at.and_then(|at| Some((at, self.corrupt(reader, &lines[at][6..])?)));
        match corrupted {
            None => Some(block),
            Some((_, corrupted)) if corrupted.is_empty => None,
            Some((at, corrupted)) => {
                let data = [b"data: ", &*corrupted.text].concat();
                let mut lines = lines;
                lines[at] = &data;
                Some(lines.join(&b'\n').into())
            }
        }
    }

    /// Relays the frames of a server. Batches are whole text frames; every other frame passes unchanged.
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
                let corrupted = if is_text { self.corrupt(reader, &all[head..]) } else { None };
                match corrupted {
                    None => passed.extend_from_slice(&all),
                    Some(corrupted) if corrupted.is_empty => {}
                    Some(corrupted) => {
                        Framed::message(corrupted.text, header.opcode, true).format(&mut passed)?;
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

    /// The corrupted form of a document; `None` if it passes unchanged.
    fn corrupt(&self, reader: &str, text: &[u8]) -> Option<Corrupted> {
        if text.len() > DOCUMENT_BYTES_MAX {
            return None;
        }
        let mut document: Value = serde_json::from_slice(text).ok()?;
        let changed = if document["events"].is_array() {
            self.corruptor.batch(reader, &mut document)
        } else {
            let server = self.server.get().to_string();
            let redirected = redirect(&mut document, &server, &self.here.get().to_string());
            self.corruptor.acknowledgement(&mut document) || redirected
        };
        let is_empty = document["events"].as_array().is_some_and(Vec::is_empty);
        changed.then(|| Corrupted { text: document.to_string().into_bytes(), is_empty })
    }
}

/// A document that differs from the server's.
struct Corrupted {
    text: Vec<u8>,
    /// Whether it is a batch without events, which streams do not send.
    is_empty: bool,
}

/// The first complete frame of a server: its header, and the lengths of header and payload.
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

/// Replaces URLs of `server` in a document by URLs of `here`; otherwise clients would bypass the proxy. Returns
/// whether there were any.
fn redirect(value: &mut Value, server: &str, here: &str) -> bool {
    match value {
        Value::Array(values) => {
            values.iter_mut().fold(false, |any, value| redirect(value, server, here) | any)
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
                None => redirect(value, server, here) | any,
            }
        }),
        _ => false,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_the_server_are_replaced_by_urls_of_the_proxy() {
        let mut document = json!({
            "transports": {"websocket": {"url": "ws://[::1]:80/v1/x"}, "sse": {"url": "/v1/y"}},
            "nodes": [{"url": "http://[::1]:80", "websocket_url": "ws://[::1]:8000/v1/z"}],
            "content": "http://[::1]:80",
        });
        assert!(redirect(&mut document, "[::1]:80", "[::1]:99"));
        let expected = json!({
            "transports": {"websocket": {"url": "ws://[::1]:99/v1/x"}, "sse": {"url": "/v1/y"}},
            "nodes": [{"url": "http://[::1]:99", "websocket_url": "ws://[::1]:8000/v1/z"}],
            "content": "http://[::1]:80",
        });
        assert_eq!(document, expected);
        assert!(!redirect(&mut document, "[::1]:80", "[::1]:99"), "every URL is replaced already");
    }
}
