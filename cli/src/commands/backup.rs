//! `pabal backup` and `pabal restore`. A backup is a data folder. A running node writes its own
//! backup.

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
use pabal_gateway::control::{Reply, Request, ask};
use pabal_gateway::stores::make_private;

/// The flags of `pabal backup`.
#[derive(Args, Debug)]
pub(crate) struct BackupCommand {
    #[command(flatten)]
    data: DataFlags,
    /// Folder to write; it must be new or empty
    #[arg(value_name = "TO")]
    to: PathBuf,
}

/// The flags of `pabal restore`.
#[derive(Args, Debug)]
pub(crate) struct RestoreCommand {
    #[command(flatten)]
    data: DataFlags,
    /// Folder of the backup
    #[arg(value_name = "FROM")]
    from: PathBuf,
}

impl BackupCommand {
    /// Requests the backup from the running node, or writes it if no node runs, and checks it.
    ///
    /// # Errors
    /// [`CommandError`]. The folder then holds an incomplete backup, which can be deleted.
    pub(crate) async fn run(&self) -> Result<(), CommandError> {
        let config = self.data.load_folder()?;
        make_empty(&self.to)?;
        // The node resolves relative paths in its own working directory.
        let to = fs::canonicalize(&self.to)?;
        match ask(&config.storage.data_dir, &Request::Backup(to.clone())).await? {
            Some(Reply::Done) => {}
            Some(Reply::Failed(reason)) => return Err(CommandError::Backup(reason)),
            None => write(&config, &to).await?,
        }
        report(&to).await
    }
}

impl RestoreCommand {
    /// Copies the backup into the data folder, and checks the copy.
    ///
    /// # Errors
    /// [`CommandError`]. The data folder is then empty.
    pub(crate) async fn run(&self) -> Result<(), CommandError> {
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

/// Writes a backup of a data folder that no node has open.
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

/// Checks `folder`, and prints the report.
async fn report(folder: &Path) -> Result<(), CommandError> {
    let report = check(folder).await?;
    print(&report.text())?;
    report.outcome(folder)
}

/// Creates `folder` for this user only, or checks that it is empty.
fn make_empty(folder: &Path) -> Result<(), CommandError> {
    make_private(folder)?;
    match fs::read_dir(folder)?.next() {
        None => Ok(()),
        Some(_) => Err(CommandError::NotEmpty(folder.to_owned())),
    }
}

/// Copies the parts of a backup, without their permissions.
fn copy(from: &Path, to: &Path) -> Result<(), CommandError> {
    let history = from.join("history");
    if !history.is_dir() || !from.join("directory.sqlite").is_file() {
        return Err(CommandError::NoData(from.to_owned()));
    }
    // Fails if a node has the folder open: it is then a data folder in use, not a backup.
    let _held = hold(&history)?;
    copy_file(&from.join("directory.sqlite"), &to.join("directory.sqlite"))?;
    let mark = from.join("directory.mark");
    // A backup of an older release has none.
    if mark.try_exists()? {
        copy_file(&mark, &to.join("directory.mark"))?;
    }
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
