//! What every [`NodeRegistry`] must do. Owns no adapter.

use std::sync::Arc;
use std::time::Duration;

use super::property::{LONG_LEASE, SHORT_LEASE, eventually, node, nodes, properties, result_of};
use pabal_core::model::{MAX_PARTITIONS, NodeId, Partition};
use pabal_core::ports::{Lease, NodeInfo, NodeRegistry};

type Registry = Arc<dyn NodeRegistry>;

/// Runs the suite. `fresh` creates an adapter without nodes and leases.
///
/// # Panics
/// If the adapter breaks the contract.
pub async fn run(fresh: impl AsyncFn() -> Registry) {
    properties! { fresh() =>
        a_heartbeat_announces_a_node_unchanged
        a_heartbeat_replaces_the_previous_one
        nodes_are_listed_by_name
        a_node_without_heartbeats_is_removed
        a_heartbeat_outlives_the_previous_one
        a_free_partition_is_acquired
        a_held_partition_is_refused
        partitions_are_independent
        one_of_many_concurrent_nodes_acquires_the_partition
        a_partition_whose_lease_ended_can_be_acquired
        a_renewed_lease_outlives_the_previous_one
        acquiring_a_held_partition_again_extends_the_lease
        a_lost_lease_cannot_be_renewed
        a_released_partition_is_free_at_once
        a_lost_lease_cannot_be_released
        the_epoch_rises_with_every_change_of_owner
    }
}

async fn a_heartbeat_announces_a_node_unchanged(registry: Registry) {
    assert!(list(&registry).await.is_empty());
    let plain = info("a");
    let full = NodeInfo {
        region: "서울 \"1\"".into(),
        location: Some((37.566_535, -126.977_969_2)),
        capacity: u32::MAX,
        load: 7,
        draining: true,
        ..info("b-1")
    };
    beat(&registry, &plain, LONG_LEASE).await;
    beat(&registry, &full, LONG_LEASE).await;
    assert_eq!(list(&registry).await, [plain, full]);
}

async fn a_heartbeat_replaces_the_previous_one(registry: Registry) {
    beat(&registry, &info("a"), LONG_LEASE).await;
    let draining = NodeInfo { load: 3, draining: true, location: Some((0.0, 0.0)), ..info("a") };
    beat(&registry, &draining, LONG_LEASE).await;
    assert_eq!(list(&registry).await, [draining]);
    beat(&registry, &info("a"), LONG_LEASE).await;
    assert_eq!(list(&registry).await, [info("a")]);
}

async fn nodes_are_listed_by_name(registry: Registry) {
    for name in ["c", "a", "b-2", "b-10", "0"] {
        beat(&registry, &info(name), LONG_LEASE).await;
    }
    let listed = list(&registry).await;
    let names: Vec<_> = listed.iter().map(|info| info.node.as_str()).collect();
    assert_eq!(names, ["0", "a", "b-10", "b-2", "c"]);
}

async fn a_node_without_heartbeats_is_removed(registry: Registry) {
    beat(&registry, &info("a"), SHORT_LEASE).await;
    beat(&registry, &info("b"), LONG_LEASE).await;
    eventually(async || list(&registry).await == [info("b")]).await;
    beat(&registry, &info("a"), LONG_LEASE).await;
    assert_eq!(list(&registry).await, [info("a"), info("b")]);
}

async fn a_heartbeat_outlives_the_previous_one(registry: Registry) {
    beat(&registry, &info("a"), SHORT_LEASE).await;
    beat(&registry, &info("a"), LONG_LEASE).await;
    // Once a lease that was begun later has ended, the first one would have ended too.
    beat(&registry, &info("b"), SHORT_LEASE).await;
    eventually(async || !list(&registry).await.contains(&info("b"))).await;
    assert_eq!(list(&registry).await, [info("a")]);
}

async fn a_free_partition_is_acquired(registry: Registry) {
    for p in [partition(0), partition(MAX_PARTITIONS - 1)] {
        assert_eq!(owner(&registry, p).await, None);
        let held = take(&registry, "a", p, LONG_LEASE).await.expect("is free");
        assert_eq!((held.partition, held.node.as_str()), (p, "a"));
        assert_eq!(owner(&registry, p).await, Some(node("a")));
        assert!(renew(&registry, &held, LONG_LEASE).await);
        assert_eq!(owner(&registry, p).await, Some(node("a")));
    }
}

