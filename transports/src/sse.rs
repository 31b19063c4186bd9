//! Server-sent events (WHATWG HTML, section 9.2): a stream of batches in one HTTP response.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use pabal_core::engine::{BudgetKind, Engine, Reader, Reservation, Streamed};
use pabal_core::model::Seq;
use pabal_core::protocol::Problem;
use tokio::time::{Instant, Sleep, sleep};
use tower::Service;

use crate::close::Close;
use crate::http::Body;
use crate::meter::{Attached, ConnectionMeter, TransportMeter};
use crate::transport::{Attach, Location, Transport, respond};

/// About how many bytes of events one chunk holds.
const CHUNK_BYTES: usize = 64 * 1024;
/// Up to how many bytes a chunk is not counted in the budget: nearly all chunks hold one event.
const SHORT_BYTES: usize = 4 * 1024;

/// `GET …/events`, with `Last-Event-ID` or `?after=`: `data:` is a batch, `id:` its `next`.
///
/// A client confirms events only when it reconnects, so the session holds what was written as far as its
/// mailbox allows. Before the server ends the stream it sends an event `closed` with the code and reason
/// of a [`Close`].
#[derive(Clone, Copy, Debug)]
pub struct ServerSentEvents {
    /// After how long without events a comment is sent, so that no proxy or client takes the stream for
    /// dead.
    pub keep_alive: Duration,
}

impl Transport for ServerSentEvents {
    const NAME: &'static str = "sse";
    const MOUNT: &'static str = "events";
    const READS: bool = true;

    fn describe(&self, at: &Location<'_>) -> serde_json::Value {
        serde_json::json!({ "url": format!("{}/{}", at.path, Self::MOUNT) })
    }
}

impl Service<Attach> for ServerSentEvents {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, attach: Attach) -> Self::Future {
        ready(Ok(respond(open(&attach, self.keep_alive))))
    }
}

fn open(attach: &Attach, keep_alive: Duration) -> Result<Response<Body>, Problem> {
    attach.require_get()?;
    let after = match attach.request.headers().get("last-event-id") {
        None => attach.query().after()?,
        Some(id) => {
            let id = id.to_str().ok().and_then(|id| id.parse().ok());
            Some(id.ok_or_else(|| Problem::invalid("last-event-id", "must be a decimal number"))?)
        }
    };
    let after = attach.session.position(after)?;
    let reader = attach.session.attach();
    attach.session.confirm(after);
    let mut response = Response::new(Body::stream(Events {
        engine: attach.engine.clone(),
        _attached: attach.meter.attached(),
        meter: attach.meter.clone(),
        connection: Arc::clone(&attach.connection),
        held: None,
        reader,
        after,
        keep_alive,
        quiet: Box::pin(sleep(keep_alive)),
        started: false,
        closed: false,
    }));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Tells nginx and similar proxies not to buffer the stream.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

struct Events {
    engine: Engine,
    reader: Reader,
    meter: TransportMeter,
    connection: Arc<ConnectionMeter>,
    /// Counts the last chunk, if it was a long one.
    held: Option<Reservation>,
    _attached: Attached,
    after: Seq,
    keep_alive: Duration,
    quiet: Pin<Box<Sleep>>,
    started: bool,
    closed: bool,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.closed {
            return Poll::Ready(None);
        }
        if !this.started {
            // A first line at once shows the client that the stream is open.
            this.started = true;
            return chunk(Bytes::from_static(b":\n\n"));
        }
        // The last chunk was taken.
        this.held = None;
        let (mut out, mut refused) = (Vec::new(), false);
        let (user, connection) = (this.reader.session().user_id(), &this.connection);
        let (budget, held) = (this.engine.budget(), &mut this.held);
        let (clock, meter) = (&this.engine.ports().clock, &this.meter);
        let streamed = this.reader.poll_stream(cx, this.after, CHUNK_BYTES, |view| {
            let batch = view.batch();
            if batch.len() > SHORT_BYTES {
                let holder = connection.holder(Some(user));
                *held = budget.reserve(BudgetKind::Answers, holder, batch.len()).ok();
                refused = held.is_none();
                if refused {
                    return;
                }
            }
            out.reserve_exact(batch.len() + 40);
            out.extend_from_slice(format!("id: {}\ndata: ", view.next()).as_bytes());
            batch.write(&mut out);
            out.extend_from_slice(b"\n\n");
            meter.delivered(clock.now(), view.accepted_at());
        });
        match streamed {
            // The client connects again, from the last event that it has.
            Poll::Ready(Streamed::UpTo { .. }) if refused => {
                this.closed = true;
                Poll::Ready(None)
            }
            Poll::Ready(Streamed::UpTo { next, .. }) => {
                this.after = next;
                this.quiet.as_mut().reset(Instant::now() + this.keep_alive);
                chunk(out.into())
            }
            Poll::Ready(Streamed::Replaced) => this.close(Close::Replaced),
            Poll::Ready(Streamed::Ended(ended)) => this.close(ended.into()),
            Poll::Pending => {
                if this.quiet.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.quiet.as_mut().reset(Instant::now() + this.keep_alive);
                chunk(Bytes::from_static(b":\n\n"))
            }
        }
    }
}

impl Events {
    /// The last event.
    fn close(&mut self, close: Close) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.closed = true;
        let data = serde_json::json!({"code": close.code(), "reason": close.reason()});
        chunk(format!("event: closed\ndata: {data}\n\n").into())
    }
}

fn chunk(bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
    Poll::Ready(Some(Ok(Frame::data(bytes))))
}
