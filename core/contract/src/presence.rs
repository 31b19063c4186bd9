//! What every [`Presence`] must do. Owns no adapter.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::property::{LONG_LEASE, SHORT_LEASE, eventually, node, nodes, properties, result_of};
use pabal_core::model::{NodeId, UserId};
use pabal_core::ports::{Presence, PresenceError};

type Adapter = Arc<dyn Presence>;

/// Runs the suite. `fresh` creates an adapter without connected users.
///
/// # Panics
/// If the adapter breaks the contract.
pub async fn run(fresh: impl AsyncFn() -> Adapter) {
    properties! { fresh() =>
        the_first_join_of_a_user_is_reported
        the_last_leave_of_a_user_is_reported
        users_are_located_on_each_of_their_nodes
        results_are_in_the_order_of_the_request
        an_empty_request_returns_nothing
        one_of_many_concurrent_joins_is_the_first
        one_of_many_concurrent_leaves_is_the_last
        a_node_whose_lease_has_ended_has_no_users
        a_dead_node_does_not_count_for_joins_and_leaves
        a_renewal_outlives_the_previous_lease
        one_renewal_covers_earlier_and_later_joins
        a_node_without_a_lease_has_no_users
        an_ended_lease_is_reported_and_removes_all_joins
        a_node_that_begins_again_has_no_earlier_joins
    }
}

const ANN: UserId = UserId::new(1);
const BEN: UserId = UserId::new(2);
const EVE: UserId = UserId::new(i64::MAX as u64);

async fn the_first_join_of_a_user_is_reported(presence: Adapter) {
    let [a, b] = [alive(&presence, "a").await, alive(&presence, "b").await];
    assert!(join(&presence, &a, ANN).await, "was offline");
    assert!(!join(&presence, &a, ANN).await, "the same again");
    assert!(!join(&presence, &b, ANN).await, "on another node");
    assert!(join(&presence, &b, BEN).await, "another user");
}

async fn the_last_leave_of_a_user_is_reported(presence: Adapter) {
    let [a, b] = [alive(&presence, "a").await, alive(&presence, "b").await];
    for node in [&a, &b, &a] {
        join(&presence, node, ANN).await;
    }
    assert!(!leave(&presence, &a, ANN).await, "is on another node");
    assert!(!leave(&presence, &a, ANN).await, "the same again");
    assert_located(&presence, ANN, &["b"]).await;
    assert!(leave(&presence, &b, ANN).await, "was the last");
    assert!(leave(&presence, &b, ANN).await, "the same again");
    assert!(leave(&presence, &b, BEN).await, "never was online");
    assert_located(&presence, ANN, &[]).await;
    assert!(join(&presence, &a, ANN).await, "was offline");
}

async fn users_are_located_on_each_of_their_nodes(presence: Adapter) {
    let [a, b] = [alive(&presence, "a").await, alive(&presence, "b").await];
    join(&presence, &a, ANN).await;
    join(&presence, &b, ANN).await;
    join(&presence, &b, EVE).await;
    assert_located(&presence, ANN, &["a", "b"]).await;
    assert_located(&presence, EVE, &["b"]).await;
    assert_located(&presence, BEN, &[]).await;
}

async fn results_are_in_the_order_of_the_request(presence: Adapter) {
    let a = alive(&presence, "a").await;
    let joined: Vec<_> = (0..500).map(|number| UserId::new(2 * number)).collect();
    for user_id in &joined {
        join(&presence, &a, *user_id).await;
    }
    let mut asked: Vec<_> = (0..1_000).rev().map(UserId::new).collect();
    asked.extend([UserId::new(6), UserId::new(7), UserId::new(6)]);
    let online = presence.online(&asked).await.expect("states");
    assert!(online.iter().copied().eq(asked.iter().map(|user_id| user_id.get() % 2 == 0)));
    let located = presence.locate(&asked).await.expect("nodes");
    assert_eq!(located.len(), asked.len());
    for (nodes, online) in located.iter().zip(online) {
        assert_eq!(nodes.as_slice(), if online { std::slice::from_ref(&a) } else { &[] });
    }
}

