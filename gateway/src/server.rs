//! Sockets: accepting connections, bounding them, and handing each request to the transports or to
//! the API. Knows neither what they answer nor what they are built of.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use http::{Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use pabal_transports::{
    Admission, AdmissionLimits, Body, Connection, ConnectionMeter, Meters, Permit, Transports,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::api::Peer;
use crate::app::App;
use crate::config::{self, Config};
use crate::descriptors;

/// Connections that the kernel holds while they wait to be accepted, as when all clients come back
/// at once.
const BACKLOG: u32 = 4_096;
/// Connections to the administration listener.
const ADMINISTRATORS: usize = 64;
/// How long accepting pauses when the process is out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// The longest head of a request: tokens are short, cookies of other sites are not ours.
const HEAD_BYTES: usize = 64 * 1024;
/// Requests under way on one HTTP/2 connection.
const STREAMS: u32 = 256;
/// How often a quiet HTTP/2 connection is asked whether its client is still there.
const HTTP2_PING: Duration = Duration::from_secs(25);

/// Sockets that are bound, before anything is served.
#[derive(Debug)]
pub struct Listeners {
    clients: TcpListener,
    administration: Option<TcpListener>,
}

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl Listeners {
    /// Binds what is configured.
    ///
    /// # Errors
    /// [`BindError`], if the address is in use or not this machine's.
    pub fn bind(server: &config::Server) -> Result<Self, BindError> {
        let bind = |address| bind(address).map_err(|source| BindError { address, source });
        Ok(Self {
            clients: bind(server.listen)?,
            administration: server.admin_listen.map(bind).transpose()?,
        })
    }

    /// Where clients connect, with the port that was taken.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.clients.local_addr()
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A node that accepts connections. Ends only by [`finish`](Self::finish).
#[derive(Debug)]
pub struct Server {
    /// No new connections.
    closed: CancellationToken,
    /// Connections end after the request they are at.
    finishing: CancellationToken,
    /// Connections end at once.
    abort: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Starts to accept.
    pub fn start(listeners: Listeners, app: &App, config: &Config) -> Self {
        let server = Self {
            closed: CancellationToken::new(),
            finishing: CancellationToken::new(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let Listeners { clients, administration } = listeners;
        let connections = descriptors::for_connections(config.server.max_connections);
        let per_address = if config.limits.rate_limits {
            config.server.max_connections_per_address
        } else {
            connections
        };
        let limits = AdmissionLimits { connections, per_address };
        let (meters, transports) = (app.transports.meters(), Some(app.transports.clone()));
        let part = |transports, router: &Router| Acceptor {
            transports,
            router: router.clone(),
            meters: meters.clone(),
            http: http(&config.server, &server.tasks),
            first_request: Duration::from_millis(config.server.first_request_timeout_ms),
            finishing: server.finishing.clone(),
            abort: server.abort.clone(),
            tasks: server.tasks.clone(),
        };
        server.accept(clients, part(transports, &app.router), limits);
        if let Some(listener) = administration {
            let limits =
                AdmissionLimits { connections: ADMINISTRATORS, per_address: ADMINISTRATORS };
            server.accept(listener, part(None, &app.administration), limits);
        }
        server
    }

    fn accept(&self, listener: TcpListener, acceptor: Acceptor, limits: AdmissionLimits) {
        let (admission, closed) = (Admission::new(limits), self.closed.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = Arc::new(acceptor).run(&listener, &admission) => {}
                () = closed.cancelled() => {}
            }
        });
    }

    /// Accepts nobody any more.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Lets requests in progress end, within `grace`, and then ends all connections. WebSockets are
    /// not among them: they left HTTP, and the transports end them.
    pub async fn finish(self, grace: Duration) {
        self.close();
        self.finishing.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            tracing::warn!("some connections were cut off");
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }
}

/// HTTP/1.1 and HTTP/2, as each connection begins.
fn http(server: &config::Server, tasks: &TaskTracker) -> Builder<Tracked> {
    let mut http = Builder::new(Tracked(tasks.clone()));
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(server.idle_connection_timeout_ms))
        // Answers are small: one copy costs less than a second slice for the kernel to walk.
        .writev(false)
        .max_buf_size(HEAD_BYTES);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PING)
        .max_concurrent_streams(STREAMS);
    http
}

/// Runs the tasks of HTTP/2 where they can be waited for.
#[derive(Clone, Debug)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

struct Acceptor {
    /// Serves sessions, if this listener is for clients.
    transports: Option<Transports>,
    router: Router,
    meters: Meters,
    http: Builder<Tracked>,
    first_request: Duration,
    finishing: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
}

impl Acceptor {
    async fn run(self: Arc<Self>, listener: &TcpListener, admission: &Admission) {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            match admission.admit(peer.ip()) {
                Ok(permit) => {
                    self.tasks.spawn(Arc::clone(&self).serve(stream, peer, permit));
                }
                Err(refused) => tracing::debug!(%peer, %refused, "a connection was refused"),
            }
        }
    }

    /// Serves one connection until it ends or becomes a WebSocket.
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, permit: Permit) {
        // Answers are written at once and whole: Nagle's algorithm could only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let meter = self.meters.connection();
        let stream = TokioIo::new(Connection::new(stream, Arc::clone(&meter), permit));
        let asked = Arc::new(AtomicBool::new(false));
        let service = {
            let (acceptor, asked) = (Arc::clone(&self), Arc::clone(&asked));
            service_fn(move |request| {
                asked.store(true, Ordering::Relaxed);
                let (acceptor, meter) = (Arc::clone(&acceptor), Arc::clone(&meter));
                async move { Ok::<_, Infallible>(acceptor.dispatch(request, peer, &meter).await) }
            })
        };
        let mut connection =
            std::pin::pin!(self.http.serve_connection_with_upgrades(stream, service));
        let mut deadline = std::pin::pin!(tokio::time::sleep(self.first_request));
        let (mut new, mut finishing) = (true, false);
        loop {
            tokio::select! {
                outcome = connection.as_mut() => {
                    if let Err(error) = outcome {
                        tracing::debug!(%peer, %error, "a connection ended badly");
                    }
                    return;
                }
                () = deadline.as_mut(), if new => {
                    new = false;
                    if !asked.load(Ordering::Relaxed) {
                        return;
                    }
                }
                () = self.finishing.cancelled(), if !finishing => {
                    finishing = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = self.abort.cancelled() => return,
            }
        }
    }

    async fn dispatch(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        meter: &Arc<ConnectionMeter>,
    ) -> Response<Either<Body, axum::body::Body>> {
        if let Some(transports) = &self.transports
            && transports.serves(request.uri().path())
        {
            return transports.serve(request, meter).await.map(Either::Left);
        }
        meter.claim_for_api();
        request.extensions_mut().insert(Peer(peer));
        // Boxed: thousands of parked polls should not have room for what the API needs.
        match Box::pin(self.router.clone().call(request)).await {
            Ok(response) => response.map(Either::Right),
            Err(never) => match never {},
        }
    }
}
