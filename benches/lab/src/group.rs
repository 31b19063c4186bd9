//! One sender and its listeners in a group: sends with a fixed number of messages in flight, and
//! counts what every listener has received.
//!
//! A message is in flight until all listeners have it. Sessions number their events without holes, so the
//! cursor at the end of a batch is the number of messages that a listener has; contents of other systems
//! carry their number. A run in which a message is missing makes no progress and ends with an error.

use std::time::{Duration, Instant};

use mio::net::TcpStream;
use pabal_load::Histogram;
use pabal_load::latency::{histogram, quantile_ms, record};

use crate::Outcome;
use crate::dialect::{self, Dialect, Reply};
use crate::process;
use crate::swarm::{self, Swarm};
use crate::wire::{Unit, next_of};

/// The most messages in flight.
const RING: usize = 64;
/// The time without any delivery after which a run ends with an error.
const STUCK: Duration = Duration::from_secs(10);
/// The interval at which the generator polls its connections. It does not block on them: each write of the
/// server would wake it, and on loopback the wake-up is charged to the server's core, at times half as much
/// CPU as the write itself. Receivers on other machines cause no such cost.
const PACE: Duration = Duration::from_micros(100);
/// The longest warm-up of a run; it is at most a quarter of the measured time.
const WARM_UP: Duration = Duration::from_millis(500);

/// How a listener receives.
#[derive(Debug)]
pub enum Listener {
    /// Every frame is a message.
    Frames,
    /// Frames are batches.
    Batches,
    /// Long polls: a request after every batch.
    Polls {
        /// The request up to the cursor.
        before: Vec<u8>,
        /// The request after the cursor.
        after: Vec<u8>,
    },
    /// Contents carry the number of their message.
    Numbered(Box<dyn Dialect>),
}

impl Listener {
    /// Long-polls `path` with as few headers as HTTP/1.1 and the protocol allow.
    pub fn polls(path: &str, host: &str, token: &str) -> Self {
        Self::Polls {
            before: format!("GET {path}?after=").into_bytes(),
            after: format!(" HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\r\n")
                .into_bytes(),
        }
    }

    /// The next request of a listener that polls.
    pub fn request(&self, cursor: u64) -> Option<Vec<u8>> {
        let Self::Polls { before, after } = self else {
            return None;
        };
        let cursor = cursor.to_string();
        Some([before, cursor.as_bytes(), after].concat())
    }
}

/// A sender with its listeners on connections of one swarm.
#[derive(Debug)]
pub struct Group {
    swarm: Swarm,
    sender: usize,
    voice: Box<dyn Dialect>,
    ledger: Ledger,
    /// When the connections were polled last.
    looked: Instant,
    /// The idle time of the generator so far.
    waited: Duration,
}

/// Sends the same command every time.
#[derive(Debug)]
struct Command(Vec<u8>);

impl Dialect for Command {
    fn hear<'a>(&'a mut self, unit: Unit<'a>, _: &mut Reply) -> Outcome<&'a [u8]> {
        refused(unit.body)?;
        Ok(unit.body)
    }

    fn say(&mut self, _: &[u8], reply: &mut Reply) -> Outcome<()> {
        reply.frame(&self.0);
        Ok(())
    }
}

/// The messages that each listener has received.
#[derive(Debug)]
struct Ledger {
    listeners: Vec<(Listener, u64)>,
    sent: u64,
    /// How many messages all listeners have.
    completed: u64,
    /// How many listeners have each message in flight.
    received: [usize; RING],
    sent_at: [Instant; RING],
    latency: Histogram<u64>,
    counted: Counted,
    /// The payload of the last batch that held one event.
    sample: Vec<u8>,
    reply: Reply,
}

/// What passed the sockets of the listeners.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// Messages received, over all listeners.
    pub deliveries: u64,
    /// Frames or responses that carried them.
    pub units: u64,
    /// Bytes of frame headers, or of status lines and headers.
    pub head_bytes: u64,
    /// Bytes of payloads.
    pub body_bytes: u64,
    /// Bytes of requests and other replies of the listeners.
    pub request_bytes: u64,
    /// Requests of the listeners.
    pub requests: u64,
}

/// One measured run.
#[derive(Clone, Debug)]
pub struct Round {
    /// How long it was.
    pub wall: Duration,
    /// Messages sent.
    pub messages: u64,
    /// What was received.
    pub counted: Counted,
    /// CPU time of the server.
    pub server_cpu: Duration,
    /// The idle time of the generator.
    pub generator_waited: Duration,
    /// From send to each delivery.
    pub latency: Histogram<u64>,
}

impl Round {
    /// Deliveries a second.
    pub fn rate(&self) -> f64 {
        self.counted.deliveries as f64 / self.wall.as_secs_f64()
    }

