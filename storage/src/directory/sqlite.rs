//! The directory in a SQLite file: the file and its connections.
//!
//! SQLite allows one writer at a time. A second writer polls inside SQLite, and fails if its
//! transaction began as a read. So there is **one** connection for writing, for which calls queue
//! in order, and each of its transactions begins as a writer (`BEGIN IMMEDIATE`); other processes
//! can then use the file too. Reads use connections of their own, which do not wait for the writer
//! thanks to the write-ahead log. Every read is one statement and therefore one snapshot.
//!
//! `synchronous=FULL` makes a commit durable before the call returns (invariant I1).
//!
//! SQLite loses changes silently when its log is damaged, and does not notice a changed letter. So the
//! file is looked at before SQLite opens it ([`wal`], [`changes`]), and each row has a second copy in
//! an index over all columns, which is compared when a node starts. A change costs one more page in
//! the log for the counter of changes, and one for each copy.

mod wal;
mod changes;
mod verify;
mod repair;

use std::cmp::Ordering;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pabal_core::ports::{BoxFuture, DirectoryError};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, Sqlite, SqliteConnection, SqlitePool,
};

pub use changes::Changes;
pub use verify::DirectoryReport;

use super::error::OpenError;
use super::migrations::SQLITE;
use super::relational::RelationalDirectory;
use super::store::{Backend, Store};
use crate::disk::WriteGate;

/// The number of reading connections, each with its own thread.
const READERS: u32 = 4;

/// How long a call waits for a connection before it fails with [`DirectoryError::Unavailable`].
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long SQLite waits for a writer in another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A [`Directory`](pabal_core::ports::Directory) in a SQLite file: one connection for writing and
/// four for reading.
///
/// # Errors
/// [`DirectoryError::Unavailable`]: a call waited 15 s for its connection, or 5 s for a writer in
/// another process, or the disk failed; retry.
pub type SqliteDirectory = RelationalDirectory<Sqlite>;

impl Backend for Sqlite {
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const ROW_LOCK: &'static str = "";
    const TIMEOUT: Duration = Duration::from_secs(30);

    async fn count_change(connection: &mut SqliteConnection) -> Result<u32, sqlx::Error> {
        let change = change(&mut *connection).await?.wrapping_add(1);
        let raise = AssertSqlSafe(format!("PRAGMA user_version = {}", change.cast_signed()));
        sqlx::query(raise).persistent(false).execute(connection).await?;
        Ok(change)
    }
}

impl SqliteDirectory {
    /// Opens the file, or creates it in an existing folder, and migrates its tables.
    ///
    /// # Errors
    /// [`OpenError`]; each variant says whether a retry helps.
    pub fn open(path: impl Into<PathBuf>) -> BoxFuture<'static, Result<Self, OpenError>> {
        let path = path.into();
        Box::pin(async move {
            let path = path.as_path();
            let unusable = |error| OpenError::connect(path.to_owned(), error);
            look(path).await?;
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
            let opened = async {
                refuse_damaged(path, &writer).await?;
                let migrated = SQLITE.run(&writer).await;
                migrated.map_err(|error| OpenError::migrate(path.to_owned(), error))?;
                let changes = Changes::start(path, change(&writer).await.map_err(unusable)?)?;
                let readers = connections(READERS).connect_with(file.read_only(true)).await;
                let (readers, writers) = (readers.map_err(unusable)?, writer.clone());
                Ok(Self { store: Store::on_file(readers, writers, changes) })
            };
            let opened = opened.await;
            if opened.is_err() {
                writer.close().await;
            }
            opened
        })
    }

    /// Opens an existing file, which a node may have open too. Changes neither its tables nor its
    /// journal mode.
    ///
    /// # Errors
    /// [`OpenError`], also for tables of another release, which only that release may migrate.
    pub fn open_existing(path: impl Into<PathBuf>) -> BoxFuture<'static, Result<Self, OpenError>> {
        let path = path.into();
        Box::pin(async move {
            let path = path.as_path();
            let unusable = |error| OpenError::connect(path.to_owned(), error);
            look(path).await?;
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
                    Ordering::Less => {
                        return Err(OpenError::Older { path: path.to_owned(), version });
                    }
                    Ordering::Greater => {
                        return Err(OpenError::Newer { path: path.to_owned(), version });
                    }
                }
                let changes = Changes::start(path, change(&writer).await.map_err(unusable)?)?;
                let readers = connections(1).connect_with(file.read_only(true)).await;
                Ok(Store::on_file(readers.map_err(unusable)?, writer.clone(), changes))
            };
            match checked.await {
                Ok(store) => Ok(Self { store }),
                Err(error) => {
                    writer.close().await;
                    Err(error)
                }
            }
        })
    }

    /// Writes a copy of the directory to a file that must not exist. Other calls continue
    /// meanwhile. The copy is not synced to the disk.
    ///
    /// # Errors
    /// [`DirectoryError::Unavailable`] if the file cannot be written; retry once its cause is
    /// fixed.
    pub fn copy_to<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<(), DirectoryError>> {
        Box::pin(async move {
            // Uses a connection of its own: the copy takes long, and the write-ahead log keeps it from
            // blocking writers.
            let copied = async {
                let mut connection = self.store.writers.connect_options().connect().await?;
                // SQLite accepts paths only as text.
                let to = path.to_string_lossy();
                sqlx::query("VACUUM INTO $1").bind(&*to).execute(&mut connection).await?;
                connection.close().await
            };
            copied.await.map_err(|error| DirectoryError::Unavailable(error.to_string()))?;
            let marked = changes::mark_copy(path);
            marked.map_err(|error| DirectoryError::Unavailable(error.to_string()))
        })
    }

    /// The gate that refuses changes with [`DirectoryError::Unavailable`] while it is closed.
    pub fn gate(&self) -> WriteGate {
        self.store.gate.clone()
    }

    /// Waits until running calls have finished, writes the write-ahead log back and closes the
    /// file. Queued and later calls fail with [`DirectoryError::Unavailable`]. Idempotent.
    pub fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.store.readers.close().await;
            // The last connection to close writes the log back, which a reader cannot do.
            self.store.writers.close().await;
        })
    }
}

