//! The fit: prices are found in measured cells, and checked against cells that the fit did not see.

mod least_squares;
mod check;

use pabal_cost::{Cell, Model, Pace, Terms};

use crate::record::Record;

pub use self::check::{Check, Errors, check};

/// The cell as it came about: the schedule is random, and what happened to come is not the server's
/// doing.
pub fn as_it_was(record: &Record) -> Cell {
    let mut cell = record.cell;
    let heard = record.counts.deliveries as f64 / record.seconds;
    cell.plan.per_minute = heard / cell.plan.clients as f64 * 60.0;
    cell
}

/// Finds the prices that fit the records best, which were taken of servers with this pace. `cpu_error` is left at 0 for [`check`] to tell.
pub fn fit(machine: String, pace: Pace, records: &[&Record]) -> Model {
    let works: Vec<_> = records
        .iter()
        // Being there costs memory alone: the pings and the polls of whoever is there have prices of
        // their own.
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
    // What the node does for all does not travel to clients.
    let mut travels = works.iter().map(|work| work.of_clients());
    // Of few clients memory says little: an allocator takes and keeps it by the megabyte.
    let most = records.iter().map(|record| record.cell.plan.clients).max().unwrap_or(0);
    let held: Vec<_> = records
        .iter()
        .filter(|record| record.cell.plan.clients * 2 > most && record.cell.plan.per_minute == 0.0)
        .map(|record| (Terms::held(&record.cell).to_array(), record.rss_per_client))
        .collect();
    // To the CPU a ping is a frame. By itself its price cannot be told from that of waking up for it.
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
