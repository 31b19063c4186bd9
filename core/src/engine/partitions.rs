//! Which partitions this node owns. The live nodes share them by rendezvous hashing (Thaler and
//! Ravishankar 1996): each partition goes to the node that scores highest for it, so that a node which
//! joins or leaves moves only what it gains or had. Every node works the shares out by itself, from
//! the registry; the lease of a partition decides if two of them disagree for a moment.
//!
//! What an owner does is [`store`](super::store)'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rand::seq::IndexedRandom;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{Engine, store};
use crate::model::{NodeId, Partition};
use crate::ports::{Lease, NodeInfo, RegistryError};

/// How often a node looks whether it has its share. A partition changes hands within two turns, one
/// of the node that gives it and one of the node that takes it, and what the giver has in hand.
const TURN: Duration = Duration::from_millis(500);
/// How long an owner whose partition goes to another node may finish what it has in hand. What it
/// could not, the next owner does again.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(1);
/// How often in a row a node must be missing, at least, before what it left behind is removed.
const MISSED: u32 = 2;

/// How the partitions are shared at a moment, as seen from here.
#[derive(Clone, Debug, Default)]
pub(super) struct Share {
    /// The nodes that live.
    nodes: Vec<NodeInfo>,
    /// How many of the partitions this node owns.
    pub(super) owned: usize,
    /// This node drains, and has given away what others can take.
    pub(super) handed_over: bool,
}

/// For how long a node may go on as the owner of a partition.
pub(super) struct Tenure {
    /// By the clock of this process, which no other node believes for longer.
    ends: watch::Receiver<Instant>,
    /// Another node is to have it: no new batch.
    pub(super) leaving: CancellationToken,
}

impl Tenure {
    /// Whether another node may own the partition by now.
    pub(super) fn has_ended(&self) -> bool {
        Instant::now() >= *self.ends.borrow()
    }
}

/// A partition that this node owns.
struct Owned {
    lease: Lease,
    renewed: Instant,
    ends: watch::Sender<Instant>,
    leaving: CancellationToken,
    owner: JoinHandle<()>,
}

/// The partitions of this node and the nodes around it.
pub(super) struct Partitions {
    engine: Engine,
    owned: BTreeMap<Partition, Owned>,
    /// Who takes partitions, as the registry said last.
    sharers: BTreeSet<NodeId>,
    /// Nodes that were seen, and how often in a row each has been missing since.
    seen: BTreeMap<NodeId, u32>,
}

impl Partitions {
    /// Takes the share of this node, as far as it is free.
    pub(super) async fn take(engine: Engine) -> Result<Self, RegistryError> {
        let nodes = engine.inner.ports.registry.nodes().await?;
        let (owned, seen) = (BTreeMap::new(), BTreeMap::new());
        let mut partitions = Self { engine, owned, sharers: BTreeSet::new(), seen };
        partitions.turn(Some(nodes)).await;
        Ok(partitions)
    }

    /// Keeps the share of this node until the engine is shut down, and then gives all back.
    pub(super) async fn keep(mut self) {
        let inner = &self.engine.inner;
        let (draining, stop) = (inner.draining.clone(), inner.stop.clone());
        let failed = inner.failed.clone();
        loop {
            let drains = draining.is_cancelled();
            tokio::select! {
                () = tokio::time::sleep(TURN) => {}
                () = draining.cancelled(), if !drains => {}
                () = stop.cancelled() => return self.give_all_back().await,
                // Others may have more luck with history.
                () = failed.cancelled() => return self.give_all_back().await,
            }
            let nodes = self.engine.inner.ports.registry.nodes().await;
            let nodes = nodes.inspect_err(|error| tracing::warn!(%error, "the registry is away"));
            tokio::select! {
                () = self.turn(nodes.ok()) => {}
                () = stop.cancelled() => return self.give_all_back().await,
            }
        }
    }

