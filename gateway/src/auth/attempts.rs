//! Rate limits of password attempts, by address and by username. The limit by address keeps one
//! client from using all cores; the limit by username slows guessing.
//!
//! Only wrong passwords count for a username. An address from which the user has logged in has a count of
//! its own; all others share one, so that guesses from more addresses are not more guesses, and lock out
//! no user who is where they usually are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pabal_core::engine::RateLimiter;
use pabal_core::protocol::{Problem, ProblemCode};
use pabal_transports::network;
use tokio::time::Instant;

use crate::config;

/// The burst of an address, in seconds of its sustained rate. The users of an office, which has one
/// address, log in at about the same time in the morning.
const BURST_SECONDS: u32 = 30;

/// Limits the rate of sign-ups and log-ins (GCRA). Counts are per node.
#[derive(Debug)]
pub struct Attempts {
    by_address: RateLimiter<IpAddr>,
    /// None: no limits.
    wrong: Option<WrongAttempts>,
}

/// Wrong attempts by username and, for an address that the user is known from, that address.
#[derive(Debug)]
struct WrongAttempts {
    /// How long one attempt counts.
    every: Duration,
    /// How long the counts of a whole burst are, but one.
    burst: Duration,
    /// Until when what was counted so far counts (GCRA: the theoretical arrival time).
    until: Mutex<HashMap<(String, Option<IpAddr>), Instant>>,
}

/// An attempt that counts as wrong, unless it is [withdrawn](Self::withdraw).
#[derive(Debug)]
#[must_use = "an attempt counts as wrong unless it is withdrawn"]
pub struct Attempt<'a> {
    counted: Option<(&'a WrongAttempts, (String, Option<IpAddr>))>,
}

impl Attempt<'_> {
    /// The password was right, or it was not compared. The attempt does not count.
    pub fn withdraw(self) {
        if let Some((wrong, key)) = self.counted {
            wrong.withdraw(&key);
        }
    }
}

impl Attempts {
    /// The configured limits; no limits if `limits.rate_limits` is off.
    pub fn new(limits: &config::Limits, auth: &config::Auth) -> Self {
        if !limits.rate_limits {
            return Self { by_address: RateLimiter::unlimited(), wrong: None };
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
            wrong: minute.checked_div(per_minute).map(|every| WrongAttempts {
                every,
                burst: every * (per_minute - 1),
                until: Mutex::default(),
            }),
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

    /// Counts an attempt for `username`, whether or not there is such a user, before the password is
    /// compared: many attempts at once count all. `known` is the network of the client, if the user has
    /// logged in from there.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait before a retry. Nothing was counted.
    pub fn for_username(
        &self,
        username: &str,
        known: Option<IpAddr>,
    ) -> Result<Attempt<'_>, Problem> {
        let Some(wrong) = &self.wrong else { return Ok(Attempt { counted: None }) };
        let key = (username.to_owned(), known);
        wrong.count(&key).map_err(|wait| {
            let detail = "too many wrong passwords for this username; retry later";
            Problem::new(ProblemCode::RateLimited, detail).retry_after(wait)
        })?;
        Ok(Attempt { counted: Some((wrong, key)) })
    }

    /// Removes counters that are back at zero, so that memory stays bounded. Call it periodically.
    pub fn tidy(&self) {
        self.by_address.tidy();
        if let Some(wrong) = &self.wrong {
            let now = Instant::now();
            wrong.lock().retain(|_, until| *until > now);
        }
    }
}

impl WrongAttempts {
    /// Counts one, or returns after which time it may be counted.
    fn count(&self, key: &(String, Option<IpAddr>)) -> Result<(), Duration> {
        let (now, mut all) = (Instant::now(), self.lock());
        let until = all.get(key).map_or(now, |until| now.max(*until));
        let ahead = until - now;
        if ahead > self.burst {
            return Err((ahead - self.burst).max(Duration::from_millis(1)));
        }
        all.insert(key.clone(), until + self.every);
        Ok(())
    }

    fn withdraw(&self, key: &(String, Option<IpAddr>)) {
        if let Some(until) = self.lock().get_mut(key) {
            *until -= self.every;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, Option<IpAddr>), Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[tokio::test(start_paused = true)]
    async fn wrong_attempts_for_one_username_are_limited_and_others_are_not_affected() {
        let attempts = attempts(true);
        for _ in 0..3 {
            drop(attempts.for_username("mina", None).expect("counts"));
        }
        let refused = attempts.for_username("mina", None).expect_err("too many");
        assert_eq!(refused.code, ProblemCode::RateLimited);
        assert_eq!(refused.retry_after, Some(Duration::from_secs(20)));
        drop(attempts.for_username("jun", None).expect("another name"));
        tokio::time::advance(Duration::from_secs(20)).await;
        drop(attempts.for_username("mina", None).expect("one counts no more"));
        drop(attempts.for_username("mina", None).expect_err("one at a time"));
        tokio::time::advance(Duration::from_secs(60)).await;
        attempts.tidy();
        assert!(attempts.wrong.as_ref().is_some_and(|wrong| wrong.lock().is_empty()));
    }

    #[tokio::test(start_paused = true)]
    async fn right_passwords_do_not_count() {
        let attempts = attempts(true);
        for _ in 0..100 {
            attempts.for_username("mina", None).expect("counts").withdraw();
        }
        let begun = [(); 3].map(|()| attempts.for_username("mina", None).expect("counts"));
        drop(attempts.for_username("mina", None).expect_err("while others are compared"));
        begun.into_iter().for_each(Attempt::withdraw);
        drop(attempts.for_username("mina", None).expect("counts"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_known_address_has_a_count_of_its_own_and_all_others_share_one() {
        let attempts = attempts(true);
        let office = Some([192, 0, 2, 1].into());
        for _ in 0..3 {
            drop(attempts.for_username("mina", None).expect("counts"));
        }
        drop(attempts.for_username("mina", None).expect_err("too many, from wherever"));
        attempts.for_username("mina", office).expect("the owner is not locked out").withdraw();
        for _ in 0..3 {
            drop(attempts.for_username("mina", office).expect("counts"));
        }
        drop(attempts.for_username("mina", office).expect_err("too many from there, too"));
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
        assert!((0..1_000).all(|_| attempts.for_username("mina", None).is_ok()));
    }
}
