//! Counters over all clients. Bytes are those that TCP carries: headers, frames and, with TLS, its
//! records; not the headers of TCP and IP.

use std::ops::{AddAssign, Sub};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::latency::{histogram, record};
use crate::net::Meter;

/// Sums since the crowd connected. Two of them, one subtracted from the other, are a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Messages that were acknowledged.
    pub messages: u64,
    /// Messages that reached a client, over all clients.
    pub deliveries: u64,
    /// Requests of the clients, in order to receive.
    pub requests: u64,
    /// Complete responses to polls.
    pub answers: u64,
    /// Responses among them that held no event.
    pub empty: u64,
    /// Bytes that the clients received.
    pub bytes_in: u64,
    /// Bytes that the clients sent.
    pub bytes_out: u64,
    /// Bytes that the speakers received and sent; in no other sum.
    pub speaker_bytes: u64,
    /// Connections that were opened again after they broke.
    pub reconnects: u64,
    /// Sessions that were opened again, because the server had ended the earlier ones.
    pub sessions: u64,
    /// Messages that a client read from history after a `resync` event; not among the deliveries.
    pub fetched: u64,
    /// Sends that were repeated, after an error that allows it or a broken connection.
    pub retried: u64,
    /// Sends that were never acknowledged.
    pub failed: u64,
}

macro_rules! each {
    ($each:ident) => {
        $each! {
            messages deliveries requests answers empty bytes_in bytes_out speaker_bytes
            reconnects sessions fetched retried failed
        }
    };
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        macro_rules! less {
            ($($name:ident)*) => {
                Self { $($name: self.$name.saturating_sub(before.$name),)* }
            };
        }
        each!(less)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        macro_rules! more {
            ($($name:ident)*) => { $(self.$name += other.$name;)* };
        }
        each!(more);
    }
}

/// What the oracle has found. A count above zero is a violation of the server's delivery guarantee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Acknowledged messages that a client never received.
    pub lost: u64,
    /// Messages that a client received again.
    pub repeated: u64,
    /// Messages that a client received after a later one of their channel.
    pub reordered: u64,
}

impl AddAssign for Verdict {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.reordered += other.reordered;
    }
}

impl Verdict {
    /// Whether every client received every message once and in order.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// The counters that all clients and speakers of a crowd update.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) messages: AtomicU64,
    pub(crate) deliveries: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) answers: AtomicU64,
    pub(crate) empty: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) sessions: AtomicU64,
    pub(crate) fetched: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) repeated: AtomicU64,
    pub(crate) reordered: AtomicU64,
    /// Numbers that did not arrive although later ones did; some of them may still arrive.
    pub(crate) missing: AtomicI64,
    /// Clients that are connected now, after a first response.
    pub(crate) connected: AtomicUsize,
    /// Clients that reconnected after they were disconnected on purpose.
    pub(crate) returned: AtomicU64,
    /// Clients that have received every message.
    pub(crate) complete: AtomicUsize,
    /// Notified when a client has received every message, or ends.
    pub(crate) progress: Notify,
    pub(crate) meter: Arc<Meter>,
    pub(crate) speakers: Arc<Meter>,
    latency: Mutex<Histogram<u64>>,
    lateness: Mutex<Histogram<u64>>,
    trouble: Mutex<Option<String>>,
}

/// Adds one more to a sum.
pub(crate) fn count(sum: &AtomicU64) {
    sum.fetch_add(1, Ordering::Relaxed);
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            messages: AtomicU64::default(),
            deliveries: AtomicU64::default(),
            requests: AtomicU64::default(),
            answers: AtomicU64::default(),
            empty: AtomicU64::default(),
            reconnects: AtomicU64::default(),
            sessions: AtomicU64::default(),
            fetched: AtomicU64::default(),
            retried: AtomicU64::default(),
            failed: AtomicU64::default(),
            repeated: AtomicU64::default(),
            reordered: AtomicU64::default(),
            missing: AtomicI64::default(),
            connected: AtomicUsize::default(),
            returned: AtomicU64::default(),
            complete: AtomicUsize::default(),
            progress: Notify::new(),
            meter: Arc::default(),
            speakers: Arc::default(),
            latency: Mutex::new(histogram()),
            lateness: Mutex::new(histogram()),
            trouble: Mutex::default(),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let of = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        Counts {
            messages: of(&self.messages),
            deliveries: of(&self.deliveries),
            requests: of(&self.requests),
            answers: of(&self.answers),
            empty: of(&self.empty),
            bytes_in: of(&self.meter.received),
            bytes_out: of(&self.meter.sent),
            speaker_bytes: of(&self.speakers.received) + of(&self.speakers.sent),
            reconnects: of(&self.reconnects),
            sessions: of(&self.sessions),
            fetched: of(&self.fetched),
            retried: of(&self.retried),
            failed: of(&self.failed),
        }
    }

    /// The preliminary verdict.
    pub(crate) fn so_far(&self) -> Verdict {
        let missing = self.missing.load(Ordering::Relaxed);
        Verdict {
            lost: u64::try_from(missing).unwrap_or_default(),
            repeated: self.repeated.load(Ordering::Relaxed),
            reordered: self.reordered.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn latency(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn late(&self, by: Duration) {
        record(&mut self.lateness(), by);
    }

    pub(crate) fn lateness(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.lateness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the first thing that went wrong, for the report.
    pub(crate) fn trouble(&self, what: impl FnOnce() -> String) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.get_or_insert_with(what);
    }

    pub(crate) fn first_trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
