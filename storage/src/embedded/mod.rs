//! The storage of a single node on its own disk: one fjall database with one writer, and the
//! adapters on it. Owns opening, configuration and closing. The content is owned by the adapters
//! ([`history`](crate::history), [`push`](crate::push)).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pabal_core::model::MAX_PARTITIONS;
use pabal_core::ports::HistoryError;

use crate::history::FjallHistoryStore;
use crate::push::FjallPushNotifier;

mod folder;
mod database;
mod writer;
mod findings;
mod journal;
mod verify;
mod export;

pub use export::{ExportError, Exported};
pub use findings::{Finding, Findings};
pub use verify::{Held, StoreReport, hold, verify};

pub(crate) use database::{Database, ReadError, yield_between_rows};
pub(crate) use writer::{Request, Stopped, Writer};

/// The history and the push queue of one node, in one folder.
///
/// Only one process can open the folder at a time. The store closes when the last adapter is
/// dropped: pending requests are written first, and the writer thread has ended when the drop
/// returns, so the folder can be opened again immediately.
pub struct EmbeddedStore {
    /// All messages.
    pub history: Arc<FjallHistoryStore>,
    /// The queue of push notifications.
    pub push: Arc<FjallPushNotifier>,
}

impl EmbeddedStore {
    /// Opens the store in `folder`, and creates it if the folder does not exist. Blocks on the
    /// disk: after a crash it replays at most
    /// [`max_journal_bytes`](EmbeddedConfig::max_journal_bytes) of journal.
    ///
    /// Must be called within a tokio runtime. It spawns a task that ends with the store.
    ///
    /// # Errors
    /// [`OpenError`]; only [`OpenError::InUse`] is worth a retry.
    pub fn open(folder: &Path, config: &EmbeddedConfig) -> Result<Self, OpenError> {
        if !(1..=MAX_PARTITIONS).contains(&config.partitions) {
            return Err(OpenError::ImpossiblePartitions { asked: config.partitions });
        }
        let database = Arc::new(Database::open(folder, config)?);
        let writer = Writer::start(database, config).map_err(|error| error.at(folder))?;
        let writer = Arc::new(writer);
        Ok(Self {
            history: Arc::new(FjallHistoryStore::new(Arc::clone(&writer))),
            push: Arc::new(FjallPushNotifier::new(writer)),
        })
    }

    /// Whether the store holds no message.
    ///
    /// # Errors
    /// [`HistoryError::Unavailable`], retry; [`HistoryError::Damaged`] if the rows cannot be read;
    /// [`HistoryError::Poisoned`].
    pub fn is_empty(&self) -> Result<bool, HistoryError> {
        self.history.is_empty()
    }
}

/// The limits of an embedded store. [`Default`] suits a node with at least 1 GiB: a process that
/// stored a million messages and read some of them used 100 to 225 MiB
/// (`examples/history_cost.rs`).
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// The number of partitions, 1 to [`MAX_PARTITIONS`]. Fixed when the folder is created: another
    /// number would move channels to other partitions and break the order of their ids. Default 64.
    pub partitions: u16,
    /// Memory for table blocks, shared by all keyspaces. Other blocks are read from the disk or
    /// from the system's page cache. Default 64 MiB.
    pub cache_bytes: u64,
    /// The size of the message memtable before it is written as a table. Memory use can reach five
    /// times this value briefly, when writes are faster than the disk; then appends are slowed
    /// down. Fixed when the folder is created. Default 32 MiB.
    pub message_memtable_bytes: u64,
    /// The most journal that may wait for its tables. It determines disk use and the time to open
    /// after a crash (a few seconds for a full journal). At least 64 MiB. Default 256 MiB.
    pub max_journal_bytes: u64,
    /// Threads that write and merge tables. Default 2.
    pub table_threads: usize,
    /// Open table files. Default 256.
    pub max_open_files: usize,
    /// The most requests queued for the writer; callers wait when it is full. Default 1,024.
    pub waiting_requests: usize,
    /// The number of messages at which a group accepts no further request; one sync makes a group
    /// durable. Default 4,096.
    pub group_messages: usize,
    /// The number of bytes at which a group accepts no further request. It bounds the latency that
    /// a group adds to the next one. Default 4 MiB.
    pub group_bytes: usize,
    /// The capacity of the push queue in notifications. Default 100,000.
    pub push_capacity: usize,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            partitions: 64,
            cache_bytes: 64 << 20,
            message_memtable_bytes: 32 << 20,
            max_journal_bytes: 256 << 20,
            table_threads: 2,
            max_open_files: 256,
            waiting_requests: 1_024,
            group_messages: 4_096,
            group_bytes: 4 << 20,
            push_capacity: 100_000,
        }
    }
}

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or this one, has the folder open. Retry once it is closed.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The folder was created for another number of partitions. Do not retry; configure that
    /// number.
    #[error("{} was created for {recorded} partitions and cannot be opened with {asked}: a channel would change its partition and its order", .folder.display())]
    OtherPartitions {
        /// The folder.
        folder: PathBuf,
        /// The number of partitions it was created for.
        recorded: u16,
        /// The configured number.
        asked: u16,
    },
    /// The number of partitions is out of range. Do not retry.
    #[error("a store has 1 to {MAX_PARTITIONS} partitions, not {asked}")]
    ImpossiblePartitions {
        /// The configured number.
        asked: u16,
    },
    /// The folder holds something else, or files are missing or unreadable. Do not retry; restore a
    /// backup.
    #[error("{} is damaged: {reason}", .folder.display())]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file system failed. Retry once its cause is fixed.
    #[error("{} cannot be opened: {source}", .folder.display())]
    Unavailable {
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl OpenError {
    fn damaged(folder: &Path, reason: impl ToString) -> Self {
        Self::Damaged { folder: folder.to_owned(), reason: reason.to_string() }
    }

    fn unavailable(folder: &Path, source: io::Error) -> Self {
        Self::Unavailable { folder: folder.to_owned(), source }
    }
}
