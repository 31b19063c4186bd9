//! The write side of a socket: batches are framed straight from the mailbox into one buffer and leave
//! in one write, however many frames there are.
//!
//! tungstenite reads the stream and sends control frames through the same buffer, so its bytes can
//! never fall into the middle of a frame of this module.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::fragments::Fragments;

/// A stream, and the frames that wait to be written to it.
#[derive(Debug)]
pub(super) struct Outgoing<S> {
    stream: S,
    frames: Vec<u8>,
    written: usize,
    taken: u64,
    fragments: Fragments,
}

/// How many fragments are read before the loop of the socket counts them.
const FRAGMENTS: u32 = 64;

/// First byte of an unfragmented text frame (RFC 6455 section 5.2).
const FINAL_TEXT: u8 = 0x81;

impl<S> Outgoing<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, frames: Vec::new(), written: 0, taken: 0, fragments: Fragments::default() }
    }

    /// The fragments that the client has sent.
    pub(super) fn fragments(&mut self) -> &mut Fragments {
        &mut self.fragments
    }

    /// The stream itself, for its end.
    pub(super) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// How many bytes wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.frames.len() - self.written
    }

    /// How many bytes the stream has taken since the socket was opened.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Appends a text frame of `length` bytes, which `write` appends.
    pub(super) fn text(&mut self, length: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.frames.reserve(length + 10);
        self.frames.push(FINAL_TEXT);
        // Unmasked, as servers must (section 5.1); the length in 7, 7 + 16 or 7 + 64 bits.
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(length), _) if length < 126 => self.frames.push(length),
            (_, Ok(length)) => {
                self.frames.push(126);
                self.frames.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                self.frames.push(127);
                self.frames.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        let start = self.frames.len();
        write(&mut self.frames);
        debug_assert_eq!(self.frames.len() - start, length, "the announced length");
    }

    /// Appends a text frame that holds a document.
    pub(super) fn json(&mut self, document: &serde_json::Value) {
        let text = document.to_string();
        self.text(text.len(), |out| out.extend_from_slice(text.as_bytes()));
    }
}

impl<S: AsyncWrite + Unpin> Outgoing<S> {
    /// Writes what waits. Ready when nothing is left.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.frames.len() {
            let rest = &self.frames[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => {
                    self.written += written;
                    self.taken += written as u64;
                }
            }
        }
        if self.written > 0 {
            // The buffer is freed: nearly all sockets are idle at any moment, and there are many.
            self.frames = Vec::new();
            self.written = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Outgoing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.fragments.count() >= FRAGMENTS {
            // tungstenite would continue until a message is complete.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.fragments.read(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

/// Control frames of tungstenite, written after all frames that wait.
impl<S: AsyncWrite + Unpin> AsyncWrite for Outgoing<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn frames_of_every_length_class_have_the_header_of_the_rfc() {
        for (length, header) in [
            (125usize, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 0xff, 0xff]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let (ours, mut theirs) = tokio::io::duplex(100_000);
            let mut outgoing = Outgoing::new(ours);
            outgoing.text(length, |out| out.resize(out.len() + length, b'x'));
            std::future::poll_fn(|cx| outgoing.poll_drain(cx)).await.unwrap();
            let mut received = vec![0; header.len() + length];
            theirs.read_exact(&mut received).await.unwrap();
            assert_eq!(received[..header.len()], header);
            assert_eq!(outgoing.waiting(), 0);
        }
    }
}
