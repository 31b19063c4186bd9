//! Which server has a key, on one Redis, behind Sentinels and on a Redis Cluster, and the calls that
//! go there. Redirections, fail-overs and servers that load are followed up to the deadline; a
//! connection that broke fails the call, since it may have been done.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crc16::{State, XMODEM};
use redis::Value;
use redis::{
    Client, Cmd, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates,
};
use tokio::time::{Instant, sleep_until};

use super::error::{CallError, ConnectError, Remedy};
use super::script::Script;
use super::server::{About, Server};
use super::url::{Address, RedisUrl};

const SLOTS: u16 = 16_384;
/// How long a call waits for what will pass.
const PAUSE: Duration = Duration::from_millis(25);
/// How long a server holds on to a read that waits before it answers that there is nothing.
pub(super) const BLOCK: Duration = Duration::from_secs(5);

/// The servers.
pub(super) struct Servers {
    url: RedisUrl,
    certificates: Option<TlsCertificates>,
    call_within: Duration,
    map: RwLock<Arc<Map>>,
    /// Held by who looks who has what.
    looking: tokio::sync::Mutex<()>,
}

/// Who has what.
struct Map {
    servers: Vec<Arc<Server>>,
    /// By slot, the number of its server; empty if the first has them all.
    slots: Vec<u16>,
}

/// An answer, and the run of the server that gave it.
pub(super) struct Answer {
    pub(super) value: Value,
    pub(super) about: Arc<About>,
}

