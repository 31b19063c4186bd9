//! A connection on which requests are written by hand, plain or within TLS.

use std::io;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::certificate::Trust;
use crate::support::{Ears, Node, Person};

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub(crate) type Incoming = tokio::io::ReadHalf<Box<dyn Stream>>;
pub(crate) type Outgoing = tokio::io::WriteHalf<Box<dyn Stream>>;

pub(crate) struct Line {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: Value,
    /// The length of the response in bytes.
    pub(crate) bytes: usize,
}

impl Answer {
    /// A header; empty if it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap_or_default()
    }
}

impl Line {
    pub(crate) async fn open(node: &Node) -> Self {
        let stream = TcpStream::connect(node.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: Box::new(stream), unread: Vec::new() }
    }

    /// Over an open connection.
    pub(crate) fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), unread: Vec::new() }
    }

    pub(crate) async fn open_tls(node: &Node, trust: &Trust) -> Self {
        let stream = trust.connect(node.address(), &[]).await.unwrap();
        Self { stream: Box::new(stream), unread: Vec::new() }
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// The next response; `None` if the server closed.
    pub(crate) async fn read(&mut self) -> Option<Answer> {
        let answer = self.try_read().await.unwrap();
        assert!(answer.is_some() || self.unread.is_empty(), "closed in the middle of an answer");
        answer
    }

    pub(crate) async fn try_read(&mut self) -> io::Result<Option<Answer>> {
        loop {
            if let Some(answer) = self.parse() {
                return Ok(Some(answer));
            }
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn parse(&mut self) -> Option<Answer> {
        let end = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        let head = String::from_utf8(self.unread[..end].to_vec()).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().unwrap();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length = length.map_or(0, |length| length.parse().unwrap());
        let bytes = end + 4 + length;
        let body = serde_json::from_slice(self.unread.get(end + 4..bytes)?).unwrap_or(Value::Null);
        self.unread.drain(..bytes);
        Some(Answer { status, body, head, bytes })
    }

    /// The next chunk of a chunked response (RFC 9112 section 7.1); the last one is empty.
    pub(crate) async fn chunk(&mut self) -> String {
        loop {
            if let Some(at) = self.unread.windows(2).position(|bytes| bytes == b"\r\n") {
                let size = str::from_utf8(&self.unread[..at]).unwrap();
                let end = at + 2 + usize::from_str_radix(size, 16).unwrap();
                if let Some(bytes) = self.unread.get(..end + 2) {
                    assert_eq!(&bytes[end..], b"\r\n");
                    let data = String::from_utf8(bytes[at + 2..end].to_vec()).unwrap();
                    self.unread.drain(..end + 2);
                    return data;
                }
            }
            assert_ne!(self.stream.read_buf(&mut self.unread).await.unwrap(), 0, "cut off");
        }
    }

    pub(crate) async fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.write(request).await;
        self.read().await.expect("an answer")
    }

    /// The response of a server that may close or reset instead.
    pub(crate) async fn try_ask(&mut self, request: &str) -> Option<Answer> {
        self.try_write(request.as_bytes()).await.ok()?;
        self.try_read().await.ok()?
    }

    /// Both halves of the connection, and the bytes that were received and not read.
    pub(crate) fn into_parts(self) -> ((Incoming, Outgoing), io::Cursor<Vec<u8>>) {
        (tokio::io::split(self.stream), io::Cursor::new(self.unread))
    }

    /// The connection after its upgrade.
    pub(crate) async fn into_socket(self) -> WebSocketStream<Box<dyn Stream>> {
        WebSocketStream::from_partially_read(self.stream, self.unread, Role::Client, None).await
    }
}

pub(crate) fn get(person: &Person, path: &str, more: &str) -> String {
    let token = &person.token;
    format!("GET {path} HTTP/1.1\r\nhost: pabal\r\nauthorization: Bearer {token}\r\n{more}\r\n")
}

pub(crate) fn poll(ears: &Ears, person: &Person, query: &str) -> String {
    get(person, &format!("/v1/sessions/{}/{query}", ears.id), "")
}

pub(crate) fn post(person: &Person, path: &str, body: &Value) -> String {
    let (token, body) = (&person.token, body.to_string());
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: pabal\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// The head of a WebSocket handshake.
pub(crate) fn upgrade(person: &Person, path: &str) -> String {
    let more = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    get(person, path, more)
}
