//! The routing engine: what happens between a client's command and the mailboxes of everybody who
//! is to see it. It knows ports, not backends, and sessions, not transports.
//!
//! A file a stage, in the order in which a message meets them: [`submit`](Engine::submit) authorises
//! it, `sequence` gives it its id and its place in the log, `store` makes it durable, `route` finds
//! the nodes that want it, `deliver` hands it to their sessions, `push` tells those who are away.
//! Which node stores what is decided in `partitions`.

mod limits;
mod rate_limiter;
mod submit;
mod sequence;
mod partitions;
mod store;
mod route;
mod deliver;
mod push;
mod mailbox;
mod places;
mod session;
mod local;
mod sessions;
mod leases;
mod catch_up;
mod reading;
mod stats;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use limits::Limits;
pub use partitions::partition_owner;
pub use rate_limiter::RateLimiter;
pub use reading::{ChannelSync, Synced};
pub use session::{EndReason, Reader, Session, Streamed, View, WakeReason};
pub use stats::{EngineStats, Stats};
pub use submit::{SendRequest, Sent, Submission};

use crate::model::{ChannelId, NodeId, Partition};
use crate::ports::Ports;

/// A running node's engine. Cheap to clone; all clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// What an engine is started with, besides its ports.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The name of this node.
    pub node: NodeId,
    /// Into how many partitions channels are divided, 1 to
    /// [`MAX_PARTITIONS`](crate::model::MAX_PARTITIONS). Fixed for the life of the stored data.
    pub partitions: u16,
    /// The bounds.
    pub limits: Limits,
}

struct Inner {
    node: NodeId,
    partitions: u16,
    limits: Limits,
    ports: Ports,
    permits: submit::Permits,
    sequencer: sequence::Sequencer,
    local: local::Local,
    /// Serialises what this node tells the interest port: a leave must not overtake a join.
    interest: tokio::sync::Mutex<()>,
    present: sessions::Present,
    pushes: push::Pushes,
    /// Room for events on their way to the inboxes.
    publications: Arc<tokio::sync::Semaphore>,
    stats: Stats,
    /// What this node owns.
    share: tokio::sync::watch::Sender<partitions::Share>,
    tasks: TaskTracker,
    draining: CancellationToken,
    stop: CancellationToken,
    failed: CancellationToken,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("node", &self.inner.node).finish_non_exhaustive()
    }
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The stored positions could not be read.
    #[error("cannot read where history ends: {0}")]
    History(#[from] crate::ports::HistoryError),
    /// The node's inbox could not be opened.
    #[error("cannot open the node's inbox: {0}")]
    Inbox(#[from] crate::ports::InboxError),
    /// The node could not be registered.
    #[error("cannot register the node: {0}")]
    Registry(#[from] crate::ports::RegistryError),
    /// The node's users could not be entered.
    #[error("cannot begin presence: {0}")]
    Presence(#[from] crate::ports::PresenceError),
    /// What the node wants could not be entered.
    #[error("cannot begin interest: {0}")]
    Interest(#[from] crate::ports::InterestError),
}

impl Engine {
    /// Starts the node's tasks: the owners of its share of the partitions, delivery, push, the end
    /// of unread sessions. They end at [`shutdown`](Self::shutdown).
    ///
    /// The node shares the partitions with those that the registry lists. Whoever announces it there
    /// (`NodeRegistry::heartbeat`) does so after this has returned.
    ///
    /// # Errors
    /// If a port does not answer: nothing is left running.
    pub async fn start(config: EngineConfig, ports: Ports) -> Result<Self, StartError> {
        let EngineConfig { node, partitions, limits } = config;
        ports.inbox.open(&node).await?;
        ports.presence.begin(&node, limits.lease).await?;
        ports.interest.begin(&node, limits.lease).await?;
        let stored = Partition::all(partitions).map(|it| ports.history.stored_position(it));
        let floors = futures::future::try_join_all(stored).await?;
        let (pushes, waiting) = push::queue();
        let inner = Arc::new(Inner {
            permits: submit::Permits::new(&limits),
            sequencer: sequence::Sequencer::new(&floors),
            local: local::Local::default(),
            interest: tokio::sync::Mutex::new(()),
            present: sessions::Present::default(),
            pushes,
            publications: Arc::new(tokio::sync::Semaphore::new(route::PUBLICATIONS)),
            stats: Stats::default(),
            share: tokio::sync::watch::Sender::default(),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            stop: CancellationToken::new(),
            failed: CancellationToken::new(),
            node,
            partitions,
            limits,
            ports,
        });
        let engine = Self { inner };
        let partitions = match partitions::Partitions::take(engine.clone()).await {
            Ok(partitions) => partitions,
            Err(error) => {
                engine.shutdown().await;
                return Err(error.into());
            }
        };
        // Not ended from outside: what it owns has to be given back.
        engine.inner.tasks.spawn(partitions.keep());
        engine.spawn(deliver::run(engine.clone()));
        engine.spawn(push::run(engine.clone(), waiting));
        engine.spawn(sessions::expire(engine.clone()));
        engine.spawn(leases::keep(engine.clone()));
        Ok(engine)
    }

    /// The name of this node.
    pub fn node(&self) -> &NodeId {
        &self.inner.node
    }

    /// The bounds it keeps.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// The ports it was started with.
    pub fn ports(&self) -> &Ports {
        &self.inner.ports
    }

    /// What it has counted since it started.
    pub fn stats(&self) -> EngineStats {
        self.inner.stats.read(self.inner.local.count(), self.inner.share.borrow().owned)
    }

    /// Completes when the engine cannot go on: history could not make a write durable. The process
    /// must stop and recover from disk.
    pub async fn failed(&self) {
        self.inner.failed.cancelled().await;
    }

    /// Tells every session that the node is about to stop, where to go and when, at a moment of its
    /// own within `reconnect_after`; then ends them. New sessions and sends are refused from now on.
    /// What was accepted is still acknowledged. Returns once the other nodes can have this one's
    /// partitions; if there are none, it keeps them until it is shut down.
    pub async fn drain(&self, reconnect_after: Duration) {
        sessions::drain(self, reconnect_after).await;
        let mut share = self.inner.share.subscribe();
        // It fails only with the engine.
        let _ = share.wait_for(|share| share.handed_over).await;
    }

    /// Ends every task and gives the node's partitions back. What was not acknowledged by now is not.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    fn partition(&self, channel_id: ChannelId) -> Partition {
        Partition::of(channel_id, self.inner.partitions)
    }

    /// Runs `task` to its end and waits for that. It goes on if the caller is dropped, as handlers
    /// are whose client hangs up: for what must not be left half done.
    async fn complete(&self, task: impl Future<Output = ()> + Send + 'static) {
        let (done, is_done) = tokio::sync::oneshot::channel();
        self.spawn(async move {
            task.await;
            // Whoever asked may be gone.
            let _ = done.send(());
        });
        // It fails only with the engine.
        let _ = is_done.await;
    }

    /// Runs `task` until it ends or the engine is shut down.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let stop = self.inner.stop.clone();
        self.inner.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = stop.cancelled() => {}
            }
        })
    }
}
