//! The cells: the claims of the product, a file per cell.

use std::path::PathBuf;
use std::time::Duration;

pub mod scene;
pub mod fanout;
pub mod idle;
pub mod durable;
pub mod stored;
pub mod slow;
pub mod stop;
pub mod soak;
pub mod cluster;
pub mod redis;

/// The settings of all cells.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The server under measurement.
    pub pabal: PathBuf,
    /// The folder of the peers' programs.
    pub peers: PathBuf,
    /// The folder of data folders, whose disk is measured.
    pub disk: PathBuf,
    /// Whether runs are shorter and coarser.
    pub quick: bool,
    /// Messages in flight; each is a run of its own.
    pub windows: Vec<u64>,
    /// Without peers, for a profiler.
    pub alone: bool,
    /// The folder of plots and their data.
    pub drawings: PathBuf,
}

impl Setting {
    /// The length of a measured run.
    pub fn span(&self) -> Duration {
        Duration::from_secs(if self.quick { 2 } else { 4 })
    }

    /// The number of turns of each peer.
    pub fn turns(&self) -> usize {
        if self.quick { 2 } else { 3 }
    }

    /// A fresh data folder.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn folder(&self) -> crate::Outcome<tempfile::TempDir> {
        Ok(tempfile::Builder::new().prefix("pabal-measure-").tempdir_in(&self.disk)?)
    }
}
