//! Which nodes hold a key for the time of their lease: what presence (key: user) and interest (key:
//! channel) have in common.

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
/// A node has one lease, which [`begin`](Self::begin) starts. What the node joined ends with the lease;
/// then the node must begin again, without keys.
///
/// Node names are never removed; there are as many as the cluster has had nodes.
pub(super) struct LeasedNodes<K> {
    started: Instant,
    /// The latest lease of each node.
    nodes: RwLock<HashMap<NodeId, Arc<LeasedNode>, RandomState>>,
    /// No list is empty. Most hold one node, so a vector is faster than a set.
    holders: DashMap<K, Vec<Arc<LeasedNode>>, RandomState>,
}

struct LeasedNode {
    node: NodeId,
    /// In microseconds since [`LeasedNodes::started`]. Once it has passed, it no longer changes.
    ends: AtomicU64,
}

/// The end of a lease that never ends.
const NEVER: u64 = u64::MAX;

impl<K: Copy + Eq + Hash> LeasedNodes<K> {
    /// No node holds a key.
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            nodes: RwLock::default(),
            holders: DashMap::with_hasher(RandomState::default()),
        }
    }

    /// `node` begins a lease for `lease` from now, without keys.
    pub(super) fn begin(&self, node: &NodeId, lease: Duration) {
        let ends = AtomicU64::new(self.end_of(lease));
        let begun = Arc::new(LeasedNode { node: node.clone(), ends });
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = nodes.insert(node.clone(), begun) {
            before.ends.store(0, Ordering::Relaxed);
        }
    }

    /// `node` holds `key` now. Returns whether no live node held it before; absent if `node` has no
    /// lease.
    pub(super) fn join(&self, node: &NodeId, key: K) -> Option<bool> {
        let (node, now) = (self.living(node)?, self.now());
        let mut holders = self.holders.entry(key).or_insert_with(|| Vec::with_capacity(1));
        holders.retain(|holder| holder.is_alive(now));
        let is_first = holders.is_empty();
        if !holders.iter().any(|holder| Arc::ptr_eq(holder, &node)) {
            holders.push(node);
        }
        Some(is_first)
    }

    /// `node` no longer holds `key`. Returns whether no live node holds it now.
    pub(super) fn leave(&self, node: &NodeId, key: K) -> bool {
        let now = self.now();
        let mut is_free = true;
        self.holders.remove_if_mut(&key, |_, holders| {
            holders.retain(|holder| holder.node != *node && holder.is_alive(now));
            is_free = holders.is_empty();
            is_free
        });
        is_free
    }

    /// The live nodes that hold each key, in the order given.
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

    /// Whether any live node holds each key, in the order given.
    pub(super) fn held(&self, keys: &[K]) -> Vec<bool> {
        let now = self.now();
        let held = |key| {
            let holders = self.holders.get(key);
            holders.is_some_and(|holders| holders.iter().any(|holder| holder.is_alive(now)))
        };
        keys.iter().map(held).collect()
    }

    /// Extends the lease of `node` to `lease` from now. Returns false if it has ended.
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
