//! The model: the price of each term, and what a workload costs at these prices.

use serde::{Deserialize, Serialize};

use crate::{Cell, Headers, Http, Pace, Plan, Terms, Transport};

/// The prices that `pabal lab --save-model` fitted to measurements of Pabal.
const COMMITTED: &str = include_str!("../prices.json");

/// The price of each term, and the measurement that it was fitted to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The machine of the measurement: processors and kernel.
    pub machine: String,
    /// The number of cells that the prices were fitted to.
    pub cells: usize,
    /// The median relative error of the predicted CPU on cells that a fit did not include (cross-validation).
    pub cpu_error: f64,
    /// CPU of the server per unit of each term, in microseconds.
    pub cpu_us: Terms,
    /// Bytes that TCP carries in both directions, per unit of each term.
    pub bytes: Terms,
    /// Resident memory of the server per unit of each term, in bytes.
    pub memory_bytes: Terms,
}

/// The predicted cost of a second of a cell, over all its clients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predicted {
    /// CPU of the server, in microseconds a second.
    pub cpu_us: f64,
    /// Bytes a second that TCP carries, both directions.
    pub bytes: f64,
    /// Requests of the clients a second.
    pub requests: f64,
}

impl Model {
    /// The model that service discovery advises by (`prices.json`).
    ///
    /// # Panics
    /// If the committed file is not a model, which a test excludes.
    pub fn committed() -> &'static Self {
        static MODEL: std::sync::LazyLock<Model> = std::sync::LazyLock::new(|| {
            serde_json::from_str(COMMITTED).expect("the committed model is one")
        });
        &MODEL
    }

    /// The cost of a second of a cell on a server with these intervals.
    pub fn predict(&self, cell: &Cell, pace: Pace) -> Predicted {
        let work = Terms::of(cell, pace);
        Predicted {
            cpu_us: work.at(&self.cpu_us),
            bytes: work.at(&self.bytes),
            requests: work.exchange + work.exchange_http2,
        }
    }

    /// Resident memory that a client of the cell adds to the server, in bytes. Memory of the kernel is not
    /// included.
    pub fn memory_per_client(&self, cell: &Cell) -> f64 {
        Terms::held(cell).at(&self.memory_bytes)
    }
}

/// The cell of the report and the advice: 1,000 clients in groups of 50 over HTTP/1.1 without TLS, minimal
/// headers, messages of 128 bytes; each client receives `per_minute` messages a minute.
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
