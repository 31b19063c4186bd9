//! How often passwords may be tried: so often from an address, and so often for a username from
//! wherever. The first keeps one client from taking all cores, the second slows guessing down.

use std::net::IpAddr;
use std::time::Duration;

use pabal_core::engine::RateLimiter;
use pabal_core::protocol::Problem;
use pabal_transports::network;

use crate::config;

/// An address may do this many seconds' worth at once, as an office behind one address does at nine.
const BURST_SECONDS: u32 = 30;

/// Counts sign-ups and log-ins.
#[derive(Debug)]
pub struct Attempts {
    by_address: RateLimiter<IpAddr>,
    by_username: RateLimiter<String>,
}

impl Attempts {
    /// Limits as configured; none if rate limits are off.
    pub fn new(limits: &config::Limits, auth: &config::Auth) -> Self {
        if !limits.rate_limits {
            return Self {
                by_address: RateLimiter::unlimited(),
                by_username: RateLimiter::unlimited(),
            };
        }
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let per_second = auth.attempts_per_address_per_second;
        let per_minute = auth.attempts_per_username_per_minute;
        Self {
            by_address: RateLimiter::new(
                per_second,
                second,
                per_second.saturating_mul(BURST_SECONDS),
            ),
            by_username: RateLimiter::new(per_minute, minute, per_minute),
        }
    }

    /// One more from `address`.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait.
    pub fn from_address(&self, address: IpAddr) -> Result<(), Problem> {
        self.by_address.check(&network(address), "too many attempts from this address")
    }

    /// One more for `username`.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait.
    pub fn for_username(&self, username: &str) -> Result<(), Problem> {
        self.by_username.check(&username.to_owned(), "too many attempts for this username")
    }

    /// Forgets whoever has been quiet, so that what is counted does not grow for ever.
    pub fn tidy(&self) {
        self.by_address.tidy();
        self.by_username.tidy();
    }
}

#[cfg(test)]
mod tests {
    use pabal_core::protocol::ProblemCode;

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
