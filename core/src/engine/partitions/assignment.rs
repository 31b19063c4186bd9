//! How the partitions are assigned to nodes: by rendezvous hashing over the live nodes.

use std::collections::BTreeSet;

use crate::model::{NodeId, Partition};
use crate::ports::NodeInfo;

/// The assignment of partitions at a moment, as this node sees it.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct PartitionAssignment {
    /// The live nodes.
    pub(super) nodes: Vec<NodeInfo>,
    /// How many partitions this node owns.
    pub(super) owned: usize,
    /// This node drains, and has released every partition that another node can own.
    pub(super) handed_over: bool,
}

/// Which of `nodes` should own `partition`; absent if there are no nodes.
///
/// Every node computes the same result, in every version. A node that joins or leaves changes the
/// owner only of the partitions that it gains or had. Source: rendezvous hashing, Thaler and
/// Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996.
pub fn partition_owner(nodes: &BTreeSet<NodeId>, partition: Partition) -> Option<&NodeId> {
    nodes.iter().max_by_key(|node| (score(node, partition), *node))
}

/// The weight of a node for a partition: FNV-1a of the name and the partition, mixed by the finaliser
/// of SplitMix64, because names differ in few bits. Nodes of different versions must compute the same.
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
        (0..count).map(|n| format!("n{n}").parse().expect("is a node name")).collect()
    }

    fn owners(nodes: &BTreeSet<NodeId>) -> Vec<&NodeId> {
        Partition::all(PARTITIONS)
            .map(|it| partition_owner(nodes, it).expect("there are nodes"))
            .collect()
    }

    #[test]
    fn nodes_own_about_the_same_number_of_partitions() {
        for count in [2, 3, 10] {
            let nodes = nodes(count);
            let owners = owners(&nodes);
            for node in &nodes {
                let owned = owners.iter().filter(|owner| **owner == node).count();
                let fair = usize::from(PARTITIONS) / count;
                assert!((fair * 3 / 4..=fair * 5 / 4).contains(&owned), "{owned}, fair is {fair}");
            }
        }
    }

    #[test]
    fn a_node_that_joins_changes_only_the_owner_of_partitions_that_it_gains() {
        let (before, after) = (nodes(5), nodes(6));
        let joined: NodeId = "n5".parse().expect("is a node name");
        for (was, is) in owners(&before).into_iter().zip(owners(&after)) {
            assert!(is == was || *is == joined, "from {was} to {is}");
        }
    }

    /// During an upgrade, nodes of two versions share the partitions.
    #[test]
    fn the_assignment_is_the_same_in_every_version() {
        let names: String =
            owners(&nodes(4))[..16].iter().map(|node| &node.as_str()[1..]).collect();
        assert_eq!(names, "0121010321320010");
    }
}
