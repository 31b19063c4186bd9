//! The directory in PostgreSQL: its connections, and how its tables are brought up to date.
//!
//! Any number of nodes write at the same time, READ COMMITTED: a statement sees all that was
//! committed before it. What a call decides stays true until it commits because the call holds the
//! row that the decision hangs on, see [`Backend`]. Two calls that wait for each other are told
//! apart by PostgreSQL, and the one that it rolls back is made again.
//!
//! A commit is durable before it is answered (invariant I1): a server or a role that turned
//! `synchronous_commit` off has it turned on for these connections; other values, for servers with
//! replicas, stay.

use std::str::FromStr;
use std::time::Duration;

use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, Postgres};
use tokio::time::timeout;

use super::error::{connect_error, migrate_error};
use super::migrations::POSTGRES;
use super::relational::RelationalDirectory;
use super::store::{Backend, Store};
use crate::error::{ConnectError, Why};

/// How long a call may take.
const CALL_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection may take to open, or to show that it is alive.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);

/// A connection that was idle for longer shows that it is alive before it is used: the server may
/// have been restarted.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// Run on each new connection. The limits make the server let go of rows that a node held which is
/// gone, or cut off. `$1` and `$2` in milliseconds.
const BEGIN_SESSION: &str = "\
    SELECT
        set_config('statement_timeout', $1, FALSE),
        set_config('idle_in_transaction_session_timeout', $2, FALSE),
        set_config('default_transaction_isolation', 'read committed', FALSE),
        set_config('synchronous_commit',
            CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                ELSE current_setting('synchronous_commit') END, FALSE)";

/// A [`Directory`](pabal_core::ports::Directory) in a PostgreSQL database, 14 or newer.
///
/// A call that takes 10 s, because the server is away, answers nothing or is busy, is
/// [`DirectoryError::Unavailable`](pabal_core::ports::DirectoryError::Unavailable); it succeeds
/// again by itself when the server does. Connections are opened as they are needed.
pub type PostgresDirectory = RelationalDirectory<Postgres>;

impl Backend for Postgres {
    const BEGIN: &'static str = "BEGIN";
    // As strong as what an UPDATE takes; rows that refer to the held one can be added meanwhile.
    const HOLD: &'static str = "FOR NO KEY UPDATE";
    const WITHIN: Duration = CALL_WITHIN;
}

impl PostgresDirectory {
    /// Brings the tables of the database at `url` up to date, or makes them. Any number of nodes may
    /// do it at once: one does, the others wait for it. Idempotent.
    ///
    /// # Errors
    /// [`ConnectError`], which says for each case whether a retry helps.
    pub async fn migrate(url: &str) -> Result<(), ConnectError> {
        let (options, connection) = first_connection(url).await?;
        end(connection).await;
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
        let migrated = POSTGRES.run(&pool).await;
        pool.close().await;
        migrated.map_err(|error| migrate_error(url, error))
    }

    /// Connects to the database at `url`, `postgres://user:password@host:port/database`, with what
    /// [libpq](https://www.postgresql.org/docs/current/libpq-connect.html) calls `sslmode` and
    /// `sslrootcert` as parameters if wanted. Its tables must be those of this release; see
    /// [`migrate`](Self::migrate). At most `connections` at once are open.
    ///
    /// # Errors
    /// [`ConnectError`], which says for each case whether a retry helps.
    pub async fn connect(url: &str, connections: u32) -> Result<Self, ConnectError> {
        let (options, mut connection) = first_connection(url).await?;
        let checked = check_schema(url, &mut connection).await;
        end(connection).await;
        checked?;
        let pool = PgPoolOptions::new()
            .max_connections(connections.max(1))
            .acquire_timeout(CALL_WITHIN)
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(begin_session(connection)))
            .before_acquire(|connection, idle| Box::pin(trusted(connection, idle)))
            // A connection that hangs is closed, and not the pool's for ever.
            .after_release(|connection, _| Box::pin(alive(connection)))
            .connect_lazy_with(options);
        Ok(Self { store: Store { readers: pool.clone(), writers: pool } })
    }

    /// Lets the calls that have a connection finish, and closes all. Calls that wait or come later
    /// are [`DirectoryError::Unavailable`](pabal_core::ports::DirectoryError::Unavailable).
    /// Idempotent; takes at most 10 s.
    pub async fn close(&self) {
        let closed = timeout(CALL_WITHIN, self.store.writers.close()).await;
        if closed.is_err() {
            tracing::warn!("connections to PostgreSQL are left to the operating system");
        }
    }
}