    /// Brings what this node owns to what it should own among `nodes`; among those known last, if
    /// the registry does not answer.
    async fn turn(&mut self, nodes: Option<Vec<NodeInfo>>) {
        let inner = &self.engine.inner;
        let (drains, this) = (inner.draining.is_cancelled(), inner.node.clone());
        if let Some(nodes) = nodes {
            self.forget_the_dead(&nodes).await;
            self.engine.inner.share.send_modify(|share| share.nodes.clone_from(&nodes));
            let others = nodes.into_iter().filter(|it| !it.draining && it.node != this);
            self.sharers = others.map(|info| info.node).collect();
            // Somebody must own them, so the last node keeps them to the end.
            if !drains || self.sharers.is_empty() {
                self.sharers.insert(this.clone());
            }
        }
        let all = Partition::all(self.engine.inner.partitions);
        let (mine, others): (Vec<_>, Vec<_>) =
            all.partition(|&partition| partition_owner(&self.sharers, partition) == Some(&this));
        self.hand_over(&others).await;
        self.renew().await;
        self.acquire(&mine).await;
        let alone = self.sharers.contains(&this);
        self.engine.inner.share.send_modify(|share| {
            share.owned = self.owned.len();
            share.handed_over = drains && (alone || share.owned == 0);
        });
    }

    /// Gives `partitions` to those who should have them, as far as they are owned here.
    async fn hand_over(&mut self, partitions: &[Partition]) {
        let leaving = partitions.iter().filter_map(|partition| self.owned.remove(partition));
        let registry = &self.engine.inner.ports.registry;
        let gone: FuturesUnordered<_> = leaving
            .map(|mut owned| async move {
                owned.leaving.cancel();
                if timeout(HAND_OVER_WITHIN, &mut owned.owner).await.is_err() {
                    owned.owner.abort();
                }
                if let Err(error) = registry.release(&owned.lease).await {
                    tracing::warn!(%error, "a partition was not given back: its lease has to end");
                }
            })
            .collect();
        gone.collect::<()>().await;
    }

    async fn give_all_back(mut self) {
        let all: Vec<_> = self.owned.keys().copied().collect();
        if timeout(2 * HAND_OVER_WITHIN, self.hand_over(&all)).await.is_err() {
            tracing::warn!("not all partitions were given back: their leases have to end");
        }
        self.engine.inner.share.send_modify(|share| {
            share.owned = 0;
            share.handed_over = true;
        });
    }

