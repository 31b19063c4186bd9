//! The nodes, how full they are, and which partitions they own.

use std::time::Duration;

use super::BoxFuture;
use crate::model::{NodeId, Partition};

/// Membership of the cluster and ownership of partitions, both by lease.
///
/// A partition's lease carries an **epoch** that rises with every change of owner. An owner that
/// was paused beyond its lease learns from `renew` that it lost it; until it asks, its writes only
/// repeat what the new owner does (invariant I8).
pub trait NodeRegistry: Send + Sync + 'static {
    /// Announces or updates a node, alive for `lease` from now.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`]; retry well within the lease.
    fn heartbeat(
        &self,
        info: NodeInfo,
        lease: Duration,
    ) -> BoxFuture<'_, Result<(), RegistryError>>;

    /// The live nodes, by name.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`]; retry.
    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeInfo>, RegistryError>>;

    /// Takes `partition` for `node` if it is free, its lease has ended, or `node` has it already.
    /// Answers the lease, or nothing if another node holds it.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`]; retry.
    fn acquire(
        &self,
        node: &NodeId,
        partition: Partition,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Option<Lease>, RegistryError>>;

    /// Extends a lease by `lease` from now. Answers false if it was lost: the owner must stop.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`]; retry, and stop when the lease has run out.
    fn renew(&self, held: &Lease, lease: Duration) -> BoxFuture<'_, Result<bool, RegistryError>>;

    /// Gives a lease back, so that another node may take the partition at once.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`]; retry, or let the lease end.
    fn release(&self, held: &Lease) -> BoxFuture<'_, Result<(), RegistryError>>;

    /// Who owns `partition` now.
    ///
    /// # Errors
    /// [`RegistryError::Unavailable`]; retry.
    fn owner(&self, partition: Partition) -> BoxFuture<'_, Result<Option<NodeId>, RegistryError>>;
}

/// A node as service discovery shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeInfo {
    /// Its name.
    pub node: NodeId,
    /// Where clients reach its HTTP interface.
    pub url: String,
    /// Where other nodes reach it.
    pub peer_url: String,
    /// Where clients open WebSockets in one step.
    pub websocket_url: String,
    /// A name for where it stands.
    pub region: String,
    /// Latitude and longitude in degrees, if known.
    pub location: Option<(f64, f64)>,
    /// As many sessions as it takes.
    pub capacity: u32,
    /// As many as it has.
    pub load: u32,
    /// It is about to leave and takes no new sessions.
    pub draining: bool,
}

impl NodeInfo {
    /// As many sessions more as it takes.
    pub fn free_capacity(&self) -> u32 {
        self.capacity.saturating_sub(self.load)
    }
}

/// The right to own a partition for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which partition.
    pub partition: Partition,
    /// Who holds it.
    pub node: NodeId,
    /// Rises with every change of owner.
    pub epoch: u64,
}

/// Why a registry call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// It cannot be reached. Retry.
    #[error("the node registry cannot be reached: {0}")]
    Unavailable(String),
}

impl RegistryError {
    /// Whether the same call may succeed later.
    pub const fn retryable(&self) -> bool {
        true
    }
}
