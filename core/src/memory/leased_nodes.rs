//! Which nodes hold a key while their lease lives: what presence (users) and interest (channels)
//! have in common. Owns the leases and the sets; what a key means is the ports' business.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::model::NodeId;

/// Key → the nodes that joined it, counting only those whose lease has not ended.
///
/// A node has one lease, begun by its first [`renew`](Self::renew). One that never renewed counts
/// as alive: a single node's sets live and die with its process, so it needs no lease. A renewal
/// after the end brings back what the node joined and did not leave, since all of it is still so.
///
/// Node names are remembered for ever; there are as many as a cluster has.
pub(super) struct LeasedNodes<K> {
    started: Instant,
    nodes: RwLock<HashMap<NodeId, Arc<LeasedNode>, RandomState>>,
    /// No set is empty. Nearly all hold one node, so a vector beats a set.
    holders: DashMap<K, Vec<Arc<LeasedNode>>, RandomState>,
}

struct LeasedNode {
    node: NodeId,
    /// In microseconds since [`LeasedNodes::started`].
    ends: AtomicU64,
}

/// The end of a lease that was never begun.
const NEVER: u64 = u64::MAX;

impl<K: Copy + Eq + Hash> LeasedNodes<K> {
    /// No node holds anything.
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            nodes: RwLock::default(),
            holders: DashMap::with_hasher(RandomState::default()),
        }
    }

    /// `node` holds `key` now; answers whether no living node did before.
    pub(super) fn join(&self, node: &NodeId, key: K) -> bool {
        let (node, now) = (self.leased(node), self.now());
        let mut holders = self.holders.entry(key).or_insert_with(|| Vec::with_capacity(1));
        let nobody_did = !holders.iter().any(|holder| holder.is_alive(now));
        if !holders.iter().any(|holder| Arc::ptr_eq(holder, &node)) {
            holders.push(node);
        }
        nobody_did
    }

    /// `node` does not hold `key` any more; answers whether no living node does now.
    pub(super) fn leave(&self, node: &NodeId, key: K) -> bool {
        let now = self.now();
        let mut nobody_does = true;
        self.holders.remove_if_mut(&key, |_, holders| {
            holders.retain(|holder| holder.node != *node);
            nobody_does = !holders.iter().any(|holder| holder.is_alive(now));
            holders.is_empty()
        });
        nobody_does
    }

    /// The living nodes that hold each of `keys`, in the order asked.
    pub(super) fn locate(&self, keys: &[K]) -> Vec<Vec<NodeId>> {
        let now = self.now();
        let living = |key| match self.holders.get(key) {
            Some(holders) => {
                let living = holders.iter().filter(|holder| holder.is_alive(now));
                living.map(|holder| holder.node.clone()).collect()
            }
            None => Vec::new(),
        };
        keys.iter().map(living).collect()
    }

    /// Whether any living node holds each of `keys`, in the order asked.
    pub(super) fn held(&self, keys: &[K]) -> Vec<bool> {
        let now = self.now();
        let held = |key| {
            let holders = self.holders.get(key);
            holders.is_some_and(|holders| holders.iter().any(|holder| holder.is_alive(now)))
        };
        keys.iter().map(held).collect()
    }

    /// `node` is alive for `lease` from now.
    pub(super) fn renew(&self, node: &NodeId, lease: Duration) {
        let lease = u64::try_from(lease.as_micros()).unwrap_or(NEVER);
        self.leased(node).ends.store(self.now().saturating_add(lease), Ordering::Relaxed);
    }

    fn leased(&self, node: &NodeId) -> Arc<LeasedNode> {
        let known = {
            let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
            nodes.get(node).cloned()
        };
        known.unwrap_or_else(|| {
            let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(LeasedNode { node: node.clone(), ends: AtomicU64::new(NEVER) });
            nodes.entry(node.clone()).or_insert_with(new).clone()
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(NEVER)
    }
}

impl LeasedNode {
    fn is_alive(&self, now: u64) -> bool {
        now < self.ends.load(Ordering::Relaxed)
    }
}
