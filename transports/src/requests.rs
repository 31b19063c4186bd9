//! Rate limits of clients, per address and per user. A request over HTTP and a frame of a WebSocket count
//! alike.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use pabal_core::engine::RateLimiter;
use pabal_core::model::UserId;
use pabal_core::protocol::Problem;

/// The burst, in seconds of the sustained rate.
const BURST_SECONDS: u32 = 10;

/// The rate limiters of clients' requests: a sustained rate plus a burst (GCRA). Cheap to clone; all
/// clones count together.
#[derive(Clone, Debug)]
pub struct Requests(Arc<Rates>);

#[derive(Debug)]
struct Rates {
    by_address: RateLimiter<IpAddr>,
    by_user: RateLimiter<UserId>,
}

impl Requests {
    /// Limits in requests a second, of an address and of a user. The burst is ten seconds' worth.
    pub fn limited(per_address: u32, per_user: u32) -> Self {
        let (second, burst) =
            (Duration::from_secs(1), |count: u32| count.saturating_mul(BURST_SECONDS));
        Self(Arc::new(Rates {
            by_address: RateLimiter::new(per_address, second, burst(per_address)),
            by_user: RateLimiter::new(per_user, second, burst(per_user)),
        }))
    }

    /// No limits.
    pub fn unlimited() -> Self {
        Self(Arc::new(Rates {
            by_address: RateLimiter::unlimited(),
            by_user: RateLimiter::unlimited(),
        }))
    }

    /// Counts an HTTP request from `address`. Frames of WebSockets count for their user only.
    ///
    /// # Errors
    /// `rate_limited`. Retry after the time that the problem states.
    pub fn from_address(&self, address: IpAddr) -> Result<(), Problem> {
        self.0.by_address.check(&network(address), "too many requests from this address")
    }

    /// Counts a request or a frame of `user_id`.
    ///
    /// # Errors
    /// `rate_limited`. Retry after the time that the problem states.
    pub fn of_user(&self, user_id: UserId) -> Result<(), Problem> {
        self.0.by_user.check(&user_id, "too many requests of this user")
    }

    /// Forgets addresses and users that have their whole burst again. Call it now and then: without it,
    /// memory grows with the number of clients seen.
    pub fn tidy(&self) {
        self.0.by_address.tidy();
        self.0.by_user.tidy();
    }
}

/// What counts as one address: an IPv4 address, in whichever form it is written, or a /64 of IPv6,
/// which is what one subscriber usually has.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_counts_as_one_address_and_both_forms_of_an_ipv4_address_do() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:0:0:2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
    }
}