async fn an_empty_request_returns_nothing(presence: Adapter) {
    assert!(presence.locate(&[]).await.expect("no nodes").is_empty());
    assert!(presence.online(&[]).await.expect("no states").is_empty());
}

async fn one_of_many_concurrent_joins_is_the_first(presence: Adapter) {
    let mut joins = Vec::new();
    for node in nodes(16) {
        presence.begin(&node, LONG_LEASE).await.expect("begins");
        let presence = presence.clone();
        joins.push(tokio::spawn(async move { join(&presence, &node, ANN).await }));
    }
    let mut firsts = 0;
    for joined in joins {
        firsts += usize::from(result_of(joined).await);
    }
    assert_eq!(firsts, 1);
}

async fn one_of_many_concurrent_leaves_is_the_last(presence: Adapter) {
    for node in nodes(16) {
        presence.begin(&node, LONG_LEASE).await.expect("begins");
        join(&presence, &node, ANN).await;
    }
    let leave = |node: NodeId| {
        let presence = presence.clone();
        tokio::spawn(async move { leave(&presence, &node, ANN).await })
    };
    let leaves: Vec<_> = nodes(16).into_iter().map(leave).collect();
    let mut lasts = 0;
    for left in leaves {
        lasts += usize::from(result_of(left).await);
    }
    assert_eq!(lasts, 1);
    assert!(!is_online(&presence, ANN).await);
}

async fn a_node_whose_lease_has_ended_has_no_users(presence: Adapter) {
    let [a, b] = [node("a"), alive(&presence, "b").await];
    begin_briefly(&presence, &a, &[ANN, BEN]).await;
    for user_id in [BEN, EVE] {
        join(&presence, &b, user_id).await;
    }
    eventually(async || !is_online(&presence, ANN).await).await;
    assert_located(&presence, ANN, &[]).await;
    assert_located(&presence, BEN, &["b"]).await;
    assert_located(&presence, EVE, &["b"]).await;
}

async fn a_dead_node_does_not_count_for_joins_and_leaves(presence: Adapter) {
    let [a, b] = [node("a"), alive(&presence, "b").await];
    begin_briefly(&presence, &a, &[ANN, BEN]).await;
    join(&presence, &b, BEN).await;
    eventually(async || !is_online(&presence, ANN).await).await;
    assert!(join(&presence, &b, ANN).await, "was online only on a dead node");
    assert!(leave(&presence, &b, BEN).await, "is online only on a dead node");
}

async fn a_renewal_outlives_the_previous_lease(presence: Adapter) {
    let [a, b] = [node("a"), node("b")];
    // On a slow machine the short lease may end before the renewal; then it is begun again.
    loop {
        begin_briefly(&presence, &a, &[ANN]).await;
        if renew(&presence, &a, LONG_LEASE).await {
            break;
        }
    }
    // Once a lease that was begun later has ended, the first one would have ended too.
    begin_briefly(&presence, &b, &[BEN]).await;
    eventually(async || !is_online(&presence, BEN).await).await;
    assert!(is_online(&presence, ANN).await, "the renewal had no effect");
}

async fn one_renewal_covers_earlier_and_later_joins(presence: Adapter) {
    let a = alive(&presence, "a").await;
    join(&presence, &a, ANN).await;
    assert!(renew(&presence, &a, LONG_LEASE).await);
    join(&presence, &a, BEN).await;
    assert!(renew(&presence, &a, LONG_LEASE).await);
    join(&presence, &a, EVE).await;
    for user_id in [ANN, BEN, EVE] {
        assert_located(&presence, user_id, &["a"]).await;
    }
    assert!(renew(&presence, &a, SHORT_LEASE).await);
    for user_id in [ANN, BEN, EVE] {
        eventually(async || !is_online(&presence, user_id).await).await;
    }
}

