//! How often passwords may be tried: so often from an address, and so often for a username from
//! wherever. The first keeps one client from taking all cores, the second slows guessing down.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use pabal_core::protocol::{Problem, ProblemCode};

use crate::config;

/// An address may do this many seconds' worth at once, as an office behind one address does at nine.
const BURST_SECONDS: u32 = 30;

/// Counts sign-ups and log-ins.
#[derive(Debug)]
pub struct Attempts {
    by_address: Option<DefaultKeyedRateLimiter<IpAddr>>,
    by_username: Option<DefaultKeyedRateLimiter<String>>,
}

impl Attempts {
    /// Limits as configured; none if rate limits are off.
    pub fn new(limits: &config::Limits, auth: &config::Auth) -> Self {
        let on = |count: u32| NonZeroU32::new(count).filter(|_| limits.rate_limits);
        let by_address = on(auth.attempts_per_address_per_second).map(|per_second| {
            let burst =
                per_second.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_SECONDS - 1));
            RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst))
        });
        let by_username = on(auth.attempts_per_username_per_minute)
            .map(|per_minute| RateLimiter::keyed(Quota::per_minute(per_minute)));
        Self { by_address, by_username }
    }

    /// One more from `address`.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait.
    pub fn from_address(&self, address: IpAddr) -> Result<(), Problem> {
        check(self.by_address.as_ref(), &network(address), "from this address")
    }

    /// One more for `username`.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait.
    pub fn for_username(&self, username: &str) -> Result<(), Problem> {
        check(self.by_username.as_ref(), &username.to_owned(), "for this username")
    }

    /// Forgets whoever has been quiet, so that what is counted does not grow for ever.
    pub fn tidy(&self) {
        if let Some(limiter) = &self.by_address {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
        if let Some(limiter) = &self.by_username {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

fn check<K: std::hash::Hash + Eq + Clone>(
    limiter: Option<&DefaultKeyedRateLimiter<K>>,
    key: &K,
    what: &str,
) -> Result<(), Problem> {
    let Some(limiter) = limiter else {
        return Ok(());
    };
    limiter.check_key(key).map_err(|busy| {
        let wait = busy.wait_time_from(DefaultClock::default().now());
        Problem::new(ProblemCode::RateLimited, format!("too many attempts {what}"))
            .retry_after(wait.max(Duration::from_millis(1)))
    })
}

/// One subscriber of IPv6 usually has a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(rate_limits: bool) -> Attempts {
        let limits = config::Limits { rate_limits, ..config::Limits::default() };
        let auth = config::Auth {
            attempts_per_address_per_second: 1,
            attempts_per_username_per_minute: 3,
            ..config::Auth::default()
        };
        Attempts::new(&limits, &auth)
    }

    #[test]
    fn guessing_one_user_ends_soon_and_leaves_others_alone() {
        let attempts = attempts(true);
        assert!((0..3).all(|_| attempts.for_username("mina").is_ok()));
        let refused = attempts.for_username("mina").expect_err("too many");
        assert_eq!(refused.code, ProblemCode::RateLimited);
        assert!(refused.retry_after.is_some_and(|wait| wait <= Duration::from_secs(20)));
        assert!(attempts.for_username("jun").is_ok());
    }

    #[test]
    fn a_whole_ipv6_network_counts_as_one() {
        let attempts = attempts(true);
        let address = |last: u16| format!("2001:db8::{last:x}").parse().expect("an address");
        assert!((0..30).all(|last| attempts.from_address(address(last)).is_ok()));
        assert!(attempts.from_address(address(99)).is_err());
    }

    #[test]
    fn switched_off_nothing_is_counted() {
        let attempts = attempts(false);
        assert!((0..1_000).all(|_| attempts.for_username("mina").is_ok()));
    }
}
