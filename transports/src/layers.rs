//! What applies to every transport, as tower layers around each of them: a rate limit, the meter and
//! tracing. A transport knows none of it, and one that is mounted by
//! [`TransportsBuilder::with`](crate::TransportsBuilder::with) gets all of it.
//!
//! ```text
//! Attach ──▶ Traced ──▶ RateLimited ──▶ Metered ──▶ the transport ──▶ response
//!                            │ 429
//! ```
//!
//! The layers are on the hot path: each poll of thousands of clients passes them. So none of them
//! allocates or wraps the response, and a parked poll holds nothing of theirs:
//!
//! - The future of a layer is that of the service within, or, for the rate limit, a union with a
//!   response that is ready. The stack is boxed once, where the table of transports erases its type.
//! - Tracing is an event and not a span: a span would live as long as a long poll or a stream waits, and
//!   cost each of them an entry in the subscriber.
//! - The meter counts bytes at the socket ([`Wire`](crate::Wire)), below TLS and HTTP, and latency where
//!   events are encoded. A layer around the response body would see neither headers nor frames, and
//!   would cost a box for each poll.
//! - Admission bounds connections, not requests ([`Admission`](crate::Admission)). A connection holds its
//!   permit from before the first byte until the last, so admission is where sockets are accepted.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures::future::Either;
use http::Response;
use tower::{Layer, Service};

use crate::http::{Body, problem_response};
use crate::requests::Requests;
use crate::transport::Attach;

/// Emits a `TRACE` event for each request to a transport, with its name and the session.
#[derive(Clone, Copy, Debug)]
pub struct TraceLayer {
    transport: &'static str,
}

impl TraceLayer {
    /// For the transport of this name.
    pub const fn new(transport: &'static str) -> Self {
        Self { transport }
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced { inner, transport: self.transport }
    }
}

/// See [`TraceLayer`].
#[derive(Clone, Copy, Debug)]
pub struct Traced<S> {
    inner: S,
    transport: &'static str,
}

impl<S: Service<Attach>> Service<Attach> for Traced<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, attach: Attach) -> S::Future {
        tracing::trace!(transport = self.transport, session = %attach.session.id(), "request");
        self.inner.call(attach)
    }
}

/// Refuses requests of a user beyond the rate limit with 429 `rate_limited`, before the transport sees
/// them. They count as requests of the API: no transport served them.
#[derive(Clone, Debug)]
pub struct RateLimitLayer {
    requests: Requests,
}

impl RateLimitLayer {
    /// Counts among `requests`.
    pub const fn new(requests: Requests) -> Self {
        Self { requests }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimited<S>;

    fn layer(&self, inner: S) -> RateLimited<S> {
        RateLimited { inner, requests: self.requests.clone() }
    }
}

/// See [`RateLimitLayer`].
#[derive(Clone, Debug)]
pub struct RateLimited<S> {
    inner: S,
    requests: Requests,
}

/// A response that is ready, or the future of a service.
type ReadyOr<F> = Either<Ready<Result<Response<Body>, Infallible>>, F>;

impl<S> Service<Attach> for RateLimited<S>
where
    S: Service<Attach, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ReadyOr<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, attach: Attach) -> Self::Future {
        match self.requests.of_user(attach.session.user_id()) {
            Ok(()) => Either::Right(self.inner.call(attach)),
            Err(problem) => {
                attach.connection.claim_for_api();
                Either::Left(ready(Ok(problem_response(&problem))))
            }
        }
    }
}

/// Counts each request for its transport, and the bytes of its connection from now on.
#[derive(Clone, Copy, Debug, Default)]
pub struct MeterLayer;

impl<S> Layer<S> for MeterLayer {
    type Service = Metered<S>;

    fn layer(&self, inner: S) -> Metered<S> {
        Metered { inner }
    }
}

/// See [`MeterLayer`].
#[derive(Clone, Copy, Debug)]
pub struct Metered<S> {
    inner: S,
}

impl<S: Service<Attach>> Service<Attach> for Metered<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, attach: Attach) -> S::Future {
        attach.count();
        self.inner.call(attach)
    }
}
