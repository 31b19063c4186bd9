//! `pabal config`: prints or checks the configuration that a node would have.

use clap::Subcommand;

use super::{CommandError, print};
use pabal_gateway::config::{self, Config, ServeFlags, environment};

/// The actions of `pabal config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every key with its unit, default, value and source, as a file for `serve --config`
    Print {
        /// The flags of `serve`.
        #[command(flatten)]
        flags: ServeFlags,
        /// Print secrets as well
        #[arg(long)]
        show_secrets: bool,
    },
    /// Check every key, and print nothing if all are valid
    Check {
        /// The flags of `serve`.
        #[command(flatten)]
        flags: ServeFlags,
    },
}

impl ConfigCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// [`CommandError::Config`] for the first key that is unknown or invalid.
    pub(crate) fn run(&self) -> Result<(), CommandError> {
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
