//! What can go wrong in a relational backend, and what it means to a caller of the port: the one
//! place that knows how a database says so.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pabal_core::ports::DirectoryError;
use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::migrate::MigrateError;
#[cfg(feature = "postgres")]
use sqlx::postgres::PgDatabaseError;

#[cfg(feature = "postgres")]
use crate::error::{ConnectError, Why};

/// What the tables of PostgreSQL call the rule that no two users have one name.
const USERNAME_RULE: &str = "users_have_different_names";

/// A [`DirectoryError`] that an error of the database turns into at `?`.
#[derive(Debug)]
pub(super) struct Failure {
    error: DirectoryError,
    again: bool,
}

impl Failure {
    /// Whether nothing has happened, and another attempt may succeed at once.
    pub(super) fn again(&self) -> bool {
        self.again
    }

    /// What the failure of a commit means.
    pub(super) fn of_commit(error: sqlx::Error) -> Self {
        let rolled_back = matches!(&error, sqlx::Error::Database(cause) if is_conflict(&**cause));
        Self { again: rolled_back, ..Self::from(error) }
    }
}

impl From<Failure> for DirectoryError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        Self { error, again: false }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let text = error.to_string();
        let again = match &error {
            sqlx::Error::Database(cause) => is_conflict(&**cause) || is_ending(&**cause),
            sqlx::Error::Io(_) => true,
            _ => false,
        };
        let error = match &error {
            sqlx::Error::Database(cause) if cause.constraint() == Some(USERNAME_RULE) => {
                DirectoryError::UsernameTaken
            }
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
        };
        Self { error, again }
    }
}

/// Whether PostgreSQL rolled the transaction back because of another one: serialization_failure,
/// deadlock_detected.
fn is_conflict(cause: &dyn DatabaseError) -> bool {
    matches!(cause.code().as_deref(), Some("40001" | "40P01"))
}

/// Whether PostgreSQL stops or starts: admin_shutdown, crash_shutdown, cannot_connect_now.
fn is_ending(cause: &dyn DatabaseError) -> bool {
    matches!(cause.code().as_deref(), Some("57P01" | "57P02" | "57P03"))
}

/// Whether the file is no sound SQLite database, or PostgreSQL cannot read its own: data_corrupted,
/// index_corrupted, and statements that do not fit the tables.
fn is_damage(cause: &dyn DatabaseError) -> bool {
    // Primary result codes of sqlite3.h; extended codes add a number above the low byte.
    const SQLITE_CORRUPT: i32 = 11;
    const SQLITE_NOTADB: i32 = 26;
    let code = cause.code().unwrap_or_default();
    #[cfg(feature = "postgres")]
    if cause.try_downcast_ref::<PgDatabaseError>().is_some() {
        return ["XX", "42", "22"].iter().any(|class| code.starts_with(class)) && code != "42501";
    }
    matches!(code.parse::<i32>().map(|code| code & 0xff), Ok(SQLITE_CORRUPT | SQLITE_NOTADB))
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
        let said = error.to_string();
        let by_disk = matches!(&error, sqlx::Error::Database(cause) if is_disk(&**cause));
        match Failure::from(error).error {
            DirectoryError::Damaged(detail) => Self::Damaged { path, detail },
            _ => {
                let why = if by_disk { write_beside(&path).err() } else { None };
                let detail = why.map_or_else(|| said.clone(), |why| format!("{why} ({said})"));
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

/// Whether SQLite met an error of the disk, of which it says no more than that.
fn is_disk(cause: &dyn DatabaseError) -> bool {
    const SQLITE_IOERR: i32 = 10;
    const SQLITE_FULL: i32 = 13;
    let code = cause.code().unwrap_or_default();
    matches!(code.parse::<i32>().map(|code| code & 0xff), Ok(SQLITE_IOERR | SQLITE_FULL))
}

/// Tries what SQLite does when it opens a file, to hear from the system why it fails: writes a little
/// beside it, as much as the index of a write-ahead log takes.
fn write_beside(path: &Path) -> io::Result<()> {
    let path = path.with_extension("tried");
    let mut file = File::create(&path)?;
    let written = file.write_all(&[0; 32 * 1024]).and_then(|()| file.sync_data());
    fs::remove_file(&path)?;
    written
}

/// What the failure of a first connection to PostgreSQL means.
#[cfg(feature = "postgres")]
pub(super) fn connect_error(url: &str, error: sqlx::Error) -> ConnectError {
    let why = match &error {
        sqlx::Error::Database(cause) => {
            // Classes of SQLSTATE: connection, insufficient resources, operator intervention.
            let code = cause.code().unwrap_or_default();
            let passing = ["08", "53", "57"].iter().any(|class| code.starts_with(class));
            let said = cause.message().to_owned();
            if passing { Why::Unreachable(said) } else { Why::Refused(said) }
        }
        sqlx::Error::Tls(cause) => Why::Refused(format!("TLS: {cause}")),
        sqlx::Error::Configuration(cause) => Why::Address(cause.to_string()),
        sqlx::Error::Io(cause) => Why::Unreachable(cause.to_string()),
        other => Why::Unreachable(other.to_string()),
    };
    ConnectError::new(url, why)
}

/// What the failure of a migration of PostgreSQL means.
#[cfg(feature = "postgres")]
pub(super) fn migrate_error(url: &str, error: MigrateError) -> ConnectError {
    let why = match error {
        MigrateError::VersionMissing(version) => Why::Newer(version),
        MigrateError::VersionMismatch(version) => Why::Altered(version),
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => {
            return connect_error(url, cause);
        }
        other => Why::Refused(other.to_string()),
    };
    ConnectError::new(url, why)
}
