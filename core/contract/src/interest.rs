//! What every [`Interest`] must do. Owns no adapter; run it with a factory of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::property::{LONG_LEASE, SHORT_LEASE, answer, eventually, node, nodes, properties};
use pabal_core::model::{ChannelId, NodeId};
use pabal_core::ports::{Interest, InterestError};

type Adapter = Arc<dyn Interest>;

/// Runs the suite. `fresh` makes an adapter in which no node wants anything.
///
/// # Panics
/// Where the adapter breaks the contract.
pub async fn run(fresh: impl AsyncFn() -> Adapter) {
    properties! { fresh() =>
        a_join_counts_from_its_return_on
        joining_again_changes_nothing
        a_leave_takes_back_only_what_it_names
        answers_stand_in_the_order_asked
        no_channels_are_no_error
        concurrent_joins_all_count
        a_node_whose_lease_has_ended_wants_nothing
        a_renewal_outlives_the_lease_before_it
        one_renewal_covers_all_that_is_joined_before_and_after
        a_node_that_has_not_begun_joins_nothing
        a_lapse_is_told_and_ends_all_that_was_joined
        a_node_that_begins_again_has_nothing_of_before
    }
}

const NEWS: ChannelId = ChannelId::new(1);
const TEAM: ChannelId = ChannelId::new(2);
const CLUB: ChannelId = ChannelId::new(i64::MAX as u64);

async fn a_join_counts_from_its_return_on(interest: Adapter) {
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

async fn joining_again_changes_nothing(interest: Adapter) {
    let a = alive(&interest, "a").await;
    join(&interest, &a, &[NEWS, TEAM, NEWS]).await;
    join(&interest, &a, &[NEWS]).await;
    assert_wanted(&interest, NEWS, &["a"]).await;
    leave(&interest, &a, &[NEWS]).await;
    assert_wanted(&interest, NEWS, &[]).await;
}

async fn a_leave_takes_back_only_what_it_names(interest: Adapter) {
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

async fn answers_stand_in_the_order_asked(interest: Adapter) {
    let a = alive(&interest, "a").await;
    let joined: Vec<_> = (0..500).map(|number| ChannelId::new(2 * number)).collect();
    join(&interest, &a, &joined).await;
    let mut asked: Vec<_> = (0..1_000).rev().map(ChannelId::new).collect();
    asked.extend([ChannelId::new(6), ChannelId::new(7), ChannelId::new(6)]);
    let wanted = interest.nodes(&asked).await.expect("answers");
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
    assert!(interest.nodes(&[]).await.expect("answers").is_empty());
}

async fn concurrent_joins_all_count(interest: Adapter) {
    let mut joins = Vec::new();
    for node in nodes(16) {
        interest.begin(&node, LONG_LEASE).await.expect("begins");
        let interest = interest.clone();
        joins.push(tokio::spawn(async move { join(&interest, &node, &[NEWS]).await }));
    }
    for joined in joins {
        answer(joined).await;
    }
    let all = nodes(16);
    let mut names: Vec<_> = all.iter().map(NodeId::as_str).collect();
    names.sort_unstable();
    assert_wanted(&interest, NEWS, &names).await;
}

async fn a_node_whose_lease_has_ended_wants_nothing(interest: Adapter) {
    let [a, b] = [node("a"), alive(&interest, "b").await];
    begin_briefly(&interest, &a, &[NEWS, TEAM]).await;
    join(&interest, &b, &[TEAM, CLUB]).await;
    eventually(async || wanted(&interest, NEWS).await.is_empty()).await;
    assert_wanted(&interest, TEAM, &["b"]).await;
    assert_wanted(&interest, CLUB, &["b"]).await;
}

async fn a_renewal_outlives_the_lease_before_it(interest: Adapter) {
    let [a, b] = [node("a"), node("b")];
    // The short lease may end before the renewal on a slow day; then there is nothing to renew.
    loop {
        begin_briefly(&interest, &a, &[NEWS]).await;
        if renew(&interest, &a, LONG_LEASE).await {
            break;
        }
    }
    // When a lease that was begun later has ended, the first one has too.
    begin_briefly(&interest, &b, &[TEAM]).await;
    eventually(async || wanted(&interest, TEAM).await.is_empty()).await;
    assert_wanted(&interest, NEWS, &["a"]).await;
}

async fn one_renewal_covers_all_that_is_joined_before_and_after(interest: Adapter) {
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

async fn a_node_that_has_not_begun_joins_nothing(interest: Adapter) {
    let a = node("a");
    assert_lapsed(&interest, &a).await;
    assert_wanted(&interest, NEWS, &[]).await;
    interest.begin(&a, LONG_LEASE).await.expect("begins");
    assert_wanted(&interest, NEWS, &[]).await;
    join(&interest, &a, &[NEWS]).await;
    assert_wanted(&interest, NEWS, &["a"]).await;
}

/// A node that was paused beyond its lease: messages passed it by.
async fn a_lapse_is_told_and_ends_all_that_was_joined(interest: Adapter) {
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

/// The process died and another one took its name, before the lease ended.
async fn a_node_that_begins_again_has_nothing_of_before(interest: Adapter) {
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

/// Begins with a short lease and joins, all before the lease has ended.
async fn begin_briefly(interest: &Adapter, node: &NodeId, channels: &[ChannelId]) {
    loop {
        interest.begin(node, SHORT_LEASE).await.expect("begins");
        match interest.join(node, channels).await {
            Ok(()) => return,
            // It ended at once on a slow day.
            Err(InterestError::Lapsed(_)) => {}
            Err(error) => panic!("does not join: {error}"),
        }
    }
}

async fn assert_lapsed(interest: &Adapter, node: &NodeId) {
    assert!(!renew(interest, node, LONG_LEASE).await, "renewed what has ended");
    match interest.join(node, &[NEWS]).await {
        Err(error @ InterestError::Lapsed(_)) => assert!(!error.retryable()),
        other => panic!("should have lapsed, but answered {other:?}"),
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
    let mut nodes = interest.nodes(&[channel_id]).await.expect("answers");
    nodes.pop().expect("an answer for each channel")
}

/// Asserts that exactly these nodes want the channel.
async fn assert_wanted(interest: &Adapter, channel_id: ChannelId, names: &[&str]) {
    let found = wanted(interest, channel_id).await;
    let distinct: BTreeSet<_> = found.iter().map(NodeId::as_str).collect();
    assert_eq!(distinct.len(), found.len(), "a node is named twice: {found:?}");
    assert!(distinct.into_iter().eq(names.iter().copied()), "{found:?} instead of {names:?}");
}
