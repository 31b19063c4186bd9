//! The body of a request. Over HTTP/1 it outlives its handler: what the handler left unread stands between
//! this request and the next one, so it is read first if it is short, or the connection has to end.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use pabal_transports::{BodyError, ConnectionMeter};
use tokio::time::timeout;

/// The longest rest of a body that is read and discarded for the sake of the connection, in bytes. Such a
/// body nearly always arrives with its head.
const SHORT_BYTES: u64 = 4 * 1024;
/// How long such a rest may take to arrive.
const SHORT_WITHIN: Duration = Duration::from_secs(1);

/// The body of a request, for its handler.
pub(super) enum RequestBody {
    /// Of a stream of HTTP/2, which can end without its connection.
    Own(Incoming),
    /// Of a request of HTTP/1.
    Shared(Arc<Shared>),
}

/// A body of HTTP/1, which the handler and the connection share.
pub(super) struct Shared {
    rest: Mutex<Rest>,
    connection: Arc<ConnectionMeter>,
    /// The client waits for a response before it sends the body (RFC 9110 section 10.1.1).
    expects: bool,
}

struct Rest {
    body: Incoming,
    ended: bool,
}

impl RequestBody {
    /// A request whose connection keeps its body, if it has one.
    pub(super) fn share(
        request: Request<Incoming>,
        connection: &Arc<ConnectionMeter>,
    ) -> (Request<Self>, Option<Arc<Shared>>) {
        debug_assert!(request.version() <= Version::HTTP_11, "streams of HTTP/2 end by themselves");
        if request.body().is_end_stream() {
            return (request.map(Self::Own), None);
        }
        let expects = request.headers().contains_key(EXPECT);
        let (head, body) = request.into_parts();
        let rest = Mutex::new(Rest { body, ended: false });
        let shared = Arc::new(Shared { rest, connection: Arc::clone(connection), expects });
        (Request::from_parts(head, Self::Shared(Arc::clone(&shared))), Some(shared))
    }
}

impl Shared {
    /// After the handler: whether the connection can take another request, because the body was read or a
    /// short rest of it arrived.
    pub(super) async fn is_read_out(&self) -> bool {
        let (ended, left) = {
            let rest = self.rest();
            (rest.ended, rest.body.size_hint().upper())
        };
        if ended || self.expects || left.is_some_and(|left| left > SHORT_BYTES) {
            return ended;
        }
        let discard = async {
            let (mut body, mut discarded) = (Reading(self), 0);
            while let Some(frame) = body.frame().await {
                discarded += match frame {
                    Ok(frame) => frame.data_ref().map_or(0, |data| data.len() as u64),
                    Err(_) => return false,
                };
                if discarded > SHORT_BYTES {
                    return false;
                }
            }
            true
        };
        timeout(SHORT_WITHIN, discard).await.unwrap_or_default()
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut rest = self.rest();
        if rest.ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut rest.body).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => rest.ended = true,
            // What comes before the end of the client's side was passed on before the end was read.
            Poll::Pending if self.connection.half_close().is_hidden() => {
                return Poll::Ready(Some(Err("the client closed its side".into())));
            }
            _ => {}
        }
        polled.map_err(Into::into)
    }
}

/// The body, read by the connection.
struct Reading<'a>(&'a Shared);

impl Body for Reading<'_> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_frame(cx)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Shared(shared) => shared.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Shared(shared) => shared.rest().ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Shared(shared) => shared.rest().body.size_hint(),
        }
    }
}
