//! The life of one connection, plain or within TLS: socket options, the TLS handshake, and the response
//! to each request that hyper reads. [`handoff`](super::handoff) says which reader has the connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Method, Request, Response};
use http_body::Body as _;
use http_body_util::Either;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use pabal_core::engine::{Budget, BudgetKind, Reservation};
use pabal_transports::{
    Body, Connection, ConnectionMeter, Held, Meters, Permit, Wire, problem_response,
};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::Instrument;

use super::cancelled::Cancelled;
use super::host;
use super::poll_server::PollServer;
use super::request_body::RequestBody;
use super::response_headers::ResponseHeaders;
use super::transfer_coding;
use crate::api::{ClientAddress, DirectPeer, RequestBytes};
use crate::config;
use crate::tls::{Tls, chose_http2};

/// How many bytes the kernel holds that a client has not taken. More than a batch, so that a client that
/// reads never waits for it.
const UNSENT_BYTES: u32 = 128 * 1024;
/// The longest head of a request, in bytes. Tokens are short, and Pabal sets no cookies.
const HEAD_BYTES: usize = 64 * 1024;

/// How many bytes are counted for an answer before the request is carried out. Answers to changes are not
/// longer, or by little.
const SMALL_ANSWER: usize = 4 * 1024;

/// What all connections of a listener share.
pub(super) struct Connections {
    tls: Option<Arc<Tls>>,
    pub(super) polls: PollServer,
    pub(super) http1: http1::Builder,
    router: Router,
    budget: Budget,
    meters: Meters,
    /// How soon a new connection must have sent a request.
    pub(super) first_request: Duration,
    /// How long a client may take nothing of what is written.
    pub(super) write_within: Duration,
    /// Connections end after the request in progress.
    pub(super) finishing: CancellationToken,
    /// Connections end at once.
    abort: CancellationToken,
    /// The tasks of HTTP/2 streams.
    pub(super) tasks: TaskTracker,
}

/// A response of the transports, or one of the API.
pub(super) type AnyResponse = Response<Either<Body, axum::body::Body>>;

impl Connections {
    pub(super) fn new(
        server: &config::Server,
        tls: Option<Arc<Tls>>,
        polls: PollServer,
        (router, budget): (Router, Budget),
        meters: Meters,
        (finishing, abort, tasks): (CancellationToken, CancellationToken, TaskTracker),
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(polls.idle)
            // Responses are small: one copy costs less than a second slice for the kernel.
            .writev(false)
            .max_buf_size(HEAD_BYTES);
        let first_request = Duration::from_millis(server.first_request_timeout_ms);
        let write_within = Duration::from_millis(server.write_timeout_ms);
        Self {
            tls,
            polls,
            http1,
            router,
            budget,
            meters,
            first_request,
            write_within,
            finishing,
            abort,
            tasks,
        }
    }

    /// Whether clients connect by TLS.
    pub(super) fn within_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The address that a connection counts for. `None` for a trusted proxy, which carries the requests of
    /// many clients.
    pub(super) fn counted_for(&self, peer: IpAddr) -> Option<IpAddr> {
        (!self.polls.proxies.trusts(peer)).then_some(peer)
    }

