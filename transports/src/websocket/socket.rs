//! The loop of one open WebSocket: read frames, reply to commands, write batches, ping, close.
//!
//! The loop is one future polled by hand, because thousands of sockets are woken for every message:
//! each wake-up does all work that is ready, and everything to be written leaves in one write.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Sink, SinkExt, StreamExt};
use pabal_core::engine::{BudgetKind, Engine, Reader, Reservation, Streamed};
use pabal_core::model::Seq;
use pabal_core::protocol::{Problem, ProblemCode, parse_client_frame};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::arrival::Arrival;
use super::outgoing::Outgoing;
use super::{WebSocket, WhileOpen};
use crate::close::Close;
use crate::commands::{Job, Work};
use crate::meter::{Attached, ConnectionMeter, TransportMeter};
use crate::requests::Requests;

/// About how many bytes of events one frame holds. While as many wait to be written, no more events are
/// taken from the mailbox.
const FRAME_BYTES: usize = 64 * 1024;
/// The read buffer, in bytes. Frames of clients are small, and every connection has such a buffer.
const READ_BYTES: usize = 1024;
/// How long the client has for its part of the closing handshake.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// How many pings may remain without any frame from the client.
const MISSED_PINGS: u8 = 2;

/// What an open socket works with.
pub(super) struct SocketContext {
    pub(super) engine: Engine,
    pub(super) reader: Reader,
    pub(super) meter: TransportMeter,
    pub(super) connection: Arc<ConnectionMeter>,
    /// The highest seq that the client has received.
    pub(super) after: Seq,
    /// The first frame, if it is not a batch.
    pub(super) greeting: Option<Bytes>,
    /// Held until the socket has ended.
    pub(super) open: Option<WhileOpen>,
}

pub(super) struct Socket<S> {
    stream: WebSocketStream<Outgoing<S>>,
    arrival: Arrival,
    engine: Engine,
    reader: Reader,
    meter: TransportMeter,
    _attached: Attached,
    _open: Option<WhileOpen>,
    connection: Arc<ConnectionMeter>,
    requests: Requests,
    after: Seq,
    work: Option<Box<Work>>,
    ping: Pin<Box<Sleep>>,
    ping_interval: Duration,
    missed_pings: u8,
    /// How many bytes the connection had taken at the last ping.
    taken: u64,
    /// Counts what waits to be written, while something does.
    held: Option<Box<Reservation>>,
}

/// Why the loop ends.
enum End {
    /// The connection broke: nothing can be sent any more.
    Broken,
    /// The client closes. Its close is returned after the replies to its commands.
    ClosedByClient,
    /// The server closes, after it has sent the problem, if there is one.
    Close(Close, Option<Problem>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) async fn new(
        stream: S,
        already_read: Bytes,
        context: SocketContext,
        transport: &WebSocket,
    ) -> Self {
        let SocketContext { engine, reader, meter, connection, after, greeting, open } = context;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(FRAME_BYTES)
            .max_message_size(Some(transport.max_message_bytes))
            .max_frame_size(Some(transport.max_message_bytes));
        let mut outgoing = Outgoing::new(stream);
        if let Some(greeting) = greeting {
            outgoing.text(greeting.len(), |out| out.extend_from_slice(&greeting));
        }
        let (role, config) = (Role::Server, Some(config));
        let stream = if already_read.is_empty() {
            WebSocketStream::from_raw_socket(outgoing, role, config).await
        } else {
            WebSocketStream::from_partially_read(outgoing, already_read.into(), role, config).await
        };
        Self {
            stream,
            arrival: Arrival::new(),
            engine,
            _attached: meter.attached(),
            _open: open,
            reader,
            meter,
            connection,
            requests: transport.requests.clone(),
            after,
            work: None,
            ping: Box::pin(sleep(transport.ping_interval)),
            ping_interval: transport.ping_interval,
            missed_pings: 0,
            taken: 0,
            held: None,
        }
    }

    /// Serves the client until either side closes.
    #[expect(clippy::manual_async_fn, reason = "an async fn holds its arguments twice, rust#62958")]
    pub(super) fn run(mut self) -> impl Future<Output = ()> {
        async move {
            let end = poll_fn(|cx| self.poll_end(cx)).await;
            // Boxed: there are many sockets, and none needs memory for its end before the end.
            Box::pin(self.part(end)).await;
        }
    }

