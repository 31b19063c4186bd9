//! The time of day: the system's, and one that tests move by hand. Waiting and deadlines are not
//! here, they use tokio's timer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;
use crate::ports::Clock;

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock everything else asks")]
    fn now(&self) -> Timestamp {
        // A clock before 1970 is not set at all; ids and leases do not rely on it being right.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::default().plus(since_epoch)
    }
}

/// A clock that stands still until a test moves it, in either direction.
#[derive(Debug)]
pub struct ManualClock {
    micros: AtomicU64,
}

impl ManualClock {
    /// Stands at `moment`.
    pub const fn at(moment: Timestamp) -> Self {
        Self { micros: AtomicU64::new(moment.as_micros()) }
    }

    /// Jumps to `moment`, which may be earlier.
    pub fn set(&self, moment: Timestamp) {
        self.micros.store(moment.as_micros(), Ordering::SeqCst);
    }

    /// Goes forward by `span`.
    pub fn advance(&self, span: Duration) {
        self.change(|micros| micros.saturating_add(micros_of(span)));
    }

    /// Goes back by `span`, as clocks do that are corrected; no further than 1970.
    pub fn step_back(&self, span: Duration) {
        self.change(|micros| micros.saturating_sub(micros_of(span)));
    }

    fn change(&self, to: impl Fn(u64) -> u64) {
        self.micros.update(Ordering::SeqCst, Ordering::SeqCst, to);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.micros.load(Ordering::SeqCst))
    }
}

fn micros_of(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_is_past_the_year_in_which_this_was_written() {
        assert!(SystemClock.now() > Timestamp::from_millis(1_767_225_600_000), "before 2026");
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::at(Timestamp::from_millis(5_000));
        assert_eq!(clock.now(), Timestamp::from_millis(5_000));
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Timestamp::from_millis(6_000));
        clock.step_back(Duration::from_secs(4));
        assert_eq!(clock.now(), Timestamp::from_millis(2_000));
        clock.step_back(Duration::from_secs(4));
        assert_eq!(clock.now(), Timestamp::from_millis(0));
        clock.set(Timestamp::from_millis(9));
        assert_eq!(clock.now(), Timestamp::from_millis(9));
    }
}
