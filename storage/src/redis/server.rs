//! One server and the connections to it: one that all calls share, and one for each blocking read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Value};
use tokio::time::{Instant, timeout_at};

use super::error::CallError;
use super::url::Address;

/// The most idle connections kept for blocking reads.
const MAX_IDLE: usize = 64;

/// How long a failed connection attempt is reported to other callers without a new attempt.
const FAILURE_REUSED_FOR: Duration = Duration::from_millis(50);

/// A server.
pub(super) struct Server {
    pub(super) address: Address,
    client: Client,
    shared: Mutex<Option<Link>>,
    /// Held while connecting; the last failure.
    connecting: tokio::sync::Mutex<Option<(Instant, CallError)>>,
    idle: Mutex<Vec<Link>>,
}

/// A connection, and the server process that it leads to.
#[derive(Clone)]
pub(super) struct Link {
    connection: MultiplexedConnection,
    pub(super) info: Arc<ServerInfo>,
}

/// What a server reports in INFO.
#[derive(Debug)]
pub(super) struct ServerInfo {
    /// The `run_id`: unique to each server and each restart.
    pub(super) run_id: String,
    pub(super) version: String,
    pub(super) clustered: bool,
    pub(super) primary: bool,
}

impl Server {
    pub(super) fn new(address: Address, client: Client) -> Self {
        Self {
            address,
            client,
            shared: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            idle: Mutex::default(),
        }
    }

    /// The shared connection. Opens one if there is none, and keeps it if `check` succeeds.
    pub(super) async fn link(
        &self,
        deadline: Instant,
        check: impl AsyncFnOnce() -> Result<(), CallError>,
    ) -> Result<Link, CallError> {
        if let Some(link) = lock(&self.shared).clone() {
            return Ok(link);
        }
        let timed_out = |_| CallError::Timeout(self.address.to_string());
        let mut last_failure =
            timeout_at(deadline, self.connecting.lock()).await.map_err(timed_out)?;
        if let Some(link) = lock(&self.shared).clone() {
            return Ok(link);
        }
        if let Some((at, error)) = &*last_failure
            && at.elapsed() < FAILURE_REUSED_FOR
        {
            return Err(error.clone());
        }
        match self.connect(deadline, check).await {
            Ok(link) => {
                *lock(&self.shared) = Some(link.clone());
                *last_failure = None;
                Ok(link)
            }
            Err(error) => {
                *last_failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// A connection for a blocking read. A new one is kept if `check` succeeds.
    pub(super) async fn blocking(
        &self,
        deadline: Instant,
        check: impl AsyncFnOnce() -> Result<(), CallError>,
    ) -> Result<Link, CallError> {
        let idle = lock(&self.idle).pop();
        match idle {
            Some(link) => Ok(link),
            None => self.connect(deadline, check).await,
        }
    }

    /// Returns a connection after a blocking read has ended.
    pub(super) fn return_idle(&self, link: Link) {
        let mut idle = lock(&self.idle);
        if idle.len() < MAX_IDLE {
            idle.push(link);
        }
    }

    /// Closes the shared connection if it is still `link`, and all idle ones.
    pub(super) fn discard(&self, link: &Link) {
        let mut shared = lock(&self.shared);
        if shared.as_ref().is_some_and(|current| Arc::ptr_eq(&current.info, &link.info)) {
            *shared = None;
        }
        drop(shared);
        lock(&self.idle).clear();
    }

    async fn connect(
        &self,
        deadline: Instant,
        check: impl AsyncFnOnce() -> Result<(), CallError>,
    ) -> Result<Link, CallError> {
        let connecting = async {
            // Callers set their own deadlines: a blocking read waits longer than other calls.
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(None)
                .set_response_timeout(None);
            let mut connection =
                self.client.get_multiplexed_async_connection_with_config(&config).await?;
            let mut info = Cmd::new();
            info.arg("INFO");
            let info: String = info.query_async(&mut connection).await?;
            check().await?;
            Ok(Link { connection, info: Arc::new(ServerInfo::parse(&info)) })
        };
        let timed_out = |_| CallError::Timeout(self.address.to_string());
        timeout_at(deadline, connecting).await.map_err(timed_out)?
    }
}

impl Link {
    /// Sends a command and waits for its reply.
    pub(super) async fn send(
        &mut self,
        server: &Server,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Value, CallError> {
        let timed_out = |_| CallError::Timeout(server.address.to_string());
        let sent = self.connection.send_packed_command(command);
        Ok(timeout_at(deadline, sent).await.map_err(timed_out)??.extract_error()?)
    }

    /// Sends a command after ASKING: the server executes it although another server owns the slot.
    pub(super) async fn send_asking(
        &mut self,
        server: &Server,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Value, CallError> {
        let mut both = redis::Pipeline::with_capacity(2);
        both.cmd("ASKING").ignore().add_command(command.clone());
        let timed_out = |_| CallError::Timeout(server.address.to_string());
        let sent = both.query_async::<Vec<Value>>(&mut self.connection);
        let mut replies = timeout_at(deadline, sent).await.map_err(timed_out)??;
        replies
            .pop()
            .ok_or_else(|| CallError::UnexpectedReply("none to a redirected command".into()))
    }
}

impl ServerInfo {
    fn parse(info: &str) -> Self {
        let value = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        Self {
            run_id: value("run_id"),
            version: value("redis_version"),
            clustered: value("cluster_enabled") == "1",
            primary: value("role") == "master",
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
