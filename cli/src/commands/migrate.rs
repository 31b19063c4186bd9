//! `pabal migrate`: makes the tables of a node's servers, or brings them up to date.

use clap::Args;

use super::{CommandError, print};
use pabal_gateway::config::{Config, ServeFlags, environment};
use pabal_gateway::stores::migrate;

/// The tables in Cassandra and PostgreSQL.
#[derive(Args, Debug)]
pub struct MigrateCommand {
    /// The flags of `serve`.
    #[command(flatten)]
    flags: ServeFlags,
}

impl MigrateCommand {
    /// Does it. Idempotent. A new release is migrated to before its nodes start.
    ///
    /// # Errors
    /// [`CommandError::Stores`]; a retry may help where it cannot be reached.
    pub async fn run(&self) -> Result<(), CommandError> {
        let storage = Config::load(&self.flags, environment())?.storage;
        let migrated = migrate(&storage).await?;
        for key in &migrated {
            print(&format!("{key}: the tables are up to date\n"))?;
        }
        if migrated.is_empty() {
            print("nothing to do: a data folder is migrated by the node that opens it\n")?;
        }
        Ok(())
    }
}
