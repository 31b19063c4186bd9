//! The directory in one SQLite file: the file, its connections and the port's face. What each call
//! does with them is in the folder beside, by subject.
//!
//! SQLite takes one writer at a time. A writer that finds another one waits in SQLite, by polling,
//! and fails if it began as a reader. So there is **one** connection for writing, for which calls
//! queue in order, and each of its transactions is a writer from its beginning (`BEGIN IMMEDIATE`);
//! that another process has the file open is then harmless as well. Reads go through connections
//! of their own, which the write-ahead log keeps from waiting for the writer. Every read is one
//! statement, and so one snapshot.
//!
//! `synchronous=FULL` makes a commit durable before it is answered (invariant I1).

mod accounts;
mod people;
mod channels;
mod members;
mod operator;
mod verify;

use std::cmp::Ordering;
use std::path::Path;
use std::time::Duration;

use pabal_core::model::{
    Channel, ChannelId, Friend, FriendState, Member, Membership, MessageId, Role, Settings,
    Timestamp, TokenHash, User, UserId,
};
use pabal_core::ports::{
    Access, BoxFuture, Credentials, Directory, DirectoryError, ProfileChange, PushTarget,
    SettingsChange,
};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool, Transaction};

pub use verify::DirectoryReport;

use super::error::{Failure, OpenError};
use super::{folded, sql};

/// Connections for reading, each with a thread of its own.
const READERS: u32 = 4;

/// How long a call waits for its connection before it is [`DirectoryError::Unavailable`].
const WAIT_AT_MOST: Duration = Duration::from_secs(15);

/// How long SQLite waits for a writer in another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

static MIGRATIONS: Migrator = sqlx::migrate!("src/migrations/sqlite");

type Answer<'a, T> = BoxFuture<'a, Result<T, DirectoryError>>;

/// A [`Directory`] in a SQLite file: one connection for writing and four for reading.
///
/// A call that waits 15 s for its connection, or 5 s for a writer in another process, is
/// [`DirectoryError::Unavailable`]. Cloning is cheap; all clones are one directory.
#[derive(Clone, Debug)]
pub struct SqliteDirectory {
    store: Store,
}

/// The connections.
#[derive(Clone, Debug)]
struct Store {
    readers: SqlitePool,
    writer: SqlitePool,
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
        if let Err(error) = MIGRATIONS.run(&writer).await {
            writer.close().await;
            return Err(OpenError::migrate(path.to_owned(), error));
        }
        match connections(READERS).connect_with(file.read_only(true)).await {
            Ok(readers) => Ok(Self { store: Store { readers, writer } }),
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
            Ok(readers) => Ok(Self { store: Store { readers, writer } }),
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
            let mut connection = self.store.writer.connect_options().connect().await?;
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
        self.store.writer.close().await;
    }
}

/// The newest schema version that this program knows.
fn known_version() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
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

impl Store {
    /// Waits for its turn to write. What is not committed is rolled back, also if the call is
    /// dropped.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, Failure> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// That there is such a user.
async fn known(tx: &mut SqliteConnection, user_id: UserId) -> Result<(), Failure> {
    let id = super::rows::stored_id(user_id.get());
    match sqlx::query(sql::USER_EXISTS).bind(id).fetch_optional(tx).await? {
        Some(_) => Ok(()),
        None => Err(DirectoryError::UnknownUser(user_id).into()),
    }
}

/// That there are two such users.
async fn known_pair(tx: &mut SqliteConnection, users: [UserId; 2]) -> Result<(), Failure> {
    for user_id in users {
        known(tx, user_id).await?;
    }
    match users[0] == users[1] {
        true => Err(DirectoryError::UnknownUser(users[1]).into()),
        false => Ok(()),
    }
}

fn answer<'a, T>(call: impl Future<Output = Result<T, Failure>> + Send + 'a) -> Answer<'a, T> {
    Box::pin(async move { Ok(call.await?) })
}