async fn a_held_partition_is_refused(registry: Registry) {
    let p = partition(1);
    let held = take(&registry, "a", p, LONG_LEASE).await.expect("is free");
    assert_eq!(take(&registry, "b", p, LONG_LEASE).await, None);
    assert_eq!(owner(&registry, p).await, Some(node("a")));
    assert!(renew(&registry, &held, LONG_LEASE).await);
}

async fn partitions_are_independent(registry: Registry) {
    let [one, other] = [partition(1), partition(2)];
    let held = take(&registry, "a", one, LONG_LEASE).await.expect("is free");
    let others = take(&registry, "b", other, LONG_LEASE).await.expect("is free");
    release(&registry, &held).await;
    assert_eq!(owner(&registry, one).await, None);
    assert_eq!(owner(&registry, other).await, Some(node("b")));
    assert!(renew(&registry, &others, LONG_LEASE).await);
}

async fn one_of_many_concurrent_nodes_acquires_the_partition(registry: Registry) {
    let p = partition(1);
    let spawn = |node: NodeId| {
        let registry = registry.clone();
        tokio::spawn(async move { registry.acquire(&node, p, LONG_LEASE).await.expect("acquires") })
    };
    let takers: Vec<_> = nodes(16).into_iter().map(spawn).collect();
    let mut held = Vec::new();
    for taker in takers {
        held.extend(result_of(taker).await);
    }
    assert_eq!(held.len(), 1, "{held:?}");
    assert_eq!(owner(&registry, p).await.as_ref(), Some(&held[0].node));
}

async fn a_partition_whose_lease_ended_can_be_acquired(registry: Registry) {
    let [p, same] = [partition(1), partition(2)];
    for p in [p, same] {
        take(&registry, "a", p, SHORT_LEASE).await.expect("is free");
    }
    for p in [p, same] {
        eventually(async || owner(&registry, p).await.is_none()).await;
    }
    take(&registry, "b", p, LONG_LEASE).await.expect("has ended");
    assert_eq!(owner(&registry, p).await, Some(node("b")));
    let again = take(&registry, "a", same, LONG_LEASE).await.expect("has ended");
    assert!(renew(&registry, &again, LONG_LEASE).await);
}

async fn a_renewed_lease_outlives_the_previous_one(registry: Registry) {
    let [p, later] = [partition(1), partition(2)];
    // On a slow machine the short lease may end before the renewal; then it is acquired again.
    let held = loop {
        let held = take(&registry, "a", p, SHORT_LEASE).await.expect("no other node acquires it");
        if renew(&registry, &held, LONG_LEASE).await {
            break held;
        }
    };
    // Once a lease that was begun later has ended, the first one would have ended too.
    take(&registry, "a", later, SHORT_LEASE).await.expect("is free");
    eventually(async || owner(&registry, later).await.is_none()).await;
    assert_eq!(owner(&registry, p).await, Some(node("a")));
    assert_eq!(take(&registry, "b", p, LONG_LEASE).await, None);
    assert!(renew(&registry, &held, LONG_LEASE).await);
}

async fn acquiring_a_held_partition_again_extends_the_lease(registry: Registry) {
    let [p, later] = [partition(1), partition(2)];
    take(&registry, "a", p, SHORT_LEASE).await.expect("is free");
    let held = take(&registry, "a", p, LONG_LEASE).await.expect("the node holds it already");
    take(&registry, "a", later, SHORT_LEASE).await.expect("is free");
    eventually(async || owner(&registry, later).await.is_none()).await;
    assert_eq!(owner(&registry, p).await, Some(node("a")));
    assert!(renew(&registry, &held, LONG_LEASE).await);
}

