//! What every [`Interest`] must do. Owns no adapter.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::property::{LONG_LEASE, SHORT_LEASE, eventually, node, nodes, properties, result_of};
use pabal_core::model::{ChannelId, NodeId};
use pabal_core::ports::{Interest, InterestError};

type Adapter = Arc<dyn Interest>;

/// Runs the suite. `fresh` creates an adapter without any interest.
///
/// # Panics
/// If the adapter breaks the contract.
pub async fn run(fresh: impl AsyncFn() -> Adapter) {
    properties! { fresh() =>
        a_join_is_effective_when_it_returns
        a_repeated_join_changes_nothing
        a_leave_removes_only_the_given_channels
        results_are_in_the_order_of_the_request
        no_channels_are_no_error
        concurrent_joins_all_count
        a_node_whose_lease_has_ended_has_no_interest
        a_renewal_outlives_the_previous_lease
        one_renewal_covers_earlier_and_later_joins
        a_node_without_a_lease_cannot_join
        an_ended_lease_is_reported_and_removes_all_joins
        a_node_that_begins_again_has_no_earlier_joins
    }
}

const NEWS: ChannelId = ChannelId::new(1);
const TEAM: ChannelId = ChannelId::new(2);
const CLUB: ChannelId = ChannelId::new(i64::MAX as u64);

async fn a_join_is_effective_when_it_returns(interest: Adapter) {
    let [a, b] = [alive(&interest, "a").await, alive(&interest, "b").await];
    assert_wanted(&interest, NEWS, &[]).await;
    join(&interest, &a, &[NEWS, CLUB]).await;
    assert_wanted(&interest, NEWS, &["a"]).await;
    assert_wanted(&interest, TEAM, &[]).await;
    join(&interest, &b, &[TEAM, CLUB]).await;
    assert_wanted(&interest, NEWS, &["a"]).await;
    assert_wanted(&interest, TEAM, &["b"]).await;
    assert_wanted(&interest, CLUB, &["a", "b"]).await;
}

async fn a_repeated_join_changes_nothing(interest: Adapter) {
    let a = alive(&interest, "a").await;
    join(&interest, &a, &[NEWS, TEAM, NEWS]).await;
    join(&interest, &a, &[NEWS]).await;
    assert_wanted(&interest, NEWS, &["a"]).await;
    leave(&interest, &a, &[NEWS]).await;
    assert_wanted(&interest, NEWS, &[]).await;
}

async fn a_leave_removes_only_the_given_channels(interest: Adapter) {
    let [a, b] = [alive(&interest, "a").await, alive(&interest, "b").await];
    join(&interest, &a, &[NEWS, TEAM, CLUB]).await;
    join(&interest, &b, &[NEWS, TEAM]).await;
    for _ in 0..2 {
        leave(&interest, &a, &[NEWS, CLUB]).await;
        assert_wanted(&interest, NEWS, &["b"]).await;
        assert_wanted(&interest, TEAM, &["a", "b"]).await;
        assert_wanted(&interest, CLUB, &[]).await;
    }
    join(&interest, &a, &[NEWS]).await;
    assert_wanted(&interest, NEWS, &["a", "b"]).await;
}

async fn results_are_in_the_order_of_the_request(interest: Adapter) {
    let a = alive(&interest, "a").await;
    let joined: Vec<_> = (0..500).map(|number| ChannelId::new(2 * number)).collect();
    join(&interest, &a, &joined).await;
    let mut asked: Vec<_> = (0..1_000).rev().map(ChannelId::new).collect();
    asked.extend([ChannelId::new(6), ChannelId::new(7), ChannelId::new(6)]);
    let wanted = interest.nodes(&asked).await.expect("nodes");
    assert_eq!(wanted.len(), asked.len());
    for (nodes, channel_id) in wanted.iter().zip(&asked) {
        let expected = if channel_id.get() % 2 == 0 { std::slice::from_ref(&a) } else { &[] };
        assert_eq!(nodes.as_slice(), expected, "for channel {channel_id}");
    }
}

async fn no_channels_are_no_error(interest: Adapter) {
    let a = alive(&interest, "a").await;
    join(&interest, &a, &[]).await;
    leave(&interest, &a, &[]).await;
    leave(&interest, &a, &[NEWS]).await;
    assert!(interest.nodes(&[]).await.expect("no nodes").is_empty());
}

async fn concurrent_joins_all_count(interest: Adapter) {
    let mut joins = Vec::new();
    for node in nodes(16) {
        interest.begin(&node, LONG_LEASE).await.expect("begins");
        let interest = interest.clone();
        joins.push(tokio::spawn(async move { join(&interest, &node, &[NEWS]).await }));
    }
    for joined in joins {
        result_of(joined).await;
    }
    let all = nodes(16);
    let mut names: Vec<_> = all.iter().map(NodeId::as_str).collect();
    names.sort_unstable();
    assert_wanted(&interest, NEWS, &names).await;
}

async fn a_node_whose_lease_has_ended_has_no_interest(interest: Adapter) {
    let [a, b] = [node("a"), alive(&interest, "b").await];
    begin_briefly(&interest, &a, &[NEWS, TEAM]).await;
    join(&interest, &b, &[TEAM, CLUB]).await;
    eventually(async || wanted(&interest, NEWS).await.is_empty()).await;
    assert_wanted(&interest, TEAM, &["b"]).await;
    assert_wanted(&interest, CLUB, &["b"]).await;
}

