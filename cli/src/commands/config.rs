//! `pabal config`: what a node would be told.

use clap::Subcommand;

use super::{CommandError, print};
use pabal_gateway::config::{self, Config, ServeFlags, environment};

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every key with its unit, default, present value and where that was set, as a file
    /// for `serve --config`.
    Print {
        /// The flags of `serve`.
        #[command(flatten)]
        flags: ServeFlags,
        /// Print secrets too.
        #[arg(long)]
        show_secrets: bool,
    },
    /// Check every key, and say nothing if all is well.
    Check {
        /// The flags of `serve`.
        #[command(flatten)]
        flags: ServeFlags,
    },
}

impl ConfigCommand {
    /// Does it.
    ///
    /// # Errors
    /// [`CommandError::Config`] for the first key that is unknown or wrong.
    pub fn run(&self) -> Result<(), CommandError> {
        match self {
            Self::Print { flags, show_secrets } => {
                let (config, sources) = Config::load_with_sources(flags, environment())?;
                print(&config::print(&config, &sources, *show_secrets)?)?;
            }
            Self::Check { flags } => drop(Config::load(flags, environment())?),
        }
        Ok(())
    }
}
