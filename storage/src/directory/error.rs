//! What can go wrong in a relational backend, and what it means to a caller of the port: the one
//! place that knows how a database says so.

use std::path::{Path, PathBuf};

use pabal_core::ports::DirectoryError;
use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::migrate::MigrateError;

/// A [`DirectoryError`] that an error of the database turns into at `?`.
#[derive(Debug)]
pub(super) struct Failure(DirectoryError);

impl From<Failure> for DirectoryError {
    fn from(failure: Failure) -> Self {
        failure.0
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        Self(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let text = error.to_string();
        Self(match &error {
            // Every other unique key is looked up before it is written; what is left are the ids.
            sqlx::Error::Database(cause) if cause.kind() == ErrorKind::UniqueViolation => {
                DirectoryError::IdTaken
            }
            // The rules in the tables say more than the program checks: it has a fault.
            sqlx::Error::Database(cause) if cause.kind() != ErrorKind::Other => {
                DirectoryError::Damaged(text)
            }
            sqlx::Error::Database(cause) if is_damage(&**cause) => DirectoryError::Damaged(text),
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::TypeNotFound { .. } => DirectoryError::Damaged(text),
            _ => DirectoryError::Unavailable(text),
        })
    }
}

/// Whether the file is no sound SQLite database.
fn is_damage(cause: &dyn DatabaseError) -> bool {
    // Primary result codes of sqlite3.h; extended codes add a number above the low byte.
    const SQLITE_CORRUPT: i32 = 11;
    const SQLITE_NOTADB: i32 = 26;
    let code = cause.code().and_then(|code| code.parse::<i32>().ok());
    matches!(code.map(|code| code & 0xff), Some(SQLITE_CORRUPT | SQLITE_NOTADB))
}

/// Why a directory could not be opened. The file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A newer release has changed the tables. Use that release, or a copy made before it.
    #[error(
        "{path} was made by a newer release: it has schema version {version}, which is unknown here"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The first version that is not known.
        version: i64,
    },
    /// An older release has made the tables. Start this one on the folder once, or use the older.
    #[error("{path} has schema version {version}, which `pabal serve` has to bring up to date")]
    Older {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
    },
    /// The tables are not the ones that a release makes: the file is of an unreleased program.
    #[error("{path} has schema version {version}, but not the one that is known here")]
    Altered {
        /// The file.
        path: PathBuf,
        /// The version that differs.
        version: i64,
    },
    /// The file is damaged, or no database at all. A retry will not help; restore a copy.
    #[error("{path} is damaged, or no SQLite database: {detail}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// The file cannot be reached: no folder, no permission, no room, or locked. Worth a retry once
    /// that has changed.
    #[error("{path} cannot be opened: {detail}")]
    Unavailable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
}

impl OpenError {
    /// The same about another file, of which the one that was opened is a copy.
    pub(super) fn of(mut self, original: &Path) -> Self {
        let (Self::Newer { path, .. }
        | Self::Older { path, .. }
        | Self::Altered { path, .. }
        | Self::Damaged { path, .. }
        | Self::Unavailable { path, .. }) = &mut self;
        original.clone_into(path);
        self
    }

    pub(super) fn connect(path: PathBuf, error: sqlx::Error) -> Self {
        let detail = error.to_string();
        match Failure::from(error).0 {
            DirectoryError::Damaged(detail) => Self::Damaged { path, detail },
            _ => Self::Unavailable { path, detail },
        }
    }

    pub(super) fn migrate(path: PathBuf, error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(version) => Self::Newer { path, version },
            MigrateError::VersionMismatch(version) => Self::Altered { path, version },
            MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => {
                Self::connect(path, cause)
            }
            other => Self::Damaged { path, detail: other.to_string() },
        }
    }
}
