//! The command line: one file per command. `serve` is in `main.rs`.

mod data;
mod config;
mod user;
mod check;
mod clock;
mod backup;
mod repair;
mod migrate;
mod not_built;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use pabal_gateway::config::ServeFlags;

pub(crate) use self::backup::{BackupCommand, RestoreCommand};
pub(crate) use self::check::CheckCommand;
pub(crate) use self::clock::ClockCommand;
pub(crate) use self::config::ConfigCommand;
pub(crate) use self::migrate::MigrateCommand;
pub(crate) use self::not_built::NotBuilt;
pub(crate) use self::repair::RepairCommand;
pub(crate) use self::user::UserCommand;

/// A text chat server with interchangeable transports, and its tools.
#[derive(Debug, Parser)]
#[command(name = "pabal", version)]
pub(crate) struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node
    Serve(ServeFlags),
    /// Print or check the configuration of `serve`
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Create or update the tables in Cassandra and PostgreSQL
    Migrate(MigrateCommand),
    /// List, show and change user accounts, also while the node runs
    User(UserCommand),
    /// Check the data folder of a stopped node for damage
    Check(CheckCommand),
    /// Accept the clock of this machine, after it jumped or before a node starts
    #[command(subcommand)]
    Clock(ClockCommand),
    /// Back up a data folder, also while the node runs, and check the copy
    Backup(BackupCommand),
    /// Restore a data folder from a backup, and check it
    Restore(RestoreCommand),
    /// Copy a damaged data folder aside, and continue with what is left of it
    Repair(RepairCommand),
    /// Open the terminal chat client
    #[cfg(feature = "chat")]
    Chat(pabal_terminal::Flags),
    /// Open the terminal chat client (not part of this build)
    #[cfg(not(feature = "chat"))]
    Chat(not_built::Flags),
    /// Measure the cost of each transport on this machine, and write a report
    #[cfg(feature = "lab")]
    Lab(pabal_lab::command::Flags),
    /// Measure the cost of each transport (not part of this build)
    #[cfg(not(feature = "lab"))]
    Lab(not_built::Flags),
    /// Generate load on a server, and check for lost, repeated and reordered messages
    #[cfg(feature = "load")]
    Load(pabal_load::Flags),
    /// Generate load on a server (not part of this build)
    #[cfg(not(feature = "load"))]
    Load(not_built::Flags),
}

/// Why a command failed: one line for standard error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CommandError {
    /// The configuration is invalid.
    #[error("configuration: {0}")]
    Config(#[from] pabal_gateway::config::ConfigError),
    /// The directory cannot be opened.
    #[error("cannot open the directory: {0}")]
    Open(#[from] pabal_storage::directory::OpenError),
    /// The directory, or a server that the configuration names, cannot be used.
    #[error(transparent)]
    Stores(#[from] pabal_gateway::stores::StoresError),
    /// The command works on a data folder, but the data is on a server.
    #[error(
        "{0} names a server, and this command works on a data folder only; use the tools of the server"
    )]
    Elsewhere(&'static str),
    /// A call of the directory failed.
    #[error(transparent)]
    Directory(#[from] pabal_core::ports::DirectoryError),
    /// History cannot be opened.
    #[error("cannot open history: {0}")]
    History(#[from] pabal_storage::embedded::OpenError),
    /// A data folder is damaged; standard output lists the findings.
    #[error("{folder} is damaged, see `wrong` on standard output (number of findings: {count})")]
    Wrong {
        /// The folder.
        folder: PathBuf,
        /// The number of findings.
        count: u64,
    },
    /// The folder to write is not empty.
    #[error("{0} is not empty; name a new or empty folder")]
    NotEmpty(PathBuf),
    /// The folder to read has no data.
    #[error("{0} is neither a data folder nor a complete backup")]
    NoData(PathBuf),
    /// The running node could not write the backup.
    #[error("the node could not write the backup: {0}")]
    Backup(String),
    /// The backup could not be written.
    #[error(transparent)]
    Write(#[from] pabal_gateway::backup::BackupError),
    /// A task of the command was cancelled.
    #[error("the command was interrupted")]
    Interrupted,
    /// No user has this name.
    #[error("no user {0:?}; `pabal user list` lists the names")]
    NoUser(String),
    /// History or the directory is missing, so nothing is left to continue with.
    #[error("{} lacks history or the directory; restore a backup with `pabal restore`", .0.display())]
    Beyond(PathBuf),
    /// The running node did not accept the clock.
    #[error("the node refused: {0}")]
    Clock(String),
    /// The new password is invalid.
    #[error("the password {0}")]
    Password(String),
    /// Passwords cannot be hashed.
    #[error(transparent)]
    Hash(#[from] pabal_gateway::auth::PasswordError),
    /// Standard input or output failed.
    #[error("the operating system refused: {0}")]
    System(#[from] io::Error),
}

/// Writes the text to standard output and flushes it.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}