async fn a_renewal_outlives_the_previous_lease(interest: Adapter) {
    let [a, b] = [node("a"), node("b")];
    // On a slow machine the short lease may end before the renewal; then it is begun again.
    loop {
        begin_briefly(&interest, &a, &[NEWS]).await;
        if renew(&interest, &a, LONG_LEASE).await {
            break;
        }
    }
    // Once a lease that was begun later has ended, the first one would have ended too.
    begin_briefly(&interest, &b, &[TEAM]).await;
    eventually(async || wanted(&interest, TEAM).await.is_empty()).await;
    assert_wanted(&interest, NEWS, &["a"]).await;
}

async fn one_renewal_covers_earlier_and_later_joins(interest: Adapter) {
    let a = alive(&interest, "a").await;
    join(&interest, &a, &[NEWS]).await;
    assert!(renew(&interest, &a, LONG_LEASE).await);
    join(&interest, &a, &[TEAM]).await;
    assert!(renew(&interest, &a, LONG_LEASE).await);
    join(&interest, &a, &[CLUB]).await;
    for channel_id in [NEWS, TEAM, CLUB] {
        assert_wanted(&interest, channel_id, &["a"]).await;
    }
    assert!(renew(&interest, &a, SHORT_LEASE).await);
    for channel_id in [NEWS, TEAM, CLUB] {
        eventually(async || wanted(&interest, channel_id).await.is_empty()).await;
    }
}

async fn a_node_without_a_lease_cannot_join(interest: Adapter) {
    let a = node("a");
    assert_lapsed(&interest, &a).await;
    assert_wanted(&interest, NEWS, &[]).await;
    interest.begin(&a, LONG_LEASE).await.expect("begins");
    assert_wanted(&interest, NEWS, &[]).await;
    join(&interest, &a, &[NEWS]).await;
    assert_wanted(&interest, NEWS, &["a"]).await;
}

/// A node that was paused beyond its lease has missed messages.
async fn an_ended_lease_is_reported_and_removes_all_joins(interest: Adapter) {
    let a = node("a");
    begin_briefly(&interest, &a, &[NEWS, TEAM]).await;
    eventually(async || wanted(&interest, NEWS).await.is_empty()).await;
    for _ in 0..2 {
        assert_lapsed(&interest, &a).await;
        leave(&interest, &a, &[TEAM]).await;
        assert_wanted(&interest, NEWS, &[]).await;
    }
    interest.begin(&a, LONG_LEASE).await.expect("begins");
    assert_wanted(&interest, NEWS, &[]).await;
    assert!(renew(&interest, &a, LONG_LEASE).await);
    join(&interest, &a, &[TEAM]).await;
    assert_wanted(&interest, TEAM, &["a"]).await;
}

/// A new process takes the name of a crashed one before the lease has ended.
async fn a_node_that_begins_again_has_no_earlier_joins(interest: Adapter) {
    let [a, b] = [alive(&interest, "a").await, alive(&interest, "b").await];
    join(&interest, &a, &[NEWS, TEAM]).await;
    join(&interest, &b, &[NEWS]).await;
    interest.begin(&a, LONG_LEASE).await.expect("begins");
    assert_wanted(&interest, NEWS, &["b"]).await;
    assert_wanted(&interest, TEAM, &[]).await;
    join(&interest, &a, &[TEAM]).await;
    assert_wanted(&interest, NEWS, &["b"]).await;
    assert_wanted(&interest, TEAM, &["a"]).await;
}

/// Begins with a short lease and joins before the lease has ended.
async fn begin_briefly(interest: &Adapter, node: &NodeId, channels: &[ChannelId]) {
    loop {
        interest.begin(node, SHORT_LEASE).await.expect("begins");
        match interest.join(node, channels).await {
            Ok(()) => return,
            // The lease ended immediately on a slow machine.
            Err(InterestError::Lapsed(_)) => {}
            Err(error) => panic!("does not join: {error}"),
        }
    }
}

async fn assert_lapsed(interest: &Adapter, node: &NodeId) {
    assert!(!renew(interest, node, LONG_LEASE).await, "renewed an ended lease");
    match interest.join(node, &[NEWS]).await {
        Err(error @ InterestError::Lapsed(_)) => assert!(!error.retryable()),
        other => panic!("should have lapsed, but returned {other:?}"),
    }
}

async fn renew(interest: &Adapter, node: &NodeId, lease: Duration) -> bool {
    interest.renew(node, lease).await.expect("renews")
}

/// A node with a lease that outlives the property.
async fn alive(interest: &Adapter, name: &str) -> NodeId {
    let node = node(name);
    interest.begin(&node, LONG_LEASE).await.expect("begins");
    node
}

async fn join(interest: &Adapter, node: &NodeId, channels: &[ChannelId]) {
    interest.join(node, channels).await.expect("joins");
}

async fn leave(interest: &Adapter, node: &NodeId, channels: &[ChannelId]) {
    interest.leave(node, channels).await.expect("leaves");
}

async fn wanted(interest: &Adapter, channel_id: ChannelId) -> Vec<NodeId> {
    let mut nodes = interest.nodes(&[channel_id]).await.expect("nodes");
    nodes.pop().expect("a result for each channel")
}

/// Asserts that exactly these nodes are interested in the channel.
async fn assert_wanted(interest: &Adapter, channel_id: ChannelId, names: &[&str]) {
    let found = wanted(interest, channel_id).await;
    let distinct: BTreeSet<_> = found.iter().map(NodeId::as_str).collect();
    assert_eq!(distinct.len(), found.len(), "a node is named twice: {found:?}");
    assert!(distinct.into_iter().eq(names.iter().copied()), "{found:?} instead of {names:?}");
}
