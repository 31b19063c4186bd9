//! The memory of an idle session: resident memory of the server before and after thousands of sessions were
//! opened.
//!
//! The users sign up before a restart, so that sessions do not reuse the memory that password hashing has
//! freed in the allocator; the first hundred sessions are not counted, because they allocate what all
//! sessions share.

use std::time::{Duration, Instant};

use pabal_lab::api::{Account, Client, sign_up_many};
use pabal_lab::process::Server;
use pabal_lab::swarm::Swarm;

use super::Setting;
use super::scene::{SESSIONS_PER_USER, Transport, open};
use crate::Outcome;
use crate::report::{Claim, Report, Target, figure};

/// Sessions that are open before memory is first read.
pub const FIRST: usize = 100;
/// How long memory settles before it is read.
const SETTLE: Duration = Duration::from_secs(2);
/// Longer than the interval of pings, so that every connection has had one.
const PINGED: Duration = Duration::from_secs(30);

/// The claims on memory.
///
/// # Errors
/// If the server fails, or the limit of open files is too low.
pub fn run(setting: &Setting, report: &mut Report) -> Outcome<()> {
    let sessions = if setting.quick { 5_000 } else { 15_000 };
    for (transport, name, most) in [
        (Transport::WebSocket, "idle WebSocket session", 8.0),
        (Transport::LongPolling, "parked long poll", 10.0),
    ] {
        let kib = one(setting, transport, sessions, report)?;
        report.claim(Claim {
            cell: "idle".into(),
            what: format!("{name}, {sessions} of them"),
            ours: kib,
            theirs: None,
            unit: "KiB".into(),
            target: Target::AtMost(most),
        });
    }
    Ok(())
}

fn one(
    setting: &Setting,
    transport: Transport,
    sessions: usize,
    report: &mut Report,
) -> Outcome<f64> {
    let folder = setting.folder()?;
    let users = {
        let server = Server::pabal(&setting.pabal, folder.path(), &[])?;
        let count = (sessions + FIRST).div_ceil(SESSIONS_PER_USER);
        eprintln!("  {transport:?}: signing {count} users up");
        let users = sign_up_many(server.address(), count)?;
        Client::connect(server.address())?.group(&users[0], &users[1..])?;
        users
    };
    let server = Server::pabal(&setting.pabal, folder.path(), &[])?;
    let mut opened = Opened::sessions(&server, &users, transport, sessions, SETTLE)?;
    let thousands = opened.steps.windows(2).map(|step| figure(a_session(step[0], step[1], 1000)));
    report.note(format!(
        "{transport:?}: {} MiB before; KiB a session, thousand by thousand: {}",
        figure(opened.before as f64 / 1024.0 / 1024.0),
        thousands.collect::<Vec<_>>().join(" ")
    ));
    let (all, later) = (opened.over_all(), opened.over_the_later_half());
    let mut kib = opened.a_session();
    report.note(format!(
        "{transport:?}: {} KiB a session over all, {} over the later half",
        figure(all),
        figure(later)
    ));
    if !setting.quick {
        let cpu = server.cpu()?;
        settle(&mut opened.swarm, PINGED)?;
        let cpu = (server.cpu()? - cpu).as_secs_f64() * 1e6 / PINGED.as_secs_f64();
        let waited = server.rss()?;
        report.note(format!(
            "{transport:?}: {} KiB a session over all after {} s; {} µs of CPU a second and session",
            figure(a_session(opened.before, waited, sessions)),
            PINGED.as_secs(),
            figure(cpu / sessions as f64)
        ));
        kib = kib.max(a_session(opened.before, waited, sessions));
    }
    Ok(kib)
}

/// KiB for each of `sessions` that were opened while the memory changed from `from` to `to` bytes.
fn a_session(from: u64, to: u64, sessions: usize) -> f64 {
    to.saturating_sub(from) as f64 / 1024.0 / sessions as f64
}

/// Idle sessions on a server, and its resident memory in bytes while they were opened.
#[derive(Debug)]
pub struct Opened {
    /// The connections, which have to reply to pings while the sessions live.
    pub swarm: Swarm,
    /// With the first hundred sessions, which are not counted.
    pub before: u64,
    /// After each thousand of the counted sessions; begins with none of them, ends with `last`.
    pub steps: Vec<u64>,
    /// With all of them.
    pub last: u64,
}

impl Opened {
    /// Opens so many sessions besides the [`FIRST`]. Memory is read after `settle` has passed.
    ///
    /// # Errors
    /// If there are too few users, or the server fails.
    pub fn sessions(
        server: &Server,
        users: &[Account],
        transport: Transport,
        sessions: usize,
        settling: Duration,
    ) -> Outcome<Self> {
        let mut swarm = Swarm::new()?;
        let (mut before, mut steps, start) = (0, Vec::new(), Instant::now());
        for number in 0..sessions + FIRST {
            if number == FIRST {
                settle(&mut swarm, settling)?;
                before = server.rss()?;
            }
            if number >= FIRST && (number - FIRST).is_multiple_of(1000) {
                steps.push(server.rss()?);
                eprint!("\r  {number} sessions ");
            }
            let user = users.get(number / SESSIONS_PER_USER).ok_or("too few users")?;
            let listener = open(server, user, transport, number, &mut swarm)?;
            if let Some(request) = listener.request(0) {
                swarm.write(number, &request)?;
            }
        }
        eprintln!("\r  {} sessions after {:.0} s", sessions + FIRST, start.elapsed().as_secs_f64());
        settle(&mut swarm, settling)?;
        let last = server.rss()?;
        steps.push(last);
        Ok(Self { swarm, before, steps, last })
    }

    /// KiB a session. The first sessions reuse free memory of the allocator, so this is the larger of
    /// the figures over all sessions and over the later half of them.
    pub fn a_session(&self) -> f64 {
        self.over_all().max(self.over_the_later_half())
    }

    fn over_all(&self) -> f64 {
        a_session(self.before, self.last, (self.steps.len() - 1) * 1000)
    }

    fn over_the_later_half(&self) -> f64 {
        let half = self.steps.len() / 2;
        a_session(self.steps[half], self.last, (self.steps.len() - 1 - half) * 1000)
    }
}

/// Replies to pings for a while.
fn settle(swarm: &mut Swarm, span: Duration) -> Outcome<()> {
    let until = Instant::now() + span;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        swarm.turn(left, |_, _, _| Ok(()))?;
    }
    Ok(())
}
