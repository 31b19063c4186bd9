//! The connections of the directory, and the retries and deadline of a call.

use std::borrow::Cow;
use std::time::Duration;

use pabal_core::Backoff;
use pabal_core::ports::DirectoryError;
use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool, Transaction};
use tokio::time::{sleep, timeout};

use super::error::Failure;
use super::query::{Query, Readable, Session};

/// The number of attempts of a call that conflicts with another or loses its connection.
const ATTEMPTS: u32 = 6;

/// The pause before the second attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// The longest pause between attempts.
const MAX_PAUSE: Duration = Duration::from_millis(32);

/// A database that can hold a directory.
///
/// Two rules keep a decision of a call valid until it is written. SQLite allows one writer at a
/// time. In PostgreSQL a call first [locks](with_lock) the row that its decision depends on: users
/// in the order of their ids, then the group. Calls for the same row wait. A statement that depends
/// on no other row needs no lock, because it is atomic.
pub trait Backend: Database<Connection: Session> {
    /// The statement that begins a writing transaction.
    const BEGIN: &'static str;

    /// The suffix of a SELECT that locks the returned rows until the transaction ends; empty if
    /// there is only one writer.
    const ROW_LOCK: &'static str;

    /// The deadline of a call, including waits and retries.
    const TIMEOUT: Duration;
}

/// The connections of a directory.
#[derive(Debug)]
pub(super) struct Store<DB: Backend> {
    pub(super) readers: Pool<DB>,
    pub(super) writers: Pool<DB>,
}

impl<DB: Backend> Clone for Store<DB> {
    fn clone(&self) -> Self {
        Self { readers: self.readers.clone(), writers: self.writers.clone() }
    }
}

impl<DB: Backend> Store<DB> {
    /// A connection for one reading statement.
    pub(super) async fn read(&self) -> Result<Reader<DB>, Failure> {
        Ok(Reader(self.readers.acquire().await?))
    }

    /// Begins a writing transaction.
    pub(super) async fn write(&self) -> Result<Writer<DB>, Failure> {
        Ok(Writer(self.writers.begin_with(DB::BEGIN).await?))
    }

    /// Runs a call. Retries it if nothing was changed and a retry may help, up to [`ATTEMPTS`]
    /// attempts.
    pub(super) async fn call<T, F>(&self, call: impl Fn() -> F) -> Result<T, DirectoryError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let attempts = async {
            let mut backoff = Backoff::new(FIRST_PAUSE, MAX_PAUSE);
            for _ in 1..ATTEMPTS {
                match call().await {
                    Err(failure) if failure.retry() => sleep(backoff.next_wait()).await,
                    result => return result,
                }
            }
            call().await
        };
        match timeout(DB::TIMEOUT, attempts).await {
            Ok(result) => Ok(result?),
            Err(_) => {
                Err(DirectoryError::Unavailable(format!("no response within {:?}", DB::TIMEOUT)))
            }
        }
    }
}

/// A SELECT that locks its rows until the transaction ends.
pub(super) fn with_lock<DB: Backend>(statement: &'static str) -> Cow<'static, str> {
    match DB::ROW_LOCK {
        "" => statement.into(),
        row_lock => format!("{statement} {row_lock}").into(),
    }
}

/// A connection for one reading statement.
pub(super) struct Reader<DB: Backend>(PoolConnection<DB>);

/// A writing transaction. Without [`commit`](Self::commit) it is rolled back, also if the call is
/// dropped.
pub(super) struct Writer<DB: Backend>(Transaction<'static, DB>);

impl<DB: Backend> Writer<DB> {
    /// Makes the transaction durable.
    pub(super) async fn commit(self) -> Result<(), Failure> {
        // If the connection broke, the transaction may have been committed: no retry.
        self.0.commit().await.map_err(Failure::of_commit)
    }
}

/// Both run queries on the connection that they own.
macro_rules! session {
    ($holder:ident) => {
        impl<DB: Backend> Session for $holder<DB> {
            async fn rows<R: Readable>(&mut self, query: Query) -> Result<Vec<R>, sqlx::Error> {
                (*self.0).rows(query).await
            }

            async fn changed(&mut self, query: Query) -> Result<u64, sqlx::Error> {
                (*self.0).changed(query).await
            }
        }
    };
}
session!(Reader);
session!(Writer);
