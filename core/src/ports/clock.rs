//! The only source of wall-clock time in the engine.

use crate::model::Timestamp;

/// Returns the time of day.
///
/// The time may stop, jump forward and go back, so no value that must only rise depends on it alone.
/// Waits and deadlines use tokio's monotonic timer instead.
///
/// ```
/// use std::time::Duration;
///
/// use pabal_core::memory::ManualClock;
/// use pabal_core::model::Timestamp;
/// use pabal_core::ports::Clock;
///
/// let clock = ManualClock::at(Timestamp::from_millis(5_000));
/// clock.step_back(Duration::from_secs(1));
/// assert_eq!(clock.now(), Timestamp::from_millis(4_000));
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The time now, to the microsecond. Never blocks.
    fn now(&self) -> Timestamp;
}
