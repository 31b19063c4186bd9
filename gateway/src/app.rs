//! A node from its parts: the stores, the engine on them, and what serves clients.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use maxminddb::MaxMindDbError;
use pabal_core::engine::{Engine, EngineConfig, StartError};
use pabal_core::ports::NodeInfo;
use pabal_transports::{Admission, AdmissionLimits, Requests, Transports, TransportsConfig};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{self, Api, Changes, Parts};
use crate::auth::{
    Attempts, PasswordError, Passwords, keep_ending_sessions, keep_removing_expired,
};
use crate::config::{Config, PublicUrl};
use crate::control::Control;
use crate::descriptors;
use crate::discovery::{self, Places};
use crate::https::HttpsError;
use crate::peers::Peers;
use crate::push::{ClientError, Webhook};
use crate::server::Tls;
use crate::stores::{Stores, StoresError};
use crate::telemetry::{Metrics, Sources};

/// How often counters of quiet addresses and usernames are forgotten.
const TIDY: Duration = Duration::from_secs(60);

/// How often expired tokens are removed from the directory.
const REMOVE_EXPIRED: Duration = Duration::from_secs(60 * 60);

/// How often a node looks whose sessions an operator ended. They end within a second.
const END_SESSIONS: Duration = Duration::from_millis(300);

/// A node without its sockets.
#[derive(Debug)]
pub struct App {
    /// Serves sessions.
    pub transports: Transports,
    /// Counts the connections of clients.
    pub admission: Admission,
    /// Answers for sessions of other nodes.
    pub(crate) peers: Peers,
    /// Serves everything else.
    pub router: Router,
    /// Serves what operators ask for.
    pub administration: Router,
    engine: Engine,
    stores: Stores,
    draining: CancellationToken,
    /// Ends what runs beside requests.
    stop: CancellationToken,
    background: TaskTracker,
    requests: TaskTracker,
    reconnect_after: Duration,
}

