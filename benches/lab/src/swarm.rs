//! Thousands of connections read by one thread: non-blocking sockets, one shared buffer, one callback per
//! frame or response. It has to use little CPU in comparison with the measured server. It replies to pings.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream as StdStream;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::Outcome;
use crate::wire::{Framing, Unit};

/// The time for which a socket may be full before a write fails.
const STUCK: Duration = Duration::from_secs(5);
/// First byte of a ping (RFC 6455 section 5.5.2).
const PING: u8 = 0x89;
/// A masked pong without a payload.
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// Connections by number, in the order in which they were added.
#[derive(Debug)]
pub struct Swarm {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    framing: Framing,
    /// The beginning of an incomplete unit.
    partial: Vec<u8>,
}

impl Swarm {
    /// No connections yet.
    ///
    /// # Errors
    /// If the kernel cannot create an epoll instance.
    pub fn new() -> Outcome<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            connections: Vec::new(),
            buffer: vec![0; 256 * 1024],
        })
    }

    /// Adds a connection of which `already_read` was received but not processed; returns its number.
    ///
    /// # Errors
    /// If the socket is broken.
    pub fn add(
        &mut self,
        stream: StdStream,
        already_read: Vec<u8>,
        framing: Framing,
    ) -> Outcome<usize> {
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let number = self.connections.len();
        self.poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
        self.connections.push(Connection { stream, framing, partial: already_read });
        Ok(number)
    }

    /// Sends `bytes` on a connection.
    ///
    /// # Errors
    /// If it broke, or the server reads nothing for five seconds.
    pub fn write(&mut self, number: usize, bytes: &[u8]) -> Outcome<()> {
        write(&mut self.connections[number].stream, bytes)
    }

    /// Waits at most `timeout` for data, and calls `take` for every complete unit with the number of its
    /// connection and the stream for a reply. Returns whether data arrived.
    ///
    /// # Errors
    /// Those of `take`, and if a connection ended.
    pub fn turn(
        &mut self,
        timeout: Duration,
        mut take: impl FnMut(usize, &mut TcpStream, Unit<'_>) -> Outcome<()>,
    ) -> Outcome<bool> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(false),
            other => other?,
        }
        for event in &self.events {
            let Token(number) = event.token();
            let connection = &mut self.connections[number];
            connection
                .drain(&mut self.buffer, |stream, unit| take(number, stream, unit))
                .map_err(|error| format!("connection {number}: {error}"))?;
        }
        Ok(!self.events.is_empty())
    }
}

impl Connection {
    fn drain(
        &mut self,
        buffer: &mut [u8],
        mut take: impl FnMut(&mut TcpStream, Unit<'_>) -> Outcome<()>,
    ) -> Outcome<()> {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Err("the server closed it".into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let (stream, framing) = (&mut self.stream, self.framing);
            let mut take = |unit: Unit<'_>| match unit.head[0] {
                PING if framing == Framing::WebSocket => write(stream, &PONG),
                _ => take(stream, unit),
            };
            if self.partial.is_empty() {
                let used = cut(framing, &buffer[..read], &mut take)?;
                self.partial.extend_from_slice(&buffer[used..read]);
            } else {
                self.partial.extend_from_slice(&buffer[..read]);
                let used = cut(framing, &self.partial, &mut take)?;
                self.partial.drain(..used);
            }
            // A short read has emptied the socket (epoll(7), question 9).
            if read < buffer.len() {
                return Ok(());
            }
        }
    }
}

fn cut(
    framing: Framing,
    bytes: &[u8],
    mut take: impl FnMut(Unit<'_>) -> Outcome<()>,
) -> Outcome<usize> {
    let mut used = 0;
    while let Some(unit) = framing.unit(&bytes[used..]) {
        take(unit)?;
        used += unit.head.len() + unit.body.len();
    }
    Ok(used)
}

/// Writes all of `bytes`.
///
/// # Errors
/// As [`Swarm::write`].
pub fn write(stream: &mut TcpStream, bytes: &[u8]) -> Outcome<()> {
    let (mut rest, start) = (bytes, Instant::now());
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if start.elapsed() > STUCK {
                    return Err("the server reads nothing".into());
                }
                std::thread::sleep(Duration::from_micros(50));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
