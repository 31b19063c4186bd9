//! What follows from prices, on prices that are made up and on those that are committed.

use pabal_cost::{
    Cost, Model, Pace, Polls, Terms, Transport, break_even_seconds, cost, polls, typical,
};
use proptest::prelude::*;

/// The waits of a server whose polls and pings are frequent.
const PACE: Pace = Pace { wait_seconds: 10.0, ping_seconds: 10.0 };

/// What things cost in a made-up world, in microseconds.
fn world() -> impl Strategy<Value = Terms> {
    let price = |at_most: f64| 0.2..at_most;
    (price(300.0), price(3.0), price(20.0), price(20.0), price(20.0), price(10.0), price(10.0))
        .prop_map(|(message, delivery, frame, exchange, two, wait, tls)| Terms {
            node: 500.0,
            wake: 20.0,
            commit: 100.0,
            message,
            delivery,
            content_byte: 0.002,
            frame_websocket: frame,
            frame_sse: frame * 1.2,
            frame_http2: 4.0,
            exchange,
            exchange_http2: exchange + two,
            wait,
            full: 1.0,
            browser: 2.0,
            browser_http2: 3.0,
            tls_exchange: tls,
            tls_frame: tls / 2.0,
            tls_byte: 0.001,
            ping_websocket: frame,
            ping_sse: frame * 1.2,
            ..Terms::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn more_never_costs_less(
        world in world(),
        rate in 0.0..600.0_f64,
        more in 0.0..600.0_f64,
        transport in prop::sample::select(vec![
            Transport::ShortPolling { every_ms: 1_000 }, Transport::LongPolling, Transport::Sse,
            Transport::WebSocket,
        ]),
        clients in 1_usize..5_000,
    ) {
        // A comment is spared when there is something to say, and may cost more than that; and so may
        // waking up for the end of a long poll.
        let cpu_us = Terms { ping_sse: 0.0, wake: 0.0, ..world };
        let model = Model { cpu_us, ..Model::committed().clone() };
        let of = |rate: f64, clients: usize| {
            let mut cell = typical(transport, rate);
            cell.plan.clients = clients;
            model.predict(&cell, PACE).cpu_us
        };
        prop_assert!(of(rate + more, clients) >= of(rate, clients) - 1e-9);
        prop_assert!(of(rate, clients + 1) >= of(rate, clients));
    }

    #[test]
    fn a_break_even_is_where_both_cost_the_same(world in world(), rate in 0.1..600.0_f64) {
        let model = Model { cpu_us: world, ..Model::committed().clone() };
        let cpu = |cost: Cost| cost.cpu_us;
        for other in [Transport::LongPolling, Transport::WebSocket] {
            if let Some(seconds) = break_even_seconds(&model, other, rate, cpu) {
                let at = |seconds: f64| {
                    let every_ms = (seconds * 1e3).round() as u64;
                    cost(&model, Transport::ShortPolling { every_ms }, rate).cpu_us
                };
                let wanted = cost(&model, other, rate).cpu_us;
                prop_assert!(at(seconds) <= wanted * 1.000_001);
                prop_assert!(seconds <= 0.1 || at(seconds * 0.98) >= wanted * 0.99);
            }
        }
    }
}

#[test]
fn polls_are_counted_as_they_come() {
    let every = |every_ms| polls(Transport::ShortPolling { every_ms }, 0.5, 60.0);
    assert_eq!(every(2_000).requests, 0.5);
    assert!((every(2_000).empty - (-1.0_f64).exp()).abs() < 1e-12);
    let long = |rate| polls(Transport::LongPolling, rate, 10.0);
    assert_eq!(long(0.0), Polls { requests: 0.1, empty: 1.0 });
    assert!((long(1e-9).requests - 0.1).abs() < 1e-6, "rare is nearly never");
    assert!((long(100.0).requests - 100.0).abs() < 1e-9, "a request a message");
}

#[test]
fn the_committed_model_is_one() {
    assert!(Model::committed().cpu_us.exchange > 0.0);
}
