//! Acknowledged sends in comparison with the sync rate of the disk: 64 concurrent senders, and one alone.
//!
//! The senders are 32 pairs with direct channels, all connected; each sends the next message when the last one
//! is acknowledged. Messages have a `client_message_id`, as those of a real client. The 64 are measured
//! twice: over WebSockets of a server on one core, and as callers of an engine in this process on both cores;
//! the difference is the cost of sockets and a second process.

use std::fmt::Write;
use std::time::{Duration, Instant};

use pabal_core::model::ChannelId;
use pabal_core::ports::Delivery;
use pabal_lab::api::{Account, Client, sign_up_many};
use pabal_lab::process;
use pabal_lab::process::Server;
use pabal_lab::swarm::{self, Swarm};
use pabal_lab::wire::{Framing, client_frame};
use tokio::runtime::Runtime;

use super::Setting;
use super::scene::CONTENT;
use crate::Outcome;
use crate::disk::bare_sync;
use crate::node::{GROUP, Node, on_disk};
use crate::report::{Claim, Report, Target, figure, median};

/// Concurrent senders.
pub const SENDERS: usize = 64;
/// The time without any acknowledgement after which a run ends with an error.
const STUCK: Duration = Duration::from_secs(10);

/// The durability claims.
///
/// # Errors
/// If the server fails or refuses a send.
pub fn run(setting: &Setting, report: &mut Report) -> Outcome<()> {
    let folder = setting.folder()?;
    let server = Server::pabal(&setting.pabal, folder.path(), &[])?;
    eprintln!("  signing {SENDERS} users up");
    let mut senders = Senders::connect(&server, &sign_up_many(server.address(), SENDERS)?)?;
    let (mut bare, mut together, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    let (mut cpu_us, mut cpu_share, mut called) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..setting.turns() {
        eprint!("\r  turn {} of {} ", turn + 1, setting.turns());
        bare.push(bare_sync(folder.path(), CONTENT, Duration::from_secs(1))?);
        let cpu = server.cpu()?;
        let acks = senders.run(SENDERS, setting.span())?;
        let cpu = (server.cpu()? - cpu).as_secs_f64();
        cpu_us.push(cpu * 1e6 / acks.micros.len() as f64);
        cpu_share.push(cpu / acks.wall.as_secs_f64());
        together.push(acks);
        bare.push(bare_sync(folder.path(), CONTENT, Duration::from_secs(1))?);
        alone.push(senders.run(1, setting.span())?);
        called.push(call(setting)?);
    }
    eprint!("\r");
    let rates = bare.iter().map(|bare| bare.per_second);
    let (slowest, fastest) = rates.clone().fold((f64::MAX, 0f64), |(a, b), r| (a.min(r), b.max(r)));
    let bare_rate = median(rates);
    let bare_us = median(bare.iter().map(|bare| bare.median_us));
    report.note(format!(
        "bare fdatasync of {CONTENT} bytes, one at a time: {}/s ({} to {}), median {} µs",
        figure(bare_rate),
        figure(slowest),
        figure(fastest),
        figure(bare_us)
    ));
    let claim = |what: &str, ours: f64, target| Claim {
        cell: "durable".into(),
        what: format!("{SENDERS} senders {what}, acknowledged sends, to bare fdatasync"),
        ours,
        theirs: Some(bare_rate),
        unit: "/s".into(),
        target,
    };
    let over_sockets = median(together.iter().map(Acks::rate));
    report.claim(claim("over WebSockets of one core", over_sockets, Target::None));
    report.claim(claim("of an engine", median(called), Target::AtLeast(8.0)));
    let quantile = |acks: &[Acks], share: f64| median(acks.iter().map(|acks| acks.quantile(share)));
    report.note(format!(
        "{SENDERS} senders: acknowledged after p50 {} p99 {} ms; {} µs of server CPU an acknowledged \
         and twice delivered send, {:.0} % of its core",
        figure(quantile(&together, 0.5) / 1e3),
        figure(quantile(&together, 0.99) / 1e3),
        figure(median(cpu_us)),
        median(cpu_share) * 100.0
    ));
    report.claim(Claim {
        cell: "durable".into(),
        what: "one sender, median acknowledgement, to 2 × fdatasync + 0.3 ms".into(),
        ours: quantile(&alone, 0.5),
        theirs: Some(2.0 * bare_us + 300.0),
        unit: "µs".into(),
        target: Target::AtMost(1.0),
    });
    Ok(())
}

/// Acknowledged sends a second of the callers of an engine in this process.
fn call(setting: &Setting) -> Outcome<f64> {
    let folder = setting.folder()?;
    process::bind(&format!("{},{}", process::SERVER_CORE, process::GENERATOR_CORE))?;
    let rate = Runtime::new()?.block_on(async {
        let node = Node::start(on_disk(folder.path())?, SENDERS).await?;
        let channel = |pair: usize| ChannelId::new(GROUP.get() + 1 + pair as u64);
        let mut sessions = Vec::new();
        for number in 0..SENDERS {
            sessions.push(node.session(number).await?);
        }
        for pair in 0..SENDERS / 2 {
            node.group(channel(pair), 2 * pair..2 * pair + 2).await?;
            let joins = sessions[2 * pair..2 * pair + 2].iter().map(|it| it.user_id());
            for user_id in joins {
                let channel_id = channel(pair);
                let joined = Delivery::Membership { channel_id, user_id, joined: true };
                node.engine.publish(joined).await;
            }
        }
        let start = Instant::now();
        let until = start + setting.span();
        let callers: Vec<_> = (0..SENDERS)
            .map(|number| {
                let node = node.clone();
                tokio::spawn(async move {
                    let (mut count, content) = (0u64, "x".repeat(CONTENT));
                    while Instant::now() < until {
                        let name = format!("m{count}");
                        node.send_named(number, channel(number / 2), &content, name).await?;
                        count += 1;
                    }
                    Outcome::Ok(count)
                })
            })
            .collect();
        let mut acknowledged = 0;
        for caller in callers {
            acknowledged += caller.await??;
        }
        let rate = acknowledged as f64 / start.elapsed().as_secs_f64();
        // The last deliveries may follow their acknowledgements.
        let since = Instant::now();
        while node.engine.stats().deliveries < 2 * acknowledged {
            if since.elapsed() > STUCK {
                let delivered = node.engine.stats().deliveries;
                return Err(format!("{delivered} deliveries of {acknowledged} sends to two").into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        node.engine.shutdown().await;
        Outcome::Ok(rate)
    })?;
    process::bind(process::GENERATOR_CORE)?;
    Ok(rate)
}

/// Connected users in pairs, each of whom sends to the other over a WebSocket.
#[derive(Debug)]
pub struct Senders {
    swarm: Swarm,
    channels: Vec<String>,
    sent: u64,
}

/// The acknowledged sends of one run.
#[derive(Clone, Debug)]
pub struct Acks {
    /// How long the run was.
    pub wall: Duration,
    /// The time from each send to its acknowledgement, in microseconds, ascending.
    pub micros: Vec<f64>,
}

impl Acks {
    /// Acknowledged sends a second.
    pub fn rate(&self) -> f64 {
        self.micros.len() as f64 / self.wall.as_secs_f64()
    }

    /// The time that this share of the acknowledgements did not exceed, in microseconds. A run has at
    /// least one acknowledgement.
    pub fn quantile(&self, share: f64) -> f64 {
        self.micros[((self.micros.len() - 1) as f64 * share) as usize]
    }
}

impl Senders {
    /// Connects an even number of `users` and opens the direct channel of each pair.
    ///
    /// # Errors
    /// If the server refuses a request.
    pub fn connect(server: &Server, users: &[Account]) -> Outcome<Self> {
        let (mut swarm, mut channels) = (Swarm::new()?, Vec::new());
        for (number, user) in users.iter().enumerate() {
            let mut client = Client::connect(server.address())?;
            channels.push(client.direct(user, &users[number ^ 1])?);
            let (stream, read) = client.websocket(Some(user))?;
            swarm.add(stream, read, Framing::WebSocket)?;
        }
        Ok(Self { swarm, channels, sent: 0 })
    }

    /// The first `count` of them send for `span`, each when its last send was acknowledged.
    ///
    /// # Errors
    /// If a connection breaks, a send is refused, or no acknowledgement comes for ten seconds.
    pub fn run(&mut self, count: usize, span: Duration) -> Outcome<Acks> {
        let Self { swarm, channels, sent } = self;
        let mut next = |number: usize| {
            *sent += 1;
            let mut text = String::new();
            let (channel, content) = (&channels[number], "x".repeat(CONTENT));
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                r#"{{"type":"send","channel_id":"{channel}","client_message_id":"m{sent}","content":"{content}"}}"#
            );
            let mut frame = Vec::new();
            client_frame(text.as_bytes(), &mut frame);
            frame
        };
        let start = Instant::now();
        let (mut sent_at, mut micros, mut waiting) = (vec![start; count], Vec::new(), count);
        for number in 0..count {
            swarm.write(number, &next(number))?;
        }
        while waiting > 0 {
            let arrived = swarm.turn(STUCK, |number, stream, unit| {
                if !unit.body.starts_with(b"{\"reply\"") {
                    return Ok(());
                }
                if memchr::memmem::find(unit.body, b"\"error\"").is_some() {
                    let reply = String::from_utf8_lossy(unit.body);
                    return Err(format!("a send was refused: {reply}").into());
                }
                let now = Instant::now();
                micros.push((now - sent_at[number]).as_secs_f64() * 1e6);
                if now - start < span {
                    sent_at[number] = now;
                    swarm::write(stream, &next(number))
                } else {
                    waiting -= 1;
                    Ok(())
                }
            })?;
            if !arrived {
                return Err("no acknowledgement came".into());
            }
        }
        let wall = start.elapsed();
        micros.sort_by(f64::total_cmp);
        Ok(Acks { wall, micros })
    }
}
