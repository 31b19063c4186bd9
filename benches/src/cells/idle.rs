//! What a session costs while nothing happens: resident memory of the server before and after
//! thousands of them were opened.
//!
//! The users sign up before a restart, so that what password hashing leaves behind in the allocator
//! is not there to be reused; the first hundred sessions are not counted, because they bring in what
//! there is once.

use std::time::{Duration, Instant};

use pabal_lab::api::{Client, sign_up_many};
use pabal_lab::process::Server;
use pabal_lab::swarm::Swarm;

use super::Setting;
use super::scene::{SESSIONS_PER_USER, Transport, open};
use crate::Outcome;
use crate::report::{Claim, Report, Target, figure};

/// Sessions that are open before memory is first read.
const FIRST: usize = 100;
/// How long memory gets to settle.
const SETTLE: Duration = Duration::from_secs(2);
/// Longer than the interval of pings, so that every connection has had one.
const PINGED: Duration = Duration::from_secs(30);

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
    let (mut before, mut steps, start) = (0, Vec::new(), Instant::now());
    for number in 0..sessions + FIRST {
        if number == FIRST {
            settle(&mut swarm, SETTLE)?;
            before = server.rss()?;
        }
        if number >= FIRST && (number - FIRST).is_multiple_of(1000) {
            steps.push(server.rss()?);
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
    let opened = server.rss()?;
    steps.push(opened);
    let a_session = |from: u64, to: u64, sessions: usize| {
        to.saturating_sub(from) as f64 / 1024.0 / sessions as f64
    };
    let thousands = steps.windows(2).map(|step| figure(a_session(step[0], step[1], 1000)));
    report.note(format!(
        "{transport:?}: {} MiB before; KiB a session, thousand by thousand: {}",
        figure(before as f64 / 1024.0 / 1024.0),
        thousands.collect::<Vec<_>>().join(" ")
    ));
    // What was free in the allocator goes to the first sessions; the later ones tell the price.
    let half = steps.len() / 2;
    let later = a_session(steps[half], opened, (steps.len() - 1 - half) * 1000);
    let mut kib = a_session(before, opened, sessions);
    report.note(format!(
        "{transport:?}: {} KiB a session over all, {} over the later half",
        figure(kib),
        figure(later)
    ));
    kib = kib.max(later);
    if !setting.quick {
        let cpu = server.cpu()?;
        settle(&mut swarm, PINGED)?;
        let cpu = (server.cpu()? - cpu).as_secs_f64() * 1e6 / PINGED.as_secs_f64();
        let waited = server.rss()?;
        report.note(format!(
            "{transport:?}: {} KiB a session over all after {} s; {} µs of CPU a second and session",
            figure(a_session(before, waited, sessions)),
            PINGED.as_secs(),
            figure(cpu / sessions as f64)
        ));
        kib = kib.max(a_session(before, waited, sessions));
    }
    Ok(kib)
}

/// Lets time pass, in which pings are answered.
fn settle(swarm: &mut Swarm, span: Duration) -> Outcome<()> {
    let until = Instant::now() + span;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        swarm.turn(left, |_, _, _| Ok(()))?;
    }
    Ok(())
}
