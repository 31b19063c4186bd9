//! The directory in one SQLite file: the file and its connections.
//!
//! SQLite takes one writer at a time. A writer that finds another one waits in SQLite, by polling,
//! and fails if it began as a reader. So there is **one** connection for writing, for which calls
//! queue in order, and each of its transactions is a writer from its beginning (`BEGIN IMMEDIATE`);
//! that another process has the file open is then harmless as well. Reads go through connections
//! of their own, which the write-ahead log keeps from waiting for the writer. Every read is one
//! statement, and so one snapshot.
//!
//! `synchronous=FULL` makes a commit durable before it is answered (invariant I1).

mod verify;

use std::cmp::Ordering;
use std::path::Path;
use std::time::Duration;

use pabal_core::ports::DirectoryError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Sqlite, SqlitePool};

pub use verify::DirectoryReport;

use super::OpenError;
use super::migrations::SQLITE;
use super::relational::RelationalDirectory;
use super::store::{Backend, Store};

/// Connections for reading, each with a thread of its own.
const READERS: u32 = 4;

/// How long a call waits for its connection before it is [`DirectoryError::Unavailable`].
const WAIT_AT_MOST: Duration = Duration::from_secs(15);

/// How long SQLite waits for a writer in another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A [`Directory`](pabal_core::ports::Directory) in a SQLite file: one connection for writing and
/// four for reading.
///
/// A call that waits 15 s for its connection, or 5 s for a writer in another process, is
/// [`DirectoryError::Unavailable`].
pub type SqliteDirectory = RelationalDirectory<Sqlite>;

impl Backend for Sqlite {
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const HOLD: &'static str = "";
    const WITHIN: Duration = Duration::from_secs(30);
}

impl SqliteDirectory {
    /// Opens the file, or makes it in a folder that exists, and brings its tables up to date.
    ///
    /// # Errors
    /// [`OpenError`], which says for each case whether a retry helps.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let unusable = |error| OpenError::connect(path.to_owned(), error);
        let file = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let writing = file
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let writer = connections(1).connect_with(writing).await.map_err(unusable)?;
        if let Err(error) = SQLITE.run(&writer).await {
            writer.close().await;
            return Err(OpenError::migrate(path.to_owned(), error));
        }
        match connections(READERS).connect_with(file.read_only(true)).await {
            Ok(readers) => Ok(Self { store: Store { readers, writers: writer } }),
            Err(error) => {
                writer.close().await;
                Err(unusable(error))
            }
        }
    }

    /// Opens a file that a node made, perhaps while that node has it open too, and changes neither
    /// its tables nor how it is kept.
    ///
    /// # Errors
    /// [`OpenError`]: also for tables of another release, which its own program must bring up to
    /// date.
    pub async fn open_existing(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let unusable = |error| OpenError::connect(path.to_owned(), error);
        let file = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .synchronous(SqliteSynchronous::Full);
        let writer = connections(1).connect_with(file.clone()).await.map_err(unusable)?;
        let checked = async {
            let version = schema_version(&writer).await.map_err(unusable)?;
            match version.cmp(&known_version()) {
                Ordering::Equal => {}
                Ordering::Less => return Err(OpenError::Older { path: path.to_owned(), version }),
                Ordering::Greater => {
                    return Err(OpenError::Newer { path: path.to_owned(), version });
                }
            }
            connections(1).connect_with(file.read_only(true)).await.map_err(unusable)
        };
        match checked.await {
            Ok(readers) => Ok(Self { store: Store { readers, writers: writer } }),
            Err(error) => {
                writer.close().await;
                Err(error)
            }
        }
    }

    /// Writes a copy of all that is in the directory now to a file that must not be there. Calls
    /// are answered meanwhile. The copy is not synchronised to the disk.
    ///
    /// # Errors
    /// [`DirectoryError::Unavailable`] if the file cannot be written.
    pub async fn copy_to(&self, path: &Path) -> Result<(), DirectoryError> {
        // On a connection of its own: it takes as long as there is something to copy, and the
        // write-ahead log keeps it from holding up those who write.
        let copied = async {
            let mut connection = self.store.writers.connect_options().connect().await?;
            // SQLite takes paths as text only.
            let to = path.to_string_lossy();
            sqlx::query("VACUUM INTO $1").bind(&*to).execute(&mut connection).await?;
            connection.close().await
        };
        copied.await.map_err(|error| DirectoryError::Unavailable(error.to_string()))
    }

    /// Lets the calls that have a connection finish, then closes the file, with its write-ahead log
    /// written back. Calls that wait or come later are [`DirectoryError::Unavailable`]. Idempotent.
    pub async fn close(&self) {
        self.store.readers.close().await;
        // The last to close writes the log back, which a reader could not.
        self.store.writers.close().await;
    }
}

/// The newest schema version that this program knows.
fn known_version() -> i64 {
    SQLITE.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// The schema version of a file.
async fn schema_version(pool: &SqlitePool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE success")
        .fetch_one(pool)
        .await
}

/// Up to `at_most` connections, which stay open: they are to a file, and do not wear out.
fn connections(at_most: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(at_most)
        .min_connections(1)
        .acquire_timeout(WAIT_AT_MOST)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        // SQLite itself ends a transaction for which the disk has no room. sqlx does not notice, and
        // would refuse every later one as nested in it: such a connection is opened anew.
        .before_acquire(|connection, _| {
            let usable = !connection.is_in_transaction();
            Box::pin(async move { Ok(usable) })
        })
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Row};

    use super::*;
    use crate::directory::sql;

    async fn pragma(pool: &SqlitePool, name: &str) -> i64 {
        let read = sqlx::query_scalar(AssertSqlSafe(format!("PRAGMA {name}")));
        read.fetch_one(pool).await.expect(name)
    }

    #[tokio::test]
    async fn every_connection_is_set_up_as_stated() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = SqliteDirectory::open(folder.path().join("d.db")).await.expect("opens");
        let Store { readers, writers: writer } = &directory.store;
        // 2 is FULL: the log is synchronised at each commit.
        assert_eq!(pragma(writer, "synchronous").await, 2);
        assert_eq!(writer.options().get_max_connections(), 1);
        assert_eq!(readers.options().get_max_connections(), READERS);
        for pool in [readers, writer] {
            assert_eq!(pragma(pool, "foreign_keys").await, 1);
            assert_eq!(pragma(pool, "busy_timeout").await, BUSY_TIMEOUT.as_millis() as i64);
        }
        let write = sqlx::query("DELETE FROM users").execute(readers).await;
        assert!(write.is_err(), "a reader does not write");
    }

    #[tokio::test]
    async fn no_statement_reads_through_a_table() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = SqliteDirectory::open(folder.path().join("d.db")).await.expect("opens");
        for statement in sql::BY_KEY {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
            let plan = sqlx::query(explain).fetch_all(&directory.store.readers).await;
            let steps = plan.expect("a plan").into_iter().map(|row| row.get::<String, _>("detail"));
            let steps: Vec<_> = steps.collect();
            assert!(!steps.is_empty(), "{statement}");
            assert!(steps.iter().all(|step| !step.contains("SCAN")), "{statement}: {steps:#?}");
            let sorts = steps.iter().any(|step| step.contains("TEMP B-TREE"));
            assert_eq!(sorts, *statement == sql::HEIR, "{statement}: {steps:#?}");
        }
    }
}
