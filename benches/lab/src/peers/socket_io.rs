//! Socket.IO 4 on Node.js: one process, rooms in memory. A client uses Engine.IO 4, with one packet per
//! WebSocket frame, or several in the response to a poll.

use std::path::PathBuf;

use super::host::{Cast, Host, Player, Seat, System, Transport};
use crate::Outcome;
use crate::api::{Client, source};
use crate::dialect::{Dialect, Reply};
use crate::process::Server;
use crate::swarm::Swarm;
use crate::wire::{Framing, Unit};

/// The separator between the packets of a poll.
const SEPARATOR: u8 = 0x1e;
/// A ping packet, and its pong.
const PING: &[u8] = b"2";
const PONG: &[u8] = b"3";
/// The body of the response to a posted packet.
const TAKEN: &[u8] = b"ok";

/// The server's script, next to its modules.
pub(super) struct SocketIo {
    pub(super) script: PathBuf,
    pub(super) version: String,
}

impl System for SocketIo {
    fn name(&self) -> &'static str {
        "Socket.IO"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn speaks(&self, transport: Transport) -> bool {
        transport != Transport::Sse
    }

    fn start(&self, _: Cast) -> Outcome<Box<dyn Host>> {
        let script = self.script.to_str().ok_or("a folder's name is not UTF-8")?;
        let environment = [("NODE_ENV", "production")];
        let server = Server::start("node".as_ref(), &[script], &environment)?;
        Ok(Box::new(Running { server }))
    }
}

struct Running {
    server: Server,
}

impl Running {
    fn connect(&self, number: usize) -> Outcome<Client> {
        Client::connect_from(self.server.address(), source(number))
    }

    /// A client that joins `room` and emits to the room `to`.
    fn websocket(&self, room: &str, to: &str, number: usize, swarm: &mut Swarm) -> Outcome<Seat> {
        let mut client = self.connect(number)?;
        client.upgrade("/socket.io/?EIO=4&transport=websocket", None)?;
        expect(&client.next(Framing::WebSocket)?, b"0{")?;
        let mut reply = Reply::default();
        reply.frame(join(room).as_bytes());
        client.write(&reply.bytes)?;
        expect(&client.next(Framing::WebSocket)?, b"40{")?;
        let (stream, read) = client.into_stream();
        let connection = swarm.add(stream, read, Framing::WebSocket)?;
        Ok(Seat { connection, dialect: Box::new(Packets { emit: emit(to) }) })
    }

