//! Builds a node from its configuration: the stores, the engine on them, and the services for
//! clients; and stops it.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use maxminddb::MaxMindDbError;
use pabal_core::engine::{Engine, EngineConfig, StartError};
use pabal_core::ports::{BoxFuture, NodeInfo};
use pabal_transports::{Admission, AdmissionLimits, Requests, Transports, TransportsConfig};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{self, Api, Changes, Effects, Parts};
use crate::auth::{
    Attempts, PasswordError, Passwords, keep_forgetting_networks, keep_removing_expired,
};
use crate::config::{Config, PublicUrl};
use crate::control::Control;
use crate::descriptors;
use crate::discovery::{self, GeoDatabase};
use crate::https::HttpsError;
use crate::leftovers::keep_removing_leftovers;
use crate::peers::Peers;
use crate::push::{ClientError, Webhook};
use crate::revocations::Revocations;
use crate::server::Services;
use crate::stores::{Stores, StoresError};
use crate::telemetry::{Metrics, Sources};
use crate::tls::Tls;

/// How often rate limiters remove the counters of addresses and names that are back at zero.
const TIDY: Duration = Duration::from_secs(60);

/// How often expired tokens are removed from the directory.
const REMOVE_EXPIRED: Duration = Duration::from_secs(60 * 60);

