//! Measurements of other systems at the same work, on the same machine, in the same run.
//!
//! In reading order: `host` is the interface of a system, which `pabal`, `nchan`, `socket_io` and `centrifuge`
//! implement; `install` installs their packages. `turns` alternates the systems at the tasks `fan_out`, `pairs`
//! and `idle`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Outcome, process};
use host::{System, Transport};
use install::Folder;

mod host;
mod pabal;
mod nchan;
mod socket_io;
mod centrifuge;
mod install;
mod turns;
mod crowd;
mod fan_out;
mod pairs;
mod idle;

/// The name of Pabal in rows.
pub const PABAL: &str = "Pabal";
/// The names of the other systems in rows.
pub const NAMES: [&str; 3] = ["nchan", "Socket.IO", "Centrifuge"];

/// The task of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "name")]
pub enum Task {
    /// Messages of 128 bytes to 1,000 subscribers of one channel.
    FanOut {
        /// Messages in flight.
        in_flight: usize,
    },
    /// Idle clients.
    Idle,
    /// 100 pairs; a player sends its next message when its partner's has arrived.
    Pairs,
}

/// One system at one task. A figure that the task does not measure is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerRow {
    /// Its name: [`PABAL`] or one of [`NAMES`].
    pub system: String,
    /// Its version.
    pub version: String,
    /// `websocket`, `long_polling` or `sse`.
    pub transport: String,
    /// The task.
    pub task: Task,
    /// Whether a message is on disk before any client receives it.
    pub durable: bool,
    /// Deliveries a second, with the server on one core.
    pub deliveries_per_second: Option<f64>,
    /// CPU of all its processes for a delivery, in microseconds.
    pub cpu_us_per_delivery: Option<f64>,
    /// Bytes that TCP carries per delivery, both directions; in a fan-out without those of the publisher.
    pub bytes_per_delivery: Option<f64>,
    /// Requests for a delivery.
    pub requests_per_delivery: Option<f64>,
    /// The median time from send to receipt, in milliseconds.
    pub p50_ms: Option<f64>,
    /// The same at the 99th percentile.
    pub p99_ms: Option<f64>,
    /// Round trips of all pairs in a second.
    pub round_trips_per_second: Option<f64>,
    /// Resident memory of all its processes for a client, in bytes.
    pub rss_per_client: Option<f64>,
    /// Memory of the kernel for the sockets of a client, both ends, in bytes.
    pub kernel_per_client: Option<f64>,
    /// Share of the generator's core that was busy; above 0.9 the generator was the bottleneck.
    pub generator_busy: f64,
    /// Share of the servers' core that other programs used meanwhile, over all turns of all systems; above
    /// [`DISTURBED`] rates are too low and times too long. Absent for idle clients.
    #[serde(default)]
    pub others_busy: Option<f64>,
}

/// The share of the servers' core used by other programs above which a report warns.
pub const DISTURBED: f64 = 0.1;

impl PeerRow {
    fn empty(system: &dyn System, over: Transport, task: Task, generator_busy: f64) -> Self {
        Self {
            system: system.name().to_owned(),
            version: system.version().to_owned(),
            transport: over.name().to_owned(),
            task,
            durable: system.durable(),
            deliveries_per_second: None,
            cpu_us_per_delivery: None,
            bytes_per_delivery: None,
            requests_per_delivery: None,
            p50_ms: None,
            p99_ms: None,
            round_trips_per_second: None,
            rss_per_client: None,
            kernel_per_client: None,
            generator_busy,
            others_busy: None,
        }
    }
}

/// Subscribers of a fan-out.
const LISTENERS: usize = 1_000;
/// Pairs of players.
const PAIRS: usize = 100;

/// The options of a comparison of systems.
#[derive(Clone, Debug)]
pub struct Options {
    /// The executable of Pabal.
    pub pabal: PathBuf,
    /// The folder of the peers; about 100 MB.
    pub folder: PathBuf,
    /// The folder of Pabal's data: the disk of its durable writes.
    pub disk: PathBuf,
    /// Turns of each system at each task; figures are their medians.
    pub turns: usize,
    /// Length of a turn, besides a quarter of it to warm up.
    pub span: Duration,
    /// Idle clients. The limit of open files has to be above it.
    pub idle_clients: usize,
}

impl Options {
    /// About four minutes once the peers are installed.
    pub fn new(pabal: PathBuf, folder: PathBuf, disk: PathBuf) -> Self {
        // Many short turns, because the load of other programs varies.
        let (turns, span) = (6, Duration::from_millis(600));
        Self { pabal, folder, disk, turns, span, idle_clients: 2_000 }
    }
}

