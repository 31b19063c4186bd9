//! Which transport is cheapest for a client, and where two of them cost the same.

use std::time::Duration;

use crate::{Model, Pace, Terms, Transport, typical};

/// A transport that a client could be advised to use. SSE costs what a WebSocket costs, and sends
/// nothing, so it is in no competition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// As seldom as the client's patience allows.
    ShortPolling,
    /// At once.
    LongPolling,
    /// At once.
    WebSocket,
}

/// From the simplest for a client to the one that needs most of it and of proxies on the way.
pub const CANDIDATES: [Candidate; 3] =
    [Candidate::ShortPolling, Candidate::LongPolling, Candidate::WebSocket];

/// What a client of a busy server costs in a second, besides what its messages cost however they are
/// delivered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Microseconds of CPU of the server.
    pub cpu_us: f64,
    /// Bytes that TCP carries, both ways.
    pub bytes: f64,
    /// Requests.
    pub requests: f64,
}

/// The shortest interval that a server takes polls at.
const SHORTEST_POLL: Duration = Duration::from_millis(100);
/// The longest interval that break-even is looked for at.
const LONGEST_POLL_SECONDS: f64 = 3_600.0;

impl Candidate {
    /// How a client with this patience uses it; nothing if it cannot be that fast.
    pub fn within(self, patience: Duration) -> Option<Transport> {
        match self {
            Self::ShortPolling if patience < SHORTEST_POLL => None,
            Self::ShortPolling => {
                let every_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
                Some(Transport::ShortPolling { every_ms })
            }
            Self::LongPolling => Some(Transport::LongPolling),
            Self::WebSocket => Some(Transport::WebSocket),
        }
    }
}

/// What a typical client that hears `per_minute` messages costs in a second.
pub fn cost(model: &Model, transport: Transport, per_minute: f64) -> Cost {
    let cell = typical(transport, per_minute);
    let clients = cell.plan.clients as f64;
    let work = Terms::of(&cell, Pace::DEFAULT).of_clients();
    Cost {
        cpu_us: work.at(&model.cpu_us) / clients,
        bytes: work.at(&model.bytes) / clients,
        requests: (work.exchange + work.exchange_http2) / clients,
    }
}

/// The candidate that costs least by `measure`, of those that are fast enough. Those that cost no more
/// than `indifferent` above it count as equal, and the simplest of them is chosen.
pub fn cheapest(
    model: &Model,
    per_minute: f64,
    patience: Duration,
    measure: impl Fn(Cost) -> f64,
    indifferent: f64,
) -> Candidate {
    let of = |candidate: Candidate| {
        candidate.within(patience).map(|transport| measure(cost(model, transport, per_minute)))
    };
    let least = CANDIDATES.into_iter().filter_map(of).fold(f64::INFINITY, f64::min);
    let near = |candidate: &Candidate| of(*candidate).is_some_and(|it| it <= least + indifferent);
    CANDIDATES.into_iter().find(near).unwrap_or(Candidate::WebSocket)
}

/// The interval in seconds from which on short polling costs no more than `other`; nothing if that
/// is not within an hour.
pub fn break_even_seconds(
    model: &Model,
    other: Transport,
    per_minute: f64,
    measure: impl Fn(Cost) -> f64,
) -> Option<f64> {
    let wanted = measure(cost(model, other, per_minute));
    let enough = |seconds: f64| {
        let every_ms = (seconds * 1e3).round() as u64;
        measure(cost(model, Transport::ShortPolling { every_ms }, per_minute)) <= wanted
    };
    let (mut low, mut high) = (SHORTEST_POLL.as_secs_f64(), LONGEST_POLL_SECONDS);
    if enough(low) {
        return Some(low);
    }
    if !enough(high) {
        return None;
    }
    // The cost falls with the interval, so there is one such place; on a scale of ratios.
    while high / low > 1.001 {
        let middle = (low * high).sqrt();
        if enough(middle) { high = middle } else { low = middle }
    }
    Some(high)
}
