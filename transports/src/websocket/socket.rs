//! The loop of one open WebSocket: read frames, answer commands, write batches, ping, close.
//!
//! It is one future polled by hand, because thousands of them are woken for every message: each
//! wake-up does what there is to do, and all that is to be written leaves in one write.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Sink, SinkExt, StreamExt};
use pabal_core::engine::{EndReason, Engine, Reader, Streamed};
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
use crate::commands::{Job, Work};
use crate::meter::{Attached, ConnectionMeter, TransportMeter};
use crate::requests::Requests;

/// About as many bytes of events as one frame holds, and as wait to be written before no more are
/// taken from the mailbox.
const FRAME_BYTES: usize = 64 * 1024;
/// What is read at a time. Frames of clients are small, and every connection has such a buffer.
const READ_BYTES: usize = 1024;
/// How long the client gets to answer a close.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// The code that a socket is closed with when its session's user has logged out.
const TOKEN_ENDED: u16 = 4401;
/// How many pings may go without a sign of life.
const MISSED_PINGS: u8 = 2;

/// What an open socket is for.
pub(super) struct Duties {
    pub(super) engine: Engine,
    pub(super) reader: Reader,
    pub(super) meter: TransportMeter,
    pub(super) connection: Arc<ConnectionMeter>,
    /// Where the client stands.
    pub(super) after: Seq,
    /// What it is told first.
    pub(super) greeting: Option<Bytes>,
    /// Kept until the socket has ended.
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
    /// As many bytes as had been taken from here at the last ping.
    taken: u64,
}

