//! Whether the files of a data folder are still the ones that a node has open. A deleted or replaced
//! file can be written to without an error; what is written is lost with the process.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Says whether a store may write. Open at first; clones share the state. A look at an open gate costs
/// one load.
#[derive(Clone, Debug, Default)]
pub struct WriteGate(Arc<GateState>);

#[derive(Debug, Default)]
struct GateState {
    closed: AtomicBool,
    reason: Mutex<String>,
}

impl WriteGate {
    /// Refuses writes from now on, for this reason.
    pub fn close(&self, reason: &str) {
        reason.clone_into(&mut self.0.reason.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.closed.store(true, Ordering::Release);
    }

    /// Allows writes again.
    pub fn open(&self) {
        self.0.closed.store(false, Ordering::Release);
    }

    /// Why writes are refused, if they are.
    pub fn closed(&self) -> Option<String> {
        if !self.0.closed.load(Ordering::Acquire) {
            return None;
        }
        Some(self.0.reason.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// The files whose identity is watched, if they exist when the watch begins. Tables of history are
/// not among them: they come and go.
const WATCHED: [&str; 10] = [
    "",
    "history",
    "history/pabal-store",
    "history/mark",
    "history/fjall",
    "history/fjall/version",
    "history/fjall/keyspaces",
    "directory.sqlite",
    "directory.sqlite-wal",
    "directory.mark",
];

/// The files of a data folder that a node has open.
#[derive(Debug)]
pub struct OpenFiles {
    folder: PathBuf,
    files: Vec<(PathBuf, Identity)>,
    journal: Option<(u64, Identity)>,
}

/// What stays the same while a file exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl OpenFiles {
    /// The files of the data folder `folder`, whose stores are open.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for name in WATCHED {
            let path = folder.join(name);
            match fs::metadata(&path) {
                Ok(metadata) => files.push((path, Identity::from(&metadata))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let journal = newest_journal(folder)?;
        Ok(Self { folder: folder.to_owned(), files, journal })
    }

    /// Looks whether the files are still there. Blocks on the file system.
    ///
    /// # Errors
    /// A line that names the first file that is gone, replaced, on another device, or cannot be
    /// looked at.
    pub fn check(&mut self) -> Result<(), String> {
        for (path, opened) in &self.files {
            let found = fs::metadata(path).map_err(|error| gone(path, &error))?;
            compare(path, *opened, &found)?;
        }
        let Some((opened, identity)) = self.journal else { return Ok(()) };
        let path = |number: u64| self.folder.join(format!("history/fjall/{number}.jnl"));
        match newest_journal(&self.folder).map_err(|error| gone(&path(opened), &error))? {
            Some((number, found)) if number > opened => self.journal = Some((number, found)),
            Some((number, found)) if number == opened && found == identity => {}
            Some((number, _)) if number == opened => {
                return Err(format!("{} was replaced", path(number).display()));
            }
            _ => return Err(format!("{} is gone", path(opened).display())),
        }
        Ok(())
    }
}

fn gone(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("{} is gone", path.display()),
        _ => format!("{} cannot be looked at: {error}", path.display()),
    }
}

fn compare(path: &Path, opened: Identity, found: &Metadata) -> Result<(), String> {
    let identity = Identity::from(found);
    if identity.device != opened.device {
        return Err(format!("{} is on another device", path.display()));
    }
    if identity.inode != opened.inode || (found.is_file() && found.nlink() == 0) {
        return Err(format!("{} was replaced", path.display()));
    }
    Ok(())
}

/// The journal with the highest number: the one that is written.
fn newest_journal(folder: &Path) -> io::Result<Option<(u64, Identity)>> {
    let entries = match fs::read_dir(folder.join("history/fjall")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in entries {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl"));
        let Some(number) = number.and_then(|number| number.parse().ok()) else { continue };
        if newest.as_ref().is_none_or(|(highest, _)| *highest < number) {
            newest = Some((number, path));
        }
    }
    let Some((number, path)) = newest else { return Ok(None) };
    Ok(Some((number, Identity::from(&fs::metadata(path)?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let fjall = folder.path().join("data/history/fjall");
        fs::create_dir_all(&fjall).expect("created");
        fs::write(fjall.join("3.jnl"), "a journal").expect("written");
        for name in ["directory.sqlite", "directory.sqlite-wal", "history/pabal-store"] {
            fs::write(folder.path().join("data").join(name), name).expect("written");
        }
        folder
    }

    #[test]
    fn a_file_that_is_gone_replaced_or_back_is_noticed() {
        let folder = folder();
        let data = folder.path().join("data");
        let mut files = OpenFiles::of(&data).expect("a folder");
        assert_eq!(files.check(), Ok(()));
        for name in ["directory.sqlite", "history/pabal-store", "history/fjall/3.jnl", "history"] {
            let (path, aside) = (data.join(name), folder.path().join("aside"));
            fs::rename(&path, &aside).expect("moved");
            let error = files.check().expect_err("it is gone");
            assert!(error.contains(name) && error.ends_with("is gone"), "{error}");
            if aside.is_dir() { fs::create_dir(&path) } else { fs::copy(&aside, &path).map(drop) }
                .expect("replaced");
            let error = files.check().expect_err("it is another one");
            assert!(error.contains(name), "{error}");
            if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) }
                .expect("removed");
            fs::rename(&aside, &path).expect("moved back");
            assert_eq!(files.check(), Ok(()), "{name}");
        }
        fs::remove_dir_all(&data).expect("removed");
        assert!(files.check().expect_err("all is gone").ends_with("data/ is gone"));
    }

    #[test]
    fn journals_that_come_and_go_are_no_fault() {
        let folder = folder();
        let data = folder.path().join("data");
        let mut files = OpenFiles::of(&data).expect("a folder");
        fs::write(data.join("history/fjall/4.jnl"), "the next one").expect("written");
        assert_eq!(files.check(), Ok(()));
        fs::remove_file(data.join("history/fjall/3.jnl")).expect("removed");
        assert_eq!(files.check(), Ok(()));
        fs::remove_file(data.join("history/fjall/4.jnl")).expect("removed");
        assert!(files.check().expect_err("no journal").contains("4.jnl is gone"));
    }

    #[test]
    fn a_gate_refuses_with_its_reason_until_it_opens() {
        let gate = WriteGate::default();
        assert_eq!(gate.closed(), None);
        gate.clone().close("the folder is gone");
        assert_eq!(gate.closed().as_deref(), Some("the folder is gone"));
        gate.open();
        assert_eq!(gate.closed(), None);
    }
}