    /// Ends the connection.
    async fn part(mut self, end: End) {
        self.finish(&end).await;
        let closed = async {
            match end {
                End::Broken => {}
                End::ClosedByClient => self.read_out().await,
                End::Close(close, problem) => self.close(close, problem).await,
            }
        };
        if timeout(CLOSE_WITHIN, closed).await.is_err() {
            tracing::debug!("closing handshake timed out");
        }
        // TLS needs an orderly end, or the client has to suspect that data was cut off (RFC 8446
        // section 6.1). A failure means that the client has disconnected, which ends the socket as well.
        let _ = timeout(CLOSE_WITHIN, self.stream.get_mut().shutdown()).await;
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Poll::Ready(end) = self.poll_frames(cx) {
            return Poll::Ready(end);
        }
        loop {
            self.poll_replies(cx);
            let streamed = self.poll_events(cx);
            let drained = match self.stream.get_mut().poll_drain(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(End::Broken),
                Poll::Ready(Ok(())) => {
                    self.held = None;
                    true
                }
                Poll::Pending => {
                    if self.hold().is_err() {
                        // A client that takes nothing would not take a reason either. The session has
                        // the events.
                        return Poll::Ready(End::Broken);
                    }
                    // A pong may wait for the same write, and only reading the stream sends it.
                    self.arrival.expect();
                    false
                }
            };
            match streamed {
                Poll::Ready(Some(end)) => return Poll::Ready(end),
                // There may be more than one frame holds: continue, unless the client does not keep up.
                Poll::Ready(None) if drained => {}
                _ => return self.poll_ping(cx),
            }
        }
    }

    /// Counts what waits for a client that does not keep up. Sockets of others hold nothing.
    fn hold(&mut self) -> Result<(), Problem> {
        let waiting = self.stream.get_ref().waiting();
        if let Some(held) = &mut self.held {
            return held.resize(waiting);
        }
        let holder = self.connection.holder(Some(self.reader.session().user_id()));
        let held = self.engine.budget().reserve(BudgetKind::Answers, holder, waiting)?;
        self.held = Some(Box::new(held));
        Ok(())
    }

    /// Reads what the client sent, while the limit of open jobs allows.
    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Some(waker) = self.arrival.take(cx) else { return Poll::Pending };
        let cx = &mut Context::from_waker(&waker);
        while self.work.as_ref().is_none_or(|work| !work.is_full()) {
            let frame = match self.stream.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(refusal(&error)),
                Poll::Ready(None) => return Poll::Ready(End::Broken),
                Poll::Pending => return Poll::Pending,
            };
            self.missed_pings = 0;
            self.connection.settle();
            if let Err(problem) = self.requests.of_user(self.reader.session().user_id()) {
                return Poll::Ready(End::Close(Close::TooFast, Some(problem)));
            }
            match frame {
                Message::Text(text) => {
                    self.meter.request();
                    if let Err(problem) = self.take(&text) {
                        return Poll::Ready(End::Close(Close::Malformed, Some(problem)));
                    }
                }
                Message::Binary(_) => {
                    let detail = "frames must be JSON text";
                    let problem = Problem::new(ProblemCode::Invalid, detail);
                    return Poll::Ready(End::Close(Close::Malformed, Some(problem)));
                }
                // tungstenite returns the close with the next read.
                Message::Close(_) => return Poll::Ready(End::ClosedByClient),
                // tungstenite sends pongs by itself.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        // The limit of open jobs left frames unread.
        self.arrival.expect();
        Poll::Pending
    }

    fn take(&mut self, frame: &str) -> Result<(), Problem> {
        let frame = parse_client_frame(frame)?;
        if let Some(ack) = frame.ack {
            if ack > self.after {
                let detail = format!("must be at most {}, the last seq sent", self.after);
                return Err(Problem::invalid("ack", detail));
            }
            self.reader.session().confirm(ack);
        }
        if frame.channels.is_some() || !frame.commands.is_empty() {
            let work = self.work.get_or_insert_default();
            if let Some(cursors) = frame.channels {
                work.push(Job::CatchUp(cursors));
            }
            for (id, command) in frame.commands {
                work.push(Job::Command(id, command));
            }
        }
        Ok(())
    }

    fn poll_replies(&mut self, cx: &mut Context<'_>) {
        let Some(work) = &mut self.work else { return };
        let was_full = work.is_full();
        while self.stream.get_ref().waiting() < FRAME_BYTES
            && let Poll::Ready(Some(reply)) =
                work.poll_reply(cx, &self.engine, self.reader.session())
        {
            self.stream.get_mut().json(&serde_json::json!({ "reply": reply }));
        }
        if was_full && !work.is_full() {
            // No waker is registered for the frames that were left unread.
            cx.waker().wake_by_ref();
        }
        if work.is_empty() {
            self.work = None;
        }
    }

