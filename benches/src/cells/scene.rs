//! Servers with a thousand listeners, ready to be sent to.

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
/// As many sessions as a user may have.
pub const SESSIONS_PER_USER: usize = 16;

/// A server and its group.
#[derive(Debug)]
pub struct Scene {
    /// The server.
    pub server: Server,
    /// Sender and listeners.
    pub group: Group,
    /// The channel that is sent to; of Pabal only.
    pub channel: String,
    /// Who is in it; of Pabal only. The last of them have no sessions yet.
    pub users: Vec<Account>,
    folder: Option<TempDir>,
}

/// How the listeners of Pabal receive.
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
    /// If the server does not do as it should.
    pub fn pabal(setting: &Setting, transport: Transport) -> Outcome<Self> {
        Self::pabal_with(setting, transport, 0)
    }

    /// The same, with users in the group who have no sessions yet.
    ///
    /// # Errors
    /// If the server does not do as it should.
    pub fn pabal_with(setting: &Setting, transport: Transport, others: usize) -> Outcome<Self> {
        let folder = setting.folder()?;
        let server = Server::pabal(&setting.pabal, folder.path(), &[])?;
        eprintln!("  Pabal, {transport:?}: signing up, {LISTENERS} sessions");
        let listening = LISTENERS.div_ceil(SESSIONS_PER_USER);
        let mut users = sign_up_many(server.address(), listening + others + 1)?;
        let owner = users.pop().ok_or("no users")?;
        let channel = Client::connect(server.address())?.group(&owner, &users)?;
        let mut swarm = Swarm::new()?;
        let mut listeners = Vec::with_capacity(LISTENERS);
        for number in 0..LISTENERS {
            let user = &users[number / SESSIONS_PER_USER];
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
    /// If the server does not do as it should.
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

    /// The bare rate of the disk that the server stores on, for messages of this size.
    ///
    /// # Errors
    /// If there is none, or it refuses.
    pub fn bare_sync(&self) -> Outcome<BareSync> {
        let folder = self.folder.as_ref().ok_or("this server stores nothing")?;
        bare_sync(folder.path(), CONTENT, std::time::Duration::from_millis(500))
    }
}

/// Opens the `number`th session and adds its connection. A long poll is not asked yet.
///
/// # Errors
/// If the server refuses.
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
