//! Checks the folder of a closed store without changing it. What fjall changes when it opens a
//! store (truncated journals, merged tables) happens in a scratch folder, which has copies of the
//! small files and links to the tables.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::config::EmbeddedConfig;
use super::database::Database;
use super::error::OpenError;
use super::findings::{Findings, StoreReport};
use super::journal::{self, JournalEnd};
use super::{folder, verify_history, verify_push};

/// Reads every row of the store in `folder`, using the empty folder `scratch`. No process can open
/// the store meanwhile. Blocks on the disk while it reads all data.
///
/// # Errors
/// [`OpenError::InUse`], retry; [`OpenError::Unavailable`] if the file system fails. Damage is not
/// an error: it is in the report.
pub fn verify(folder: &Path, scratch: &Path) -> Result<StoreReport, OpenError> {
    let mut report = StoreReport::default();
    let _held = hold(folder)?;
    let partitions = match check_files(folder) {
        Ok(partitions) => partitions,
        Err(OpenError::Damaged { reason, .. }) => {
            report.findings.wrong(format!("history: {reason}"));
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    report.partitions = partitions;
    let unavailable = |error| OpenError::unavailable(folder, error);
    inspect_journals(&folder::database_path(folder), &mut report.findings).map_err(unavailable)?;
    mirror(folder, scratch).map_err(unavailable)?;
    let config = EmbeddedConfig { partitions, ..EmbeddedConfig::default() };
    // fjall has assertions that fail on some damaged files.
    let read = catch_unwind(AssertUnwindSafe(|| {
        let database = Database::open(scratch, &config)?;
        verify_history::verify(&database, &mut report);
        verify_push::verify(&database, &mut report);
        Ok(())
    }));
    match read {
        Ok(Ok(())) => {}
        Ok(Err(OpenError::Damaged { reason, .. })) => {
            let findings = &mut report.findings;
            findings.wrong(format!("history: it does not open: {reason}"));
            if reason.contains("JournalRecovery") {
                findings.note(
                    "history: a batch of the journal has a wrong checksum. If power was lost \
                     during the write, no request in it was acknowledged; otherwise it is bit rot",
                );
            }
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => report.findings.wrong("history: its files were changed after they were written"),
    }
    Ok(report)
}

/// Prevents every process from opening the store until dropped.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "its lock is what counts")] Option<File>);

/// Prevents every process from opening the store in `folder`. Changes nothing.
///
/// # Errors
/// [`OpenError::InUse`], retry; [`OpenError::Unavailable`] if the file system fails.
pub fn hold(folder: &Path) -> Result<Held, OpenError> {
    let lock = match folder::open_lock(&folder::database_path(folder)) {
        Ok(Some(lock)) => lock,
        // Without a lock file no process has the store open; other checks report the missing file.
        Ok(None) => return Ok(Held(None)),
        Err(error) => return Err(OpenError::unavailable(folder, error)),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(Held(Some(lock))),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::unavailable(folder, error)),
    }
}

/// The number of partitions, if the store was created completely and has all required files.
fn check_files(folder: &Path) -> Result<u16, OpenError> {
    let recorded = folder::recorded_partitions(folder)?;
    let partitions =
        recorded.ok_or_else(|| OpenError::damaged(folder, "there is no pabal-store in it"))?;
    folder::check_complete(folder)?;
    Ok(partitions)
}

fn inspect_journals(database: &Path, findings: &mut Findings) -> io::Result<()> {
    for entry in fs::read_dir(database)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "jnl") {
            continue;
        }
        let name = path.file_name().unwrap_or_default().display().to_string();
        match journal::inspect(&fs::read(&path)?) {
            JournalEnd::Clean => {}
            JournalEnd::Torn { at } => findings.note(format!(
                "history: journal {name} ends in the middle of a batch, at byte {at}, as after a \
                 crash: its requests were not acknowledged"
            )),
            JournalEnd::Broken { at } => findings.wrong(format!(
                "history: journal {name} is invalid after byte {at}, but whole batches follow, \
                 which would be lost"
            )),
        }
    }
    Ok(())
}

/// Copies `folder` to `scratch`, with links to the tables.
fn mirror(folder: &Path, scratch: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (from, to) = (entry.path(), scratch.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            fs::create_dir(&to)?;
            mirror(&from, &to)?;
        } else if folder.ends_with("tables") {
            // A table is never changed once it is written.
            symlink(fs::canonicalize(&from)?, &to)?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}
