//! What a session costs while nothing happens: resident memory of the server before and after
//! thousands of them were opened.
//!
//! The users sign up before a restart, so that what password hashing leaves behind in the allocator
//! is not there to be reused; the first hundred sessions are not counted, because they bring in what
//! there is once.

use std::time::{Duration, Instant};

use super::Setting;
use super::scene::{SESSIONS_PER_USER, Transport, open};
use crate::Outcome;
use crate::api::{Client, sign_up_many};
use crate::process::Server;
use crate::report::{Claim, Report, Target, figure};
use crate::swarm::{Swarm, write};
use crate::wire::Unit;

/// Sessions that are open before memory is first read.
const FIRST: usize = 100;
/// How long memory gets to settle.
const SETTLE: Duration = Duration::from_secs(2);
/// Longer than the interval of pings, so that every connection has had one.
const PINGED: Duration = Duration::from_secs(30);
/// A masked pong without a payload.
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// The claims on memory.
///
/// # Errors
/// If the server fails, or the process may not have as many sockets.
pub fn run(setting: &Setting, report: &mut Report) -> Outcome<()> {
    let sessions = if setting.quick { 5_000 } else { 15_000 };
    for (transport, name, most) in [
        (Transport::WebSocket, "idle WebSocket session", 8.0),
        (Transport::LongPolling, "parked long poll", 10.0),
    ] {
        let kib = one(setting, transport, sessions, report)?;
        report.claim(Claim {
            cell: "idle",
            what: format!("{name}, {sessions} of them"),
            ours: kib,
            theirs: None,
            unit: "KiB",
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
    let mut swarm = Swarm::new()?;
    let (mut before, start) = (0, Instant::now());
    for number in 0..sessions + FIRST {
        if number == FIRST {
            settle(&mut swarm, SETTLE)?;
            before = server.rss()?;
        }
        if number % 1000 == 0 {
            eprint!("\r  {number} sessions ");
        }
        let user = &users[number / SESSIONS_PER_USER];
        let listener = open(&server, user, transport, number, &mut swarm)?;
        if let Some(request) = listener.request(0) {
            swarm.write(number, &request)?;
        }
    }
    eprintln!("\r  {} sessions after {:.0} s", sessions + FIRST, start.elapsed().as_secs_f64());
    settle(&mut swarm, SETTLE)?;
    let a_session = |rss: u64| rss.saturating_sub(before) as f64 / 1024.0 / sessions as f64;
    let mut kib = a_session(server.rss()?);
    report.note(format!(
        "{transport:?}: {} MiB before, {} KiB a session when opened",
        figure(before as f64 / 1024.0 / 1024.0),
        figure(kib)
    ));
    if transport == Transport::WebSocket && !setting.quick {
        let cpu = server.cpu()?;
        settle(&mut swarm, PINGED)?;
        kib = a_session(server.rss()?);
        let cpu = (server.cpu()? - cpu).as_secs_f64() * 1e6 / PINGED.as_secs_f64();
        report.note(format!(
            "{transport:?}: {} KiB a session when each was pinged; {} µs of CPU a second and session",
            figure(kib),
            figure(cpu / sessions as f64)
        ));
    }
    Ok(kib)
}

/// Lets time pass, and answers pings meanwhile.
fn settle(swarm: &mut Swarm, span: Duration) -> Outcome<()> {
    let until = Instant::now() + span;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        swarm.turn(left, |_, stream, Unit { head, .. }| match head[0] {
            0x89 => write(stream, &PONG),
            _ => Ok(()),
        })?;
    }
    Ok(())
}
