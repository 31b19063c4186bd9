//! Opens the backends of the ports that the configuration names: the data folder and memory, or
//! Redis, Cassandra and PostgreSQL. Besides the commands of the program, only this module names
//! backends.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pabal_core::memory::{
    MemoryInterest, MemoryMessageLog, MemoryNodeInbox, MemoryNodeRegistry, MemoryPresence,
    SystemClock,
};
use pabal_core::ports::{
    Accounts, Clock, Directory, HistoryError, HistoryStore, Ports, PushNotifier,
};
use pabal_storage::directory::{OpenError, PostgresDirectory, SqliteDirectory};
use pabal_storage::embedded::{EmbeddedConfig, EmbeddedStore};
use pabal_storage::error::Why;
use pabal_storage::history::CassandraHistoryStore;
use pabal_storage::redis::{ConnectError, InvalidRedisUrl, RedisConfig, RedisStore, RedisUrl};

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
    /// A task of the start was cancelled.
    #[error("the start was interrupted")]
    Interrupted,
}

impl StoresError {
    fn server(key: &'static str) -> impl Fn(pabal_storage::error::ConnectError) -> Self {
        move |error| Self::Server { key, why: error.to_string() }
    }
}

/// The open stores of one node. Cloning is cheap; clones share the connections.
#[derive(Clone)]
pub struct Stores {
    /// The accounts in the directory, for commands of operators.
    pub accounts: Arc<dyn Accounts>,
    /// The source of a backup, if all durable data is in the data folder.
    pub backup: Option<Backup>,
    users: Users,
}

/// The backend of users and channels.
#[derive(Clone)]
enum Users {
    Sqlite(SqliteDirectory),
    Postgres(PostgresDirectory),
}

impl Users {
    fn directory(&self) -> Arc<dyn Directory> {
        match self {
            Self::Sqlite(directory) => Arc::new(directory.clone()),
            Self::Postgres(directory) => Arc::new(directory.clone()),
        }
    }

    fn accounts(&self) -> Arc<dyn Accounts> {
        match self {
            Self::Sqlite(directory) => Arc::new(directory.clone()),
            Self::Postgres(directory) => Arc::new(directory.clone()),
        }
    }

    async fn close(&self) {
        match self {
            Self::Sqlite(directory) => directory.close().await,
            Self::Postgres(directory) => directory.close().await,
        }
    }
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").field("backup", &self.backup).finish_non_exhaustive()
    }
}

impl Stores {
    /// Opens the stores that `config` names. Servers come first, so that an error of a server is
    /// reported before a data folder is created.
    ///
    /// # Errors
    /// [`StoresError`]. Everything that was opened is closed again.
    pub async fn open(config: &Config) -> Result<(Ports, Self), StoresError> {
        let storage = &config.storage;
        let queue = match &storage.queue {
            Some(url) => Some(connect_redis(url, storage.partitions).await?),
            None => None,
        };
        let remote: Option<Arc<dyn HistoryStore>> = match &storage.history {
            Some(url) => Some(Arc::new(connect_cassandra(url, storage.partitions).await?)),
            None => None,
        };
        let postgres = match &storage.directory {
            Some(url) => {
                let opened = PostgresDirectory::connect(url, storage.directory_connections).await;
                Some(opened.map_err(StoresError::server("storage.directory"))?)
            }
            None => None,
        };
        let local = open_folder(storage, queue.is_some()).await?;
        let users = match postgres {
            Some(directory) => Users::Postgres(directory),
            None => {
                let file = storage.data_dir.join("directory.sqlite");
                Users::Sqlite(SqliteDirectory::open(file).await?)
            }
        };
        let backup = match (&users, &local, &remote) {
            (Users::Sqlite(directory), Some(local), None) => {
                Some(Backup { directory: directory.clone(), history: Arc::clone(&local.history) })
            }
            _ => None,
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let history = remote.or_else(|| Some(Arc::clone(&local.as_ref()?.history) as _));
        let push: Arc<dyn PushNotifier> = match (&config.push.webhook_url, &queue, local) {
            (None, ..) => Arc::new(NoPush),
            (Some(_), Some(queue), _) => {
                Arc::new(queue.push_notifier(storage.push_queue_notifications))
            }
            (Some(_), None, Some(local)) => local.push,
            (Some(_), None, None) => return Err(StoresError::Interrupted),
        };
        let (directory, history) = (users.directory(), history.ok_or(StoresError::Interrupted)?);
        let ports = ports(storage, queue.as_ref(), clock, directory, history, push);
        Ok((ports, Self { accounts: users.accounts(), backup, users }))
    }

    /// Closes connections and files. Idempotent.
    pub async fn close(&self) {
        self.users.close().await;
    }
}

fn ports(
    storage: &Storage,
    queue: Option<&RedisStore>,
    clock: Arc<dyn Clock>,
    directory: Arc<dyn Directory>,
    history: Arc<dyn HistoryStore>,
    push: Arc<dyn PushNotifier>,
) -> Ports {
    let (entries, deliveries) = (storage.log_messages_per_partition, storage.inbox_deliveries);
    match queue {
        Some(redis) => Ports {
            log: Arc::new(redis.message_log(Arc::clone(&clock), entries)),
            inbox: Arc::new(redis.node_inbox(deliveries)),
            presence: Arc::new(redis.presence()),
            interest: Arc::new(redis.interest()),
            registry: Arc::new(redis.node_registry()),
            history,
            directory,
            push,
            clock,
        },
        None => Ports {
            log: Arc::new(MemoryMessageLog::new(Arc::clone(&clock), entries)),
            inbox: Arc::new(MemoryNodeInbox::new(deliveries)),
            presence: Arc::new(MemoryPresence::new()),
            interest: Arc::new(MemoryInterest::new()),
            registry: Arc::new(MemoryNodeRegistry::new()),
            history,
            directory,
            push,
            clock,
        },
    }
}

async fn connect_redis(url: &str, partitions: u16) -> Result<RedisStore, StoresError> {
    let wrong = |error: ConnectError| {
        let key = match error {
            ConnectError::Partitions { .. } => "storage.partitions",
            _ => "storage.queue",
        };
        StoresError::Server { key, why: error.to_string() }
    };
    let url: RedisUrl = url.parse().map_err(|error: InvalidRedisUrl| {
        let (key, why) = ("storage.queue", error.to_string());
        StoresError::Server { key, why }
    })?;
    let store = RedisStore::connect(&url, &RedisConfig::default()).await.map_err(wrong)?;
    store.keep_to(partitions).await.map_err(wrong)?;
    Ok(store)
}

async fn connect_cassandra(
    url: &str,
    partitions: u16,
) -> Result<CassandraHistoryStore, StoresError> {
    let wrong = StoresError::server("storage.history");
    let store = CassandraHistoryStore::connect(url).await.map_err(wrong)?;
    let kept = store.keep_to(url, partitions).await;
    kept.map_err(|error| match error.why() {
        Why::Partitions(..) => StoresError::server("storage.partitions")(error),
        _ => StoresError::server("storage.history")(error),
    })?;
    Ok(store)
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
