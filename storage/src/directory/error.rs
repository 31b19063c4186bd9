//! The errors of a relational backend and their meaning for callers of the port. The only module
//! that interprets a database's error codes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pabal_core::ports::DirectoryError;
use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::migrate::MigrateError;
#[cfg(feature = "postgres")]
use sqlx::postgres::PgDatabaseError;

#[cfg(feature = "postgres")]
use crate::error::{ConnectError, ConnectFailure};

/// The name of PostgreSQL's constraint that usernames are unique.
const USERNAME_CONSTRAINT: &str = "users_have_different_names";

/// A [`DirectoryError`] to which `?` converts a database error.
#[derive(Debug)]
pub(super) struct Failure {
    error: DirectoryError,
    retry: bool,
}

impl Failure {
    /// Whether nothing was changed and an immediate retry may succeed.
    pub(super) fn retry(&self) -> bool {
        self.retry
    }

    /// The meaning of a failed commit.
    pub(super) fn of_commit(error: sqlx::Error) -> Self {
        let rolled_back = matches!(&error, sqlx::Error::Database(cause) if is_conflict(&**cause));
        Self { retry: rolled_back, ..Self::from(error) }
    }
}

impl From<Failure> for DirectoryError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        Self { error, retry: false }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let text = error.to_string();
        let retry = match &error {
            sqlx::Error::Database(cause) => is_conflict(&**cause) || is_restarting(&**cause),
            sqlx::Error::Io(_) => true,
            _ => false,
        };
        let error = match &error {
            sqlx::Error::Database(cause) if cause.constraint() == Some(USERNAME_CONSTRAINT) => {
                DirectoryError::UsernameTaken
            }
            // Every other unique key is checked before the write; only ids remain.
            sqlx::Error::Database(cause) if cause.kind() == ErrorKind::UniqueViolation => {
                DirectoryError::IdTaken
            }
            // The tables enforce more than the program checks, so a violation is a fault of the
            // program.
            sqlx::Error::Database(cause) if cause.kind() != ErrorKind::Other => {
                DirectoryError::Damaged(text)
            }
            sqlx::Error::Database(cause) if is_damage(&**cause) => DirectoryError::Damaged(text),
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::TypeNotFound { .. } => DirectoryError::Damaged(text),
            _ => DirectoryError::Unavailable(text),
        };
        Self { error, retry }
    }
}

/// Whether PostgreSQL rolled the transaction back because of a conflict: serialization_failure,
/// deadlock_detected.
fn is_conflict(cause: &dyn DatabaseError) -> bool {
    matches!(cause.code().as_deref(), Some("40001" | "40P01"))
}

/// Whether PostgreSQL is stopping or starting: admin_shutdown, crash_shutdown, cannot_connect_now.
fn is_restarting(cause: &dyn DatabaseError) -> bool {
    matches!(cause.code().as_deref(), Some("57P01" | "57P02" | "57P03"))
}

/// Whether the file is not a sound SQLite database, or PostgreSQL reports damage: data_corrupted,
/// index_corrupted, and statements that do not match the tables.
fn is_damage(cause: &dyn DatabaseError) -> bool {
    // Primary result codes of sqlite3.h; extended codes use the bits above the low byte.
    const SQLITE_CORRUPT: i32 = 11;
    const SQLITE_NOTADB: i32 = 26;
    let code = cause.code().unwrap_or_default();
    #[cfg(feature = "postgres")]
    if cause.try_downcast_ref::<PgDatabaseError>().is_some() {
        return ["XX", "42", "22"].iter().any(|class| code.starts_with(class)) && code != "42501";
    }
    matches!(code.parse::<i32>().map(|code| code & 0xff), Ok(SQLITE_CORRUPT | SQLITE_NOTADB))
}

