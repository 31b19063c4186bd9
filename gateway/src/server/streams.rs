//! The streams of an HTTP/2 connection, as tasks. They are counted, so that a connection without streams
//! can be closed; awaited when the node stops; and reset if the client takes nothing of a response.
//!
//! The write timeout of the socket does not cover this. A client may leave the window of a stream closed
//! (RFC 9113 section 5.2) and acknowledge every ping: the connection makes progress, and the response
//! would be held for ever, with everything that it is made from.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use pabal_core::engine::Reservation;
use pabal_transports::WhileOpen;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many bytes of a response HTTP/2 gets at a time. A client has to take as many within each deadline,
/// and as many may still be held when the task of the response is done.
const PIECE_BYTES: usize = 16 * 1024;

tokio::task_local! {
    /// The stream of the running task.
    static STREAM: Stream;
}

/// The state of a stream, which the service inside its task updates.
#[derive(Debug, Default)]
struct Stream {
    /// Since when a piece of the response waits for the client.
    waiting: watch::Sender<Option<Instant>>,
    /// Cancelled when the WebSocket that the stream became has ended.
    ended: CancellationToken,
}

/// The guard that a WebSocket on the running stream holds until it has closed.
pub(super) fn while_open() -> Option<WhileOpen> {
    STREAM.try_with(|stream| WhileOpen::until_dropped(stream.ended.clone())).ok()
}

/// Runs the streams of one connection.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    tasks: TaskTracker,
    open: watch::Sender<usize>,
    /// How long a client may take nothing of a response.
    write_within: Duration,
}

impl Streams {
    pub(super) fn new(tasks: TaskTracker, write_within: Duration) -> Self {
        Self { tasks, open: watch::Sender::new(0), write_within }
    }

    /// Completes when the connection has had no stream for this time.
    pub(super) async fn idle(&self, within: Duration) {
        let mut open = self.open.subscribe();
        loop {
            // Cannot fail: this value holds the sender.
            let _ = open.wait_for(|open| *open == 0).await;
            let deadline = Instant::now() + within;
            if timeout_at(deadline, open.wait_for(|open| *open > 0)).await.is_err() {
                return;
            }
        }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        let open = Open::one_more(&self.open);
        let (stream, within) = (Stream::default(), self.write_within);
        let waiting = stream.waiting.subscribe();
        // hyper spawns this task from the task of a stream, to write for the WebSocket that it became.
        let socket = STREAM.try_with(|stream| stream.ended.clone()).ok();
        self.tasks.spawn(async move {
            let _open = open;
            tokio::select! {
                _ = STREAM.scope(stream, task) => {}
                () = stalled(waiting, socket, within) => {
                    // A stream whose task ends is reset (RFC 9113 section 8.1).
                    tracing::debug!("HTTP/2 stream reset: the client takes nothing");
                }
            }
        });
    }
}

/// Counts a stream while it lives.
struct Open(watch::Sender<usize>);

