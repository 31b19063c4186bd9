//! Finds the server that owns a key, on a single Redis, with Sentinels and on a Redis Cluster, and
//! sends calls to it. Redirections, failovers and servers that are loading are retried up to the
//! deadline. A broken connection fails the call, because the command may have been executed.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::Value;
use redis::{
    Client, Cmd, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates,
};
use tokio::time::{Instant, sleep_until};

use super::error::{CallError, ConnectError, Remedy};
use super::script::Script;
use super::server::{Server, ServerInfo};
use super::slots::{parse_address, parse_slots, slot_of};
use super::url::{Address, RedisUrl};

/// The pause before a call is retried.
const PAUSE: Duration = Duration::from_millis(25);
/// How long a server holds a blocking read before it replies nil.
pub(super) const BLOCK: Duration = Duration::from_secs(5);

/// The servers of one address.
pub(super) struct Servers {
    url: RedisUrl,
    certificates: Option<TlsCertificates>,
    call_within: Duration,
    map: RwLock<Arc<SlotMap>>,
    /// Held while the slot map is refreshed.
    refreshing: tokio::sync::Mutex<()>,
}

/// The owner of each slot.
struct SlotMap {
    servers: Vec<Arc<Server>>,
    /// For each slot the index of its server; empty if the first server owns all.
    slots: Vec<u16>,
}

/// A reply, and the server process that sent it.
pub(super) struct Reply {
    pub(super) value: Value,
    pub(super) info: Arc<ServerInfo>,
}

impl Servers {
    /// Connects to the servers and determines their kind.
    pub(super) async fn connect(
        url: RedisUrl,
        call_within: Duration,
    ) -> Result<Self, ConnectError> {
        if url.tls {
            // An error means that a provider is already installed, which is as good.
            let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        }
        let certificates = match &url.ca {
            None => None,
            Some(file) => match tokio::fs::read(file).await {
                Ok(pem) => Some(TlsCertificates { client_tls: None, root_cert: Some(pem) }),
                Err(error) => {
                    let (file, reason) = (file.display().to_string(), error.to_string());
                    return Err(ConnectError::Certificates { file, reason });
                }
            },
        };
        let map = RwLock::new(Arc::new(SlotMap { servers: Vec::new(), slots: Vec::new() }));
        let refreshing = tokio::sync::Mutex::default();
        let servers = Self { url, certificates, call_within, map, refreshing };
        let deadline = Instant::now() + call_within;
        let (mut found, mut failure) = (None, None);
        for host in servers.url.hosts.clone() {
            match servers.fetch_slots(&host, deadline).await {
                Ok(map) => {
                    found = Some(map);
                    break;
                }
                Err(error) => failure = failure.or(Some((host, error))),
            }
        }
        match (found, failure) {
            (Some(map), _) => {
                let fit = servers.check_requirements(&map, deadline).await;
                servers.set(map);
                fit.map(|()| servers)
            }
            (None, Some((host, error))) => Err(ConnectError::at(&host, &error)),
            (None, None) => unreachable!("an address has at least one host"),
        }
    }

    /// Whether all servers meet the requirements.
    async fn check_requirements(
        &self,
        map: &SlotMap,
        deadline: Instant,
    ) -> Result<(), ConnectError> {
        for server in &map.servers {
            let link = server.link(deadline, any_role).await;
            let link = link.map_err(|error| ConnectError::at(&server.address, &error))?;
            let unfit = |reason: &str| {
                let (address, reason) = (server.address.to_string(), reason.to_owned());
                Err(ConnectError::Unfit { address, reason })
            };
            let version = &link.info.version;
            let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
            if major.is_none_or(|major| major < 7) {
                return unfit(&format!("has version {version:?}, but 7.0 or later is required"));
            }
            if !link.info.primary {
                return unfit("is a replica: give the primary, or its Sentinels");
            }
            if map.slots.is_empty() && self.url.hosts.len() > 1 && self.url.sentinel.is_none() {
                return unfit("is not a Redis Cluster, so only one host may be given");
            }
        }
        Ok(())
    }

    /// The address that errors name.
    pub(super) fn first_host(&self) -> &Address {
        // A parsed address has at least one host.
        &self.url.hosts[0]
    }

