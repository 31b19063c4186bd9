//! Which transport suits a client. The whole rule is here.
//!
//! | what the client says | advice | why |
//! |---|---|---|
//! | can wait a second or more, and in that time expects at least one message | `polling`, every `latency_ms` | no poll comes back empty, and nothing is held open in between |
//! | at most one message in five seconds | `long_polling` | a request a message, which is little, and it passes every proxy |
//! | anything else, or nothing | `websocket` | least bytes, CPU and delay a message |
//!
//! A client that does not say how long it can wait wants news at once; one that does not say how
//! much it expects expects one message a second.

use std::time::Duration;

/// The rate assumed of a client that says nothing.
const ASSUMED_MESSAGES_PER_SECOND: f64 = 1.0;
/// Below this patience polling costs more than it spares.
const PATIENT_MS: f64 = 1_000.0;
/// At or below this rate a request a message is little.
const QUIET_MESSAGES_PER_SECOND: f64 = 0.2;
/// Polls come at least twice in the resume window, so that one lost poll loses no session.
const POLLS_PER_RESUME_WINDOW: u32 = 2;

/// A transport and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// As it is named in the session document.
    pub transport: &'static str,
    /// How often to poll, for polling.
    pub poll_interval: Option<Duration>,
    /// For people.
    pub why: &'static str,
}

/// Advises a client that expects `message_rate` messages a second and can wait `latency_ms` for
/// each.
pub fn advise(
    message_rate: Option<f64>,
    latency_ms: Option<f64>,
    resume_window: Duration,
) -> Advice {
    let rate = message_rate.unwrap_or(ASSUMED_MESSAGES_PER_SECOND);
    let patience_ms = latency_ms.unwrap_or(0.0);
    if patience_ms >= PATIENT_MS && rate * patience_ms / 1_000.0 >= 1.0 {
        let longest = resume_window / POLLS_PER_RESUME_WINDOW;
        let interval = Duration::try_from_secs_f64(patience_ms / 1_000.0).unwrap_or(longest);
        return Advice {
            transport: "polling",
            poll_interval: Some(interval.min(longest)),
            why: "the client can wait, and every poll finds a message",
        };
    }
    if rate <= QUIET_MESSAGES_PER_SECOND {
        return Advice {
            transport: "long_polling",
            poll_interval: None,
            why: "messages are rare: a request for each is little and passes every proxy",
        };
    }
    Advice {
        transport: "websocket",
        poll_interval: None,
        why: "least bytes, CPU and delay a message",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    #[test]
    fn the_rule_as_it_is_stated() {
        let transport = |rate, latency| advise(rate, latency, WINDOW).transport;
        assert_eq!(transport(None, None), "websocket");
        assert_eq!(transport(Some(100.0), Some(50.0)), "websocket");
        assert_eq!(transport(Some(0.01), None), "long_polling");
        assert_eq!(transport(Some(0.01), Some(5_000.0)), "long_polling", "most polls were empty");
        assert_eq!(transport(Some(2.0), Some(5_000.0)), "polling");
        assert_eq!(transport(None, Some(1_000.0)), "polling");
    }

    #[test]
    fn no_advice_lets_a_session_expire() {
        let interval = |latency| advise(Some(10.0), Some(latency), WINDOW).poll_interval;
        assert_eq!(interval(3_000.0), Some(Duration::from_secs(3)));
        assert_eq!(interval(1e9), Some(Duration::from_secs(30)));
        assert_eq!(interval(f64::MAX), Some(Duration::from_secs(30)));
    }
}
