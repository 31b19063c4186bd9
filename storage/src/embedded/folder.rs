//! The folder of an embedded store. Owns the marker file, which records what the folder was created
//! for, and the checks of fjall's files before fjall opens them. The content of those files belongs
//! to fjall.
//!
//! ```text
//! <folder>/pabal-store     the marker, written last when a store is created
//! <folder>/mark            how far writes were acknowledged
//! <folder>/fjall/          fjall's database
//! <folder>/fjall.new/      a database whose creation has not finished
//! <folder>/torn/           what crashes left of writes that were not acknowledged, the newest eight
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::OpenError;

const MARKER: &str = "pabal-store";
/// The format with a chain over the batches and a mark.
const FORMAT: &str = "pabal-store 2";
/// The format of releases that wrote neither.
const FORMAT_WITHOUT_CHAIN: &str = "pabal-store 1";

/// What the marker of a store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    /// The number of partitions that the store was created for.
    pub(super) partitions: u16,
    /// The secret of the checksums of its chain; absent in a store that has no chain yet.
    pub(super) secret: Option<u64>,
}

/// The file that says how far writes were acknowledged.
pub(super) fn mark_path(folder: &Path) -> PathBuf {
    folder.join("mark")
}

/// The folder of fjall's files.
pub(super) fn database_path(folder: &Path) -> PathBuf {
    folder.join("fjall")
}

/// The folder in which a database is created. Removes the remains of an earlier creation that ended
/// early, for example on a full disk: after the rename an incomplete database could not be
/// distinguished from a damaged one.
pub(super) fn prepare_unfinished(folder: &Path) -> Result<PathBuf, OpenError> {
    let unfinished = folder.join("fjall.new");
    let remove = || match open_lock(&unfinished)? {
        Some(lock) => match lock.try_lock() {
            // Held until the folder is removed.
            Ok(()) => fs::remove_dir_all(&unfinished).map(|()| true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        },
        None if unfinished.exists() => fs::remove_dir_all(&unfinished).map(|()| true),
        None => Ok(true),
    };
    match remove() {
        Ok(true) => Ok(unfinished),
        Ok(false) => Err(OpenError::InUse(folder.to_owned())),
        Err(error) => Err(OpenError::unavailable(folder, error)),
    }
}

/// The file that a process locks when it opens a database.
pub(super) fn open_lock(database: &Path) -> io::Result<Option<File>> {
    match File::open(database.join("lock")) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Renames a part of `folder` durably.
pub(super) fn rename(folder: &Path, from: &Path, to: &Path) -> Result<(), OpenError> {
    let renamed = fs::rename(from, to).and_then(|()| File::open(folder)?.sync_all());
    renamed.map_err(|error| OpenError::unavailable(folder, error))
}

/// What the marker of the store in `folder` says; `None` if its creation never finished.
pub(super) fn recorded(folder: &Path) -> Result<Option<Recorded>, OpenError> {
    let marker = match fs::read_to_string(folder.join(MARKER)) {
        Ok(marker) => marker,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(OpenError::damaged(folder, format!("{MARKER} is not text")));
        }
        Err(error) => return Err(OpenError::unavailable(folder, error)),
    };
    let unknown = || {
        let first = marker.lines().next().unwrap_or_default();
        OpenError::damaged(folder, format!("{MARKER} contains {first:?}, expected {FORMAT:?}"))
    };
    parse(&marker).map(Some).ok_or_else(unknown)
}

fn parse(marker: &str) -> Option<Recorded> {
    let mut lines = marker.strip_suffix('\n')?.split('\n');
    let format = lines.next()?;
    let partitions = lines.next()?.strip_prefix("partitions ")?.parse().ok()?;
    let secret = match format {
        FORMAT => Some(u64::from_str_radix(lines.next()?.strip_prefix("secret ")?, 16).ok()?),
        FORMAT_WITHOUT_CHAIN => None,
        _ => return None,
    };
    lines.next().is_none().then_some(Recorded { partitions, secret })
}

/// Marks the store in `folder` as completely created, with a chain.
pub(super) fn record(folder: &Path, partitions: u16, secret: u64) -> Result<(), OpenError> {
    let unfinished = folder.join("pabal-store.new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&unfinished)?;
        write!(file, "{FORMAT}\npartitions {partitions}\nsecret {secret:016x}\n")?;
        file.sync_all()
    };
    write().map_err(|error| OpenError::unavailable(folder, error))?;
    rename(folder, &unfinished, &folder.join(MARKER))
}

/// Refuses a database that lost files whose absence fjall treats as "not created yet": fjall would
/// open without them, delete what they describe, and history would be lost silently.
pub(super) fn check_complete(folder: &Path) -> Result<(), OpenError> {
    let database = database_path(folder);
    let lost = |path: &Path| {
        let name = path.strip_prefix(folder).unwrap_or(path);
        OpenError::damaged(folder, format!("{} is gone", name.display()))
    };
    let must_exist = |path: &Path| match path.try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(lost(path)),
        Err(error) => Err(OpenError::unavailable(folder, error)),
    };
    must_exist(&database.join("version"))?;
    let journals = names_in(folder, &database)?;
    if !journals.iter().any(|name| name.ends_with(".jnl")) {
        return Err(lost(&database.join("*.jnl")));
    }
    let keyspaces = database.join("keyspaces");
    must_exist(&keyspaces)?;
    for name in names_in(folder, &keyspaces)? {
        if name.parse::<u64>().is_err() {
            let unexpected = format!("fjall/keyspaces/{name} is not a keyspace");
            return Err(OpenError::damaged(folder, unexpected));
        }
        must_exist(&keyspaces.join(name).join("current"))?;
    }
    Ok(())
}

fn names_in(folder: &Path, path: &Path) -> Result<Vec<String>, OpenError> {
    let names = fs::read_dir(path).and_then(|entries| {
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    });
    names.map_err(|error| OpenError::unavailable(folder, error))
}
