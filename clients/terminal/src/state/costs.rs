//! The traffic of each transport so far, and the messages that it delivered.

use pabal_client::{Cost, Transport};

/// The traffic and the messages of one transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) messages: u64,
}

impl Tally {
    /// Bytes in both directions per delivered message; `None` before the first.
    pub(crate) fn bytes_per_message(&self) -> Option<u64> {
        (self.received_bytes + self.sent_bytes).checked_div(self.messages)
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.received_bytes += other.received_bytes;
        self.sent_bytes += other.sent_bytes;
        self.messages += other.messages;
    }
}

/// The traffic of each transport. Traffic between two transports counts for the second one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Costs {
    tallies: [Tally; Transport::ALL.len()],
    seen: Cost,
    connected: Option<Transport>,
    latest: Option<Transport>,
}

impl Costs {
    /// Notes the traffic of the connection so far, and the transport in use.
    pub(crate) fn sample(&mut self, transport: Option<Transport>, cost: Cost) {
        // The traffic reported when a transport ends was still its own.
        let payer = transport.or(self.connected);
        self.connected = transport;
        let Some(payer) = payer else { return };
        self.latest = Some(payer);
        let since = |now: u64, then: u64| now.saturating_sub(then);
        let spent = Tally {
            requests: since(cost.requests, self.seen.requests),
            received_bytes: since(cost.received_bytes, self.seen.received_bytes),
            sent_bytes: since(cost.sent_bytes, self.seen.sent_bytes),
            messages: 0,
        };
        self.seen = cost;
        self.tally(payer).add(&spent);
    }

    /// A message was delivered.
    pub(crate) fn delivered(&mut self) {
        if let Some(transport) = self.connected.or(self.latest) {
            self.tally(transport).messages += 1;
        }
    }

    /// The sum over every transport.
    pub(crate) fn total(&self) -> Tally {
        let mut total = Tally::default();
        for tally in &self.tallies {
            total.add(tally);
        }
        total
    }

    /// Each transport, the best first.
    pub(crate) fn each(&self) -> impl Iterator<Item = (Transport, &Tally)> {
        Transport::ALL.into_iter().zip(&self.tallies)
    }

    fn tally(&mut self, transport: Transport) -> &mut Tally {
        &mut self.tallies[transport as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(requests: u64, bytes: u64) -> Cost {
        let mut cost = Cost::default();
        (cost.requests, cost.received_bytes) = (requests, bytes);
        cost
    }

    #[test]
    fn traffic_is_counted_for_the_transport_that_caused_it() {
        let mut costs = Costs::default();
        costs.sample(None, cost(2, 100));
        assert_eq!(
            costs.total(),
            Tally::default(),
            "counted for the transport that will be connected"
        );
        costs.sample(Some(Transport::WebSocket), cost(3, 200));
        costs.delivered();
        costs.sample(None, cost(3, 260));
        costs.sample(None, cost(4, 300));
        costs.sample(Some(Transport::Sse), cost(5, 360));
        costs.delivered();
        costs.delivered();
        let by: Vec<_> =
            costs.each().map(|(_, tally)| (tally.requests, tally.received_bytes)).collect();
        assert_eq!(by, [(3, 260), (2, 100), (0, 0), (0, 0)]);
        let total = costs.total();
        assert_eq!((total.requests, total.received_bytes, total.messages), (5, 360, 3));
        assert_eq!(total.bytes_per_message(), Some(120));
        assert_eq!(Tally::default().bytes_per_message(), None);
    }
}
