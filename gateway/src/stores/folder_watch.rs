//! Watches the data folder of a running node: whether its files are still the ones that were opened,
//! and whether enough space is left. Closes the gates of sends and changes, and opens them again.

use std::path::PathBuf;
use std::time::Duration;

use pabal_core::memory::SystemClock;
use pabal_core::ports::Clock;
use pabal_storage::disk::{OpenFiles, WriteGate};
use rustix::fs::statvfs;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::clock_guard::{ClockGuard, MARK_EVERY, write_clock_mark};
use super::send_gate::{Cause, SendGate};

/// How often the folder is looked at. Sends are refused within a second after it is gone.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The watch of a data folder.
#[derive(Debug)]
pub(crate) struct FolderWatch {
    pub(crate) folder: PathBuf,
    pub(crate) files: OpenFiles,
    /// Below this many free bytes no send is accepted.
    pub(crate) reserve_bytes: u64,
    pub(crate) sends: SendGate,
    /// The gate of a directory in the folder.
    pub(crate) changes: WriteGate,
    pub(crate) clock: ClockGuard,
}

impl FolderWatch {
    /// Watches until the future is dropped.
    pub(crate) async fn run(mut self) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut marked: Option<Instant> = None;
        loop {
            looks.tick().await;
            let mark = marked.is_none_or(|at| at.elapsed() >= MARK_EVERY);
            // The file system may block.
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                if mark {
                    self.mark_time();
                }
                self
            });
            match looked.await {
                Ok(watch) => self = watch,
                Err(error) => {
                    tracing::error!(%error, "the watch of the data folder has ended");
                    return;
                }
            }
            if mark {
                marked = Some(Instant::now());
            }
        }
    }

    fn look(&mut self) {
        let files = self.files.check();
        match &files {
            Ok(()) => self.changes.open(),
            Err(reason) => self.changes.close(reason),
        }
        let gone = files.is_err();
        self.sends.set(Cause::Folder, files);
        if !gone {
            self.sends.set(Cause::Space, self.space());
        }
        self.clock.check();
    }

    fn space(&self) -> Result<(), String> {
        let folder = self.folder.display();
        match statvfs(&self.folder) {
            Ok(found) => {
                let free = found.f_bavail.saturating_mul(found.f_frsize);
                let reserve = self.reserve_bytes;
                if free >= reserve {
                    return Ok(());
                }
                Err(format!(
                    "{folder} has {free} bytes free, less than storage.reserve_bytes = {reserve}"
                ))
            }
            Err(error) => Err(format!("the free space of {folder} is unknown: {error}")),
        }
    }

    /// Writes the time, for the next start.
    fn mark_time(&self) {
        // The guard has looked at the clock; a time that jumped is not written.
        if self.clock.trusted_now().is_some()
            && let Err(error) = write_clock_mark(&self.folder, SystemClock.now())
        {
            tracing::warn!(%error, "the time cannot be written to the data folder");
        }
    }
}