    /// Server CPU in microseconds a delivery.
    pub fn cpu_us(&self) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / self.counted.deliveries as f64
    }

    /// The latency in milliseconds that this share of the deliveries did not exceed.
    pub fn latency_ms(&self, share: f64) -> f64 {
        quantile_ms(&self.latency, share)
    }

    /// The share of its core that the generator used.
    pub fn generator_share(&self) -> f64 {
        1.0 - self.generator_waited.as_secs_f64() / self.wall.as_secs_f64()
    }

    /// The share of its core that the server used.
    pub fn server_share(&self) -> f64 {
        self.server_cpu.as_secs_f64() / self.wall.as_secs_f64()
    }
}

impl Group {
    /// A group of the first connections of `swarm`, one per listener, and of a sender after them that sends
    /// `text`. The first polls are sent when this returns.
    ///
    /// # Errors
    /// If a connection broke.
    pub fn new(
        swarm: Swarm,
        listeners: Vec<Listener>,
        sender: usize,
        text: Vec<u8>,
    ) -> Outcome<Self> {
        Self::with_voice(swarm, listeners, sender, Box::new(Command(text)))
    }

    /// The same with a sender of numbered contents in another dialect.
    ///
    /// # Errors
    /// If a connection broke.
    pub fn with_voice(
        mut swarm: Swarm,
        listeners: Vec<Listener>,
        sender: usize,
        voice: Box<dyn Dialect>,
    ) -> Outcome<Self> {
        for (number, listener) in listeners.iter().enumerate() {
            if let Some(request) = listener.request(0) {
                swarm.write(number, &request)?;
            }
        }
        let ledger = Ledger {
            listeners: listeners.into_iter().map(|listener| (listener, 0)).collect(),
            sent: 0,
            completed: 0,
            received: [0; RING],
            sent_at: [Instant::now(); RING],
            latency: histogram(),
            counted: Counted::default(),
            sample: Vec::new(),
            reply: Reply::default(),
        };
        Ok(Self { swarm, sender, voice, ledger, looked: Instant::now(), waited: Duration::ZERO })
    }

    /// How many messages were sent so far.
    pub fn sent(&self) -> u64 {
        self.ledger.sent
    }

    /// The payload of a batch with one event, as last seen.
    pub fn sample(&self) -> &[u8] {
        &self.ledger.sample
    }

    /// Keeps `window` messages in flight for `span`, after a moment of warming up, and measures the
    /// server `pid`. All messages have arrived when it returns.
    ///
    /// # Errors
    /// If a connection broke, a send was refused, or a message did not arrive.
    pub fn run(&mut self, pid: u32, window: u64, span: Duration) -> Outcome<Round> {
        self.run_beside(&|| process::cpu(pid), window, span)
    }

    /// The same with another source of the server's CPU time.
    ///
    /// # Errors
    /// As [`run`](Self::run), and those of `cpu`.
    pub fn run_beside(
        &mut self,
        server: &dyn Fn() -> Outcome<Duration>,
        window: u64,
        span: Duration,
    ) -> Outcome<Round> {
        self.keep_sending(window, WARM_UP.min(span / 4))?;
        self.ledger.latency = histogram();
        let before = (self.ledger.counted, self.ledger.sent);
        let (cpu, waited) = (server()?, self.waited);
        let start = Instant::now();
        self.keep_sending(window, span)?;
        let wall = start.elapsed();
        let round = Round {
            wall,
            messages: self.ledger.sent - before.1,
            counted: self.ledger.counted.since(before.0),
            server_cpu: server()? - cpu,
            generator_waited: self.waited - waited,
            latency: self.ledger.latency.clone(),
        };
        self.wait_for_all()?;
        Ok(round)
    }

    /// Replies to what has arrived, such as pings, without waiting.
    ///
    /// # Errors
    /// If a connection broke.
    pub fn attend(&mut self) -> Outcome<()> {
        while self.hear()? {}
        Ok(())
    }

    fn keep_sending(&mut self, window: u64, span: Duration) -> Outcome<()> {
        let until = Instant::now() + span;
        while Instant::now() < until {
            self.fill(window)?;
            self.turn()?;
        }
        Ok(())
    }

    fn fill(&mut self, window: u64) -> Outcome<()> {
        let reply = &mut self.ledger.reply;
        while self.ledger.sent - self.ledger.completed < window.min(RING as u64) {
            self.voice.say(&dialect::content(self.ledger.sent + 1), reply)?;
            let slot = self.ledger.sent as usize % RING;
            self.ledger.received[slot] = 0;
            self.ledger.sent_at[slot] = Instant::now();
            self.ledger.sent += 1;
        }
        if reply.bytes.is_empty() {
            return Ok(());
        }
        self.swarm.write(self.sender, &reply.bytes)?;
        reply.clear();
        Ok(())
    }

