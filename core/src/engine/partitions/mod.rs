//! Which node owns which partition.
//!
//! [`assignment`] computes it, the same on every node. [`claims`] brings the leases of this node to
//! what it computes, and starts and ends the owner of each partition; the owner itself is a task of
//! the way of a message, which this module does not know. An [`OwnerLease`] tells the owner how long
//! it may go on. [`live_nodes`] is what else the engine asks about the nodes.

mod assignment;
mod owner_lease;
mod claims;
mod live_nodes;

pub use assignment::partition_owner;

pub(super) use assignment::PartitionAssignment;
pub(super) use claims::{ClaimsConfig, PartitionClaims};
pub(super) use live_nodes::LiveNodes;
pub(super) use owner_lease::OwnerLease;
