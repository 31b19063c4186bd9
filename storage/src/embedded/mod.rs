//! The storage of a single node on its own disk: one fjall database with one writer, and the
//! adapters on it. A request goes from an adapter (`history_store`, `push_notifier`) through the
//! `writer` to a stage (`append_stage`, `push_stage`) and to the `database`; reads go from the adapter
//! to the database.

use std::path::Path;
use std::sync::Arc;

use pabal_core::model::MAX_PARTITIONS;
use pabal_core::ports::HistoryError;

mod config;
mod error;
mod chain;
mod folder;
mod journal;
mod look;
mod mirror;
mod positions;
mod expiry;
mod database;
mod append_stage;
mod push_stage;
mod writer;
mod export;
mod history_store;
mod push_notifier;
mod findings;
mod verify_history;
mod verify_push;
mod verify;
mod repair;

pub use config::EmbeddedConfig;
pub use error::OpenError;
pub use export::{ExportError, Exported};
pub use findings::{Finding, Findings, StoreReport};
pub use history_store::FjallHistoryStore;
pub use push_notifier::FjallPushNotifier;
pub use repair::{RepairReport, repair};
pub use verify::{Held, hold, verify};

use database::Database;
use writer::Writer;

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
        let writer = Writer::start(database, folder, config).map_err(|error| error.at(folder))?;
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
