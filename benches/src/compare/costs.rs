//! What one program costs in one cell: a server alone, on a fresh copy of a data folder whose users
//! signed up before. Every figure is a cost, so that more is worse.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use pabal_lab::api::{Account, Client, sign_up_many};
use pabal_lab::process::Server;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::Outcome;
use crate::cells::durable::{SENDERS, Senders};
use crate::cells::idle::{FIRST, Opened};
use crate::cells::scene::{LISTENING_USERS, SESSIONS_PER_USER, Scene, Transport};

/// A cell of `measure`, without its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// A group of 1,000 WebSocket sessions, with 1 and with 32 messages in flight.
    Fanout,
    /// The same over long polling.
    LongPoll,
    /// Memory of idle WebSocket sessions and of parked long polls.
    Idle,
    /// 64 senders over WebSockets, and one alone.
    Durable,
}

/// A figure of a program. More is worse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// What was measured, with its unit.
    pub what: String,
    /// The figure.
    pub value: f64,
}

/// How long and how large the cells are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// How long each window is measured.
    pub span_ms: u64,
    /// How long memory settles before it is read.
    pub settle_ms: u64,
    /// Idle sessions; a multiple of a thousand.
    pub idle_sessions: usize,
}

impl Size {
    /// About 15 s a program and pair for all cells.
    pub const QUICK: Self = Self { span_ms: 1_000, settle_ms: 500, idle_sessions: 8_000 };
    /// About 30 s a program and pair for all cells.
    pub const FULL: Self = Self { span_ms: 3_000, settle_ms: 2_000, idle_sessions: 12_000 };

    fn users(self) -> usize {
        let idle = (self.idle_sessions + FIRST).div_ceil(SESSIONS_PER_USER);
        idle.max(LISTENING_USERS + 1).max(SENDERS)
    }
}

/// A program, and the data folder from which each of its servers starts.
#[derive(Debug)]
pub struct Subject {
    program: PathBuf,
    disk: PathBuf,
    template: TempDir,
    users: Vec<Account>,
    size: Size,
}

impl Subject {
    /// Signs users up on a server of `program` and stops it. Passwords are hashed here only, so that no
    /// measured server does.
    ///
    /// # Errors
    /// If the server does not start, refuses a request, or does not stop.
    pub fn prepare(program: &Path, disk: &Path, size: Size) -> Outcome<Self> {
        let template = folder(disk)?;
        let server = Server::pabal(program, template.path(), &[])?;
        let count = size.users();
        eprintln!("{}: signing up {count} users", program.display());
        let users = sign_up_many(server.address(), count)?;
        server.stop()?;
        Ok(Self { program: program.into(), disk: disk.into(), template, users, size })
    }

    /// Measures a cell.
    ///
    /// # Errors
    /// If the server fails or a message is lost.
    pub fn costs(&self, cell: Cell) -> Outcome<Vec<Cost>> {
        match cell {
            Cell::Fanout => self.deliveries(Transport::WebSocket),
            Cell::LongPoll => self.deliveries(Transport::LongPolling),
            Cell::Idle => {
                let socket = self.memory(Transport::WebSocket)?;
                let poll = self.memory(Transport::LongPolling)?;
                Ok(vec![
                    cost("KiB a WebSocket session", socket),
                    cost("KiB a parked long poll", poll),
                ])
            }
            Cell::Durable => self.sends(),
        }
    }

    fn deliveries(&self, transport: Transport) -> Outcome<Vec<Cost>> {
        let (folder, server) = self.start()?;
        let users = self.users[..=LISTENING_USERS].to_vec();
        let mut scene = Scene::of_users(server, folder, users, transport)?;
        let mut costs = Vec::new();
        for window in [1, 32] {
            let Scene { server, group, .. } = &mut scene;
            let round = group.run_beside(&|| server.cpu_clock(), window, self.span())?;
            costs.push(cost(&format!("W{window} µs of CPU a delivery"), round.cpu_us()));
            costs.push(cost(&format!("W{window} µs a delivery"), 1e6 / round.rate()));
        }
        Ok(costs)
    }

    fn memory(&self, transport: Transport) -> Outcome<f64> {
        let (_folder, server) = self.start()?;
        let sessions = self.size.idle_sessions;
        let members = &self.users[..(sessions + FIRST).div_ceil(SESSIONS_PER_USER)];
        Client::connect(server.address())?.group(&members[0], &members[1..])?;
        let settling = Duration::from_millis(self.size.settle_ms);
        let opened = Opened::sessions(&server, members, transport, sessions, settling)?;
        let kib = opened.a_session();
        if kib == 0.0 {
            return Err(format!("{sessions} sessions fit into free memory: measure more").into());
        }
        Ok(kib)
    }

    fn sends(&self) -> Outcome<Vec<Cost>> {
        let (_folder, server) = self.start()?;
        let mut senders = Senders::connect(&server, &self.users[..SENDERS])?;
        let before = server.cpu_clock()?;
        let together = senders.run(SENDERS, self.span())?;
        let cpu = (server.cpu_clock()? - before).as_secs_f64();
        let alone = senders.run(1, self.span())?;
        Ok(vec![
            cost(
                &format!("{SENDERS} senders, µs of CPU a send"),
                cpu * 1e6 / together.micros.len() as f64,
            ),
            cost(&format!("{SENDERS} senders, µs a send"), 1e6 / together.rate()),
            cost("one sender, µs to the acknowledgement (median)", alone.quantile(0.5)),
        ])
    }

    fn span(&self) -> Duration {
        Duration::from_millis(self.size.span_ms)
    }

    /// A server on a copy of the template, after its folder: the first variable of a pattern is dropped last,
    /// and the folder has to outlive the server.
    fn start(&self) -> Outcome<(TempDir, Server)> {
        let folder = folder(&self.disk)?;
        let data = folder.path().join("data");
        let copied = Command::new("cp").arg("-a").arg(self.template.path()).arg(&data).status()?;
        if !copied.success() {
            return Err(format!("cannot copy {}: {copied}", self.template.path().display()).into());
        }
        let server = Server::pabal(&self.program, &data, &[])?;
        Ok((folder, server))
    }
}

fn folder(disk: &Path) -> Outcome<TempDir> {
    Ok(tempfile::Builder::new().prefix("pabal-compare-").tempdir_in(disk)?)
}

fn cost(what: &str, value: f64) -> Cost {
    Cost { what: what.into(), value }
}