    /// The same over polling: one connection polls, another one posts.
    fn polls(
        &self,
        room: &str,
        to: Option<&str>,
        number: usize,
        swarm: &mut Swarm,
    ) -> Outcome<Player> {
        const PATH: &str = "/socket.io/?EIO=4&transport=polling";
        let (mut client, host) = (self.connect(number)?, self.server.address());
        let request = format!("GET {PATH} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let opened = client.exchange(request.as_bytes())?;
        expect(&opened, b"0{")?;
        let opened: serde_json::Value = serde_json::from_slice(&opened[1..])?;
        let session = opened["sid"].as_str().ok_or("no session")?;
        let path = format!("{PATH}&sid={session} HTTP/1.1\r\nhost: {host}\r\n");
        let polls = Polls { get: format!("GET {path}\r\n"), post: Posts::to(&path, "") };
        let mut reply = Reply::default();
        polls.post.packet(join(room).as_bytes(), &mut reply);
        expect(&client.exchange(&reply.bytes)?, TAKEN)?;
        expect(&client.exchange(polls.get.as_bytes())?, b"40{")?;
        let (stream, read) = client.into_stream();
        let connection = swarm.add(stream, read, Framing::Http)?;
        swarm.write(connection, polls.get.as_bytes())?;
        let ear = Seat { connection, dialect: Box::new(polls) };
        let Some(to) = to else {
            return Ok(Player { ear, mouth: None });
        };
        let (stream, read) = self.connect(number)?.into_stream();
        let connection = swarm.add(stream, read, Framing::Http)?;
        let dialect = Box::new(Posts::to(&path, to));
        Ok(Player { ear, mouth: Some(Seat { connection, dialect }) })
    }
}

/// The packet that connects to the server's namespace.
fn join(room: &str) -> String {
    format!(r#"40{{"room":"{room}"}}"#)
}

/// The packet that emits, up to the content.
fn emit(to: &str) -> String {
    format!(r#"42["message","{to}",""#)
}

fn expect(packet: &[u8], begins: &[u8]) -> Outcome<()> {
    if packet.starts_with(begins) {
        return Ok(());
    }
    let (packet, begins) = (String::from_utf8_lossy(packet), String::from_utf8_lossy(begins));
    Err(format!("not {begins}…: {packet}").into())
}

impl Host for Running {
    fn server(&self) -> &Server {
        &self.server
    }

    fn listener(&mut self, over: Transport, number: usize, swarm: &mut Swarm) -> Outcome<Seat> {
        match over {
            Transport::WebSocket => self.websocket("room", "", number, swarm),
            _ => Ok(self.polls("room", None, number, swarm)?.ear),
        }
    }

    fn speaker(&mut self, swarm: &mut Swarm) -> Outcome<Seat> {
        self.websocket("stage", "room", 0, swarm)
    }

    fn player(&mut self, over: Transport, number: usize, swarm: &mut Swarm) -> Outcome<Player> {
        let room = format!("pair{}", number / 2);
        match over {
            Transport::WebSocket => {
                let ear = self.websocket(&room, &room, number, swarm)?;
                Ok(Player { ear, mouth: None })
            }
            _ => self.polls(&room, Some(&room), number, swarm),
        }
    }
}

/// One packet per frame.
#[derive(Debug)]
struct Packets {
    emit: String,
}

impl Dialect for Packets {
    fn hear<'a>(&'a mut self, unit: Unit<'a>, reply: &mut Reply) -> Outcome<&'a [u8]> {
        if unit.body == PING {
            reply.frame(PONG);
        }
        Ok(unit.body)
    }

    fn say(&mut self, content: &[u8], reply: &mut Reply) -> Outcome<()> {
        reply.frame(&[self.emit.as_bytes(), content, b"\"]"].concat());
        Ok(())
    }
}

/// Polls again after every response, and posts a pong for a ping.
#[derive(Debug)]
struct Polls {
    get: String,
    post: Posts,
}

impl Dialect for Polls {
    fn hear<'a>(&'a mut self, unit: Unit<'a>, reply: &mut Reply) -> Outcome<&'a [u8]> {
        succeeded(unit)?;
        // The response to its own pong; the next poll is already sent.
        if unit.body == TAKEN {
            return Ok(b"");
        }
        if pings(unit.body) {
            self.post.packet(PONG, reply);
        }
        reply.request(&[self.get.as_bytes()]);
        Ok(unit.body)
    }
}

/// Whether one of the packets is a ping: the first byte of a packet is its type.
fn pings(packets: &[u8]) -> bool {
    packets.starts_with(PING)
        || memchr::memchr_iter(SEPARATOR, packets).any(|at| packets[at + 1..].starts_with(PING))
}

/// Posts one packet per request.
#[derive(Debug)]
struct Posts {
    /// The request up to its length.
    before: String,
    emit: String,
}

impl Posts {
    fn to(path: &str, room: &str) -> Self {
        let before = format!("POST {path}content-type: text/plain;charset=UTF-8\r\n");
        Self { before, emit: emit(room) }
    }

    fn packet(&self, packet: &[u8], reply: &mut Reply) {
        let length = format!("content-length: {}\r\n\r\n", packet.len());
        reply.request(&[self.before.as_bytes(), length.as_bytes(), packet]);
    }
}

impl Dialect for Posts {
    fn hear<'a>(&'a mut self, unit: Unit<'a>, _: &mut Reply) -> Outcome<&'a [u8]> {
        succeeded(unit)?;
        Ok(unit.body)
    }

    fn say(&mut self, content: &[u8], reply: &mut Reply) -> Outcome<()> {
        self.packet(&[self.emit.as_bytes(), content, b"\"]"].concat(), reply);
        Ok(())
    }
}

fn succeeded(unit: Unit<'_>) -> Outcome<()> {
    if unit.head.starts_with(b"HTTP/1.1 200") && !unit.body.is_empty() {
        return Ok(());
    }
    let (head, body) = (String::from_utf8_lossy(unit.head), String::from_utf8_lossy(unit.body));
    Err(format!("unexpected response: {head}{body}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polls() -> Polls {
        let path = "/socket.io/?sid=s HTTP/1.1\r\nhost: h\r\n";
        Polls { get: format!("GET {path}\r\n"), post: Posts::to(path, "") }
    }

    fn reply_to(body: &[u8]) -> Outcome<String> {
        let (mut polls, mut reply) = (polls(), Reply::default());
        polls.hear(Unit { head: b"HTTP/1.1 200 OK\r\n\r\n", body }, &mut reply)?;
        Ok(String::from_utf8_lossy(&reply.bytes).into_owned())
    }

    #[test]
    fn a_poll_follows_packets_and_a_pong_precedes_it_if_one_was_a_ping() {
        let get = polls().get;
        let pong = "POST /socket.io/?sid=s HTTP/1.1\r\nhost: h\r\n\
            content-type: text/plain;charset=UTF-8\r\ncontent-length: 1\r\n\r\n3";
        let message = r#"42["message","2"]"#;
        assert_eq!(reply_to(message.as_bytes()).expect("packets"), get);
        for packets in ["2", &format!("2\x1e{message}"), &format!("{message}\x1e2\x1e{message}")] {
            let reply = reply_to(packets.as_bytes()).expect("packets");
            assert_eq!(reply, format!("{pong}{get}"), "{packets:?}");
        }
        assert_eq!(reply_to(b"ok").expect("taken"), "", "the poll after the pong is already sent");
        let refused = Unit { head: b"HTTP/1.1 400 Bad Request\r\n\r\n", body: b"{}" };
        assert!(polls().hear(refused, &mut Reply::default()).is_err());
    }

    #[test]
    fn a_message_is_an_event_packet() {
        let (mut packets, mut reply) = (Packets { emit: emit("room") }, Reply::default());
        packets.say(b"hello", &mut reply).expect("a frame");
        assert!(reply.bytes.ends_with(br#"42["message","room","hello"]"#));
        reply.clear();
        let ping = Unit { head: b"\x81\x01", body: b"2" };
        packets.hear(ping, &mut reply).expect("a ping");
        assert_eq!(reply.bytes, b"\x81\x81\0\0\0\x003");
    }
}
