//! Frames of HTTP/2 that cost the server work and carry nothing, counted below hyper, which has no hook for
//! them. A client may send millions in a second: PRIORITY, WINDOW_UPDATE, PING, SETTINGS, empty DATA. Its
//! requests are limited elsewhere; here it is how much a client may say beside them.
//!
//! A well-behaved client sends such frames in proportion to what it asks for and gets. So each request and
//! each frame of a response earns some, and beyond that there is a rate. At the limit the connection ends
//! with GOAWAY (RFC 9113 section 6.8), whatever `limits.rate_limits` says: no load needs more.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pabal_transports::Lingering;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How many frames without content a connection may have sent beyond what it earned.
const BURST: u32 = 1_000;
/// How many of them a connection may send each second.
const A_SECOND: f64 = 100.0;
/// How many of them a request earns: priorities, a larger window, a cancellation.
const FOR_A_REQUEST: u32 = 4;
/// How many of them a frame with a part of a response earns: an update of either window.
const FOR_A_FRAME: u32 = 2;
/// For how many bytes of such a frame it earns one more: some clients update windows as they read.
const BYTES_FOR_ONE: u32 = 1_024;
/// A DATA frame below this many bytes counts as one without content, unless it ends its stream. The
/// smallest frame of a WebSocket with a command is larger.
const CONTENT_BYTES: u32 = 16;
/// The length of the client's preface (section 3.4), which comes before its first frame.
const PREFACE_BYTES: u32 = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;

/// The stream of an HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Frames<S> {
    stream: S,
    incoming: Walk,
    outgoing: Walk,
    allowance: Allowance,
    /// The highest stream that the client has opened.
    last_stream: u32,
    /// The client sent too many: what is left of the connection.
    ending: Option<Lingering>,
}

impl<S> Frames<S> {
    /// Counts the frames of a connection from its first byte on.
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            incoming: Walk { skip: PREFACE_BYTES, ..Walk::default() },
            outgoing: Walk::default(),
            allowance: Allowance::new(),
            last_stream: 0,
            ending: None,
        }
    }

    /// Counts what the client sent. `false` if it was too much.
    fn received(&mut self, bytes: &[u8]) -> bool {
        let Self { incoming, allowance, last_stream, .. } = self;
        let mut empty = 0;
        incoming.walk(bytes, |frame| match frame.kind {
            HEADERS => {
                *last_stream = frame.stream.max(*last_stream);
                allowance.earn(FOR_A_REQUEST);
            }
            DATA if frame.length >= CONTENT_BYTES || frame.flags & END_STREAM != 0 => {}
            _ => empty += 1,
        });
        empty == 0 || allowance.spend(empty)
    }

    /// Counts what was written.
    fn sent(&mut self, bytes: &[u8]) {
        let Self { outgoing, allowance, .. } = self;
        outgoing.walk(bytes, |frame| {
            if matches!(frame.kind, DATA | HEADERS) {
                allowance.earn(FOR_A_FRAME + frame.length / BYTES_FOR_ONE);
            }
        });
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// Tells the client why the connection ends, if no frame is half written and the socket takes it.
    fn say_goaway(&mut self, cx: &mut Context<'_>) {
        tracing::debug!("HTTP/2 connection closed: too many frames without content");
        if !self.outgoing.is_between_frames() {
            return;
        }
        let mut goaway = *b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b";
        goaway[9..13].copy_from_slice(&self.last_stream.to_be_bytes());
        // Best effort: the end of the connection says nearly as much.
        let _ = Pin::new(&mut self.stream).poll_write(cx, &goaway);
        let _ = Pin::new(&mut self.stream).poll_flush(cx);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ending.is_none() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
            if this.received(&buffer.filled()[before..]) {
                return Poll::Ready(Ok(()));
            }
            buffer.set_filled(before);
            this.say_goaway(cx);
        }
        let ending = this.ending.get_or_insert_default();
        ready!(ending.poll(&mut this.stream, cx));
        Poll::Ready(Err(io::Error::other("too many frames without content")))
    }
}

