//! The prices, and what a workload costs at them.

use serde::{Deserialize, Serialize};

use crate::{Cell, Headers, Http, Pace, Plan, Terms, Transport};

/// The prices that were fitted to measurements of Pabal, as committed.
const COMMITTED: &str = include_str!("../prices.json");

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
