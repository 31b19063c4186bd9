//! The measurement of a cell: a fresh server, a crowd of clients, a window, and the figures of the kernel and
//! the crowd.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pabal_load::latency::quantile_ms;
use pabal_load::{People, Schedule, Target};
use tokio::time::sleep;

use crate::Outcome;
use crate::grid::{PACE, Step};
use crate::process::{self, Server};
use crate::record::{CpuAccounts, Latency, Loopback, Record};
use pabal_cost::Cell;

/// The fewest deliveries for which a 99.9th percentile is reported.
const DELIVERIES_FOR_P999: u64 = 10_000;
/// Sends that leave later than this, at the 99th percentile, and later than a tenth of the latency there,
/// make the generator the bottleneck.
const LATE_MS: f64 = 20.0;
/// A generator that uses more of its core than this is the bottleneck.
const BUSY: f64 = 0.9;
/// How long the last messages may take to arrive, besides an interval of polls.
const ARRIVE_WITHIN: Duration = Duration::from_secs(30);
/// Attempts per cell, each with another port.
const TRIES: usize = 3;
/// How long a crowd is idle before memory is read.
const REST: Duration = Duration::from_millis(500);
/// Memory is measured from before any client connects, and from when one in so many has connected: the first
/// clients allocate shared memory, and reuse memory that the start left free.
const FIRST: usize = 10;

/// What cells are measured with.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The server.
    pub program: PathBuf,
    /// Where data folders are made.
    pub folder: PathBuf,
}

impl Bench {
    /// Measures a cell. Needs a tokio runtime; dropping the future ends the server.
    ///
    /// # Errors
    /// If the server or the crowd cannot work at all. What the oracle finds is in the record.
    pub async fn measure(&self, step: &Step) -> Outcome<Record> {
        let Step { cell, warm_up, window } = *step;
        let plan = cell.plan;
        let mut tries = 1;
        let (_scene, server, people) = loop {
            match self.set(cell).await {
                // Another process may have taken the port while no server listened.
                Err(error) if tries < TRIES => {
                    eprintln!("{}: {error}; trying again", cell.name());
                    tries += 1;
                }
                set => break set?,
            }
        };

        sleep(REST).await;
        let none = memory(&server)?;
        let first = (plan.clients / FIRST).max(1);
        let early = std::cell::Cell::new(None);
        let mut crowd = people
            .connect_over(Duration::ZERO, |connected, _| {
                if connected == first {
                    early.set(Some(memory(&server)));
                }
            })
            .await?;
        // A client that polls at intervals has its memory from its first poll on.
        sleep(if plan.per_minute == 0.0 { warm_up.max(REST) } else { REST }).await;
        let early = early.into_inner().ok_or("no client connected")??;
        let later = memory(&server)?;
        let per_client = |of: fn((u64, u64)) -> u64| {
            let added =
                |from, clients: usize| (of(later) as f64 - of(from) as f64) / clients as f64;
            let rest = plan.clients.saturating_sub(first).max(1);
            added(none, plan.clients).max(added(early, rest)).max(0.0)
        };

        // The process id is part of the seed, so that cells have different schedules.
        let seed = plan.clients as u64 ^ u64::from(server.pid());
        crowd.talk(Schedule::steady(plan.per_minute, seed))?;
        sleep(warm_up).await;
        crowd.take_latency();
        crowd.take_lateness();
        let before = (Moment::now(&server)?, crowd.counts());
        sleep(window).await;
        let after = (Moment::now(&server)?, crowd.counts());
        let (latency, lateness) = (crowd.take_latency(), crowd.take_lateness());
        let verdict = crowd.leave(ARRIVE_WITHIN + warm_up).await;
        if let Some(trouble) = crowd.trouble().filter(|_| !verdict.is_clean()) {
            eprintln!("{}: {trouble}", cell.name());
        }

        let spent = after.0.since(&before.0);
        let late_p99_ms = quantile_ms(&lateness, 0.99);
        let has_deliveries = !latency.is_empty();
        let late = late_p99_ms > LATE_MS.max(quantile_ms(&latency, 0.99) / 10.0);
        let generator_share = spent.generator.as_secs_f64() / spent.wall.as_secs_f64();
        let (by_clock, by_rusage) = server.end()?;
        Ok(Record {
            cell,
            seconds: spent.wall.as_secs_f64(),
            counts: after.1 - before.1,
            latency: has_deliveries.then(|| Latency {
                p50: quantile_ms(&latency, 0.5),
                p90: quantile_ms(&latency, 0.9),
                p99: quantile_ms(&latency, 0.99),
                p999: (latency.len() >= DELIVERIES_FOR_P999).then(|| quantile_ms(&latency, 0.999)),
            }),
            server_cpu_us: micros(spent.server),
            generator_cpu_us: micros(spent.generator),
            loopback: spent.loopback,
            accounts: CpuAccounts {
                by_clock_us: micros(by_clock),
                by_rusage_us: micros(by_rusage),
            },
            rss_per_client: per_client(|memory| memory.0),
            kernel_per_client: per_client(|memory| memory.1),
            verdict,
            late_p99_ms,
            generator_bound: generator_share > BUSY || late,
        })
    }

