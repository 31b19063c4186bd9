//! A node from its parts. The only place that names concrete backends: everything else knows ports.

use std::fs::{DirBuilder, Permissions};
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use pabal_core::engine::{Engine, EngineConfig, StartError};
use pabal_core::memory::{
    MemoryInterest, MemoryMessageLog, MemoryNodeInbox, MemoryNodeRegistry, MemoryPresence,
    SystemClock,
};
use pabal_core::ports::{Clock, Ports, PushNotifier};
use pabal_storage::directory::SqliteDirectory;
use pabal_storage::embedded::{EmbeddedConfig, EmbeddedStore};
use pabal_transports::{Admission, AdmissionLimits, Requests, Transports, TransportsConfig};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{self, Api, Changes, Parts};
use crate::auth::{
    Attempts, PasswordError, Passwords, keep_ending_sessions, keep_removing_expired,
};
use crate::backup::Backup;
use crate::config::{Config, PublicUrl};
use crate::control::Control;
use crate::descriptors;
use crate::discovery;
use crate::push::{ClientError, NoPush, Webhook};
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
    /// Serves everything else.
    pub router: Router,
    /// Serves what operators ask for.
    pub administration: Router,
    engine: Engine,
    directory: SqliteDirectory,
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
    /// The data folder cannot be made.
    #[error("the data folder {path} cannot be used: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A part of the data folder is gone, and the node would go on as if it had never been.
    #[error(
        "the data folder {folder} is damaged: {lost} is gone; `pabal restore` makes one from a backup"
    )]
    Lost {
        /// The folder.
        folder: PathBuf,
        /// What is missing.
        lost: &'static str,
    },
    /// It cannot be told whether history holds messages.
    #[error(transparent)]
    Unreadable(#[from] pabal_core::ports::HistoryError),
    /// History and push queue cannot be opened.
    #[error("history cannot be opened: {0}")]
    History(#[from] pabal_storage::embedded::OpenError),
    /// The directory cannot be opened.
    #[error("the directory cannot be opened: {0}")]
    Directory(#[from] pabal_storage::directory::OpenError),
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
    /// The API cannot be described.
    #[error("the API cannot be described: {0}")]
    Description(#[from] serde_json::Error),
    /// A task of the start was cut off.
    #[error("the start was interrupted")]
    Interrupted,
}

impl App {
    /// Opens the stores and starts the engine; clients will reach it at `address`.
    ///
    /// # Errors
    /// [`BuildError`]. What was opened is closed again.
    pub async fn build(config: &Config, address: SocketAddr) -> Result<Self, BuildError> {
        let (ports, stores) = ports(config).await?;
        let directory = stores.directory.clone();
        let engine_config = EngineConfig {
            node: config.node.name.clone(),
            partitions: config.storage.partitions,
            limits: config.engine_limits(),
        };
        let engine = match Engine::start(engine_config, ports).await {
            Ok(engine) => engine,
            Err(error) => {
                directory.close().await;
                return Err(error.into());
            }
        };
        let assembled = Self::assemble(config, address, &engine, stores).await;
        if assembled.is_err() {
            engine.shutdown().await;
            directory.close().await;
        }
        assembled
    }

    async fn assemble(
        config: &Config,
        address: SocketAddr,
        engine: &Engine,
        stores: Backup,
    ) -> Result<Self, BuildError> {
        let public_url = config.server.public_url.clone();
        let fallback_url = reachable(address, config.server.tls_cert.is_some());
        let draining = CancellationToken::new();
        let (background, requests) = (TaskTracker::new(), TaskTracker::new());
        let url = public_url.clone().unwrap_or_else(|| fallback_url.clone());
        let authority = public_url.as_ref().map(|url| url.authority.clone());
        let transports = transports(config, engine, authority, url.secure);
        let passwords = Passwords::new(cores(), config.auth.waiting_hashes)?;
        let admission = admission(config);
        let api = Api::new(Parts {
            requests: transports.requests().clone(),
            attempts: Attempts::new(&config.limits, &config.auth),
            metrics: Metrics::new(Sources {
                engine: engine.clone(),
                transports: transports.clone(),
                admission: admission.clone(),
                passwords: passwords.clone(),
            }),
            passwords,
            changes: Changes::new(requests.clone()),
            draining: draining.clone(),
            public_url,
            fallback_url,
            token_lifetime: days(config.auth.token_lifetime_days),
            body_bytes: config.limits.body_bytes,
            body_timeout: Duration::from_millis(config.server.body_timeout_ms),
            group_members: config.limits.group_members,
            engine: engine.clone(),
        });
        let app = Self {
            router: api::router(api.clone())?,
            administration: api::administration(api.clone()),
            reconnect_after: Duration::from_millis(config.server.reconnect_after_ms),
            stop: CancellationToken::new(),
            transports,
            admission,
            engine: engine.clone(),
            directory: stores.directory.clone(),
            draining,
            background,
            requests,
        };
        app.start_background(config, api, &url).await?;
        match Control::bind(&config.storage.data_dir) {
            Ok(control) => {
                app.background.spawn(control.run(stores, app.stop.clone()));
            }
            // All else works without.
            Err(error) => tracing::warn!(%error, "no control socket: `pabal backup` cannot ask"),
        }
        Ok(app)
    }

    async fn start_background(
        &self,
        config: &Config,
        api: Api,
        url: &PublicUrl,
    ) -> Result<(), BuildError> {
        let ports = self.engine.ports();
        let webhook = |url: &String| {
            let (queue, clock) = (Arc::clone(&ports.push), Arc::clone(&ports.clock));
            Webhook::new(url, &config.push, queue, clock)
        };
        let webhook = config.push.webhook_url.as_ref().map(webhook).transpose()?;
        let info = discovery::node_info(&self.engine, &config.node, url);
        discovery::announce(&self.engine, info.clone(), false).await?;
        let (engine, draining) = (self.engine.clone(), self.draining.clone());
        let announced = discovery::keep_announced(engine, info, draining, self.stop.clone());
        self.background.spawn(announced);
        if let Some(webhook) = webhook {
            self.background.spawn(webhook.run(self.stop.clone()));
        }
        let (accounts, clock) = (Arc::clone(&ports.directory), Arc::clone(&ports.clock));
        self.spawn(keep_removing_expired(accounts, clock, REMOVE_EXPIRED));
        let accounts = Arc::new(self.directory.clone());
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

    /// Refuses new sessions and sends, tells sessions when to come back, and ends them. Waits no
    /// longer than `grace`.
    pub async fn drain(&self, grace: Duration) {
        self.draining.cancel();
        let drained = timeout(grace, self.engine.drain(self.reconnect_after)).await;
        if drained.is_err() {
            tracing::warn!("some sessions were not told that the node stops");
        }
        self.transports.shutdown(grace).await;
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
        self.directory.close().await;
    }
}

/// The adapters of one node: what must last is on its disk, the rest in its memory.
async fn ports(config: &Config) -> Result<(Ports, Backup), BuildError> {
    let (storage, folder) = (&config.storage, &config.storage.data_dir);
    make_private(folder).map_err(|source| BuildError::Folder { path: folder.clone(), source })?;
    let embedded = EmbeddedConfig {
        partitions: storage.partitions,
        cache_bytes: storage.cache_bytes,
        push_capacity: storage.push_queue_notifications,
        ..EmbeddedConfig::default()
    };
    let lost = |lost| BuildError::Lost { folder: folder.clone(), lost };
    // A new folder gets its history first. Half a folder is not taken for a new one.
    let directory = folder.join("directory.sqlite");
    let has_directory = has_content(&directory);
    if has_directory && !folder.join("history/pabal-store").exists() {
        return Err(lost("history/pabal-store"));
    }
    // First, because its lock keeps a second process away from the whole folder.
    let store = open_history(folder, embedded).await?;
    if !has_directory && !store.is_empty()? {
        return Err(lost("directory.sqlite"));
    }
    let directory = SqliteDirectory::open(directory).await?;
    let stores = Backup { directory: directory.clone(), history: Arc::clone(&store.history) };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let push: Arc<dyn PushNotifier> = match config.push.webhook_url {
        Some(_) => store.push,
        None => Arc::new(NoPush),
    };
    let log = MemoryMessageLog::new(Arc::clone(&clock), storage.log_messages_per_partition);
    let ports = Ports {
        log: Arc::new(log),
        inbox: Arc::new(MemoryNodeInbox::new(storage.inbox_deliveries)),
        history: store.history,
        presence: Arc::new(MemoryPresence::new()),
        interest: Arc::new(MemoryInterest::new()),
        directory: Arc::new(directory),
        push,
        registry: Arc::new(MemoryNodeRegistry::new()),
        clock,
    };
    Ok((ports, stores))
}

/// Makes the data folder, with its parents, for this user only: messages and password hashes are in
/// it. A folder that is there keeps the permissions that somebody gave it.
pub(crate) fn make_private(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent)?;
    }
    DirBuilder::new().mode(0o700).create(folder)?;
    // The umask may have taken from the owner, too.
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))
}

/// Whether there is a file with something in it: an empty one is as good as none.
pub(crate) fn has_content(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.len() > 0)
}

async fn open_history(folder: &Path, config: EmbeddedConfig) -> Result<EmbeddedStore, BuildError> {
    let folder = folder.join("history");
    let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(&folder, &config));
    Ok(opened.await.map_err(|_| BuildError::Interrupted)??)
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
