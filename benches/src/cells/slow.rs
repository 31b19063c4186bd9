//! Slow consumers: the same fan-out with and without a hundred sessions in the group that read nothing.
//! Afterwards these sessions read, and what they receive is compared with history: every missing message must
//! be covered by a `resync`.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use pabal_lab::api::{Account, Client};
use pabal_lab::process::kernel_tcp_bytes;
use pabal_lab::wire::Framing;
use serde_json::Value;

use super::Setting;
use super::scene::{LISTENERS, SESSIONS_PER_USER, Scene, Transport};
use crate::Outcome;
use crate::report::{Claim, Report, Target, figure, median};

/// Sessions that do not read.
const SLOW: usize = 100;
/// How long messages are sent at full rate to fill the sockets and mailboxes of the slow sessions.
const FILL: Duration = Duration::from_secs(6);
/// How long a slow session may take to receive its `resync` once it reads.
const RESYNC_WITHIN: Duration = Duration::from_secs(30);

/// The claims on slow consumers.
///
/// # Errors
/// If the server fails, or a session loses a message.
pub fn run(setting: &Setting, report: &mut Report) -> Outcome<()> {
    let others = SLOW.div_ceil(SESSIONS_PER_USER);
    let mut scene = Scene::pabal_with(setting, Transport::WebSocket, others)?;
    let pid = scene.server.pid();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let (mut caught_up, mut kernel) = (Vec::new(), Vec::new());
    for turn in 0..setting.turns() {
        eprint!("\r  turn {} of {} ", turn + 1, setting.turns());
        without.push(scene.group.run(pid, 1, setting.span())?);
        let mut slow = Slow::open_all(&scene)?;
        let newest = newest_of(&scene)?;
        let before = kernel_tcp_bytes()?;
        scene.group.run(pid, 32, FILL)?;
        kernel.push(kernel_tcp_bytes()?.saturating_sub(before) as f64 / SLOW as f64 / 1024.0);
        with.push(scene.group.run(pid, 1, setting.span())?);
        let sent = sent_after(&scene, newest)?;
        for slow in &mut slow {
            caught_up.push(slow.settle(&sent)?);
        }
        for (number, slow) in slow.into_iter().enumerate() {
            slow.end(&scene, number)?;
        }
    }
    eprint!("\r");
    let p99 = |rounds: &[pabal_lab::group::Round]| {
        median(rounds.iter().map(|round| round.latency_ms(0.99)))
    };
    let cpu =
        |rounds: &[pabal_lab::group::Round]| median(rounds.iter().map(|round| round.cpu_us()));
    report.claim(Claim {
        cell: "slow".into(),
        what: format!("p99 of {LISTENERS} sessions, {SLOW} beside them read nothing, to none"),
        ours: p99(&with),
        theirs: Some(p99(&without)),
        unit: "ms".into(),
        target: Target::AtMost(1.5),
    });
    let behind = caught_up.iter().filter(|caught_up| caught_up.resyncs > 0).count();
    report.claim(Claim {
        cell: "slow".into(),
        what: "slow sessions that received a resync, of those that missed messages".into(),
        ours: behind as f64,
        theirs: Some(caught_up.iter().filter(|caught_up| caught_up.missed > 0).count() as f64),
        unit: "".into(),
        target: Target::AtLeast(1.0),
    });
    report.note(format!(
        "a slow session: {} messages received late, {} left to history by {} resync (medians); nothing \
         lost; the kernel holds {} KiB for it; server CPU a delivery {} µs beside them, {} µs without",
        figure(median(caught_up.iter().map(|caught_up| caught_up.received as f64))),
        figure(median(caught_up.iter().map(|caught_up| caught_up.missed as f64))),
        figure(median(caught_up.iter().map(|caught_up| caught_up.resyncs as f64))),
        figure(median(kernel)),
        figure(cpu(&with)),
        figure(cpu(&without)),
    ));
    Ok(())
}

/// What a slow session found when it read at last.
struct CaughtUp {
    received: usize,
    missed: usize,
    resyncs: usize,
}

/// A session whose connection is not read.
struct Slow {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// Its session, once its first frame was read.
    session: String,
}

