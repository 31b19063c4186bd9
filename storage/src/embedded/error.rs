//! Why an embedded store does not open.

use std::io;
use std::path::{Path, PathBuf};

use pabal_core::model::MAX_PARTITIONS;

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
    pub(super) fn damaged(folder: &Path, reason: impl ToString) -> Self {
        Self::Damaged { folder: folder.to_owned(), reason: reason.to_string() }
    }

    pub(super) fn unavailable(folder: &Path, source: io::Error) -> Self {
        Self::Unavailable { folder: folder.to_owned(), source }
    }
}
