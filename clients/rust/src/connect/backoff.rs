//! How long to wait before the next attempt.

use std::time::Duration;

/// Exponential backoff with full jitter: the wait before the n-th attempt in a row (n = 0, 1, 2…) is drawn
/// evenly from zero to `first · 2ⁿ`, at most `longest`.
///
/// Where the server names a wait (`retry_after_ms`, `reconnect_after_ms`), the client waits that long plus
/// a jitter of at most `first`. A success resets n to zero.
///
/// Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. Full jitter spreads
/// many clients better than the other kinds compared there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The upper bound of the first wait; 250 ms by default. Zero makes every wait zero.
    pub first: Duration,
    /// The upper bound of every wait; 30 s by default.
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
    pub(crate) fn bound(&self, failures: u32) -> Duration {
        let factor = 1u32.checked_shl(failures).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

/// A backoff together with the number of failures in a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackoffState {
    backoff: Backoff,
    failures: u32,
}

impl BackoffState {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self { backoff, failures: 0 }
    }

    /// After a success: the next failure counts as the first.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts a failure and returns how long to wait after it. A wait that the server named is kept, with
    /// a jitter on top: the server gave many clients the same one.
    pub(crate) fn next_wait(&mut self, retry_after: Option<Duration>) -> Duration {
        let jitter = self.backoff.bound(self.failures).mul_f64(rand::random::<f64>());
        self.failures = self.failures.saturating_add(1);
        match retry_after {
            None => jitter,
            Some(named) => named.saturating_add(jitter.min(self.backoff.first)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state() -> BackoffState {
        BackoffState::new(Backoff::default())
    }

    #[test]
    fn the_bound_doubles_up_to_the_longest() {
        let bounds: Vec<_> = (0..9).map(|n| Backoff::default().bound(n).as_millis()).collect();
        assert_eq!(bounds, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!(Backoff::default().bound(u32::MAX), Duration::from_secs(30));
    }

    #[test]
    fn waits_fill_the_range_below_the_bound() {
        let waits: Vec<_> = (0..1_000).map(|_| state().next_wait(None).as_millis()).collect();
        assert!(waits.iter().all(|wait| *wait <= 250));
        let early = waits.iter().filter(|wait| **wait < 125).count();
        assert!((300..700).contains(&early), "even jitter: {early} of 1,000 in the first half");
    }

    proptest! {
        #[test]
        fn the_wait_that_the_server_named_is_kept(named_ms in 0u64..100_000, failures in 0usize..40) {
            let mut state = state();
            for _ in 0..failures {
                prop_assert!(state.next_wait(None) <= Duration::from_secs(30));
            }
            let named = Duration::from_millis(named_ms);
            let wait = state.next_wait(Some(named));
            prop_assert!(wait >= named && wait <= named + Duration::from_millis(250));
            state.reset();
            prop_assert!(state.next_wait(None) <= Duration::from_millis(250));
        }
    }
}
