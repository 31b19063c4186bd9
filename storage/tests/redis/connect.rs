//! Connecting: users, TLS, and one-line errors.

use std::time::Duration;

use pabal_core::model::{MessageId, Partition, UserId};
use pabal_core::ports::{Delivery, InboxPosition, MessageLog, NodeInbox, Presence};
use pabal_servers::redis::RedisSentinel;
use pabal_servers::{Redis, spare_ports, started};
use pabal_storage::redis::{ConnectError, RedisConfig, RedisStore};
use tokio::time::timeout;

use crate::{store_in, system_clock};

async fn connect(url: &str) -> Result<RedisStore, ConnectError> {
    let url = url.parse().expect("an address of Redis");
    let config = RedisConfig { call_within: Duration::from_secs(5), ..RedisConfig::default() };
    let connected = RedisStore::connect(&url, &config);
    timeout(Duration::from_secs(30), connected).await.expect("ends within its deadline")
}

/// The error message of a refused connection.
async fn refusal(url: &str) -> String {
    let Err(error) = connect(url).await else {
        panic!("{url} connected");
    };
    let line = error.to_string();
    assert!(!line.contains('\n') && !line.contains("wrong-word"), "{line}");
    line
}

async fn assert_works(store: &RedisStore) {
    let (presence, node) = (store.presence(), "a".parse().expect("a name"));
    presence.begin(&node, Duration::from_secs(60)).await.expect("begins");
    assert!(presence.join(&node, UserId::new(1)).await.expect("joins"));
    let log = store.message_log(system_clock(), 10);
    let partition = Partition::new(1).expect("a partition");
    log.trim(partition, MessageId::new(1 << 40)).await.expect("trims");
    let inbox = store.node_inbox(10);
    inbox.open(&node).await.expect("opens");
    let id = MessageId::new(1);
    let delivery = Delivery::Stored { message_id: id, first_id: id };
    inbox.send(&node, vec![delivery.clone()]).await.expect("sends");
    let entries = inbox.receive(&node, InboxPosition::default(), 1).await.expect("receives");
    assert_eq!(entries[0].delivery, delivery);
    inbox.forget(&node).await.expect("forgets");
}

#[tokio::test]
async fn an_unreachable_server_is_named() {
    let port = spare_ports(1)[0];
    let line = refusal(&format!("redis://127.0.0.1:{port}")).await;
    assert!(line.starts_with(&format!("cannot reach Redis at 127.0.0.1:{port}: ")), "{line}");
    assert!(line.contains("refused"), "{line}");
    let line = refusal("redis://no-such-host.invalid").await;
    assert!(line.starts_with("cannot reach Redis at no-such-host.invalid:6379: "), "{line}");
}

#[tokio::test]
async fn an_unresponsive_server_is_named_within_the_deadline() {
    let redis = started!(Redis::start());
    redis.pause();
    let line = refusal(&redis.url()).await;
    assert!(line.contains("cannot reach Redis") && line.contains("in time"), "{line}");
    redis.resume();
    assert_works(&connect(&redis.url()).await.expect("connects")).await;
}

#[tokio::test]
async fn users_and_passwords_are_checked() {
    let password = started!(Redis::start_with(&[("requirepass", "right")]));
    let at = |credentials: &str, redis: &Redis| {
        format!("redis://{credentials}127.0.0.1:{}", redis.port())
    };
    assert_works(&connect(&at(":right@", &password)).await.expect("connects")).await;
    for credentials in ["", ":wrong-word@", "ann:right@"] {
        let line = refusal(&at(credentials, &password)).await;
        assert!(line.contains("refuses the user or the password"), "{credentials}: {line}");
    }
    let acl = [
        ("user", "default off"),
        ("user", "ann on >s@cret:word ~{pabal:* +@all -@dangerous +info"),
    ];
    let acl = started!(Redis::start_with(&acl));
    assert_works(&connect(&at("ann:s%40cret%3Aword@", &acl)).await.expect("connects")).await;
    for credentials in ["", "ann:wrong-word@", "ben:s%40cret%3Aword@"] {
        let line = refusal(&at(credentials, &acl)).await;
        assert!(line.contains("refuses the user or the password"), "{credentials}: {line}");
    }
}

/// Another number would move channels to other partitions, each with its own order.
#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let redis = started!(Redis::start());
    let store = connect(&redis.url()).await.expect("connects");
    let require_partitions = |partitions| store.require_partitions(partitions);
    let (first, second) = tokio::join!(require_partitions(16), require_partitions(32));
    let (kept, refused) = if first.is_ok() { ([16, 32], second) } else { ([32, 16], first) };
    for _ in 0..2 {
        require_partitions(kept[0]).await.expect("is the same");
        redis.restart().await;
        pabal_servers::until("the server responds", async || {
            require_partitions(kept[0]).await.ok()
        })
        .await;
    }
    for refused in [refused, require_partitions(kept[1]).await] {
        let line = refused.expect_err("another number").to_string();
        let [recorded, asked] = kept;
        let said =
            format!("was created for {recorded} partitions and cannot be used with {asked}:");
        assert!(line.contains(&said) && !line.contains('\n'), "{line}");
    }
    // Other namespaces share the server.
    store_in(&redis.url(), "other").await.require_partitions(64).await.expect("is the first");
}

#[tokio::test]
async fn servers_of_another_kind_are_refused() {
    let redis = started!(Redis::start());
    let url = format!("redis://127.0.0.1:{0},127.0.0.1:{0}", redis.port());
    assert!(refusal(&url).await.ends_with("is not a Redis Cluster, so only one host may be given"));
    let sentinel = started!(RedisSentinel::start());
    let line = refusal(&sentinel.servers[1].url()).await;
    assert!(line.contains("is a replica"), "{line}");
    let line = refusal(&sentinel.url().replace("/pabal", "/other")).await;
    assert!(line.contains("knows no primary named \"other\""), "{line}");
    assert_works(&connect(&sentinel.url()).await.expect("connects")).await;
}

#[tokio::test]
async fn tls_connects_only_to_servers_with_a_trusted_certificate() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let (redis, port) = started!(Redis::start_tls(&certificate, &key));
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &certificate).expect("a file");
    let ca = ca.display();
    let store = connect(&format!("rediss://localhost:{port}?ca={ca}")).await.expect("connects");
    assert_works(&store).await;
    // Not with the system's certificates, not under another name, not without TLS on either side.
    let line = refusal(&format!("rediss://localhost:{port}")).await;
    assert!(line.to_lowercase().contains("certificate"), "{line}");
    let line = refusal(&format!("rediss://127.0.0.1:{port}?ca={ca}")).await;
    assert!(line.to_lowercase().contains("certificate"), "{line}");
    refusal(&format!("redis://localhost:{port}")).await;
    refusal(&format!("rediss://localhost:{}?ca={ca}", redis.port())).await;
    let line = refusal(&format!("rediss://localhost:{port}?ca=/no/such/file")).await;
    assert!(line.starts_with("cannot read the certificates in /no/such/file: "), "{line}");
}
