//! How long to wait before the next try.

use std::time::Duration;

/// Exponential back-off with full jitter: before the n-th try in a row a time drawn evenly from zero
/// to `first · 2ⁿ`, at most `longest`. Full jitter spreads a crowd of clients better than any other
/// (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The upper bound of the first wait.
    pub first: Duration,
    /// The upper bound of every wait.
    pub longest: Duration,
}

impl Default for Backoff {
    /// 250 ms to 30 s.
    fn default() -> Self {
        Self { first: Duration::from_millis(250), longest: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The upper bound of the wait after `failures` failures in a row.
    fn bound(&self, failures: u32) -> Duration {
        let factor = 1u32.checked_shl(failures).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

/// Back-off at work: how often it failed in a row.
#[derive(Debug)]
pub(crate) struct Retry {
    backoff: Backoff,
    failures: u32,
}

impl Retry {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self { backoff, failures: 0 }
    }

    /// It worked: the next failure is the first again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How often it failed in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// How long to wait. Where the server named a time it is that, and a little more, so that not
    /// everybody whom it was told comes at once.
    pub(crate) fn wait(&mut self, said: Option<Duration>) -> Duration {
        let jitter = self.backoff.bound(self.failures).mul_f64(rand::random::<f64>());
        self.failures = self.failures.saturating_add(1);
        match said {
            None => jitter,
            Some(said) => said.saturating_add(jitter.min(self.backoff.first)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_longest() {
        let bounds: Vec<_> = (0..9).map(|n| Backoff::default().bound(n).as_millis()).collect();
        assert_eq!(bounds, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!(Backoff::default().bound(u32::MAX), Duration::from_secs(30));
    }

    #[test]
    fn waits_fill_the_range_below_the_bound() {
        let waits = (0..1_000).map(|_| Retry::new(Backoff::default()).wait(None).as_millis());
        let waits: Vec<_> = waits.collect();
        assert!(waits.iter().all(|wait| *wait <= 250));
        let early = waits.iter().filter(|wait| **wait < 125).count();
        assert!((300..700).contains(&early), "even jitter: {early} of 1,000 in the first half");
    }

    proptest! {
        #[test]
        fn what_the_server_said_is_kept(said_ms in 0u64..100_000, failures in 0usize..40) {
            let mut retry = Retry::new(Backoff::default());
            for _ in 0..failures {
                prop_assert!(retry.wait(None) <= Duration::from_secs(30));
            }
            let said = Duration::from_millis(said_ms);
            let wait = retry.wait(Some(said));
            prop_assert!(wait >= said && wait <= said + Duration::from_millis(250));
            retry.reset();
            prop_assert!(retry.wait(None) <= Duration::from_millis(250));
        }
    }
}