/// Why the loop ends.
enum End {
    /// The connection broke: nobody is there to be told.
    Gone,
    /// The client closes, and is answered once it was told what came of what it asked before.
    Left,
    /// The server closes, with a code, and says why.
    Close(u16, &'static str, Option<Problem>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) async fn new(
        stream: S,
        already_read: Bytes,
        duties: Duties,
        transport: &WebSocket,
    ) -> Self {
        let Duties { engine, reader, meter, connection, after, greeting, open } = duties;
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
        }
    }

    /// Serves the client until either side ends it.
    #[expect(clippy::manual_async_fn, reason = "an async fn has its arguments twice, rust#62958")]
    pub(super) fn run(mut self) -> impl Future<Output = ()> {
        async move {
            let end = poll_fn(|cx| self.poll_end(cx)).await;
            // In a box: there are many sockets, and none needs room for its end before that comes.
            Box::pin(self.part(end)).await;
        }
    }

    /// Ends the connection.
    async fn part(mut self, end: End) {
        self.finish(&end).await;
        let closed = async {
            match end {
                End::Gone => {}
                End::Left => self.read_out().await,
                End::Close(code, reason, problem) => self.close(code, reason, problem).await,
            }
        };
        if timeout(CLOSE_WITHIN, closed).await.is_err() {
            tracing::debug!("a client did not take part in the close");
        }
        // Ends TLS in good order, or the client would have to suspect that the end was cut off
        // (RFC 8446 section 6.1). Whoever has gone does not mind.
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
                Poll::Ready(Err(_)) => return Poll::Ready(End::Gone),
                Poll::Ready(Ok(())) => true,
                Poll::Pending => {
                    // A pong may wait behind it, which only reading writes.
                    self.arrival.expect();
                    false
                }
            };
            match streamed {
                Poll::Ready(Some(end)) => return Poll::Ready(end),
                // There may be more than fits a frame: on, unless the client does not keep up.
                Poll::Ready(None) if drained => {}
                _ => return self.poll_ping(cx),
            }
        }
    }

    /// Takes in what the client sent, while there is room for what it asks.
    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Some(waker) = self.arrival.take(cx) else { return Poll::Pending };
        let cx = &mut Context::from_waker(&waker);
        while self.work.as_ref().is_none_or(|work| !work.is_full()) {
            let frame = match self.stream.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(refusal(&error)),
                Poll::Ready(None) => return Poll::Ready(End::Gone),
                Poll::Pending => return Poll::Pending,
            };
            self.missed_pings = 0;
            self.connection.settle();
            if let Err(problem) = self.requests.of_user(self.reader.session().user_id()) {
                return Poll::Ready(End::Close(4429, "too fast", Some(problem)));
            }
            match frame {
                Message::Text(text) => {
                    self.meter.request();
                    if let Err(problem) = self.take(&text) {
                        return Poll::Ready(End::Close(4400, "malformed", Some(problem)));
                    }
                }
                Message::Binary(_) => {
                    let detail = "frames are JSON text";
                    let problem = Problem::new(ProblemCode::Invalid, detail);
                    return Poll::Ready(End::Close(4400, "malformed", Some(problem)));
                }
                // tungstenite answers it with the next that is read.
                Message::Close(_) => return Poll::Ready(End::Left),
                // And pings by itself.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        // Frames were left unread.
        self.arrival.expect();
        Poll::Pending
    }

    fn take(&mut self, frame: &str) -> Result<(), Problem> {
        let frame = parse_client_frame(frame)?;
        if let Some(ack) = frame.ack {
            if ack > self.after {
                return Err(Problem::invalid("ack", format!("is beyond {}", self.after)));
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
            // For the frames that were left no waker stands.
            cx.waker().wake_by_ref();
        }
        if work.is_empty() {
            self.work = None;
        }
    }

    /// Frames what the mailbox has. Ready with nothing if there is more, for which nobody will wake: what
    /// waits to be written has to leave first.
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
            Poll::Ready(Streamed::Replaced) => {
                Poll::Ready(Some(End::Close(4409, "replaced by another connection", None)))
            }
            Poll::Ready(Streamed::Ended(ended)) => Poll::Ready(Some(farewell(ended))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        while self.ping.as_mut().poll(cx).is_ready() {
            // A stream of HTTP/2 may stand still while its connection moves, so the connection's own
            // deadline does not see it.
            let outgoing = self.stream.get_ref();
            let stuck = outgoing.waiting() > 0 && outgoing.taken() == self.taken;
            if stuck || self.missed_pings >= MISSED_PINGS {
                return Poll::Ready(End::Gone);
            }
            self.taken = outgoing.taken();
            self.missed_pings += 1;
            self.ping.as_mut().reset(Instant::now() + self.ping_interval);
            let mut stream = Pin::new(&mut self.stream);
            if stream.as_mut().poll_ready(cx).is_ready() {
                let sent = stream.as_mut().start_send(Message::Ping(Bytes::new()));
                if sent.is_err() || matches!(stream.poll_flush(cx), Poll::Ready(Err(_))) {
                    return Poll::Ready(End::Gone);
                }
            }
        }
        Poll::Pending
    }

    /// Carries out what was read before the end. Whoever is still there is told what came of it;
    /// for somebody who is not, a send needs to have its place and no more.
    async fn finish(&mut self, end: &End) {
        let Some(mut work) = self.work.take() else { return };
        let answers = match end {
            // Nothing more is done in the name of somebody who has logged out.
            End::Close(TOKEN_ENDED, ..) => return,
            End::Gone => false,
            End::Left | End::Close(..) => true,
        };
        let (engine, session) = (&self.engine, self.reader.session());
        let outgoing = self.stream.get_mut();
        let done = poll_fn(|cx| {
            loop {
                match work.poll_reply(cx, engine, session) {
                    Poll::Ready(Some(reply)) if answers => {
                        outgoing.json(&serde_json::json!({ "reply": reply }));
                    }
                    Poll::Ready(Some(_)) => {}
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending if !answers && work.has_begun() => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        // As long as any sender waits. There are at most as many replies as jobs were open.
        if timeout(self.engine.limits().confirm_within, done).await.is_err() {
            tracing::debug!("not all of what a client had asked before it left was done");
        }
    }

    /// Says why, closes with a code, and waits for the client to do the same.
    async fn close(&mut self, code: u16, reason: &'static str, problem: Option<Problem>) {
        if let Some(problem) = problem {
            self.stream.get_mut().json(&serde_json::json!({ "error": problem }));
        }
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        if self.stream.send(Message::Close(Some(frame))).await.is_ok() {
            self.read_out().await;
        }
    }

    /// Reads to the end. What the client still sends is let go of, so that it can finish and see the
    /// close: a connection that is dropped with unread input is reset (RFC 9293 section 3.6.1).
    async fn read_out(&mut self) {
        while let Some(Ok(_)) = self.stream.next().await {}
    }
}

/// How a socket is closed whose session has ended.
fn farewell(ended: EndReason) -> End {
    match ended {
        EndReason::LoggedOut => End::Close(TOKEN_ENDED, "token ended", Some(ended.into())),
        // The event `draining` went before.
        EndReason::Draining => End::Close(1012, "draining", None),
        _ => End::Close(4404, "session gone", Some(ended.into())),
    }
}

/// How a socket is closed whose client broke the protocol.
fn refusal(error: &Error) -> End {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
            let detail = format!("frames and messages: at most {max_size} bytes");
            let problem = Problem::new(ProblemCode::TooLarge, detail);
            End::Close(4413, "too large", Some(problem))
        }
        Error::Utf8(_) => {
            let problem = Problem::new(ProblemCode::Invalid, "text must be UTF-8");
            End::Close(1007, "not UTF-8", Some(problem))
        }
        Error::Protocol(violation) => {
            let problem = Problem::new(ProblemCode::Invalid, violation.to_string());
            End::Close(1002, "protocol error", Some(problem))
        }
        _ => End::Gone,
    }
}
