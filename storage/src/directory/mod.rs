//! The backends of the [`Directory`](pabal_core::ports::Directory) port: SQLite and PostgreSQL. A
//! backend owns its connections; the calls are implemented once for both. Statements use `$N`
//! parameters and only features of both databases. The migrations of each backend, in
//! `src/migrations`, create the tables.

mod error;
mod migrations;
mod rows;
mod sql;
mod query;
mod store;
mod relational;
mod sqlite;
#[cfg(feature = "postgres")]
mod postgres;

pub use error::OpenError;
#[cfg(feature = "postgres")]
pub use postgres::PostgresDirectory;
pub use relational::RelationalDirectory;
pub use sqlite::{Changes, DirectoryReport, SqliteDirectory};
