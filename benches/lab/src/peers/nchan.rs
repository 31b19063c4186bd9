//! nchan 1.3, a publish/subscribe module of nginx, as Debian packages it: messages are kept in memory, and the
//! response to a poll holds one message and its position.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memchr::memmem;
use tempfile::TempDir;

use super::host::{Cast, Host, Player, Seat, System, Transport};
use crate::Outcome;
use crate::api::{Client, source};
use crate::dialect::{Dialect, Reply, Silent};
use crate::process::Server;
use crate::swarm::Swarm;
use crate::wire::{Framing, Unit};

const CONFIGURATION: &str = include_str!("../../peers/nchan/nginx.conf");
const STATUS: &[u8] = b"GET /status HTTP/1.1\r\nhost: nchan\r\n\r\n";
/// Attempts to start a server, each with another port.
const TRIES: usize = 3;
/// How long the server may take to register all subscribers.
const READY: Duration = Duration::from_secs(10);

/// An nginx and the module for it.
pub(super) struct Nchan {
    nginx: PathBuf,
    module: PathBuf,
    version: String,
}

impl Nchan {
    /// The programs of this folder, if they run.
    pub(super) fn at(root: &Path) -> Outcome<Self> {
        let nginx = root.join("usr/sbin/nginx");
        let module = root.join("usr/lib/nginx/modules/ngx_nchan_module.so");
        let mut nchan = Self { nginx, module, version: String::new() };
        let running = nchan.run()?;
        let mut client = Client::connect(running.server.address())?;
        let status = String::from_utf8(client.exchange(STATUS)?)?;
        let version = status.lines().find_map(|line| line.strip_prefix("nchan version: "));
        version.ok_or("nchan does not report its version")?.clone_into(&mut nchan.version);
        Ok(nchan)
    }

    fn run(&self) -> Outcome<Running> {
        let mut tries = 1;
        loop {
            match self.run_at(spare_address()?) {
                // Another process may have taken the port since.
                Err(_) if tries < TRIES => tries += 1,
                other => return other,
            }
        }
    }

    fn run_at(&self, address: SocketAddr) -> Outcome<Running> {
        let folder = TempDir::with_prefix("pabal-nchan-")?;
        let configuration = CONFIGURATION
            .replace("{module}", &self.module.display().to_string())
            .replace("{address}", &address.to_string());
        fs::write(folder.path().join("nginx.conf"), configuration)?;
        let prefix = folder.path().display().to_string();
        let arguments = ["-p", &prefix, "-c", "nginx.conf", "-e", "error.log"];
        let server = Server::start_at(address, &self.nginx, &arguments, |address| {
            Client::connect(address).and_then(|mut client| client.exchange(STATUS)).is_ok()
        });
        let server = server.map_err(|error| {
            let log = fs::read_to_string(folder.path().join("error.log")).unwrap_or_default();
            format!("{error} {}", log.trim())
        })?;
        Ok(Running { server, _folder: folder })
    }
}

/// A free address.
fn spare_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

impl System for Nchan {
    fn name(&self) -> &'static str {
        "nchan"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn speaks(&self, transport: Transport) -> bool {
        transport != Transport::Sse
    }

    fn start(&self, _: Cast) -> Outcome<Box<dyn Host>> {
        Ok(Box::new(self.run()?))
    }
}

struct Running {
    // Dropped before the folder, which is removed when no process writes to it.
    server: Server,
    _folder: TempDir,
}

impl Running {
    fn connect(&self, number: usize) -> Outcome<Client> {
        Client::connect_from(self.server.address(), source(number))
    }

    fn subscriber(
        &self,
        channel: &str,
        over: Transport,
        number: usize,
        swarm: &mut Swarm,
    ) -> Outcome<Seat> {
        let mut client = self.connect(number)?;
        let path = format!("/subscribe/{channel}");
        if over == Transport::WebSocket {
            client.upgrade(&path, None)?;
            let (stream, read) = client.into_stream();
            let connection = swarm.add(stream, read, Framing::WebSocket)?;
            return Ok(Seat { connection, dialect: Box::new(Silent) });
        }
        let polls = Polls {
            request: format!("GET {path} HTTP/1.1\r\nhost: {}\r\n", self.server.address()),
        };
        client.write(format!("{}\r\n", polls.request).as_bytes())?;
        let (stream, read) = client.into_stream();
        let connection = swarm.add(stream, read, Framing::Http)?;
        Ok(Seat { connection, dialect: Box::new(polls) })
    }

    fn publisher(&self, channel: &str, number: usize, swarm: &mut Swarm) -> Outcome<Seat> {
        let (stream, read) = self.connect(number)?.into_stream();
        let connection = swarm.add(stream, read, Framing::Http)?;
        let host = self.server.address();
        let before = format!("POST /publish/{channel} HTTP/1.1\r\nhost: {host}\r\n");
        Ok(Seat { connection, dialect: Box::new(Posts { before }) })
    }
}

