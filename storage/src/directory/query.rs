//! Runs a statement on a connection of either database: [`Query`]. With sqlx's own types every
//! generic call would need a trait bound for each value and row type.

use std::borrow::Cow;

#[cfg(feature = "postgres")]
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, FromRow, Sqlite, SqliteConnection};
#[cfg(feature = "postgres")]
use sqlx::{PgConnection, Postgres};

use super::error::Failure;

/// A statement of [`super::sql`] and the values of its `$1`, `$2`, ….
pub(super) fn query(statement: impl Into<Cow<'static, str>>) -> Query {
    Query { statement: statement.into(), values: Vec::new(), kept: true }
}

/// A statement and its values; see [`query`].
#[derive(Debug)]
pub struct Query {
    statement: Cow<'static, str>,
    values: Vec<Value>,
    kept: bool,
}

/// A value of a type that both databases have. NULL keeps its type.
#[derive(Debug)]
pub(super) enum Value {
    Number(Option<i64>),
    Text(Option<String>),
    Flag(Option<bool>),
    Bytes(Option<Vec<u8>>),
}

/// A row of PostgreSQL, where that is part of the build.
#[cfg(not(feature = "postgres"))]
type PgRow = SqliteRow;

/// A row type that both databases return.
pub trait Readable:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin + 'static
{
}

impl<R> Readable for R where
    R: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin + 'static
{
}

/// A connection that runs [`Query`]s. It caches prepared statements.
pub trait Session: Send {
    /// All rows of a query.
    fn rows<R: Readable>(
        &mut self,
        query: Query,
    ) -> impl Future<Output = Result<Vec<R>, sqlx::Error>> + Send;

    /// The number of rows that a query changes.
    fn changed(&mut self, query: Query) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
}

impl Query {
    /// Adds the next value.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Does not cache the prepared statement, because the next one of its kind has another text.
    pub(super) fn once(mut self) -> Self {
        self.kept = false;
        self
    }

    /// Whether the statement can change rows.
    pub(super) fn writes(&self) -> bool {
        !self.statement.starts_with("SELECT")
    }

    /// All rows.
    pub(super) async fn all<R: Readable>(self, on: &mut impl Session) -> Result<Vec<R>, Failure> {
        Ok(on.rows(self).await?)
    }

    /// The first row, if there is one.
    pub(super) async fn first<R: Readable>(
        self,
        on: &mut impl Session,
    ) -> Result<Option<R>, Failure> {
        Ok(on.rows(self).await?.into_iter().next())
    }

    /// The row of a statement that always returns one.
    pub(super) async fn one<R: Readable>(self, on: &mut impl Session) -> Result<R, Failure> {
        self.first(on).await?.ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    /// Whether there is a row.
    pub(super) async fn exists(self, on: &mut impl Session) -> Result<bool, Failure> {
        Ok(self.first::<()>(on).await?.is_some())
    }

    /// The number of rows that it changes.
    pub(super) async fn execute(self, on: &mut impl Session) -> Result<u64, Failure> {
        Ok(on.changed(self).await?)
    }
}

/// A query of sqlx with the values of a [`Query`].
macro_rules! bound {
    ($sqlx:expr, $query:expr) => {{
        let mut bound = $sqlx.persistent($query.kept);
        for value in $query.values {
            bound = match value {
                Value::Number(value) => bound.bind(value),
                Value::Text(value) => bound.bind(value),
                Value::Flag(value) => bound.bind(value),
                Value::Bytes(value) => bound.bind(value),
            };
        }
        bound
    }};
}

/// The implementation for a connection; sqlx uses another type for each database.
macro_rules! session {
    ($connection:ty, $database:ty) => {
        impl Session for $connection {
            async fn rows<R: Readable>(&mut self, query: Query) -> Result<Vec<R>, sqlx::Error> {
                let found = sqlx::query_as::<$database, R>(AssertSqlSafe(query.statement));
                bound!(found, query).fetch_all(self).await
            }

            async fn changed(&mut self, query: Query) -> Result<u64, sqlx::Error> {
                let change = sqlx::query::<$database>(AssertSqlSafe(query.statement));
                Ok(bound!(change, query).execute(self).await?.rows_affected())
            }
        }
    };
}
session!(SqliteConnection, Sqlite);
#[cfg(feature = "postgres")]
session!(PgConnection, Postgres);

/// Converts Rust types to a [`Value`].
macro_rules! value {
    ($($from:ty => $variant:ident($value:ident => $stored:expr);)+) => {
        $(impl From<$from> for Value {
            fn from($value: $from) -> Self {
                Self::$variant($stored)
            }
        })+
    };
}
value! {
    i64 => Number(value => Some(value));
    Option<i64> => Number(value => value);
    &str => Text(value => Some(value.to_owned()));
    Option<&str> => Text(value => value.map(ToOwned::to_owned));
    String => Text(value => Some(value));
    Option<String> => Text(value => value);
    bool => Flag(value => Some(value));
    Option<bool> => Flag(value => value);
    Vec<u8> => Bytes(value => Some(value));
    Option<Vec<u8>> => Bytes(value => value);
}
