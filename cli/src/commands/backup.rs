//! `pabal backup` and `pabal restore`. A backup is a data folder; a running node writes it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use pabal_storage::directory::SqliteDirectory;
use pabal_storage::embedded::{EmbeddedConfig, EmbeddedStore, hold};
use tokio_util::sync::CancellationToken;

use super::check::check;
use super::data::DataFlags;
use super::{CommandError, print};
use pabal_gateway::backup::Backup;
use pabal_gateway::config::Config;
use pabal_gateway::control::{Answer, Request, ask};
use pabal_gateway::stores::make_private;

/// What to back up, and where to.
#[derive(Args, Debug)]
pub struct BackupCommand {
    #[command(flatten)]
    data: DataFlags,
    /// The folder to write; it must not be there, or be empty.
    #[arg(value_name = "TO")]
    to: PathBuf,
}

/// What to restore, and where to.
#[derive(Args, Debug)]
pub struct RestoreCommand {
    #[command(flatten)]
    data: DataFlags,
    /// The backup.
    #[arg(value_name = "FROM")]
    from: PathBuf,
}

impl BackupCommand {
    /// Has the node write the backup, or writes it if none runs; then checks it.
    ///
    /// # Errors
    /// [`CommandError`]: there is no backup then, and the folder holds what is of no use.
    pub async fn run(&self) -> Result<(), CommandError> {
        let config = self.data.load_folder()?;
        make_empty(&self.to)?;
        // The node has a working directory of its own.
        let to = fs::canonicalize(&self.to)?;
        match ask(&config.storage.data_dir, &Request::Backup(to.clone())).await? {
            Some(Answer::Done) => {}
            Some(Answer::Failed(reason)) => return Err(CommandError::Backup(reason)),
            None => write(&config, &to).await?,
        }
        report(&to).await
    }
}

impl RestoreCommand {
    /// Copies the backup and checks the copy.
    ///
    /// # Errors
    /// [`CommandError`]: the data folder is empty then.
    pub async fn run(&self) -> Result<(), CommandError> {
        let to = self.data.load_folder()?.storage.data_dir;
        make_empty(&to)?;
        let from = self.from.clone();
        let folder = to.clone();
        let copied = tokio::task::spawn_blocking(move || copy(&from, &folder));
        let copied = copied.await.map_err(|_| CommandError::Interrupted).and_then(|done| done);
        let restored = match copied {
            Ok(()) => report(&to).await,
            Err(error) => Err(error),
        };
        if restored.is_err() {
            empty(&to)?;
        }
        restored
    }
}

/// Writes a backup of a folder that no node has open.
async fn write(config: &Config, to: &Path) -> Result<(), CommandError> {
    let (storage, data) = (&config.storage, &config.storage.data_dir);
    let directory = data.join("directory.sqlite");
    if !directory.try_exists()? {
        return Err(CommandError::NoData(data.clone()));
    }
    let embedded = EmbeddedConfig { partitions: storage.partitions, ..EmbeddedConfig::default() };
    let history = data.join("history");
    let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(&history, &embedded));
    let store = store.await.map_err(|_| CommandError::Interrupted)??;
    let directory = SqliteDirectory::open_existing(directory).await?;
    let backup = Backup { directory: directory.clone(), history: store.history };
    let written = backup.write(to, CancellationToken::new()).await;
    directory.close().await;
    Ok(written?)
}

/// Says what is in `folder`.
async fn report(folder: &Path) -> Result<(), CommandError> {
    let report = check(folder).await?;
    print(&report.text())?;
    report.outcome(folder)
}

/// Makes `folder`, for this user only, unless it is there and empty.
fn make_empty(folder: &Path) -> Result<(), CommandError> {
    make_private(folder)?;
    match fs::read_dir(folder)?.next() {
        None => Ok(()),
        Some(_) => Err(CommandError::NotEmpty(folder.to_owned())),
    }
}

/// Copies the parts of a backup, whose own permissions stay behind.
fn copy(from: &Path, to: &Path) -> Result<(), CommandError> {
    let history = from.join("history");
    if !history.is_dir() || !from.join("directory.sqlite").is_file() {
        return Err(CommandError::NoData(from.to_owned()));
    }
    // A data folder that a node writes to is no backup.
    let _held = hold(&history)?;
    copy_file(&from.join("directory.sqlite"), &to.join("directory.sqlite"))?;
    copy_folder(&history, &to.join("history"))?;
    Ok(File::open(to)?.sync_all()?)
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() { copy_folder(&from, &to)? } else { copy_file(&from, &to)? }
    }
    File::open(to)?.sync_all()
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create_new(to)?);
    io::copy(&mut from, &mut to)?;
    to.sync_all()
}

fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}
