//! How far the changes of a directory were acknowledged: a counter in the header of the file
//! (`user_version`), raised by every change in its own transaction, and a mark in a file of its own
//! ([`crate::mark`]). A file whose counter is behind its mark has lost changes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::wal::{self, WalDamage, WalLook};
use crate::directory::error::OpenError;
use crate::mark::{self, Marker, Payload};

/// How often a damaged log is read again: another process may be writing it.
const LOOKS: u32 = 3;
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Notes acknowledged changes. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Changes(Arc<Marker>);

impl Changes {
    /// Keeps the mark of the directory at `path`, and creates it if there is none.
    pub(super) fn start(path: &Path, change: u32) -> Result<Self, OpenError> {
        let mark = mark_of(path);
        let unavailable = |error| OpenError::system(&mark, &error);
        if !mark.try_exists().map_err(unavailable)? {
            mark::create(&mark, &encode(change)).map_err(unavailable)?;
        }
        let marker = Marker::start(mark.clone()).map_err(unavailable)?;
        marker.note(encode(change));
        Ok(Self(Arc::new(marker)))
    }

    /// The change with this number is durable.
    pub(in crate::directory) fn note(&self, change: u32) {
        self.0.note(encode(change));
    }
}

/// The mark of the directory at `path`.
pub(super) fn mark_of(path: &Path) -> PathBuf {
    path.with_extension("mark")
}

/// Writes the mark of a closed copy, with the change that it reaches to.
pub(super) fn mark_copy(path: &Path) -> io::Result<()> {
    if let Some(Ok(WalLook { change, .. })) = wal::look(path)? {
        mark::create(&mark_of(path), &encode(change))?;
    }
    Ok(())
}

fn encode(change: u32) -> Payload {
    let mut payload = [0; 64];
    payload[..4].copy_from_slice(&change.to_be_bytes());
    payload
}

pub(super) fn decode(payload: &Payload) -> u32 {
    payload[..4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// What the look at a directory found before it is opened.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Where its log is torn, after everything that was acknowledged.
    pub(super) torn_at: Option<u64>,
    /// Why nothing says how far its changes were acknowledged.
    pub(super) no_mark: Option<String>,
}

/// Looks at the directory at `path`, whose mark is that of `original`. Changes nothing.
///
/// # Errors
/// [`OpenError::Damaged`] if acknowledged changes are missing or cannot be read.
pub(super) fn look(path: &Path, original: &Path) -> Result<Look, OpenError> {
    let mut looks = 1;
    loop {
        match look_once(path, original) {
            Err(OpenError::Damaged { .. }) if looks < LOOKS => {
                looks += 1;
                std::thread::sleep(LOOK_AGAIN);
            }
            looked => return looked,
        }
    }
}

fn look_once(path: &Path, original: &Path) -> Result<Look, OpenError> {
    let mark = mark_of(original);
    // Read before the log, so that it is not ahead of it.
    let marked = mark::read(&mark);
    let unavailable = |error| OpenError::system(original, &error);
    let damaged = |detail| OpenError::Damaged { path: original.to_owned(), detail };
    let found = match wal::look(path).map_err(unavailable)? {
        Some(Ok(found)) => found,
        Some(Err(WalDamage { at, later })) => {
            let log = wal::log_of(original);
            return Err(damaged(format!(
                "{} cannot be read at byte {at}, but {later} whole pages of later changes follow; \
                 {WHAT_TO_DO}",
                log.display()
            )));
        }
        None => match marked {
            Ok(None) => return Ok(Look::default()),
            _ => return Err(damaged(format!("it is gone, but its mark is there; {WHAT_TO_DO}"))),
        },
    };
    let no_mark = match marked {
        Ok(Some(payload)) => {
            let marked = decode(&payload);
            // The counter wraps around.
            let lost = marked.wrapping_sub(found.change).cast_signed();
            if lost > 0 {
                return Err(damaged(format!(
                    "its last change is number {}, but change {marked} was acknowledged: {lost} \
                     changes are missing from {}; {WHAT_TO_DO}",
                    found.change,
                    wal::log_of(original).display(),
                )));
            }
            None
        }
        Ok(None) => Some(format!("{} does not exist", mark.display())),
        Err(error) => Some(format!("{} is damaged: {error}", mark.display())),
    };
    Ok(Look { torn_at: found.torn_at, no_mark })
}

/// What an operator can do about damage.
pub(super) const WHAT_TO_DO: &str = "nothing was changed. Restore a backup with `pabal restore`, or \
    continue with what is left with `pabal repair --keep DIR`";
