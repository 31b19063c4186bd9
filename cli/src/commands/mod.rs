//! The command line: what the program can do. A file a command; `serve` is the program itself, in
//! `main.rs`.

mod data;
mod config;
mod user;
mod check;
mod backup;
mod migrate;
mod not_built;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use pabal_gateway::config::ServeFlags;

pub use self::backup::{BackupCommand, RestoreCommand};
pub use self::check::CheckCommand;
pub use self::config::ConfigCommand;
pub use self::migrate::MigrateCommand;
pub(crate) use self::not_built::NotBuilt;
pub use self::user::UserCommand;

/// A chat system whose routing engine sits behind interchangeable transports.
#[derive(Debug, Parser)]
#[command(name = "pabal", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node.
    Serve(ServeFlags),
    /// Show or check the configuration that `serve` would have with the same flags.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make the tables in Cassandra and PostgreSQL, or bring them up to date.
    Migrate(MigrateCommand),
    /// See and change accounts, also while the node runs.
    User(UserCommand),
    /// Look through the data folder of a node that does not run, and name what is wrong.
    Check(CheckCommand),
    /// Write a copy of the data folder, also while the node runs, and check it.
    Backup(BackupCommand),
    /// Make a data folder from a backup, and check it.
    Restore(RestoreCommand),
    /// Open the terminal chat client.
    #[cfg(feature = "chat")]
    Chat(pabal_terminal::Flags),
    /// Open the terminal chat client. Not part of this build.
    #[cfg(not(feature = "chat"))]
    Chat(not_built::Flags),
    /// Measure what each transport costs, on this machine, and make a report of it.
    #[cfg(feature = "lab")]
    Lab(pabal_lab::command::Flags),
    /// Measure what each transport costs. Not part of this build.
    #[cfg(not(feature = "lab"))]
    Lab(not_built::Flags),
    /// Put a server under load, and check that everything arrives once and in order.
    #[cfg(feature = "load")]
    Load(pabal_load::Flags),
    /// Put a server under load. Not part of this build.
    #[cfg(not(feature = "load"))]
    Load(not_built::Flags),
}

/// Why a command did not do what it was to do: one line for standard error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The configuration cannot be used.
    #[error("configuration: {0}")]
    Config(#[from] pabal_gateway::config::ConfigError),
    /// The directory cannot be opened.
    #[error("the directory cannot be opened: {0}")]
    Open(#[from] pabal_storage::directory::OpenError),
    /// The directory or a server that the configuration names cannot be used.
    #[error(transparent)]
    Stores(#[from] pabal_gateway::stores::StoresError),
    /// What this command works on is on servers, which have tools of their own.
    #[error("{0} names a server: use its own tools")]
    Elsewhere(&'static str),
    /// The directory did not answer.
    #[error(transparent)]
    Directory(#[from] pabal_core::ports::DirectoryError),
    /// History cannot be opened.
    #[error("history cannot be opened: {0}")]
    History(#[from] pabal_storage::embedded::OpenError),
    /// A data folder is not what it should be; standard output names what.
    #[error("{folder}: {count} {things} wrong", things = if *count == 1 { "thing is" } else { "things are" })]
    Wrong {
        /// The folder.
        folder: PathBuf,
        /// How many things.
        count: u64,
    },
    /// The folder that was to be written has something in it.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    /// The folder that was to be read has no data.
    #[error("{0} is no data folder, and no complete backup")]
    NoData(PathBuf),
    /// The node that runs could not write the backup.
    #[error("the node could not write the backup: {0}")]
    Backup(String),
    /// The backup could not be written.
    #[error(transparent)]
    Write(#[from] pabal_gateway::backup::BackupError),
    /// A task of the command was cut off.
    #[error("the command was interrupted")]
    Interrupted,
    /// Nobody has this name.
    #[error("there is no user {0:?}")]
    NoUser(String),
    /// The new password cannot be one.
    #[error("the password {0}")]
    Password(String),
    /// Passwords cannot be hashed.
    #[error(transparent)]
    Hash(#[from] pabal_gateway::auth::PasswordError),
    /// Standard input or output failed.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
}

/// Writes to standard output, whole.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}
