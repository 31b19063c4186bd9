//! The clients of a system: a swarm with a dialect per connection.

use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::host::Seat;
use crate::Outcome;
use crate::dialect::{Dialect, Reply};
use crate::swarm::{self, Swarm};
use crate::wire::Unit;

/// A swarm and the dialect of each connection.
#[derive(Debug)]
pub(super) struct Crowd {
    swarm: Swarm,
    dialects: Vec<Box<dyn Dialect>>,
    reply: Reply,
    pub(super) passed: Passed,
}

/// Bytes and requests of all connections.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passed {
    pub(super) bytes: u64,
    pub(super) requests: u64,
}

impl Crowd {
    pub(super) fn new() -> Outcome<Self> {
        let (swarm, passed) = (Swarm::new()?, Passed::default());
        Ok(Self { swarm, dialects: Vec::new(), reply: Reply::default(), passed })
    }

    /// The swarm in which hosts open connections; each is added here right after.
    pub(super) fn swarm(&mut self) -> &mut Swarm {
        &mut self.swarm
    }

    pub(super) fn add(&mut self, seat: Seat) {
        assert_eq!(seat.connection, self.dialects.len(), "seats are added in the order of opening");
        self.dialects.push(seat.dialect);
    }

    /// The number of connections.
    pub(super) fn len(&self) -> usize {
        self.dialects.len()
    }

    /// Sends a message on a connection.
    pub(super) fn say(&mut self, connection: usize, content: &[u8]) -> Outcome<()> {
        self.dialects[connection].say(content, &mut self.reply)?;
        self.passed.add(&self.reply);
        self.swarm.write(connection, &self.reply.bytes)?;
        self.reply.clear();
        Ok(())
    }

    /// Waits at most `timeout` for data, replies to it, and calls `take` with the text of every unit. Returns
    /// whether data arrived.
    pub(super) fn turn(
        &mut self,
        timeout: Duration,
        mut take: impl FnMut(usize, &[u8]) -> Outcome<()>,
    ) -> Outcome<bool> {
        let Self { swarm, dialects, reply, passed } = self;
        swarm.turn(timeout, |number, stream: &mut TcpStream, unit: Unit<'_>| {
            passed.bytes += (unit.head.len() + unit.body.len()) as u64;
            let text = dialects[number].hear(unit, reply)?;
            if !reply.bytes.is_empty() {
                passed.add(reply);
                swarm::write(stream, &reply.bytes)?;
                reply.clear();
            }
            take(number, text)
        })
    }

    /// Replies to pings for a while.
    pub(super) fn attend_for(&mut self, span: Duration) -> Outcome<()> {
        let until = Instant::now() + span;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.turn(left, |_, _| Ok(()))?;
        }
        Ok(())
    }
}

impl Passed {
    fn add(&mut self, reply: &Reply) {
        self.bytes += reply.bytes.len() as u64;
        self.requests += reply.requests;
    }

    pub(super) fn since(self, earlier: Self) -> Self {
        Self { bytes: self.bytes - earlier.bytes, requests: self.requests - earlier.requests }
    }
}
