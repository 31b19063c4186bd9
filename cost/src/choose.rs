//! Which transport is cheapest for a client, and where two of them cost the same.

use std::time::Duration;

use crate::{Model, Pace, Terms, Transport, typical};

/// A transport that a client can be advised to use. SSE is not among them: it costs what a WebSocket costs,
/// but cannot send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// Short polling at the client's maximum latency.
    ShortPolling,
    /// Long polling, which delivers at once.
    LongPolling,
    /// A WebSocket, which delivers at once.
    WebSocket,
}

/// All candidates, ordered by what they require of a client and of proxies, the least first.
pub const CANDIDATES: [Candidate; 3] =
    [Candidate::ShortPolling, Candidate::LongPolling, Candidate::WebSocket];

/// What a client of a busy server costs in a second, computed from the prices of a [`Model`]. Storing and
/// routing its messages is not included, because it costs the same on every transport.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// CPU of the server, in microseconds a second.
    pub cpu_us: f64,
    /// Bytes a second that TCP carries, both directions; without the headers of TCP and IP.
    pub bytes: f64,
    /// Requests a second.
    pub requests: f64,
}

/// The shortest interval of short polls.
const SHORTEST_POLL: Duration = Duration::from_millis(100);
/// The longest interval in the search for break-even.
const LONGEST_POLL_SECONDS: f64 = 3_600.0;

impl Candidate {
    /// The transport of a client that accepts this latency; none below 100 ms for short polling.
    pub fn within(self, max_latency: Duration) -> Option<Transport> {
        match self {
            Self::ShortPolling if max_latency < SHORTEST_POLL => None,
            Self::ShortPolling => {
                let every_ms = u64::try_from(max_latency.as_millis()).unwrap_or(u64::MAX);
                Some(Transport::ShortPolling { every_ms })
            }
            Self::LongPolling => Some(Transport::LongPolling),
            Self::WebSocket => Some(Transport::WebSocket),
        }
    }
}

/// What a [`typical`] client that receives `per_minute` messages a minute costs in a second.
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

/// The candidate with the least cost within `max_latency`, for a client that receives `per_minute` messages a
/// minute. `measure` selects the cost to compare, such as [`Cost::cpu_us`]. Candidates that cost at most
/// `indifferent` more than the least, in the same unit, count as equal; the first of them in the order of
/// [`CANDIDATES`] is returned.
pub fn cheapest(
    model: &Model,
    per_minute: f64,
    max_latency: Duration,
    measure: impl Fn(Cost) -> f64,
    indifferent: f64,
) -> Candidate {
    let of = |candidate: Candidate| {
        candidate.within(max_latency).map(|transport| measure(cost(model, transport, per_minute)))
    };
    let least = CANDIDATES.into_iter().filter_map(of).fold(f64::INFINITY, f64::min);
    let near = |candidate: &Candidate| of(*candidate).is_some_and(|it| it <= least + indifferent);
    CANDIDATES.into_iter().find(near).unwrap_or(Candidate::WebSocket)
}

/// The shortest interval in seconds at which short polling costs no more than `other`, to 0.1 %, for a client
/// that receives `per_minute` messages a minute. It is at least 0.1 s; none if it is above an hour.
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
    // The cost falls with the interval, so there is one crossing: bisect on a logarithmic scale.
    while high / low > 1.001 {
        let middle = (low * high).sqrt();
        if enough(middle) { high = middle } else { low = middle }
    }
    Some(high)
}