    /// Waits for data and processes it.
    fn turn(&mut self) -> Outcome<()> {
        let until = Instant::now() + STUCK;
        while Instant::now() < until {
            let idle = Instant::now();
            while self.looked.elapsed() < PACE {
                // Another process on the core may run meanwhile.
                std::thread::yield_now();
            }
            self.looked = Instant::now();
            self.waited += self.looked - idle;
            if self.hear()? {
                return Ok(());
            }
        }
        Err(self.ledger.stuck().into())
    }

    fn hear(&mut self) -> Outcome<bool> {
        let (ledger, sender, voice) = (&mut self.ledger, self.sender, &mut self.voice);
        self.swarm.turn(Duration::ZERO, |number, stream, unit| {
            if number != sender {
                return ledger.take(number, stream, unit);
            }
            voice.hear(unit, &mut ledger.reply)?;
            ledger.flush(stream)?;
            Ok(())
        })
    }

    fn wait_for_all(&mut self) -> Outcome<()> {
        while self.ledger.completed < self.ledger.sent {
            self.turn()?;
        }
        Ok(())
    }
}

/// Checks what a sender receives: its own messages, and replies.
///
/// # Errors
/// If a reply refuses a send.
pub fn refused(body: &[u8]) -> Outcome<()> {
    if body.starts_with(b"{\"reply\"") && memchr::memmem::find(body, b"\"error\"").is_some() {
        return Err(format!("a send was refused: {}", String::from_utf8_lossy(body)).into());
    }
    Ok(())
}

impl Ledger {
    fn take(&mut self, number: usize, stream: &mut TcpStream, unit: Unit<'_>) -> Outcome<()> {
        let (listener, reached) = &mut self.listeners[number];
        let upto = match listener {
            Listener::Frames => *reached + 1,
            Listener::Batches | Listener::Polls { .. } => match next_of(unit.body) {
                Some(upto) => upto,
                None if unit.body.starts_with(b"{\"session\"") => return Ok(()),
                None => {
                    let body = String::from_utf8_lossy(unit.body);
                    return Err(format!("not a batch: {body}").into());
                }
            },
            Listener::Numbered(dialect) => {
                let mut upto = *reached;
                for number in dialect::numbers(dialect.hear(unit, &mut self.reply)?) {
                    let number = number?;
                    if number != upto + 1 {
                        return Err(format!("message {number} came after {upto}").into());
                    }
                    upto = number;
                }
                upto
            }
        };
        let (from, now) = (*reached, Instant::now());
        *reached = upto;
        if upto < from {
            return Err(format!("event {upto} came again after {from}").into());
        }
        if upto > self.sent {
            return Err(format!("event {upto} of {} that were sent", self.sent).into());
        }
        if let Some(request) = listener.request(upto) {
            self.reply.request(&[&request]);
        }
        self.counted.request_bytes += self.reply.bytes.len() as u64;
        self.counted.requests += self.reply.requests;
        self.flush(stream)?;
        self.counted.units += 1;
        self.counted.head_bytes += unit.head.len() as u64;
        self.counted.body_bytes += unit.body.len() as u64;
        self.counted.deliveries += upto - from;
        if upto == from + 1 && number == 0 {
            self.sample.clear();
            self.sample.extend_from_slice(unit.body);
        }
        for message in from..upto {
            let slot = message as usize % RING;
            record(&mut self.latency, now - self.sent_at[slot]);
            self.received[slot] += 1;
        }
        while self.completed < self.sent
            && self.received[self.completed as usize % RING] == self.listeners.len()
        {
            self.completed += 1;
        }
        Ok(())
    }

    fn flush(&mut self, stream: &mut TcpStream) -> Outcome<()> {
        if !self.reply.bytes.is_empty() {
            swarm::write(stream, &self.reply.bytes)?;
            self.reply.clear();
        }
        Ok(())
    }

    fn stuck(&self) -> String {
        let least = self.listeners.iter().map(|(_, reached)| reached).min();
        format!("{} messages were sent, but one listener has only {least:?}", self.sent)
    }
}

impl Counted {
    /// All bytes of the listeners' connections, both ways.
    pub fn bytes(&self) -> u64 {
        self.head_bytes + self.body_bytes + self.request_bytes
    }

    /// The counts since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            deliveries: self.deliveries - earlier.deliveries,
            units: self.units - earlier.units,
            head_bytes: self.head_bytes - earlier.head_bytes,
            body_bytes: self.body_bytes - earlier.body_bytes,
            request_bytes: self.request_bytes - earlier.request_bytes,
            requests: self.requests - earlier.requests,
        }
    }
}

#[cfg(test)]
mod tests;
