//! The fjall database of an embedded store: keyspaces, the view of readers, and whether the store
//! is poisoned. Owns no key and no value; those belong to the adapters.
//!
//! # What readers see
//! fjall syncs the journal before it makes a batch visible, so readers see only durable rows. But a
//! keyspace read can see half of a batch, and so can a fresh snapshot: when a flush or a merge ends
//! during a batch, fjall advances the visible sequence number past the batch. A reader that follows
//! a channel could then see a message and miss the one before it. So all readers share one
//! snapshot, [`Database::durable`], which the writer replaces between two batches.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use fjall::compaction::filter::Factory;
use fjall::{Keyspace, KeyspaceCreateOptions, LsmError, Readable, Snapshot};
use pabal_core::ports::{HistoryError, PushError};

use super::config::EmbeddedConfig;
use super::error::OpenError;
use super::expiry::ExpiredSendFilter;
use super::folder;
use super::positions::StoredPositions;
use crate::codec;

/// Names of the keyspaces; existing data folders depend on them.
const MESSAGES: &str = "messages";
const POSITIONS: &str = "positions";
const SENT: &str = "sent";
const PUSH: &str = "push";

/// A small memtable for small rows that are rewritten often, so that old journals can be deleted.
const SMALL_MEMTABLE_BYTES: u64 = 8 << 20;

/// An open database. Reads are allowed from any thread, writes only from the writer thread.
pub(crate) struct Database {
    /// The snapshot for readers, replaced between two batches. Dropped before the database.
    durable: RwLock<Arc<Snapshot>>,
    /// `(channel_id, message_id)` → message.
    pub(crate) messages: Keyspace,
    /// Partition → stored position.
    pub(crate) positions: Keyspace,
    /// Send key → message id.
    pub(crate) sent: Keyspace,
    /// Position → notification.
    pub(crate) push: Keyspace,
    /// The durable content of `positions`, for every partition.
    pub(crate) stored: Arc<StoredPositions>,
    /// The number of partitions that channels are divided into.
    pub(super) partitions: u16,
    pub(super) fjall: fjall::Database,
    poisoned: OnceLock<String>,
}

impl Database {
    /// Opens the database in `folder`, or creates it.
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
        let database = folder::database_path(folder);
        if recorded.is_none() && !database.exists() {
            let unfinished = folder::prepare_unfinished(folder)?;
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
        database.load_positions().map_err(|error| OpenError::damaged(folder, error))?;
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

    /// Loads the stored positions from disk.
    fn load_positions(&self) -> Result<(), ReadError> {
        for row in self.durable().iter(&self.positions) {
            let (key, value) = row.into_inner()?;
            let damaged = |error| ReadError::Damaged(format!("stored position {key:?}: {error}"));
            let partition = codec::decode_position_key(&key).map_err(damaged)?;
            self.stored.advance(partition, codec::decode_id(&value).map_err(damaged)?);
        }
        Ok(())
    }

    /// A snapshot of all durable rows, which contains each batch completely or not at all.
    pub(crate) fn durable(&self) -> Arc<Snapshot> {
        Arc::clone(&self.durable.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows committed rows to readers. Call only between two batches.
    pub(super) fn publish(&self) {
        let snapshot = Arc::new(self.fjall.snapshot());
        *self.durable.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    /// Makes every later call fail: the last write may not be durable.
    pub(super) fn poison(&self, why: String) {
        tracing::error!(%why, "the embedded store is poisoned; the process must stop");
        self.poisoned.get_or_init(|| why);
    }

    /// Why the store is poisoned, if it is.
    pub(crate) fn poisoned(&self) -> Option<&str> {
        self.poisoned.get().map(String::as_str)
    }
}

fn open_fjall(
    path: &Path,
    config: &EmbeddedConfig,
    stored: &Arc<StoredPositions>,
) -> fjall::Result<fjall::Database> {
    let expire: Arc<dyn Factory> = Arc::new(ExpiredSendFilter(Arc::clone(stored)));
    fjall::Database::builder(path)
        .cache_size(config.cache_bytes)
        .max_journaling_size(config.max_journal_bytes.max(64 << 20))
        .worker_threads(config.table_threads.max(1))
        .max_cached_files(Some(config.max_open_files.max(10)))
        .with_compaction_filter_factories(Arc::new(move |keyspace| {
            (keyspace == SENT).then(|| Arc::clone(&expire))
        }))
        .open()
}

fn open_error(folder: &Path, error: fjall::Error) -> OpenError {
    match error {
        fjall::Error::Locked => OpenError::InUse(folder.to_owned()),
        fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error))
            if !indicates_damage(&error) =>
        {
            OpenError::unavailable(folder, error)
        }
        other => OpenError::damaged(folder, other),
    }
}

/// Whether the error means a damaged file rather than a failing disk.
fn indicates_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | NotFound | UnexpectedEof)
}

fn is_empty(folder: &Path, database: &Database) -> Result<bool, OpenError> {
    let messages = database.messages.is_empty();
    messages.map_err(|error| open_error(folder, error))
}

/// A failed read of fjall.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The disk failed; a retry may succeed.
    #[error("{0}")]
    Disk(String),
    /// The data on the disk is damaged.
    #[error("{0}")]
    Damaged(String),
}

impl From<fjall::Error> for ReadError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error))
                if !indicates_damage(&error) =>
            {
                Self::Disk(error.to_string())
            }
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<ReadError> for HistoryError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Disk(reason) => Self::Unavailable(reason),
            ReadError::Damaged(reason) => Self::Damaged(reason),
        }
    }
}

impl From<ReadError> for PushError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Yields to other tasks after every 64th row of a read.
///
/// Reads run on the calling task, not on a blocking thread: among a million messages a head takes
/// about 7 µs and a page of 50 about 70 µs, while a blocking thread costs 14 µs more
/// (`examples/history_cost.rs`) and its pool would be one more queue. The price is that a block in
/// no cache occupies a runtime thread for one disk read; long reads yield in between.
pub(crate) async fn yield_between_rows(row: usize) {
    if row % 64 == 63 {
        tokio::task::yield_now().await;
    }
}
