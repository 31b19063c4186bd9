//! How often somebody may do something.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use crate::protocol::{Problem, ProblemCode};

/// A limit for each key by itself: so many a while for ever, and some more at once.
#[derive(Debug)]
pub struct RateLimiter<K: Hash + Eq + Clone>(Option<DefaultKeyedRateLimiter<K>>);

impl<K: Hash + Eq + Clone> RateLimiter<K> {
    /// `count` in each `period`, and `at_once` of them after a pause; no limit if any of them is
    /// nothing.
    pub fn new(count: u32, period: Duration, at_once: u32) -> Self {
        let every = period.checked_div(count).and_then(Quota::with_period);
        let quota = every.zip(NonZeroU32::new(at_once));
        Self(quota.map(|(quota, at_once)| governor::RateLimiter::keyed(quota.allow_burst(at_once))))
    }

    /// No limit.
    pub fn unlimited() -> Self {
        Self(None)
    }

    /// One more for `key`.
    ///
    /// # Errors
    /// `rate_limited` with `detail` and the time to wait; it did not count.
    pub fn check(&self, key: &K, detail: &str) -> Result<(), Problem> {
        let Some(limiter) = &self.0 else {
            return Ok(());
        };
        limiter.check_key(key).map_err(|busy| {
            let wait = busy.wait_time_from(DefaultClock::default().now());
            Problem::new(ProblemCode::RateLimited, detail)
                .retry_after(wait.max(Duration::from_millis(1)))
        })
    }

    /// Forgets whoever has been quiet, so that what is counted does not grow for ever.
    pub fn tidy(&self) {
        if let Some(limiter) = &self.0 {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_limited_by_itself_and_told_when_to_come_back() {
        let rate = RateLimiter::new(1, Duration::from_secs(60), 3);
        assert!((0..3).all(|_| rate.check(&"a", "too many").is_ok()));
        let refused = rate.check(&"a", "too many").unwrap_err();
        assert_eq!((refused.code, refused.detail.as_str()), (ProblemCode::RateLimited, "too many"));
        let wait = refused.retry_after.unwrap();
        assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
        assert!(rate.check(&"b", "too many").is_ok());
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        for rate in [RateLimiter::unlimited(), RateLimiter::new(0, Duration::from_secs(1), 10)] {
            assert!((0..1_000).all(|_| rate.check(&1, "too many").is_ok()));
        }
    }
}
