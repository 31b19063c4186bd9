//! Which transport to use: a worse one when one does not work, a better one when it works again.

use tokio::time::Instant;

use super::backoff::Backoff;
use super::options::{Fallback, Policy, Transport};

/// Transports from the best to the worst, and the one in use.
#[derive(Debug)]
pub(crate) struct Ladder {
    rungs: Vec<Transport>,
    at: usize,
    failures: u32,
    rules: Fallback,
    /// Attempts with better transports since the best one last worked.
    probes: u32,
    probe_at: Option<Instant>,
}

/// How a transport failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fall {
    /// The server or a proxy refuses it or holds its stream back. A repeat would fail as well.
    Refused,
    /// It was not established in time, or broke soon after.
    Silent,
}

impl Ladder {
    pub(crate) fn new(policy: Policy, rules: Fallback) -> Self {
        let rungs = match policy {
            Policy::Auto => Transport::ALL.to_vec(),
            Policy::Only(transport) => vec![transport],
        };
        Self { rungs, at: 0, failures: 0, probes: 0, probe_at: None, rules }
    }

    /// The transport to use.
    pub(crate) fn current(&self) -> Transport {
        self.rungs[self.at]
    }

    /// The transport in use has worked for a while.
    pub(crate) fn settled(&mut self) {
        self.failures = 0;
        if self.at == 0 {
            self.probes = 0;
        }
    }

    /// The transport in use failed. Returns whether a worse one is to be tried at once. After the worst
    /// one the best is next, but only after a wait, or the client would try them all in a loop.
    pub(crate) fn failed(&mut self, fall: Fall, now: Instant) -> bool {
        self.failures += 1;
        if fall == Fall::Silent && self.failures < self.rules.failures {
            return false;
        }
        self.failures = 0;
        self.at = (self.at + 1) % self.rungs.len();
        self.schedule_probe(now);
        self.at > 0
    }

    /// When to try the better transports again, if there are any.
    pub(crate) fn probe_at(&self) -> Option<Instant> {
        self.probe_at
    }

    /// The better transports, the best first. The next attempt is scheduled twice as late.
    pub(crate) fn probe(&mut self, now: Instant) -> Vec<Transport> {
        self.probes = self.probes.saturating_add(1);
        self.schedule_probe(now);
        self.rungs[..self.at].to_vec()
    }

    /// A better transport is established and is used from now on.
    pub(crate) fn climbed(&mut self, transport: Transport, now: Instant) {
        self.at = self.rungs.iter().position(|rung| *rung == transport).unwrap_or(self.at);
        self.failures = 0;
        self.schedule_probe(now);
    }

    /// Attempts come at fixed times: they cost one request each, so many clients need no jitter.
    fn schedule_probe(&mut self, now: Instant) {
        let Fallback { first_probe, longest_probe, .. } = self.rules;
        let interval = Backoff { first: first_probe, longest: longest_probe }.bound(self.probes);
        self.probe_at = (self.at > 0).then(|| now + interval);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ladder() -> (Ladder, Instant) {
        (Ladder::new(Policy::Auto, Fallback::default()), Instant::now())
    }

    #[test]
    fn a_refusal_changes_the_transport_at_once_and_silence_after_some_failures() {
        let (mut ladder, now) = ladder();
        assert_eq!(ladder.current(), Transport::WebSocket);
        assert!(ladder.failed(Fall::Refused, now));
        assert_eq!(ladder.current(), Transport::Sse);
        assert!(!ladder.failed(Fall::Silent, now));
        assert_eq!(ladder.current(), Transport::Sse);
        assert!(ladder.failed(Fall::Silent, now));
        assert_eq!(ladder.current(), Transport::LongPolling);
        assert!(!ladder.failed(Fall::Silent, now));
        ladder.settled();
        assert!(
            !ladder.failed(Fall::Silent, now),
            "a transport that settled counts its failures anew"
        );
        assert_eq!(ladder.current(), Transport::LongPolling);
    }

    #[test]
    fn the_best_transport_follows_the_worst() {
        let (mut ladder, now) = ladder();
        for _ in 0..3 {
            assert!(ladder.failed(Fall::Refused, now));
        }
        assert!(!ladder.failed(Fall::Refused, now), "a wait comes first");
        assert_eq!(ladder.current(), Transport::WebSocket);
        assert_eq!(ladder.probe_at(), None);
    }

    #[test]
    fn better_transports_are_tried_at_growing_intervals() {
        let (mut ladder, mut now) = ladder();
        ladder.failed(Fall::Refused, now);
        ladder.failed(Fall::Refused, now);
        let mut waits = Vec::new();
        for _ in 0..7 {
            let at = ladder.probe_at().unwrap();
            waits.push((at - now).as_secs());
            now = at;
            assert_eq!(ladder.probe(now), [Transport::WebSocket, Transport::Sse]);
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        ladder.climbed(Transport::Sse, now);
        assert_eq!(ladder.current(), Transport::Sse);
        assert_eq!(ladder.probe_at(), Some(now + Duration::from_secs(300)));
        ladder.climbed(Transport::WebSocket, now);
        assert_eq!(ladder.probe_at(), None);
        ladder.settled();
        ladder.failed(Fall::Refused, now);
        assert_eq!(ladder.probe_at(), Some(now + Duration::from_secs(10)));
    }

    #[test]
    fn a_transport_chosen_by_policy_stays() {
        let mut ladder = Ladder::new(Policy::Only(Transport::Sse), Fallback::default());
        assert!(!ladder.failed(Fall::Refused, Instant::now()));
        assert_eq!(ladder.current(), Transport::Sse);
        assert_eq!(ladder.probe_at(), None);
    }
}
