//! How often moments (`typing`, `read`) of a user in a channel reach others. A moment costs as much as
//! the sessions that it reaches, and only the newest is of use, so most are left out before they cost
//! anything.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::fast::RandomState;
use tokio::time::{Instant, sleep};

use super::rate_limiter::RateLimiter;
use crate::model::{ChannelId, MessageId, UserId};
use crate::protocol::Problem;

/// How often the same user is announced as typing in a channel. Clients show it for a few seconds.
const TYPING_EVERY: Duration = Duration::from_secs(3);
/// How often the read position of a user in a channel is announced.
const READ_EVERY: Duration = Duration::from_secs(1);
/// How often moments that are over are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(10);
/// The burst, in seconds of the sustained rate.
const BURST_SECONDS: u32 = 10;

type Place = (UserId, ChannelId);

/// Decides which moments are published.
#[derive(Debug)]
pub(super) struct MomentPace {
    typing: DashMap<Place, Instant, RandomState>,
    reads: DashMap<Place, Read, RandomState>,
    by_user: RateLimiter<UserId>,
    by_channel: RateLimiter<ChannelId>,
}

/// The read position of a user in a channel, as others know it.
#[derive(Debug)]
struct Read {
    announced: Instant,
    /// A later position, which is announced when its time has come.
    newest: Option<MessageId>,
}

/// When a read position is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// At once.
    Now,
    /// At this moment, if it is still the newest: see [`MomentPace::due`].
    At(Instant),
    /// With one that waits already.
    Merged,
}

impl MomentPace {
    /// Moments may reach so many sessions a second, of one user and in one channel; any number if
    /// absent.
    pub(super) fn new(per_second: Option<u32>) -> Arc<Self> {
        let count = per_second.unwrap_or(0);
        let burst = count.saturating_mul(BURST_SECONDS);
        let second = Duration::from_secs(1);
        Arc::new(Self {
            typing: DashMap::default(),
            reads: DashMap::default(),
            by_user: RateLimiter::new(count, second, burst),
            by_channel: RateLimiter::new(count, second, burst),
        })
    }

    /// Counts a moment that would reach `sessions` sessions.
    ///
    /// # Errors
    /// `rate_limited`: it must not be published. Retry after the time that the problem states.
    pub(super) fn spend(&self, (user, channel): Place, sessions: usize) -> Result<(), Problem> {
        let cost = u32::try_from(sessions).unwrap_or(u32::MAX);
        self.by_user.check_many(&user, cost, "too many moments of this user")?;
        self.by_channel.check_many(&channel, cost, "too many moments in this channel")
    }

    /// Whether a user who is typing is to be announced: the others do not know it yet.
    pub(super) fn typing(&self, place: Place) -> bool {
        let now = Instant::now();
        let known = self.typing.get(&place).is_some_and(|since| now < *since + TYPING_EVERY);
        if !known {
            self.typing.insert(place, now);
        }
        !known
    }

    /// When a new read position is announced.
    pub(super) fn read(&self, place: Place, message_id: MessageId) -> Turn {
        let now = Instant::now();
        match self.reads.entry(place) {
            Entry::Vacant(none) => {
                none.insert(Read { announced: now, newest: None });
                Turn::Now
            }
            Entry::Occupied(mut read) => {
                let read = read.get_mut();
                let (next, waits) = (read.announced + READ_EVERY, read.newest.is_some());
                if !waits && now >= next {
                    read.announced = now;
                    return Turn::Now;
                }
                read.newest = read.newest.max(Some(message_id));
                if waits { Turn::Merged } else { Turn::At(next) }
            }
        }
    }

    /// The position that is to be announced now.
    pub(super) fn due(&self, place: Place) -> Option<MessageId> {
        let mut read = self.reads.get_mut(&place)?;
        read.announced = Instant::now();
        read.newest.take()
    }

    /// Forgets regularly what is over, so that memory does not grow. Never returns.
    pub(super) async fn keep_tidy(self: Arc<Self>) {
        loop {
            sleep(TIDY_EVERY).await;
            let now = Instant::now();
            self.typing.retain(|_, since| now < *since + TYPING_EVERY);
            self.reads.retain(|_, read| read.newest.is_some() || now < read.announced + READ_EVERY);
            self.by_user.tidy();
            self.by_channel.tidy();
        }
    }
}
