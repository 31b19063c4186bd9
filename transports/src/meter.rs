//! What a transport costs: requests, empty responses, bytes on the wire in both directions, events
//! delivered and their latency. All transports are counted the same way, so that they can be compared.
//!
//! Counters are relaxed atomics: a reading may lag by some requests, and never decreases.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pabal_core::engine::{ConnectionBytes, Holder, Reservation};
use pabal_core::model::{Timestamp, UserId};

use crate::unwritten::Unwritten;

use crate::half_close::HalfClose;

/// The upper bounds of the buckets of delivery latency, in microseconds. One more bucket holds what took
/// longer.
pub const LATENCY_BOUNDS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 30_000_000,
];

/// The counters of every transport, and of everything else under the name `api`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Meters(Arc<[Counters]>);

/// The counters of one transport. All but `attached` only rise.
#[derive(Debug)]
struct Counters {
    name: &'static str,
    requests: AtomicU64,
    empty_answers: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    events: AtomicU64,
    latency: [AtomicU64; LATENCY_BOUNDS.len() + 1],
    latency_micros: AtomicU64,
    attached: AtomicUsize,
}

/// The counters of a transport at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterReading {
    /// The name of the transport, or `api` for everything else.
    pub name: &'static str,
    /// Requests, with WebSocket handshakes and the text frames of their clients.
    pub requests: u64,
    /// Responses to polls that held no event.
    pub empty_answers: u64,
    /// Bytes received, including TLS, headers and frames, without TCP and IP.
    pub bytes_in: u64,
    /// Bytes sent, likewise.
    pub bytes_out: u64,
    /// Events written.
    pub events: u64,
    /// How many events fell into each bucket of [`LATENCY_BOUNDS`], and into the last one. Not
    /// cumulative.
    pub latency: Vec<u64>,
    /// The sum of the latencies, in microseconds: from accepting a message to encoding its event.
    pub latency_micros: u64,
    /// How many requests and sockets wait at a session now.
    pub attached: usize,
}

/// The index of the counters of everything that is not a transport.
const API: usize = 0;

impl Meters {
    /// Counters of the transports with these names, and of everything else.
    pub fn new(transports: impl Iterator<Item = &'static str>) -> Self {
        let counters = |name| Counters {
            name,
            requests: AtomicU64::new(0),
            empty_answers: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            events: AtomicU64::new(0),
            latency: Default::default(),
            latency_micros: AtomicU64::new(0),
            attached: AtomicUsize::new(0),
        };
        Self(std::iter::once("api").chain(transports).map(counters).collect())
    }

    pub(crate) fn transport(&self, index: usize) -> TransportMeter {
        TransportMeter { meters: self.clone(), index: index + 1 }
    }

    /// The meter of a new connection. Its bytes count as `api` until a transport serves a request on it.
    pub fn connection(&self) -> Arc<ConnectionMeter> {
        self.of_clients(false)
    }

    /// The meter of a new connection that many clients share, as one from a trusted proxy. What it holds
    /// does not count for the connection.
    pub fn shared_connection(&self) -> Arc<ConnectionMeter> {
        self.of_clients(true)
    }

    fn of_clients(&self, shared: bool) -> Arc<ConnectionMeter> {
        Arc::new(ConnectionMeter {
            meters: self.clone(),
            index: AtomicUsize::new(API),
            unclaimed: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            half_close: HalfClose::default(),
            shared,
            in_flight: OnceLock::new(),
            unwritten: OnceLock::new(),
        })
    }

    /// The present values of all counters, `api` first.
    pub fn read(&self) -> Vec<MeterReading> {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.0
            .iter()
            .map(|counters| MeterReading {
                name: counters.name,
                requests: get(&counters.requests),
                empty_answers: get(&counters.empty_answers),
                bytes_in: get(&counters.bytes_in),
                bytes_out: get(&counters.bytes_out),
                events: get(&counters.events),
                latency: counters.latency.iter().map(get).collect(),
                latency_micros: get(&counters.latency_micros),
                attached: counters.attached.load(Ordering::Relaxed),
            })
            .collect()
    }
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// The counters of one transport, as the transport sees them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TransportMeter {
    meters: Meters,
    index: usize,
}

impl TransportMeter {
    fn counters(&self) -> &Counters {
        &self.meters.0[self.index]
    }

    /// Counts a request, or a text frame of a client.
    pub fn request(&self) {
        add(&self.counters().requests, 1);
    }

    /// Counts a response to a poll that holds no event.
    pub fn empty_answer(&self) {
        add(&self.counters().empty_answers, 1);
    }

