//! HTTP/2 frame by frame, for misbehaving clients that no library offers: frames of RFC 9113, section 4, and
//! header blocks without compression (RFC 7541, section 6.2.2).

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The types of frames, RFC 9113 section 6.
pub mod kind {
    #![expect(missing_docs, reason = "their names are those of the RFC")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// The flag of SETTINGS and PING frames that acknowledge one.
pub const ACK: u8 = 1;
/// The flag of the last frame of a stream.
pub const END_STREAM: u8 = 1;
/// The flag of the last frame of a header block.
pub const END_HEADERS: u8 = 4;
/// The setting with the flow-control window of a new stream.
pub const INITIAL_WINDOW_SIZE: u16 = 4;
/// The error code for excessive load, RFC 9113, section 7.
pub const ENHANCE_YOUR_CALM: u32 = 0xb;

/// A received frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// One of [`kind`].
    pub kind: u8,
    /// Which flags are set.
    pub flags: u8,
    /// The stream, or 0.
    pub stream: u32,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of a RST_STREAM or GOAWAY frame.
    pub fn error(&self) -> u32 {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

/// The half that reads frames.
#[derive(Debug)]
pub struct Frames(OwnedReadHalf);

/// The half that writes frames.
#[derive(Debug)]
pub struct Http2(OwnedWriteHalf);

impl Http2 {
    /// Connects and sends the preface with these settings. `receive_bytes` limits how many received bytes the
    /// system buffers.
    ///
    /// # Errors
    /// If there is no connection.
    pub async fn open(
        address: SocketAddr,
        settings: &[(u16, u32)],
        receive_bytes: Option<u32>,
    ) -> io::Result<(Self, Frames)> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let mut http2 = Self(write);
        http2.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        http2.send(kind::SETTINGS, 0, 0, &settings).await?;
        Ok((http2, Frames(read)))
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// If the connection broke.
    pub async fn send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> io::Result<()> {
        self.write(&frame(kind, flags, stream, payload)).await
    }

    /// Sends bytes that are framed already.
    ///
    /// # Errors
    /// If the connection broke.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }
}

impl Frames {
    /// The next frame; `None` if the server has closed the connection.
    ///
    /// # Errors
    /// If the connection broke.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        let mut head = [0; 9];
        match self.0.read_exact(&mut head).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Ok(Some(Frame { kind: head[3], flags: head[4], stream, payload }))
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload that a frame can have");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block: each field as a literal that is never indexed.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The header block of a GET.
pub fn get(path: &str, token: &str) -> Vec<u8> {
    let authorization = format!("Bearer {token}");
    block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "pabal"),
        ("authorization", &authorization),
    ])
}

/// The length of a string, an integer with a prefix of 7 bits (RFC 7541 section 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    const PREFIX: usize = 0x7f;
    if length < PREFIX {
        block.push(length as u8);
        return;
    }
    block.push(PREFIX as u8);
    let mut rest = length - PREFIX;
    while rest >= 0x80 {
        block.push((rest % 0x80) as u8 | 0x80);
        rest /= 0x80;
    }
    block.push(rest as u8);
}
