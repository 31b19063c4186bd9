//! A session with the store, and its tables: their migration and the check of their version.

use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ExecutionError, MetadataError, NewSessionError,
    RequestAttemptError,
};
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;
use tokio::time::timeout;

use super::address::Address;
use crate::error::{ConnectError, ConnectFailure};

/// The deadline of opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The deadline of one request, including attempts on other servers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The deadline of a schema change.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The migrations: statements that end with `;`.
const MIGRATIONS: [&str; 1] = [include_str!("../../migrations/cassandra/0001_history.cql")];

/// The schema version of this program.
const KNOWN: i64 = MIGRATIONS.len() as i64;

const VERSION_TABLE: &str =
    "CREATE TABLE IF NOT EXISTS schema_version (name text PRIMARY KEY, version bigint)";
const VERSION: &str = "SELECT version FROM schema_version WHERE name = 'history'";

/// The number of partitions, which all nodes must agree on, is stored in the same table.
const PARTITIONS: &str = "SELECT version FROM schema_version WHERE name = 'partitions'";

/// A session in the keyspace of an address.
pub(super) async fn session(url: &str, address: &Address) -> Result<Session, ConnectError> {
    let session = connect(url, address).await?;
    // Without the keyspace there are no tables.
    let used = session.use_keyspace(&address.keyspace, true).await;
    used.map_err(|_| ConnectError::new(url, ConnectFailure::Older(0)))?;
    Ok(session)
}

async fn connect(url: &str, address: &Address) -> Result<Session, ConnectError> {
    let profile = ExecutionProfile::builder()
        .consistency(address.consistency)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&address.hosts)
        .connection_timeout(CONNECT_TIMEOUT)
        // Only the metadata that routes a statement to a replica of its partition.
        .keyspaces_to_fetch([&address.keyspace])
        .fetch_full_schema_metadata(false)
        .default_execution_profile_handle(profile.into_handle());
    if let Some((user, password)) = &address.login {
        builder = builder.user(user, password);
    }
    if let Some(datacenter) = &address.datacenter {
        builder = builder.prefer_datacenter(datacenter.clone());
    }
    // The driver tries the hosts one after another.
    let limit = CONNECT_TIMEOUT * (1 + u32::try_from(address.hosts.len()).unwrap_or(u32::MAX - 1));
    match timeout(limit, builder.build()).await {
        Ok(session) => session.map_err(|error| ConnectError::new(url, why_no_session(&error))),
        Err(_) => Err(ConnectError::new(
            url,
            ConnectFailure::Unreachable(format!("no response within {limit:?}")),
        )),
    }
}

fn why_no_session(error: &NewSessionError) -> ConnectFailure {
    match error {
        // The server responded and refused the connection.
        NewSessionError::MetadataError(MetadataError::ConnectionPoolError(
            ConnectionPoolError::Broken {
                last_connection_error: ConnectionError::ConnectionSetupRequestError(refusal),
            },
        )) => ConnectFailure::Refused(refusal.to_string()),
        NewSessionError::IllegalConfig(what) => ConnectFailure::Address(what.to_string()),
        other => ConnectFailure::Unreachable(other.to_string()),
    }
}

/// Checks that the tables are those of this release.
pub(super) async fn check(
    url: &str,
    address: &Address,
    session: &Session,
) -> Result<(), ConnectError> {
    let why = match version(address, session).await? {
        version if version < KNOWN => ConnectFailure::Older(version),
        version if version > KNOWN => ConnectFailure::Newer(version),
        _ => return Ok(()),
    };
    Err(ConnectError::new(url, why))
}

