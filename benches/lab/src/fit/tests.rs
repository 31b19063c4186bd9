//! The model on cells whose costs are known.

use pabal_cost::Transport;
use pabal_load::{Counts, Verdict};
use proptest::prelude::*;

use super::*;
use crate::grid::{PACE, Size, steps};
use crate::record::{CpuAccounts, Latency, Loopback};

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

/// The cells of the grid as they would be measured in that world, each off by its share of `noise`.
fn measured(world: &Terms, noise: &[f64]) -> Vec<Record> {
    let prices = Model {
        machine: String::new(),
        cells: 0,
        cpu_error: 0.0,
        cpu_us: *world,
        bytes: Terms { exchange: 500.0, delivery: 250.0, content_byte: 1.0, ..Terms::default() },
        memory_bytes: Terms::default(),
    };
    let cells = steps(Size::Whole).into_iter();
    cells
        .zip(noise.iter().cycle())
        .map(|(step, noise)| {
            let predicted = prices.predict(&step.cell, PACE);
            let plan = step.cell.plan;
            let seconds = 1_000.0;
            let deliveries = plan.clients as f64 * plan.per_minute / 60.0 * seconds;
            Record {
                cell: step.cell,
                seconds,
                counts: Counts {
                    deliveries: deliveries.round() as u64,
                    bytes_in: (predicted.bytes * seconds).round() as u64,
                    ..Counts::default()
                },
                latency: Some(Latency::default()),
                server_cpu_us: predicted.cpu_us * seconds * (1.0 + noise),
                generator_cpu_us: 0.0,
                loopback: Loopback::default(),
                accounts: CpuAccounts::default(),
                rss_per_client: 1.0,
                kernel_per_client: 1.0,
                verdict: Verdict::default(),
                late_p99_ms: 0.0,
                generator_bound: false,
            }
        })
        .collect()
}

fn off(found: f64, wanted: f64) -> f64 {
    (found - wanted).abs() / wanted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn prices_are_found_in_what_they_cost(world in world()) {
        let records = measured(&world, &[0.0]);
        let model = fit(String::new(), PACE, &records.iter().collect::<Vec<_>>());
        for (name, found, wanted) in [
            ("frame and delivery", model.cpu_us.frame_websocket + model.cpu_us.delivery,
                world.frame_websocket + world.delivery),
            ("exchange", model.cpu_us.exchange, world.exchange),
            ("exchange over HTTP/2", model.cpu_us.exchange_http2, world.exchange_http2),
            ("tls", model.cpu_us.tls_exchange, world.tls_exchange),
            ("bytes", model.bytes.content_byte, 1.0),
        ] {
            prop_assert!(off(found, wanted) < 0.05, "{name}: {found} for {wanted}");
        }
    }

    #[test]
    fn noise_of_a_tenth_makes_no_cell_wrong_by_much_more(
        world in world(),
        noise in prop::collection::vec(-0.1..0.1, 50..60),
    ) {
        let records = measured(&world, &noise);
        let model = fit(String::new(), PACE, &records.iter().collect::<Vec<_>>());
        let exact = measured(&world, &[0.0]);
        for (record, noisy) in exact.iter().zip(&records) {
            let found = model.predict(&as_it_was(noisy), PACE).cpu_us;
            let wanted = record.server_cpu_us / record.seconds;
            prop_assert!(off(found, wanted) < 0.15, "{}: {found} for {wanted}", record.cell.name());
        }
    }
}

#[test]
fn every_quarter_is_judged_by_the_other_three() {
    let world = Terms {
        node: 900.0,
        message: 120.0,
        frame_websocket: 7.0,
        frame_sse: 8.0,
        ping_websocket: 7.0,
        ping_sse: 8.0,
        exchange: 12.0,
        exchange_http2: 30.0,
        ..Terms::default()
    };
    let mut records = measured(&world, &[0.0]);
    let exact = check(&records.iter().collect::<Vec<_>>(), PACE, 1);
    assert_eq!(exact.held.len(), records.len());
    assert!(exact.cpu_all.median < 1e-3, "{:?}", exact.cpu_all);
    let outlier = records.iter().position(|one| one.cell.plan.transport == Transport::LongPolling);
    let outlier = outlier.expect("there is one");
    records[outlier].server_cpu_us *= 3.0;
    let faulty = check(&records.iter().collect::<Vec<_>>(), PACE, 1);
    let (before, after) = (exact.held[outlier], faulty.held[outlier]);
    assert_eq!(after.cpu_us, before.cpu_us * 3.0);
    assert_eq!(
        after.cpu_us_predicted, before.cpu_us_predicted,
        "a held-out cell is not in its own fit"
    );
}