impl Open {
    fn one_more(open: &watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// Completes when one piece has waited for too long, or what a WebSocket had not sent when it closed.
async fn stalled(
    mut waiting: watch::Receiver<Option<Instant>>,
    socket: Option<CancellationToken>,
    within: Duration,
) {
    if let Some(ended) = socket {
        // An open WebSocket has a deadline of its own.
        ended.cancelled().await;
        return sleep(within).await;
    }
    loop {
        let since = match waiting.wait_for(Option::is_some).await.map(|since| *since) {
            Ok(Some(since)) => since,
            // The stream has ended.
            Ok(None) | Err(_) => return std::future::pending().await,
        };
        sleep_until(since + within).await;
        if *waiting.borrow() == Some(since) {
            return;
        }
    }
}

/// A body that is handed over piece by piece, and records when.
#[derive(Debug)]
pub(super) struct Pieces<B> {
    body: B,
    /// What is left of the last frame of the body.
    rest: Bytes,
    /// Counts the bytes. It goes with the last piece, which HTTP/2 may hold for long.
    held: Option<Arc<Reservation>>,
}

/// A piece, and what counts it.
struct HeldPiece {
    piece: Bytes,
    _held: Arc<Reservation>,
}

impl AsRef<[u8]> for HeldPiece {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

impl<B> Pieces<B> {
    pub(super) fn of(body: B, held: Option<Arc<Reservation>>) -> Self {
        Self { body, rest: Bytes::new(), held }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Pieces<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        // hyper polls for more only when the window had capacity for what it got.
        let polled = match self.rest.is_empty() {
            false => Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.rest))))),
            true => Pin::new(&mut self.body).poll_frame(cx),
        };
        let polled = polled.map_ok(|frame| match frame.into_data() {
            Ok(mut data) if data.len() > PIECE_BYTES => {
                self.rest = data.split_off(PIECE_BYTES);
                Frame::data(data)
            }
            Ok(data) => Frame::data(data),
            Err(trailers) => trailers,
        });
        let last = self.is_end_stream();
        let polled = polled.map_ok(|frame| match frame.into_data() {
            Ok(piece) => match self.held.take_if(|_| last) {
                Some(held) => Frame::data(Bytes::from_owner(HeldPiece { piece, _held: held })),
                None => Frame::data(piece),
            },
            Err(trailers) => trailers,
        });
        let given = matches!(polled, Poll::Ready(Some(Ok(_))));
        // Fails outside of a stream of HTTP/2, where nothing waits for it.
        let _ = STREAM.try_with(|stream| {
            stream.waiting.send_replace(given.then(Instant::now));
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use http_body_util::{BodyExt, Full};

    use super::*;

    const WITHIN: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn pieces_add_up_to_the_body_and_state_its_length() {
        let whole: Bytes = (0..3 * PIECE_BYTES + 7).map(|at| at as u8).collect();
        let mut pieces = Pieces::of(Full::new(whole.clone()), None);
        let (mut read, mut sizes) = (Vec::new(), Vec::new());
        while !pieces.is_end_stream() {
            assert_eq!(pieces.size_hint().exact(), Some((whole.len() - read.len()) as u64));
            let data = pieces.frame().await.expect("more").expect("readable");
            let data = data.into_data().expect("data");
            sizes.push(data.len());
            read.extend_from_slice(&data);
        }
        assert_eq!(read, whole);
        assert_eq!(sizes, [PIECE_BYTES, PIECE_BYTES, PIECE_BYTES, 7]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_that_waits_too_long_resets_its_stream_and_a_slow_one_does_not() {
        let tasks = TaskTracker::new();
        let streams = Streams::new(tasks.clone(), WITHIN);
        let answer = || Pieces::of(Full::new(Bytes::from(vec![0; 10 * PIECE_BYTES])), None);
        let (finished, slow) = tokio::sync::oneshot::channel();
        streams.execute(async move {
            let mut answer = answer();
            while answer.frame().await.is_some() {
                tokio::time::sleep(WITHIN * 9 / 10).await;
            }
            let _ = finished.send(());
        });
        streams.execute(async move {
            let mut answer = answer();
            let _piece = answer.frame().await;
            std::future::pending::<()>().await;
        });
        let begun = Instant::now();
        let mut open = streams.open.subscribe();
        open.wait_for(|open| *open == 1).await.expect("the sender lives");
        assert_eq!(begun.elapsed(), WITHIN);
        slow.await.expect("the whole response was taken");
        streams.idle(WITHIN).await;
        tasks.close();
        assert!(tasks.wait().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_when_it_has_had_no_stream_for_the_timeout() {
        let streams = Streams::new(TaskTracker::new(), WITHIN);
        let begun = Instant::now();
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(100));
        streams.execute(tokio::time::sleep(long));
        let later = {
            let streams = streams.clone();
            async move {
                tokio::time::sleep(long + WITHIN - short).await;
                streams.execute(tokio::time::sleep(short * 2));
            }
        };
        tokio::join!(streams.idle(WITHIN), later);
        assert_eq!(begun.elapsed(), long + WITHIN + short + WITHIN);
    }
}
