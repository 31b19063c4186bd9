//! Pairs: a player sends its next message when its partner's message has arrived.

use std::time::{Duration, Instant};

use pabal_load::Histogram;
use pabal_load::latency::{histogram, quantile_ms, record};

use super::crowd::{Crowd, Passed};
use super::host::{Cast, Host, System, Transport};
use super::turns::{Scene, Turns};
use super::{Options, PeerRow, Task, median};
use crate::Outcome;
use crate::dialect;
use crate::process::{self, Server};

/// The time without any delivery after which a turn ends with an error.
const STUCK: Duration = Duration::from_secs(10);

struct Talk<'a> {
    system: &'a dyn System,
    // Dropped before the server, as in a fan-out.
    crowd: Crowd,
    host: Box<dyn Host>,
    /// The player that receives on each connection; none for a connection that only sends.
    ears: Vec<Option<usize>>,
    /// The connection on which each player sends.
    mouths: Vec<usize>,
    pairs: Vec<Pair>,
    deliveries: u64,
    latency: Histogram<u64>,
    rounds: Vec<Round>,
}

/// The message in flight of a pair. The first player's messages have odd numbers.
#[derive(Clone, Copy, Debug)]
struct Pair {
    number: u64,
    sent_at: Instant,
    /// Whether it has arrived and its successor is not sent yet.
    rests: bool,
}

struct Round {
    wall: f64,
    deliveries: f64,
    server: f64,
    generator: f64,
    passed: Passed,
    p50_ms: f64,
    p99_ms: f64,
}

impl<'a> Talk<'a> {
    fn set(system: &'a dyn System, over: Transport, count: usize) -> Outcome<Self> {
        let mut host = system.start(Cast::Pairs { pairs: count })?;
        let (mut crowd, mut ears, mut mouths) = (Crowd::new()?, Vec::new(), Vec::new());
        for number in 0..2 * count {
            let player = host.player(over, number, crowd.swarm())?;
            ears.push(Some(number));
            mouths
                .push(player.mouth.as_ref().map_or(player.ear.connection, |seat| seat.connection));
            crowd.add(player.ear);
            if let Some(mouth) = player.mouth {
                ears.push(None);
                crowd.add(mouth);
            }
        }
        host.wait_for(2 * count)?;
        let pair = Pair { number: 0, sent_at: Instant::now(), rests: true };
        let (pairs, latency) = (vec![pair; count], histogram());
        Ok(Self {
            system,
            crowd,
            host,
            ears,
            mouths,
            pairs,
            deliveries: 0,
            latency,
            rounds: Vec::new(),
        })
    }

    /// Sends the next message of every pair whose message has arrived.
    fn speak(&mut self) -> Outcome<()> {
        for (number, pair) in self.pairs.iter_mut().enumerate().filter(|(_, pair)| pair.rests) {
            pair.number += 1;
            pair.sent_at = Instant::now();
            pair.rests = false;
            let player = 2 * number + (pair.number + 1) as usize % 2;
            self.crowd.say(self.mouths[player], &dialect::content(pair.number))?;
        }
        Ok(())
    }

    fn hear(&mut self, timeout: Duration) -> Outcome<bool> {
        let Self { crowd, ears, pairs, deliveries, latency, .. } = self;
        crowd.turn(timeout, |connection, text| {
            let Some(player) = ears[connection] else {
                return Ok(());
            };
            let pair = &mut pairs[player / 2];
            for number in dialect::numbers(text) {
                let number = number?;
                // Some systems deliver a message to its sender, too.
                if (number + 1) % 2 == player as u64 % 2 {
                    continue;
                }
                if number != pair.number || pair.rests {
                    return Err(format!("message {number} came, not {}", pair.number).into());
                }
                record(latency, pair.sent_at.elapsed());
                pair.rests = true;
                *deliveries += 1;
            }
            Ok(())
        })
    }

    fn talk_for(&mut self, span: Duration) -> Outcome<()> {
        let until = Instant::now() + span;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.speak()?;
            self.hear(left)?;
        }
        Ok(())
    }

    /// Waits until everything that was sent has arrived.
    fn fall_silent(&mut self) -> Outcome<()> {
        let until = Instant::now() + STUCK;
        while let Some(waits) = self.pairs.iter().position(|pair| !pair.rests) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let number = self.pairs[waits].number;
                return Err(format!("pair {waits} waits for message {number}").into());
            }
            self.hear(left)?;
        }
        Ok(())
    }

    fn row(&self, over: Transport) -> PeerRow {
        let of = |value: &dyn Fn(&Round) -> f64| median(self.rounds.iter().map(value));
        let rate = of(&|round| round.deliveries / round.wall);
        let busy = of(&|round| round.generator / round.wall);
        PeerRow {
            deliveries_per_second: Some(rate),
            cpu_us_per_delivery: Some(of(&|round| round.server * 1e6 / round.deliveries)),
            bytes_per_delivery: Some(of(&|round| round.passed.bytes as f64 / round.deliveries)),
            requests_per_delivery: Some(of(&|round| {
                round.passed.requests as f64 / round.deliveries
            })),
            p50_ms: Some(of(&|round| round.p50_ms)),
            p99_ms: Some(of(&|round| round.p99_ms)),
            round_trips_per_second: Some(rate / 2.0),
            ..PeerRow::empty(self.system, over, Task::Pairs, busy)
        }
    }
}

impl Scene for Talk<'_> {
    fn system(&self) -> &dyn System {
        self.system
    }

    fn server(&self) -> &Server {
        self.host.server()
    }

    fn turn(&mut self, span: Duration) -> Outcome<()> {
        // The warm-up.
        self.talk_for(span / 4)?;
        self.latency = histogram();
        let (deliveries, passed) = (self.deliveries, self.crowd.passed);
        let cpu = (self.host.server().cpu()?, process::cpu(std::process::id())?);
        let start = Instant::now();
        self.talk_for(span)?;
        self.rounds.push(Round {
            wall: start.elapsed().as_secs_f64(),
            deliveries: (self.deliveries - deliveries) as f64,
            server: (self.host.server().cpu()? - cpu.0).as_secs_f64(),
            generator: (process::cpu(std::process::id())? - cpu.1).as_secs_f64(),
            passed: self.crowd.passed.since(passed),
            p50_ms: quantile_ms(&self.latency, 0.5),
            p99_ms: quantile_ms(&self.latency, 0.99),
        });
        self.fall_silent()
    }

    fn attend(&mut self) -> Outcome<()> {
        while self.hear(Duration::ZERO)? {}
        Ok(())
    }
}

/// The rows of all systems with this transport, with so many pairs.
pub(super) fn rows(
    systems: &[Box<dyn System>],
    over: Transport,
    count: usize,
    options: &Options,
    progress: &dyn Fn(&str),
) -> Vec<PeerRow> {
    let mut turns = Turns::set(systems, over, progress, |system| Talk::set(system, over, count));
    let others_busy = turns.take(options.turns, options.span, &format!("{count} pairs"));
    turns.scenes().map(|talk| PeerRow { others_busy, ..talk.row(over) }).collect()
}
