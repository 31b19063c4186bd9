//! Notices that the wall clock is wrong. While a node runs, the wall clock is compared with the time
//! since the machine started, which nothing can set and which includes the time that the machine was
//! suspended (`CLOCK_BOOTTIME`). At the start it is compared with what is stored. A message id has the
//! time of the wall clock in it and can never be taken back: an id of the year 2090 would make all
//! later ids of its partition later still.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use pabal_core::model::Timestamp;
use pabal_core::ports::Clock;
use rustix::time::{ClockId, clock_gettime};

use super::send_gate::{Cause, SendGate};

/// How far the clock may be ahead of everything that is stored when a node starts. A machine may have
/// been off for months.
const MAX_AHEAD_AT_START: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Corrections below a second are not followed.
const FOLLOW_MICROS: i64 = 1_000_000;

/// How often the time is written to the data folder.
pub(crate) const MARK_EVERY: Duration = Duration::from_secs(60);

/// Compares the wall clock with the time since the machine started. Clones share the state.
#[derive(Clone)]
pub struct ClockGuard(Arc<State>);

struct State {
    wall: Arc<dyn Clock>,
    uptime: fn() -> Duration,
    /// Wall-clock time minus uptime, in microseconds, when both last agreed.
    offset: AtomicI64,
    max_jump: i64,
    gate: SendGate,
}

impl std::fmt::Debug for ClockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClockGuard").field("offset", &self.0.offset).finish_non_exhaustive()
    }
}

impl ClockGuard {
    /// Closes `gate` when the wall clock jumps by more than `max_jump`.
    pub(crate) fn new(wall: Arc<dyn Clock>, max_jump: Duration, gate: SendGate) -> Self {
        Self::with_uptime(wall, since_boot, max_jump, gate)
    }

    fn with_uptime(
        wall: Arc<dyn Clock>,
        uptime: fn() -> Duration,
        max_jump: Duration,
        gate: SendGate,
    ) -> Self {
        let (offset, max_jump) = (AtomicI64::new(0), micros(max_jump));
        let guard = Self(Arc::new(State { wall, uptime, offset, max_jump, gate }));
        guard.0.offset.store(guard.offset(), Ordering::Relaxed);
        guard
    }

    /// Wall-clock time minus uptime.
    fn offset(&self) -> i64 {
        let wall = i64::try_from(self.0.wall.now().as_micros()).unwrap_or(i64::MAX);
        wall - micros((self.0.uptime)())
    }

    /// Looks at both clocks, and closes or opens the gate. Never blocks for long.
    pub(crate) fn check(&self) {
        let (offset, agreed) = (self.offset(), self.0.offset.load(Ordering::Relaxed));
        let jump = offset.saturating_sub(agreed);
        if jump.saturating_abs() <= self.0.max_jump {
            // Small corrections are followed, so that they do not add up. Most checks write nothing:
            // every send makes one.
            if jump.saturating_abs() > FOLLOW_MICROS {
                self.0.offset.store(offset, Ordering::Relaxed);
            }
            self.0.gate.set(Cause::Clock, Ok(()));
        } else if self.0.gate.closed_by(Cause::Clock).is_none() {
            let direction = if jump > 0 { "forward" } else { "back" };
            let reason = format!(
                "the clock jumped {direction} by {} s to {}; set it right, or accept it with `pabal \
                 clock accept`",
                jump.unsigned_abs() / 1_000_000,
                self.0.wall.now(),
            );
            self.0.gate.set(Cause::Clock, Err(reason));
        }
    }

    /// Accepts the wall clock as it is.
    pub(crate) fn accept(&self) {
        self.0.offset.store(self.offset(), Ordering::Relaxed);
        tracing::warn!(now = %self.0.wall.now(), "an operator has accepted the clock");
        self.0.gate.set(Cause::Clock, Ok(()));
    }

    /// The wall-clock time, unless it has jumped.
    pub(crate) fn trusted_now(&self) -> Option<Timestamp> {
        self.check();
        self.0.gate.closed_by(Cause::Clock).is_none().then(|| self.0.wall.now())
    }
}

/// The time since the machine started, suspended time included.
fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// The file that has the time of the last minute in which a node ran.
fn mark_in(folder: &Path) -> PathBuf {
    folder.join("clock")
}

/// Writes `now` to the data folder, as the time that is known to be right.
///
/// # Errors
/// Those of the operating system.
pub fn write_clock_mark(folder: &Path, now: Timestamp) -> io::Result<()> {
    let unfinished = folder.join("clock.new");
    fs::write(&unfinished, format!("{}\n", now.as_micros()))?;
    fs::rename(unfinished, mark_in(folder))
}

