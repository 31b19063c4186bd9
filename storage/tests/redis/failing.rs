//! Servers are killed, restored from old snapshots, failed over and paused, under load.

use std::sync::Arc;
use std::time::Duration;

use pabal_core::model::{ChannelId, Draft, MessageId, NodeId, UserId};
use pabal_core::ports::*;
use pabal_servers::redis::{RedisCluster, RedisSentinel};
use pabal_servers::{Redis, started};

use tokio::time::timeout;

use crate::load::{CALL_BOUND, Load, SetBack};
use crate::{store, store_in, system_clock};

const SOME: usize = 300;

async fn load(url: &str, clock: Arc<dyn Clock>) -> Load {
    Load::start(Arc::new(store(url).await.message_log(clock, 10_000)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_and_restarted_assigns_no_id_twice() {
    let redis = started!(Redis::start());
    let load = load(&redis.url(), system_clock()).await;
    for _ in 0..3 {
        load.wait_for(SOME).await;
        redis.kill();
        load.wait_for_failures(20).await;
        redis.restart().await;
    }
    load.wait_for(SOME).await;
    load.end().await;
}

/// Redis lost everything after its snapshot, and ids are based on a clock that is an hour behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_restored_from_a_snapshot_assigns_no_id_twice_although_clocks_went_back() {
    let redis = started!(Redis::start_with(&[("appendonly", "no")]));
    let clock = Arc::new(SetBack::default());
    let load = load(&redis.url(), clock.clone()).await;
    for hours in 1..4 {
        load.wait_for(SOME).await;
        redis.snapshot().await;
        load.wait_for(SOME).await;
        redis.kill();
        clock.by(Duration::from_secs(3_600 * hours));
        redis.restart().await;
    }
    load.wait_for(SOME).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_everything_assigns_no_id_twice() {
    let redis = started!(Redis::start_with(&[("appendonly", "no")]));
    let clock = Arc::new(SetBack::default());
    let load = load(&redis.url(), clock.clone()).await;
    load.wait_for(SOME).await;
    clock.by(Duration::from_secs(60));
    redis.restart().await;
    load.wait_for(SOME).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_assigns_no_id_twice() {
    let sentinel = started!(RedisSentinel::start());
    let clock = Arc::new(SetBack::default());
    let load = load(&sentinel.url(), clock.clone()).await;
    load.wait_for(SOME).await;
    sentinel.servers[0].kill();
    clock.by(Duration::from_secs(60));
    sentinel.failed_over_to(1).await;
    load.wait_for(SOME).await;
    // The old primary returns as a replica of the new one; then the new primary is killed too.
    sentinel.servers[0].restart().await;
    let primary = sentinel.settled().await;
    load.wait_for(SOME).await;
    sentinel.servers[primary].kill();
    sentinel.failed_over_to(1 - primary).await;
    load.wait_for(SOME).await;
    load.end().await;
}

/// Until a Sentinel demotes it, the server reports itself as primary; writes to it are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_returning_old_primary_receives_no_calls() {
    let sentinel = started!(RedisSentinel::start());
    let presence = store(&sentinel.url()).await.presence();
    let node: NodeId = "a".parse().expect("a name");
    let lease = Duration::from_secs(600);
    presence.begin(&node, lease).await.expect("begins");
    sentinel.servers[0].kill();
    // The connection is broken, and the Sentinel still names the old primary.
    presence.begin(&node, lease).await.expect_err("no server runs");
    sentinel.failed_over_to(1).await;
    sentinel.servers[1].command(&["FLUSHALL"]).await;
    sentinel.servers[0].restart().await;
    let role = sentinel.servers[0].command(&["INFO", "replication"]).await;
    assert!(role.contains("role:master"), "it was demoted before the check: {role}");
    presence.begin(&node, lease).await.expect("begins on the new primary");
    let written = sentinel.servers[1].command(&["DBSIZE"]).await;
    assert_ne!(written, "0", "the write went to the old primary");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_shard_that_is_killed_and_restarted_loses_nothing() {
    let cluster = started!(RedisCluster::start());
    let load = load(&cluster.url(), system_clock()).await;
    for shard in &cluster.shards {
        load.wait_for(SOME).await;
        shard.kill();
        load.wait_for_failures(3).await;
        shard.restart().await;
        cluster.whole().await;
    }
    load.wait_for(SOME).await;
    load.end().await;
}

/// The slot of a key, the server that owns it at first, and a server to move it to.
async fn slot(cluster: &RedisCluster, key: &str) -> (u16, usize, usize) {
    let slot = cluster.slot_of(key).await;
    let from = match slot {
        0..=5460 => 0,
        5461..=10922 => 1,
        _ => 2,
    };
    (slot, from, (from + 1) % 3)
}

/// A slot migration is in progress: keys are already on the other server, and each call is
/// redirected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_slot_is_being_migrated_accepts_appends_and_reads() {
    let cluster = started!(RedisCluster::start());
    let store = store_in(&cluster.url(), "moved").await;
    let log = Arc::new(store.message_log(system_clock(), 10_000));
    let partition = pabal_core::model::Partition::new(1).expect("a partition");
    let (slot, from, to) = slot(&cluster, "{moved:log:1}:entries").await;
    let append = async |name: &str| {
        let draft = Draft {
            channel_id: ChannelId::new(1),
            message_from: UserId::new(1),
            message_to: None,
            content: name.into(),
            client_message_id: Some(name.into()),
        };
        let accepted_at = system_clock().now();
        let node = "a".parse().expect("a name");
        let origin = Origin { node, accepted_at, trace: Trace::default() };
        let appended = log.append(partition, MessageId::default(), draft, origin);
        timeout(CALL_BOUND, appended).await.expect("ends in time").expect("appends")
    };
    let read = async |after: MessageId| -> Vec<String> {
        let read = timeout(CALL_BOUND, log.read(partition, after, 100));
        let entries = read.await.expect("ends in time").expect("reads");
        entries.iter().map(|entry| entry.message.content.to_string()).collect()
    };
    let start = MessageId::default();
    let Sequenced::New(first) = append("one").await else { panic!("it is new") };
    cluster.begin_move(slot, from, to).await;
    assert_eq!(append("one").await, Sequenced::Repeat(first));
    cluster.move_keys(slot, from, to).await;
    let Sequenced::New(second) = append("two").await else { panic!("it is new") };
    assert!(second > first);
    assert_eq!(append("one").await, Sequenced::Repeat(first));
    assert_eq!(read(start).await, ["one", "two"]);
    // A blocking read, too.
    let waiting = tokio::spawn({
        let log = Arc::clone(&log);
        async move { log.read(partition, second, 100).await }
    });
    pabal_servers::until("a read blocks on the other server", async || {
        let clients = cluster.shards[to].command(&["CLIENT", "LIST"]).await;
        clients.contains("cmd=xread").then_some(())
    })
    .await;
    append("three").await;
    assert_eq!(waiting.await.expect("no panic").expect("reads").len(), 1);
    log.trim(partition, first).await.expect("trims");
    assert_eq!(read(start).await, ["two", "three"]);
    cluster.end_move(slot, from, to).await;
    append("four").await;
    assert_eq!(read(first).await, ["two", "three", "four"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_move_under_load_lose_nothing() {
    let cluster = started!(RedisCluster::start());
    let log = store_in(&cluster.url(), "loaded").await.message_log(system_clock(), 10_000);
    let load = Load::start(Arc::new(log));
    for partition in 0..3 {
        let (slot, from, to) = slot(&cluster, &format!("{{loaded:log:{partition}}}:last")).await;
        load.wait_for(SOME).await;
        cluster.begin_move(slot, from, to).await;
        load.wait_for(SOME).await;
        cluster.move_keys(slot, from, to).await;
        load.wait_for(SOME).await;
        cluster.end_move(slot, from, to).await;
    }
    load.wait_for(SOME).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_to_a_paused_redis_fail_and_succeed_after_it_resumes() {
    let redis = started!(Redis::start());
    let load = load(&redis.url(), system_clock()).await;
    load.wait_for(SOME).await;
    let before = load.refused();
    redis.pause();
    // Each sender has a call that reaches its deadline.
    load.wait_for_failures(30).await;
    redis.resume();
    load.wait_for(SOME).await;
    assert!(load.refused() > before);
    load.end().await;
}

/// Entries that the server accepted and lost are not sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_possible_loss_of_inbox_entries_is_reported() {
    let redis = started!(Redis::start_with(&[("appendonly", "no")]));
    let node: NodeId = "a".parse().expect("a name");
    let delivery = |number| {
        let message_id = MessageId::new(number);
        Delivery::Stored { message_id, first_id: message_id }
    };
    // Either read entries are lost too, or only unread ones.
    for also_read in [true, false] {
        let inbox = Arc::new(store(&redis.url()).await.node_inbox(100));
        inbox.open(&node).await.expect("opens");
        redis.snapshot().await;
        inbox.send(&node, vec![delivery(1)]).await.expect("sends");
        let entries = inbox.receive(&node, InboxPosition::default(), 10).await.expect("receives");
        let position = entries[0].position;
        if !also_read {
            redis.snapshot().await;
            inbox.send(&node, vec![delivery(2)]).await.expect("sends");
        }
        redis.restart().await;
        let result = pabal_servers::until("the server responds", async || {
            match inbox.receive(&node, position, 10).await {
                Err(InboxError::Unavailable(_)) => None,
                other => Some(other),
            }
        });
        let result = timeout(CALL_BOUND, result)
            .await
            .expect("the loss is reported and the call does not wait");
        assert!(matches!(result, Err(InboxError::UnknownNode(_))), "{result:?}");
        // After a new open, an entry is not hidden by a position of before.
        inbox.open(&node).await.expect("opens");
        inbox.send(&node, vec![delivery(3)]).await.expect("sends");
        let entries = inbox.receive(&node, position, 10).await.expect("receives");
        let last = &entries[entries.len() - 1];
        assert!(last.position > position, "positions went back");
        assert_eq!(last.delivery, delivery(3));
    }
}

/// The restart breaks the connection of a blocking receive; the loss is still reported.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_node_gets_the_report_too() {
    let redis = started!(Redis::start());
    let inbox = Arc::new(store(&redis.url()).await.node_inbox(100));
    let node: NodeId = "a".parse().expect("a name");
    inbox.open(&node).await.expect("opens");
    let waiting = tokio::spawn({
        let (inbox, node) = (Arc::clone(&inbox), node.clone());
        async move {
            loop {
                match inbox.receive(&node, InboxPosition::default(), 10).await {
                    Err(InboxError::Unavailable(_)) => tokio::task::yield_now().await,
                    other => return other,
                }
            }
        }
    });
    pabal_servers::until("the node waits", async || {
        let clients = redis.command(&["CLIENT", "LIST"]).await;
        clients.contains("cmd=xread").then_some(())
    })
    .await;
    redis.restart().await;
    let result = waiting.await.expect("no panic");
    assert!(matches!(result, Err(InboxError::UnknownNode(_))), "{result:?}");
}

/// Messages for joins that the server lost did not reach the node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_possible_loss_of_joins_is_reported() {
    let redis = started!(Redis::start());
    let store = store(&redis.url()).await;
    let (interest, presence) = (store.interest(), store.presence());
    let node: NodeId = "a".parse().expect("a name");
    let lease = Duration::from_secs(600);
    interest.begin(&node, lease).await.expect("begins");
    presence.begin(&node, lease).await.expect("begins");
    interest.join(&node, &[ChannelId::new(1)]).await.expect("joins");
    presence.join(&node, UserId::new(1)).await.expect("joins");
    assert!(interest.renew(&node, lease).await.expect("renews"));
    assert!(presence.renew(&node, lease).await.expect("renews"));
    redis.restart().await;
    let renewed = pabal_servers::until("the server responds", async || {
        interest.renew(&node, lease).await.ok()
    });
    assert!(!renewed.await, "interest");
    assert!(!presence.renew(&node, lease).await.expect("renews"), "presence");
    interest.begin(&node, lease).await.expect("begins");
    assert!(interest.renew(&node, lease).await.expect("renews"));
    assert!(interest.nodes(&[ChannelId::new(1)]).await.expect("nodes")[0].is_empty());
}

/// An orchestrator starts a node again while the machine of the first process is cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_node_name_was_reused_has_lapsed_and_changes_nothing() {
    let redis = started!(Redis::start());
    let one = store_in(&redis.url(), "taken").await.interest();
    let other = store_in(&redis.url(), "taken").await.interest();
    let node: NodeId = "a".parse().expect("a name");
    let lease = Duration::from_secs(600);
    let [news, team] = [ChannelId::new(1), ChannelId::new(2)];
    one.begin(&node, lease).await.expect("begins");
    one.join(&node, &[news]).await.expect("joins");
    other.begin(&node, lease).await.expect("begins");
    other.join(&node, &[team]).await.expect("joins");
    assert!(!one.renew(&node, lease).await.expect("renews"));
    assert!(matches!(one.join(&node, &[news]).await, Err(InterestError::Lapsed(_))));
    one.leave(&node, &[team]).await.expect("leaves");
    assert!(other.renew(&node, lease).await.expect("renews"));
    let nodes = other.nodes(&[news, team]).await.expect("nodes");
    assert_eq!(nodes, [vec![], vec![node]]);
}

/// A server that lost an epoch does not assign it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn epochs_rise_over_a_redis_that_lost_everything() {
    let redis = started!(Redis::start_with(&[("appendonly", "no")]));
    let registry = store(&redis.url()).await.node_registry();
    let node: NodeId = "a".parse().expect("a name");
    let partition = pabal_core::model::Partition::new(1).expect("a partition");
    let lease = Duration::from_secs(600);
    let mut held = registry.acquire(&node, partition, lease).await.expect("acquires");
    for _ in 0..2 {
        let before = held.expect("is free");
        redis.restart().await;
        held = pabal_servers::until("the server responds", async || {
            registry.acquire(&node, partition, lease).await.ok()
        })
        .await;
        assert!(held.as_ref().expect("is free").epoch > before.epoch, "{held:?} after {before:?}");
        assert!(!registry.renew(&before, lease).await.expect("renews"));
    }
}