    /// Frames what the mailbox has. Ready with `None` if there is more: no wake-up will come for it, because
    /// what waits to be written has to leave first.
    fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<Option<End>> {
        let outgoing = self.stream.get_mut();
        if outgoing.waiting() >= FRAME_BYTES {
            return Poll::Ready(None);
        }
        let (clock, meter) = (&self.engine.ports().clock, &self.meter);
        let streamed = self.reader.poll_stream(cx, self.after, FRAME_BYTES, |view| {
            let batch = view.batch();
            outgoing.text(batch.len(), |out| batch.write(out));
            meter.delivered(clock.now(), view.accepted_at());
        });
        match streamed {
            Poll::Ready(Streamed::UpTo { next, more }) => {
                self.after = next;
                if more { Poll::Ready(None) } else { Poll::Pending }
            }
            Poll::Ready(Streamed::Replaced) => Poll::Ready(Some(End::Close(Close::Replaced, None))),
            Poll::Ready(Streamed::Ended(ended)) => {
                let close = Close::from(ended);
                // The event `draining` went before, and says more than a problem would.
                let problem = (close != Close::Draining).then(|| ended.into());
                Poll::Ready(Some(End::Close(close, problem)))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        while self.ping.as_mut().poll(cx).is_ready() {
            // A stream of HTTP/2 may stall while its connection makes progress, so the write timeout of the
            // connection does not cover it.
            let outgoing = self.stream.get_ref();
            let stuck = outgoing.waiting() > 0 && outgoing.taken() == self.taken;
            if stuck || self.missed_pings >= MISSED_PINGS {
                return Poll::Ready(End::Broken);
            }
            self.taken = outgoing.taken();
            self.missed_pings += 1;
            self.ping.as_mut().reset(Instant::now() + self.ping_interval);
            let mut stream = Pin::new(&mut self.stream);
            if stream.as_mut().poll_ready(cx).is_ready() {
                let sent = stream.as_mut().start_send(Message::Ping(Bytes::new()));
                if sent.is_err() || matches!(stream.poll_flush(cx), Poll::Ready(Err(_))) {
                    return Poll::Ready(End::Broken);
                }
            }
        }
        Poll::Pending
    }

    /// Carries out the commands that were read before the end. A client that is still connected gets the
    /// replies; for one that is not, it is enough that each send has its position in the log.
    async fn finish(&mut self, end: &End) {
        let Some(mut work) = self.work.take() else { return };
        let replies = match end {
            // The token gives no right to anything more.
            End::Close(Close::TokenEnded, _) => return,
            End::Broken => false,
            End::ClosedByClient | End::Close(..) => true,
        };
        let (engine, session) = (&self.engine, self.reader.session());
        let outgoing = self.stream.get_mut();
        let done = poll_fn(|cx| {
            loop {
                match work.poll_reply(cx, engine, session) {
                    Poll::Ready(Some(reply)) if replies => {
                        outgoing.json(&serde_json::json!({ "reply": reply }));
                    }
                    Poll::Ready(Some(_)) => {}
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending if !replies && work.has_begun() => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        // As long as every sender waits. There are at most as many replies as open jobs.
        if timeout(self.engine.limits().confirm_within, done).await.is_err() {
            tracing::debug!("some commands were not confirmed before their socket closed");
        }
    }

    /// Sends the problem and the close frame, and waits for the close of the client.
    async fn close(&mut self, close: Close, problem: Option<Problem>) {
        if let Some(problem) = problem {
            self.stream.get_mut().json(&serde_json::json!({ "error": problem }));
        }
        let frame =
            CloseFrame { code: CloseCode::from(close.code()), reason: close.reason().into() };
        if self.stream.send(Message::Close(Some(frame))).await.is_ok() {
            self.read_out().await;
        }
    }

    /// Reads to the end and discards what the client still sends, so that the client sees the close: a
    /// connection that is dropped with unread input is reset (RFC 9293 section 3.6.1).
    async fn read_out(&mut self) {
        while let Some(Ok(_)) = self.stream.next().await {}
    }
}

/// How a socket is closed whose client violated the protocol.
fn refusal(error: &Error) -> End {
    let (close, code, detail) = match error {
        Error::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
            let detail = format!("frames and messages: at most {max_size} bytes");
            (Close::TooLarge, ProblemCode::TooLarge, detail)
        }
        Error::Utf8(_) => (Close::NotUtf8, ProblemCode::Invalid, "text must be UTF-8".to_owned()),
        Error::Protocol(violation) => {
            tracing::debug!(%violation, "WebSocket closed");
            let detail = "the frame violates RFC 6455".to_owned();
            (Close::ProtocolError, ProblemCode::Invalid, detail)
        }
        _ => return End::Broken,
    };
    End::Close(close, Some(Problem::new(code, detail)))
}