async fn a_lost_lease_cannot_be_renewed(registry: Registry) {
    let p = partition(1);
    let lost = take(&registry, "a", p, SHORT_LEASE).await.expect("is free");
    let held = eventually_take(&registry, "b", p).await;
    assert!(!renew(&registry, &lost, LONG_LEASE).await);
    assert_eq!(owner(&registry, p).await, Some(node("b")));
    assert!(renew(&registry, &held, LONG_LEASE).await, "the new owner keeps its lease");
    // Not even when the same node owns the partition again, under a later epoch.
    release(&registry, &held).await;
    let again = take(&registry, "a", p, LONG_LEASE).await.expect("is free");
    assert!(!renew(&registry, &lost, LONG_LEASE).await);
    assert!(renew(&registry, &again, LONG_LEASE).await);
}

async fn a_released_partition_is_free_at_once(registry: Registry) {
    let p = partition(1);
    let held = take(&registry, "a", p, LONG_LEASE).await.expect("is free");
    for _ in 0..2 {
        release(&registry, &held).await;
        assert_eq!(owner(&registry, p).await, None);
    }
    assert!(!renew(&registry, &held, LONG_LEASE).await);
    take(&registry, "b", p, LONG_LEASE).await.expect("is free");
}

async fn a_lost_lease_cannot_be_released(registry: Registry) {
    let p = partition(1);
    let lost = take(&registry, "a", p, SHORT_LEASE).await.expect("is free");
    let held = eventually_take(&registry, "b", p).await;
    release(&registry, &lost).await;
    assert_eq!(owner(&registry, p).await, Some(node("b")));
    release(&registry, &held).await;
    take(&registry, "a", p, LONG_LEASE).await.expect("is free");
    release(&registry, &lost).await;
    assert_eq!(owner(&registry, p).await, Some(node("a")));
}

async fn the_epoch_rises_with_every_change_of_owner(registry: Registry) {
    let p = partition(1);
    let mut epoch = None;
    for name in ["a", "b", "a"] {
        let released = take(&registry, name, p, LONG_LEASE).await.expect("is free");
        assert!(Some(released.epoch) > epoch, "{released:?} after {epoch:?}");
        release(&registry, &released).await;
        let other = if name == "a" { "b" } else { "a" };
        let ended = take(&registry, other, p, SHORT_LEASE).await.expect("is free");
        assert!(ended.epoch > released.epoch, "{ended:?} after {released:?}");
        epoch = Some(ended.epoch);
        let taken = eventually_take(&registry, name, p).await;
        assert!(Some(taken.epoch) > epoch, "{taken:?} after {epoch:?}");
        epoch = Some(taken.epoch);
        release(&registry, &taken).await;
        let back = take(&registry, other, p, LONG_LEASE).await.expect("is free");
        assert!(Some(back.epoch) > epoch, "{back:?} after {epoch:?}");
        epoch = Some(back.epoch);
        release(&registry, &back).await;
    }
}

fn partition(number: u16) -> Partition {
    Partition::new(number).expect("a partition number")
}

fn info(name: &str) -> NodeInfo {
    NodeInfo {
        node: node(name),
        url: format!("http://{name}.example:8080"),
        peer_url: format!("http://{name}.internal:8081"),
        websocket_url: format!("ws://{name}.example:8080"),
        region: String::new(),
        location: None,
        capacity: 1_000,
        load: 0,
        draining: false,
    }
}

async fn beat(registry: &Registry, info: &NodeInfo, lease: Duration) {
    registry.heartbeat(info.clone(), lease).await.expect("announces");
}

async fn list(registry: &Registry) -> Vec<NodeInfo> {
    registry.nodes().await.expect("lists")
}

async fn take(registry: &Registry, name: &str, p: Partition, lease: Duration) -> Option<Lease> {
    registry.acquire(&node(name), p, lease).await.expect("acquires")
}

/// Acquires `p` with a long lease once the lease of another node has ended.
async fn eventually_take(registry: &Registry, name: &str, p: Partition) -> Lease {
    let mut held = None;
    eventually(async || {
        held = take(registry, name, p, LONG_LEASE).await;
        held.is_some()
    })
    .await;
    held.expect("was acquired")
}

async fn renew(registry: &Registry, held: &Lease, lease: Duration) -> bool {
    registry.renew(held, lease).await.expect("renews")
}

async fn release(registry: &Registry, held: &Lease) {
    registry.release(held).await.expect("releases");
}

async fn owner(registry: &Registry, p: Partition) -> Option<NodeId> {
    registry.owner(p).await.expect("an owner")
}
