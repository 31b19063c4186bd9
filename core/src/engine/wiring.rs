//! Builds an engine: which stage gets which ports, and which tasks run. The only place where that is
//! decided.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::channel_queries::ChannelQueries;
use super::facade::{Engine, Inner};
use super::limits::Limits;
use super::membership_cache::MembershipCache;
use super::message::{
    Acknowledger, Authorizer, Deliverer, MessagePath, PushQueue, PushReceiver, PushStage, Router,
    Sequencer, Store,
};
use super::moment_pace::MomentPace;
use super::node_inboxes::NodeInboxes;
use super::partitions::{ClaimsConfig, LiveNodes, PartitionAssignment, PartitionClaims};
use super::publisher::Publisher;
use super::read_marks::ReadMarks;
use super::sessions::{
    CatchUpReader, MailboxBudget, NodeInterest, NodeLeases, PresenceLock, SessionLifecycle,
    SessionTable, UserPresence,
};
use super::stats::Stats;
use super::tasks::Tasks;
use crate::model::{MessageId, NodeId, Partition};
use crate::ports::{
    BoxFuture, HistoryError, InboxError, InterestError, Ports, PresenceError, RegistryError,
};

/// The configuration of an engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The name of this node, unique in the cluster.
    pub node: NodeId,
    /// Into how many partitions channels are divided, 1 to
    /// [`MAX_PARTITIONS`](crate::model::MAX_PARTITIONS). The same on all nodes, and never changed once
    /// there is stored data.
    pub partitions: u16,
    /// The limits of this node.
    pub limits: Limits,
}

