//! Checks the folder of a closed store without changing it. What fjall changes when it opens a
//! store (truncated journals, merged tables) happens in a scratch folder, which has copies of the
//! small files and links to the tables.

use std::fs::{self, File, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use pabal_core::memory::SystemClock;
use pabal_core::ports::Clock;

use super::config::EmbeddedConfig;
use super::database::{Database, read_mark};
use super::error::OpenError;
use super::findings::{Findings, StoreReport};
use super::folder::{self, Recorded};
use super::look::{self, Damage, LookError};
use super::{mirror, verify_history, verify_push};

/// Reads every row of the store in `folder`, using the empty folder `scratch`. No process can open
/// the store meanwhile. Blocks on the disk while it reads all data.
///
/// # Errors
/// [`OpenError::InUse`], retry; [`OpenError::Unavailable`] if the file system fails. Damage is not
/// an error: it is in the report.
pub fn verify(folder: &Path, scratch: &Path) -> Result<StoreReport, OpenError> {
    let mut report = StoreReport::default();
    let _held = hold(folder)?;
    let recorded = match check_files(folder) {
        Ok(recorded) => recorded,
        Err(OpenError::Damaged { reason, .. }) => {
            report.findings.wrong(format!("history: {reason}"));
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    report.partitions = recorded.partitions;
    match prepare_copy(folder, scratch, recorded, &mut report.findings) {
        Ok(true) => {}
        Ok(false) => return Ok(report),
        Err(OpenError::Damaged { reason, .. }) => {
            report.findings.wrong(format!("history: {reason}"));
            return Ok(report);
        }
        Err(error) => return Err(error),
    }
    let config = EmbeddedConfig { partitions: recorded.partitions, ..EmbeddedConfig::default() };
    // fjall has assertions that fail on some damaged files.
    let read = catch_unwind(AssertUnwindSafe(|| {
        let database = Database::open(scratch, &config)?;
        verify_history::verify(&database, SystemClock.now(), &mut report);
        verify_push::verify(&database, &mut report);
        Ok(())
    }));
    match read {
        Ok(Ok(())) => {}
        Ok(Err(OpenError::Damaged { reason, .. })) => {
            report.findings.wrong(format!("history: it does not open: {reason}"));
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

/// What the marker says, if the store was created completely and has all required files.
fn check_files(folder: &Path) -> Result<Recorded, OpenError> {
    let recorded = folder::recorded(folder)?;
    let recorded =
        recorded.ok_or_else(|| OpenError::damaged(folder, "there is no pabal-store in it"))?;
    folder::check_complete(folder)?;
    Ok(recorded)
}

/// Looks at the journals and the mark, and copies the store to `scratch`, without a torn write.
/// False if it is damaged.
fn prepare_copy(
    folder: &Path,
    scratch: &Path,
    recorded: Recorded,
    findings: &mut Findings,
) -> Result<bool, OpenError> {
    let database = folder::database_path(folder);
    let unavailable = |error| OpenError::unavailable(folder, error);
    let marked = read_mark(folder, recorded.secret)?;
    let look = look::look(&database, recorded.secret.unwrap_or_default(), marked.counter);
    let torn = match look {
        Ok(look) => look.torn,
        Err(LookError::Io(error)) => return Err(unavailable(error)),
        Err(LookError::Damaged(damage)) => {
            let Damage { file, at, what } = &damage;
            findings.wrong(format!("history: {} at byte {at}: {what}", file.display()));
            return Ok(false);
        }
    };
    if let Some(torn) = &torn {
        let (name, at) = (torn.journal.display(), torn.at);
        findings.note(format!(
            "history: {name} ends in the middle of a write, at byte {at}, as after a crash: {}",
            match recorded.secret {
                Some(_) => "its requests were not acknowledged, or in the last 100 ms",
                None => "an older release wrote it, so nothing says whether it was acknowledged",
            }
        ));
    }
    let copied = fs::copy(folder.join("pabal-store"), scratch.join("pabal-store"))
        .and_then(|_| match recorded.secret {
            Some(_) => fs::copy(folder::mark_path(folder), folder::mark_path(scratch)).map(drop),
            None => Ok(()),
        })
        .and_then(|()| fs::create_dir(folder::database_path(scratch)))
        .and_then(|()| mirror::database(&database, &folder::database_path(scratch), torn.as_ref()));
    copied.map_err(unavailable)?;
    Ok(true)
}
