//! Exponential backoff: how long a caller waits before the next attempt. Every retry in the server
//! uses this type. It owns no clock, no randomness and no limit on attempts: the caller sleeps and
//! decides when to stop.

use std::time::Duration;

/// Waits that double after each failure in a row, from `first` up to `longest`.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use pabal_core::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
/// assert_eq!(backoff.next_wait(), Duration::from_millis(100));
/// assert_eq!(backoff.next_wait(), Duration::from_millis(200));
/// backoff.reset();
/// assert_eq!(backoff.next_wait(), Duration::from_millis(100));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// A backoff before its first failure.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Counts a failure and returns the wait before the next attempt.
    #[must_use]
    pub fn next_wait(&mut self) -> Duration {
        let doublings = self.failures.min(31);
        self.failures = self.failures.saturating_add(1);
        let wait = self.first.saturating_mul(1 << doublings).min(self.longest);
        debug_assert!(wait <= self.longest, "a wait is bounded");
        wait
    }

    /// [`next_wait`](Self::next_wait) with jitter, so that callers which failed together do not retry
    /// together ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015). `random` is between
    /// 0 and 1 and covers half of the wait: jitter down to zero would repeat some attempts at once.
    /// The result is at least `requested`, if the other side asked for a time, and at most the
    /// longest wait.
    #[must_use]
    pub fn next_jittered(&mut self, random: f64, requested: Option<Duration>) -> Duration {
        let jittered = self.next_wait().mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        jittered.max(requested.unwrap_or_default()).min(self.longest)
    }

    /// The failures in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Starts again at the first wait, after a success.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTES_5: Duration = Duration::from_secs(300);

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_secs(1), MINUTES_5)
    }

    #[test]
    fn waits_double_up_to_the_longest_and_start_again_after_a_reset() {
        let mut backoff = backoff();
        let waits: Vec<_> = (0..40).map(|_| backoff.next_wait().as_secs()).collect();
        assert_eq!(waits[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert!(waits[10..].iter().all(|wait| *wait == 300));
        assert_eq!(backoff.failures(), 40);
        backoff.reset();
        assert_eq!(backoff.next_wait(), Duration::from_secs(1));
    }

    #[test]
    fn jitter_covers_the_upper_half_of_a_wait() {
        let [mut least, mut most] = [backoff(), backoff()];
        for _ in 0..20 {
            let (low, high) = (least.next_jittered(0.0, None), most.next_jittered(1.0, None));
            assert_eq!(low * 2, high);
        }
    }

    #[test]
    fn a_requested_wait_is_kept_up_to_the_longest() {
        let minute = Duration::from_secs(60);
        assert_eq!(backoff().next_jittered(0.5, Some(minute)), minute);
        assert_eq!(backoff().next_jittered(0.5, Some(minute * 600)), MINUTES_5);
    }
}
