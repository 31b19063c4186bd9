//! Opens the backends of the ports that the configuration names: the data folder and memory, or
//! Redis, Cassandra and PostgreSQL. Besides the commands of the program, only this module names
//! backends. A build can leave out the drivers of the servers.

#[cfg(feature = "cluster")]
mod cluster;
#[cfg(not(feature = "cluster"))]
mod embedded_only;

/// The servers that the configuration names.
#[cfg(feature = "cluster")]
use cluster as servers;
#[cfg(not(feature = "cluster"))]
use embedded_only as servers;

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pabal_core::memory::{
    MemoryInterest, MemoryMessageLog, MemoryNodeInbox, MemoryNodeRegistry, MemoryPresence,
    SystemClock,
};
use pabal_core::ports::{
    Accounts, BoxFuture, Clock, Directory, HistoryError, HistoryStore, Interest, MessageLog,
    NodeInbox, NodeRegistry, Ports, Presence, PushNotifier,
};
use pabal_storage::directory::{OpenError, SqliteDirectory};
use pabal_storage::embedded::{EmbeddedConfig, EmbeddedStore};

use crate::backup::Backup;
use crate::config::{Config, Storage};
use crate::push::NoPush;

/// Why a store cannot be opened. Each error is one line that names the setting or the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoresError {
    /// The data folder cannot be created. Do not retry: correct the path or its permissions.
    #[error("cannot create the data folder {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A part of the data folder is missing. Starting would create it empty. Do not retry.
    #[error(
        "the data folder {folder} is damaged: {lost} is missing; restore a backup with `pabal restore`"
    )]
    Lost {
        /// The folder.
        folder: PathBuf,
        /// The part that is missing.
        lost: &'static str,
    },
    /// History cannot be read.
    #[error(transparent)]
    Unreadable(#[from] HistoryError),
    /// History and the push queue cannot be opened.
    #[error("cannot open history: {0}")]
    History(#[from] pabal_storage::embedded::OpenError),
    /// The directory cannot be opened.
    #[error("cannot open the directory: {0}")]
    Directory(#[from] OpenError),
    /// A server that the configuration names cannot be used; a retry helps if it was unreachable.
    /// `why` is one line without passwords.
    #[error("{key}: {why}")]
    Server {
        /// The setting.
        key: &'static str,
        /// The cause.
        why: String,
    },
    /// The configuration names a server whose driver is not part of this build. Do not retry.
    #[error(
        "{0} names a server, and this program was built without the drivers of servers; build it \
         with all features (`cargo build --release -p pabal-cli`)"
    )]
    NotBuilt(&'static str),
    /// A task of the start was cancelled.
    #[error("the start was interrupted")]
    Interrupted,
}

/// The open stores of one node. Cloning is cheap; clones share the connections.
#[derive(Clone)]
pub struct Stores {
    /// The accounts in the directory, for commands of operators.
    pub accounts: Arc<dyn Accounts>,
    /// The source of a backup, if all durable data is in the data folder.
    pub backup: Option<Backup>,
    directory: OpenDirectory,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").field("backup", &self.backup).finish_non_exhaustive()
    }
}

/// An open directory, in SQLite or PostgreSQL. [`close`](Self::close) ends its connections.
#[derive(Clone)]
pub struct OpenDirectory {
    directory: Arc<dyn Directory>,
    accounts: Arc<dyn Accounts>,
    close: Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

impl OpenDirectory {
    /// The ports of `store`; `close` ends its connections.
    fn new<S, F>(store: S, close: impl Fn(S) -> F + Send + Sync + 'static) -> Self
    where
        S: Directory + Accounts + Clone + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            directory: Arc::new(store.clone()),
            accounts: Arc::new(store.clone()),
            close: Arc::new(move || Box::pin(close(store.clone()))),
        }
    }
}

impl OpenDirectory {
    /// Opens the directory that `storage` names, for a command of an operator: with one connection,
    /// or in an existing data folder.
    ///
    /// # Errors
    /// [`StoresError`]; a retry may succeed if a server was unreachable.
    pub fn open_existing(storage: &Storage) -> BoxFuture<'_, Result<Self, StoresError>> {
        Box::pin(async move {
            if let Some(directory) = servers::connect_directory(storage, 1).await? {
                return Ok(directory);
            }
            let file = storage.data_dir.join("directory.sqlite");
            Ok(Self::sqlite(SqliteDirectory::open_existing(file).await?))
        })
    }

    fn sqlite(store: SqliteDirectory) -> Self {
        Self::new(store, |store| async move { store.close().await })
    }

    /// The accounts in the directory.
    pub fn accounts(&self) -> &dyn Accounts {
        &*self.accounts
    }

    /// Closes the connections or the file. Idempotent.
    pub async fn close(&self) {
        (self.close)().await;
    }
}

/// Creates or updates the tables on the servers that `storage` names, and returns the settings that
/// name them. Idempotent.
///
/// # Errors
/// [`StoresError`]; a retry may succeed if a server was unreachable.
pub fn migrate(storage: &Storage) -> BoxFuture<'_, Result<Vec<&'static str>, StoresError>> {
    Box::pin(async move { servers::migrate(storage).await })
}