impl Directory for SqliteDirectory {
    fn sign_up(&self, user: User, password_hash: String, access: Access) -> Answer<'_, ()> {
        answer(accounts::sign_up(&self.store, user, password_hash, access))
    }

    fn log_in(&self, access: Access) -> Answer<'_, ()> {
        answer(accounts::log_in(&self.store, access))
    }

    fn log_out(&self, token: TokenHash) -> Answer<'_, bool> {
        answer(accounts::log_out(&self.store, token))
    }

    fn credentials(&self, username: &str) -> Answer<'_, Option<Credentials>> {
        answer(accounts::credentials(&self.store, folded(username)))
    }

    fn access(&self, token: TokenHash) -> Answer<'_, Option<Access>> {
        answer(accounts::access(&self.store, token))
    }

    fn remove_expired(&self, now: Timestamp, at_most: usize) -> Answer<'_, usize> {
        answer(accounts::remove_expired(&self.store, now, at_most))
    }

    fn user(&self, user_id: UserId) -> Answer<'_, Option<User>> {
        answer(accounts::user(&self.store, user_id))
    }

    fn users_by_prefix(&self, prefix: &str, limit: usize) -> Answer<'_, Vec<User>> {
        answer(accounts::users_by_prefix(&self.store, folded(prefix), limit))
    }

    fn change_profile(&self, user_id: UserId, change: ProfileChange) -> Answer<'_, User> {
        answer(accounts::change_profile(&self.store, user_id, change))
    }

    fn settings(&self, user_id: UserId) -> Answer<'_, Settings> {
        answer(accounts::settings(&self.store, user_id))
    }

    fn change_settings(&self, user_id: UserId, change: SettingsChange) -> Answer<'_, Settings> {
        answer(accounts::change_settings(&self.store, user_id, change))
    }

    fn friends(&self, user_id: UserId) -> Answer<'_, Vec<Friend>> {
        answer(people::friends(&self.store, user_id))
    }

    fn befriend(&self, user_id: UserId, other: UserId) -> Answer<'_, FriendState> {
        answer(people::befriend(&self.store, user_id, other))
    }

    fn unfriend(&self, user_id: UserId, other: UserId) -> Answer<'_, bool> {
        answer(people::unfriend(&self.store, user_id, other))
    }

    fn blocks(&self, user_id: UserId) -> Answer<'_, Vec<UserId>> {
        answer(people::blocks(&self.store, user_id))
    }

    fn block(&self, user_id: UserId, other: UserId) -> Answer<'_, ()> {
        answer(people::block(&self.store, user_id, other))
    }

    fn unblock(&self, user_id: UserId, other: UserId) -> Answer<'_, ()> {
        answer(people::unblock(&self.store, user_id, other))
    }

    fn direct_channel(&self, users: [UserId; 2], new: Channel) -> Answer<'_, (Channel, bool)> {
        answer(channels::direct_channel(&self.store, users, new))
    }

    fn create_group(
        &self,
        channel: Channel,
        owner: UserId,
        members: Vec<UserId>,
    ) -> Answer<'_, ()> {
        answer(channels::create_group(&self.store, channel, owner, members))
    }

    fn memberships(&self, user_id: UserId) -> Answer<'_, Vec<Membership>> {
        answer(members::memberships(&self.store, user_id))
    }

    fn membership(&self, user_id: UserId, channel_id: ChannelId) -> Answer<'_, Option<Membership>> {
        answer(members::membership(&self.store, user_id, channel_id))
    }

    fn rename_group(&self, channel_id: ChannelId, name: String) -> Answer<'_, Channel> {
        answer(channels::rename_group(&self.store, channel_id, name))
    }

    fn delete_group(&self, channel_id: ChannelId) -> Answer<'_, bool> {
        answer(channels::delete_group(&self.store, channel_id))
    }

    fn members(&self, channel_id: ChannelId) -> Answer<'_, Vec<Member>> {
        answer(members::members(&self.store, channel_id))
    }

    fn put_member(
        &self,
        channel_id: ChannelId,
        user_id: UserId,
        role: Option<Role>,
        at_most: usize,
    ) -> Answer<'_, (bool, Role)> {
        answer(members::put_member(&self.store, channel_id, user_id, role, at_most))
    }

    fn remove_member(&self, channel_id: ChannelId, user_id: UserId) -> Answer<'_, bool> {
        answer(members::remove_member(&self.store, channel_id, user_id))
    }

    fn mark_read(
        &self,
        channel_id: ChannelId,
        user_id: UserId,
        message_id: MessageId,
    ) -> Answer<'_, bool> {
        answer(members::mark_read(&self.store, channel_id, user_id, message_id))
    }

    fn push_targets(&self, channel_id: ChannelId) -> Answer<'_, Vec<PushTarget>> {
        answer(members::push_targets(&self.store, channel_id))
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Row};

    use super::*;

    async fn pragma(pool: &SqlitePool, name: &str) -> i64 {
        let read = sqlx::query_scalar(AssertSqlSafe(format!("PRAGMA {name}")));
        read.fetch_one(pool).await.expect(name)
    }

    #[tokio::test]
    async fn every_connection_is_set_up_as_stated() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = SqliteDirectory::open(folder.path().join("d.db")).await.expect("opens");
        let Store { readers, writer } = &directory.store;
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
