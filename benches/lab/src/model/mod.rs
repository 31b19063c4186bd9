//! The cost model: what a cell costs the server, computed from its plan. Fitted to measured cells,
//! checked against cells it did not see; the same prices advise clients, draw the curves and make up
//! the month's bill.
//!
//! A cell is taken apart into [`Terms`]: so many messages stored, requests answered, frames written,
//! connections held in a second. Each has a price in CPU, and one in bytes; [`fit`] finds them.

mod terms;
mod least_squares;
mod check;
mod choose;
mod month;

use pabal_load::{Headers, Http, Plan, Transport};
use serde::{Deserialize, Serialize};

use crate::record::{Cell, Record};

pub use self::check::{Check, Errors, check};
pub use self::choose::{CANDIDATES, Candidate, Cost, break_even_seconds, cheapest, cost};
pub use self::month::{Habit, Month, month};
pub use self::terms::{Pace, Polls, Terms, polls};

/// The prices that were fitted to measurements of Pabal, as committed.
const COMMITTED: &str = include_str!("../../model.json");

/// Prices, and where they come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The machine.
    pub machine: String,
    /// Cells that the prices were fitted to.
    pub cells: usize,
    /// Half of the cells that a fit did not see were off by no more than this share of their CPU.
    pub cpu_error: f64,
    /// Microseconds of CPU of the server for one of each.
    pub cpu_us: Terms,
    /// Bytes that TCP carries, both ways, for one of each.
    pub bytes: Terms,
    /// Bytes of resident memory for one of each.
    pub memory_bytes: Terms,
}

/// What a second of a cell costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predicted {
    /// Microseconds of CPU of the server.
    pub cpu_us: f64,
    /// Bytes that TCP carries, both ways.
    pub bytes: f64,
    /// Requests of the clients.
    pub requests: f64,
}

impl Model {
    /// The one that this program advises by.
    ///
    /// # Panics
    /// Not in a program whose tests have passed.
    pub fn committed() -> &'static Self {
        static MODEL: std::sync::LazyLock<Model> = std::sync::LazyLock::new(|| {
            serde_json::from_str(COMMITTED).expect("the committed model is one")
        });
        &MODEL
    }

    /// What a second of a cell costs on a server with this pace.
    pub fn predict(&self, cell: &Cell, pace: Pace) -> Predicted {
        let work = Terms::of(cell, pace);
        Predicted {
            cpu_us: work.at(&self.cpu_us),
            bytes: work.at(&self.bytes),
            requests: work.exchange + work.exchange_http2,
        }
    }

    /// Resident memory of the server that a client of the cell adds, in bytes.
    pub fn memory_per_client(&self, cell: &Cell) -> f64 {
        Terms::held(cell).at(&self.memory_bytes)
    }
}

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

/// A client as the report and the advice speak of it: HTTP/1.1 without TLS, minimal headers, groups of
/// 50, 128 bytes. One of a thousand, so that the node's own work is shared.
pub fn typical(transport: Transport, per_minute: f64) -> Cell {
    Cell {
        plan: Plan {
            transport,
            clients: 1_000,
            group: 50,
            per_minute,
            content_bytes: 128,
            http: Http::One,
            headers: Headers::Minimal,
        },
        tls: false,
    }
}

#[cfg(test)]
mod tests;
