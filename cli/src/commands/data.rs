//! Which data folder a command is about.

use std::path::PathBuf;

use clap::Args;

use super::CommandError;
use pabal_gateway::config::{Config, ServeFlags, environment};

/// The data folder, told as `serve` is told it.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct DataFlags {
    /// The configuration file of the node.
    #[arg(long, value_name = "FILE", env = "PABAL_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// The data folder [default: pabal-data].
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
}

impl DataFlags {
    /// The configuration of the node whose folder it is.
    ///
    /// # Errors
    /// [`CommandError::Config`].
    pub(super) fn load(&self) -> Result<Config, CommandError> {
        let (config, data) = (self.config.clone(), self.data.clone());
        let flags = ServeFlags { config, data, ..ServeFlags::default() };
        Ok(Config::load(&flags, environment())?)
    }

    /// The same, for what works on a data folder with everything in it.
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
