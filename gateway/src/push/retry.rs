//! How long to wait before the next try.

use std::time::Duration;

/// Exponential back-off with jitter, after "Exponential Backoff And Jitter" (AWS Architecture
/// Blog, 2015): after a failure of the third party, all notifications do not come back at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    /// The longest wait before the second try.
    pub(super) first: Duration,
    /// The longest wait before any try.
    pub(super) longest: Duration,
}

impl Backoff {
    /// The wait after `failures` tries; at least `asked`, if the third party named a time, but
    /// never more than the longest.
    pub(super) fn wait(&self, failures: u32, asked: Option<Duration>) -> Duration {
        let ceiling = self.ceiling(failures);
        // Half of it for certain: with full jitter down to zero some tries would come at once.
        let jittered = ceiling.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        jittered.max(asked.unwrap_or_default()).min(self.longest)
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
    fn the_third_party_may_ask_for_more_but_not_for_ever() {
        let minute = Duration::from_secs(60);
        assert_eq!(BACKOFF.wait(1, Some(minute)), minute);
        assert_eq!(BACKOFF.wait(1, Some(minute * 600)), BACKOFF.longest);
    }
}
