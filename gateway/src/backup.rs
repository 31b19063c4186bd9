//! A backup of a data folder. A backup is a data folder itself, and is written while the node runs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pabal_storage::directory::SqliteDirectory;
use pabal_storage::embedded::ExportError;
use pabal_storage::history::FjallHistoryStore;
use tokio_util::sync::CancellationToken;

/// The name of history while it is being written. A folder that contains it is not a complete
/// backup.
const UNFINISHED: &str = "history.unfinished";

/// The stores to back up. Cloning is cheap.
#[derive(Clone)]
pub struct Backup {
    /// Users, channels, members, tokens.
    pub directory: SqliteDirectory,
    /// Messages and the push queue.
    pub history: Arc<FjallHistoryStore>,
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").finish_non_exhaustive()
    }
}

/// Why a backup failed. The folder holds an incomplete backup, which can be deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The directory cannot be copied.
    #[error("cannot copy the directory: {0}")]
    Directory(#[from] pabal_core::ports::DirectoryError),
    /// History cannot be copied.
    #[error("cannot copy history: {0}")]
    History(#[from] ExportError),
    /// The folder cannot be written.
    #[error("cannot write {}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The backup was cancelled.
    #[error("the backup was interrupted")]
    Interrupted,
}

impl Backup {
    /// Writes a backup into `folder`, which exists and is empty. The backup contains everything
    /// that was acknowledged before the call, and a part of what is acknowledged during it. Ends
    /// early when `stop` is cancelled.
    ///
    /// The directory is copied first. History may then have messages of channels that the copy of
    /// the directory does not have, which no user can read. In the opposite order the directory
    /// could have read positions beyond the copied messages.
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
        tracing::info!(folder = %folder.display(), rows = exported.rows, "wrote a backup");
        Ok(())
    }
}
