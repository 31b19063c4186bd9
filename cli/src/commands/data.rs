//! The flags that select the data folder of a command.

use std::path::PathBuf;

use clap::Args;

use super::CommandError;
use pabal_gateway::config::{Config, ServeFlags, environment};

/// The data folder, selected with the flags of `serve`.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct DataFlags {
    /// Configuration file of the node
    #[arg(long, value_name = "FILE", env = "PABAL_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Data folder [default: pabal-data]
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
}

impl DataFlags {
    /// The configuration of the node that uses the folder.
    ///
    /// # Errors
    /// [`CommandError::Config`].
    pub(super) fn load(&self) -> Result<Config, CommandError> {
        let (config, data) = (self.config.clone(), self.data.clone());
        let flags = ServeFlags { config, data, ..ServeFlags::default() };
        Ok(Config::load(&flags, environment())?)
    }

    /// Like [`load`](Self::load), for commands that need all data in the folder.
    ///
    /// # Errors
    /// [`CommandError::Config`], [`CommandError::Elsewhere`].
    pub(super) fn load_folder(&self) -> Result<Config, CommandError> {
        let config = self.load()?;
        match (&config.storage.history, &config.storage.directory) {
            (None, None) => Ok(config),
            (Some(_), _) => Err(CommandError::Elsewhere("storage.history")),
            (None, Some(_)) => Err(CommandError::Elsewhere("storage.directory")),
        }
    }
}
