//! One server, and the connections to it: one that all calls share, and those on which somebody
//! waits for entries.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Value};
use tokio::time::{Instant, timeout_at};

use super::error::CallError;
use super::url::Address;

/// How many connections are kept on which nobody waits at the moment.
const IDLE_READERS: usize = 64;

/// After an attempt to connect has failed, how long others get its error without one of their own.
const FAILURE_STANDS: Duration = Duration::from_millis(50);

/// A server.
pub(super) struct Server {
    pub(super) address: Address,
    client: Client,
    shared: Mutex<Option<Link>>,
    /// Held by who connects; the last failure.
    connecting: tokio::sync::Mutex<Option<(Instant, CallError)>>,
    idle: Mutex<Vec<Link>>,
}

/// A connection, and the run of the server that it leads to.
#[derive(Clone)]
pub(super) struct Link {
    connection: MultiplexedConnection,
    pub(super) about: Arc<About>,
}

/// What a server says of itself.
#[derive(Debug)]
pub(super) struct About {
    /// Another one after every restart, and of every server.
    pub(super) run: String,
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

    /// The shared connection; made now if there is none, and taken if it is `fit`.
    pub(super) async fn link(
        &self,
        deadline: Instant,
        fit: impl AsyncFnOnce() -> Result<(), CallError>,
    ) -> Result<Link, CallError> {
        if let Some(link) = lock(&self.shared).clone() {
            return Ok(link);
        }
        let late = |_| CallError::Late(self.address.to_string());
        let mut last_failure = timeout_at(deadline, self.connecting.lock()).await.map_err(late)?;
        if let Some(link) = lock(&self.shared).clone() {
            return Ok(link);
        }
        if let Some((at, error)) = &*last_failure
            && at.elapsed() < FAILURE_STANDS
        {
            return Err(error.clone());
        }
        match self.connect(deadline, fit).await {
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

    /// A connection for somebody who waits; a new one is taken if it is `fit`.
    pub(super) async fn reader(
        &self,
        deadline: Instant,
        fit: impl AsyncFnOnce() -> Result<(), CallError>,
    ) -> Result<Link, CallError> {
        let idle = lock(&self.idle).pop();
        match idle {
            Some(link) => Ok(link),
            None => self.connect(deadline, fit).await,
        }
    }

    /// Gives a connection back on which nobody waits any more.
    pub(super) fn give_back(&self, reader: Link) {
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_READERS {
            idle.push(reader);
        }
    }

    /// Lets go of the shared connection, if it is still `link`, and of those on which nobody waits.
    pub(super) fn discard(&self, link: &Link) {
        let mut shared = lock(&self.shared);
        if shared.as_ref().is_some_and(|current| Arc::ptr_eq(&current.about, &link.about)) {
            *shared = None;
        }
        drop(shared);
        lock(&self.idle).clear();
    }

    async fn connect(
        &self,
        deadline: Instant,
        fit: impl AsyncFnOnce() -> Result<(), CallError>,
    ) -> Result<Link, CallError> {
        let connecting = async {
            // Deadlines are the callers' own: a reader waits for longer than others.
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(None)
                .set_response_timeout(None);
            let mut connection =
                self.client.get_multiplexed_async_connection_with_config(&config).await?;
            let mut info = Cmd::new();
            info.arg("INFO");
            let info: String = info.query_async(&mut connection).await?;
            fit().await?;
            Ok(Link { connection, about: Arc::new(About::read(&info)) })
        };
        let late = |_| CallError::Late(self.address.to_string());
        timeout_at(deadline, connecting).await.map_err(late)?
    }
}

impl Link {
    /// Sends a command and waits for its answer.
    pub(super) async fn send(
        &mut self,
        server: &Server,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Value, CallError> {
        let late = |_| CallError::Late(server.address.to_string());
        let sent = self.connection.send_packed_command(command);
        Ok(timeout_at(deadline, sent).await.map_err(late)??.extract_error()?)
    }

    /// The same as part of a redirection: the server answers although the slot is another's.
    pub(super) async fn send_asking(
        &mut self,
        server: &Server,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Value, CallError> {
        let mut both = redis::Pipeline::with_capacity(2);
        both.cmd("ASKING").ignore().add_command(command.clone());
        let late = |_| CallError::Late(server.address.to_string());
        let sent = both.query_async::<Vec<Value>>(&mut self.connection);
        let mut answers = timeout_at(deadline, sent).await.map_err(late)??;
        answers.pop().ok_or_else(|| CallError::Nonsense("none to a redirected call".into()))
    }
}

impl About {
    fn read(info: &str) -> Self {
        let value = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        Self {
            run: value("run_id"),
            version: value("redis_version"),
            clustered: value("cluster_enabled") == "1",
            primary: value("role") == "master",
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
