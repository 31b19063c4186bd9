//! Backends of the [`Directory`](pabal_core::ports::Directory) port: SQLite and PostgreSQL. A backend
//! owns its connections; what a call does is written once for both. Statements use `$N` and only
//! what both databases have; the tables are made by the migrations of each, in `src/migrations`.

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
pub use sqlite::{DirectoryReport, SqliteDirectory};

/// A username without case, character by character, so that the prefix of a name stays a prefix.
/// U+0000, which no name has and PostgreSQL takes in no text, becomes U+FFFD.
fn folded(username: &str) -> String {
    let fit = |letter| if letter == '\0' { '\u{fffd}' } else { letter };
    username.chars().flat_map(char::to_lowercase).map(fit).collect()
}
