//! The end of a connection whose client may still be sending (RFC 9112 section 9.6). A connection that is
//! closed with unread input is reset (RFC 9293 section 3.6.1), and the reset destroys what the client has
//! not read yet: the last response, or the close frame. So the server stops writing, and discards what
//! arrives until the client closes its side, for a bounded time and size.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long the client may send nothing.
const QUIET: Duration = Duration::from_secs(2);
/// How long all of it may take.
const WITHIN: Duration = Duration::from_secs(5);
/// How many bytes are discarded at most. Discarding takes no memory, but bandwidth.
const BYTES: usize = 16 * 1024 * 1024;
/// How many bytes are read at a time, onto the stack.
const READ_BYTES: usize = 16 * 1024;

/// A connection that is ending. Holds a timer and no buffer.
#[derive(Debug)]
pub struct Lingering {
    quiet: Pin<Box<Sleep>>,
    end: Instant,
    left: usize,
    /// Whether the writing side is still open.
    writes: bool,
}

impl Default for Lingering {
    fn default() -> Self {
        let now = Instant::now();
        let quiet = Box::pin(sleep_until(now + QUIET));
        Self { quiet, end: now + WITHIN, left: BYTES, writes: true }
    }
}

impl Lingering {
    /// Closes the writing side of `stream`, and discards what the client sends. Ready when the client has
    /// closed its side or the connection failed, and at the bounds of time and size.
    pub fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if self.quiet.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if self.writes {
            if ready!(Pin::new(&mut *stream).poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            self.writes = false;
        }
        loop {
            let mut bytes = [const { MaybeUninit::uninit() }; READ_BYTES];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            let outcome = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer));
            let read = buffer.filled().len();
            if outcome.is_err() || read == 0 || read >= self.left {
                return Poll::Ready(());
            }
            self.left -= read;
            let quiet = (Instant::now() + QUIET).min(self.end);
            self.quiet.as_mut().reset(quiet);
            if self.quiet.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
        }
    }
}

/// Ends a connection as [`Lingering`] says. The caller drops it after that.
pub async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let mut lingering = Lingering::default();
    poll_fn(|cx| lingering.poll(stream, cx)).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_client_reads_the_end_while_it_still_sends() {
        let (mut ours, mut theirs) = duplex(1_024);
        let begun = Instant::now();
        let sending = async {
            theirs.write_all(&[0; 100_000]).await.unwrap();
            assert_eq!(theirs.read(&mut [0; 1]).await.unwrap(), 0, "nothing more is written");
            drop(theirs);
        };
        tokio::join!(linger(&mut ours), sending);
        assert_eq!(begun.elapsed(), Duration::ZERO, "the end of the client ends the wait");
    }

    #[tokio::test(start_paused = true)]
    async fn time_and_size_are_bounded() {
        let (mut ours, theirs) = duplex(1_024);
        let begun = Instant::now();
        linger(&mut ours).await;
        assert_eq!(begun.elapsed(), QUIET, "a client that sends nothing");
        drop(theirs);

        let (mut ours, mut theirs) = duplex(1_024);
        let begun = Instant::now();
        let slow = async {
            loop {
                tokio::time::sleep(QUIET / 2).await;
                if theirs.write_all(b"x").await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = linger(&mut ours) => {}
            () = slow => unreachable!("the stream is not dropped"),
        }
        assert_eq!(begun.elapsed(), WITHIN, "a client that sends a byte now and then");

        let (mut ours, mut theirs) = duplex(64 * 1_024);
        let mut sent = 0;
        let endless = async {
            while theirs.write_all(&[0; 16 * 1_024]).await.is_ok() {
                sent += 16 * 1_024;
            }
        };
        tokio::select! {
            () = linger(&mut ours) => {}
            () = endless => unreachable!("the stream is not dropped"),
        }
        assert!((BYTES..BYTES + 256 * 1_024).contains(&sent), "a client without an end: {sent}");
    }
}
