//! `pabal migrate`: creates the tables on the servers of a node, or updates them.

use clap::Args;
use pabal_storage::directory::PostgresDirectory;
use pabal_storage::history::CassandraHistoryStore;

use super::{CommandError, print};
use pabal_gateway::config::{Config, ServeFlags, environment};

/// The flags of `pabal migrate`.
#[derive(Args, Debug)]
pub struct MigrateCommand {
    /// The flags of `serve`.
    #[command(flatten)]
    flags: ServeFlags,
}

impl MigrateCommand {
    /// Runs the command. Idempotent. Run it with a new release before its nodes start.
    ///
    /// # Errors
    /// [`CommandError::Server`]; a retry may succeed if the server was unreachable.
    pub async fn run(&self) -> Result<(), CommandError> {
        let storage = Config::load(&self.flags, environment())?.storage;
        let wrong = |key: &'static str| {
            move |error: pabal_storage::error::ConnectError| CommandError::Server {
                key,
                why: error.to_string(),
            }
        };
        if let Some(url) = &storage.directory {
            PostgresDirectory::migrate(url).await.map_err(wrong("storage.directory"))?;
            print("storage.directory: the tables are up to date\n")?;
        }
        if let Some(url) = &storage.history {
            CassandraHistoryStore::migrate(url).await.map_err(wrong("storage.history"))?;
            print("storage.history: the tables are up to date\n")?;
        }
        if storage.directory.is_none() && storage.history.is_none() {
            print(
                "nothing to do: no server is configured, and a node migrates its data folder when it starts\n",
            )?;
        }
        Ok(())
    }
}
