//! Sockets: accepts connections, bounds them, and passes each request to the transports or to the API.
//! Knows neither their responses nor what they are built of.
//!
//! In reading order: `connection` is the life of a connection; `handoff` says which reader has it:
//! `poll_server`, `http1` or `http2`.

mod cancelled;
mod connection;
mod handoff;
mod poll_server;
mod response;
mod http1;
mod http2;
mod streams;
mod clients;
mod host;
mod refusal;
mod response_headers;
mod origins;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use pabal_core::ports::BoxFuture;
use pabal_transports::{Admission, AdmissionLimits, Requests, Transports};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{self, Config};
use crate::peers::Peers;
use crate::tls::{Tls, TlsError};
use clients::Proxies;
use connection::Connections;
pub use handoff::Readers;
use origins::Origins;
use poll_server::PollServer;
use refusal::Refusals;

/// How many connections the kernel holds until they are accepted, as when all clients reconnect at once.
const BACKLOG: u32 = 4_096;
/// The most connections to the administration listener.
const ADMINISTRATORS: usize = 64;
/// How long accepting pauses when the process is out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Sockets that are bound. Nothing is served yet.
#[derive(Debug)]
pub struct Listeners {
    clients: TcpListener,
    administration: Option<TcpListener>,
    tls: Option<Arc<Tls>>,
}

/// Why a node cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address is in use, or belongs to another machine.
    #[error("cannot listen on {address}: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Listeners {
    /// Binds the configured addresses.
    ///
    /// # Errors
    /// [`BindError`]. A retry may succeed after another process has released the address.
    pub fn bind(server: &config::Server) -> Result<Self, BindError> {
        let bind = |address| bind(address).map_err(|source| BindError::Address { address, source });
        let tls = match (&server.tls_cert, &server.tls_key) {
            (Some(cert), Some(key)) => Some(Arc::new(Tls::load(cert, key)?)),
            _ => None,
        };
        Ok(Self {
            clients: bind(server.listen)?,
            administration: server.admin_listen.map(bind).transpose()?,
            tls,
        })
    }

    /// The certificate, if clients connect by TLS.
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// The address for clients, with the port that the system chose.
    ///
    /// # Errors
    /// The error of the system. A retry will not help.
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

/// What a server passes requests to. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Services {
    /// Serves sessions.
    pub transports: Transports,
    /// Bounds the connections of clients.
    pub admission: Admission,
    /// Forwards requests for sessions on other nodes.
    pub(crate) peers: Peers,
    /// Serves all other requests of clients.
    pub router: Router,
    /// Serves the administration listener.
    pub administration: Router,
}

/// A node that accepts connections, until [`finish`](Self::finish).
#[derive(Debug)]
pub struct Server {
    /// No new connections are accepted.
    closed: CancellationToken,
    /// Connections end after the request in progress.
    finishing: CancellationToken,
    /// Connections end at once.
    abort: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Starts to accept connections.
    pub fn start(listeners: Listeners, services: Services, config: &Config) -> Self {
        Self::start_with(listeners, services, config, Readers::default())
    }

    /// As [`start`](Self::start), with a choice of which reader serves polls. For tests that compare them.
    pub fn start_with(
        listeners: Listeners,
        services: Services,
        config: &Config,
        readers: Readers,
    ) -> Self {
        let server = Self {
            closed: CancellationToken::new(),
            finishing: CancellationToken::new(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let Listeners { clients, administration: administration_listener, tls } = listeners;
        let Services { transports, admission, peers, router, administration } = services;
        let (meters, budget) = (transports.meters().clone(), transports.budget().clone());
        let part = |transports: Option<Transports>, router: &Router, tls| {
            let idle = Duration::from_millis(config.server.idle_connection_timeout_ms);
            let origins = Origins::new(&config.server);
            let requests =
                transports.as_ref().map_or_else(Requests::unlimited, |it| it.requests().clone());
            let proxies = Proxies::new(&config.server.trusted_proxies);
            let peers = transports.as_ref().map(|_| peers.clone());
            let polls = PollServer { transports, peers, origins, proxies, requests, idle, readers };
            let meters = meters.clone();
            let ends = (server.finishing.clone(), server.abort.clone(), server.tasks.clone());
            let served = (router.clone(), budget.clone());
            Connections::new(&config.server, tls, polls, served, meters, ends)
        };
        let connections = part(Some(transports), &router, tls);
        server.accept(clients, connections, admission);
        if let Some(listener) = administration_listener {
            let limits =
                AdmissionLimits { connections: ADMINISTRATORS, per_address: ADMINISTRATORS };
            let connections = part(None, &administration, None);
            server.accept(listener, connections, Admission::new(limits));
        }
        server
    }

    fn accept(&self, listener: TcpListener, connections: Connections, admission: Admission) {
        let (connections, tasks) = (Arc::new(connections), self.tasks.clone());
        let refusals = Refusals::new(tasks.clone(), !connections.within_tls());
        let closed = self.closed.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = accept(&listener, &connections, (&admission, &refusals), &tasks) => {}
                () = closed.cancelled() => {}
            }
        });
    }

    /// Stops accepting connections.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Waits until the requests in progress have ended, at most `grace`, and then ends all connections. The
    /// transports end WebSockets.
    pub fn finish(self, grace: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.close();
            self.finishing.cancel();
            self.tasks.close();
            if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
                tracing::warn!("some connections did not end in time");
                self.abort.cancel();
                self.tasks.wait().await;
            }
        })
    }
}

/// Accepts connections, as far as admission allows, each into a task of its own.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Connections>,
    (admission, refusals): (&Admission, &Refusals),
    tasks: &TaskTracker,
) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        match admission.admit(connections.counted_for(peer.ip())) {
            Ok(permit) => {
                tasks.spawn(Arc::clone(connections).serve(stream, peer, permit));
            }
            Err(refused) => refusals.refuse(stream, peer, refused),
        }
    }
}
