//! Which transport to use now: down when one does not get through, up again when it does.

use std::time::Duration;

use tokio::time::Instant;

use super::{Fallback, Policy, Transport};

/// Transports from the best to the worst, and where we stand.
#[derive(Debug)]
pub(crate) struct Ladder {
    rungs: Vec<Transport>,
    at: usize,
    failures: u32,
    rules: Fallback,
    probe_after: Duration,
    probe_at: Option<Instant>,
}

/// How a transport failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fall {
    /// Somebody between refuses or holds it back: it will not get better by repeating.
    Refused,
    /// It did not stand in time, or broke at once.
    Silent,
}

impl Ladder {
    pub(crate) fn new(policy: Policy, rules: Fallback) -> Self {
        let rungs = match policy {
            Policy::Auto => Transport::ALL.to_vec(),
            Policy::Only(transport) => vec![transport],
        };
        Self { rungs, at: 0, failures: 0, probe_after: rules.first_probe, probe_at: None, rules }
    }

    /// The transport to use.
    pub(crate) fn current(&self) -> Transport {
        self.rungs[self.at]
    }

    /// It works, and has for a while.
    pub(crate) fn settled(&mut self) {
        self.failures = 0;
        if self.at == 0 {
            self.probe_after = self.rules.first_probe;
        }
    }

    /// It does not work. Whether there is a worse one, to be used from now on; below the worst comes
    /// the best again, which is no reason to hurry.
    pub(crate) fn failed(&mut self, fall: Fall, now: Instant) -> bool {
        self.failures += 1;
        if fall == Fall::Silent && self.failures < self.rules.failures {
            return false;
        }
        self.failures = 0;
        self.at = (self.at + 1) % self.rungs.len();
        self.probe_at = (self.at > 0).then(|| now + self.probe_after);
        self.at > 0
    }

    /// When to try the better ones again, if there are any.
    pub(crate) fn probe_at(&self) -> Option<Instant> {
        self.probe_at
    }

    /// Those to try, the best first. The next time is later.
    pub(crate) fn probe(&mut self, now: Instant) -> Vec<Transport> {
        self.probe_after = (self.probe_after * 2).min(self.rules.longest_probe);
        self.probe_at = Some(now + self.probe_after);
        self.rungs[..self.at].to_vec()
    }

    /// A better one stands and is used from now on.
    pub(crate) fn climbed(&mut self, transport: Transport, now: Instant) {
        self.at = self.rungs.iter().position(|rung| *rung == transport).unwrap_or(self.at);
        self.failures = 0;
        self.probe_at = (self.at > 0).then(|| now + self.probe_after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder() -> (Ladder, Instant) {
        (Ladder::new(Policy::Auto, Fallback::default()), Instant::now())
    }

    #[test]
    fn a_refusal_goes_down_at_once_and_silence_after_some() {
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
        assert!(!ladder.failed(Fall::Silent, now), "what settled starts counting anew");
        assert_eq!(ladder.current(), Transport::LongPolling);
    }

    #[test]
    fn below_the_worst_comes_the_best() {
        let (mut ladder, now) = ladder();
        for _ in 0..3 {
            assert!(ladder.failed(Fall::Refused, now));
        }
        assert!(!ladder.failed(Fall::Refused, now), "or it would go round as fast as it can");
        assert_eq!(ladder.current(), Transport::WebSocket);
        assert_eq!(ladder.probe_at(), None);
    }

    #[test]
    fn better_ones_are_tried_at_growing_intervals() {
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
    fn one_that_was_asked_for_stays() {
        let mut ladder = Ladder::new(Policy::Only(Transport::Sse), Fallback::default());
        assert!(!ladder.failed(Fall::Refused, Instant::now()));
        assert_eq!(ladder.current(), Transport::Sse);
        assert_eq!(ladder.probe_at(), None);
    }
}
