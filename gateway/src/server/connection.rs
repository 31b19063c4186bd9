//! The life of one connection, plain or within TLS: reads are answered lean, everything else by
//! hyper.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use http::{Method, Request, Response};
use http_body_util::Either;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pabal_transports::{Body, Connection, ConnectionMeter, Meters, Permit, Wire, problem_response};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::Instrument;

use super::cancelled::Cancelled;
use super::marks::Marks;
use super::reads::{Left, Reads, is_plain};
use super::streams::{Pieces, Streams, while_open};
use crate::api::From;
use crate::config;
use crate::tls::{Tls, chose_http2};

/// As much as the kernel holds of what a client has no room for; more than a batch, so that a client
/// that reads never waits for it.
const UNSENT_BYTES: u32 = 128 * 1024;
/// The longest head of a request: tokens are short, cookies of other sites are not ours.
const HEAD_BYTES: usize = 64 * 1024;
/// Requests under way on one HTTP/2 connection.
const STREAMS: u32 = 256;
/// How often a quiet HTTP/2 connection is asked whether its client is still there.
const HTTP2_PING: Duration = Duration::from_secs(25);
/// How long a connection that ends may take to say so.
const GOODBYE: Duration = Duration::from_secs(2);

/// What all connections of a listener share.
pub(super) struct Connections {
    tls: Option<Arc<Tls>>,
    reads: Reads,
    http1: http1::Builder,
    router: Router,
    meters: Meters,
    /// How soon a new connection must have asked for something.
    first_request: Duration,
    /// How long a client may take nothing of what is written.
    write_within: Duration,
    finishing: CancellationToken,
    abort: CancellationToken,
    /// Where the streams of HTTP/2 run.
    tasks: TaskTracker,
}

/// What hyper's service tells whoever drives the connection.
#[derive(Default)]
struct Told {
    /// A request was read.
    asked: AtomicBool,
    /// The request is a read, and the connection is wanted back to answer it.
    read: Mutex<Option<Box<Request<()>>>>,
}

/// Ends hyper's part in a connection: a read came.
#[derive(Debug, thiserror::Error)]
#[error("the connection goes on without hyper")]
struct HandOver;

/// What requests come from: a socket, or TLS on one.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

type Answer = Response<Either<Body, axum::body::Body>>;

impl Connections {
    pub(super) fn new(
        server: &config::Server,
        tls: Option<Arc<Tls>>,
        reads: Reads,
        router: Router,
        meters: Meters,
        (finishing, abort, tasks): (CancellationToken, CancellationToken, TaskTracker),
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(reads.idle)
            // Answers are small: one copy costs less than a second slice for the kernel to walk.
            .writev(false)
            .max_buf_size(HEAD_BYTES);
        let first_request = Duration::from_millis(server.first_request_timeout_ms);
        let write_within = Duration::from_millis(server.write_timeout_ms);
        Self {
            tls,
            reads,
            http1,
            router,
            meters,
            first_request,
            write_within,
            finishing,
            abort,
            tasks,
        }
    }

    /// Whether clients come by TLS.
    pub(super) fn within_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The address that a connection is counted for; none, if it carries the requests of others.
    pub(super) fn counted_for(&self, peer: IpAddr) -> Option<IpAddr> {
        (!self.reads.proxies.trusts(peer)).then_some(peer)
    }

