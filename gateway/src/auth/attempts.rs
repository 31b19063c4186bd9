//! Rate limits of password attempts, by address and by username. The limit by address keeps one
//! client from using all cores; the limit by username slows guessing from many addresses.

use std::net::IpAddr;
use std::time::Duration;

use pabal_core::engine::RateLimiter;
use pabal_core::protocol::Problem;
use pabal_transports::network;

use crate::config;

/// The burst of an address, in seconds of its sustained rate. The users of an office, which has one
/// address, log in at about the same time in the morning.
const BURST_SECONDS: u32 = 30;

/// Limits the rate of sign-ups and log-ins (GCRA). Counts are per node.
#[derive(Debug)]
pub struct Attempts {
    by_address: RateLimiter<IpAddr>,
    by_username: RateLimiter<String>,
}

impl Attempts {
    /// The configured limits; no limits if `limits.rate_limits` is off.
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

    /// Counts an attempt from `address`. The addresses of an IPv6 /64 network count as one.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait before a retry.
    pub fn from_address(&self, address: IpAddr) -> Result<(), Problem> {
        self.by_address.check(
            &network(address),
            "too many sign-ups and log-ins from this address; retry later",
        )
    }

    /// Counts an attempt for `username`, whether or not there is such a user.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait before a retry.
    pub fn for_username(&self, username: &str) -> Result<(), Problem> {
        self.by_username
            .check(&username.to_owned(), "too many log-ins for this username; retry later")
    }

    /// Removes counters that are back at zero, so that memory stays bounded. Call it periodically.
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
    fn attempts_for_one_username_are_limited_and_others_are_not_affected() {
        let attempts = attempts(true);
        assert!((0..3).all(|_| attempts.for_username("mina").is_ok()));
        let refused = attempts.for_username("mina").expect_err("too many");
        assert_eq!(refused.code, ProblemCode::RateLimited);
        assert!(refused.retry_after.is_some_and(|wait| wait <= Duration::from_secs(20)));
        assert!(attempts.for_username("jun").is_ok());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let attempts = attempts(true);
        let address = |last: u16| format!("2001:db8::{last:x}").parse().expect("an address");
        assert!((0..30).all(|last| attempts.from_address(address(last)).is_ok()));
        assert!(attempts.from_address(address(99)).is_err());
    }

    #[test]
    fn without_rate_limits_no_attempt_is_refused() {
        let attempts = attempts(false);
        assert!((0..1_000).all(|_| attempts.for_username("mina").is_ok()));
    }
}