impl Slow {
    fn open_all(scene: &Scene) -> Outcome<Vec<Self>> {
        let one = |number: usize| {
            let client = Client::connect_narrow(scene.server.address())?;
            let (stream, bytes) = client.websocket(Some(user_of(scene, number)))?;
            Ok(Self { stream, bytes, session: String::new() })
        };
        (0..SLOW).map(one).collect()
    }

    /// Reads until everything in `sent` was received or is covered by a `resync`.
    fn settle(&mut self, sent: &BTreeSet<u64>) -> Outcome<CaughtUp> {
        let (mut received, mut resyncs, mut newest) = (BTreeSet::new(), Vec::new(), 0);
        let until = Instant::now() + RESYNC_WITHIN;
        self.stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut buffer = vec![0; 64 * 1024];
        while Some(&newest) < sent.last() {
            if Instant::now() > until {
                return Err(format!("a slow session knows only up to {newest}").into());
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err("the server closed a slow connection".into()),
                Ok(read) => self.bytes.extend_from_slice(&buffer[..read]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
            let mut used = 0;
            while let Some(unit) = Framing::WebSocket.unit(&self.bytes[used..]) {
                used += unit.head.len() + unit.body.len();
                // Pings carry no JSON.
                let Ok(batch) = serde_json::from_slice::<Value>(unit.body) else {
                    continue;
                };
                if let Some(session) = batch["session"]["session_id"].as_str() {
                    session.clone_into(&mut self.session);
                }
                for event in batch["events"].as_array().into_iter().flatten() {
                    let id = match event["type"].as_str() {
                        Some("message") => id(&event["message"]["message_id"])?,
                        Some("resync") => {
                            let id = id(&event["cur_max_message_id"])?;
                            resyncs.push(id);
                            id
                        }
                        _ => continue,
                    };
                    if id <= newest {
                        return Err(format!("{id} after {newest} in a slow session").into());
                    }
                    newest = id;
                    if event["type"] == "message" {
                        received.insert(id);
                    }
                }
            }
            self.bytes.drain(..used);
        }
        let missed: Vec<_> = sent.difference(&received).collect();
        if missed.last() > resyncs.last().as_ref() {
            return Err("a slow session missed a message without a resync".into());
        }
        Ok(CaughtUp { received: received.len(), missed: missed.len(), resyncs: resyncs.len() })
    }

    /// Ends the session, so that its user may open another.
    fn end(self, scene: &Scene, number: usize) -> Outcome<()> {
        let user = user_of(scene, number);
        let path = format!("/v1/sessions/{}", self.session);
        let mut client = Client::connect(scene.server.address())?;
        client.request("DELETE", &path, Some(&user.token), None)?;
        Ok(())
    }
}

/// The user of a slow session.
fn user_of(scene: &Scene, number: usize) -> &Account {
    &scene.users[LISTENERS.div_ceil(SESSIONS_PER_USER) + number / SESSIONS_PER_USER]
}

fn id(value: &Value) -> Outcome<u64> {
    Ok(value.as_str().ok_or_else(|| format!("not an id: {value}"))?.parse()?)
}

/// The channel's newest message.
fn newest_of(scene: &Scene) -> Outcome<u64> {
    let mut client = Client::connect(scene.server.address())?;
    let path = format!("/v1/channels/{}/messages?limit=1", scene.channel);
    let page = client.request("GET", &path, Some(&scene.users[0].token), None)?;
    id(&page["messages"][0]["message_id"])
}

/// Everything in the channel beyond `after`.
fn sent_after(scene: &Scene, after: u64) -> Outcome<BTreeSet<u64>> {
    let mut client = Client::connect(scene.server.address())?;
    let (mut sent, mut after) = (BTreeSet::new(), after);
    loop {
        let path = format!("/v1/channels/{}/messages?after={after}", scene.channel);
        let page = client.request("GET", &path, Some(&scene.users[0].token), None)?;
        for message in page["messages"].as_array().ok_or("a page")? {
            after = id(&message["message_id"])?;
            sent.insert(after);
        }
        if page["has_more"] != true {
            return Ok(sent);
        }
    }
}