impl Servers {
    /// Connects, and finds out what kind of servers they are.
    pub(super) async fn connect(
        url: RedisUrl,
        call_within: Duration,
    ) -> Result<Self, ConnectError> {
        if url.tls {
            // Or else it is another one already, which will do.
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
        let map = RwLock::new(Arc::new(Map { servers: Vec::new(), slots: Vec::new() }));
        let looking = tokio::sync::Mutex::default();
        let servers = Self { url, certificates, call_within, map, looking };
        let deadline = Instant::now() + call_within;
        let (mut found, mut failure) = (None, None);
        for host in servers.url.hosts.clone() {
            match servers.look_from(&host, deadline).await {
                Ok(map) => {
                    found = Some(map);
                    break;
                }
                Err(error) => failure = failure.or(Some((host, error))),
            }
        }
        match (found, failure) {
            (Some(map), _) => {
                let fit = servers.fits(&map, deadline).await;
                servers.set(map);
                fit.map(|()| servers)
            }
            (None, Some((host, error))) => Err(ConnectError::at(&host, &error)),
            (None, None) => unreachable!("an address has at least one host"),
        }
    }

    /// Whether all servers can be used.
    async fn fits(&self, map: &Map, deadline: Instant) -> Result<(), ConnectError> {
        for server in &map.servers {
            let link = server.link(deadline, anybody).await;
            let link = link.map_err(|error| ConnectError::at(&server.address, &error))?;
            let unfit = |reason: &str| {
                let (address, reason) = (server.address.to_string(), reason.to_owned());
                Err(ConnectError::Unfit { address, reason })
            };
            let version = &link.about.version;
            let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
            if major.is_none_or(|major| major < 7) {
                return unfit(&format!("is of version {version:?}, but 7.0 or later is needed"));
            }
            if !link.about.primary {
                return unfit("is a replica: name the primary, or the Sentinels that know it");
            }
            if map.slots.is_empty() && self.url.hosts.len() > 1 && self.url.sentinel.is_none() {
                return unfit("is no Redis Cluster, so one host only may be named");
            }
        }
        Ok(())
    }

    /// By what an error names the servers.
    pub(super) fn first_host(&self) -> &Address {
        // An address has at least one.
        &self.url.hosts[0]
    }

    /// Calls a script on keys of one slot.
    pub(super) async fn call(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
    ) -> Result<Answer, CallError> {
        let deadline = Instant::now() + self.call_within;
        let slot = slot_of(keys[0]);
        let mut whole = false;
        let mut command = script.call(whole, keys, args);
        loop {
            let server = self.server(slot);
            let mut link = match server.link(deadline, async || self.named(&server).await).await {
                Ok(link) if link.about.primary => link,
                Ok(link) => {
                    server.discard(&link);
                    self.look_again(&server, deadline).await;
                    self.pause(deadline, "the primary").await?;
                    continue;
                }
                Err(error) => {
                    self.look_again(&server, deadline).await;
                    // Nothing was sent: if somebody else has the slot now, that is who to ask.
                    if !Arc::ptr_eq(&server, &self.server(slot)) {
                        self.pause(deadline, "the new primary").await?;
                        continue;
                    }
                    return Err(error);
                }
            };
            let error = match link.send(&server, &command, deadline).await {
                Ok(value) => return Ok(Answer { value, about: link.about }),
                Err(error) => error,
            };
            match error.remedy() {
                Remedy::Script if !whole => {
                    whole = true;
                    command = script.call(whole, keys, args);
                    continue;
                }
                Remedy::Ask => match self.ask(&error, &command, deadline).await {
                    Err(error) if error.remedy() == Remedy::Script && !whole => {
                        whole = true;
                        command = script.call(whole, keys, args);
                        continue;
                    }
                    Err(error) if error.remedy() == Remedy::Nothing => return Err(error),
                    Err(_) => {}
                    Ok(answer) => return Ok(answer),
                },
                Remedy::Elsewhere => self.look_again(&server, deadline).await,
                Remedy::Demoted => {
                    server.discard(&link);
                    self.look_again(&server, deadline).await;
                }
                Remedy::Wait => self.look_again(&server, deadline).await,
                Remedy::Script | Remedy::Nothing => {
                    if let CallError::Connection(_) | CallError::Late(_) = error {
                        server.discard(&link);
                        self.look_again(&server, deadline).await;
                    }
                    return Err(error);
                }
            }
            if self.pause(deadline, "").await.is_err() {
                return Err(error);
            }
        }
    }

    /// One read of a stream behind `after`, which waits up to [`BLOCK`]; nothing came if it answers
    /// nil. The connection is its own as long as it waits.
    pub(super) async fn read(
        &self,
        key: &str,
        after: &str,
        limit: usize,
    ) -> Result<Answer, CallError> {
        let mut command = Cmd::new();
        command.arg("XREAD").arg("COUNT").arg(limit).arg("BLOCK").arg(BLOCK.as_millis() as u64);
        command.arg("STREAMS").arg(key).arg(after);
        let slot = slot_of(key);
        let mut deadline = Instant::now() + self.call_within;
        loop {
            let server = self.server(slot);
            let fit = async || self.named(&server).await;
            let mut link = match server.reader(deadline, fit).await {
                Ok(link) => link,
                Err(error) => {
                    self.look_again(&server, deadline).await;
                    return Err(error);
                }
            };
            let waits_until = Instant::now() + BLOCK + self.call_within;
            let mut error = match link.send(&server, &command, waits_until).await {
                Ok(value) => {
                    let about = Arc::clone(&link.about);
                    server.give_back(link);
                    return Ok(Answer { value, about });
                }
                Err(error) => error,
            };
            if error.remedy() == Remedy::Ask {
                server.give_back(link);
                error = match self.read_there(&error, &command).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                };
                if error.remedy() == Remedy::Nothing {
                    return Err(error);
                }
                deadline = deadline.max(Instant::now() + PAUSE);
                if self.pause(deadline, "").await.is_err() {
                    return Err(error);
                }
                continue;
            }
            // It may be another one's by now, or none's; and all like it.
            server.discard(&link);
            if let Remedy::Nothing | Remedy::Script = error.remedy() {
                return Err(error);
            }
            deadline = deadline.max(Instant::now() + PAUSE);
            self.look_again(&server, deadline).await;
            if self.pause(deadline, "").await.is_err() {
                return Err(error);
            }
        }
    }

