//! A client's connection: the stream, its byte counters and its admission, which live and end
//! together, also when a WebSocket takes the connection over. [`Wire`] is the side of the network,
//! [`Connection`] the side of HTTP; TLS goes between them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::admission::Permit;
use crate::meter::ConnectionMeter;

/// A socket whose bytes are counted as they pass: below TLS, where there is some.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    meter: Arc<ConnectionMeter>,
}

impl<S> Wire<S> {
    /// Counts what passes through `stream`.
    pub fn new(stream: S, meter: Arc<ConnectionMeter>) -> Self {
        Self { stream, meter }
    }

    fn wrote(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = &outcome {
            self.meter.sent(*written as u64);
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.meter.received((buffer.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A stream of requests and answers, plain or out of TLS, that takes back what was read too early.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    returned: Bytes,
    meter: Arc<ConnectionMeter>,
    _permit: Permit,
}

impl<S> Connection<S> {
    /// Joins the three.
    pub fn new(stream: S, meter: Arc<ConnectionMeter>, permit: Permit) -> Self {
        Self { stream, returned: Bytes::new(), meter, _permit: permit }
    }

    /// Gives back bytes that were read; they are read again, before all others.
    pub fn give_back(&mut self, bytes: Bytes) {
        self.returned = match (bytes.is_empty(), self.returned.is_empty()) {
            // Even without a byte in it, it may hold a buffer.
            (true, _) => return,
            (false, true) => bytes,
            // Only the first of what was given back before had been read again.
            (false, false) => [&bytes[..], &self.returned[..]].concat().into(),
        };
    }
}

impl<S> Connection<S> {
    fn wrote(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if outcome.is_pending() {
            self.meter.stalled(true);
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.returned.is_empty() {
            let count = self.returned.len().min(buffer.remaining());
            buffer.put_slice(&self.returned.split_to(count));
            if self.returned.is_empty() {
                self.returned = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.meter.stalled(false);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
