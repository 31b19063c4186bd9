//! The cells of the grid. All combinations would take days: the grid has lines through a centre along which
//! one parameter changes, and corners in which several do, for the model.

use std::time::Duration;

use pabal_cost::{Cell, Headers, Http, Pace, Plan, Transport};
use serde::{Deserialize, Serialize};

/// The intervals of measured servers: shorter than their defaults, so that a window includes the pings and empty
/// polls of idle clients. The model computes with either.
pub const PACE: Pace = Pace { wait_seconds: 10.0, ping_seconds: 10.0 };

/// The content of messages along the lines, in bytes.
const CONTENT: usize = 128;
/// The size of groups along the lines.
const GROUP: usize = 20;
/// Clients along the lines.
const CLIENTS: usize = 1_000;
/// Idle clients: enough to separate the memory of one from the reserve of allocators, in groups as large as a few
/// sign-ups allow.
const SILENT: usize = 5_000;
const SILENT_GROUP: usize = 160;
/// The same in a quick run, most of which is sign-ups.
const SILENT_QUICK: usize = 1_280;
/// Messages that a client receives in a minute, in the centre.
const CENTRE: f64 = 60.0;

/// A cell and how long to measure it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// What to measure.
    pub cell: Cell,
    /// The warm-up.
    pub warm_up: Duration,
    /// The measured time.
    pub window: Duration,
}

/// The size of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// All of it: within 15 minutes on two cores.
    Whole,
    /// Each kind of transport with messages, and two idle ones: within 2 minutes. No model can be fitted to
    /// these cells.
    Quick,
    /// A few clients for a second each, for tests of the lab; the figures mean nothing.
    Tiny,
}

const fn polling(every_ms: u64) -> Transport {
    Transport::ShortPolling { every_ms }
}

const STREAMS: [Transport; 2] = [Transport::Sse, Transport::WebSocket];

/// The cell in the middle, on a transport.
pub fn centre(transport: Transport) -> Cell {
    Cell {
        plan: Plan {
            transport,
            clients: CLIENTS,
            group: GROUP,
            per_minute: CENTRE,
            content_bytes: CONTENT,
            http: Http::One,
            headers: Headers::Minimal,
        },
        tls: false,
    }
}

fn with(transport: Transport, change: impl FnOnce(&mut Cell)) -> Cell {
    let mut cell = centre(transport);
    change(&mut cell);
    cell
}

fn at(transport: Transport, per_minute: f64) -> Cell {
    with(transport, |cell| cell.plan.per_minute = per_minute)
}

/// The cell in which so many clients of a transport are idle.
pub fn silent(transport: Transport, clients: usize) -> Cell {
    with(transport, |cell| {
        (cell.plan.clients, cell.plan.group) = (clients, SILENT_GROUP);
        cell.plan.per_minute = 0.0;
    })
}

/// The cells, in the order in which they are measured.
pub fn steps(size: Size) -> Vec<Step> {
    let cells = match size {
        Size::Whole => whole(),
        Size::Quick => quick(),
        Size::Tiny => tiny(),
    };
    cells.into_iter().map(|cell| step(cell, size)).collect()
}

fn step(cell: Cell, size: Size) -> Step {
    let (least, window) = match size {
        Size::Whole => (Duration::from_secs(2), Duration::from_secs(10)),
        Size::Quick => (Duration::from_secs(1), Duration::from_secs(3)),
        Size::Tiny => (Duration::from_millis(200), Duration::from_secs(1)),
    };
    // Whole intervals, so that as many polls of each client fall into the window as it is long.
    let interval = match cell.plan.transport {
        Transport::ShortPolling { every_ms } => Duration::from_millis(every_ms),
        Transport::LongPolling if cell.plan.per_minute < CENTRE => {
            Duration::from_secs_f64(PACE.wait_seconds)
        }
        Transport::Sse | Transport::WebSocket if cell.plan.per_minute < CENTRE => {
            Duration::from_secs_f64(PACE.ping_seconds)
        }
        _ => Duration::ZERO,
    };
    let regular = match cell.plan.transport {
        Transport::Sse | Transport::WebSocket => true,
        Transport::LongPolling => cell.plan.per_minute == 0.0,
        Transport::ShortPolling { .. } => false,
    };
    // A window as long as the interval includes one ping or one empty poll of each client.
    let warm_up = if regular { least } else { least.max(interval) };
    Step { cell, warm_up, window: window.max(interval) }
}