    /// A server on its folder, and users who signed up before it was started: another process has hashed their
    /// passwords, so that its memory does not count.
    async fn set(&self, cell: Cell) -> Outcome<(Scene, Server, People)> {
        let scene = Scene::new(&self.folder, cell)?;
        let server = scene.start(&self.program, None)?;
        let address = server.address();
        let people = People::gather(&scene.target(address), &cell.plan).await?;
        server.stop()?;
        let server = scene.start(&self.program, Some(address))?;
        Ok((scene, server, people))
    }
}

/// The folder and the configuration of a server; dropping it removes the folder.
struct Scene {
    folder: tempfile::TempDir,
    certificate: Option<(PathBuf, PathBuf)>,
    /// Whether no messages are sent, and the cell measures memory.
    silent: bool,
}

impl Scene {
    fn new(folder: &Path, cell: Cell) -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("cell-").tempdir_in(folder)?;
        let certificate = cell.tls.then(|| certificate(folder.path())).transpose()?;
        Ok(Self { folder, certificate, silent: cell.plan.per_minute == 0.0 })
    }

    fn start(&self, program: &Path, at: Option<std::net::SocketAddr>) -> Outcome<Server> {
        let at = at.unwrap_or_else(|| std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
        let wait = format!("{}", PACE.wait_seconds * 1e3);
        let ping = format!("{}", PACE.ping_seconds * 1e3);
        let mut environment = vec![
            // Warnings do not concern a measurement; its errors are in the record.
            ("PABAL_LOG_FILTER", "error"),
            ("PABAL_LIMITS_LONG_POLL_MAX_WAIT_MS", wait.as_str()),
            ("PABAL_LIMITS_PING_INTERVAL_MS", ping.as_str()),
        ];
        if self.silent {
            environment.push(process::GIVE_BACK);
        }
        if let Some((certificate, key)) = &self.certificate {
            let text = |path: &'static str| format!("{path} is no UTF-8");
            let certificate = certificate.to_str().ok_or_else(|| text("the certificate"))?;
            environment.push(("PABAL_SERVER_TLS_CERT", certificate));
            environment
                .push(("PABAL_SERVER_TLS_KEY", key.to_str().ok_or_else(|| text("the key"))?));
        }
        Server::pabal_at(at, program, &self.folder.path().join("data"), &environment)
    }

    fn target(&self, address: std::net::SocketAddr) -> Target {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        let roots = self.certificate.as_ref().map(|(certificate, _)| certificate.clone());
        Target { roots, ..Target::new(format!("{scheme}://{address}")) }
    }
}

/// Makes a self-signed certificate for this machine; returns the paths of the certificate and its key.
fn certificate(folder: &Path) -> Outcome<(PathBuf, PathBuf)> {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into(), "localhost".into()])?;
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    fs::write(&certificate, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    Ok((certificate, key))
}

/// Resident memory of the server, and the kernel's for TCP.
fn memory(server: &Server) -> Outcome<(u64, u64)> {
    Ok((server.rss()?, process::kernel_tcp_bytes()?))
}

/// The readings of all clocks and counters.
struct Moment {
    wall: Instant,
    server: Duration,
    generator: Duration,
    loopback: (u64, u64),
}

/// The differences between two moments.
struct Spent {
    wall: Duration,
    server: Duration,
    generator: Duration,
    loopback: Loopback,
}

impl Moment {
    fn now(server: &Server) -> Outcome<Self> {
        Ok(Self {
            wall: Instant::now(),
            server: server.cpu_clock()?,
            generator: process::own_cpu_clock(),
            loopback: process::loopback()?,
        })
    }

    fn since(&self, earlier: &Self) -> Spent {
        Spent {
            wall: self.wall - earlier.wall,
            server: self.server - earlier.server,
            generator: self.generator - earlier.generator,
            loopback: Loopback {
                packets: self.loopback.0 - earlier.loopback.0,
                bytes: self.loopback.1 - earlier.loopback.1,
            },
        }
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
