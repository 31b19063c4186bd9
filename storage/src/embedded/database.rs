//! The fjall database of an embedded store: keyspaces, the view of readers, and whether the store
//! is poisoned. Owns no key and no value; those belong to the adapters.
//!
//! # What readers see
//! fjall syncs the journal before it makes a batch visible, so readers see only durable rows. But a
//! keyspace read can see half of a batch, and so can a fresh snapshot: when a flush or a merge ends
//! during a batch, fjall advances the visible sequence number past the batch. A reader that follows
//! a channel could then see a message and miss the one before it. So all readers share one
//! snapshot, [`Database::durable`], which the writer replaces between two batches.

use std::fs::{File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use fjall::compaction::filter::Factory;
use fjall::{Keyspace, KeyspaceCreateOptions, LsmError, Readable, Snapshot};
use pabal_core::ports::{HistoryError, PushError};

use super::chain::{self, Reached};
use super::config::EmbeddedConfig;
use super::error::OpenError;
use super::expiry::ExpiredSendFilter;
use super::folder::{self, Recorded};
use super::look::{self, LookError, Torn};
use super::mirror;
use super::positions::StoredPositions;
use crate::{codec, mark};

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
    /// The secret of the checksums of the chain.
    pub(super) secret: u64,
    pub(super) fjall: fjall::Database,
    poisoned: OnceLock<String>,
}

impl Database {
    /// Opens the database in `folder`, or creates it.
    pub(super) fn open(folder: &Path, config: &EmbeddedConfig) -> Result<Self, OpenError> {
        std::fs::create_dir_all(folder).map_err(|e| OpenError::unavailable(folder, e))?;
        let recorded = folder::recorded(folder)?;
        let mut marked = Reached::default();
        if let Some(Recorded { partitions: recorded, secret }) = recorded {
            let asked = config.partitions;
            if recorded != asked {
                let folder = folder.to_owned();
                return Err(OpenError::OtherPartitions { folder, recorded, asked });
            }
            folder::check_complete(folder)?;
            marked = read_mark(folder, secret)?;
            prepare_journals(folder, config, secret, &marked)?;
        }
        let database = folder::database_path(folder);
        if recorded.is_none() && !database.exists() {
            let unfinished = folder::prepare_unfinished(folder)?;
            drop(Self::open_at(&unfinished, folder, config, None)?);
            folder::rename(folder, &unfinished, &database)?;
        }
        let mut database = Self::open_at(&database, folder, config, recorded)?;
        if recorded.is_none() && !is_empty(folder, &database)? {
            return Err(OpenError::damaged(folder, "it holds messages but no pabal-store"));
        }
        if recorded.is_none_or(|it| it.secret.is_none()) {
            database.begin_chain(folder, recorded.is_some())?;
        }
        database.load_positions().map_err(|error| OpenError::damaged(folder, error))?;
        let reached = Reached::of(&database).map_err(|error| OpenError::damaged(folder, error))?;
        refuse_lost(folder, &reached, &marked)?;
        Ok(database)
    }

    /// Gives the store a mark and the secret of its chain: a new one, or one of a release that wrote
    /// neither.
    fn begin_chain(&mut self, folder: &Path, existing: bool) -> Result<(), OpenError> {
        self.secret = rand::random();
        let marked = mark::create(&folder::mark_path(folder), &Reached::default().encode());
        marked.map_err(|error| OpenError::unavailable(folder, error))?;
        folder::record(folder, self.partitions, self.secret)?;
        if existing {
            tracing::warn!(
                folder = %folder.display(),
                "an older release wrote this history: it was opened as it is, because nothing says \
                 how far it was acknowledged; from now on that is recorded"
            );
        }
        Ok(())
    }

    /// Opens the database at `path` of the store in `folder`.
    pub(super) fn open_at(
        path: &Path,
        folder: &Path,
        config: &EmbeddedConfig,
        recorded: Option<Recorded>,
    ) -> Result<Self, OpenError> {
        let stored = Arc::new(StoredPositions::new());
        // fjall has assertions that fail on some damaged files.
        let opened = catch_unwind(AssertUnwindSafe(|| open_fjall(path, config, &stored)));
        let contradicts = |_| OpenError::damaged(folder, "its files contradict each other");
        let fjall = opened.map_err(contradicts)?.map_err(|error| open_error(folder, error))?;
        let keyspace = |name: &str, memtable_bytes: u64| {
            if recorded.is_some() && !fjall.keyspace_exists(name) {
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
            secret: recorded.and_then(|it| it.secret).unwrap_or_default(),
            fjall,
            poisoned: OnceLock::new(),
        })
    }