/// Why a directory could not be opened. The file is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A newer release changed the tables. Do not retry; use that release, or a copy made before
    /// it.
    #[error(
        "{path} was created by a newer release: it has schema version {version}, which this release does not know"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The first unknown version.
        version: i64,
    },
    /// An older release created the tables. Start this release on the folder once, or use the older
    /// one.
    #[error("{path} has schema version {version}, which `pabal serve` must migrate first")]
    Older {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
    },
    /// The tables differ from those that a release creates: an unreleased program wrote the file.
    /// Do not retry.
    #[error("{path} has schema version {version}, which differs from the one of this release")]
    Altered {
        /// The file.
        path: PathBuf,
        /// The version that differs.
        version: i64,
    },
    /// The file is damaged or not a database. Do not retry; restore a backup.
    #[error("{path} is damaged, or not a SQLite database: {detail}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The error of SQLite.
        detail: String,
    },
    /// The file is not accessible: missing folder, missing permission, full disk, or locked. Retry
    /// once the cause is fixed.
    #[error("{path} cannot be opened: {detail}")]
    Unavailable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        detail: String,
    },
}

impl OpenError {
    /// The same error for the original of a copy that was opened.
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
        let said = error.to_string();
        let by_disk = matches!(&error, sqlx::Error::Database(cause) if is_disk(&**cause));
        match Failure::from(error).error {
            DirectoryError::Damaged(detail) => Self::Damaged { path, detail },
            _ => {
                let cause = if by_disk { probe_write(&path).err() } else { None };
                let detail =
                    cause.map_or_else(|| said.clone(), |cause| format!("{cause} ({said})"));
                Self::Unavailable { path, detail }
            }
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

/// Whether SQLite met a disk error, for which it gives no cause.
fn is_disk(cause: &dyn DatabaseError) -> bool {
    const SQLITE_IOERR: i32 = 10;
    const SQLITE_FULL: i32 = 13;
    let code = cause.code().unwrap_or_default();
    matches!(code.parse::<i32>().map(|code| code & 0xff), Ok(SQLITE_IOERR | SQLITE_FULL))
}

/// Repeats what SQLite does when it opens a file, to get the system's error: writes a small file
/// next to it, the size of the index of a write-ahead log.
fn probe_write(path: &Path) -> io::Result<()> {
    let path = path.with_extension("tried");
    let mut file = File::create(&path)?;
    let written = file.write_all(&[0; 32 * 1024]).and_then(|()| file.sync_data());
    fs::remove_file(&path)?;
    written
}

/// The meaning of a failed first connection to PostgreSQL.
#[cfg(feature = "postgres")]
pub(super) fn connect_error(url: &str, error: sqlx::Error) -> ConnectError {
    let why = match &error {
        sqlx::Error::Database(cause) => {
            // SQLSTATE classes: connection exception, insufficient resources, operator
            // intervention.
            let code = cause.code().unwrap_or_default();
            let passing = ["08", "53", "57"].iter().any(|class| code.starts_with(class));
            let said = cause.message().to_owned();
            if passing { ConnectFailure::Unreachable(said) } else { ConnectFailure::Refused(said) }
        }
        sqlx::Error::Tls(cause) => ConnectFailure::Refused(format!("TLS: {cause}")),
        sqlx::Error::Configuration(cause) => ConnectFailure::Address(cause.to_string()),
        sqlx::Error::Io(cause) => ConnectFailure::Unreachable(cause.to_string()),
        other => ConnectFailure::Unreachable(other.to_string()),
    };
    ConnectError::new(url, why)
}

/// The meaning of a failed migration of PostgreSQL.
#[cfg(feature = "postgres")]
pub(super) fn migrate_error(url: &str, error: MigrateError) -> ConnectError {
    let why = match error {
        MigrateError::VersionMissing(version) => ConnectFailure::Newer(version),
        MigrateError::VersionMismatch(version) => ConnectFailure::Altered(version),
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => {
            return connect_error(url, cause);
        }
        other => ConnectFailure::Refused(other.to_string()),
    };
    ConnectError::new(url, why)
}