    /// Runs a script on keys of one slot.
    pub(super) async fn call(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
    ) -> Result<Reply, CallError> {
        let deadline = Instant::now() + self.call_within;
        let slot = slot_of(keys[0]);
        debug_assert!(
            keys.iter().all(|key| slot_of(key) == slot),
            "all keys of a call are in one slot: {keys:?}"
        );
        let mut as_source = false;
        let mut command = script.call(as_source, keys, args);
        loop {
            let server = self.server(slot);
            let mut link =
                match server.link(deadline, async || self.check_primary(&server).await).await {
                    Ok(link) if link.info.primary => link,
                    Ok(link) => {
                        server.discard(&link);
                        self.refresh_slots(&server, deadline).await;
                        self.pause(deadline, "the primary").await?;
                        continue;
                    }
                    Err(error) => {
                        self.refresh_slots(&server, deadline).await;
                        // Nothing was sent yet. If the slot has a new owner, the call goes there.
                        if !Arc::ptr_eq(&server, &self.server(slot)) {
                            self.pause(deadline, "the new primary").await?;
                            continue;
                        }
                        return Err(error);
                    }
                };
            let error = match link.send(&server, &command, deadline).await {
                Ok(value) => return Ok(Reply { value, info: link.info }),
                Err(error) => error,
            };
            match error.remedy() {
                Remedy::SendSource if !as_source => {
                    as_source = true;
                    command = script.call(as_source, keys, args);
                    continue;
                }
                Remedy::FollowAsk => match self.call_redirected(&error, &command, deadline).await {
                    Err(error) if error.remedy() == Remedy::SendSource && !as_source => {
                        as_source = true;
                        command = script.call(as_source, keys, args);
                        continue;
                    }
                    Err(error) if error.remedy() == Remedy::None => return Err(error),
                    Err(_) => {}
                    Ok(reply) => return Ok(reply),
                },
                Remedy::RefreshSlots => self.refresh_slots(&server, deadline).await,
                Remedy::Demoted => {
                    server.discard(&link);
                    self.refresh_slots(&server, deadline).await;
                }
                Remedy::RetryLater => self.refresh_slots(&server, deadline).await,
                Remedy::SendSource | Remedy::None => {
                    if let CallError::Connection(_) | CallError::Timeout(_) = error {
                        server.discard(&link);
                        self.refresh_slots(&server, deadline).await;
                    }
                    return Err(error);
                }
            }
            if self.pause(deadline, "").await.is_err() {
                return Err(error);
            }
        }
    }

    /// One read of a stream after `after`, which blocks for up to [`BLOCK`]; the reply is nil if no
    /// entry arrived. The connection is exclusive while the read blocks.
    pub(super) async fn read(
        &self,
        key: &str,
        after: &str,
        limit: usize,
    ) -> Result<Reply, CallError> {
        let mut command = Cmd::new();
        command.arg("XREAD").arg("COUNT").arg(limit).arg("BLOCK").arg(BLOCK.as_millis() as u64);
        command.arg("STREAMS").arg(key).arg(after);
        let slot = slot_of(key);
        let mut deadline = Instant::now() + self.call_within;
        loop {
            let server = self.server(slot);
            let fit = async || self.check_primary(&server).await;
            let mut link = match server.blocking(deadline, fit).await {
                Ok(link) => link,
                Err(error) => {
                    self.refresh_slots(&server, deadline).await;
                    return Err(error);
                }
            };
            let read_deadline = Instant::now() + BLOCK + self.call_within;
            let mut error = match link.send(&server, &command, read_deadline).await {
                Ok(value) => {
                    let info = Arc::clone(&link.info);
                    server.return_idle(link);
                    return Ok(Reply { value, info });
                }
                Err(error) => error,
            };
            if error.remedy() == Remedy::FollowAsk {
                server.return_idle(link);
                error = match self.read_redirected(&error, &command).await {
                    Ok(reply) => return Ok(reply),
                    Err(error) => error,
                };
                if error.remedy() == Remedy::None {
                    return Err(error);
                }
                deadline = deadline.max(Instant::now() + PAUSE);
                if self.pause(deadline, "").await.is_err() {
                    return Err(error);
                }
                continue;
            }
            // The slot may have another owner or none; the same holds for the other connections.
            server.discard(&link);
            if let Remedy::None | Remedy::SendSource = error.remedy() {
                return Err(error);
            }
            deadline = deadline.max(Instant::now() + PAUSE);
            self.refresh_slots(&server, deadline).await;
            if self.pause(deadline, "").await.is_err() {
                return Err(error);
            }
        }
    }

    /// Follows an ASK redirection.
    async fn call_redirected(
        &self,
        error: &CallError,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        let server = self.redirected(error)?;
        let mut link = server.link(deadline, any_role).await?;
        let value = link.send_asking(&server, command, deadline).await?;
        Ok(Reply { value, info: link.info })
    }

    /// Follows an ASK redirection of a blocking read.
    async fn read_redirected(&self, error: &CallError, command: &Cmd) -> Result<Reply, CallError> {
        let server = self.redirected(error)?;
        let deadline = Instant::now() + self.call_within;
        let mut link = server.blocking(deadline, any_role).await?;
        let value = link.send_asking(&server, command, deadline + BLOCK).await?;
        let info = Arc::clone(&link.info);
        server.return_idle(link);
        Ok(Reply { value, info })
    }

    /// The server that a redirection names.
    fn redirected(&self, error: &CallError) -> Result<Arc<Server>, CallError> {
        let CallError::Server { detail, .. } = error else {
            return Err(error.clone());
        };
        let unexpected = || CallError::UnexpectedReply(format!("redirected to {detail:?}"));
        let address = detail.split_whitespace().last().and_then(|there| there.rsplit_once(':'));
        let (host, port) = address.ok_or_else(unexpected)?;
        let port = port.parse().map_err(|_| unexpected())?;
        self.known_or_new(&Address { host: host.to_owned(), port })
    }

