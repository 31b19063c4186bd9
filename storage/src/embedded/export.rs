//! Copies a store into another folder while appends continue. The copy is a complete store with
//! everything that was durable when the export began and nothing later.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use fjall::{Keyspace, PersistMode, Readable, Snapshot};

use super::chain::Reached;
use super::config::EmbeddedConfig;
use super::database::{Database, ReadError};
use super::error::OpenError;
use super::folder;
use crate::mark;

/// The result of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Messages, known sends, stored positions and notifications together.
    pub rows: u64,
}

/// Why an export ended early. Delete what it wrote.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The new folder cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A row cannot be read or written. `pabal check` reports unreadable rows in detail.
    #[error("a row cannot be copied: {0}")]
    Row(String),
    /// The file system failed.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The caller stopped it.
    #[error("it was stopped")]
    Stopped,
}

impl From<fjall::Error> for ExportError {
    fn from(error: fjall::Error) -> Self {
        Self::Row(ReadError::from(error).to_string())
    }
}

impl Database {
    /// Writes the whole store into `folder`, which must not exist, and ends early once `stopped`
    /// returns true. Blocks on the disk while it reads and writes all data.
    pub(crate) fn export(
        &self,
        folder: &Path,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Exported, ExportError> {
        fs::create_dir(folder)?;
        let config = EmbeddedConfig { partitions: self.partitions, ..EmbeddedConfig::default() };
        let copy = Self::open(folder, &config)?;
        // One snapshot for all keyspaces, so that references between rows hold in the copy too.
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
        copy.publish();
        // The copy continues the chain of the original, whose rows it has.
        let reached = Reached::of(&copy).map_err(|error| ExportError::Row(error.to_string()))?;
        drop(copy);
        mark::create(&folder::mark_path(folder), &reached.encode())?;
        sync_folders(folder)?;
        Ok(exported)
    }
}

/// Rows are read in key order, so they can be written directly as tables.
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

/// Makes the files survive a loss of power.
pub(super) fn sync_folders(folder: &Path) -> io::Result<()> {
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
