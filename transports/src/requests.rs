//! How often clients may ask, whichever way: a request over HTTP, or a frame of a WebSocket.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use pabal_core::engine::RateLimiter;
use pabal_core::model::UserId;
use pabal_core::protocol::Problem;

/// Who keeps a pace may have rested before, for so many seconds.
const BURST_SECONDS: u32 = 10;

/// Counts what clients ask. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct Requests(Arc<Rates>);

#[derive(Debug)]
struct Rates {
    by_address: RateLimiter<IpAddr>,
    by_user: RateLimiter<UserId>,
}

impl Requests {
    /// So many a second from an address, and of a user; ten times that at once.
    pub fn limited(per_address: u32, per_user: u32) -> Self {
        let (second, burst) =
            (Duration::from_secs(1), |count: u32| count.saturating_mul(BURST_SECONDS));
        Self(Arc::new(Rates {
            by_address: RateLimiter::new(per_address, second, burst(per_address)),
            by_user: RateLimiter::new(per_user, second, burst(per_user)),
        }))
    }

    /// As many as they like.
    pub fn unlimited() -> Self {
        Self(Arc::new(Rates {
            by_address: RateLimiter::unlimited(),
            by_user: RateLimiter::unlimited(),
        }))
    }

    /// One more from `address`: of HTTP only, for a WebSocket's frames have a user.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait.
    pub fn from_address(&self, address: IpAddr) -> Result<(), Problem> {
        self.0.by_address.check(&network(address), "too many requests from this address")
    }

    /// One more of `user_id`.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait.
    pub fn of_user(&self, user_id: UserId) -> Result<(), Problem> {
        self.0.by_user.check(&user_id, "too many requests of this user")
    }

    /// Forgets whoever has been quiet.
    pub fn tidy(&self) {
        self.0.by_address.tidy();
        self.0.by_user.tidy();
    }
}

/// What counts as one address: a subscriber of IPv6 usually has a whole /64.
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
    fn a_whole_ipv6_network_counts_as_one_and_an_ipv4_address_however_written() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:0:0:2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
    }
}
