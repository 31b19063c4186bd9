//! Servers are killed, restored from old snapshots, failed over and paused, all under load.

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
async fn a_redis_that_is_killed_and_restarted_gives_no_id_twice_and_all_goes_on() {
    let redis = started!(Redis::start());
    let load = load(&redis.url(), system_clock()).await;
    for _ in 0..3 {
        load.goes_on(SOME).await;
        redis.kill();
        load.is_refused(20).await;
        redis.restart().await;
    }
    load.goes_on(SOME).await;
    load.end().await;
}

/// It lost what came behind its snapshot, and ids are given by a clock that shows an hour ago.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_restored_from_an_older_snapshot_gives_no_id_twice_though_clocks_went_back() {
    let redis = started!(Redis::start_with(&[("appendonly", "no")]));
    let clock = Arc::new(SetBack::default());
    let load = load(&redis.url(), clock.clone()).await;
    for hours in 1..4 {
        load.goes_on(SOME).await;
        redis.snapshot().await;
        load.goes_on(SOME).await;
        redis.kill();
        clock.by(Duration::from_secs(3_600 * hours));
        redis.restart().await;
    }
    load.goes_on(SOME).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_everything_gives_no_id_twice() {
    let redis = started!(Redis::start_with(&[("appendonly", "no")]));
    let clock = Arc::new(SetBack::default());
    let load = load(&redis.url(), clock.clone()).await;
    load.goes_on(SOME).await;
    clock.by(Duration::from_secs(60));
    redis.restart().await;
    load.goes_on(SOME).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_takes_over_gives_no_id_twice_and_all_goes_on() {
    let sentinel = started!(RedisSentinel::start());
    let clock = Arc::new(SetBack::default());
    let load = load(&sentinel.url(), clock.clone()).await;
    load.goes_on(SOME).await;
    sentinel.servers[0].kill();
    clock.by(Duration::from_secs(60));
    sentinel.failed_over_to(1).await;
    load.goes_on(SOME).await;
    // The old primary comes back, and when it is the other one's replica, that one is lost as well.
    sentinel.servers[0].restart().await;
    let primary = sentinel.settled().await;
    load.goes_on(SOME).await;
    sentinel.servers[primary].kill();
    sentinel.failed_over_to(1 - primary).await;
    load.goes_on(SOME).await;
    load.end().await;
}

/// Until the Sentinels tell it, it calls itself primary; what is written there is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_that_comes_back_gets_no_calls() {
    let sentinel = started!(RedisSentinel::start());
    let presence = store(&sentinel.url()).await.presence();
    let node: NodeId = "a".parse().expect("a name");
    let lease = Duration::from_secs(600);
    presence.begin(&node, lease).await.expect("begins");
    sentinel.servers[0].kill();
    // It finds its connection broken, and the Sentinel still of the old opinion.
    presence.begin(&node, lease).await.expect_err("nobody is there");
    sentinel.failed_over_to(1).await;
    sentinel.servers[1].command(&["FLUSHALL"]).await;
    sentinel.servers[0].restart().await;
    let role = sentinel.servers[0].command(&["INFO", "replication"]).await;
    assert!(role.contains("role:master"), "it was told before this test could look: {role}");
    presence.begin(&node, lease).await.expect("begins on the new primary");
    let written = sentinel.servers[1].command(&["DBSIZE"]).await;
    assert_ne!(written, "0", "it went to the old one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_of_a_cluster_that_is_killed_and_restarted_loses_nothing() {
    let cluster = started!(RedisCluster::start());
    let load = load(&cluster.url(), system_clock()).await;
    for shard in &cluster.shards {
        load.goes_on(SOME).await;
        shard.kill();
        load.is_refused(3).await;
        shard.restart().await;
        cluster.whole().await;
    }
    load.goes_on(SOME).await;
    load.end().await;
}

/// The slot of a key, the server that has it in the beginning, and one that it may move to.
async fn slot(cluster: &RedisCluster, key: &str) -> (u16, usize, usize) {
    let slot = cluster.slot_of(key).await;
    let from = match slot {
        0..=5460 => 0,
        5461..=10922 => 1,
        _ => 2,
    };
    (slot, from, (from + 1) % 3)
}

/// The slot is on its way for as long as an operator takes: keys are at the other server, and who
/// asks is redirected call by call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_slot_is_on_its_way_takes_appends_and_is_read() {
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
    // One who waits, too.
    let waiting = tokio::spawn({
        let log = Arc::clone(&log);
        async move { log.read(partition, second, 100).await }
    });
    pabal_servers::until("somebody waits at the other server", async || {
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
        load.goes_on(SOME).await;
        cluster.begin_move(slot, from, to).await;
        load.goes_on(SOME).await;
        cluster.move_keys(slot, from, to).await;
        load.goes_on(SOME).await;
        cluster.end_move(slot, from, to).await;
    }
    load.goes_on(SOME).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_to_a_paused_redis_are_refused_and_go_on_when_it_does() {
    let redis = started!(Redis::start());
    let load = load(&redis.url(), system_clock()).await;
    load.goes_on(SOME).await;
    let before = load.refused();
    redis.pause();
    // Each of the senders has a call that its deadline ends.
    load.is_refused(30).await;
    redis.resume();
    load.goes_on(SOME).await;
    assert!(load.refused() > before);
    load.end().await;
}

/// Entries that the server took and lost, nobody sends again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_told_that_its_inbox_may_have_lost_entries() {
    let redis = started!(Redis::start_with(&[("appendonly", "no")]));
    let node: NodeId = "a".parse().expect("a name");
    let delivery = |number| {
        let message_id = MessageId::new(number);
        Delivery::Stored { message_id, first_id: message_id }
    };
    // What the node has read is lost, or only what it has not.
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
        let told = pabal_servers::until("the server answers", async || {
            match inbox.receive(&node, position, 10).await {
                Err(InboxError::Unavailable(_)) => None,
                other => Some(other),
            }
        });
        let told = timeout(CALL_BOUND, told).await.expect("it is told, and not left to wait");
        assert!(matches!(told, Err(InboxError::UnknownNode(_))), "{told:?}");
        // It begins anew, and an entry of now is not hidden by a position of before.
        inbox.open(&node).await.expect("opens");
        inbox.send(&node, vec![delivery(3)]).await.expect("sends");
        let entries = inbox.receive(&node, position, 10).await.expect("receives");
        let last = &entries[entries.len() - 1];
        assert!(last.position > position, "positions went back");
        assert_eq!(last.delivery, delivery(3));
    }
}

