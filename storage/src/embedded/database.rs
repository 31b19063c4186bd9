//! The fjall database of an embedded store: keyspaces, what readers may see, and whether it can go
//! on. Owns no key or value; those are the adapters'.
//!
//! # What readers see
//! fjall syncs the journal before it makes a batch visible, so nobody reads what is not durable.
//! But its own reads are too eager in another way: a keyspace reads what is half applied, and a
//! fresh snapshot does so too when a flush or a merge ends in the middle of a batch (it moves the
//! visible sequence number on, past the batch). A reader on its way through a channel could see a
//! message and miss the one before. So there is one snapshot for all readers, [`Database::durable`],
//! which the writer replaces between two batches.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use fjall::compaction::filter::Factory;
use fjall::{Keyspace, KeyspaceCreateOptions, LsmError, Snapshot};
use pabal_core::ports::{HistoryError, PushError};

use super::{EmbeddedConfig, OpenError, folder};
use crate::history::{self, StoredPositions};

/// Names of the keyspaces; they stand in folders for ever.
const MESSAGES: &str = "messages";
const POSITIONS: &str = "positions";
const SENT: &str = "sent";
const PUSH: &str = "push";

/// Small rows that are rewritten often: a small table soon, so that journals can be let go.
const SMALL_MEMTABLE_BYTES: u64 = 8 << 20;

/// An open database. Reads may come from any thread, writes only from the writer's.
pub(crate) struct Database {
    /// Readers' view; replaced between two batches. Dropped before the database.
    durable: RwLock<Arc<Snapshot>>,
    /// `(channel_id, message_id)` → message.
    pub(crate) messages: Keyspace,
    /// Partition → stored position.
    pub(crate) positions: Keyspace,
    /// Send key → message id.
    pub(crate) sent: Keyspace,
    /// Position → notification.
    pub(crate) push: Keyspace,
    /// What `positions` holds, for every partition, as far as it is durable.
    pub(crate) stored: Arc<StoredPositions>,
    /// Into how many partitions channels are divided.
    pub(super) partitions: u16,
    pub(super) fjall: fjall::Database,
    poisoned: OnceLock<String>,
}

impl Database {
    /// Opens what is in `folder`, or makes it.
    pub(super) fn open(folder: &Path, config: &EmbeddedConfig) -> Result<Self, OpenError> {
        std::fs::create_dir_all(folder).map_err(|e| OpenError::unavailable(folder, e))?;
        let recorded = folder::recorded_partitions(folder)?;
        if let Some(recorded) = recorded {
            let asked = config.partitions;
            if recorded != asked {
                let folder = folder.to_owned();
                return Err(OpenError::OtherPartitions { folder, recorded, asked });
            }
            folder::check_complete(folder)?;
        }
        let database = folder::database_of(folder);
        if recorded.is_none() && !database.exists() {
            let unfinished = folder::unfinished_of(folder)?;
            drop(Self::open_at(&unfinished, folder, config, false)?);
            folder::rename(folder, &unfinished, &database)?;
        }
        let database = Self::open_at(&database, folder, config, recorded.is_some())?;
        if recorded.is_none() {
            if !is_empty(folder, &database)? {
                return Err(OpenError::damaged(folder, "it holds messages but no pabal-store"));
            }
            folder::record_partitions(folder, config.partitions)?;
        }
        history::load_positions(&database).map_err(|error| OpenError::damaged(folder, error))?;
        Ok(database)
    }

