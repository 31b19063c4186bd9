//! A backup of a node's data folder: a data folder itself, written while the node goes on.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pabal_storage::directory::SqliteDirectory;
use pabal_storage::embedded::ExportError;
use pabal_storage::history::FjallHistoryStore;
use tokio_util::sync::CancellationToken;

/// The name of history while it is being written: a folder that holds it is no complete backup.
const UNFINISHED: &str = "history.unfinished";

/// What is backed up.
#[derive(Clone)]
pub struct Backup {
    /// Users, channels, members, tokens.
    pub directory: SqliteDirectory,
    /// Messages, and the push queue.
    pub history: Arc<FjallHistoryStore>,
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").finish_non_exhaustive()
    }
}

/// Why there is no backup. What was written is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The directory cannot be copied.
    #[error("the directory cannot be copied: {0}")]
    Directory(#[from] pabal_core::ports::DirectoryError),
    /// History cannot be copied.
    #[error("history cannot be copied: {0}")]
    History(#[from] ExportError),
    /// The folder cannot be used.
    #[error("{} cannot be written: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The task was cut off.
    #[error("the backup was interrupted")]
    Interrupted,
}

impl Backup {
    /// Writes a backup into `folder`, which is there and empty. Everything that was acknowledged
    /// before is in it; of what is said meanwhile, some. Ends early when `stop` is cancelled.
    ///
    /// The directory comes first. So the messages may be of channels that the copy of the directory
    /// does not know yet, which nobody can read; the other way round, members would have read what
    /// was never said.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn write(&self, folder: &Path, stop: CancellationToken) -> Result<(), BackupError> {
        let refused = |source| BackupError::Folder { folder: folder.to_owned(), source };
        let directory = folder.join("directory.sqlite");
        tokio::select! {
            copied = self.directory.copy_to(&directory) => copied?,
            () = stop.cancelled() => return Err(BackupError::Interrupted),
        }
        let (history, unfinished) = (Arc::clone(&self.history), folder.join(UNFINISHED));
        let copied = tokio::task::spawn_blocking(move || {
            history.export(&unfinished, &|| stop.is_cancelled())
        });
        let exported = copied.await.map_err(|_| BackupError::Interrupted)??;
        File::open(directory)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(folder.join(UNFINISHED), folder.join("history")))
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(refused)?;
        tracing::info!(folder = %folder.display(), rows = exported.rows, "a backup is complete");
        Ok(())
    }
}
