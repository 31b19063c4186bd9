//! Looks through the folder of a store that nobody has open, and changes nothing in it: what fjall
//! would change when it opens (journals are cut, tables merged) is changed in a scratch folder, which
//! has copies of the small files and links to the tables.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::database::Database;
use super::findings::Findings;
use super::journal::{self, End};
use super::{EmbeddedConfig, OpenError, folder};
use crate::{history, push};

/// What a store holds, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreReport {
    /// Into how many partitions its channels are divided.
    pub partitions: u16,
    /// Messages that can be read.
    pub messages: u64,
    /// Channels that have messages.
    pub channels: u64,
    /// Sends whose repeats are known.
    pub sends: u64,
    /// Notifications that wait.
    pub notifications: u64,
    /// What was found.
    pub findings: Findings,
}

/// Reads every row of the store in `folder`, with the help of the empty folder `scratch`. Nobody can
/// open the store meanwhile. Blocks on the disk for as long as it takes to read all of it.
///
/// # Errors
/// [`OpenError::InUse`], retry; [`OpenError::Unavailable`] if the system refuses. That something is
/// wrong with the store is no error: it is in the report.
pub fn verify(folder: &Path, scratch: &Path) -> Result<StoreReport, OpenError> {
    let mut report = StoreReport::default();
    let _held = hold(folder)?;
    let partitions = match sound(folder) {
        Ok(partitions) => partitions,
        Err(OpenError::Damaged { reason, .. }) => {
            report.findings.wrong(format!("history: {reason}"));
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    report.partitions = partitions;
    let refused = |error| OpenError::unavailable(folder, error);
    look_at_journals(&folder::database_of(folder), &mut report.findings).map_err(refused)?;
    mirror(folder, scratch).map_err(refused)?;
    let config = EmbeddedConfig { partitions, ..EmbeddedConfig::default() };
    // Where files make no sense, fjall has assertions that fail.
    let read = catch_unwind(AssertUnwindSafe(|| {
        let database = Database::open(scratch, &config)?;
        history::verify(&database, &mut report);
        push::verify(&database, &mut report);
        Ok(())
    }));
    match read {
        Ok(Ok(())) => {}
        Ok(Err(OpenError::Damaged { reason, .. })) => {
            let findings = &mut report.findings;
            findings.wrong(format!("history: it does not open: {reason}"));
            if reason.contains("JournalRecovery") {
                findings.note(
                    "history: a batch of the journal does not fit its checksum. If power was lost \
                     while it was written, nobody was answered about it; else it is bit rot",
                );
            }
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => report.findings.wrong("history: what is in its files cannot be what was written"),
    }
    Ok(report)
}

/// As long as it is held, no process can open the store.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "its lock is what counts")] Option<File>);

/// Keeps every process from opening the store in `folder`, and changes nothing.
///
/// # Errors
/// [`OpenError::InUse`], retry; [`OpenError::Unavailable`] if the system refuses.
pub fn hold(folder: &Path) -> Result<Held, OpenError> {
    let lock = match folder::lock_of(&folder::database_of(folder)) {
        Ok(Some(lock)) => lock,
        // Nobody can have it open then, and what is missing is told by others.
        Ok(None) => return Ok(Held(None)),
        Err(error) => return Err(OpenError::unavailable(folder, error)),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(Held(Some(lock))),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::unavailable(folder, error)),
    }
}

/// How many partitions the store has, if it was made completely and has all files it needs.
fn sound(folder: &Path) -> Result<u16, OpenError> {
    let recorded = folder::recorded_partitions(folder)?;
    let partitions =
        recorded.ok_or_else(|| OpenError::damaged(folder, "there is no pabal-store in it"))?;
    folder::check_complete(folder)?;
    Ok(partitions)
}

fn look_at_journals(database: &Path, findings: &mut Findings) -> io::Result<()> {
    for entry in fs::read_dir(database)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "jnl") {
            continue;
        }
        let name = path.file_name().unwrap_or_default().display().to_string();
        match journal::look(&fs::read(&path)?) {
            End::Clean => {}
            End::Torn { at } => findings.note(format!(
                "history: journal {name} ends in the middle of a batch, at byte {at}, as after a \
                 crash: nobody was answered about it"
            )),
            End::Broken { at } => findings.wrong(format!(
                "history: journal {name} makes no sense behind byte {at}, but whole batches follow, \
                 which would be lost"
            )),
        }
    }
    Ok(())
}

/// Makes `scratch` look like `folder`.
fn mirror(folder: &Path, scratch: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (from, to) = (entry.path(), scratch.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            fs::create_dir(&to)?;
            mirror(&from, &to)?;
        } else if folder.ends_with("tables") {
            // Never written again once they are there.
            symlink(fs::canonicalize(&from)?, &to)?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}
