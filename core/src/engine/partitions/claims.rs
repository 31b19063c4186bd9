//! Claims the partitions that are assigned to this node, and releases those that are not.
//!
//! Every node computes the assignment from the registry by itself. If two nodes see different lists
//! for a moment, the lease of a partition decides between them (docs/adr/0011).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::assignment::{PartitionAssignment, partition_owner};
use super::owner_lease::{LeaseControl, OwnerLease, owner_lease};
use crate::engine::tasks::Tasks;
use crate::model::{NodeId, Partition};
use crate::ports::{Lease, NodeInbox, NodeInfo, NodeRegistry, RegistryError};

/// How often a node compares what it owns with what is assigned to it. A partition moves within two
/// rounds, one of the node that releases it and one of the node that claims it, plus the batch that
/// the first node has in progress.
const ROUND: Duration = Duration::from_millis(500);
/// How long an owner may finish its batch when the partition goes to another node. What it does not
/// finish, the next owner repeats.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(1);
/// In how many consecutive rounds a node must be missing, at least, before its inbox is removed.
const MISSED_ROUNDS: u32 = 2;

/// What the claims of a node depend on.
pub(in crate::engine) struct ClaimsConfig {
    pub(in crate::engine) node: NodeId,
    /// The number of partitions.
    pub(in crate::engine) partitions: u16,
    /// How long a lease lasts without renewal.
    pub(in crate::engine) lease: Duration,
    pub(in crate::engine) registry: Arc<dyn NodeRegistry>,
    pub(in crate::engine) inbox: Arc<dyn NodeInbox>,
    pub(in crate::engine) assignment: watch::Sender<PartitionAssignment>,
    pub(in crate::engine) draining: CancellationToken,
    pub(in crate::engine) failed: CancellationToken,
    pub(in crate::engine) tasks: Tasks,
}

/// A partition that this node owns.
struct Owned {
    lease: Lease,
    renewed_at: Instant,
    control: LeaseControl,
    owner: JoinHandle<()>,
}

/// The partitions that this node owns, and the other nodes that it has seen. `spawn_owner` starts the
/// task that owns a partition.
pub(in crate::engine) struct PartitionClaims<F> {
    config: ClaimsConfig,
    spawn_owner: F,
    owned: BTreeMap<Partition, Owned>,
    /// The nodes among which the partitions are divided, as the registry listed them last.
    eligible: BTreeSet<NodeId>,
    /// The other nodes, with the number of consecutive rounds in which each was missing.
    seen: BTreeMap<NodeId, u32>,
}

impl<F: Fn(Partition, OwnerLease) -> JoinHandle<()> + Sync> PartitionClaims<F> {
    /// Claims what is assigned to this node, as far as no other node owns it.
    pub(in crate::engine) async fn start(
        config: ClaimsConfig,
        spawn_owner: F,
    ) -> Result<Self, RegistryError> {
        let nodes = config.registry.nodes().await?;
        let (owned, eligible, seen) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        let mut claims = Self { config, spawn_owner, owned, eligible, seen };
        claims.round(Some(nodes)).await;
        Ok(claims)
    }

    /// Follows the assignment until the engine shuts down, and then releases all partitions.
    pub(in crate::engine) async fn keep(mut self) {
        let (tasks, draining) = (self.config.tasks.clone(), self.config.draining.clone());
        let failed = self.config.failed.clone();
        loop {
            let drains = draining.is_cancelled();
            tokio::select! {
                () = tokio::time::sleep(ROUND) => {}
                () = draining.cancelled(), if !drains => {}
                () = tasks.stopping() => return self.release_all().await,
                // Another node may be able to write to history.
                () = failed.cancelled() => return self.release_all().await,
            }
            let nodes = self.config.registry.nodes().await;
            let nodes = nodes.inspect_err(|error| tracing::warn!(%error, "registry unavailable"));
            tokio::select! {
                () = self.round(nodes.ok()) => {}
                () = tasks.stopping() => return self.release_all().await,
            }
        }
    }

    /// Brings what this node owns to what is assigned to it among `nodes`; among those of the last
    /// round, if the registry is unavailable.
    async fn round(&mut self, nodes: Option<Vec<NodeInfo>>) {
        let (drains, this) = (self.config.draining.is_cancelled(), self.config.node.clone());
        if let Some(nodes) = nodes {
            self.remove_dead_inboxes(&nodes).await;
            self.config.assignment.send_modify(|it| it.nodes.clone_from(&nodes));
            let others = nodes.into_iter().filter(|it| !it.draining && it.node != this);
            self.eligible = others.map(|info| info.node).collect();
            // A partition needs an owner, so the last node keeps its partitions while it drains.
            if !drains || self.eligible.is_empty() {
                self.eligible.insert(this.clone());
            }
        }
        let all = Partition::all(self.config.partitions);
        let (mine, others): (Vec<_>, Vec<_>) =
            all.partition(|&partition| partition_owner(&self.eligible, partition) == Some(&this));
        self.release(&others).await;
        self.renew().await;
        self.claim(&mine).await;
        let owned = self.owned.len();
        debug_assert!(
            owned <= usize::from(self.config.partitions),
            "a node owns each partition at most once",
        );
        let is_eligible = self.eligible.contains(&this);
        self.config.assignment.send_modify(|assignment| {
            assignment.owned = owned;
            assignment.handed_over = drains && (is_eligible || owned == 0);
        });
    }