/// Parses the address and opens a connection, to learn what is wrong with either.
async fn first_connection(url: &str) -> Result<(PgConnectOptions, PgConnection), ConnectError> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    if !matches!(scheme, Some("postgres" | "postgresql")) {
        let why = Why::Address("it does not begin with postgres://".to_owned());
        return Err(ConnectError::new(url, why));
    }
    let options = PgConnectOptions::from_str(url);
    let options = options.map_err(|error| connect_error(url, error))?;
    let options = options.application_name("pabal");
    match timeout(ALIVE_WITHIN, PgConnection::connect_with(&options)).await {
        Ok(Ok(connection)) => Ok((options, connection)),
        Ok(Err(error)) => Err(connect_error(url, error)),
        Err(_) => {
            let why = Why::Unreachable(format!("no answer within {ALIVE_WITHIN:?}"));
            Err(ConnectError::new(url, why))
        }
    }
}

/// That the tables are those that this program knows.
async fn check_schema(url: &str, connection: &mut PgConnection) -> Result<(), ConnectError> {
    let known = POSTGRES.iter().map(|migration| migration.version).max().unwrap_or_default();
    let table = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL");
    let failed = |error| connect_error(url, error);
    let version = match table.fetch_one(&mut *connection).await.map_err(failed)? {
        false => 0,
        true => sqlx::query_scalar::<_, i64>(
            "SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE success",
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?,
    };
    match version {
        version if version < known => Err(ConnectError::new(url, Why::Older(version))),
        version if version > known => Err(ConnectError::new(url, Why::Newer(version))),
        _ => Ok(()),
    }
}

/// Closes a connection that has done its work; what hangs is left to the operating system.
async fn end(connection: PgConnection) {
    let _ = timeout(ALIVE_WITHIN, connection.close()).await;
}

async fn begin_session(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let limit = CALL_WITHIN.as_millis().to_string();
    sqlx::query(BEGIN_SESSION).bind(&limit).bind(&limit).execute(connection).await?;
    Ok(())
}

async fn trusted(
    connection: &mut PgConnection,
    idle: PoolConnectionMetadata,
) -> Result<bool, sqlx::Error> {
    if idle.idle_for < TRUSTED_FOR { Ok(true) } else { alive(connection).await }
}

async fn alive(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    timeout(ALIVE_WITHIN, connection.ping())
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use pabal_servers::{Postgres as Server, started};
    use sqlx::{AssertSqlSafe, PgPool};

    use super::*;
    use crate::directory::sql;

    async fn setting(pool: &PgPool, name: &str) -> String {
        let read = sqlx::query_scalar(AssertSqlSafe(format!("SHOW {name}")));
        read.fetch_one(pool).await.expect(name)
    }

    #[tokio::test]
    async fn every_connection_is_set_up_as_stated() {
        let server = started!(Server::start_with(&[
            ("synchronous_commit", "off"),
            ("default_transaction_isolation", "serializable"),
        ]));
        let url = server.database().await;
        PostgresDirectory::migrate(&url).await.expect("migrates");
        let directory = PostgresDirectory::connect(&url, 3).await.expect("connects");
        let pool = &directory.store.writers;
        assert_eq!(pool.options().get_max_connections(), 3);
        assert_eq!(setting(pool, "synchronous_commit").await, "on");
        assert_eq!(setting(pool, "transaction_isolation").await, "read committed");
        assert_eq!(setting(pool, "statement_timeout").await, "10s");
        assert_eq!(setting(pool, "idle_in_transaction_session_timeout").await, "10s");
        assert_eq!(setting(pool, "application_name").await, "pabal");
    }

    #[tokio::test]
    async fn no_statement_reads_through_a_table() {
        let server = started!(Server::start());
        let url = server.database().await;
        PostgresDirectory::migrate(&url).await.expect("migrates");
        let mut connection = PgConnection::connect(&url).await.expect("connects");
        // The tables are empty; a plan that reads through one is then used only if there is no other.
        let settings = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan";
        sqlx::raw_sql(settings).execute(&mut connection).await.expect("settings");
        for statement in sql::BY_KEY {
            let values = (1..).take_while(|n| statement.contains(&format!("${n}"))).count();
            let values = vec!["NULL"; values].join(", ");
            let explain = format!(
                "DEALLOCATE ALL; PREPARE looked_at AS {statement}; EXPLAIN EXECUTE looked_at ({values})"
            );
            let plan = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut connection).await;
            let plan = plan.unwrap_or_else(|error| panic!("{statement}: {error}"));
            let steps: Vec<String> =
                plan.iter().map(|row| sqlx::Row::get::<String, _>(row, 0)).collect();
            assert!(!steps.is_empty(), "{statement}");
            assert!(steps.iter().all(|step| !step.contains("Seq Scan")), "{statement}: {steps:#?}");
        }
    }
}