    /// Loads the stored positions from disk.
    fn load_positions(&self) -> Result<(), ReadError> {
        for row in self.durable().iter(&self.positions) {
            let (key, value) = row.into_inner()?;
            if *key == chain::KEY {
                continue;
            }
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

/// What the mark of the store says. A store without a chain has no mark.
pub(super) fn read_mark(folder: &Path, secret: Option<u64>) -> Result<Reached, OpenError> {
    if secret.is_none() {
        return Ok(Reached::default());
    }
    let path = folder::mark_path(folder);
    let wrong = |what: &dyn std::fmt::Display| {
        let what = format!("{} {what}; {}", path.display(), what_to_do(folder));
        Err(OpenError::damaged(folder, what))
    };
    match mark::read(&path) {
        Ok(Some(payload)) => Ok(Reached::decode(&payload)),
        Ok(None) => wrong(&"is gone"),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            wrong(&format_args!("is damaged: {error}"))
        }
        Err(error) => Err(OpenError::unavailable(folder, error)),
    }
}

/// Looks at the journals before fjall does, and ends the last one before a write that a crash has
/// torn. A damaged store is refused and left as it is.
fn prepare_journals(
    folder: &Path,
    config: &EmbeddedConfig,
    secret: Option<u64>,
    marked: &Reached,
) -> Result<(), OpenError> {
    let unavailable = |error| OpenError::unavailable(folder, error);
    let lock = folder::open_lock(&folder::database_path(folder)).map_err(unavailable)?;
    match lock.as_ref().map(File::try_lock) {
        None | Some(Ok(())) => {}
        Some(Err(TryLockError::WouldBlock)) => return Err(OpenError::InUse(folder.to_owned())),
        Some(Err(TryLockError::Error(error))) => return Err(unavailable(error)),
    }
    let torn = look_before_open(folder, config, secret, marked)?;
    // fjall treats a store without a chain as it always did: nothing says what was acknowledged.
    if let (Some(torn), Some(_)) = (torn, secret) {
        torn.cut(&folder.join("torn")).map_err(unavailable)?;
        tracing::warn!(
            journal = %torn.journal.display(), at = torn.at, bytes = torn.bytes.len(),
            "a crash has torn the last write, which was not acknowledged: the journal ends before it"
        );
    }
    // The lock is released; a process that opens the store in between has looked at it too.
    Ok(())
}

/// Looks at the journals, and at the tables if no journal has a batch. Changes nothing.
fn look_before_open(
    folder: &Path,
    config: &EmbeddedConfig,
    secret: Option<u64>,
    marked: &Reached,
) -> Result<Option<Torn>, OpenError> {
    let database = folder::database_path(folder);
    let look = look::look(&database, secret.unwrap_or_default(), marked.counter);
    let look = look.map_err(|error| match error {
        LookError::Io(error) => OpenError::unavailable(folder, error),
        LookError::Damaged(damage) => damage.error(folder),
    })?;
    if look.last.is_none() && marked.counter > 0 {
        let reached = reached_in_copy(folder, config, look.torn.as_ref())?;
        if let Some(torn) = &look.torn
            && reached.counter < marked.counter
        {
            return Err(torn.damage(marked.counter - reached.counter).error(folder));
        }
        refuse_lost(folder, &reached, marked)?;
    }
    Ok(look.torn)
}

/// How far the tables reach, read from a copy that is removed again.
fn reached_in_copy(
    folder: &Path,
    config: &EmbeddedConfig,
    torn: Option<&Torn>,
) -> Result<Reached, OpenError> {
    let scratch = folder.join("look");
    let unavailable = |error| OpenError::unavailable(folder, error);
    mirror::remove(&scratch).map_err(unavailable)?;
    let mirrored = std::fs::create_dir(&scratch)
        .and_then(|()| mirror::database(&folder::database_path(folder), &scratch, torn));
    let reached = mirrored.map_err(unavailable).and_then(|()| {
        let recorded = Recorded { partitions: config.partitions, secret: None };
        let database = Database::open_at(&scratch, folder, config, Some(recorded))?;
        Reached::of(&database).map_err(|error| OpenError::damaged(folder, error))
    });
    mirror::remove(&scratch).map_err(unavailable)?;
    reached
}

/// Refuses a store that does not reach as far as its mark.
pub(super) fn refuse_lost(
    folder: &Path,
    reached: &Reached,
    marked: &Reached,
) -> Result<(), OpenError> {
    let behind = reached.behind(marked);
    if behind.is_empty() {
        return Ok(());
    }
    let lost = marked.counter.saturating_sub(reached.counter);
    let reason = format!(
        "{} reach to batch {}, but batch {} was acknowledged: {lost} batches are missing from {}; {}",
        folder::database_path(folder).display(),
        reached.counter,
        marked.counter,
        behind.join(", "),
        what_to_do(folder),
    );
    Err(OpenError::damaged(folder, reason))
}

/// What an operator can do about damage.
pub(super) fn what_to_do(_folder: &Path) -> &'static str {
    "nothing was changed. Restore a backup with `pabal restore`, or continue with what is left with \
     `pabal repair --keep DIR`"
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
