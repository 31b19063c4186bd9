//! Advises a transport: of those that are fast enough for the client, the one that costs the server
//! the least CPU. The cost comes from the model that `pabal lab` fits to measurements
//! (`cost/prices.json`).
//!
//! Without a stated latency, messages are to arrive at once, which polling cannot do. Without a
//! stated rate, one message a second is assumed. If the costs are almost equal, the transport that
//! demands less of clients and proxies is advised: polling, then long polling, then WebSocket.

use std::time::Duration;

use pabal_cost::{CANDIDATES, Candidate, Model, cheapest, cost};

/// The message rate assumed if the client states none.
const ASSUMED_MESSAGES_PER_SECOND: f64 = 1.0;
/// A difference in cost that does not matter: 1 µs of CPU a second, which is one core for a million
/// clients.
const INDIFFERENT_CPU_US: f64 = 1.0;
/// A client polls at least twice in the resume window, so that one lost poll does not end the
/// session.
const POLLS_PER_RESUME_WINDOW: u32 = 2;

/// A transport and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The name of the transport in the session document.
    pub transport: &'static str,
    /// The interval between polls, for short polling.
    pub poll_interval: Option<Duration>,
    /// An explanation for people: the cost of this transport and of the others.
    pub why: String,
}

/// Advises a transport for a client that expects `message_rate` messages a second and accepts a
/// latency of `latency_ms`. The poll interval never lets the session expire.
pub fn advise(
    message_rate: Option<f64>,
    latency_ms: Option<f64>,
    resume_window: Duration,
) -> Advice {
    let model = Model::committed();
    let per_minute = message_rate.unwrap_or(ASSUMED_MESSAGES_PER_SECOND) * 60.0;
    let longest = resume_window / POLLS_PER_RESUME_WINDOW;
    let max_latency = Duration::try_from_secs_f64(latency_ms.unwrap_or(0.0) / 1_000.0);
    let max_latency = max_latency.unwrap_or(longest).min(longest);
    let chosen = cheapest(model, per_minute, max_latency, |cost| cost.cpu_us, INDIFFERENT_CPU_US);
    Advice {
        transport: name(chosen),
        poll_interval: (chosen == Candidate::ShortPolling).then_some(max_latency),
        why: why(model, per_minute, max_latency, chosen),
    }
}

/// The name of a transport in the session document.
fn name(candidate: Candidate) -> &'static str {
    match candidate {
        Candidate::ShortPolling => "polling",
        Candidate::LongPolling => "long_polling",
        Candidate::WebSocket => "websocket",
    }
}

fn why(model: &Model, per_minute: f64, max_latency: Duration, chosen: Candidate) -> String {
    let of = |candidate: Candidate| {
        let transport = candidate.within(max_latency)?;
        Some(format!("{:.2}", cost(model, transport, per_minute).cpu_us))
    };
    let others = CANDIDATES.into_iter().filter(|&candidate| candidate != chosen);
    let others: Vec<_> = others
        .map(|other| match of(other) {
            Some(cpu_us) => format!("{} {cpu_us}", name(other)),
            None => format!("{} is too slow", name(other)),
        })
        .collect();
    format!(
        "costs the server about {} \u{b5}s of CPU a second; {}",
        of(chosen).unwrap_or_default(),
        others.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    #[test]
    fn the_cheapest_transport_that_is_fast_enough_is_advised() {
        let transport = |rate, latency| advise(rate, latency, WINDOW).transport;
        assert_eq!(transport(None, None), "websocket");
        assert_eq!(transport(Some(100.0), Some(50.0)), "websocket", "polling is too slow");
        assert_eq!(transport(Some(0.01), None), "long_polling");
        assert_eq!(transport(Some(0.01), Some(5_000.0)), "long_polling", "most polls were empty");
        assert_eq!(transport(Some(2.0), Some(5_000.0)), "polling", "ten messages a poll");
    }

    #[test]
    fn the_explanation_shows_that_the_advised_transport_is_cheapest() {
        let advice = advise(Some(2.0), Some(5_000.0), WINDOW);
        let figure = |text: &str| -> f64 {
            let digits = text.trim_start_matches(|char: char| !char.is_ascii_digit());
            let end = digits.find(|char: char| !char.is_ascii_digit() && char != '.');
            digits[..end.unwrap_or(digits.len())].parse().unwrap()
        };
        let (mine, others) = advice.why.split_once(';').unwrap();
        for other in others.split(',') {
            assert!(figure(mine) < figure(other), "{}", advice.why);
        }
        let advice = advise(Some(2.0), Some(50.0), WINDOW);
        assert!(advice.why.contains("polling is too slow"), "{}", advice.why);
    }

    #[test]
    fn the_poll_interval_never_lets_a_session_expire() {
        let interval = |latency| advise(Some(10.0), Some(latency), WINDOW).poll_interval;
        assert_eq!(interval(3_000.0), Some(Duration::from_secs(3)));
        assert_eq!(interval(1e9), Some(Duration::from_secs(30)));
        assert_eq!(interval(f64::MAX), Some(Duration::from_secs(30)));
    }
}
