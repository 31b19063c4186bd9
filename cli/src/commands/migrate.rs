//! `pabal migrate`: creates the tables on the servers of a node, or updates them.

use clap::Args;

use super::{CommandError, print};
use pabal_gateway::config::{Config, ServeFlags, environment};
use pabal_gateway::stores::migrate;

/// The flags of `pabal migrate`.
#[derive(Args, Debug)]
pub(crate) struct MigrateCommand {
    /// The flags of `serve`.
    #[command(flatten)]
    flags: ServeFlags,
}

impl MigrateCommand {
    /// Runs the command. Idempotent. Run it with a new release before its nodes start.
    ///
    /// # Errors
    /// [`CommandError::Stores`]; a retry may succeed if the server was unreachable.
    pub(crate) async fn run(&self) -> Result<(), CommandError> {
        let storage = Config::load(&self.flags, environment())?.storage;
        let migrated = migrate(&storage).await?;
        for key in &migrated {
            print(&format!("{key}: the tables are up to date\n"))?;
        }
        if migrated.is_empty() {
            print(
                "nothing to do: no server is configured, and a node migrates its data folder when it \
                 starts\n",
            )?;
        }
        Ok(())
    }
}