/// The ports of queues, presence and leases, which are all in memory or all on one server.
struct Queues {
    log: Arc<dyn MessageLog>,
    inbox: Arc<dyn NodeInbox>,
    presence: Arc<dyn Presence>,
    interest: Arc<dyn Interest>,
    registry: Arc<dyn NodeRegistry>,
    /// The push queue on the same server; `None` for queues in memory.
    push: Option<Arc<dyn PushNotifier>>,
}

impl Queues {
    fn in_memory(storage: &Storage, clock: &Arc<dyn Clock>) -> Self {
        let (entries, deliveries) = (storage.log_messages_per_partition, storage.inbox_deliveries);
        Self {
            log: Arc::new(MemoryMessageLog::new(Arc::clone(clock), entries)),
            inbox: Arc::new(MemoryNodeInbox::new(deliveries)),
            presence: Arc::new(MemoryPresence::new()),
            interest: Arc::new(MemoryInterest::new()),
            registry: Arc::new(MemoryNodeRegistry::new()),
            push: None,
        }
    }
}

/// What servers provide; the data folder provides the rest.
#[derive(Default)]
struct Servers {
    queues: Option<Queues>,
    history: Option<Arc<dyn HistoryStore>>,
    directory: Option<OpenDirectory>,
}

impl Stores {
    /// Opens the stores that `config` names. Servers come first, so that an error of a server is
    /// reported before a data folder is created.
    ///
    /// # Errors
    /// [`StoresError`]. Everything that was opened is closed again.
    pub fn open(config: &Config) -> BoxFuture<'_, Result<(Ports, Self), StoresError>> {
        Box::pin(async move {
            let storage = &config.storage;
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            let Servers { queues, history: remote, directory } =
                servers::connect(storage, &clock).await?;
            let local = open_folder(storage, queues.is_some()).await?;
            let (directory, sqlite) = match directory {
                Some(directory) => (directory, None),
                None => {
                    let file = storage.data_dir.join("directory.sqlite");
                    let sqlite = SqliteDirectory::open(file).await?;
                    (OpenDirectory::sqlite(sqlite.clone()), Some(sqlite))
                }
            };
            let backup = match (sqlite, &local, &remote) {
                (Some(directory), Some(local), None) => {
                    Some(Backup { directory, history: Arc::clone(&local.history) })
                }
                _ => None,
            };
            let history = remote.or_else(|| Some(Arc::clone(&local.as_ref()?.history) as _));
            let queues = queues.unwrap_or_else(|| Queues::in_memory(storage, &clock));
            let push: Arc<dyn PushNotifier> = match (&config.push.webhook_url, queues.push, local) {
                (None, ..) => Arc::new(NoPush),
                (Some(_), Some(push), _) => push,
                (Some(_), None, Some(local)) => local.push,
                (Some(_), None, None) => return Err(StoresError::Interrupted),
            };
            let ports = Ports {
                log: queues.log,
                inbox: queues.inbox,
                presence: queues.presence,
                interest: queues.interest,
                registry: queues.registry,
                history: history.ok_or(StoresError::Interrupted)?,
                directory: Arc::clone(&directory.directory),
                push,
                clock,
            };
            let accounts = Arc::clone(&directory.accounts);
            Ok((ports, Self { accounts, backup, directory }))
        })
    }

    /// Closes connections and files. Idempotent.
    pub async fn close(&self) {
        self.directory.close().await;
    }
}

/// Opens history and the push queue in the data folder, unless servers hold both.
async fn open_folder(
    storage: &Storage,
    has_queue: bool,
) -> Result<Option<EmbeddedStore>, StoresError> {
    let folder = &storage.data_dir;
    if storage.history.is_some() && storage.directory.is_some() && has_queue {
        return Ok(None);
    }
    make_private(folder).map_err(|source| StoresError::Folder { path: folder.clone(), source })?;
    if storage.history.is_some() && has_queue {
        return Ok(None);
    }
    let lost = |lost| StoresError::Lost { folder: folder.clone(), lost };
    // In a new folder history is created first. A folder with only one of the two is damaged, not
    // new.
    let whole = storage.history.is_none() && storage.directory.is_none();
    let has_directory = has_content(&folder.join("directory.sqlite"));
    if whole && has_directory && !folder.join("history/pabal-store").exists() {
        return Err(lost("history/pabal-store"));
    }
    let config = EmbeddedConfig {
        partitions: storage.partitions,
        cache_bytes: storage.cache_bytes,
        push_capacity: storage.push_queue_notifications,
        ..EmbeddedConfig::default()
    };
    // History is opened first, because its lock excludes a second process from the whole folder.
    let store = open_history(folder, config).await?;
    if whole && !has_directory && !store.is_empty()? {
        return Err(lost("directory.sqlite"));
    }
    Ok(Some(store))
}

async fn open_history(folder: &Path, config: EmbeddedConfig) -> Result<EmbeddedStore, StoresError> {
    let folder = folder.join("history");
    let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(&folder, &config));
    Ok(opened.await.map_err(|_| StoresError::Interrupted)??)
}

/// Creates a data folder and its parents. Only this user may read it: it has messages and password
/// hashes. An existing folder keeps its permissions.
///
/// # Errors
/// Those of the operating system.
pub fn make_private(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent)?;
    }
    DirBuilder::new().mode(0o700).create(folder)?;
    // The umask may have removed permissions of the owner as well.
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))
}

/// Whether the file exists and is not empty.
pub fn has_content(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.len() > 0)
}
