//! A node in this process: an engine with users and one group, on memory or on disk, and a loopback
//! port for its transports. For the criterion benches, which need no API service around it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use pabal_core::engine::{Engine, EngineConfig, Limits, SendRequest, Sent, Session};
use pabal_core::memory::{
    MemoryDirectory, MemoryHistoryStore, MemoryInterest, MemoryMessageLog, MemoryNodeInbox,
    MemoryNodeRegistry, MemoryPresence, MemoryPushNotifier, SystemClock,
};
use pabal_core::model::{
    Channel, ChannelId, ChannelKind, Device, DeviceId, TokenHash, User, UserId,
};
use pabal_core::ports::{Access, Clock, Directory, HistoryStore, Ports, RelationLimits};
use pabal_storage::embedded::{EmbeddedConfig, EmbeddedStore};
use pabal_transports::{
    Admission, AdmissionLimits, Connection, Transports, TransportsConfig, Wire,
};
use tokio::net::TcpListener;

use crate::Outcome;

/// The partitions of a node.
pub const PARTITIONS: u16 = 64;
/// The write timeout of a client that does not read.
const WRITE_WITHIN: Duration = Duration::from_secs(30);

/// An engine whose users are 0, 1, 2…, and whose channel 1 is a group of all of them.
#[derive(Clone, Debug)]
pub struct Node {
    /// The engine.
    pub engine: Engine,
    now: pabal_core::model::Timestamp,
}

/// A history in memory.
pub fn memory() -> Arc<dyn HistoryStore> {
    Arc::new(MemoryHistoryStore::new())
}

/// A history in a folder.
///
/// # Errors
/// If it cannot be opened.
pub fn on_disk(folder: &Path) -> Outcome<Arc<dyn HistoryStore>> {
    let config = EmbeddedConfig { partitions: PARTITIONS, ..EmbeddedConfig::default() };
    Ok(EmbeddedStore::open(folder, &config)?.history)
}

/// The group that every bench uses.
pub const GROUP: ChannelId = ChannelId::new(1);

impl Node {
    /// Starts an engine with `users` users in the group.
    ///
    /// # Errors
    /// If a port fails.
    pub async fn start(history: Arc<dyn HistoryStore>, users: usize) -> Outcome<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let directory = Arc::new(MemoryDirectory::default());
        let now = clock.now();
        let node = Self::assemble(history, clock, Arc::clone(&directory)).await?;
        let node = Self { engine: node, now };
        for number in 0..users {
            let user = User {
                user_id: user_id(number),
                username: format!("u{number}"),
                display_name: String::new(),
                status_text: String::new(),
                avatar_url: String::new(),
                created_at: now,
            };
            directory.sign_up(user, String::new(), node.access(number)).await?;
        }
        node.group(GROUP, 0..users).await?;
        Ok(node)
    }

    async fn assemble(
        history: Arc<dyn HistoryStore>,
        clock: Arc<dyn Clock>,
        directory: Arc<MemoryDirectory>,
    ) -> Outcome<Engine> {
        let ports = Ports {
            log: Arc::new(MemoryMessageLog::new(Arc::clone(&clock), 8_192)),
            inbox: Arc::new(MemoryNodeInbox::new(65_536)),
            history,
            presence: Arc::new(MemoryPresence::new()),
            interest: Arc::new(MemoryInterest::new()),
            directory,
            push: Arc::new(MemoryPushNotifier::new(100_000)),
            registry: Arc::new(MemoryNodeRegistry::new()),
            clock,
        };
        let limits = Limits { sends_per_second: None, ..Limits::default() };
        let config = EngineConfig { node: "n1".parse()?, partitions: PARTITIONS, limits };
        Ok(Engine::start(config, ports).await?)
    }

    /// Makes a group of some users; the first of them is its owner.
    ///
    /// # Errors
    /// If the channel exists.
    pub async fn group(
        &self,
        channel_id: ChannelId,
        members: std::ops::Range<usize>,
    ) -> Outcome<()> {
        let name = Some("measured".to_owned());
        let kind = ChannelKind::Group;
        let channel = Channel { channel_id, kind, name, created_at: self.now };
        let (owner, members) = (user_id(members.start), members.map(user_id).collect());
        let limits = RelationLimits::DEFAULT;
        Ok(self.engine.ports().directory.create_group(channel, owner, members, limits).await?)
    }

    /// The token of a user.
    pub fn token(number: usize) -> String {
        format!("token-{number}")
    }

    fn access(&self, number: usize) -> Access {
        let device = Device {
            device_id: DeviceId::new(number as u64 + 1),
            user_id: user_id(number),
            name: String::new(),
        };
        Access {
            token: TokenHash::of(&Self::token(number)),
            device,
            expires_at: self.now.plus(Duration::from_secs(86_400)),
        }
    }

    /// Opens a session.
    ///
    /// # Errors
    /// If the user has too many sessions.
    pub async fn session(&self, number: usize) -> Outcome<Arc<Session>> {
        let opened = self.engine.open_session(&self.access(number), None).await;
        opened.map_err(|problem| problem.detail.into())
    }

    /// Sends as a user, and waits for the acknowledgement.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn send(&self, from: usize, to: ChannelId, content: &str) -> Outcome<Sent> {
        self.submit(from, to, content, None).await
    }

    /// The same with a `client_message_id`, as of clients that repeat sends.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn send_named(
        &self,
        from: usize,
        to: ChannelId,
        content: &str,
        name: String,
    ) -> Outcome<Sent> {
        self.submit(from, to, content, Some(name)).await
    }

    async fn submit(
        &self,
        from: usize,
        to: ChannelId,
        content: &str,
        client_message_id: Option<String>,
    ) -> Outcome<Sent> {
        let send = SendRequest { channel_id: to, content: content.to_owned(), client_message_id };
        self.engine.submit(user_id(from), send).await.map_err(|problem| problem.detail.into())
    }

    /// Serves the transports on a free loopback port for as long as the runtime lives.
    ///
    /// # Errors
    /// If there is none.
    pub async fn serve(&self) -> Outcome<SocketAddr> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?;
        let transports = Transports::new(self.engine.clone(), TransportsConfig::default());
        let admission = Admission::new(AdmissionLimits::default());
        tokio::spawn(async move {
            while let Ok((stream, from)) = listener.accept().await {
                let Ok(permit) = admission.admit(Some(from.ip())) else {
                    continue;
                };
                // A socket that refuses TCP_NODELAY is broken, and ends below.
                let _ = stream.set_nodelay(true);
                let meter = transports.meters().connection();
                let wire = Wire::new(stream, Arc::clone(&meter), WRITE_WITHIN);
                let stream = Connection::new(wire, Arc::clone(&meter), permit);
                let transports = transports.clone();
                let service = service_fn(move |request| {
                    let (transports, meter) = (transports.clone(), Arc::clone(&meter));
                    async move {
                        Ok::<_, std::convert::Infallible>(transports.serve(request, &meter).await)
                    }
                });
                tokio::spawn(async move {
                    let builder = Builder::new(TokioExecutor::new());
                    let served =
                        builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
                    // A disconnected client is not an error.
                    let _ = served.await;
                });
            }
        });
        Ok(address)
    }
}

/// The id of a user by number.
pub fn user_id(number: usize) -> UserId {
    UserId::new(number as u64 + 1)
}
