//! The claims of the product, a file a cell.

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

/// What every cell is given.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The server under measurement.
    pub pabal: PathBuf,
    /// The folder of the peers' binaries.
    pub peers: PathBuf,
    /// Where data folders are made: the disk that is measured.
    pub disk: PathBuf,
    /// Shorter and coarser.
    pub quick: bool,
    /// Messages in flight, one run each.
    pub windows: Vec<u64>,
    /// Without peers: nothing is compared, and a profiler sees one server at work.
    pub alone: bool,
    /// Where plots and their data go.
    pub drawings: PathBuf,
}

impl Setting {
    /// How long a measured run is.
    pub fn span(&self) -> Duration {
        Duration::from_secs(if self.quick { 2 } else { 4 })
    }

    /// How often the peers take turns.
    pub fn turns(&self) -> usize {
        if self.quick { 2 } else { 3 }
    }

    /// A fresh data folder.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn folder(&self) -> crate::Outcome<tempfile::TempDir> {
        Ok(tempfile::Builder::new().prefix("pabal-measure-").tempdir_in(&self.disk)?)
    }
}