/// Installs missing peers, measures all systems at the tasks, and returns a row for each system, transport and
/// task. Servers run on one core and this process on another.
///
/// Calls `progress` with lines for the user. A peer that cannot be installed, that loses a message or whose server
/// ends is left out, and a line says why.
///
/// # Errors
/// If Pabal cannot be run, or there is no second core.
pub fn run(options: &Options, progress: &dyn Fn(&str)) -> Outcome<Vec<PeerRow>> {
    let systems = systems(options, progress)?;
    process::bind(process::GENERATOR_CORE)?;
    let mut rows = Vec::new();
    for over in Transport::ALL {
        rows.extend(fan_out::rows(&systems, over, LISTENERS, options, progress));
    }
    // Server-sent events are for systems without long polling.
    for over in [Transport::WebSocket, Transport::LongPolling] {
        rows.extend(pairs::rows(&systems, over, PAIRS, options, progress));
    }
    for over in [Transport::WebSocket, Transport::LongPolling] {
        rows.extend(idle::rows(&systems, over, options, progress));
    }
    Ok(rows)
}

/// Pabal, and the peers that can be installed.
fn systems(options: &Options, progress: &dyn Fn(&str)) -> Outcome<Vec<Box<dyn System>>> {
    let pabal = pabal::Pabal::new(options.pabal.clone(), options.disk.clone())?;
    let mut systems: Vec<Box<dyn System>> = vec![Box::new(pabal)];
    std::fs::create_dir_all(&options.folder)?;
    let folder = Folder { path: options.folder.canonicalize()?, progress: Some(progress) };
    for (name, peer) in peers(&folder) {
        match peer {
            Ok(peer) => systems.push(peer),
            Err(error) => progress(&format!("{name} is left out: {error}")),
        }
    }
    Ok(systems)
}

/// All peers that are installed.
fn peers(folder: &Folder<'_>) -> [(&'static str, Outcome<Box<dyn System>>); 3] {
    fn boxed(system: impl System + 'static) -> Box<dyn System> {
        Box::new(system)
    }
    let [nchan, socket_io, centrifuge] = NAMES;
    [
        (nchan, folder.nchan().map(boxed)),
        (socket_io, folder.socket_io().map(boxed)),
        (centrifuge, folder.centrifuge().map(boxed)),
    ]
}

/// The median; of an even number the mean of the two middle ones.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    values.get(low).zip(values.get(high)).map_or(f64::NAN, |(low, high)| (low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A few clients of every system that is installed, at every task on every transport. Peers are
    /// left out where `pabal lab --peers` has not installed them, Pabal where it was not built.
    #[test]
    fn every_system_that_is_installed_does_all_tasks() {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
        let folder = Folder { path: target.join("peers"), progress: None };
        let disk = tempfile::tempdir().expect("a folder");
        let program = ["debug/pabal", "release/pabal"].map(|name| target.join(name));
        let program = program.into_iter().find(|program| program.exists());
        let pabal = program.ok_or_else(|| "it was not built".into()).and_then(|program| {
            let pabal = pabal::Pabal::new(program, disk.path().to_owned())?;
            Outcome::Ok(Box::new(pabal) as Box<dyn System>)
        });
        let options = Options {
            turns: 1,
            span: Duration::from_millis(50),
            idle_clients: 20,
            ..Options::new(PathBuf::new(), PathBuf::new(), PathBuf::new())
        };
        let never = |line: &str| assert!(!line.contains("left out"), "{line}");
        for (name, system) in std::iter::once(("Pabal", pabal)).chain(peers(&folder)) {
            let system = match system {
                Ok(system) => [system],
                Err(error) => {
                    eprintln!("{name} is not tested: {error}");
                    continue;
                }
            };
            for over in Transport::ALL.into_iter().filter(|over| system[0].speaks(*over)) {
                let rows = fan_out::rows(&system, over, 10, &options, &never);
                let tasks: Vec<_> = rows.iter().map(|row| row.task).collect();
                let expected = [1, 32].map(|in_flight| Task::FanOut { in_flight });
                assert_eq!(tasks, expected, "{name} over {over:?}");
                if over != Transport::Sse {
                    let rows = pairs::rows(&system, over, 3, &options, &never);
                    assert!(rows[0].round_trips_per_second > Some(0.0), "{name} over {over:?}");
                }
                if over == Transport::WebSocket {
                    let rows = idle::rows(&system, over, &options, &never);
                    assert!(rows[0].rss_per_client.is_some(), "{name} over {over:?}");
                }
            }
        }
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), 2.5);
    }
}