    fn server(&self, slot: u16) -> Arc<Server> {
        let map = self.map();
        let number = map.slots.get(usize::from(slot)).copied().unwrap_or(0);
        Arc::clone(&map.servers[usize::from(number)])
    }

    fn map(&self) -> Arc<SlotMap> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, map: SlotMap) {
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
    }

    async fn pause(&self, deadline: Instant, what: &str) -> Result<(), CallError> {
        let until = Instant::now() + PAUSE;
        if until >= deadline {
            return Err(CallError::Timeout(what.to_owned()));
        }
        sleep_until(until).await;
        Ok(())
    }

    /// Checks that the Sentinels name this server as primary. A primary that returns after a
    /// failover still reports the role of a primary until a Sentinel demotes it, and writes to it
    /// are lost.
    async fn check_primary(&self, server: &Server) -> Result<(), CallError> {
        if self.url.sentinel.is_none() {
            return Ok(());
        }
        let mut failure = CallError::Timeout("the Sentinels".to_owned());
        for host in &self.url.hosts {
            let attempt_deadline = Instant::now() + self.call_within / 4;
            match self.fetch_slots(host, attempt_deadline).await {
                Ok(map) if map.servers.iter().any(|it| it.address == server.address) => {
                    return Ok(());
                }
                Ok(_) => {
                    let reason = format!("{} is not the primary any more", server.address);
                    return Err(CallError::Connection(reason));
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Refreshes the slot map because `server` seems to have lost a slot. If no server can provide
    /// a map, the old one stays.
    async fn refresh_slots(&self, server: &Arc<Server>, deadline: Instant) {
        if self.map().slots.is_empty() && self.url.sentinel.is_none() {
            return;
        }
        let before = self.map();
        let Ok(_alone) = tokio::time::timeout_at(deadline, self.refreshing.lock()).await else {
            return;
        };
        if !Arc::ptr_eq(&before, &self.map()) {
            // Another call has refreshed the map meanwhile.
            return;
        }
        let mut hosts = self.url.hosts.clone();
        if self.url.sentinel.is_none() {
            let others = before.servers.iter().filter(|other| !Arc::ptr_eq(other, server));
            hosts.splice(0..0, others.map(|other| other.address.clone()));
        }
        for host in hosts {
            // An unresponsive server must not use up the time for the others.
            let attempt_deadline = deadline.min(Instant::now() + self.call_within / 4);
            match self.fetch_slots(&host, attempt_deadline).await {
                Ok(map) => return self.set(map),
                Err(error) => tracing::debug!(%host, %error, "the slot map cannot be fetched"),
            }
        }
    }

    /// Reads the slot map from one host.
    async fn fetch_slots(&self, host: &Address, deadline: Instant) -> Result<SlotMap, CallError> {
        if let Some(name) = &self.url.sentinel {
            let sentinel = Server::new(host.clone(), self.client(host, false)?);
            let mut link = sentinel.link(deadline, any_role).await?;
            let mut command = Cmd::new();
            command.arg("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name);
            let value = link.send(&sentinel, &command, deadline).await?;
            let primary = match value {
                Value::Array(parts) => parse_address(&parts),
                _ => None,
            };
            let primary = primary.ok_or_else(|| {
                CallError::Connection(format!("this Sentinel knows no primary named {name:?}"))
            })?;
            return Ok(SlotMap { servers: vec![self.known_or_new(&primary)?], slots: Vec::new() });
        }
        let server = self.known_or_new(host)?;
        let mut link = server.link(deadline, any_role).await?;
        if !link.info.clustered {
            return Ok(SlotMap { servers: vec![server], slots: Vec::new() });
        }
        let mut command = Cmd::new();
        command.arg("CLUSTER").arg("SLOTS");
        let ranges = link.send(&server, &command, deadline).await?;
        let owners = parse_slots(host, &ranges)?;
        let servers = owners.addresses.iter().map(|address| self.known_or_new(address));
        Ok(SlotMap { servers: servers.collect::<Result<_, _>>()?, slots: owners.slots })
    }

    /// The server at `address`, with its connections if it is known.
    fn known_or_new(&self, address: &Address) -> Result<Arc<Server>, CallError> {
        let map = self.map();
        let known = map.servers.iter().find(|server| server.address == *address);
        match known {
            Some(server) => Ok(Arc::clone(server)),
            None => Ok(Arc::new(Server::new(address.clone(), self.client(address, true)?))),
        }
    }

    fn client(&self, address: &Address, with_user: bool) -> Result<Client, CallError> {
        let Address { host, port } = address.clone();
        let at = if self.url.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let mut settings = RedisConnectionInfo::default().set_lib_name("pabal", crate::VERSION);
        if with_user {
            settings = settings.set_db(self.url.database);
            if let Some(username) = &self.url.username {
                settings = settings.set_username(username);
            }
            if let Some(password) = &self.url.password {
                settings = settings.set_password(password);
            }
        }
        let info = at.into_connection_info()?.set_redis_settings(settings);
        Ok(match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone())?,
            None => Client::open(info)?,
        })
    }
}

/// The check for a server that need not be the primary.
async fn any_role() -> Result<(), CallError> {
    Ok(())
}
