//! Opens the backends of the ports that the configuration names: the data folder and memory, or
//! Redis, Cassandra and PostgreSQL. Besides the commands of the program, only this module names
//! backends. A build can leave out the drivers of the servers.

mod send_gate;
mod clock_guard;
mod folder_watch;
mod agreement;
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
use std::time::Duration;

use pabal_core::memory::{
    MemoryInterest, MemoryMessageLog, MemoryNodeInbox, MemoryNodeRegistry, MemoryPresence,
    SystemClock,
};
use pabal_core::model::{MessageId, Partition, Timestamp};
use pabal_core::ports::{
    Accounts, BoxFuture, Clock, Directory, HistoryError, HistoryStore, Interest, MessageLog,
    NodeInbox, NodeRegistry, Ports, Presence, PushNotifier,
};
use pabal_storage::directory::{OpenError, SqliteDirectory};
use pabal_storage::disk::OpenFiles;
use pabal_storage::embedded::{EmbeddedConfig, EmbeddedStore};

pub use self::clock_guard::{ClockGuard, write_clock_mark};
pub use self::send_gate::SendGate;

use self::clock_guard::{last_written, too_far_ahead};
use self::folder_watch::FolderWatch;
use self::send_gate::GatedLog;
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
    /// History has messages of users whom the directory does not know. Do not retry.
    #[error(
        "the data folder {folder} is damaged: history has messages in {channels} of its channels, and \
         directory.sqlite knows none of their senders; restore a backup with `pabal restore`, or \
         continue with what is left with `pabal repair --keep DIR`"
    )]
    Disagree {
        /// The folder.
        folder: PathBuf,
        /// How many channels were looked at.
        channels: usize,
    },
    /// The clock is far ahead of everything that is stored. Set it right, or accept it.
    #[error(
        "the clock says {now}, {days} days after the newest that is stored; ids of a wrong time cannot \
         be taken back. Set the clock right, or accept it with `pabal clock accept`"
    )]
    Clock {
        /// The time of the clock.
        now: Timestamp,
        /// How far it is ahead.
        days: u64,
    },
    /// The files of the data folder cannot be looked at.
    #[error("cannot look at the files of the data folder {path}: {source}")]
    Files {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
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
    /// Whether sends are accepted.
    pub sends: SendGate,
    /// Compares the clock with the time since the machine started.
    pub clock: ClockGuard,
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
            let last_written = last_written(&storage.data_dir);
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
            if let Some(Backup { directory, history }) = &backup {
                agreement::check(&storage.data_dir, directory, history).await?;
            }
            let history: Option<Arc<dyn HistoryStore>> =
                remote.or_else(|| Some(Arc::clone(&local.as_ref()?.history) as _));
            let history = history.ok_or(StoresError::Interrupted)?;
            check_clock(&*clock, &*history, storage.partitions, last_written).await?;
            let queues = queues.unwrap_or_else(|| Queues::in_memory(storage, &clock));
            let push: Arc<dyn PushNotifier> = match (&config.push.webhook_url, queues.push, local) {
                (None, ..) => Arc::new(NoPush),
                (Some(_), Some(push), _) => push,
                (Some(_), None, Some(local)) => local.push,
                (Some(_), None, None) => return Err(StoresError::Interrupted),
            };
            let sends = SendGate::default();
            let max_jump = Duration::from_millis(config.node.max_clock_jump_ms);
            let guard = ClockGuard::new(Arc::clone(&clock), max_jump, sends.clone());
            let log = GatedLog { log: queues.log, gate: sends.clone(), clock: guard.clone() };
            let ports = Ports {
                log: Arc::new(log),
                inbox: queues.inbox,
                presence: queues.presence,
                interest: queues.interest,
                registry: queues.registry,
                history,
                directory: Arc::clone(&directory.directory),
                push,
                clock,
            };
            let accounts = Arc::clone(&directory.accounts);
            Ok((ports, Self { accounts, backup, sends, clock: guard, directory }))
        })
    }

    /// The watch of the data folder, if this node has one: a task that ends when it is dropped.
    ///
    /// # Errors
    /// [`StoresError::Files`].
    pub(crate) fn watch(&self, storage: &Storage) -> Result<Option<FolderWatch>, StoresError> {
        let folder = storage.data_dir.clone();
        let on_servers = [&storage.history, &storage.directory, &storage.queue];
        if on_servers.iter().all(|url| url.is_some()) {
            return Ok(None);
        }
        let files = OpenFiles::of(&folder)
            .map_err(|source| StoresError::Files { path: folder.clone(), source })?;
        Ok(Some(FolderWatch {
            folder,
            files,
            reserve_bytes: storage.reserve_bytes,
            sends: self.sends.clone(),
            changes: self.backup.as_ref().map_or_else(Default::default, |it| it.directory.gate()),
            clock: self.clock.clone(),
        }))
    }

    /// Closes connections and files. Idempotent.
    pub async fn close(&self) {
        self.directory.close().await;
    }
}

/// Refuses a clock that is more than a year ahead of everything that is stored.
async fn check_clock(
    clock: &dyn Clock,
    history: &dyn HistoryStore,
    partitions: u16,
    last_written: Option<Timestamp>,
) -> Result<(), StoresError> {
    let mut newest = MessageId::default();
    for partition in Partition::all(partitions) {
        newest = newest.max(history.stored_position(partition).await?);
    }
    let stored = (newest != MessageId::default()).then(|| newest.created_at());
    let now = clock.now();
    match too_far_ahead(now, stored.max(last_written)) {
        Some(ahead) => Err(StoresError::Clock { now, days: ahead.as_secs() / (24 * 60 * 60) }),
        None => Ok(()),
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
