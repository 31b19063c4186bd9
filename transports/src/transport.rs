//! What a transport is: a [`tower::Service`] that gets a session with an HTTP request and returns the
//! response. A transport owns no delivery state: events, positions and confirmations live in the
//! session. So a client may change transport between any two requests and loses, repeats and reorders
//! nothing.
//!
//! # The contract
//! - `poll_ready` is ready at once: admission, the rate limit and the session bound the work, not the
//!   transport.
//! - `call` never fails. A mistake of the client is a response of `application/problem+json`.
//! - The future may be dropped at any moment, because the client disconnected. A read consumes
//!   nothing, so nothing is lost.
//! - A transport reports the events that it writes to [`Attach::meter`]. Requests, bytes, rate limits
//!   and traces are the work of the [layers](crate::layers) around it.
//!
//! Right: read, respond, and let the `after` of the next request confirm. Wrong: remove events from the
//! session because the response *was written*: the client may never have received it.

use std::convert::Infallible;
use std::sync::Arc;

use futures::future::BoxFuture;
use pabal_core::engine::{Engine, Session};
use pabal_core::protocol::Problem;
use tower::Service;

use crate::http::{Body, Query, problem_response};
use crate::meter::{ConnectionMeter, TransportMeter};

/// A way to read from a session. Clones share their state and are cheap: each request is served by one.
pub trait Transport:
    Service<Attach, Response = ::http::Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
    /// Its name in the session document, in advice and in metrics. Unique among the mounted ones.
    const NAME: &'static str;
    /// The last segment of its path: `/v1/sessions/{session_id}/{MOUNT}`. Unique, and not `commands`.
    const MOUNT: &'static str;
    /// Whether it serves `GET` only, from the head of the request alone, by a whole or streamed response.
    /// A server may serve such requests without its HTTP library, which holds buffers of tens of
    /// kilobytes while a client waits.
    const READS: bool = false;
    /// Whether a request may wait for events. Such a request ends when its client closes its side of the
    /// connection; any other is finished (see [`HalfClose`](crate::HalfClose)).
    const WAITS: bool = false;

    /// Its entry in the session document: an object with at least `url`.
    fn describe(&self, at: &Location<'_>) -> serde_json::Value;
}

/// Where the transports of a session are reached.
#[derive(Clone, Copy, Debug)]
pub struct Location<'a> {
    /// The path of the session: `/v1/sessions/{session_id}`.
    pub path: &'a str,
    /// Host and port for absolute URLs: as configured, or else as in the request.
    pub authority: &'a str,
    /// Whether clients come by TLS.
    pub secure: bool,
}

/// A request to a session, after its token was found to be that of the session's user.
#[derive(Debug)]
pub struct Attach {
    /// The engine, for commands and the time.
    pub engine: Engine,
    /// The session to read from.
    pub session: Arc<Session>,
    /// The request without its body: clients send data as commands.
    pub request: ::http::Request<()>,
    /// The counters of the transport.
    pub meter: TransportMeter,
    /// The counters of the connection that the request came on.
    pub connection: Arc<ConnectionMeter>,
}

impl Attach {
    /// The query of the request.
    pub fn query(&self) -> Query<'_> {
        Query::new(self.request.uri().query().unwrap_or_default())
    }

    /// Refuses every method but GET.
    ///
    /// # Errors
    /// `method_not_allowed`. Do not retry.
    pub fn require_get(&self) -> Result<(), Problem> {
        crate::http::require_method(&self.request, &::http::Method::GET)
    }

    /// Counts the request, and has the bytes of the connection count for the transport.
    pub(crate) fn count(&self) {
        self.meter.claim(&self.connection);
        self.meter.request();
    }
}

/// The future of a transport's response. Dropping it detaches the reader and loses nothing.
pub type ResponseFuture = BoxFuture<'static, Result<::http::Response<Body>, Infallible>>;

/// The response of a handler: its own, or the one for its problem.
pub fn respond(result: Result<::http::Response<Body>, Problem>) -> ::http::Response<Body> {
    result.unwrap_or_else(|problem| problem_response(&problem))
}
