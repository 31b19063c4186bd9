//! Centrifuge, the library that Centrifugo is built on, in a minimal server: channels in memory, no history,
//! JSON. Its fallback over HTTP is server-sent events.

use std::path::PathBuf;

use memchr::memmem;

use super::host::{Cast, Host, Player, Seat, System, Transport};
use crate::Outcome;
use crate::api::{Client, source};
use crate::dialect::{Dialect, Events, Reply};
use crate::process::Server;
use crate::swarm::Swarm;
use crate::wire::{Framing, Unit};

/// An empty command, reply or push: a ping, and its pong.
const NOTHING: &[u8] = b"{}";
/// The reply to the command that subscribes.
const SUBSCRIBED: &[u8] = b"\"subscribe\":{";

/// The server's executable.
pub(super) struct Centrifuge {
    pub(super) program: PathBuf,
    pub(super) version: String,
}

impl System for Centrifuge {
    fn name(&self) -> &'static str {
        "Centrifuge"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn speaks(&self, transport: Transport) -> bool {
        transport != Transport::LongPolling
    }

    fn start(&self, _: Cast) -> Outcome<Box<dyn Host>> {
        Ok(Box::new(Running { server: Server::start(&self.program, &[], &[("GOMAXPROCS", "1")])? }))
    }
}

struct Running {
    server: Server,
}

impl Running {
    fn connect(&self, number: usize) -> Outcome<Client> {
        Client::connect_from(self.server.address(), source(number))
    }

    /// A client that subscribes to at most one channel and publishes to another.
    fn websocket(
        &self,
        channel: Option<&str>,
        to: &str,
        number: usize,
        swarm: &mut Swarm,
    ) -> Outcome<Seat> {
        let mut client = self.connect(number)?;
        client.upgrade("/connection/websocket", None)?;
        let mut reply = Reply::default();
        reply.frame(commands(channel).as_bytes());
        client.write(&reply.bytes)?;
        let wanted = if channel.is_some() { SUBSCRIBED } else { b"\"connect\":{" };
        wait_for(wanted, || client.next(Framing::WebSocket))?;
        let (stream, read) = client.into_stream();
        let connection = swarm.add(stream, read, Framing::WebSocket)?;
        let publish = format!(r#"{{"id":3,"publish":{{"channel":"{to}","data":""#);
        Ok(Seat { connection, dialect: Box::new(Commands { publish }) })
    }

    fn events(&self, channel: &str, number: usize, swarm: &mut Swarm) -> Outcome<Seat> {
        let mut client = self.connect(number)?;
        let commands = encoded(&commands(Some(channel)));
        client.stream(&format!("/connection/sse?cf_connect={commands}"), None)?;
        wait_for(SUBSCRIBED, || client.next(Framing::Chunks))?;
        let (stream, read) = client.into_stream();
        let connection = swarm.add(stream, read, Framing::Chunks)?;
        Ok(Seat { connection, dialect: Box::new(Events::default()) })
    }
}

/// The first commands of a client, one per line.
fn commands(channel: Option<&str>) -> String {
    let mut commands = r#"{"id":1,"connect":{}}"#.to_owned();
    if let Some(channel) = channel {
        commands += &format!("\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\"}}}}");
    }
    commands
}

/// Percent-encodes a text for a query (RFC 3986 section 2.1).
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn wait_for(wanted: &[u8], mut next: impl FnMut() -> Outcome<Vec<u8>>) -> Outcome<()> {
    loop {
        let text = next()?;
        refused(&text)?;
        if memmem::find(&text, wanted).is_some() {
            return Ok(());
        }
    }
}

fn refused(replies: &[u8]) -> Outcome<()> {
    // A push has no id.
    if replies.starts_with(b"{\"id\"") && memmem::find(replies, b"\"error\"").is_some() {
        return Err(format!("refused: {}", String::from_utf8_lossy(replies)).into());
    }
    Ok(())
}

impl Host for Running {
    fn server(&self) -> &Server {
        &self.server
    }

    fn listener(&mut self, over: Transport, number: usize, swarm: &mut Swarm) -> Outcome<Seat> {
        match over {
            Transport::WebSocket => self.websocket(Some("room"), "room", number, swarm),
            _ => self.events("room", number, swarm),
        }
    }

    fn speaker(&mut self, swarm: &mut Swarm) -> Outcome<Seat> {
        self.websocket(None, "room", 0, swarm)
    }

    /// Each player subscribes to its own channel and publishes to its partner's.
    fn player(&mut self, _: Transport, number: usize, swarm: &mut Swarm) -> Outcome<Player> {
        let (own, other) = (format!("player{number}"), format!("player{}", number ^ 1));
        Ok(Player { ear: self.websocket(Some(&own), &other, number, swarm)?, mouth: None })
    }
}

/// Frames of commands to the server, and of replies and pushes from it, one per line.
#[derive(Debug)]
struct Commands {
    /// The command that publishes, up to its content.
    publish: String,
}

impl Dialect for Commands {
    fn hear<'a>(&'a mut self, unit: Unit<'a>, reply: &mut Reply) -> Outcome<&'a [u8]> {
        refused(unit.body)?;
        let pings = memmem::find(unit.body, NOTHING).is_some()
            && unit.body.split(|byte| *byte == b'\n').any(|line| line == NOTHING);
        if pings {
            reply.frame(NOTHING);
        }
        Ok(unit.body)
    }

    fn say(&mut self, content: &[u8], reply: &mut Reply) -> Outcome<()> {
        reply.frame(&[self.publish.as_bytes(), content, b"\"}}"].concat());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply_to(body: &[u8]) -> Outcome<Vec<u8>> {
        let mut reply = Reply::default();
        let mut commands = Commands { publish: String::new() };
        commands.hear(Unit { head: b"\x81\x02", body }, &mut reply)?;
        Ok(reply.bytes)
    }

    #[test]
    fn a_ping_gets_a_pong_at_any_position_of_a_frame() {
        let push = r#"{"push":{"channel":"room","pub":{"data":"{}"}}}"#;
        let pong = b"\x81\x82\0\0\0\0{}";
        assert_eq!(reply_to(push.as_bytes()).expect("a push"), b"", "no reply to a push");
        for lines in ["{}", &format!("{push}\n{{}}"), &format!("{{}}\n{push}")] {
            assert_eq!(reply_to(lines.as_bytes()).expect("lines"), pong, "{lines:?}");
        }
    }

    #[test]
    fn a_command_that_was_refused_is_an_error() {
        reply_to(br#"{"id":3,"publish":{}}"#).expect("a reply");
        let refused = reply_to(br#"{"id":3,"error":{"code":103,"message":"permission denied"}}"#);
        assert!(refused.expect_err("refused").to_string().contains("permission denied"));
    }

    #[test]
    fn the_first_commands_go_into_a_query() {
        assert_eq!(encoded("{a\n"), "%7B%61%0A");
        let both = commands(Some("room"));
        assert_eq!(
            both,
            "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"room\"}}"
        );
    }
}
