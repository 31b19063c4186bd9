//! Sockets: accepting connections, bounding them, and handing each request to the transports or to
//! the API. Knows neither what they answer nor what they are built of.

mod cancelled;
mod connection;
mod streams;
mod clients;
mod reads;
mod refusal;
mod marks;
mod origins;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use pabal_transports::{Admission, AdmissionLimits, Requests, Transports};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{self, Config};
use crate::peers::Peers;
use crate::tls::{Tls, TlsError};
use clients::Proxies;
use connection::Connections;
use origins::Origins;
use reads::Reads;
use refusal::Refusals;

/// Connections that the kernel holds while they wait to be accepted, as when all clients come back
/// at once.
const BACKLOG: u32 = 4_096;
/// Connections to the administration listener.
const ADMINISTRATORS: usize = 64;
/// How long accepting pauses when the process is out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Sockets that are bound, before anything is served.
#[derive(Debug)]
pub struct Listeners {
    clients: TcpListener,
    administration: Option<TcpListener>,
    tls: Option<Arc<Tls>>,
}

/// Why clients cannot be listened to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// An address is in use or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Address {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// There is no certificate to show.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Listeners {
    /// Binds what is configured.
    ///
    /// # Errors
    /// [`BindError`]. A retry may succeed once whoever has the address lets go of it.
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

    /// The certificate that clients are shown, if they come by TLS.
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
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
    /// Starts to accept connections, and passes their requests to `services`.
    pub fn start(listeners: Listeners, services: Services, config: &Config) -> Self {
        let server = Self {
            closed: CancellationToken::new(),
            finishing: CancellationToken::new(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let Listeners { clients, administration: administration_listener, tls } = listeners;
        let Services { transports, admission, peers, router, administration } = services;
        let meters = transports.meters().clone();
        let part = |transports: Option<Transports>, router: &Router, tls| {
            let idle = Duration::from_millis(config.server.idle_connection_timeout_ms);
            let origins = Origins::new(&config.server);
            let requests =
                transports.as_ref().map_or_else(Requests::unlimited, |it| it.requests().clone());
            let proxies = Proxies::new(&config.server.trusted_proxies);
            let peers = transports.as_ref().map(|_| peers.clone());
            let reads = Reads { transports, peers, origins, proxies, requests, idle };
            let meters = meters.clone();
            let ends = (server.finishing.clone(), server.abort.clone(), server.tasks.clone());
            Connections::new(&config.server, tls, reads, router.clone(), meters, ends)
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

    /// Accepts nobody any more.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Lets requests in progress end, within `grace`, and then ends all connections. WebSockets are
    /// not among them: the transports end them.
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

/// Accepts connections, as far as there is room, each into a task of its own.
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
                tracing::warn!(%error, "a connection could not be accepted");
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
