//! What a single node keeps on its own disk: one fjall database with one writer, and the adapters
//! on it. Owns opening, configuration and closing; what is kept, the adapters know
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

pub(crate) use database::{Database, Unreadable, breathe};
pub(crate) use writer::{Request, Stopped, Writer};

/// History and push queue of one node, in one folder.
///
/// The folder belongs to one process at a time. The store closes when the last adapter is dropped:
/// what waits is written first, and the writer thread has ended when the drop returns, so the
/// folder can be opened again at once.
pub struct EmbeddedStore {
    /// Every message there is.
    pub history: Arc<FjallHistoryStore>,
    /// The queue to those who are offline.
    pub push: Arc<FjallPushNotifier>,
}

impl EmbeddedStore {
    /// Opens the store in `folder`, which is made if it does not exist. Blocks on the disk: a
    /// folder that was not closed is brought up to date from at most
    /// [`max_journal_bytes`](EmbeddedConfig::max_journal_bytes) of journal.
    ///
    /// Must be called within a tokio runtime, where it spawns a task that ends with the store.
    ///
    /// # Errors
    /// See [`OpenError`]; only [`OpenError::InUse`] is worth a retry.
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

    /// Whether it holds no message.
    ///
    /// # Errors
    /// [`HistoryError::Damaged`], if the disk does not tell.
    pub fn is_empty(&self) -> Result<bool, HistoryError> {
        self.history.is_empty()
    }
}

/// How much an embedded store may use. [`Default`] suits a node of 1 GiB and up: a process that
/// stored a million messages and read them here and there held 100 to 225 MiB
/// (`examples/history_cost.rs`).
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// Shards of channels, 1 to [`MAX_PARTITIONS`]; fixed when the folder is made, because another
    /// number would give a channel another partition and break the order of its ids.
    pub partitions: u16,
    /// Memory for blocks of tables, shared by all keyspaces. What does not fit is read from the
    /// disk, or from the system's cache of it. 64 MiB.
    pub cache_bytes: u64,
    /// Messages held in memory before they become a table. Up to five times as much is in memory
    /// for moments, when writes outrun the disk; then appends are slowed down. Fixed when the
    /// folder is made. 32 MiB.
    pub message_memtable_bytes: u64,
    /// How much journal may wait for its tables: disk, and the time to open after a crash (a few
    /// seconds when it is full). At least 64 MiB. 256 MiB.
    pub max_journal_bytes: u64,
    /// Threads that write and merge tables. 2.
    pub table_threads: usize,
    /// Table files kept open. 256.
    pub max_open_files: usize,
    /// Requests that may wait for the writer; more wait in their callers. 1,024.
    pub waiting_requests: usize,
    /// What one sync makes durable: a group takes no further request at this many messages … 4,096.
    pub group_messages: usize,
    /// … or at this many bytes. It bounds what a group adds to the latency of the next. 4 MiB.
    pub group_bytes: usize,
    /// Notifications that the push queue holds. 100,000.
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
    /// Another process has the folder open, or this one already has. Retry once it is closed.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The folder was made for another number of partitions. Configure that number.
    #[error("{} was made for {recorded} partitions and cannot be opened with {asked}: a channel would change its partition and its order", .folder.display())]
    OtherPartitions {
        /// The folder.
        folder: PathBuf,
        /// The number it was made for.
        recorded: u16,
        /// The number that is configured.
        asked: u16,
    },
    /// No store can have so many, or so few.
    #[error("a store has 1 to {MAX_PARTITIONS} partitions, not {asked}")]
    ImpossiblePartitions {
        /// The number that is configured.
        asked: u16,
    },
    /// The folder holds something else, or parts of it are gone or cannot be read. Restore it from
    /// a copy.
    #[error("{} is damaged: {reason}", .folder.display())]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system refused.
    #[error("{} cannot be opened: {source}", .folder.display())]
    Unavailable {
        /// The folder.
        folder: PathBuf,
        /// Why.
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
