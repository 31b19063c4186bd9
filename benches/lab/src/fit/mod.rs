//! The fit: finds the prices from measured cells, and checks them on cells that the fit did not include.

mod least_squares;
mod check;

use pabal_cost::{Cell, Model, Pace, Terms};

use crate::record::Record;

pub use self::check::{Check, Errors, check};

/// The cell with the rate that was measured: the schedule is random, so it differs from the planned rate.
pub fn as_it_was(record: &Record) -> Cell {
    let mut cell = record.cell;
    let received = record.counts.deliveries as f64 / record.seconds;
    cell.plan.per_minute = received / cell.plan.clients as f64 * 60.0;
    cell
}

/// Finds the prices that fit the records best, which were measured on servers with this pace. `cpu_error` is 0;
/// [`check`] computes it.
pub fn fit(machine: String, pace: Pace, records: &[&Record]) -> Model {
    let works: Vec<_> = records
        .iter()
        // A connected client costs memory only: its pings and polls have prices of their own.
        .map(|record| Terms::of(&as_it_was(record), pace).without_held())
        .collect();
    let fitted = |works: &mut dyn Iterator<Item = Terms>, wanted: &dyn Fn(&Record) -> f64| {
        let rows: Vec<_> = works
            .zip(records)
            .map(|(work, record)| (work.to_array(), wanted(record) / record.seconds))
            .collect();
        Terms::from_array(least_squares::fit(&rows))
    };
    let bytes = |record: &Record| (record.counts.bytes_in + record.counts.bytes_out) as f64;
    // The node's own work causes no traffic.
    let mut travels = works.iter().map(|work| work.of_clients());
    // The memory of few clients is not usable: an allocator reserves it by the megabyte.
    let most = records.iter().map(|record| record.cell.plan.clients).max().unwrap_or(0);
    let held: Vec<_> = records
        .iter()
        .filter(|record| record.cell.plan.clients * 2 > most && record.cell.plan.per_minute == 0.0)
        .map(|record| (Terms::held(&record.cell).to_array(), record.rss_per_client))
        .collect();
    // A ping has the CPU price of a frame: its own price cannot be separated from that of the wake-up.
    let mut pings_as_frames = works.iter().map(|&work| Terms {
        frame_websocket: work.frame_websocket + work.ping_websocket,
        frame_sse: work.frame_sse + work.ping_sse,
        ping_websocket: 0.0,
        ping_sse: 0.0,
        ..work
    });
    let cpu_us = fitted(&mut pings_as_frames, &|record| record.server_cpu_us);
    Model {
        machine,
        cells: records.len(),
        cpu_error: 0.0,
        cpu_us: Terms {
            ping_websocket: cpu_us.frame_websocket,
            ping_sse: cpu_us.frame_sse,
            ..cpu_us
        },
        bytes: fitted(&mut travels, &bytes),
        memory_bytes: Terms::from_array(least_squares::fit(&held)),
    }
}

#[cfg(test)]
mod tests;