/// Once the connection is ending, what hyper still writes is discarded.
impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.ending.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.sent(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.ending.is_some() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        let mut left = written;
        for slice in slices {
            let part = left.min(slice.len());
            self.sent(&slice[..part]);
            left -= part;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ending.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The header of a frame (section 4.1).
struct Header {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

/// Finds the headers of frames in a stream that comes in pieces.
#[derive(Debug, Default)]
struct Walk {
    /// How many bytes are left of a payload.
    skip: u32,
    header: [u8; 9],
    /// How many bytes of the header are there.
    have: u8,
}

impl Walk {
    fn walk(&mut self, mut bytes: &[u8], mut each: impl FnMut(Header)) {
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.skip as usize);
            self.skip -= skipped as u32;
            bytes = &bytes[skipped..];
            let have = usize::from(self.have);
            let taken = bytes.len().min(self.header.len() - have);
            self.header[have..have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken as u8;
            bytes = &bytes[taken..];
            if usize::from(self.have) < self.header.len() {
                continue;
            }
            let [a, b, c, kind, flags, s0, s1, s2, s3] = self.header;
            let length = u32::from_be_bytes([0, a, b, c]);
            (self.skip, self.have) = (length, 0);
            each(Header {
                length,
                kind,
                flags,
                stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
            });
        }
    }

    fn is_between_frames(&self) -> bool {
        self.skip == 0 && self.have == 0
    }
}

/// How many frames without content the client may send.
#[derive(Debug)]
struct Allowance {
    left: u32,
    /// When the rate was last added.
    added: Instant,
}

impl Allowance {
    fn new() -> Self {
        Self { left: BURST, added: Instant::now() }
    }

    fn earn(&mut self, frames: u32) {
        self.left = self.left.saturating_add(frames).min(BURST);
    }

    fn spend(&mut self, frames: u32) -> bool {
        if self.left < frames {
            let now = Instant::now();
            let earned = now.duration_since(self.added).as_secs_f64() * A_SECOND;
            // The rest of a frame is earned with the next one.
            if earned >= 1.0 {
                self.added = now;
                self.earn(earned as u32);
            }
        }
        let spent = self.left.checked_sub(frames);
        self.left = spent.unwrap_or_default();
        spent.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
        [&[a, b, c, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// A connection after its preface, and its client.
    async fn connection() -> (Frames<DuplexStream>, DuplexStream) {
        let (ours, mut theirs) = duplex(1 << 20);
        let mut frames = Frames::new(ours);
        theirs.write_all(&[b'p'; PREFACE_BYTES as usize]).await.unwrap();
        frames.read_exact(&mut [0; PREFACE_BYTES as usize]).await.unwrap();
        (frames, theirs)
    }

    async fn takes(frames: &mut Frames<DuplexStream>, theirs: &mut DuplexStream, sent: &[u8]) {
        theirs.write_all(sent).await.unwrap();
        let mut read = vec![0; sent.len()];
        frames.read_exact(&mut read).await.unwrap();
        assert_eq!(read, sent);
    }

    #[tokio::test(start_paused = true)]
    async fn frames_without_content_beyond_the_burst_end_the_connection_with_goaway() {
        for empty in
            [frame(PING, 0, &[0; 8]), frame(DATA, 0, b""), frame(DATA, 0, b"x"), frame(99, 0, b"")]
        {
            let (mut frames, mut theirs) = connection().await;
            takes(&mut frames, &mut theirs, &frame(HEADERS, 0, b"request")).await;
            takes(&mut frames, &mut theirs, &empty.repeat(BURST as usize)).await;
            theirs.write_all(&empty).await.unwrap();
            let mut rest = Vec::new();
            let reading = frames.read_to_end(&mut rest);
            let told = async {
                let mut told = Vec::new();
                theirs.read_to_end(&mut told).await.unwrap();
                drop(theirs);
                told
            };
            let (read, told) = tokio::join!(reading, told);
            assert!(read.is_err());
            let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x0b];
            assert_eq!(told, goaway, "after stream 1, ENHANCE_YOUR_CALM");
            assert_eq!(frames.write(b"more").await.unwrap(), 4, "discarded");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_responses_and_time_earn_more() {
        let (mut frames, mut theirs) = connection().await;
        let ping = frame(PING, 0, &[0; 8]);
        takes(&mut frames, &mut theirs, &ping.repeat(BURST as usize)).await;
        takes(&mut frames, &mut theirs, &frame(HEADERS, 0, b"request")).await;
        takes(&mut frames, &mut theirs, &ping.repeat(FOR_A_REQUEST as usize)).await;
        frames.write_all(&frame(DATA, 0, &[0; 4_096])).await.unwrap();
        takes(&mut frames, &mut theirs, &ping.repeat(6)).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        takes(&mut frames, &mut theirs, &ping.repeat(200)).await;
        theirs.write_all(&ping).await.unwrap();
        drop(theirs);
        assert!(frames.read_to_end(&mut Vec::new()).await.is_err());
    }

    #[tokio::test]
    async fn frames_with_content_are_unlimited_however_they_are_cut() {
        let (mut frames, mut theirs) = connection().await;
        let data = [frame(DATA, 0, &[0; 16]), frame(DATA, END_STREAM, b"")].concat();
        for _ in 0..2 * BURST {
            for piece in data.chunks(7) {
                takes(&mut frames, &mut theirs, piece).await;
            }
        }
    }
}
