//! The directory in PostgreSQL: its connections and its migrations.
//!
//! Any number of nodes write concurrently under READ COMMITTED: a statement sees everything
//! committed before it. A decision stays valid until the commit because the call locks the row it
//! depends on, see [`Backend`]. PostgreSQL detects deadlocks and rolls one call back; that call is
//! retried.
//!
//! A commit is durable before the call returns (invariant I1): these connections enable
//! `synchronous_commit` if the server or role disabled it. Other values, for servers with replicas,
//! are kept.

use std::str::FromStr;
use std::time::Duration;

use pabal_core::ports::BoxFuture;
use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, Postgres};
use tokio::time::timeout;

use super::error::{connect_error, migrate_error};
use super::migrations::POSTGRES;
use super::relational::RelationalDirectory;
use super::store::{Backend, Store};
use crate::error::{ConnectError, ConnectFailure};

/// The deadline of a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The deadline of opening or checking a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that was idle for longer is checked before use: the server may have restarted.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// Run on each new connection. The timeouts make the server release rows locked by a node that
/// crashed or lost its network. `$1` and `$2` are in milliseconds.
const BEGIN_SESSION: &str = "\
    SELECT
        set_config('statement_timeout', $1, FALSE),
        set_config('idle_in_transaction_session_timeout', $2, FALSE),
        set_config('default_transaction_isolation', 'read committed', FALSE),
        set_config('synchronous_commit',
            CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                ELSE current_setting('synchronous_commit') END, FALSE)";

/// A [`Directory`](pabal_core::ports::Directory) in a PostgreSQL database, version 14 or newer.
/// Connections are opened on demand and reopened by themselves.
///
/// # Errors
/// [`DirectoryError::Unavailable`](pabal_core::ports::DirectoryError::Unavailable): the server is
/// unreachable, unresponsive or busy for 10 s; retry. A call whose connection broke during the
/// commit may have been executed.
pub type PostgresDirectory = RelationalDirectory<Postgres>;

impl Backend for Postgres {
    const BEGIN: &'static str = "BEGIN";
    // As strong as the lock of an UPDATE; rows that reference the locked row can still be added.
    const ROW_LOCK: &'static str = "FOR NO KEY UPDATE";
    const TIMEOUT: Duration = CALL_TIMEOUT;
}

impl PostgresDirectory {
    /// Creates the tables of the database at `url`, or migrates them. Safe to run on any number of
    /// nodes at once: one migrates, the others wait. Idempotent.
    ///
    /// # Errors
    /// [`ConnectError`]; its `retryable` says whether a retry helps.
    pub fn migrate(url: &str) -> BoxFuture<'_, Result<(), ConnectError>> {
        Box::pin(async move {
            let (options, connection) = first_connection(url).await?;
            end(connection).await;
            let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
            let migrated = POSTGRES.run(&pool).await;
            pool.close().await;
            migrated.map_err(|error| migrate_error(url, error))
        })
    }

    /// Connects to the database at `url`, `postgres://user:password@host:port/database`, with
    /// `sslmode` and `sslrootcert` of
    /// [libpq](https://www.postgresql.org/docs/current/libpq-connect.html) as optional parameters.
    /// Its tables must be those of this release; see [`migrate`](Self::migrate). Opens at most
    /// `connections` connections, at least 1.
    ///
    /// # Errors
    /// [`ConnectError`]; its `retryable` says whether a retry helps.
    pub fn connect(url: &str, connections: u32) -> BoxFuture<'_, Result<Self, ConnectError>> {
        Box::pin(async move {
            let (options, mut connection) = first_connection(url).await?;
            let checked = check_schema(url, &mut connection).await;
            end(connection).await;
            checked?;
            let pool = PgPoolOptions::new()
                .max_connections(connections.max(1))
                .acquire_timeout(CALL_TIMEOUT)
                .test_before_acquire(false)
                .after_connect(|connection, _| Box::pin(begin_session(connection)))
                .before_acquire(|connection, idle| Box::pin(trusted(connection, idle)))
                // A connection that hangs is closed instead of returned to the pool.
                .after_release(|connection, _| Box::pin(alive(connection)))
                .connect_lazy_with(options);
            Ok(Self { store: Store { readers: pool.clone(), writers: pool } })
        })
    }

    /// Waits until running calls have finished, and closes all connections. Queued and later calls
    /// fail with [`DirectoryError::Unavailable`](pabal_core::ports::DirectoryError::Unavailable).
    /// Idempotent; takes at most 10 s.
    pub fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let closed = timeout(CALL_TIMEOUT, self.store.writers.close()).await;
            if closed.is_err() {
                tracing::warn!("connections to PostgreSQL did not close in time and are dropped");
            }
        })
    }
}

/// Parses the address and opens a connection, to report errors of either.
async fn first_connection(url: &str) -> Result<(PgConnectOptions, PgConnection), ConnectError> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    if !matches!(scheme, Some("postgres" | "postgresql")) {
        let why = ConnectFailure::Address("it does not begin with postgres://".to_owned());
        return Err(ConnectError::new(url, why));
    }
    let options = PgConnectOptions::from_str(url);
    let options = options.map_err(|error| connect_error(url, error))?;
    let options = options.application_name("pabal");
    match timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await {
        Ok(Ok(connection)) => Ok((options, connection)),
        Ok(Err(error)) => Err(connect_error(url, error)),
        Err(_) => {
            let why =
                ConnectFailure::Unreachable(format!("no response within {CONNECT_TIMEOUT:?}"));
            Err(ConnectError::new(url, why))
        }
    }
}

/// Checks that the tables are those of this release.
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
        version if version < known => Err(ConnectError::new(url, ConnectFailure::Older(version))),
        version if version > known => Err(ConnectError::new(url, ConnectFailure::Newer(version))),
        _ => Ok(()),
    }
}

/// Closes a connection after its last statement. A connection that hangs is dropped.
async fn end(connection: PgConnection) {
    let _ = timeout(CONNECT_TIMEOUT, connection.close()).await;
}

async fn begin_session(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let limit = CALL_TIMEOUT.as_millis().to_string();
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
    timeout(CONNECT_TIMEOUT, connection.ping())
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
    async fn every_connection_has_the_documented_settings() {
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
    async fn no_statement_scans_a_table() {
        let server = started!(Server::start());
        let url = server.database().await;
        PostgresDirectory::migrate(&url).await.expect("migrates");
        let mut connection = PgConnection::connect(&url).await.expect("connects");
        // The tables are empty, so a sequential scan is planned only if there is no index.
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
