//! A rate limit for each key.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use crate::protocol::{Problem, ProblemCode};

/// Limits how often something may happen, for each key by itself: a sustained rate plus a burst.
///
/// Source: the generic cell rate algorithm (ITU-T I.371), as the crate `governor` implements it. It
/// measures time by the monotonic clock, not by [`Clock`](crate::ports::Clock).
#[derive(Debug)]
pub struct RateLimiter<K: Hash + Eq + Clone>(Option<Limiter<K>>);

/// A limiter, and the most that it ever allows at once.
type Limiter<K> = (DefaultKeyedRateLimiter<K>, NonZeroU32);

impl<K: Hash + Eq + Clone> RateLimiter<K> {
    /// Allows `count` in each `period`, and a burst of `burst` after a pause. Unlimited if any of the
    /// three is zero.
    pub fn new(count: u32, period: Duration, burst: u32) -> Self {
        let every = period.checked_div(count).and_then(Quota::with_period);
        let quota = every.zip(NonZeroU32::new(burst));
        let keyed = |quota: Quota, burst| governor::RateLimiter::keyed(quota.allow_burst(burst));
        Self(quota.map(|(quota, burst)| (keyed(quota, burst), burst)))
    }

    /// A limiter that allows everything.
    pub fn unlimited() -> Self {
        Self(None)
    }

    /// Counts one more for `key`, if the limit allows it.
    ///
    /// # Errors
    /// `rate_limited`, with `detail` and the time after which to retry. Nothing was counted.
    pub fn check(&self, key: &K, detail: &str) -> Result<(), Problem> {
        self.check_many(key, 1, detail)
    }

    /// As [`check`](Self::check), for `count` more at once. A count above the burst counts as the burst.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_many(&self, key: &K, count: u32, detail: &str) -> Result<(), Problem> {
        let (Some((limiter, burst)), Some(count)) = (&self.0, NonZeroU32::new(count)) else {
            return Ok(());
        };
        let Ok(checked) = limiter.check_key_n(key, count.min(*burst)) else {
            debug_assert!(false, "a count within the burst is possible");
            return Ok(());
        };
        checked.map_err(|busy| {
            let wait = busy.wait_time_from(DefaultClock::default().now());
            Problem::new(ProblemCode::RateLimited, detail)
                .retry_after(wait.max(Duration::from_millis(1)))
        })
    }

    /// Forgets the keys whose full burst is available again, so that memory does not grow. Call it
    /// regularly.
    pub fn tidy(&self) {
        if let Some((limiter, _)) = &self.0 {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_limit_and_learns_when_to_retry() {
        let rate = RateLimiter::new(1, Duration::from_secs(60), 3);
        assert!((0..3).all(|_| rate.check(&"a", "too many").is_ok()));
        let refused = rate.check(&"a", "too many").unwrap_err();
        assert_eq!((refused.code, refused.detail.as_str()), (ProblemCode::RateLimited, "too many"));
        let wait = refused.retry_after.unwrap();
        assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
        assert!(rate.check(&"b", "too many").is_ok());
    }

    #[test]
    fn several_at_once_count_as_many_and_never_more_than_the_burst() {
        let rate = RateLimiter::new(1, Duration::from_secs(60), 5);
        assert!(rate.check_many(&1, 4, "").is_ok());
        assert!(rate.check_many(&1, 2, "").is_err());
        assert!(rate.check_many(&1, 1, "").is_ok());
        assert!(rate.check_many(&2, 1_000, "").is_ok());
        assert!(rate.check(&2, "").is_err());
    }

    #[test]
    fn an_unlimited_limiter_allows_everything() {
        for rate in [RateLimiter::unlimited(), RateLimiter::new(0, Duration::from_secs(1), 10)] {
            assert!((0..1_000).all(|_| rate.check(&1, "too many").is_ok()));
        }
    }
}