    /// Counts events that are written at `now`, by the moments at which their messages were accepted.
    pub fn delivered(&self, now: Timestamp, accepted_at: impl Iterator<Item = Timestamp>) {
        let counters = self.counters();
        let (mut events, mut sum) = (0, 0);
        for accepted_at in accepted_at {
            let micros = micros(now.since(accepted_at));
            let bucket = LATENCY_BOUNDS.partition_point(|&bound| bound < micros);
            add(&counters.latency[bucket], 1);
            events += 1;
            sum += micros;
        }
        add(&counters.events, events);
        add(&counters.latency_micros, sum);
    }

    /// Counts a reader of a session until the guard is dropped.
    pub fn attached(&self) -> Attached {
        self.counters().attached.fetch_add(1, Ordering::Relaxed);
        Attached(self.clone())
    }

    /// Has the bytes of a connection count for this transport from now on, with the bytes received since
    /// the last response: they were the present request.
    pub(crate) fn claim(&self, connection: &ConnectionMeter) {
        connection.index.store(self.index, Ordering::Relaxed);
        connection.settle();
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Counts a reader of a session until it is dropped.
#[derive(Debug)]
pub struct Attached(TransportMeter);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.counters().attached.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Assigns the bytes of one connection to the transport that they are for.
#[derive(Debug)]
pub struct ConnectionMeter {
    meters: Meters,
    index: AtomicUsize,
    /// Bytes received whose transport is not known yet.
    unclaimed: AtomicU64,
    stalled: AtomicBool,
    half_close: HalfClose,
    /// Whether it carries the requests of many clients.
    shared: bool,
    /// The bytes in flight, once there were any. Most connections only carry small answers to polls.
    in_flight: OnceLock<ConnectionBytes>,
    /// The answers in the buffer of the HTTP library, once there were any.
    unwritten: OnceLock<Box<Unwritten>>,
}

impl ConnectionMeter {
    /// What becomes of a request whose client has closed its side.
    pub fn half_close(&self) -> &HalfClose {
        &self.half_close
    }

    /// Counts a request that is not for a transport, with its bytes.
    pub fn claim_for_api(&self) {
        self.index.store(API, Ordering::Relaxed);
        add(&self.meters.0[API].requests, 1);
        self.settle();
    }

    /// Whether bytes wait to be written because the client does not take them.
    pub fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Notes that a write had to wait, or that everything was written.
    pub(crate) fn stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
        if !stalled && let Some(unwritten) = self.unwritten.get() {
            unwritten.all_written();
        }
    }

    /// For whom the bytes of a request on this connection are in flight.
    pub fn holder(&self, user: Option<UserId>) -> Holder {
        let connection = || self.in_flight.get_or_init(ConnectionBytes::default).clone();
        Holder { user, connection: (!self.shared).then(connection) }
    }

    /// Keeps the reservation of an answer that the HTTP library is about to buffer, until all of its
    /// buffer was written.
    pub fn hold_until_written(&self, reservation: Arc<Reservation>) {
        self.unwritten.get_or_init(Box::default).hold(reservation);
    }

    /// Waits until the client has taken every earlier answer. A library that reads pipelined requests
    /// while answers wait would buffer as many answers as requests fit its read buffer.
    pub async fn earlier_written(&self) {
        if self.is_stalled() {
            self.unwritten.get_or_init(Box::default).wait(|| !self.is_stalled()).await;
        }
    }

    pub(crate) fn received(&self, bytes: u64) {
        add(&self.unclaimed, bytes);
    }

    pub(crate) fn sent(&self, bytes: u64) {
        add(&self.meters.0[self.index.load(Ordering::Relaxed)].bytes_out, bytes);
    }

    /// Counts the bytes received so far for the transport that has the connection.
    pub(crate) fn settle(&self) {
        let bytes = self.unclaimed.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            add(&self.meters.0[self.index.load(Ordering::Relaxed)].bytes_in, bytes);
        }
    }
}

impl Drop for ConnectionMeter {
    fn drop(&mut self) {
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_for_the_transport_that_serves_the_request() {
        let meters = Meters::new(["a", "b"].into_iter());
        let connection = meters.connection();
        connection.received(10);
        meters.transport(1).claim(&connection);
        connection.sent(5);
        connection.received(7);
        connection.claim_for_api();
        let read: Vec<_> =
            meters.read().iter().map(|m| (m.name, m.bytes_in, m.bytes_out)).collect();
        assert_eq!(read, [("api", 7, 0), ("a", 0, 0), ("b", 10, 5)]);
    }

    #[test]
    fn a_latency_counts_in_the_bucket_that_holds_it() {
        let meters = Meters::new(std::iter::once("a"));
        let now = Timestamp::from_micros(1_000_000_000);
        let ago = |micros: u64| Timestamp::from_micros(1_000_000_000 - micros);
        meters.transport(0).delivered(now, [ago(100), ago(101), ago(60_000_000)].into_iter());
        let reading = &meters.read()[1];
        assert_eq!((reading.latency[0], reading.latency[1], reading.latency[16]), (1, 1, 1));
        assert_eq!(reading.events, 3);
    }
}
