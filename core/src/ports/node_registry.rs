//! The nodes, their load, and the partitions that they own.

use std::time::Duration;

use super::BoxFuture;
use crate::model::{NodeId, Partition};

/// Membership of the cluster and ownership of partitions, both by lease.
///
/// # Ownership
/// A partition has at most one lease at a time. It carries an **epoch** that rises with every change
/// of owner. An owner that was paused for longer than its lease learns from [`renew`](Self::renew)
/// that the lease is lost; until then its writes only repeat what the new owner does (invariant I8).
///
/// # Example
/// ```
/// use std::time::Duration;
///
/// use pabal_core::memory::MemoryNodeRegistry;
/// use pabal_core::model::{NodeId, Partition};
/// use pabal_core::ports::NodeRegistry;
///
/// # futures::executor::block_on(async {
/// let registry = MemoryNodeRegistry::new();
/// let nodes: [NodeId; 2] = ["n1", "n2"].map(|name| name.parse().expect("is a node name"));
/// let partition = Partition::new(0).expect("is in range");
/// let lease = Duration::from_secs(10);
/// let held = registry.acquire(&nodes[0], partition, lease).await?.expect("is free");
/// assert!(registry.acquire(&nodes[1], partition, lease).await?.is_none());
/// registry.release(&held).await?;
/// let next = registry.acquire(&nodes[1], partition, lease).await?.expect("is free");
/// assert!(next.epoch > held.epoch);
/// # Ok::<(), pabal_core::ports::RegistryError>(())
/// # }).unwrap();
/// ```
pub trait NodeRegistry: Send + Sync + 'static {
    /// Announces or updates a node, which is listed for `lease` from now.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`]: retry well within the lease.
    fn heartbeat(
        &self,
        info: NodeInfo,
        lease: Duration,
    ) -> BoxFuture<'_, Result<(), RegistryError>>;

    /// The live nodes, by name.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`]: retry.
    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeInfo>, RegistryError>>;

    /// Takes `partition` for `node` if no node owns it, its lease has ended, or `node` owns it
    /// already. Returns the lease; absent if another node owns the partition.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`]: retry.
    fn acquire(
        &self,
        node: &NodeId,
        partition: Partition,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Option<Lease>, RegistryError>>;

    /// Extends a lease to `lease` from now. Returns false if it was lost: the owner must stop.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`]: retry, and stop when the lease ends.
    fn renew(&self, held: &Lease, lease: Duration) -> BoxFuture<'_, Result<bool, RegistryError>>;

    /// Ends a lease, so that another node may take the partition at once.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`]: retry, or leave it to the end of the lease.
    fn release(&self, held: &Lease) -> BoxFuture<'_, Result<(), RegistryError>>;

    /// The owner of `partition`; absent if no node owns it.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`]: retry.
    fn owner(&self, partition: Partition) -> BoxFuture<'_, Result<Option<NodeId>, RegistryError>>;
}

/// A node as service discovery shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeInfo {
    /// Its name.
    pub node: NodeId,
    /// The base URL of its HTTP interface, for clients.
    pub url: String,
    /// The base URL for other nodes.
    pub peer_url: String,
    /// The URL at which clients open a session and its WebSocket in one request.
    pub websocket_url: String,
    /// The name of its region; empty if not configured.
    pub region: String,
    /// Latitude and longitude in degrees, if known.
    pub location: Option<(f64, f64)>,
    /// How many sessions it accepts in all.
    pub capacity: u32,
    /// How many sessions it has.
    pub load: u32,
    /// It is about to stop and accepts no new sessions.
    pub draining: bool,
}

impl NodeInfo {
    /// How many more sessions it accepts.
    pub fn free_capacity(&self) -> u32 {
        self.capacity.saturating_sub(self.load)
    }
}

/// The right to own a partition for a limited time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The partition.
    pub partition: Partition,
    /// The owner.
    pub node: NodeId,
    /// Rises with every change of owner.
    pub epoch: u64,
}

/// Why a registry call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The registry is unreachable. Retry.
    #[error("the node registry is unreachable: {0}")]
    Unavailable(String),
}

impl RegistryError {
    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        true
    }
}
