//! Pabal in its default configuration: every message is on disk before any client receives it.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::host::{Cast, Host, Player, Seat, System, Transport};
use crate::Outcome;
use crate::api::{Account, Client, sign_up_many, source};
use crate::dialect::{Dialect, Events, Reply, Silent};
use crate::group::refused;
use crate::process::{GIVE_BACK, Server};
use crate::swarm::Swarm;
use crate::wire::{Framing, Unit, next_of};

/// Warnings about the limits of the machine are of no use here.
const QUIET: (&str, &str) = ("PABAL_LOG_FILTER", "error");

/// The sessions that a server allows a user.
const SESSIONS_PER_USER: usize = 16;

/// An executable of Pabal.
pub(super) struct Pabal {
    program: PathBuf,
    version: String,
    disk: PathBuf,
}

impl Pabal {
    /// A Pabal with its data on `disk`.
    pub(super) fn new(program: PathBuf, disk: PathBuf) -> Outcome<Self> {
        let output = Command::new(&program)
            .arg("--version")
            .output()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let line = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = line.split_whitespace().nth(1).ok_or("pabal --version prints no version")?;
        Ok(Self { program, version: version.to_owned(), disk })
    }
}

impl System for Pabal {
    fn name(&self) -> &'static str {
        super::PABAL
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn durable(&self) -> bool {
        true
    }

    fn speaks(&self, _: Transport) -> bool {
        true
    }

    /// Users sign up before a restart: hashing passwords leaves free memory in the allocator, and is not part of
    /// the tasks.
    fn start(&self, cast: Cast) -> Outcome<Box<dyn Host>> {
        let folder = tempfile::Builder::new().prefix("pabal-peers-").tempdir_in(&self.disk)?;
        let environment: &[_] = match cast {
            Cast::Rest { .. } => &[QUIET, GIVE_BACK],
            Cast::FanOut { .. } | Cast::Pairs { .. } => &[QUIET],
        };
        let server = Server::pabal(&self.program, folder.path(), environment)?;
        let users = match cast {
            Cast::FanOut { clients } | Cast::Rest { clients } => {
                clients.div_ceil(SESSIONS_PER_USER) + 1
            }
            Cast::Pairs { pairs } => 2 * pairs,
        };
        let users = sign_up_many(server.address(), users)?;
        let mut client = Client::connect(server.address())?;
        let channels = match cast {
            Cast::FanOut { .. } | Cast::Rest { .. } => vec![client.group(&users[0], &users[1..])?],
            Cast::Pairs { .. } => users
                .chunks_exact(2)
                .map(|pair| client.direct(&pair[0], &pair[1]))
                .collect::<Outcome<_>>()?,
        };
        server.stop()?;
        let server = Server::pabal(&self.program, folder.path(), environment)?;
        Ok(Box::new(Running { server, users, channels, _folder: folder }))
    }
}

struct Running {
    // Dropped before the folder, which is removed when no process writes to it.
    server: Server,
    users: Vec<Account>,
    channels: Vec<String>,
    _folder: TempDir,
}

impl Running {
    fn connect(&self, number: usize) -> Outcome<Client> {
        Client::connect_from(self.server.address(), source(number))
    }

    fn websocket(
        &self,
        user: &Account,
        number: usize,
        dialect: Box<dyn Dialect>,
        swarm: &mut Swarm,
    ) -> Outcome<Seat> {
        let mut client = self.connect(number)?;
        client.upgrade("/v1/websocket", Some(&user.token))?;
        let first = client.next(Framing::WebSocket)?;
        if !first.starts_with(b"{\"session\"") {
            return Err(format!("no session: {}", String::from_utf8_lossy(&first)).into());
        }
        let (stream, read) = client.into_stream();
        Ok(Seat { connection: swarm.add(stream, read, Framing::WebSocket)?, dialect })
    }

    /// The long poll of a session at `path`.
    fn polls(
        &self,
        user: &Account,
        path: &str,
        client: Client,
        swarm: &mut Swarm,
    ) -> Outcome<Seat> {
        let polls = Box::new(Polls {
            before: format!("GET {path}?after=").into_bytes(),
            after: self.headers(user) + "\r\n",
        });
        let mut reply = Reply::default();
        polls.ask(0, &mut reply);
        let (stream, read) = client.into_stream();
        let connection = swarm.add(stream, read, Framing::Http)?;
        swarm.write(connection, &reply.bytes)?;
        Ok(Seat { connection, dialect: polls })
    }

    fn headers(&self, user: &Account) -> String {
        let (host, token) = (self.server.address(), &user.token);
        format!(" HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n")
    }
}

