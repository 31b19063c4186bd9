//! The connection of a client: stream, byte counters and admission permit, which live and end together,
//! also when the connection becomes a WebSocket. [`Wire`] is the side of the network, [`Connection`] the
//! side of HTTP; TLS goes between them.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::admission::Permit;
use crate::meter::ConnectionMeter;

/// A socket whose bytes are counted as they pass, below TLS. A write that waits too long fails with
/// [`TimedOut`](io::ErrorKind::TimedOut), because the client does not read. The client may reconnect and
/// has lost nothing: its session holds the events.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    meter: Arc<ConnectionMeter>,
    write_within: Duration,
    /// The deadline of a write that waits; nearly always absent.
    late: Option<Pin<Box<Sleep>>>,
}

impl<S> Wire<S> {
    /// Counts what passes through `stream`. A client must take something within `write_within` of each
    /// write that has to wait.
    pub fn new(stream: S, meter: Arc<ConnectionMeter>, write_within: Duration) -> Self {
        Self { stream, meter, write_within, late: None }
    }

    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &outcome {
            Poll::Ready(Ok(written)) => self.meter.sent(*written as u64),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let within = self.write_within;
                let late = self.late.get_or_insert_with(|| Box::pin(sleep(within)));
                ready!(late.as_mut().poll(cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        self.late = None;
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
        self.wrote(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(cx, outcome)
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

/// A stream of requests and responses, plain or within TLS, that takes back bytes which were read too
/// early.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    returned: Bytes,
    meter: Arc<ConnectionMeter>,
    _permit: Permit,
}

impl<S> Connection<S> {
    /// A connection of these parts. The permit is released when the connection is dropped.
    pub fn new(stream: S, meter: Arc<ConnectionMeter>, permit: Permit) -> Self {
        Self { stream, returned: Bytes::new(), meter, _permit: permit }
    }

    /// Gives back bytes that were read. They are read again, before all others.
    pub fn give_back(&mut self, bytes: Bytes) {
        self.returned = match (bytes.is_empty(), self.returned.is_empty()) {
            // `Bytes` without a byte may still hold a buffer.
            (true, _) => return,
            (false, true) => bytes,
            // Only the first bytes of what was given back before had been read again.
            (false, false) => [&bytes[..], &self.returned[..]].concat().into(),
        };
    }

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
        let before = buffer.filled().len();
        let room = buffer.remaining() > 0;
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if room && buffer.filled().len() == before && self.meter.half_close().ended() {
            // The next poll, after the response was written, reads the end again.
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
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
        if self.meter.half_close().written() {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::meter::Meters;

    #[tokio::test(start_paused = true)]
    async fn a_write_fails_when_the_client_takes_nothing_for_too_long() {
        let meter = Meters::new(std::iter::empty()).connection();
        let (ours, mut theirs) = tokio::io::duplex(10);
        let mut wire = Wire::new(ours, meter, Duration::from_secs(30));
        // A client that takes some bytes now and then keeps its connection.
        for _ in 0..3 {
            let reading = async {
                sleep(Duration::from_secs(20)).await;
                theirs.read_exact(&mut [0; 10]).await.unwrap();
            };
            let (written, ()) = tokio::join!(wire.write_all(&[0; 10]), reading);
            written.unwrap();
        }
        wire.write_all(&[0; 10]).await.unwrap();
        let begun = tokio::time::Instant::now();
        let error = wire.write_all(&[0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 30);
    }
}