    /// Opens the database at `path` of the store in `folder`.
    fn open_at(
        path: &Path,
        folder: &Path,
        config: &EmbeddedConfig,
        must_exist: bool,
    ) -> Result<Self, OpenError> {
        let stored = Arc::new(StoredPositions::new());
        let opened = open_fjall(path, config, &stored);
        let fjall = opened.map_err(|error| open_error(folder, error))?;
        let keyspace = |name: &str, memtable_bytes: u64| {
            if must_exist && !fjall.keyspace_exists(name) {
                return Err(OpenError::damaged(folder, format!("keyspace {name} is gone")));
            }
            let options = || KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes);
            fjall.keyspace(name, options).map_err(|error| open_error(folder, error))
        };
        Ok(Self {
            messages: keyspace(MESSAGES, config.message_memtable_bytes)?,
            positions: keyspace(POSITIONS, SMALL_MEMTABLE_BYTES)?,
            sent: keyspace(SENT, SMALL_MEMTABLE_BYTES)?,
            push: keyspace(PUSH, SMALL_MEMTABLE_BYTES)?,
            durable: RwLock::new(Arc::new(fjall.snapshot())),
            stored,
            partitions: config.partitions,
            fjall,
            poisoned: OnceLock::new(),
        })
    }

    /// All that is durable, and of every batch all or nothing.
    pub(crate) fn durable(&self) -> Arc<Snapshot> {
        Arc::clone(&self.durable.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows readers what was committed. Only between two batches.
    pub(super) fn publish(&self) {
        let snapshot = Arc::new(self.fjall.snapshot());
        *self.durable.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    /// From now on every call fails: what was written last may not be durable.
    pub(super) fn poison(&self, why: String) {
        tracing::error!(%why, "the embedded store cannot go on; the process must stop");
        self.poisoned.get_or_init(|| why);
    }

    /// Why the store cannot go on, if it cannot.
    pub(crate) fn poisoned(&self) -> Option<&str> {
        self.poisoned.get().map(String::as_str)
    }
}

fn open_fjall(
    path: &Path,
    config: &EmbeddedConfig,
    stored: &Arc<StoredPositions>,
) -> fjall::Result<fjall::Database> {
    let forget: Arc<dyn Factory> = Arc::new(history::ForgetOldSends(Arc::clone(stored)));
    fjall::Database::builder(path)
        .cache_size(config.cache_bytes)
        .max_journaling_size(config.max_journal_bytes.max(64 << 20))
        .worker_threads(config.table_threads.max(1))
        .max_cached_files(Some(config.max_open_files.max(10)))
        .with_compaction_filter_factories(Arc::new(move |keyspace| {
            (keyspace == SENT).then(|| Arc::clone(&forget))
        }))
        .open()
}

fn open_error(folder: &Path, error: fjall::Error) -> OpenError {
    match error {
        fjall::Error::Locked => OpenError::InUse(folder.to_owned()),
        fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error))
            if !tells_of_damage(&error) =>
        {
            OpenError::unavailable(folder, error)
        }
        other => OpenError::damaged(folder, other),
    }
}

/// Whether the disk did what it should, and a file was not what it should be.
fn tells_of_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | NotFound | UnexpectedEof)
}

fn is_empty(folder: &Path, database: &Database) -> Result<bool, OpenError> {
    let messages = database.messages.is_empty();
    messages.map_err(|error| open_error(folder, error))
}

/// A read that fjall could not do.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// The disk did not answer as it should; it may the next time.
    #[error("{0}")]
    Disk(String),
    /// What is on the disk makes no sense.
    #[error("{0}")]
    Damaged(String),
}

impl From<fjall::Error> for Unreadable {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error))
                if !tells_of_damage(&error) =>
            {
                Self::Disk(error.to_string())
            }
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<Unreadable> for HistoryError {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Disk(reason) => Self::Unavailable(reason),
            Unreadable::Damaged(reason) => Self::Damaged(reason),
        }
    }
}

impl From<Unreadable> for PushError {
    fn from(error: Unreadable) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Lets other tasks run every 64 rows of a read.
///
/// Reads run where they are called, not on a blocking thread: among a million messages a head takes
/// about 7 µs and a page of 50 about 70 µs, the way to a blocking thread and back 14 µs more
/// (`examples/history_cost.rs`), and the pool of those threads would be one more queue. The price is
/// that a block which no cache holds keeps a runtime thread for a read of the disk; long reads give
/// it back in between.
pub(crate) async fn breathe(row: usize) {
    if row % 64 == 63 {
        tokio::task::yield_now().await;
    }
}
