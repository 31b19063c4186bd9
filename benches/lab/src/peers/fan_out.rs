//! The fan-out: one client publishes to many.

use std::time::Duration;

use super::host::{Cast, Host, System, Transport};
use super::turns::{Scene, Turns};
use super::{Options, PeerRow, Task, median};
use crate::Outcome;
use crate::group::{Group, Listener, Round};
use crate::process::Server;
use crate::swarm::Swarm;

const IN_FLIGHT: [usize; 2] = [1, 32];

struct Speech<'a> {
    system: &'a dyn System,
    // Dropped before the server, which otherwise closes every connection first.
    group: Group,
    host: Box<dyn Host>,
    in_flight: usize,
    rounds: Vec<Round>,
}

impl<'a> Speech<'a> {
    fn set(system: &'a dyn System, over: Transport, count: usize) -> Outcome<Self> {
        let mut host = system.start(Cast::FanOut { clients: count })?;
        let (mut swarm, mut listeners) = (Swarm::new()?, Vec::with_capacity(count));
        for number in 0..count {
            let seat = host.listener(over, number, &mut swarm)?;
            listeners.push(Listener::Numbered(seat.dialect));
        }
        let speaker = host.speaker(&mut swarm)?;
        host.wait_for(count)?;
        let group = Group::with_voice(swarm, listeners, speaker.connection, speaker.dialect)?;
        Ok(Self { system, group, host, in_flight: 1, rounds: Vec::new() })
    }

    fn row(&mut self, over: Transport) -> PeerRow {
        let rounds = std::mem::take(&mut self.rounds);
        let of = |value: &dyn Fn(&Round) -> f64| median(rounds.iter().map(value));
        let a_delivery = |round: &Round, count: u64| count as f64 / round.counted.deliveries as f64;
        let task = Task::FanOut { in_flight: self.in_flight };
        PeerRow {
            deliveries_per_second: Some(of(&Round::rate)),
            cpu_us_per_delivery: Some(of(&Round::cpu_us)),
            bytes_per_delivery: Some(of(&|round| a_delivery(round, round.counted.bytes()))),
            requests_per_delivery: Some(of(&|round| a_delivery(round, round.counted.requests))),
            p50_ms: Some(of(&|round| round.latency_ms(0.5))),
            p99_ms: Some(of(&|round| round.latency_ms(0.99))),
            ..PeerRow::empty(self.system, over, task, of(&Round::generator_share))
        }
    }
}

impl Scene for Speech<'_> {
    fn system(&self) -> &dyn System {
        self.system
    }

    fn server(&self) -> &Server {
        self.host.server()
    }

    fn turn(&mut self, span: Duration) -> Outcome<()> {
        let server = || self.host.server().cpu();
        let round = self.group.run_beside(&server, self.in_flight as u64, span)?;
        self.rounds.push(round);
        Ok(())
    }

    fn attend(&mut self) -> Outcome<()> {
        self.group.attend()
    }
}

/// The rows of all systems with this transport, with so many listeners.
pub(super) fn rows(
    systems: &[Box<dyn System>],
    over: Transport,
    count: usize,
    options: &Options,
    progress: &dyn Fn(&str),
) -> Vec<PeerRow> {
    let mut turns = Turns::set(systems, over, progress, |system| Speech::set(system, over, count));
    let mut rows = Vec::new();
    for in_flight in IN_FLIGHT {
        turns.scenes().for_each(|speech| speech.in_flight = in_flight);
        let what = format!("one to {count}, {in_flight} in flight");
        let others_busy = turns.take(options.turns, options.span, &what);
        rows.extend(turns.scenes().map(|speech| PeerRow { others_busy, ..speech.row(over) }));
    }
    rows
}
