//! What a node keeps and queues in: its data folder and its memory, or the servers that the
//! configuration names. The only place, with the commands, that names concrete backends.

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

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoresError {
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
    Unreadable(#[from] HistoryError),
    /// History and push queue cannot be opened.
    #[error("history cannot be opened: {0}")]
    History(#[from] pabal_storage::embedded::OpenError),
    /// The directory cannot be opened.
    #[error("the directory cannot be opened: {0}")]
    Directory(#[from] OpenError),
    /// A server that the configuration names cannot be used. `why` is one line without passwords.
    #[error("{key}: {why}")]
    Server {
        /// The setting.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A task of the start was cut off.
    #[error("the start was interrupted")]
    Interrupted,
}

impl StoresError {
    fn server(key: &'static str) -> impl Fn(pabal_storage::error::ConnectError) -> Self {
        move |error| Self::Server { key, why: error.to_string() }
    }
}

/// The stores of one node, open.
#[derive(Clone)]
pub struct Stores {
    /// The accounts in the directory, for operators.
    pub accounts: Arc<dyn Accounts>,
    /// What `pabal backup` copies: the data folder, if everything that lasts is in it.
    pub backup: Option<Backup>,
    users: Users,
}

/// Where users and channels are.
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
    /// Opens what `config` names, servers first: what is wrong with them is told before a data folder
    /// is made.
    ///
    /// # Errors
    /// [`StoresError`]. What was opened is closed again.
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

    /// Closes what has connections or files to close.
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

/// Opens history and push queue on disk, unless both are elsewhere.
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
    // A new folder gets its history first. Half a folder is not taken for a new one.
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
    // First, because its lock keeps a second process away from the whole folder.
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

/// Makes the data folder, with its parents, for this user only: messages and password hashes are in
/// it. A folder that is there keeps the permissions that somebody gave it.
pub fn make_private(folder: &Path) -> std::io::Result<()> {
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
pub fn has_content(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.len() > 0)
}
