//! What a transport is: a [`tower::Service`] that is given a session and an HTTP request and answers
//! it. It owns no delivery state: events, positions and confirmations live in the session, so that
//! a client may change transport between any two requests and lose, repeat and reorder nothing.
//!
//! # The contract
//! - `poll_ready` is ready at once: what bounds the work is admission and the session, not the
//!   transport.
//! - `call` never fails. What the client did wrong is a problem+json answer.
//! - The future may be dropped at any moment, because the client went away. A read consumes
//!   nothing, so nothing is lost by it.
//! - A transport reports what it delivered to [`Attach::meter`].
//!
//! Right: read, answer, and let the next request's `after` confirm. Wrong: take events out of the
//! session because the answer *was written*: the client may never have received it.

use std::convert::Infallible;
use std::sync::Arc;

use futures::future::BoxFuture;
use pabal_core::engine::{Engine, Session};
use pabal_core::protocol::Problem;
use tower::Service;

use crate::http::{Body, Query, problem_response};
use crate::meter::{ConnectionMeter, TransportMeter};

/// A way to read from a session.
pub trait Transport:
    Service<Attach, Response = ::http::Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
    /// Its name in the session document, in advice and in metrics.
    const NAME: &'static str;
    /// The last segment of its path: `/v1/sessions/{session_id}/{MOUNT}`.
    const MOUNT: &'static str;
    /// Whether all it takes is a GET, which is answered as HTTP knows it: whole or as a stream. A
    /// server that knows can hold little while a client waits for news.
    const READS: bool = false;

    /// What the session document says of it: at least its `url`.
    fn describe(&self, at: &Location<'_>) -> serde_json::Value;
}

/// Where a session's transports are reached.
#[derive(Clone, Copy, Debug)]
pub struct Location<'a> {
    /// The path of the session: `/v1/sessions/{session_id}`.
    pub path: &'a str,
    /// The host and port the client used, or the configured one.
    pub authority: &'a str,
    /// Whether clients come by TLS.
    pub secure: bool,
}

/// A request to a session whose caller was found to be its user.
#[derive(Debug)]
pub struct Attach {
    /// The engine, for commands and the time.
    pub engine: Engine,
    /// The session to read from.
    pub session: Arc<Session>,
    /// The request, without its body: what a client has to say it sends as commands.
    pub request: ::http::Request<()>,
    /// Where to report what was delivered.
    pub meter: TransportMeter,
    /// The counters of the connection the request came on.
    pub connection: Arc<ConnectionMeter>,
}

impl Attach {
    /// The request's query.
    pub fn query(&self) -> Query<'_> {
        Query::new(self.request.uri().query().unwrap_or_default())
    }

    /// Refuses every method but GET.
    ///
    /// # Errors
    /// `method_not_allowed`.
    pub fn require_get(&self) -> Result<(), Problem> {
        crate::http::require_method(&self.request, &::http::Method::GET)
    }
}

/// A transport at work on its answer.
pub type Answering = BoxFuture<'static, Result<::http::Response<Body>, Infallible>>;
type Call = Box<dyn Fn(Attach) -> Answering + Send + Sync>;
type Describe = Box<dyn Fn(&Location<'_>) -> serde_json::Value + Send + Sync>;

/// A transport in the table of those that are mounted.
pub(crate) struct Mounted {
    pub(crate) name: &'static str,
    pub(crate) mount: &'static str,
    pub(crate) reads: bool,
    pub(crate) describe: Describe,
    pub(crate) call: Call,
}

impl Mounted {
    pub(crate) fn new<T: Transport>(transport: T) -> Self {
        let described = transport.clone();
        Self {
            name: T::NAME,
            mount: T::MOUNT,
            reads: T::READS,
            describe: Box::new(move |at| described.describe(at)),
            // Ready at once, as the contract says, so there is nothing to poll before the call.
            call: Box::new(move |attach| Box::pin(transport.clone().call(attach))),
        }
    }
}

/// Turns an answer that may be a problem into a response.
pub fn respond(answer: Result<::http::Response<Body>, Problem>) -> ::http::Response<Body> {
    answer.unwrap_or_else(|problem| problem_response(&problem))
}