    /// Serves one connection until it ends or becomes a WebSocket.
    pub(super) async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        permit: Permit,
    ) {
        if let Err(error) = self.prepare(&stream) {
            tracing::debug!(%error, "a socket could not be prepared");
        }
        let meter = self.meters.connection();
        let wire = Wire::new(stream, Arc::clone(&meter), self.write_within);
        let talk = async {
            match &self.tls {
                None => {
                    let stream = Connection::new(wire, Arc::clone(&meter), permit);
                    self.talk(stream, peer, &meter).await;
                }
                // Boxed: a plain connection should not have room for it.
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
        // A client that vanished acknowledges nothing. Without this the system would go on trying
        // for a quarter of an hour, and an event stream, which is never asked anything, stay open.
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(stream).set_tcp_user_timeout(Some(self.write_within))?;
        // What a slow client has not taken waits in its mailbox, which is bounded and shared with
        // others. The kernel would take megabytes a client before it said that it is slow.
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES)?;
        // Answers are written at once and whole: Nagle's algorithm could only delay them.
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
                    // What was agreed on holds, whatever comes (RFC 9113 section 3.3).
                    let deadline = Some(Instant::now() + self.first_request);
                    let finishing = pin!(self.finishing.cancelled());
                    return self.http2(stream, peer, meter, deadline, finishing).await;
                }
                self.talk(stream, peer, meter).await;
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
        }
    }

    async fn talk<S: Stream>(
        self: &Arc<Self>,
        mut stream: Connection<S>,
        peer: SocketAddr,
        meter: &Arc<ConnectionMeter>,
    ) {
        let finishing = pin!(self.finishing.cancelled());
        let mut finishing = Cancelled::new(&self.finishing, finishing);
        // Until when the client has to ask for something; a deadline no more once it did, be it for a
        // read.
        let mut unasked = Some(Instant::now() + self.first_request);
        let mut read = None;
        loop {
            let client = (&mut stream, peer.ip());
            let first = read.take();
            let reads = self.reads.serve(client, meter, first, &mut unasked, &mut finishing);
            // Boxed: a parked poll should not have room for what hyper needs.
            match reads.await {
                Left::Closed => {
                    // TLS has a last word of its own. Whoever has gone does not mind.
                    let _ = timeout(GOODBYE, stream.shutdown()).await;
                    return;
                }
                Left::Http2 => {
                    let finishing = finishing.wait.as_mut();
                    return Box::pin(self.http2(stream, peer, meter, unasked, finishing)).await;
                }
                Left::Http1 => {
                    let (deadline, finishing) = (unasked.take(), finishing.wait.as_mut());
                    let left = self.http1(stream, peer, meter, deadline, finishing);
                    let Some((back, request)) = Box::pin(left).await else { return };
                    (stream, read) = (back, Some(request));
                }
            }
        }
    }

    /// Lets hyper answer, until the connection ends or a read comes.
    async fn http1<S: Stream>(
        self: &Arc<Self>,
        stream: Connection<S>,
        peer: SocketAddr,
        meter: &Arc<ConnectionMeter>,
        deadline: Option<Instant>,
        mut finishing: Pin<&mut WaitForCancellationFuture<'_>>,
    ) -> Option<(Connection<S>, Box<Request<()>>)> {
        let told = Arc::new(Told::default());
        let service = {
            let (this, told, meter) = (Arc::clone(self), Arc::clone(&told), Arc::clone(meter));
            service_fn(move |request: Request<Incoming>| {
                told.asked.store(true, Ordering::Relaxed);
                let hand_over = this.takes_over(&request, &meter);
                let (this, told, meter) =
                    (Arc::clone(&this), Arc::clone(&told), Arc::clone(&meter));
                async move {
                    if hand_over {
                        let mut read = told.read.lock().unwrap_or_else(PoisonError::into_inner);
                        *read = Some(Box::new(request.map(drop)));
                        return Err(HandOver);
                    }
                    Ok(this.dispatch(request, peer, &meter).await)
                }
            })
        };
        let stream = TokioIo::new(stream);
        let mut connection = self.http1.serve_connection(stream, service).with_upgrades();
        let mut first = pin!(until(deadline));
        let (mut waiting, mut running) = (deadline.is_some(), true);
        let outcome = loop {
            tokio::select! {
                outcome = &mut connection => break outcome,
                () = first.as_mut(), if waiting => {
                    waiting = false;
                    if !told.asked.load(Ordering::Relaxed) {
                        return None;
                    }
                }
                () = finishing.as_mut(), if running => {
                    running = false;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        let Err(error) = outcome else { return None };
        let read = told.read.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(request) = read else {
            tracing::debug!(%peer, %error, "a connection ended badly");
            return None;
        };
        let parts = connection.into_parts()?;
        let mut stream = parts.io.into_inner();
        stream.give_back(parts.read_buf);
        Some((stream, request))
    }

    /// Whether a request ends hyper's part. Not while an answer before it waits to be written: that
    /// would be lost with hyper's buffer.
    fn takes_over(&self, request: &Request<Incoming>, meter: &ConnectionMeter) -> bool {
        !meter.is_stalled()
            && request.body().is_end_stream()
            && is_plain(request)
            && self.reads.serves(request.uri().path())
    }

    async fn http2<S: Stream>(
        self: &Arc<Self>,
        stream: Connection<S>,
        peer: SocketAddr,
        meter: &Arc<ConnectionMeter>,
        deadline: Option<Instant>,
        mut finishing: Pin<&mut WaitForCancellationFuture<'_>>,
    ) {
        let asked = Arc::new(AtomicBool::new(false));
        let service = {
            let (this, asked, meter) = (Arc::clone(self), Arc::clone(&asked), Arc::clone(meter));
            service_fn(move |mut request: Request<Incoming>| {
                asked.store(true, Ordering::Relaxed);
                let (this, meter) = (Arc::clone(&this), Arc::clone(&meter));
                async move {
                    if request.method() == Method::CONNECT
                        && let Some(open) = while_open()
                    {
                        request.extensions_mut().insert(open);
                    }
                    let answer = this.dispatch(request, peer, &meter).await;
                    Ok::<_, HandOver>(answer.map(Pieces::of))
                }
            })
        };
        let streams = Streams::new(self.tasks.clone(), self.write_within);
        let mut connection = pin!(
            http2::Builder::new(streams.clone())
                .timer(TokioTimer::new())
                .keep_alive_interval(HTTP2_PING)
                .keep_alive_timeout(HTTP2_PING)
                .max_concurrent_streams(STREAMS)
                // WebSockets may come as streams (RFC 8441).
                .enable_connect_protocol()
                .serve_connection(TokioIo::new(stream), service)
        );
        let mut first = pin!(until(deadline));
        let mut idle = pin!(streams.idle(self.reads.idle));
        let (mut waiting, mut running, mut leaving) = (deadline.is_some(), true, false);
        loop {
            tokio::select! {
                outcome = connection.as_mut() => {
                    if let Err(error) = outcome {
                        tracing::debug!(%peer, %error, "a connection ended badly");
                    }
                    return;
                }
                () = first.as_mut(), if waiting => {
                    waiting = false;
                    if !asked.load(Ordering::Relaxed) {
                        return;
                    }
                }
                // Answering pings is not using it.
                () = idle.as_mut() => {
                    if leaving {
                        return;
                    }
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                    // The ends of answers may still be on their way; not for ever.
                    idle.set(streams.idle(self.write_within));
                }
                () = finishing.as_mut(), if running => {
                    running = false;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    /// Answers a request, with the headers that all answers have.
    async fn dispatch(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        meter: &Arc<ConnectionMeter>,
    ) -> Answer {
        if self.reads.serves(request.uri().path()) && request.method() == Method::GET {
            let marks = Marks::of_read(&request, &self.reads.origins);
            let client = self.reads.proxies.client(peer.ip(), request.headers());
            let mut answer = self.answer(request, client, meter).await;
            if let Some(marks) = marks {
                marks.write(answer.headers_mut());
            }
            return answer;
        }
        let marks = Marks::of(&request, &self.reads.origins);
        let client = self.reads.proxies.client(peer.ip(), request.headers());
        let span = tracing::info_span!("request", id = marks.id(), %client);
        let (method, path) = (request.method().clone(), request.uri().clone());
        let answered = async {
            let answer = match self.reads.origins.answer(&request) {
                Some(answer) => answer.map(Either::Left),
                None => self.answer(request, client, meter).await,
            };
            // Without the query, which is the client's business.
            tracing::debug!(%method, path = path.path(), status = answer.status().as_u16());
            answer
        };
        let mut answer = answered.instrument(span).await;
        marks.write(answer.headers_mut());
        answer
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        client: IpAddr,
        meter: &Arc<ConnectionMeter>,
    ) -> Answer {
        if let Err(problem) = self.reads.requests.from_address(client) {
            meter.claim_for_api();
            return problem_response(&problem).map(Either::Left);
        }
        if let Some(transports) = &self.reads.transports
            && transports.serves(request.uri().path())
        {
            if let Some((peers, node)) = self.reads.elsewhere(&request) {
                meter.claim_for_api();
                return Box::pin(peers.answer(node, request, client)).await.map(Either::Left);
            }
            return transports.serve(request, meter).await.map(Either::Left);
        }
        meter.claim_for_api();
        request.extensions_mut().insert(From(client));
        match self.router.clone().call(request).await {
            Ok(response) => response.map(Either::Right),
            Err(never) => match never {},
        }
    }
}

/// Waits for the deadline, if there is one.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
