//! A server with a thousand connected listeners and a sender.

use pabal_lab::api::{Account, Client, sign_up_many, source};
use pabal_lab::group::{Group, Listener};
use pabal_lab::process::Server;
use pabal_lab::swarm::Swarm;
use pabal_lab::wire::Framing;
use tempfile::TempDir;

use super::Setting;
use crate::Outcome;
use crate::disk::{BareSync, bare_sync};

/// Listeners of a fan-out.
pub const LISTENERS: usize = 1000;
/// Bytes of content of a message.
pub const CONTENT: usize = 128;
/// The sessions that a server allows a user.
pub const SESSIONS_PER_USER: usize = 16;

/// Users whose sessions receive a fan-out.
pub const LISTENING_USERS: usize = LISTENERS.div_ceil(SESSIONS_PER_USER);

/// A server and its group.
#[derive(Debug)]
pub struct Scene {
    /// The server.
    pub server: Server,
    /// Sender and listeners.
    pub group: Group,
    /// The channel of the group; empty for a bare broadcaster.
    pub channel: String,
    /// The members of the channel; empty for a bare broadcaster. The last of them have no sessions.
    pub users: Vec<Account>,
    folder: Option<TempDir>,
}

/// The transport of Pabal's listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// WebSocket.
    WebSocket,
    /// Long polling.
    LongPolling,
}

impl Scene {
    /// Pabal with a group of a sender and a thousand sessions.
    ///
    /// # Errors
    /// If the server fails or refuses a request.
    pub fn pabal(setting: &Setting, transport: Transport) -> Outcome<Self> {
        Self::pabal_with(setting, transport, 0)
    }

    /// The same, with `others` further members without sessions.
    ///
    /// # Errors
    /// If the server fails or refuses a request.
    pub fn pabal_with(setting: &Setting, transport: Transport, others: usize) -> Outcome<Self> {
        let folder = setting.folder()?;
        let server = Server::pabal(&setting.pabal, folder.path(), &[])?;
        eprintln!("  Pabal, {transport:?}: signing up users, {LISTENERS} sessions");
        let users = sign_up_many(server.address(), LISTENING_USERS + others + 1)?;
        Self::of_users(server, folder, users, transport)
    }

    /// A group of `users` on a server that knows them: the last one sends, the first
    /// [`LISTENING_USERS`] have a thousand sessions between them.
    ///
    /// # Errors
    /// If there are too few users, or the server refuses a request.
    pub fn of_users(
        server: Server,
        folder: TempDir,
        mut users: Vec<Account>,
        transport: Transport,
    ) -> Outcome<Self> {
        let owner = users.pop().ok_or("no users")?;
        let channel = Client::connect(server.address())?.group(&owner, &users)?;
        let mut swarm = Swarm::new()?;
        let mut listeners = Vec::with_capacity(LISTENERS);
        for number in 0..LISTENERS {
            let user = users.get(number / SESSIONS_PER_USER).ok_or("too few users")?;
            listeners.push(open(&server, user, transport, number, &mut swarm)?);
        }
        let (stream, read) = Client::connect(server.address())?.websocket(Some(&owner))?;
        let sender = swarm.add(stream, read, Framing::WebSocket)?;
        let text = send_command(&channel, &"x".repeat(CONTENT)).into_bytes();
        let group = Group::new(swarm, listeners, sender, text)?;
        Ok(Self { server, group, channel, users, folder: Some(folder) })
    }

    /// A bare broadcaster with a thousand connections and a sender of `bytes` of text.
    ///
    /// # Errors
    /// If the server fails or refuses a request.
    pub fn bare(setting: &Setting, program: &str, bytes: usize) -> Outcome<Self> {
        let server = Server::start(&setting.peers.join(program), &[], &[])?;
        eprintln!("  {program}: {LISTENERS} connections, frames of {bytes} bytes");
        let mut swarm = Swarm::new()?;
        for _ in 0..=LISTENERS {
            let (stream, read) = Client::connect(server.address())?.websocket(None)?;
            swarm.add(stream, read, Framing::WebSocket)?;
        }
        let listeners = (0..LISTENERS).map(|_| Listener::Frames).collect();
        let group = Group::new(swarm, listeners, LISTENERS, vec![b'x'; bytes])?;
        let (channel, users) = (String::new(), Vec::new());
        Ok(Self { server, group, channel, users, folder: None })
    }

    /// The sync rate of the server's disk, for messages of this size.
    ///
    /// # Errors
    /// If the server has no data folder, or the folder cannot be written.
    pub fn bare_sync(&self) -> Outcome<BareSync> {
        let folder = self.folder.as_ref().ok_or("this server stores nothing")?;
        bare_sync(folder.path(), CONTENT, std::time::Duration::from_millis(500))
    }
}

/// Opens session `number` and adds its connection. The first long poll is not sent.
///
/// # Errors
/// If the server refuses a request.
pub fn open(
    server: &Server,
    user: &Account,
    transport: Transport,
    number: usize,
    swarm: &mut Swarm,
) -> Outcome<Listener> {
    let mut client = Client::connect_from(server.address(), source(number))?;
    match transport {
        Transport::WebSocket => {
            let (stream, read) = client.websocket(Some(user))?;
            swarm.add(stream, read, Framing::WebSocket)?;
            Ok(Listener::Batches)
        }
        Transport::LongPolling => {
            let path = client.session(user)?;
            let (stream, read) = client.into_stream();
            swarm.add(stream, read, Framing::Http)?;
            Ok(Listener::polls(&path, &server.address().to_string(), &user.token))
        }
    }
}

/// A command that sends `content` to a channel.
pub fn send_command(channel: &str, content: &str) -> String {
    format!(r#"{{"type":"send","channel_id":"{channel}","content":"{content}"}}"#)
}