fn whole() -> Vec<Cell> {
    let mut cells = Vec::new();
    let rates: [(Transport, &[f64]); 7] = [
        (polling(200), &[60.0]),
        (polling(1_000), &[6.0, 60.0, 600.0]),
        (polling(5_000), &[60.0]),
        (polling(30_000), &[60.0]),
        (Transport::LongPolling, &[1.0, 6.0, 60.0, 600.0]),
        (Transport::Sse, &[6.0, 60.0, 600.0]),
        (Transport::WebSocket, &[1.0, 6.0, 60.0, 600.0]),
    ];
    for (transport, rates) in rates {
        // Polls every 200 ms of so many clients exceed one core, and every 30 s need a long window.
        if !matches!(transport, Transport::ShortPolling { every_ms: 200 | 30_000 }) {
            cells.push(silent(transport, SILENT));
        }
        cells.extend(rates.iter().map(|&rate| at(transport, rate)));
    }
    cells.push(Cell { tls: true, ..silent(Transport::WebSocket, SILENT) });
    for transport in [Transport::LongPolling, Transport::WebSocket] {
        cells.push(with(transport, |cell| cell.plan.content_bytes = 2_048));
        cells.push(with(transport, |cell| cell.tls = true));
        cells.push(with(transport, |cell| cell.plan.clients = 4_000));
        cells.push(with(transport, |cell| cell.plan.group = 200));
    }
    for transport in [polling(1_000), Transport::LongPolling] {
        cells.push(with(transport, |cell| cell.plan.headers = Headers::Browser));
        cells.push(with(transport, |cell| cell.plan.http = Http::Two));
    }
    cells.push(with(Transport::LongPolling, corner));
    for transport in STREAMS {
        cells.push(with(transport, |cell| cell.plan.http = Http::Two));
        cells.push(with(transport, corner));
    }
    // Corners, in which several parameters change.
    for transport in STREAMS {
        cells.push(with(transport, |cell| {
            cell.tls = true;
            cell.plan.per_minute = 600.0;
            cell.plan.content_bytes = 512;
            cell.plan.clients = 500;
        }));
    }
    cells.push(with(Transport::LongPolling, |cell| {
        cell.tls = true;
        cell.plan.headers = Headers::Browser;
        cell.plan.content_bytes = 512;
        cell.plan.clients = 500;
    }));
    cells.push(with(polling(200), |cell| {
        cell.tls = true;
        cell.plan.headers = Headers::Browser;
        cell.plan.clients = 500;
    }));
    cells
}

/// The connection of a current browser: HTTP/2 within TLS, with all its headers.
fn corner(cell: &mut Cell) {
    cell.tls = true;
    cell.plan.http = Http::Two;
    cell.plan.headers = Headers::Browser;
}

fn quick() -> Vec<Cell> {
    let mut cells = vec![at(polling(1_000), CENTRE), at(polling(200), 6.0)];
    cells.push(at(Transport::Sse, CENTRE));
    for transport in [Transport::LongPolling, Transport::WebSocket] {
        cells.push(silent(transport, SILENT_QUICK));
        cells.push(at(transport, CENTRE));
        cells.push(at(transport, 600.0));
    }
    cells.push(with(Transport::WebSocket, |cell| cell.tls = true));
    cells
}

fn tiny() -> Vec<Cell> {
    let few = |cell: &mut Cell| (cell.plan.clients, cell.plan.per_minute) = (20, 1_200.0);
    let encrypted = |cell: &mut Cell| {
        few(cell);
        cell.tls = true;
    };
    vec![with(polling(200), few), with(Transport::WebSocket, encrypted)]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_cell_is_measured_twice_and_none_has_the_name_of_another() {
        for size in [Size::Whole, Size::Quick] {
            let steps = steps(size);
            let names: HashSet<_> = steps.iter().map(|step| step.cell.name()).collect();
            assert_eq!(names.len(), steps.len());
        }
    }

    #[test]
    fn a_quick_run_has_clients_at_rest_and_waits_for_less_than_a_minute() {
        let steps = steps(Size::Quick);
        let silent = steps.iter().filter(|step| step.cell.plan.per_minute == 0.0);
        let transports: Vec<_> = silent.map(|step| step.cell.plan.transport).collect();
        assert_eq!(transports, [Transport::LongPolling, Transport::WebSocket]);
        // The rest of two minutes is for starting servers, sign-ups and connecting.
        let waits: Duration = steps.iter().map(|step| step.warm_up + step.window).sum();
        assert!(waits < Duration::from_secs(60), "{waits:?}");
    }

    #[test]
    fn windows_hold_whole_intervals_behind_at_least_one() {
        for step in steps(Size::Whole) {
            if let Transport::ShortPolling { every_ms } = step.cell.plan.transport {
                let every = Duration::from_millis(every_ms);
                assert!(step.warm_up >= every);
                assert_eq!(step.window.as_millis() % every.as_millis(), 0, "{step:?}");
            }
        }
    }
}
