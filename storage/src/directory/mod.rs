//! Backends of the [`Directory`](pabal_core::ports::Directory) port. What they share is here: the
//! statements, the rows they answer, and what an error of a database means. A backend owns its
//! connections and its transactions. Statements use `$N` and only what SQLite and PostgreSQL both
//! have; the tables are made by the migrations of each backend, in `src/migrations`.

mod error;
mod rows;
mod sql;
mod sqlite;

pub use error::OpenError;
pub use sqlite::{DirectoryReport, SqliteDirectory};

/// A username without case, character by character, so that the prefix of a name stays a prefix.
fn folded(username: &str) -> String {
    username.chars().flat_map(char::to_lowercase).collect()
}
