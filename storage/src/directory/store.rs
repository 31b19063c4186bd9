//! The connections that calls of the directory run on, and how often and how long a call is tried.

use std::borrow::Cow;
use std::time::Duration;

use pabal_core::ports::DirectoryError;
use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool, Transaction};
use tokio::time::{sleep, timeout};

use super::error::Failure;
use super::query::{Query, Readable, Session};

/// How often a call is tried that another one got in the way of, or whose connection was gone.
const ATTEMPTS: u32 = 6;

/// The pause before the second attempt; each later one is twice as long.
const PAUSE: Duration = Duration::from_millis(2);

/// A database that a directory can be in.
///
/// The calls know two rules that keep what they decide true until it is written. SQLite takes one
/// writer at a time. In PostgreSQL a call first [holds](held) the row that its decision hangs
/// on: users in the order of their ids, then the group; whoever wants the same row waits. What
/// depends on no other row needs neither: a statement by itself is whole.
pub trait Backend: Database<Connection: Session> {
    /// How a transaction that writes begins.
    const BEGIN: &'static str;

    /// What a statement ends with that keeps the rows which it answers as they are until the
    /// transaction ends; nothing where nobody else can write.
    const HOLD: &'static str;

    /// How long a call may take, waiting and attempts included.
    const WITHIN: Duration;
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
    /// A connection for one statement that reads.
    pub(super) async fn read(&self) -> Result<Reader<DB>, Failure> {
        Ok(Reader(self.readers.acquire().await?))
    }

    /// Begins a transaction that writes.
    pub(super) async fn write(&self) -> Result<Writer<DB>, Failure> {
        Ok(Writer(self.writers.begin_with(DB::BEGIN).await?))
    }

    /// Makes a call: again if that is sure to be its first effect and may help, and not for ever.
    pub(super) async fn call<T, F>(&self, call: impl Fn() -> F) -> Result<T, DirectoryError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let attempts = async {
            let mut pause = PAUSE;
            for _ in 1..ATTEMPTS {
                match call().await {
                    Err(failure) if failure.again() => sleep(pause).await,
                    answer => return answer,
                }
                pause *= 2;
            }
            call().await
        };
        match timeout(DB::WITHIN, attempts).await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                Err(DirectoryError::Unavailable(format!("no answer within {:?}", DB::WITHIN)))
            }
        }
    }
}

/// A statement whose rows stay as they are until the transaction ends.
pub(super) fn held<DB: Backend>(statement: &'static str) -> Cow<'static, str> {
    match DB::HOLD {
        "" => statement.into(),
        hold => format!("{statement} {hold}").into(),
    }
}

/// A connection for one statement that reads.
pub(super) struct Reader<DB: Backend>(PoolConnection<DB>);

/// A transaction that writes. What is not [committed](Self::commit) is rolled back, also if the call
/// is dropped.
pub(super) struct Writer<DB: Backend>(Transaction<'static, DB>);

impl<DB: Backend> Writer<DB> {
    /// Makes it durable.
    pub(super) async fn commit(self) -> Result<(), Failure> {
        // If the connection is gone now, the change may have happened: no second attempt.
        self.0.commit().await.map_err(Failure::of_commit)
    }
}

/// Both run queries on the connection that they hold.
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