/// Records the number of partitions, or checks the recorded one. The first caller decides.
pub(super) async fn require_partitions(
    url: &str,
    session: &Session,
    partitions: u16,
) -> Result<(), ConnectError> {
    let mut recorded = number(url, session, PARTITIONS).await?;
    if recorded.is_none() {
        let record = format!(
            "INSERT INTO schema_version (name, version) VALUES ('partitions', {partitions}) \
             IF NOT EXISTS"
        );
        let recording = session.query_unpaged(record, ()).await;
        recording.map_err(|error| ConnectError::new(url, why_failed(&error)))?;
        recorded = number(url, session, PARTITIONS).await?;
    }
    match recorded.map(u16::try_from) {
        Some(Ok(recorded)) if recorded == partitions => Ok(()),
        Some(Ok(recorded)) => {
            Err(ConnectError::new(url, ConnectFailure::Partitions(recorded, partitions)))
        }
        invalid => {
            let why = ConnectFailure::Refused(format!(
                "the recorded number of partitions is invalid: {invalid:?}"
            ));
            Err(ConnectError::new(url, why))
        }
    }
}

async fn version(address: &Address, session: &Session) -> Result<i64, ConnectError> {
    Ok(number(&address.url, session, VERSION).await?.unwrap_or(0))
}

/// The number that a query returns; `None` if the row or the table does not exist.
async fn number(url: &str, session: &Session, query: &str) -> Result<Option<i64>, ConnectError> {
    let response = match session.query_unpaged(query, ()).await {
        Ok(response) => response,
        // The table does not exist: the server responded with an error.
        Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            scylla::errors::DbError::Invalid,
            _,
        ))) => return Ok(None),
        Err(error) => return Err(ConnectError::new(url, why_failed(&error))),
    };
    let refused = |detail: String| ConnectError::new(url, ConnectFailure::Refused(detail));
    let rows = response.into_rows_result().map_err(|error| refused(error.to_string()))?;
    let row = rows.maybe_first_row::<(i64,)>().map_err(|error| refused(error.to_string()))?;
    Ok(row.map(|(number,)| number))
}

fn why_failed(error: &ExecutionError) -> ConnectFailure {
    match error {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(cause, detail))
            if !cause.can_speculative_retry() =>
        {
            ConnectFailure::Refused(detail.clone())
        }
        other => ConnectFailure::Unreachable(other.to_string()),
    }
}

/// Creates the keyspace and its tables, or migrates them.
pub(super) async fn migrate(url: &str, address: &Address) -> Result<(), ConnectError> {
    let session = connect(url, address).await?;
    let keyspace = &address.keyspace;
    let replicas = address.replication_factor;
    change(
        url,
        &session,
        &format!(
            "CREATE KEYSPACE IF NOT EXISTS \"{keyspace}\" WITH replication = \
             {{'class': 'NetworkTopologyStrategy', 'replication_factor': {replicas}}}"
        ),
    )
    .await?;
    let used = session.use_keyspace(keyspace, true).await;
    used.map_err(|error| ConnectError::new(url, ConnectFailure::Refused(error.to_string())))?;
    change(url, &session, VERSION_TABLE).await?;
    let found = version(address, &session).await?;
    if found > KNOWN {
        return Err(ConnectError::new(url, ConnectFailure::Newer(found)));
    }
    for (text, version) in MIGRATIONS.iter().zip(1..) {
        if version <= found {
            continue;
        }
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("--"));
        let statements = lines.collect::<Vec<_>>().join("\n");
        for statement in statements.split(';').filter(|statement| !statement.trim().is_empty()) {
            change(url, &session, statement).await?;
        }
        let done = format!("UPDATE schema_version SET version = {version} WHERE name = 'history'");
        change(url, &session, &done).await?;
    }
    Ok(())
}

/// Changes the schema, and waits until all servers agree on it.
async fn change(url: &str, session: &Session, statement: &str) -> Result<(), ConnectError> {
    let mut change = Statement::new(statement);
    change.set_request_timeout(Some(CHANGE_TIMEOUT));
    change.set_consistency(Consistency::Quorum);
    let changed = session.query_unpaged(change, ()).await;
    changed.map_err(|error| ConnectError::new(url, why_failed(&error)))?;
    Ok(())
}
