//! `pabal repair`: continues with what is left of a damaged data folder, after its files were copied
//! aside.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use pabal_gateway::stores::{has_content, make_private};
use pabal_storage::directory::SqliteDirectory;
use pabal_storage::embedded::{RepairReport, hold, repair};

use super::check::check;
use super::data::DataFlags;
use super::{CommandError, print};

/// The flags of `pabal repair`.
#[derive(Args, Debug)]
pub(crate) struct RepairCommand {
    #[command(flatten)]
    data: DataFlags,
    /// Folder for the damaged files as they are; it must be new or empty
    #[arg(long, value_name = "DIR")]
    keep: PathBuf,
}

impl RepairCommand {
    /// Copies the files aside, repairs the folder, and prints what is gone. A folder without damage is
    /// not changed.
    ///
    /// # Errors
    /// [`CommandError`]. The data folder is then as it was, or has a repaired history and a directory
    /// as it was; the copy has both.
    pub(crate) async fn run(&self) -> Result<(), CommandError> {
        let config = self.data.load_folder()?;
        let folder = config.storage.data_dir;
        if !folder.join("history").is_dir() || !has_content(&folder.join("directory.sqlite")) {
            return Err(CommandError::Beyond(folder));
        }
        let report = check(&folder).await?;
        if report.outcome(&folder).is_ok() {
            return Ok(print("nothing is damaged, and nothing was changed\n")?);
        }
        keep(&folder, &self.keep)?;
        print(&format!("copied {} to {}\n", folder.display(), self.keep.display()))?;
        let (history, partitions) = (folder.join("history"), config.storage.partitions);
        let repaired = tokio::task::spawn_blocking(move || repair(&history, partitions));
        let RepairReport { messages, lost_messages, findings } =
            repaired.await.map_err(|_| CommandError::Interrupted)??;
        let mut text = format!(
            "history: {messages} messages are kept, {lost_messages} acknowledged messages are gone\n"
        );
        let directory = SqliteDirectory::repair(&folder.join("directory.sqlite")).await?;
        for finding in findings.named().iter().chain(directory.named()) {
            text.push_str(&format!("{finding}\n"));
        }
        print(&text)?;
        let report = check(&folder).await?;
        print(&report.text())?;
        report.outcome(&folder)
    }
}

/// Copies the data folder, which no process has open.
fn keep(folder: &Path, to: &Path) -> Result<(), CommandError> {
    let _held = hold(&folder.join("history"))?;
    make_private(to)?;
    if fs::read_dir(to)?.next().is_some() {
        return Err(CommandError::NotEmpty(to.to_owned()));
    }
    Ok(copy(folder, to)?)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            fs::create_dir(&to)?;
            copy(&from, &to)?;
        } else if kind.is_file() {
            fs::copy(&from, &to)?;
            File::open(&to)?.sync_all()?;
        }
    }
    File::open(to)?.sync_all()
}