    /// Releases those of `partitions` that this node owns.
    async fn release(&mut self, partitions: &[Partition]) {
        let leaving = partitions.iter().filter_map(|partition| self.owned.remove(partition));
        let registry = &self.config.registry;
        let released: FuturesUnordered<_> = leaving
            .map(|mut owned| async move {
                owned.control.hand_over();
                if timeout(HAND_OVER_TIMEOUT, &mut owned.owner).await.is_err() {
                    owned.owner.abort();
                }
                if let Err(error) = registry.release(&owned.lease).await {
                    tracing::warn!(%error, "a partition was not released: its lease must expire");
                }
            })
            .collect();
        released.collect::<()>().await;
    }

    async fn release_all(mut self) {
        let all: Vec<_> = self.owned.keys().copied().collect();
        if timeout(2 * HAND_OVER_TIMEOUT, self.release(&all)).await.is_err() {
            tracing::warn!("not all partitions were released: their leases must expire");
        }
        self.config.assignment.send_modify(|assignment| {
            assignment.owned = 0;
            assignment.handed_over = true;
        });
    }

    /// Extends the leases that are due. The owner of a lease that was lost ends at once.
    async fn renew(&mut self) {
        let (registry, lease) = (&self.config.registry, self.config.lease);
        let due = self.owned.iter_mut().filter(|(_, it)| it.renewed_at.elapsed() >= lease / 3);
        let renewed: FuturesUnordered<_> = due
            .map(|(&partition, owned)| async move {
                // Before the call, so that this node's lease ends no later than the registry's.
                let now = Instant::now();
                match registry.renew(&owned.lease, lease).await {
                    Ok(true) => {
                        owned.renewed_at = now;
                        owned.control.extend(now + lease);
                        None
                    }
                    Ok(false) => Some(partition),
                    Err(error) => {
                        let partition = partition.get();
                        tracing::warn!(%error, partition, "the lease of a partition was not renewed");
                        None
                    }
                }
            })
            .collect();
        let lost: Vec<_> = renewed.filter_map(async |lost| lost).collect().await;
        for partition in lost {
            tracing::warn!(partition = partition.get(), "the lease of a partition was lost");
            if let Some(owned) = self.owned.remove(&partition) {
                owned.owner.abort();
            }
        }
        // An owner whose lease ended before its renewal has returned.
        self.owned.retain(|_, owned| !owned.owner.is_finished());
    }

    /// Claims those of `partitions` that no other node owns.
    async fn claim(&mut self, partitions: &[Partition]) {
        let (config, owned) = (&self.config, &self.owned);
        let free = partitions.iter().filter(|partition| !owned.contains_key(partition));
        let acquired: FuturesUnordered<_> = free
            .map(|&partition| async move {
                let now = Instant::now();
                match config.registry.acquire(&config.node, partition, config.lease).await {
                    Ok(lease) => lease.map(|lease| (lease, now)),
                    Err(error) => {
                        let partition = partition.get();
                        tracing::warn!(%error, partition, "no lease of a partition");
                        None
                    }
                }
            })
            .collect();
        let acquired: Vec<_> = acquired.filter_map(async |held| held).collect().await;
        for (lease, renewed_at) in acquired {
            let partition = lease.partition;
            let (control, owner_lease) = owner_lease(renewed_at + self.config.lease);
            let owner = (self.spawn_owner)(partition, owner_lease);
            self.owned.insert(partition, Owned { lease, renewed_at, control, owner });
        }
    }

    /// Removes the inboxes of dead nodes: a sender that waits for capacity in one would wait for
    /// ever.
    async fn remove_dead_inboxes(&mut self, nodes: &[NodeInfo]) {
        for missed in self.seen.values_mut() {
            *missed += 1;
        }
        for info in nodes.iter().filter(|info| info.node != self.config.node) {
            self.seen.insert(info.node.clone(), 0);
        }
        // When a registry returns that was unavailable or lost its entries, all nodes are missing for
        // a moment. A removed inbox ends the sessions of its node, so this waits for a lease.
        let rounds = self.config.lease.as_millis() / ROUND.as_millis();
        let enough = u32::try_from(rounds).unwrap_or(u32::MAX).max(MISSED_ROUNDS);
        let dead = self.seen.iter().filter(|(_, missed)| **missed >= enough);
        for node in dead.map(|(node, _)| node.clone()).collect::<Vec<_>>() {
            match self.config.inbox.forget(&node).await {
                Ok(()) => {
                    tracing::info!(%node, "the inbox of a dead node was removed");
                    self.seen.remove(&node);
                }
                Err(error) => {
                    tracing::warn!(%error, %node, "the inbox of a dead node was not removed");
                }
            }
        }
    }
}
