//! Writes all that a store holds into another folder, while it goes on: a store like any other, with
//! everything that was durable when the export began and nothing of what came later.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use fjall::{Keyspace, PersistMode, Readable, Snapshot};

use super::database::{Database, Unreadable};
use super::{EmbeddedConfig, OpenError};

/// What an export has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Messages, known sends, stored positions and notifications together.
    pub rows: u64,
}

/// Why an export ended early. What it wrote is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The new folder cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A row cannot be read or written. `pabal check` tells more of the former.
    #[error("a row cannot be copied: {0}")]
    Row(String),
    /// The system refuses.
    #[error("{0}")]
    System(#[from] io::Error),
    /// It was no longer wanted.
    #[error("it was cut off")]
    Stopped,
}

impl From<fjall::Error> for ExportError {
    fn from(error: fjall::Error) -> Self {
        Self::Row(Unreadable::from(error).to_string())
    }
}

impl Database {
    /// Writes the whole store into `folder`, which must not be there, and ends early once `stopped`
    /// says so. Blocks on the disk for as long as reading and writing all of it takes.
    pub(crate) fn export(
        &self,
        folder: &Path,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Exported, ExportError> {
        fs::create_dir(folder)?;
        let config = EmbeddedConfig { partitions: self.partitions, ..EmbeddedConfig::default() };
        let copy = Self::open(folder, &config)?;
        // One state of all keyspaces: what a row says of another is true in the copy as well.
        let durable = self.durable();
        let mut exported = Exported::default();
        for (from, to) in [
            (&self.messages, &copy.messages),
            (&self.positions, &copy.positions),
            (&self.sent, &copy.sent),
            (&self.push, &copy.push),
        ] {
            exported.rows += copy_keyspace(&durable, from, to, stopped)?;
        }
        copy.fjall.persist(PersistMode::SyncAll)?;
        drop(copy);
        sync_folders(folder)?;
        Ok(exported)
    }
}

/// Rows come in the order of their keys, so they go straight into tables.
fn copy_keyspace(
    durable: &Snapshot,
    from: &Keyspace,
    to: &Keyspace,
    stopped: &dyn Fn() -> bool,
) -> Result<u64, ExportError> {
    let mut rows = 0;
    let mut tables = None;
    for row in durable.iter(from) {
        if stopped() {
            return Err(ExportError::Stopped);
        }
        let (key, value) = row.into_inner()?;
        let tables = match &mut tables {
            Some(tables) => tables,
            none => none.insert(to.start_ingestion()?),
        };
        tables.write(key, value)?;
        rows += 1;
    }
    if let Some(tables) = tables {
        tables.finish()?;
    }
    Ok(rows)
}

/// That the files are there, after a loss of power as well.
fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}