impl Host for Running {
    fn server(&self) -> &Server {
        &self.server
    }

    fn listener(&mut self, over: Transport, number: usize, swarm: &mut Swarm) -> Outcome<Seat> {
        // The first user publishes.
        let user = &self.users[1 + number / SESSIONS_PER_USER];
        if over == Transport::WebSocket {
            return self.websocket(user, number, Box::new(Silent), swarm);
        }
        let mut client = self.connect(number)?;
        let path = client.session_over(user, over.name())?;
        if over == Transport::LongPolling {
            return self.polls(user, &path, client, swarm);
        }
        client.stream(&path, Some(&user.token))?;
        let (stream, read) = client.into_stream();
        let connection = swarm.add(stream, read, Framing::Chunks)?;
        Ok(Seat { connection, dialect: Box::new(Events::default()) })
    }

    fn speaker(&mut self, swarm: &mut Swarm) -> Outcome<Seat> {
        let commands = Box::new(Commands::to(&self.channels[0]));
        self.websocket(&self.users[0], 0, commands, swarm)
    }

    fn player(&mut self, over: Transport, number: usize, swarm: &mut Swarm) -> Outcome<Player> {
        let (user, channel) = (&self.users[number], &self.channels[number / 2]);
        if over == Transport::WebSocket {
            let commands = Box::new(Commands::to(channel));
            return Ok(Player { ear: self.websocket(user, number, commands, swarm)?, mouth: None });
        }
        let mut client = self.connect(number)?;
        let path = client.session(user)?;
        let ear = self.polls(user, &path, client, swarm)?;
        let (stream, read) = self.connect(number)?.into_stream();
        let connection = swarm.add(stream, read, Framing::Http)?;
        let session = path.strip_suffix("long-poll").ok_or("no long poll")?;
        let before = format!(
            "POST {session}commands{}content-type: application/json\r\n",
            self.headers(user)
        );
        let dialect = Box::new(Posts { before, commands: Commands::to(channel) });
        Ok(Player { ear, mouth: Some(Seat { connection, dialect }) })
    }
}

/// Sends commands as frames.
#[derive(Debug)]
struct Commands {
    /// The command up to the content.
    before: String,
}

impl Commands {
    fn to(channel: &str) -> Self {
        Self { before: format!(r#"{{"type":"send","channel_id":"{channel}","content":""#) }
    }
}

impl Dialect for Commands {
    fn hear<'a>(&'a mut self, unit: Unit<'a>, _: &mut Reply) -> Outcome<&'a [u8]> {
        refused(unit.body)?;
        Ok(unit.body)
    }

    fn say(&mut self, content: &[u8], reply: &mut Reply) -> Outcome<()> {
        reply.frame(&[self.before.as_bytes(), content, b"\"}"].concat());
        Ok(())
    }
}

/// Polls for the next batch after each one, with as few headers as HTTP/1.1 and the protocol allow.
#[derive(Debug)]
struct Polls {
    /// The request up to the cursor.
    before: Vec<u8>,
    /// The request after the cursor.
    after: String,
}

impl Polls {
    fn ask(&self, after: u64, reply: &mut Reply) {
        reply.request(&[&self.before, after.to_string().as_bytes(), self.after.as_bytes()]);
    }
}

impl Dialect for Polls {
    fn hear<'a>(&'a mut self, unit: Unit<'a>, reply: &mut Reply) -> Outcome<&'a [u8]> {
        let next = next_of(unit.body)
            .ok_or_else(|| format!("not a batch: {}", String::from_utf8_lossy(unit.body)))?;
        self.ask(next, reply);
        Ok(unit.body)
    }
}

/// Sends commands as requests.
#[derive(Debug)]
struct Posts {
    /// The request up to its length.
    before: String,
    commands: Commands,
}

impl Dialect for Posts {
    fn hear<'a>(&'a mut self, unit: Unit<'a>, _: &mut Reply) -> Outcome<&'a [u8]> {
        let refused = !unit.head.starts_with(b"HTTP/1.1 200")
            || memchr::memmem::find(unit.body, b"\"error\"").is_some();
        if refused {
            return Err(
                format!("a send was refused: {}", String::from_utf8_lossy(unit.body)).into()
            );
        }
        Ok(unit.body)
    }

    fn say(&mut self, content: &[u8], reply: &mut Reply) -> Outcome<()> {
        let command = self.commands.before.as_bytes();
        let body = [br#"{"commands":["#, command, content, b"\"}]}"].concat();
        let length = format!("content-length: {}\r\n\r\n", body.len());
        reply.request(&[self.before.as_bytes(), length.as_bytes(), &body]);
        Ok(())
    }
}