/// The newest moment at which something was written in the data folder: the mark of the last minute,
/// and the directory and history as the file system says. Absent in a new folder.
pub(crate) fn last_written(folder: &Path) -> Option<Timestamp> {
    let mark = fs::read_to_string(mark_in(folder)).ok();
    let mark = mark.and_then(|text| text.trim().parse().ok()).map(Timestamp::from_micros);
    let files = ["directory.sqlite", "directory.sqlite-wal", "directory.mark", "history/mark"];
    let changed = files.iter().filter_map(|name| {
        let changed = folder.join(name).metadata().ok()?.modified().ok()?;
        let since_epoch = changed.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Timestamp::default().plus(since_epoch))
    });
    changed.chain(mark).max()
}

/// How far `now` is ahead of `newest`, the newest moment that is stored, if that is too far to start.
pub(crate) fn too_far_ahead(now: Timestamp, newest: Option<Timestamp>) -> Option<Duration> {
    let ahead = now.since(newest?);
    (ahead > MAX_AHEAD_AT_START).then_some(ahead)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use pabal_core::memory::ManualClock;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    /// The uptime of the tests, in seconds. Each test uses its own thread-independent start.
    static UPTIME: AtomicU64 = AtomicU64::new(1_000);

    fn guard() -> (Arc<ManualClock>, ClockGuard, SendGate) {
        let (clock, gate) = (Arc::new(ManualClock::at(NOW)), SendGate::default());
        let uptime = || Duration::from_secs(UPTIME.load(Ordering::SeqCst));
        let guard = ClockGuard::with_uptime(clock.clone(), uptime, DAY, gate.clone());
        (clock, guard, gate)
    }

    #[test]
    fn a_jump_closes_the_gate_until_the_clock_is_back_or_accepted() {
        let (clock, guard, gate) = guard();
        let closed = || {
            guard.check();
            gate.closed_by(Cause::Clock)
        };
        assert_eq!(closed(), None);
        // Steps of up to a day are followed, in either direction.
        for _ in 0..5 {
            clock.advance(DAY);
            assert_eq!(closed(), None);
        }
        clock.step_back(DAY);
        assert_eq!(closed(), None);
        clock.advance(DAY * 365);
        assert!(closed().is_some_and(|reason| reason.contains("forward")));
        assert_eq!(guard.trusted_now(), None);
        clock.step_back(DAY * 365);
        assert_eq!(closed(), None);
        clock.step_back(DAY * 2);
        assert!(closed().is_some_and(|reason| reason.contains("back")));
        guard.accept();
        assert_eq!(closed(), None);
        assert_eq!(guard.trusted_now(), Some(clock.now()));
    }

    #[test]
    fn a_suspended_laptop_goes_on() {
        // Both clocks go on while it is suspended.
        static SUSPENDED: AtomicU64 = AtomicU64::new(0);
        let (clock, gate) = (Arc::new(ManualClock::at(NOW)), SendGate::default());
        let uptime = || Duration::from_secs(SUSPENDED.load(Ordering::SeqCst));
        let guard = ClockGuard::with_uptime(clock.clone(), uptime, DAY, gate.clone());
        let month = DAY * 30;
        clock.advance(month);
        SUSPENDED.store(month.as_secs(), Ordering::SeqCst);
        guard.check();
        assert_eq!(gate.closed_by(Cause::Clock), None);
        let folder = tempfile::tempdir().expect("a folder");
        write_clock_mark(folder.path(), NOW).expect("written");
        assert_eq!(too_far_ahead(clock.now(), last_written(folder.path())), None);
    }

    #[test]
    fn a_quiet_week_and_a_month_switched_off_start_and_two_years_do_not() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(last_written(folder.path()), None);
        assert_eq!(too_far_ahead(NOW, None), None, "a new folder");
        write_clock_mark(folder.path(), NOW).expect("written");
        let newest = last_written(folder.path());
        assert_eq!(newest, Some(NOW));
        for span in [DAY * 7, DAY * 30, DAY * 366] {
            assert_eq!(too_far_ahead(NOW.plus(span), newest), None, "{span:?}");
        }
        assert_eq!(too_far_ahead(NOW.plus(DAY * 730), newest), Some(DAY * 730));
        // A clock that is behind is no reason: ids go on from the newest one.
        assert_eq!(too_far_ahead(Timestamp::default(), newest), None);
    }

    #[test]
    fn the_clock_of_the_machine_goes_on_since_it_started() {
        let before = since_boot();
        assert!(before > Duration::ZERO && since_boot() >= before);
    }
}