    /// Extends the leases that are due. Whoever lost one stops at once.
    async fn renew(&mut self) {
        let (registry, lease) = (&self.engine.inner.ports.registry, self.engine.inner.limits.lease);
        let due = self.owned.iter_mut().filter(|(_, it)| it.renewed.elapsed() >= lease / 3);
        let renewed: FuturesUnordered<_> = due
            .map(|(&partition, owned)| async move {
                let now = Instant::now();
                match registry.renew(&owned.lease, lease).await {
                    Ok(true) => {
                        owned.renewed = now;
                        owned.ends.send_replace(now + lease);
                        None
                    }
                    Ok(false) => Some(partition),
                    Err(error) => {
                        tracing::warn!(%error, partition = partition.get(), "a lease is not renewed");
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
        // An owner whose lease ran out before it could be renewed has stopped by itself.
        self.owned.retain(|_, owned| !owned.owner.is_finished());
    }

    /// Takes those of `partitions` that are free.
    async fn acquire(&mut self, partitions: &[Partition]) {
        let inner = &self.engine.inner;
        let free = partitions.iter().filter(|partition| !self.owned.contains_key(partition));
        let acquired: FuturesUnordered<_> = free
            .map(|&partition| async move {
                let now = Instant::now();
                let lease = inner.limits.lease;
                match inner.ports.registry.acquire(&inner.node, partition, lease).await {
                    Ok(held) => held.map(|held| (held, now, now + lease)),
                    Err(error) => {
                        tracing::warn!(%error, partition = partition.get(), "no lease is given");
                        None
                    }
                }
            })
            .collect();
        let acquired: Vec<_> = acquired.filter_map(async |held| held).collect().await;
        for (lease, renewed, ends) in acquired {
            let partition = lease.partition;
            let ((ends, until), leaving) = (watch::channel(ends), CancellationToken::new());
            let tenure = Tenure { ends: until, leaving: leaving.clone() };
            let owner = self.engine.spawn(store::own(self.engine.clone(), partition, tenure));
            self.owned.insert(partition, Owned { lease, renewed, ends, leaving, owner });
        }
    }

    /// Removes the inboxes of nodes that are gone: whoever waits for room in one need not wait.
    async fn forget_the_dead(&mut self, nodes: &[NodeInfo]) {
        for missed in self.seen.values_mut() {
            *missed += 1;
        }
        for info in nodes.iter().filter(|info| info.node != self.engine.inner.node) {
            self.seen.insert(info.node.clone(), 0);
        }
        // All are missing for a moment when the registry comes back that was away or lost them. Who
        // is dead ends nobody's sessions, so there is time for a lease.
        let turns = self.engine.inner.limits.lease.as_millis() / TURN.as_millis();
        let enough = u32::try_from(turns).unwrap_or(u32::MAX).max(MISSED);
        let dead = self.seen.iter().filter(|(_, missed)| **missed >= enough);
        for node in dead.map(|(node, _)| node.clone()).collect::<Vec<_>>() {
            match self.engine.inner.ports.inbox.forget(&node).await {
                Ok(()) => {
                    tracing::info!(%node, "a node is gone");
                    self.seen.remove(&node);
                }
                Err(error) => tracing::warn!(%error, %node, "an inbox is not removed"),
            }
        }
    }
}

impl Engine {
    /// Where clients of this node may go if it should not be there: the URLs of up to `most` other
    /// nodes, drawn by lot, each as likely as it has room.
    pub fn elsewhere(&self, most: usize) -> Vec<String> {
        let share = self.inner.share.borrow();
        let takes = |info: &&NodeInfo| info.node != self.inner.node && !info.draining;
        let others: Vec<_> = share.nodes.iter().filter(takes).collect();
        let room = |info: &&NodeInfo| info.room();
        let drawn = others.sample_weighted(&mut rand::rng(), most, room);
        // Where nobody has room, nobody is to be named.
        drawn.map(|drawn| drawn.map(|info| info.url.clone()).collect()).unwrap_or_default()
    }

    /// What is known of a node; nothing if it does not live.
    ///
    /// # Errors
    /// [`RegistryError`] if the node is not known here and the registry does not answer; retry.
    pub async fn find_node(&self, node: &NodeId) -> Result<Option<NodeInfo>, RegistryError> {
        let is_it = |info: &NodeInfo| info.node == *node;
        let known = self.inner.share.borrow().nodes.iter().find(|info| is_it(info)).cloned();
        if known.is_some() {
            return Ok(known);
        }
        // It may have come this very moment.
        Ok(self.inner.ports.registry.nodes().await?.into_iter().find(is_it))
    }
}

/// Which of `nodes` should own `partition`.
pub fn partition_owner(nodes: &BTreeSet<NodeId>, partition: Partition) -> Option<&NodeId> {
    nodes.iter().max_by_key(|node| (score(node, partition), *node))
}

/// The same on every node and in every version: FNV-1a of the name and the partition, mixed by the
/// finaliser of SplitMix64, since names differ in few bits.
fn score(node: &NodeId, partition: Partition) -> u64 {
    let bytes = node.as_str().bytes().chain(partition.get().to_be_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    crate::model::mixed(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITIONS: u16 = 1_024;

    fn nodes(count: usize) -> BTreeSet<NodeId> {
        (0..count).map(|n| format!("n{n}").parse().expect("a name")).collect()
    }

    fn shares(nodes: &BTreeSet<NodeId>) -> Vec<&NodeId> {
        Partition::all(PARTITIONS)
            .map(|it| partition_owner(nodes, it).expect("is not empty"))
            .collect()
    }

    #[test]
    fn shares_are_about_equal() {
        for count in [2, 3, 10] {
            let nodes = nodes(count);
            let shares = shares(&nodes);
            for node in &nodes {
                let share = shares.iter().filter(|owner| **owner == node).count();
                let fair = usize::from(PARTITIONS) / count;
                assert!((fair * 3 / 4..=fair * 5 / 4).contains(&share), "{share} of {fair}");
            }
        }
    }

    #[test]
    fn a_node_that_joins_takes_only_what_becomes_its_own() {
        let (before, after) = (nodes(5), nodes(6));
        let joined: NodeId = "n5".parse().expect("a name");
        for (was, is) in shares(&before).into_iter().zip(shares(&after)) {
            assert!(is == was || *is == joined, "{was} gave to {is}");
        }
    }

    /// Nodes of two versions share partitions for the time of an upgrade.
    #[test]
    fn shares_stay_the_same() {
        let names: String =
            shares(&nodes(4))[..16].iter().map(|node| &node.as_str()[1..]).collect();
        assert_eq!(names, "0121010321320010");
    }
}
