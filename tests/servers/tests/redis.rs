//! Redis servers behave as the tests expect.

use pabal_servers::redis::{RedisCluster, RedisSentinel};
use pabal_servers::{Redis, started};

#[tokio::test]
async fn writes_survive_a_kill_and_a_restart_on_the_same_port() {
    let redis = started!(Redis::start());
    assert_eq!(redis.command(&["SET", "key", "value"]).await, "OK");
    let url = redis.url();
    redis.restart().await;
    assert_eq!(redis.command(&["GET", "key"]).await, "value");
    assert_eq!(redis.url(), url);
}

#[tokio::test]
async fn a_server_without_a_journal_restarts_from_its_snapshot() {
    let redis = started!(Redis::start_with(&[("appendonly", "no")]));
    assert_eq!(redis.command(&["SET", "key", "old"]).await, "OK");
    redis.snapshot().await;
    assert_eq!(redis.command(&["SET", "key", "new"]).await, "OK");
    redis.restart().await;
    assert_eq!(redis.command(&["GET", "key"]).await, "old");
}

#[tokio::test]
async fn a_paused_server_responds_after_it_is_resumed() {
    let redis = started!(Redis::start());
    redis.pause();
    let response = redis.command(&["PING"]);
    tokio::pin!(response);
    let waited = tokio::time::timeout(std::time::Duration::from_millis(200), &mut response).await;
    assert!(waited.is_err(), "a paused server does not respond");
    redis.resume();
    assert_eq!(response.await, "PONG");
}

#[tokio::test]
async fn a_cluster_redirects_clients_to_the_shard_of_a_key() {
    let cluster = started!(RedisCluster::start());
    let slots = ["foo", "bar", "hello"];
    let mut moved = 0;
    for key in slots {
        for shard in &cluster.shards {
            moved += usize::from(shard.command(&["SET", key, "x"]).await.starts_with("MOVED"));
        }
    }
    assert_eq!(moved, 6, "each of three keys is at one of three shards");
}

#[tokio::test]
async fn a_sentinel_promotes_the_replica() {
    let sentinel = started!(RedisSentinel::start());
    assert_eq!(sentinel.servers[0].command(&["SET", "key", "value"]).await, "OK");
    pabal_servers::until("the replica has the value", async || {
        let value = sentinel.servers[1].command(&["GET", "key"]).await;
        (value == "value").then_some(())
    })
    .await;
    sentinel.servers[0].kill();
    sentinel.failed_over_to(1).await;
    assert_eq!(sentinel.servers[1].command(&["GET", "key"]).await, "value");
}