async fn a_node_without_a_lease_has_no_users(presence: Adapter) {
    let a = node("a");
    assert_lapsed(&presence, &a).await;
    assert_located(&presence, ANN, &[]).await;
    presence.begin(&a, LONG_LEASE).await.expect("begins");
    assert!(join(&presence, &a, ANN).await, "was offline");
}

/// A node that was paused beyond its lease.
async fn an_ended_lease_is_reported_and_removes_all_joins(presence: Adapter) {
    let a = node("a");
    begin_briefly(&presence, &a, &[ANN, BEN]).await;
    eventually(async || !is_online(&presence, ANN).await).await;
    for _ in 0..2 {
        assert_lapsed(&presence, &a).await;
        assert!(leave(&presence, &a, BEN).await, "is offline");
        assert_located(&presence, ANN, &[]).await;
    }
    presence.begin(&a, LONG_LEASE).await.expect("begins");
    assert!(renew(&presence, &a, LONG_LEASE).await);
    assert_located(&presence, ANN, &[]).await;
    assert!(join(&presence, &a, ANN).await, "was offline");
}

/// A new process takes the name of a crashed one before the lease has ended.
async fn a_node_that_begins_again_has_no_earlier_joins(presence: Adapter) {
    let [a, b] = [alive(&presence, "a").await, alive(&presence, "b").await];
    for (node, user_id) in [(&a, ANN), (&a, BEN), (&b, BEN)] {
        join(&presence, node, user_id).await;
    }
    presence.begin(&a, LONG_LEASE).await.expect("begins");
    assert_located(&presence, ANN, &[]).await;
    assert_located(&presence, BEN, &["b"]).await;
    assert!(join(&presence, &a, ANN).await, "was offline");
    assert_located(&presence, BEN, &["b"]).await;
}

/// Begins with a short lease and joins before the lease has ended.
async fn begin_briefly(presence: &Adapter, node: &NodeId, users: &[UserId]) {
    'again: loop {
        presence.begin(node, SHORT_LEASE).await.expect("begins");
        for user_id in users {
            match presence.join(node, *user_id).await {
                Ok(_) => {}
                // The lease ended immediately on a slow machine.
                Err(PresenceError::Lapsed(_)) => continue 'again,
                Err(error) => panic!("does not join: {error}"),
            }
        }
        return;
    }
}

async fn assert_lapsed(presence: &Adapter, node: &NodeId) {
    assert!(!renew(presence, node, LONG_LEASE).await, "renewed an ended lease");
    match presence.join(node, ANN).await {
        Err(error @ PresenceError::Lapsed(_)) => assert!(!error.retryable()),
        other => panic!("should have lapsed, but returned {other:?}"),
    }
}

async fn renew(presence: &Adapter, node: &NodeId, lease: Duration) -> bool {
    presence.renew(node, lease).await.expect("renews")
}

/// A node with a lease that outlives the property.
async fn alive(presence: &Adapter, name: &str) -> NodeId {
    let node = node(name);
    presence.begin(&node, LONG_LEASE).await.expect("begins");
    node
}

async fn join(presence: &Adapter, node: &NodeId, user_id: UserId) -> bool {
    presence.join(node, user_id).await.expect("joins")
}

async fn leave(presence: &Adapter, node: &NodeId, user_id: UserId) -> bool {
    presence.leave(node, user_id).await.expect("leaves")
}

async fn is_online(presence: &Adapter, user_id: UserId) -> bool {
    presence.online(&[user_id]).await.expect("a state")[0]
}

/// Asserts that the user is located on exactly these nodes, and online if there are any.
async fn assert_located(presence: &Adapter, user_id: UserId, names: &[&str]) {
    let mut located = presence.locate(&[user_id]).await.expect("nodes");
    let found = located.pop().expect("a result for each user");
    let distinct: BTreeSet<_> = found.iter().map(NodeId::as_str).collect();
    assert_eq!(distinct.len(), found.len(), "a node is named twice: {found:?}");
    assert!(distinct.into_iter().eq(names.iter().copied()), "{found:?} instead of {names:?}");
    assert_eq!(is_online(presence, user_id).await, !names.is_empty());
}