/// A node without its listeners. Requests reach it through a [`Server`](crate::server::Server)
/// started on its [`services`](Self::services).
#[derive(Debug)]
pub struct App {
    services: Services,
    engine: Engine,
    stores: Stores,
    draining: CancellationToken,
    /// Ends the background tasks.
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
    /// The node cannot be announced in the registry.
    #[error(transparent)]
    Registry(#[from] pabal_core::ports::RegistryError),
    /// Passwords cannot be hashed.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The HTTP client of the webhook cannot be created.
    #[error(transparent)]
    Webhook(#[from] ClientError),
    /// The location database cannot be read.
    #[error("node.location_database: cannot read {path}: {why}")]
    GeoDatabase {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: MaxMindDbError,
    },
    /// The HTTP client for other nodes cannot be created.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// The OpenAPI document cannot be serialised.
    #[error("cannot serialise the OpenAPI document: {0}")]
    Description(#[from] serde_json::Error),
    /// A task of the start was cancelled.
    #[error("the start was interrupted")]
    Interrupted,
}

impl App {
    /// Opens the stores, starts the engine and its background tasks, and announces the node in the
    /// registry. Clients will reach the node at `address`, by TLS if `tls` is given.
    ///
    /// # Errors
    /// [`BuildError`]. Everything that was opened is closed again. A retry may succeed if a server
    /// was unavailable; other errors need a change of the configuration.
    pub fn build(
        config: &Config,
        address: SocketAddr,
        tls: Option<Arc<Tls>>,
    ) -> BoxFuture<'_, Result<Self, BuildError>> {
        Box::pin(async move {
            let geo = open_geo(config.node.location_database.as_deref()).await?;
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
                Self::assemble(config, (address, tls), &engine, stores.clone(), geo).await;
            if assembled.is_err() {
                engine.shutdown().await;
                stores.close().await;
            }
            assembled
        })
    }

    async fn assemble(
        config: &Config,
        (address, tls): (SocketAddr, Option<Arc<Tls>>),
        engine: &Engine,
        stores: Stores,
        geo: Option<GeoDatabase>,
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
        let peers = Peers::new(engine.clone(), transports.requests().clone(), config, &peer_url)?;
        let api = Api::new(Parts {
            requests: transports.requests().clone(),
            attempts: Attempts::new(&config.limits, &config.auth),
            sends: stores.sends.clone(),
            metrics: Metrics::new(Sources {
                engine: engine.clone(),
                transports: transports.clone(),
                admission: admission.clone(),
                passwords: passwords.clone(),
                peers: peers.clone(),
                tls,
            }),
            public_metrics: config.server.public_metrics,
            passwords,
            changes: Changes::new(requests.clone()),
            revocations: Revocations::new(engine.clone()),
            draining: draining.clone(),
            public_url,
            geo,
            fallback_url,
            token_lifetime: days(config.auth.token_lifetime_days),
            body_bytes: config.limits.body_bytes,
            body_timeout: Duration::from_millis(config.server.body_timeout_ms),
            effects: Effects::new(&config.limits),
            relations: config.relation_limits(),
            accounts: Arc::clone(&stores.accounts),
            engine: engine.clone(),
        });
        let watch = stores.watch(&config.storage)?;
        let app = Self {
            services: Services {
                transports,
                admission,
                peers,
                router: api::router(api.clone())?,
                administration: api::administration(api.clone()),
            },
            reconnect_after: Duration::from_millis(config.server.reconnect_after_ms),
            stop: CancellationToken::new(),
            engine: engine.clone(),
            stores,
            draining,
            background,
            requests,
        };
        let info = discovery::node_info(engine, &config.node, &url, &peer_url);
        app.start_background(config, api, info).await?;
        if let Some(watch) = watch {
            app.spawn(watch.run());
        }
        if let Some(backup) = app.stores.backup.clone() {
            match Control::bind(&config.storage.data_dir) {
                Ok(control) => {
                    let clock = app.stores.clock.clone();
                    app.background.spawn(control.run(backup, clock, app.stop.clone()));
                }
                // The node works without it.
                Err(error) => {
                    tracing::warn!(%error, "no control socket: `pabal backup` needs a stopped node");
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
        let (directory, clock) = (Arc::clone(&ports.directory), Arc::clone(&ports.clock));
        let alone = config.storage.directory.is_none();
        self.spawn(keep_removing_leftovers(directory, clock, alone));
        let (accounts, clock) = (Arc::clone(&self.stores.accounts), Arc::clone(&ports.clock));
        self.spawn(keep_forgetting_networks(accounts, clock, REMOVE_EXPIRED));
        self.spawn(api.revocations.clone().run());
        self.spawn(async move {
            loop {
                tokio::time::sleep(TIDY).await;
                api.attempts.tidy();
                api.requests.tidy();
                api.effects.tidy();
            }
        });
        Ok(())
    }

    /// The services that a [`Server`](crate::server::Server) passes requests to.
    pub fn services(&self) -> Services {
        self.services.clone()
    }

    /// Runs `task` until it returns or the node stops.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.background.spawn(async move {
            tokio::select! {
                () = task => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Completes when the node cannot continue: history failed to make a write durable. It must be
    /// shut down.
    pub async fn failed(&self) {
        self.engine.failed().await;
    }

    /// Refuses new sessions and sends, notifies sessions when to reconnect and ends them, and ends
    /// reads of sessions on other nodes through this one. Takes at most twice `grace`. Idempotent.
    pub fn drain(&self, grace: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.draining.cancel();
            let drained = timeout(grace, self.engine.drain(self.reconnect_after)).await;
            if drained.is_err() {
                tracing::warn!("some sessions were not notified that the node is stopping");
            }
            self.services.transports.shutdown(grace).await;
            self.services.peers.leave();
        })
    }

    /// Waits up to `grace` for changes in progress, ends all background tasks, and closes the
    /// stores.
    pub fn shutdown(self, grace: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.requests.close();
            if timeout(grace, self.requests.wait()).await.is_err() {
                tracing::warn!("some requests were still in progress when the node stopped");
            }
            self.stop.cancel();
            self.background.close();
            self.background.wait().await;
            self.engine.shutdown().await;
            self.stores.close().await;
        })
    }
}

/// Opens the location database on a blocking thread: the file may be large.
async fn open_geo(file: Option<&Path>) -> Result<Option<GeoDatabase>, BuildError> {
    let Some(path) = file.map(Path::to_path_buf) else { return Ok(None) };
    let opened = tokio::task::spawn_blocking(move || {
        GeoDatabase::open(&path).map_err(|why| BuildError::GeoDatabase { path, why })
    });
    Ok(Some(opened.await.map_err(|_| BuildError::Interrupted)??))
}

/// Admits as many connections as are configured, bounded by the limit of open files.
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

/// The URL by which clients on this machine reach `address`, which may be the unspecified address.
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

/// The number of cores that this process may use, at least 1. Respects CPU affinity and cgroup
/// limits.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 24 * 60 * 60)
}