impl Store<Sqlite> {
    fn on_file(readers: SqlitePool, writers: SqlitePool, changes: Changes) -> Self {
        Self { readers, writers, changes: Some(changes), gate: WriteGate::default() }
    }
}

/// Looks at the file before SQLite opens it.
async fn look(path: &Path) -> Result<(), OpenError> {
    let file = path.to_owned();
    let looked = tokio::task::spawn_blocking(move || changes::look(&file, &file)).await;
    let found = looked.map_err(|error| OpenError::system(path, &io::Error::other(error)))??;
    if let Some(at) = found.torn_at {
        tracing::warn!(
            file = %wal::log_of(path).display(), at,
            "a crash has torn the last change of the directory, which was not acknowledged"
        );
    }
    if let Some(no_mark) = found.no_mark {
        tracing::warn!(
            file = %path.display(), reason = no_mark,
            "the directory was opened as it is, because nothing says how far it was acknowledged; \
             from now on that is recorded"
        );
    }
    Ok(())
}

/// Refuses a file whose pages, rows and second copies of rows do not agree.
async fn refuse_damaged(path: &Path, pool: &SqlitePool) -> Result<(), OpenError> {
    let lines =
        integrity(pool).await.map_err(|error| OpenError::connect(path.to_owned(), error))?;
    match lines.first() {
        None => Ok(()),
        Some(first) => {
            let detail = format!("{first} ({} findings); {}", lines.len(), changes::WHAT_TO_DO);
            Err(OpenError::Damaged { path: path.to_owned(), detail })
        }
    }
}

/// What SQLite finds wrong, up to a hundred lines.
async fn integrity(pool: &SqlitePool) -> Result<Vec<String>, sqlx::Error> {
    let lines = sqlx::query_scalar::<_, String>("PRAGMA integrity_check").fetch_all(pool).await?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

/// The number of the last change.
async fn change<'c>(on: impl Executor<'c, Database = Sqlite>) -> Result<u32, sqlx::Error> {
    let change: i32 = sqlx::query_scalar("PRAGMA user_version").fetch_one(on).await?;
    Ok(change.cast_unsigned())
}

/// The schema version of this program.
fn known_version() -> i64 {
    SQLITE.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// The schema version of a file.
async fn schema_version(pool: &SqlitePool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE success")
        .fetch_one(pool)
        .await
}

/// A fixed number of connections, which stay open: connections to a file do not break. All are opened
/// at once, so that reading goes on if the file is moved or deleted later.
fn connections(count: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(count)
        .min_connections(count)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        // SQLite itself rolls a transaction back when the disk is full. sqlx does not notice and
        // would nest every later transaction in it, so such a connection is reopened.
        .before_acquire(|connection, _| {
            let usable = !connection.is_in_transaction();
            Box::pin(async move { Ok(usable) })
        })
}

#[cfg(test)]
mod tests {
    use sqlx::Row;

    use super::*;
    use crate::directory::sql;

    async fn pragma(pool: &SqlitePool, name: &str) -> i64 {
        let read = sqlx::query_scalar(AssertSqlSafe(format!("PRAGMA {name}")));
        read.fetch_one(pool).await.expect(name)
    }

    #[tokio::test]
    async fn every_connection_has_the_documented_settings() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = SqliteDirectory::open(folder.path().join("d.db")).await.expect("opens");
        let Store { readers, writers: writer, .. } = &directory.store;
        // 2 is FULL: each commit is synced.
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
    async fn no_statement_scans_a_table() {
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
            // The members of one group, and the few devices and networks of one user.
            let few = [sql::SUCCESSOR, sql::SURPLUS_DEVICES, sql::KEEP_LAST_SEEN];
            let may_sort = few.contains(statement);
            assert_eq!(sorts, may_sort, "{statement}: {steps:#?}");
        }
    }

    /// Without it a changed letter would not be noticed: see `0007_second_copies.sql`.
    #[tokio::test]
    async fn every_table_has_a_second_copy_of_all_its_columns() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = SqliteDirectory::open(folder.path().join("d.db")).await.expect("opens");
        let names = async |text: String| -> Vec<String> {
            let rows = sqlx::query_scalar(AssertSqlSafe(text));
            rows.fetch_all(&directory.store.readers).await.expect("names")
        };
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_%' \
            ESCAPE '\\' AND name NOT LIKE 'sqlite%'";
        for table in names(tables.into()).await {
            let mut columns = names(format!("SELECT name FROM pragma_table_info('{table}')")).await;
            columns.sort();
            let indexes =
                names(format!("SELECT name FROM pragma_index_list('{table}') WHERE origin = 'c'"));
            let mut complete = false;
            for index in indexes.await {
                let mut covered =
                    names(format!("SELECT name FROM pragma_index_info('{index}')")).await;
                covered.sort();
                complete |= covered == columns;
            }
            assert!(complete, "{table} has no index over {columns:?}");
        }
    }
}