impl Host for Running {
    fn server(&self) -> &Server {
        &self.server
    }

    fn listener(&mut self, over: Transport, number: usize, swarm: &mut Swarm) -> Outcome<Seat> {
        self.subscriber("room", over, number, swarm)
    }

    fn speaker(&mut self, swarm: &mut Swarm) -> Outcome<Seat> {
        self.publisher("room", 0, swarm)
    }

    /// Each player subscribes to its own channel and publishes to its partner's by a request. On a WebSocket in
    /// both directions nginx waits for the client's delayed acknowledgements.
    fn player(&mut self, over: Transport, number: usize, swarm: &mut Swarm) -> Outcome<Player> {
        let ear = self.subscriber(&format!("player{number}"), over, number, swarm)?;
        let mouth = self.publisher(&format!("player{}", number ^ 1), number, swarm)?;
        Ok(Player { ear, mouth: Some(mouth) })
    }

    fn wait_for(&mut self, listeners: usize) -> Outcome<()> {
        let mut client = Client::connect(self.server.address())?;
        let (line, until) = (format!("\nsubscribers: {listeners}\n"), Instant::now() + READY);
        loop {
            let status = client.exchange(STATUS)?;
            if memmem::find(&status, line.as_bytes()).is_some() {
                return Ok(());
            }
            if Instant::now() > until {
                let status = String::from_utf8_lossy(&status);
                return Err(format!("not {listeners} subscribers: {status}").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Polls for the message after the received one: the request returns that message's time and its position within
/// the second.
#[derive(Debug)]
struct Polls {
    /// The request up to the position.
    request: String,
}

impl Dialect for Polls {
    fn hear<'a>(&'a mut self, unit: Unit<'a>, reply: &mut Reply) -> Outcome<&'a [u8]> {
        let found = unit
            .head
            .starts_with(b"HTTP/1.1 200")
            .then(|| value(unit.head, b"\r\nLast-Modified: ").zip(value(unit.head, b"\r\nEtag: ")));
        let (time, position) = found
            .flatten()
            .ok_or_else(|| format!("not a message: {}", String::from_utf8_lossy(unit.head)))?;
        let request = self.request.as_bytes();
        let parts = [b"If-Modified-Since: ", time, b"\r\nIf-None-Match: ", position, b"\r\n\r\n"];
        reply.request(&[&[request], &parts[..]].concat());
        Ok(unit.body)
    }
}

/// The value of a header; `name` includes the line end before it and the colon.
fn value<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = &head[memmem::find(head, name)? + name.len()..];
    Some(&rest[..memchr::memchr(b'\r', rest)?])
}

/// Publishes by requests.
#[derive(Debug)]
struct Posts {
    /// The request up to its length.
    before: String,
}

impl Dialect for Posts {
    fn hear<'a>(&'a mut self, unit: Unit<'a>, _: &mut Reply) -> Outcome<&'a [u8]> {
        // 201 if a subscriber received it, 202 if it is queued.
        if unit.head.starts_with(b"HTTP/1.1 20") {
            Ok(unit.body)
        } else {
            Err(format!("not published: {}", String::from_utf8_lossy(unit.head)).into())
        }
    }

    fn say(&mut self, content: &[u8], reply: &mut Reply) -> Outcome<()> {
        let length = format!("content-length: {}\r\n\r\n", content.len());
        reply.request(&[self.before.as_bytes(), length.as_bytes(), content]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_poll_says_which_message_came() {
        let mut polls = Polls { request: "GET /subscribe/a HTTP/1.1\r\nhost: h\r\n".to_owned() };
        let (mut reply, unit) = (Reply::default(), |head| Unit { head, body: b"hello" });
        let head = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 5\r\n\
            Last-Modified: Sun, 22 Nov 2026 21:29:06 GMT\r\nEtag: 17\r\n\r\n";
        assert_eq!(polls.hear(unit(head), &mut reply).expect("a message"), b"hello");
        assert_eq!(
            String::from_utf8_lossy(&reply.bytes),
            "GET /subscribe/a HTTP/1.1\r\nhost: h\r\n\
             If-Modified-Since: Sun, 22 Nov 2026 21:29:06 GMT\r\nIf-None-Match: 17\r\n\r\n"
        );
        for head in [
            &b"HTTP/1.1 408 Request Timeout\r\nLast-Modified: x\r\nEtag: 0\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nLast-Modified: x\r\n\r\n",
        ] {
            assert!(polls.hear(unit(head), &mut reply).is_err(), "no message to continue from");
        }
    }
}
