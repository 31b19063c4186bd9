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
/// A node has one lease, begun by [`begin`](Self::begin). What it joined ends with the lease: it must
/// begin again, with nothing.
///
/// Node names are remembered for ever; there are as many as a cluster has.
pub(super) struct LeasedNodes<K> {
    started: Instant,
    /// The lease that each node began last.
    nodes: RwLock<HashMap<NodeId, Arc<LeasedNode>, RandomState>>,
    /// No set is empty. Nearly all hold one node, so a vector beats a set.
    holders: DashMap<K, Vec<Arc<LeasedNode>>, RandomState>,
}

struct LeasedNode {
    node: NodeId,
    /// In microseconds since [`LeasedNodes::started`]. Once it has passed it stays as it is.
    ends: AtomicU64,
}

/// The end of a lease that is beyond the end of time.
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

    /// `node` begins anew, alive for `lease` from now and holding nothing.
    pub(super) fn begin(&self, node: &NodeId, lease: Duration) {
        let ends = AtomicU64::new(self.end_of(lease));
        let begun = Arc::new(LeasedNode { node: node.clone(), ends });
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = nodes.insert(node.clone(), begun) {
            before.ends.store(0, Ordering::Relaxed);
        }
    }

    /// `node` holds `key` now; answers whether no living node did before, or nothing if `node` does
    /// not live.
    pub(super) fn join(&self, node: &NodeId, key: K) -> Option<bool> {
        let (node, now) = (self.living(node)?, self.now());
        let mut holders = self.holders.entry(key).or_insert_with(|| Vec::with_capacity(1));
        holders.retain(|holder| holder.is_alive(now));
        let nobody_did = holders.is_empty();
        if !holders.iter().any(|holder| Arc::ptr_eq(holder, &node)) {
            holders.push(node);
        }
        Some(nobody_did)
    }

    /// `node` does not hold `key` any more; answers whether no living node does now.
    pub(super) fn leave(&self, node: &NodeId, key: K) -> bool {
        let now = self.now();
        let mut nobody_does = true;
        self.holders.remove_if_mut(&key, |_, holders| {
            holders.retain(|holder| holder.node != *node && holder.is_alive(now));
            nobody_does = holders.is_empty();
            nobody_does
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

    /// `node` is alive for `lease` from now; false if it does not live any more.
    pub(super) fn renew(&self, node: &NodeId, lease: Duration) -> bool {
        let (now, end) = (self.now(), self.end_of(lease));
        self.living(node).is_some_and(|node| {
            let renewed = |ends| (now < ends).then_some(end);
            node.ends.fetch_update(Ordering::Relaxed, Ordering::Relaxed, renewed).is_ok()
        })
    }

    /// Whether `node` has begun and its lease has not ended.
    pub(super) fn lives(&self, node: &NodeId) -> bool {
        self.living(node).is_some()
    }

    fn living(&self, node: &NodeId) -> Option<Arc<LeasedNode>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.get(node).filter(|node| node.is_alive(self.now())).cloned()
    }

    fn end_of(&self, lease: Duration) -> u64 {
        let lease = u64::try_from(lease.as_micros()).unwrap_or(NEVER);
        self.now().saturating_add(lease)
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
