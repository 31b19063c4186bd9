//! Exponential backoff with jitter: how long to wait before the next attempt.

use std::time::Duration;

/// Waits that double from attempt to attempt, with jitter, so that callers which failed together do
/// not retry together ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    /// The longest wait before the second attempt.
    pub(crate) first: Duration,
    /// The longest wait before any attempt.
    pub(crate) longest: Duration,
}

impl Backoff {
    /// The wait after `failures` failed attempts. At least `requested`, if the other side asked for
    /// a time, and at most the longest wait.
    pub(crate) fn wait(&self, failures: u32, requested: Option<Duration>) -> Duration {
        let ceiling = self.ceiling(failures);
        // Jitter covers half of the ceiling: jitter down to zero would repeat some attempts at
        // once.
        let jittered = ceiling.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        jittered.max(requested.unwrap_or_default()).min(self.longest)
    }

    fn ceiling(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff =
        Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(300) };

    #[test]
    fn waits_double_up_to_the_longest() {
        let ceilings: Vec<_> = (1..=5).map(|n| BACKOFF.ceiling(n).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16]);
        assert_eq!(BACKOFF.ceiling(u32::MAX).as_secs(), 300);
        for failures in 1..20 {
            let (wait, ceiling) = (BACKOFF.wait(failures, None), BACKOFF.ceiling(failures));
            assert!(wait <= ceiling && wait >= ceiling / 2, "{failures}: {wait:?}");
        }
    }

    #[test]
    fn a_requested_wait_is_kept_up_to_the_longest() {
        let minute = Duration::from_secs(60);
        assert_eq!(BACKOFF.wait(1, Some(minute)), minute);
        assert_eq!(BACKOFF.wait(1, Some(minute * 600)), BACKOFF.longest);
    }
}
