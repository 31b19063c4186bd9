//! Wall clocks of nodes that tests set.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

/// The library that sets a node's clock, if it is installed: libfaketime, a package of Debian.
const FAKETIME: &str = "libfaketimeMT.so.1";

/// The wall clock of one node, which can be set while it runs.
#[derive(Debug)]
pub struct SetClock(Clocks);

impl SetClock {
    /// `None`, which is reported, if this machine does not support it.
    ///
    /// # Panics
    /// If it does not, and nothing may be left out.
    pub fn installed() -> Option<Self> {
        let clocks = Clocks::installed().map(Self);
        if clocks.is_none() {
            pabal_servers::leave_out("libfaketime is not installed: no clock can be set");
        }
        clocks
    }

    /// The environment of the node.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        self.0.settings(0)
    }

    /// Sets the clock ahead of the machine's. The node takes it over within a second, or at its start.
    pub fn set(&self, offset_seconds: i64) {
        self.0.set(0, offset_seconds);
    }
}

/// Wall clocks of nodes, which can be set while they run.
#[derive(Debug)]
pub(crate) struct Clocks {
    library: PathBuf,
    folder: TempDir,
}

impl Clocks {
    /// `None` if the library is not installed.
    pub(crate) fn installed() -> Option<Self> {
        let folders = fs::read_dir("/usr/lib").ok()?.flatten();
        let libraries = folders.map(|folder| folder.path().join("faketime").join(FAKETIME));
        let library = libraries.into_iter().find(|file| file.exists())?;
        let folder = TempDir::with_prefix("pabal-clocks-").expect("a folder for clocks");
        Some(Self { library, folder })
    }

    fn file(&self, node: usize) -> PathBuf {
        self.folder.path().join(node.to_string())
    }

    pub(crate) fn set(&self, node: usize, offset_seconds: i64) {
        // Atomically, or the node might read an incomplete file.
        let (file, new) = (self.file(node), self.file(node).with_extension("new"));
        fs::write(&new, format!("{offset_seconds:+}")).expect("the folder takes a file");
        fs::rename(new, file).expect("the folder takes a file");
    }

    /// The environment of a process whose clock can be set. Its monotonic clock is not changed.
    pub(crate) fn settings(&self, node: usize) -> Vec<(&'static str, String)> {
        self.set(node, 0);
        vec![
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file(node).display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }
}
