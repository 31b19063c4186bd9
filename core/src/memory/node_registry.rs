//! The nodes and the owners of partitions, in process memory. It decides which node holds a lease; the
//! caller decides which node should.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::{lock, ready};
use crate::model::{NodeId, Partition};
use crate::ports::{BoxFuture, Lease, NodeInfo, NodeRegistry, RegistryError};

/// A [`NodeRegistry`] in process memory.
///
/// Stricter than the port requires: a lease that has ended is lost even if no other node took the
/// partition, and the same node gets a higher epoch. Calls act when they are made, not when their
/// future is first polled.
#[derive(Default)]
pub struct MemoryNodeRegistry {
    state: Mutex<State>,
}

impl MemoryNodeRegistry {
    /// No nodes, and no partition has an owner.
    pub fn new() -> Self {
        Self::default()
    }
}

impl NodeRegistry for MemoryNodeRegistry {
    fn heartbeat(
        &self,
        info: NodeInfo,
        lease: Duration,
    ) -> BoxFuture<'_, Result<(), RegistryError>> {
        let announced = Announced { info, ends: end_of(lease) };
        lock(&self.state).nodes.insert(announced.info.node.clone(), announced);
        ready(Ok(()))
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeInfo>, RegistryError>> {
        let now = Instant::now();
        let mut state = lock(&self.state);
        state.nodes.retain(|_, announced| lives(announced.ends, now));
        ready(Ok(state.nodes.values().map(|announced| announced.info.clone()).collect()))
    }

    fn acquire(
        &self,
        node: &NodeId,
        partition: Partition,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Option<Lease>, RegistryError>> {
        let mut state = lock(&self.state);
        let ownership = state.partitions.entry(partition).or_default();
        let epoch = ownership.acquire(node, lease);
        ready(Ok(epoch.map(|epoch| Lease { partition, node: node.clone(), epoch })))
    }

    fn renew(&self, held: &Lease, lease: Duration) -> BoxFuture<'_, Result<bool, RegistryError>> {
        let mut state = lock(&self.state);
        let ownership = state.partitions.entry(held.partition).or_default();
        let kept = ownership.is_held_by(held);
        if kept {
            ownership.owner = Some((held.node.clone(), end_of(lease)));
        }
        ready(Ok(kept))
    }

    fn release(&self, held: &Lease) -> BoxFuture<'_, Result<(), RegistryError>> {
        let mut state = lock(&self.state);
        let ownership = state.partitions.entry(held.partition).or_default();
        if ownership.is_held_by(held) {
            ownership.owner = None;
        }
        ready(Ok(()))
    }

    fn owner(&self, partition: Partition) -> BoxFuture<'_, Result<Option<NodeId>, RegistryError>> {
        let state = lock(&self.state);
        let ownership = state.partitions.get(&partition);
        ready(Ok(ownership.and_then(Ownership::owner).cloned()))
    }
}

#[derive(Default)]
struct State {
    /// By name, in order. Dead nodes are removed when the live ones are listed.
    nodes: BTreeMap<NodeId, Announced>,
    /// A partition without an owner stays here, for its epoch.
    partitions: HashMap<Partition, Ownership>,
}

struct Announced {
    info: NodeInfo,
    ends: Option<Instant>,
}

/// The ownership of a partition.
#[derive(Default)]
struct Ownership {
    /// The latest owner and the end of its lease, unless it released the partition.
    owner: Option<(NodeId, Option<Instant>)>,
    epoch: u64,
}

impl Ownership {
    /// The owner now.
    fn owner(&self) -> Option<&NodeId> {
        let (node, ends) = self.owner.as_ref()?;
        lives(*ends, Instant::now()).then_some(node)
    }

    /// Makes `node` the owner unless another node is. Returns the epoch.
    fn acquire(&mut self, node: &NodeId, lease: Duration) -> Option<u64> {
        match self.owner() {
            Some(owner) if owner != node => return None,
            Some(_) => {}
            None => self.epoch += 1,
        }
        self.owner = Some((node.clone(), end_of(lease)));
        Some(self.epoch)
    }

    fn is_held_by(&self, held: &Lease) -> bool {
        self.epoch == held.epoch && self.owner() == Some(&held.node)
    }
}

/// The end of a lease that begins now; absent if it is beyond the range of the timer.
fn end_of(lease: Duration) -> Option<Instant> {
    Instant::now().checked_add(lease)
}

fn lives(ends: Option<Instant>, now: Instant) -> bool {
    ends.is_none_or(|ends| now < ends)
}
