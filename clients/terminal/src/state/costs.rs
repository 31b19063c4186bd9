//! What each transport has cost so far, and how much it has delivered for that.

use pabal_client::{Cost, Transport};

/// What one transport has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) messages: u64,
}

impl Tally {
    /// Bytes both ways for each message that came; `None` before the first.
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

/// What each transport has cost. What happens between two transports is a cost of the second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Costs {
    tallies: [Tally; Transport::ALL.len()],
    seen: Cost,
    connected: Option<Transport>,
    latest: Option<Transport>,
}

impl Costs {
    /// Takes in what the connection has cost until now, with the transport in use.
    pub(crate) fn sample(&mut self, transport: Option<Transport>, cost: Cost) {
        // What is told at the end of a transport was still that one's.
        let whose = transport.or(self.connected);
        self.connected = transport;
        let Some(whose) = whose else { return };
        self.latest = Some(whose);
        let since = |now: u64, then: u64| now.saturating_sub(then);
        let spent = Tally {
            requests: since(cost.requests, self.seen.requests),
            received_bytes: since(cost.received_bytes, self.seen.received_bytes),
            sent_bytes: since(cost.sent_bytes, self.seen.sent_bytes),
            messages: 0,
        };
        self.seen = cost;
        self.tally(whose).add(&spent);
    }

    /// A message came.
    pub(crate) fn delivered(&mut self) {
        if let Some(transport) = self.connected.or(self.latest) {
            self.tally(transport).messages += 1;
        }
    }

    /// Of all transports together.
    pub(crate) fn total(&self) -> Tally {
        let mut total = Tally::default();
        for tally in &self.tallies {
            total.add(tally);
        }
        total
    }

    /// By transport, the best first.
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
    fn each_transport_pays_for_itself() {
        let mut costs = Costs::default();
        costs.sample(None, cost(2, 100));
        assert_eq!(costs.total(), Tally::default(), "held for the one that will stand");
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