    /// Serves one connection until it ends or becomes a WebSocket.
    pub(super) async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        permit: Permit,
    ) {
        if let Err(error) = self.prepare(&stream) {
            tracing::debug!(%error, "socket options not set");
        }
        let meter = match self.counted_for(peer.ip()) {
            Some(_) => self.meters.connection(),
            None => self.meters.shared_connection(),
        };
        let wire = Wire::new(stream, Arc::clone(&meter), self.write_within);
        let talk = async {
            match &self.tls {
                None => {
                    let stream = Connection::new(wire, Arc::clone(&meter), permit);
                    self.talk(stream, peer, &meter).await;
                }
                // Boxed: a plain connection should not have memory for it.
                Some(tls) => Box::pin(self.talk_within(tls, wire, peer, &meter, permit)).await,
            }
        };
        let abort = pin!(self.abort.cancelled());
        tokio::select! {
            biased;
            () = talk => {}
            () = Cancelled::new(&self.abort, abort) => {}
        }
    }

    fn prepare(&self, stream: &TcpStream) -> io::Result<()> {
        // A client that vanished acknowledges nothing. By default the kernel would retransmit for a quarter
        // of an hour, and an event stream, to which the client sends nothing, would stay open.
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(stream).set_tcp_user_timeout(Some(self.write_within))?;
        // What a slow client has not taken waits in its mailbox, which is bounded and shared with others.
        // By default the kernel would take megabytes per client before it reports that the client is slow.
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES)?;
        // Responses are written at once and whole: Nagle's algorithm could only delay them.
        stream.set_nodelay(true)
    }

    async fn talk_within(
        self: &Arc<Self>,
        tls: &Tls,
        wire: Wire<TcpStream>,
        peer: SocketAddr,
        meter: &Arc<ConnectionMeter>,
        permit: Permit,
    ) {
        let shaken = tokio::select! {
            shaken = timeout(self.first_request, tls.accept(wire)) => shaken,
            () = self.finishing.cancelled() => return,
        };
        match shaken {
            Ok(Ok(stream)) => {
                let http2 = chose_http2(&stream);
                let stream = Connection::new(stream, Arc::clone(meter), permit);
                if http2 {
                    // ALPN decided the protocol, whatever bytes come (RFC 9113 section 3.3).
                    let deadline = Some(Instant::now() + self.first_request);
                    let finishing = pin!(self.finishing.cancelled());
                    return self.http2(stream, peer, meter, deadline, finishing).await;
                }
                self.talk(stream, peer, meter).await;
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
        }
    }

    /// The response to a request that hyper read, with the headers that every response carries.
    pub(super) async fn dispatch(
        &self,
        request: Request<RequestBody>,
        peer: SocketAddr,
        meter: &Arc<ConnectionMeter>,
    ) -> AnyResponse {
        let client = self.polls.proxies.client(peer.ip(), request.headers());
        if self.polls.serves(request.uri().path()) && request.method() == Method::GET {
            let headers = ResponseHeaders::of_read(&request, &self.polls.origins);
            let mut response = self.respond(request, (peer.ip(), client), meter).await;
            if let Some(headers) = headers {
                headers.write(response.headers_mut());
            }
            return response;
        }
        let headers = ResponseHeaders::of(&request, &self.polls.origins);
        let span = tracing::info_span!("request", id = headers.id(), %client);
        let (method, path) = (request.method().clone(), request.uri().clone());
        let responding = async {
            // Preflights and handshakes of foreign pages end here, before the rate limit.
            let valid = host::is_valid(&request) && transfer_coding::is_known(&request);
            let response = match valid.then(|| self.polls.origins.respond(&request)).flatten() {
                Some(response) => response.map(Either::Left),
                None => self.respond(request, (peer.ip(), client), meter).await,
            };
            // Without the query, which may hold what only the client should know.
            tracing::debug!(%method, path = path.path(), status = response.status().as_u16());
            response
        };
        let mut response = responding.instrument(span).await;
        headers.write(response.headers_mut());
        response
    }

    async fn respond(
        &self,
        mut request: Request<RequestBody>,
        (peer, client): (IpAddr, IpAddr),
        meter: &Arc<ConnectionMeter>,
    ) -> AnyResponse {
        if !host::is_valid(&request) {
            meter.claim_for_api();
            return host::refuse(&request).map(Either::Left);
        }
        if !transfer_coding::is_known(&request) {
            meter.claim_for_api();
            return transfer_coding::refuse().map(Either::Left);
        }
        if let Err(problem) = self.polls.requests.from_address(client) {
            meter.claim_for_api();
            return problem_response(&problem).map(Either::Left);
        }
        if let Some(transports) = &self.polls.transports
            && transports.serves(request.uri().path())
        {
            if let Some((peers, node)) = self.polls.elsewhere(&request) {
                meter.claim_for_api();
                self.polls.may_wait(&request, meter);
                return Box::pin(peers.forward(node, request, (client, Arc::clone(meter))))
                    .await
                    .map(Either::Left);
            }
            return transports.serve(request, meter).await.map(Either::Left);
        }
        meter.claim_for_api();
        request.extensions_mut().insert(ClientAddress(client));
        request.extensions_mut().insert(DirectPeer(peer));
        if !request.uri().path().starts_with("/v1/") {
            // Health and metrics must respond at the limit, too. Pages are not copied.
            return call(&self.router, request).await.map(Either::Right);
        }
        // Before anything is done: a change must not be refused after it was made.
        let holder = meter.holder(None);
        let small = self.budget.reserve(BudgetKind::Answers, holder.clone(), SMALL_ANSWER);
        let small = match small {
            Ok(small) => small,
            Err(problem) => return problem_response(&problem).map(Either::Left),
        };
        let (reads, bytes) = (request.method() == Method::GET, RequestBytes::new(holder));
        request.extensions_mut().insert(bytes.clone());
        let mut response = call(&self.router, request).await;
        // Long answers were counted before they were built.
        if response.extensions().get::<Held>().is_none() {
            let length = response.body().size_hint().lower() as usize;
            let held = match length > SMALL_ANSWER && reads {
                true => self.budget.reserve(BudgetKind::Answers, bytes.holder(), length),
                false => Ok(small),
            };
            match held {
                Ok(held) => drop(response.extensions_mut().insert(Held(Arc::new(held)))),
                Err(problem) => return problem_response(&problem).map(Either::Left),
            }
        }
        response.map(Either::Right)
    }
}

async fn call(router: &Router, request: Request<RequestBody>) -> Response<axum::body::Body> {
    match router.clone().call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Takes out of a response what counts its bytes. The writer of the response keeps it until they are
/// written.
pub(super) fn take_held(response: &mut AnyResponse) -> Option<Arc<Reservation>> {
    match response.body_mut() {
        Either::Left(body) => body.take_held().map(Arc::new),
        Either::Right(_) => response.extensions_mut().remove::<Held>().map(|held| held.0),
    }
}

/// Waits until the deadline; for ever without one.
pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
