//! The backends of the [`Directory`](pabal_core::ports::Directory) port: SQLite and PostgreSQL. A
//! backend owns its connections; the calls are implemented once for both. Statements use `$N`
//! parameters and only features of both databases. The migrations of each backend, in
//! `src/migrations`, create the tables.

mod error;
mod rows;
mod sql;
mod query;
mod store;
mod relational;
mod sqlite;
mod postgres;

pub use error::OpenError;
pub use postgres::PostgresDirectory;
pub use relational::RelationalDirectory;
pub use sqlite::{DirectoryReport, SqliteDirectory};

/// A username folded to lower case, character by character, so that a prefix of a name stays a
/// prefix. U+0000, which no name contains and PostgreSQL rejects, becomes U+FFFD.
fn folded(username: &str) -> String {
    let fit = |letter| if letter == '\0' { '\u{fffd}' } else { letter };
    username.chars().flat_map(char::to_lowercase).map(fit).collect()
}