/// Why a node could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A store cannot be opened.
    #[error(transparent)]
    Stores(#[from] StoresError),
    /// The engine did not start.
    #[error(transparent)]
    Engine(#[from] StartError),
    /// The node cannot be announced.
    #[error(transparent)]
    Registry(#[from] pabal_core::ports::RegistryError),
    /// Passwords cannot be hashed.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// No HTTP client for the webhook.
    #[error(transparent)]
    Webhook(#[from] ClientError),
    /// The database of places cannot be used.
    #[error("node.location_database: {path}: {why}")]
    Places {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: MaxMindDbError,
    },
    /// No HTTP client for the other nodes.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// The API cannot be described.
    #[error("the API cannot be described: {0}")]
    Description(#[from] serde_json::Error),
    /// A task of the start was cut off.
    #[error("the start was interrupted")]
    Interrupted,
}

impl App {
    /// Opens the stores and starts the engine; clients will reach it at `address`, by `tls` if there
    /// is one.
    ///
    /// # Errors
    /// [`BuildError`]. What was opened is closed again.
    pub async fn build(
        config: &Config,
        address: SocketAddr,
        tls: Option<Arc<Tls>>,
    ) -> Result<Self, BuildError> {
        let places = places(config.node.location_database.as_deref()).await?;
        let (ports, stores) = Stores::open(config).await?;
        let engine_config = EngineConfig {
            node: config.node.name.clone(),
            partitions: config.storage.partitions,
            limits: config.engine_limits(),
        };
        let engine = match Engine::start(engine_config, ports).await {
            Ok(engine) => engine,
            Err(error) => {
                stores.close().await;
                return Err(error.into());
            }
        };
        let assembled =
            Self::assemble(config, (address, tls), &engine, stores.clone(), places).await;
        if assembled.is_err() {
            engine.shutdown().await;
            stores.close().await;
        }
        assembled
    }

    async fn assemble(
        config: &Config,
        (address, tls): (SocketAddr, Option<Arc<Tls>>),
        engine: &Engine,
        stores: Stores,
        places: Option<Places>,
    ) -> Result<Self, BuildError> {
        let public_url = config.server.public_url.clone();
        let fallback_url = reachable(address, tls.is_some());
        let draining = CancellationToken::new();
        let (background, requests) = (TaskTracker::new(), TaskTracker::new());
        let url = public_url.clone().unwrap_or_else(|| fallback_url.clone());
        let authority = public_url.as_ref().map(|url| url.authority.clone());
        let transports = transports(config, engine, authority, url.secure);
        let passwords = Passwords::new(cores(), config.auth.waiting_hashes)?;
        let admission = admission(config);
        let peer_url = config.node.peer_url.clone().unwrap_or_else(|| url.clone());
        let peers = Peers::new(engine.clone(), config, &peer_url)?;
        let api = Api::new(Parts {
            requests: transports.requests().clone(),
            attempts: Attempts::new(&config.limits, &config.auth),
            metrics: Metrics::new(Sources {
                engine: engine.clone(),
                transports: transports.clone(),
                admission: admission.clone(),
                passwords: passwords.clone(),
                peers: peers.clone(),
                tls,
            }),
            passwords,
            changes: Changes::new(requests.clone()),
            draining: draining.clone(),
            public_url,
            places,
            fallback_url,
            token_lifetime: days(config.auth.token_lifetime_days),
            body_bytes: config.limits.body_bytes,
            body_timeout: Duration::from_millis(config.server.body_timeout_ms),
            group_members: config.limits.group_members,
            engine: engine.clone(),
        });
        let app = Self {
            peers,
            router: api::router(api.clone())?,
            administration: api::administration(api.clone()),
            reconnect_after: Duration::from_millis(config.server.reconnect_after_ms),
            stop: CancellationToken::new(),
            transports,
            admission,
            engine: engine.clone(),
            stores,
            draining,
            background,
            requests,
        };
        let info = discovery::node_info(engine, &config.node, &url, &peer_url);
        app.start_background(config, api, info).await?;
        if let Some(backup) = app.stores.backup.clone() {
            match Control::bind(&config.storage.data_dir) {
                Ok(control) => {
                    app.background.spawn(control.run(backup, app.stop.clone()));
                }
                // All else works without.
                Err(error) => {
                    tracing::warn!(%error, "no control socket: `pabal backup` cannot ask");
                }
            }
        }
        Ok(app)
    }

    async fn start_background(
        &self,
        config: &Config,
        api: Api,
        info: NodeInfo,
    ) -> Result<(), BuildError> {
        let ports = self.engine.ports();
        let webhook = |url: &String| {
            let (queue, clock) = (Arc::clone(&ports.push), Arc::clone(&ports.clock));
            Webhook::new(url, &config.push, queue, clock)
        };
        let webhook = config.push.webhook_url.as_ref().map(webhook).transpose()?;
        discovery::announce(&self.engine, info.clone(), false).await?;
        let (engine, draining) = (self.engine.clone(), self.draining.clone());
        let announced = discovery::keep_announced(engine, info, draining, self.stop.clone());
        self.background.spawn(announced);
        if let Some(webhook) = webhook {
            self.background.spawn(webhook.run(self.stop.clone()));
        }
        let (accounts, clock) = (Arc::clone(&ports.directory), Arc::clone(&ports.clock));
        self.spawn(keep_removing_expired(accounts, clock, REMOVE_EXPIRED));
        let accounts = Arc::clone(&self.stores.accounts);
        self.spawn(keep_ending_sessions(self.engine.clone(), accounts, END_SESSIONS));
        self.spawn(async move {
            loop {
                tokio::time::sleep(TIDY).await;
                api.attempts.tidy();
                api.requests.tidy();
            }
        });
        Ok(())
    }

    /// Runs `task` until it ends or the node stops.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.background.spawn(async move {
            tokio::select! {
                () = task => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Completes when the node cannot go on.
    pub async fn failed(&self) {
        self.engine.failed().await;
    }

    /// Refuses new sessions and sends, tells sessions when to come back, and ends them, and what is
    /// read from other nodes through this one. Waits no longer than `grace`.
    pub async fn drain(&self, grace: Duration) {
        self.draining.cancel();
        let drained = timeout(grace, self.engine.drain(self.reconnect_after)).await;
        if drained.is_err() {
            tracing::warn!("some sessions were not told that the node stops");
        }
        self.transports.shutdown(grace).await;
        self.peers.leave();
    }

    /// Ends every task, after requests have ended, and closes the stores.
    pub async fn shutdown(self, grace: Duration) {
        self.requests.close();
        if timeout(grace, self.requests.wait()).await.is_err() {
            tracing::warn!("some requests were cut off");
        }
        self.stop.cancel();
        self.background.close();
        self.background.wait().await;
        self.engine.shutdown().await;
        self.stores.close().await;
    }
}

/// The places of addresses. It may be a large file.
async fn places(file: Option<&Path>) -> Result<Option<Places>, BuildError> {
    let Some(path) = file.map(Path::to_path_buf) else { return Ok(None) };
    let opened = tokio::task::spawn_blocking(move || {
        Places::open(&path).map_err(|why| BuildError::Places { path, why })
    });
    Ok(Some(opened.await.map_err(|_| BuildError::Interrupted)??))
}

/// As many connections as are configured and as the process may have files open.
fn admission(config: &Config) -> Admission {
    let connections = descriptors::for_connections(config.server.max_connections);
    let per_address = if config.limits.rate_limits {
        config.server.max_connections_per_address
    } else {
        connections
    };
    Admission::new(AdmissionLimits { connections, per_address })
}

fn transports(
    config: &Config,
    engine: &Engine,
    authority: Option<String>,
    secure: bool,
) -> Transports {
    let limits = &config.limits;
    let transports = TransportsConfig {
        poll_min_interval: Duration::from_millis(limits.poll_min_interval_ms),
        long_poll_max_wait: Duration::from_millis(limits.long_poll_max_wait_ms),
        ping_interval: Duration::from_millis(limits.ping_interval_ms),
        body_bytes: limits.body_bytes,
        body_timeout: Duration::from_millis(config.server.body_timeout_ms),
        requests: if limits.rate_limits {
            Requests::limited(
                limits.requests_per_address_per_second,
                limits.requests_per_user_per_second,
            )
        } else {
            Requests::unlimited()
        },
        authority,
        secure,
    };
    Transports::new(engine.clone(), transports)
}

/// How clients on this machine reach `address`, which may be every address it has.
fn reachable(address: SocketAddr, secure: bool) -> PublicUrl {
    let host = if address.ip().is_unspecified() {
        "localhost".to_owned()
    } else if address.is_ipv6() {
        format!("[{}]", address.ip())
    } else {
        address.ip().to_string()
    };
    PublicUrl { secure, authority: format!("{host}:{}", address.port()) }
}

/// The cores this process may use, which its affinity may have narrowed.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 24 * 60 * 60)
}