    /// Follows a redirection that is for one call.
    async fn ask(
        &self,
        error: &CallError,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        let server = self.redirected(error)?;
        let mut link = server.link(deadline, anybody).await?;
        let value = link.send_asking(&server, command, deadline).await?;
        Ok(Answer { value, about: link.about })
    }

    /// The same for a read that waits.
    async fn read_there(&self, error: &CallError, command: &Cmd) -> Result<Answer, CallError> {
        let server = self.redirected(error)?;
        let deadline = Instant::now() + self.call_within;
        let mut link = server.reader(deadline, anybody).await?;
        let value = link.send_asking(&server, command, deadline + BLOCK).await?;
        let about = Arc::clone(&link.about);
        server.give_back(link);
        Ok(Answer { value, about })
    }

    /// The server that a redirection names.
    fn redirected(&self, error: &CallError) -> Result<Arc<Server>, CallError> {
        let CallError::Server { detail, .. } = error else {
            return Err(error.clone());
        };
        let nonsense = || CallError::Nonsense(format!("redirected to {detail:?}"));
        let address = detail.split_whitespace().last().and_then(|there| there.rsplit_once(':'));
        let (host, port) = address.ok_or_else(nonsense)?;
        let port = port.parse().map_err(|_| nonsense())?;
        self.known_or_new(&Address { host: host.to_owned(), port })
    }

    fn server(&self, slot: u16) -> Arc<Server> {
        let map = self.map();
        let number = map.slots.get(usize::from(slot)).copied().unwrap_or(0);
        Arc::clone(&map.servers[usize::from(number)])
    }

    fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, map: Map) {
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
    }

    async fn pause(&self, deadline: Instant, what: &str) -> Result<(), CallError> {
        let until = Instant::now() + PAUSE;
        if until >= deadline {
            return Err(CallError::Late(what.to_owned()));
        }
        sleep_until(until).await;
        Ok(())
    }

    /// Whether a server to which a connection was just made is the one that the Sentinels name. A
    /// primary that comes back after a fail-over believes to be one still, for as long as it takes them
    /// to tell it; what it takes meanwhile is lost, and nobody else sees it.
    async fn named(&self, server: &Server) -> Result<(), CallError> {
        if self.url.sentinel.is_none() {
            return Ok(());
        }
        let mut silent = CallError::Late("the Sentinels".to_owned());
        for host in &self.url.hosts {
            let soon = Instant::now() + self.call_within / 4;
            match self.look_from(host, soon).await {
                Ok(map) if map.servers.iter().any(|it| it.address == server.address) => {
                    return Ok(());
                }
                Ok(_) => {
                    let reason = format!("{} is the primary no more", server.address);
                    return Err(CallError::Connection(reason));
                }
                Err(error) => silent = error,
            }
        }
        Err(silent)
    }

    /// Looks who has what, because `server` seems not to have what it had. If nobody can tell, all
    /// stays as it is.
    async fn look_again(&self, server: &Arc<Server>, deadline: Instant) {
        if self.map().slots.is_empty() && self.url.sentinel.is_none() {
            return;
        }
        let before = self.map();
        let Ok(_alone) = tokio::time::timeout_at(deadline, self.looking.lock()).await else {
            return;
        };
        if !Arc::ptr_eq(&before, &self.map()) {
            // Somebody else has looked meanwhile.
            return;
        }
        let mut hosts = self.url.hosts.clone();
        if self.url.sentinel.is_none() {
            let others = before.servers.iter().filter(|other| !Arc::ptr_eq(other, server));
            hosts.splice(0..0, others.map(|other| other.address.clone()));
        }
        for host in hosts {
            // One that does not answer must not use up the time of the others.
            let soon = deadline.min(Instant::now() + self.call_within / 4);
            match self.look_from(&host, soon).await {
                Ok(map) => return self.set(map),
                Err(error) => tracing::debug!(%host, %error, "cannot tell who has what"),
            }
        }
    }

    /// Asks one host who has what.
    async fn look_from(&self, host: &Address, deadline: Instant) -> Result<Map, CallError> {
        if let Some(name) = &self.url.sentinel {
            let sentinel = Server::new(host.clone(), self.client(host, false)?);
            let mut link = sentinel.link(deadline, anybody).await?;
            let mut command = Cmd::new();
            command.arg("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name);
            let value = link.send(&sentinel, &command, deadline).await?;
            let primary = match value {
                Value::Array(parts) => address_of(&parts),
                _ => None,
            };
            let primary = primary.ok_or_else(|| {
                CallError::Connection(format!("this Sentinel knows no primary named {name:?}"))
            })?;
            return Ok(Map { servers: vec![self.known_or_new(&primary)?], slots: Vec::new() });
        }
        let server = self.known_or_new(host)?;
        let mut link = server.link(deadline, anybody).await?;
        if !link.about.clustered {
            return Ok(Map { servers: vec![server], slots: Vec::new() });
        }
        let mut command = Cmd::new();
        command.arg("CLUSTER").arg("SLOTS");
        let ranges = link.send(&server, &command, deadline).await?;
        self.read_slots(host, &ranges)
    }

    /// Reads the answer to `CLUSTER SLOTS`: first slot, last slot, primary, replicas.
    fn read_slots(&self, host: &Address, ranges: &Value) -> Result<Map, CallError> {
        let nonsense = || CallError::Nonsense(format!("to CLUSTER SLOTS: {ranges:?}"));
        let Value::Array(ranges) = ranges else {
            return Err(nonsense());
        };
        let mut numbers: HashMap<Address, u16> = HashMap::new();
        let mut map = Map { servers: Vec::new(), slots: vec![0; usize::from(SLOTS)] };
        let mut covered = 0;
        for range in ranges {
            let Value::Array(parts) = range else {
                return Err(nonsense());
            };
            let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &parts[..]
            else {
                return Err(nonsense());
            };
            let mut address = address_of(primary).ok_or_else(nonsense)?;
            if address.host.is_empty() {
                // It does not know its own name: it is the one that was asked.
                address.host.clone_from(&host.host);
            }
            let number = match numbers.get(&address) {
                Some(number) => *number,
                None => {
                    let number = u16::try_from(map.servers.len()).map_err(|_| nonsense())?;
                    map.servers.push(self.known_or_new(&address)?);
                    numbers.insert(address, number);
                    number
                }
            };
            let range = usize::try_from(*first).ok().zip(usize::try_from(*last).ok());
            let slots = range.and_then(|(first, last)| map.slots.get_mut(first..=last));
            let slots = slots.ok_or_else(nonsense)?;
            slots.fill(number);
            covered += slots.len();
        }
        if covered < usize::from(SLOTS) {
            let missing = usize::from(SLOTS) - covered;
            let reason = format!("{missing} slots of the Redis Cluster are nobody's");
            return Err(CallError::Connection(reason));
        }
        Ok(map)
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

/// Of a server that need not be the primary.
async fn anybody() -> Result<(), CallError> {
    Ok(())
}

/// A host and a port.
fn address_of(parts: &[Value]) -> Option<Address> {
    let text = |part: &Value| match part {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    };
    let host = match parts.first()? {
        Value::Nil => String::new(),
        host => text(host)?,
    };
    Some(Address { host, port: text(parts.get(1)?)?.parse().ok()? })
}

/// The slot of a key: the hash of what stands between its first braces.
fn slot_of(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    State::<XMODEM>::calculate(tag.unwrap_or(key).as_bytes()) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::slot_of;

    #[test]
    fn slots_are_those_of_the_servers() {
        // As CLUSTER KEYSLOT of Redis 7.0 says.
        for (key, slot) in [("foo", 12_182), ("123456789", 12_739), ("x:{foo}:y", 12_182)] {
            assert_eq!(slot_of(key), slot, "{key}");
        }
    }
}