/// The connection on which a node waits is cut by the restart; what it waits for is not lost with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_waits_is_told_too() {
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
    let told = waiting.await.expect("no panic");
    assert!(matches!(told, Err(InboxError::UnknownNode(_))), "{told:?}");
}

/// What the server forgot of a node's joins, messages passed it by for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_told_that_its_joins_may_be_forgotten() {
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
    let renewed = pabal_servers::until("the server answers", async || {
        interest.renew(&node, lease).await.ok()
    });
    assert!(!renewed.await, "interest");
    assert!(!presence.renew(&node, lease).await.expect("renews"), "presence");
    interest.begin(&node, lease).await.expect("begins");
    assert!(interest.renew(&node, lease).await.expect("renews"));
    assert!(interest.nodes(&[ChannelId::new(1)]).await.expect("answers")[0].is_empty());
}

/// As when an orchestrator starts a node anew whose machine is cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_name_another_one_took_is_told_and_changes_nothing() {
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
    assert!(!one.renew(&node, lease).await.expect("answers"));
    assert!(matches!(one.join(&node, &[news]).await, Err(InterestError::Lapsed(_))));
    one.leave(&node, &[team]).await.expect("leaves");
    assert!(other.renew(&node, lease).await.expect("answers"));
    let nodes = other.nodes(&[news, team]).await.expect("answers");
    assert_eq!(nodes, [vec![], vec![node]]);
}

/// An epoch that was given once is not given again by a server that has forgotten it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn epochs_rise_over_a_redis_that_lost_everything() {
    let redis = started!(Redis::start_with(&[("appendonly", "no")]));
    let registry = store(&redis.url()).await.node_registry();
    let node: NodeId = "a".parse().expect("a name");
    let partition = pabal_core::model::Partition::new(1).expect("a partition");
    let lease = Duration::from_secs(600);
    let mut held = registry.acquire(&node, partition, lease).await.expect("answers");
    for _ in 0..2 {
        let before = held.expect("is free");
        redis.restart().await;
        held = pabal_servers::until("the server answers", async || {
            registry.acquire(&node, partition, lease).await.ok()
        })
        .await;
        assert!(held.as_ref().expect("is free").epoch > before.epoch, "{held:?} after {before:?}");
        assert!(!registry.renew(&before, lease).await.expect("answers"));
    }
}
