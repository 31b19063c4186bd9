//! What this node knows of the live nodes of the cluster.

use std::sync::Arc;

use rand::seq::IndexedRandom;
use tokio::sync::watch;

use super::assignment::PartitionAssignment;
use crate::model::NodeId;
use crate::ports::{NodeInfo, NodeRegistry, RegistryError};

/// The nodes as the registry listed them last.
pub(in crate::engine) struct LiveNodes {
    pub(in crate::engine) node: NodeId,
    pub(in crate::engine) registry: Arc<dyn NodeRegistry>,
    pub(in crate::engine) assignment: watch::Receiver<PartitionAssignment>,
}

impl LiveNodes {
    /// How many partitions this node owns.
    pub(in crate::engine) fn owned_partitions(&self) -> usize {
        self.assignment.borrow().owned
    }

    /// Completes when this node, which drains, has released what other nodes can own.
    pub(in crate::engine) async fn handed_over(&self) {
        let mut assignment = self.assignment.clone();
        // It fails only if the engine shut down first.
        let _ = assignment.wait_for(|assignment| assignment.handed_over).await;
    }

    /// See [`Engine::other_node_urls`](crate::engine::Engine::other_node_urls).
    pub(in crate::engine) fn other_urls(&self, limit: usize) -> Vec<String> {
        let assignment = self.assignment.borrow();
        let eligible = |info: &&NodeInfo| info.node != self.node && !info.draining;
        let others: Vec<_> = assignment.nodes.iter().filter(eligible).collect();
        let weight = |info: &&NodeInfo| info.free_capacity();
        let drawn = others.sample_weighted(&mut rand::rng(), limit, weight);
        // It fails if no node has free capacity: then there is none to name.
        drawn.map(|drawn| drawn.map(|info| info.url.clone()).collect()).unwrap_or_default()
    }

    /// See [`Engine::find_node`](crate::engine::Engine::find_node).
    pub(in crate::engine) async fn find(
        &self,
        node: &NodeId,
    ) -> Result<Option<NodeInfo>, RegistryError> {
        let is_it = |info: &NodeInfo| info.node == *node;
        let known = self.assignment.borrow().nodes.iter().find(|info| is_it(info)).cloned();
        if known.is_some() {
            return Ok(known);
        }
        // It may have joined since the last list.
        Ok(self.registry.nodes().await?.into_iter().find(is_it))
    }
}