/// Why an engine did not start. Retry if the error of the port is retryable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The stored positions were not read.
    #[error("cannot read the stored positions of history: {0}")]
    History(#[from] HistoryError),
    /// The inbox of the node was not opened.
    #[error("cannot open the node's inbox: {0}")]
    Inbox(#[from] InboxError),
    /// The nodes were not listed.
    #[error("cannot list the nodes of the registry: {0}")]
    Registry(#[from] RegistryError),
    /// The node got no lease of presence.
    #[error("cannot take a lease of presence: {0}")]
    Presence(#[from] PresenceError),
    /// The node got no lease of interest.
    #[error("cannot take a lease of interest: {0}")]
    Interest(#[from] InterestError),
}

impl Engine {
    /// Starts the tasks of a node: the owners of its partitions, delivery, push, leases, and the
    /// expiry of sessions. They end at [`shutdown`](Self::shutdown).
    ///
    /// The partitions are divided among the nodes that the registry lists. Announce this node there
    /// (`NodeRegistry::heartbeat`) after this method has returned, and then regularly.
    ///
    /// # Errors
    /// If a port is unavailable: no task is left running. Retry.
    pub fn start(
        config: EngineConfig,
        ports: Ports,
    ) -> BoxFuture<'static, Result<Self, StartError>> {
        Box::pin(async move {
            let (node, lease) = (&config.node, config.limits.lease);
            ports.inbox.open(node).await?;
            ports.presence.begin(node, lease).await?;
            ports.interest.begin(node, lease).await?;
            let stored =
                Partition::all(config.partitions).map(|it| ports.history.stored_position(it));
            let floors = futures::future::try_join_all(stored).await?;

            let shared = Shared::new(config, ports);
            let table = Arc::new(SessionTable::default());
            let sessions = shared.sessions(&table);
            let leases = shared.node_leases(&sessions);
            let (path, waiting_for_push) = shared.message_path(&floors, &table, &sessions);
            let path = Arc::new(path);
            let claims = shared.claims();
            let engine = shared.engine(&path, table, sessions, claims.assignment.subscribe());

            let (tasks, owned_path) = (shared.tasks.clone(), Arc::clone(&path));
            let claims = PartitionClaims::start(claims, move |partition, lease| {
                tasks.spawn(Arc::clone(&owned_path).own_partition(partition, lease))
            });
            let claims = match claims.await {
                Ok(claims) => claims,
                Err(error) => {
                    engine.shutdown().await;
                    return Err(error.into());
                }
            };
            let tasks = &shared.tasks;
            tasks.spawn_until_released(claims.keep());
            tasks.spawn(Arc::clone(&path).deliver());
            tasks.spawn(Arc::clone(&path).push(waiting_for_push));
            tasks.spawn(path.tidy());
            tasks.spawn(Arc::clone(&engine.inner.sessions).expire());
            tasks.spawn(leases.keep());
            Ok(engine)
        })
    }
}

/// What the parts of an engine share besides their ports.
struct Shared {
    config: EngineConfig,
    ports: Ports,
    budget: Budget,
    stats: Arc<Stats>,
    tasks: Tasks,
    draining: CancellationToken,
    failed: CancellationToken,
    inboxes: Arc<NodeInboxes>,
    memberships: Arc<MembershipCache>,
    publisher: Arc<Publisher>,
}

impl Shared {
    fn new(config: EngineConfig, ports: Ports) -> Self {
        let (stats, tasks) = (Arc::new(Stats::default()), Tasks::default());
        let inboxes = Arc::new(NodeInboxes {
            inbox: Arc::clone(&ports.inbox),
            interest: Arc::clone(&ports.interest),
            presence: Arc::clone(&ports.presence),
        });
        let directory = Arc::clone(&ports.directory);
        let memberships = Arc::new(MembershipCache::new(directory, &config.limits));
        let publisher = Arc::new(Publisher::new(
            Arc::clone(&inboxes),
            Arc::clone(&memberships),
            Arc::clone(&stats),
            tasks.clone(),
        ));
        Self {
            budget: Budget::new(config.limits.budget),
            config,
            ports,
            stats,
            tasks,
            draining: CancellationToken::new(),
            failed: CancellationToken::new(),
            inboxes,
            memberships,
            publisher,
        }
    }

    /// The stages of a message.
    fn message_path(
        &self,
        floors: &[MessageId],
        table: &Arc<SessionTable>,
        sessions: &Arc<SessionLifecycle>,
    ) -> (MessagePath, PushReceiver) {
        let (ports, limits, node) = (&self.ports, &self.config.limits, &self.config.node);
        let sequencer = Arc::new(Sequencer::new(
            node.clone(),
            Arc::clone(&ports.log),
            Arc::clone(&ports.clock),
            floors,
        ));
        let acknowledger = Arc::new(Acknowledger::new(
            node.clone(),
            Arc::clone(&ports.history),
            Arc::clone(&self.inboxes),
            limits.confirm_within,
            self.failed.clone(),
            Arc::clone(&self.stats),
        ));
        let (push_queue, waiting_for_push) = PushQueue::new(Arc::clone(&self.stats));
        let path = MessagePath {
            authorizer: Authorizer::new(
                Arc::clone(&self.memberships),
                limits,
                self.draining.clone(),
            ),
            store: Store {
                log: Arc::clone(&ports.log),
                history: Arc::clone(&ports.history),
                sequencer: Arc::clone(&sequencer),
                batch: limits.batch,
                stats: Arc::clone(&self.stats),
                failed: self.failed.clone(),
            },
            router: Router { inboxes: Arc::clone(&self.inboxes) },
            deliverer: Deliverer {
                node: node.clone(),
                inbox: Arc::clone(&ports.inbox),
                clock: Arc::clone(&ports.clock),
                batch: limits.batch,
                sequencer: Arc::clone(&sequencer),
                acknowledger: Arc::clone(&acknowledger),
                memberships: Arc::clone(&self.memberships),
                table: Arc::clone(table),
                mailboxes: Arc::clone(&sessions.mailboxes),
                interest: Arc::clone(&sessions.interest),
                sessions: Arc::clone(sessions),
                stats: Arc::clone(&self.stats),
            },
            push: PushStage {
                directory: Arc::clone(&ports.directory),
                presence: Arc::clone(&ports.presence),
                push: Arc::clone(&ports.push),
                clock: Arc::clone(&ports.clock),
                stats: Arc::clone(&self.stats),
            },
            sequencer,
            acknowledger,
            push_queue,
        };
        (path, waiting_for_push)
    }

    /// The sessions of this node, with what it publishes because of them.
    fn sessions(&self, table: &Arc<SessionTable>) -> Arc<SessionLifecycle> {
        let (ports, node) = (&self.ports, &self.config.node);
        let interest = Arc::new(NodeInterest::new(
            node.clone(),
            Arc::clone(&ports.interest),
            Arc::clone(table),
        ));
        let presence = Arc::new(UserPresence {
            node: node.clone(),
            presence: Arc::clone(&ports.presence),
            directory: Arc::clone(&ports.directory),
            publisher: Arc::clone(&self.publisher),
            table: Arc::clone(table),
            lock: PresenceLock::default(),
            tasks: self.tasks.clone(),
        });
        let mailboxes = Arc::new(MailboxBudget::new(self.budget.clone(), Arc::clone(table)));
        let catch_up = CatchUpReader {
            directory: Arc::clone(&ports.directory),
            history: Arc::clone(&ports.history),
            clock: Arc::clone(&ports.clock),
            limits: self.config.limits.clone(),
            budget: self.budget.clone(),
            mailboxes: Arc::clone(&mailboxes),
        };
        Arc::new(SessionLifecycle {
            node: node.clone(),
            limits: self.config.limits.clone(),
            clock: Arc::clone(&ports.clock),
            directory: Arc::clone(&ports.directory),
            table: Arc::clone(table),
            interest,
            presence,
            catch_up,
            mailboxes,
            stats: Arc::clone(&self.stats),
            tasks: self.tasks.clone(),
            draining: self.draining.clone(),
        })
    }

    fn node_leases(&self, sessions: &Arc<SessionLifecycle>) -> NodeLeases {
        NodeLeases {
            lease: self.config.limits.lease,
            presence: Arc::clone(&sessions.presence),
            interest: Arc::clone(&sessions.interest),
            sessions: Arc::clone(sessions),
        }
    }

    fn claims(&self) -> ClaimsConfig {
        ClaimsConfig {
            node: self.config.node.clone(),
            partitions: self.config.partitions,
            lease: self.config.limits.lease,
            registry: Arc::clone(&self.ports.registry),
            inbox: Arc::clone(&self.ports.inbox),
            assignment: watch::Sender::default(),
            draining: self.draining.clone(),
            failed: self.failed.clone(),
            tasks: self.tasks.clone(),
        }
    }

    /// The facade over all of it.
    fn engine(
        &self,
        path: &Arc<MessagePath>,
        table: Arc<SessionTable>,
        sessions: Arc<SessionLifecycle>,
        assignment: watch::Receiver<PartitionAssignment>,
    ) -> Engine {
        let (node, limits) = (self.config.node.clone(), self.config.limits.clone());
        let pace = MomentPace::new(limits.moments_per_second);
        self.tasks.spawn(Arc::clone(&pace).keep_tidy());
        let marks = Arc::new(ReadMarks::default());
        self.tasks.spawn(Arc::clone(&marks).keep_tidy());
        let queries = Arc::new(ChannelQueries {
            limits: limits.clone(),
            directory: Arc::clone(&self.ports.directory),
            history: Arc::clone(&self.ports.history),
            memberships: Arc::clone(&self.memberships),
            publisher: Arc::clone(&self.publisher),
            table: Arc::clone(&table),
            pace,
            marks,
            stats: Arc::clone(&self.stats),
            tasks: self.tasks.clone(),
        });
        let registry = Arc::clone(&self.ports.registry);
        let nodes = LiveNodes { node: node.clone(), registry, assignment };
        Engine {
            inner: Arc::new(Inner {
                node,
                limits,
                ports: self.ports.clone(),
                path: Arc::clone(path),
                table,
                sessions,
                queries,
                budget: self.budget.clone(),
                memberships: Arc::clone(&self.memberships),
                publisher: Arc::clone(&self.publisher),
                nodes,
                stats: Arc::clone(&self.stats),
                tasks: self.tasks.clone(),
                draining: self.draining.clone(),
                failed: self.failed.clone(),
            }),
        }
    }
}
