//! Wall clocks: the system's, and one that tests set. Waits and deadlines use tokio's timer instead.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;
use crate::ports::Clock;

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "all other code reads the time here")]
    fn now(&self) -> Timestamp {
        // A clock before 1970 is not set. Ids and leases do not depend on a correct clock.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::default().plus(since_epoch)
    }
}

/// A clock that changes only when a test sets it, in either direction.
#[derive(Debug)]
pub struct ManualClock {
    micros: AtomicU64,
}

impl ManualClock {
    /// A clock at `moment`.
    pub const fn at(moment: Timestamp) -> Self {
        Self { micros: AtomicU64::new(moment.as_micros()) }
    }

    /// Sets the clock to `moment`, which may be earlier.
    pub fn set(&self, moment: Timestamp) {
        self.micros.store(moment.as_micros(), Ordering::SeqCst);
    }

    /// Sets the clock forward by `span`.
    pub fn advance(&self, span: Duration) {
        self.change(|micros| micros.saturating_add(micros_of(span)));
    }

    /// Sets the clock back by `span`, as a correction does; not below 1970.
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
    fn the_system_clock_is_later_than_2025() {
        assert!(
            SystemClock.now() > Timestamp::from_millis(1_767_225_600_000),
            "the clock is before 2026"
        );
    }

    #[test]
    fn a_manual_clock_changes_only_when_it_is_set() {
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
