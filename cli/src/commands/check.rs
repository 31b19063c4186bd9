//! `pabal check`: checks a data folder for damage, without changing it. Opening a store changes
//! files, so it happens in a scratch folder with copies of everything except the tables of history.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use pabal_storage::directory::{DirectoryReport, SqliteDirectory};
use pabal_storage::embedded::{self, StoreReport};

use super::data::DataFlags;
use super::{CommandError, print};
use pabal_gateway::stores::has_content;

/// The flags of `pabal check`.
#[derive(Args, Debug)]
pub(crate) struct CheckCommand {
    #[command(flatten)]
    data: DataFlags,
}

/// The contents of a data folder, and the findings.
#[derive(Debug)]
pub(super) struct Report {
    store: StoreReport,
    directory: DirectoryReport,
}

impl CheckCommand {
    /// Checks the folder, and prints its contents and the findings.
    ///
    /// # Errors
    /// [`CommandError::Wrong`] if the folder is damaged; others if it cannot be checked, for
    /// example because it is in use.
    pub(crate) async fn run(&self) -> Result<(), CommandError> {
        let folder = self.data.load_folder()?.storage.data_dir;
        let report = check(&folder).await?;
        print(&report.text())?;
        report.outcome(&folder)
    }
}

/// Checks all of `folder`.
pub(super) async fn check(folder: &Path) -> Result<Report, CommandError> {
    // In the folder for temporary files, which TMPDIR selects: it needs space for a copy of the
    // directory and of the journals.
    let scratch = tempfile::tempdir()?;
    let (history, copy) = (folder.join("history"), scratch.path().join("history"));
    fs::create_dir(&copy)?;
    let looked = tokio::task::spawn_blocking(move || {
        if !history.is_dir() {
            let missing = format!("{} does not exist", history.display());
            return Err(CommandError::System(io::Error::new(io::ErrorKind::NotFound, missing)));
        }
        Ok(embedded::verify(&history, &copy)?)
    });
    let store = looked.await.map_err(|_| CommandError::Interrupted)??;
    let original = folder.join("directory.sqlite");
    let directory = if has_content(&original) {
        let copy = copy_directory(folder, scratch.path())?;
        SqliteDirectory::verify(&copy, &original).await?
    } else {
        let mut missing = DirectoryReport::default();
        missing.findings.wrong(format!("directory: {} is missing", original.display()));
        missing
    };
    Ok(Report { store, directory })
}

/// Copies the file of the directory, and its write-ahead log.
fn copy_directory(folder: &Path, to: &Path) -> io::Result<PathBuf> {
    let log = folder.join("directory.sqlite-wal");
    if log.try_exists()? {
        fs::copy(log, to.join("directory.sqlite-wal"))?;
    }
    let copy = to.join("directory.sqlite");
    fs::copy(folder.join("directory.sqlite"), &copy)?;
    Ok(copy)
}

impl Report {
    /// The text for people: one line per store, then one line per finding.
    pub(super) fn text(&self) -> String {
        let Self { store, directory } = self;
        let mut text = format!(
            "history: {} messages in {} channels, {} partitions, {} known sends, {} notifications\n\
             directory: {} users, schema version {}\n",
            store.messages,
            store.channels,
            store.partitions,
            store.sends,
            store.notifications,
            directory.users,
            directory.schema_version,
        );
        for finding in store.findings.named().iter().chain(directory.findings.named()) {
            text.push_str(&format!("{finding}\n"));
        }
        text
    }

    /// An error if the folder is damaged.
    pub(super) fn outcome(&self, folder: &Path) -> Result<(), CommandError> {
        match self.store.findings.count_wrong() + self.directory.findings.count_wrong() {
            0 => Ok(()),
            count => Err(CommandError::Wrong { folder: folder.to_owned(), count }),
        }
    }
}
