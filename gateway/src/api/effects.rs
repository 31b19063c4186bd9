//! Rate limits by what a request does, not by how many there are: groups made, members added, users found.

use std::time::Duration;

use pabal_core::engine::RateLimiter;
use pabal_core::model::UserId;
use pabal_core::protocol::Problem;

use crate::config;

/// Limits the rates of effects of each user (GCRA). Counts are per node.
#[derive(Debug)]
pub struct Effects {
    groups: RateLimiter<UserId>,
    additions: RateLimiter<UserId>,
    found: RateLimiter<UserId>,
}

impl Effects {
    /// The configured limits; no limits if `limits.rate_limits` is off.
    pub fn new(limits: &config::Limits) -> Self {
        let limiter = |count: u32, period: Duration| match limits.rate_limits {
            true => RateLimiter::new(count, period, count),
            false => RateLimiter::unlimited(),
        };
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(60 * 60));
        Self {
            groups: limiter(limits.groups_per_user_per_hour, hour),
            additions: limiter(limits.additions_per_user_per_hour, hour),
            found: limiter(limits.users_found_per_user_per_minute, minute),
        }
    }

    /// Counts a group that a user creates with `members` others.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait before a retry.
    pub(super) fn group(&self, user_id: UserId, members: usize) -> Result<(), Problem> {
        self.groups.check(&user_id, "too many new groups; retry later")?;
        self.added(user_id, members)
    }

    /// Counts members that a user adds to a group.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait before a retry.
    pub(super) fn added(&self, user_id: UserId, members: usize) -> Result<(), Problem> {
        self.additions.check_many(&user_id, members, "too many added members; retry later")
    }

    /// Counts users that a user has found. One is counted with `0`, so that a search which finds none
    /// is not free.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait before a retry.
    pub(super) fn found(&self, user_id: UserId, users: usize) -> Result<(), Problem> {
        self.found.check_many(&user_id, users.max(1), "too many users found by name; retry later")
    }

    /// Removes counters that are back at zero, so that memory stays bounded. Call it periodically.
    pub fn tidy(&self) {
        self.groups.tidy();
        self.additions.tidy();
        self.found.tidy();
    }
}
