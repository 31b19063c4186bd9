//! A connection is cut after every byte of a call, in both directions: the call succeeds or returns
//! a retryable error within its deadline, and a repetition leaves the same state as a single call.

use std::sync::Arc;
use std::time::Duration;

use pabal_core::model::{ChannelId, Draft, MessageId, NodeId, Partition, Timestamp, UserId};
use pabal_core::ports::*;
use pabal_servers::cutter::{Cutter, Way};
use pabal_servers::{Redis, started};
use pabal_storage::redis::{RedisConfig, RedisStore};
use tokio::time::timeout;

use crate::{store, store_in, system_clock};

/// Far longer than any call may take.
const BOUND: Duration = Duration::from_secs(20);

const PARTITION: Partition = match Partition::new(7) {
    Some(partition) => partition,
    None => panic!("a partition"),
};

struct Cut {
    cutter: Cutter,
    through: RedisStore,
    direct: RedisStore,
    _redis: Redis,
}

impl Cut {
    async fn new(redis: Redis) -> Self {
        let cutter = Cutter::to(redis.port()).await;
        let namespace = format!("cut-{}", rand::random::<u64>());
        let url = format!("redis://127.0.0.1:{}", cutter.port());
        let through = store_in(&url, &namespace).await;
        let direct = store_in(&redis.url(), &namespace).await;
        Self { cutter, through, direct, _redis: redis }
    }

    /// Cuts the connection after each byte of the call, first sent then received, until the call
    /// completes without a cut. `call` gets the number of the attempt.
    async fn at_every_byte<E: std::fmt::Debug>(
        &self,
        mut call: impl AsyncFnMut(u64) -> Result<(), E>,
        retryable: impl Fn(&E) -> bool,
        mut verify: impl AsyncFnMut(u64),
    ) {
        let (mut number, mut cuts) = (0, 0);
        for way in [Way::There, Way::Back] {
            for bytes in 0.. {
                self.cutter.cut_after(way, bytes);
                let ended = timeout(BOUND, call(number)).await;
                let whole = !self.cutter.had_cut();
                match ended.expect("the call ends within its deadline") {
                    Ok(()) => {}
                    Err(error) => {
                        assert!(retryable(&error), "{error:?}");
                        assert!(!whole, "{error:?} without a cut");
                        cuts += 1;
                        // Broken connections are detected and reopened.
                        let again = pabal_servers::until("the repetition succeeds", async || {
                            call(number).await.ok()
                        });
                        again.await;
                    }
                }
                verify(number).await;
                number += 1;
                if whole {
                    break;
                }
            }
        }
        assert!(cuts > 40, "{cuts} cuts of a call that is longer");
    }
}

fn draft(name: String) -> Draft {
    Draft {
        channel_id: ChannelId::new(1),
        message_from: UserId::new(2),
        message_to: None,
        content: "파발".into(),
        client_message_id: Some(name.into()),
    }
}

fn origin() -> Origin {
    let node = node();
    Origin { node, accepted_at: Timestamp::from_micros(1), trace: Trace::default() }
}

fn node() -> NodeId {
    "a".parse().expect("a name")
}

#[tokio::test]
async fn appends() {
    let cut = Cut::new(started!(Redis::start())).await;
    let log = cut.through.message_log(system_clock(), 100_000);
    let seen = cut.direct.message_log(system_clock(), 100_000);
    let mut last = MessageId::default();
    cut.at_every_byte(
        async |number| {
            let draft = draft(format!("send {number}"));
            log.append(PARTITION, MessageId::default(), draft, origin()).await.map(drop)
        },
        LogError::retryable,
        async |number| {
            let entries = seen.read(PARTITION, last, 10).await.expect("reads");
            let names: Vec<_> =
                entries.iter().map(|entry| entry.message.client_message_id.clone()).collect();
            assert_eq!(names, [Some(format!("send {number}").into())], "once");
            last = entries[0].message.message_id;
        },
    )
    .await;
}

#[tokio::test]
async fn trims() {
    let cut = Cut::new(started!(Redis::start())).await;
    let log = cut.through.message_log(system_clock(), 100_000);
    let seen = cut.direct.message_log(system_clock(), 100_000);
    let append = async |number: u64| {
        let draft = draft(format!("send {number}"));
        match seen.append(PARTITION, MessageId::default(), draft, origin()).await {
            Ok(Sequenced::New(id) | Sequenced::Repeat(id)) => id,
            Err(error) => panic!("{error}"),
        }
    };
    cut.at_every_byte(
        async |number| log.trim(PARTITION, append(number).await).await,
        LogError::retryable,
        async |number| {
            let next = append(number + 1).await;
            let entries = seen.read(PARTITION, MessageId::default(), 10).await.expect("reads");
            assert_eq!(entries.len(), 1, "what was trimmed is gone");
            assert_eq!(entries[0].message.message_id, next);
        },
    )
    .await;
}

/// Deliveries may be repeated but not lost.
#[tokio::test]
async fn inbox_sends_and_receives() {
    let cut = Cut::new(started!(Redis::start())).await;
    let (inbox, seen) = (cut.through.node_inbox(100_000), cut.direct.node_inbox(100_000));
    seen.open(&node()).await.expect("opens");
    let delivery = |number| {
        let message_id = MessageId::new(number);
        Delivery::Stored { message_id, first_id: message_id }
    };
    let mut after = InboxPosition::default();
    cut.at_every_byte(
        async |number| inbox.send(&node(), vec![delivery(number)]).await,
        InboxError::retryable,
        async |number| {
            let entries = seen.receive(&node(), after, 10).await.expect("receives");
            assert!((1..=10).contains(&entries.len()), "{}", entries.len());
            assert!(entries.iter().all(|entry| entry.delivery == delivery(number)), "{entries:?}");
            after = entries[entries.len() - 1].position;
        },
    )
    .await;
    seen.send(&node(), vec![delivery(1_000)]).await.expect("sends");
    cut.at_every_byte(
        async |number| {
            let entries = inbox.receive(&node(), after, 10).await?;
            assert_eq!(entries[0].delivery, delivery(1_000 + number));
            after = entries[0].position;
            Ok::<_, InboxError>(())
        },
        InboxError::retryable,
        async |number| {
            seen.send(&node(), vec![delivery(1_000 + number + 1)]).await.expect("sends");
        },
    )
    .await;
}

#[tokio::test]
async fn leases() {
    let cut = Cut::new(started!(Redis::start())).await;
    let lease = Duration::from_secs(600);
    let (presence, seen) = (cut.through.presence(), cut.direct.presence());
    presence.begin(&node(), lease).await.expect("begins");
    cut.at_every_byte(
        async |number| presence.join(&node(), UserId::new(number)).await.map(drop),
        PresenceError::retryable,
        async |number| {
            assert_eq!(seen.online(&[UserId::new(number)]).await.expect("states"), [true]);
        },
    )
    .await;
    let (registry, seen) = (cut.through.node_registry(), cut.direct.node_registry());
    cut.at_every_byte(
        async |number| {
            let partition = Partition::new(number as u16).expect("a partition");
            let held = registry.acquire(&node(), partition, lease).await?;
            assert_eq!(held.expect("is free").node, node());
            Ok::<_, RegistryError>(())
        },
        RegistryError::retryable,
        async |number| {
            let partition = Partition::new(number as u16).expect("a partition");
            assert_eq!(seen.owner(partition).await.expect("an owner"), Some(node()));
        },
    )
    .await;
}

/// Also at any byte of the handshake.
#[tokio::test]
async fn connecting() {
    let redis = started!(Redis::start());
    let cutter = Cutter::to(redis.port()).await;
    let url = format!("redis://127.0.0.1:{}", cutter.port());
    let whole = {
        let before = cutter.passed(Way::There);
        store(&url).await;
        cutter.passed(Way::There) - before
    };
    assert!(whole > 20, "{whole} bytes");
    for bytes in 0..whole {
        cutter.cut_after(Way::There, bytes);
        let url = url.parse().expect("an address");
        let config = RedisConfig::default();
        let connected = RedisStore::connect(&url, &config);
        let connected = timeout(BOUND, connected).await.expect("ends within its deadline");
        assert!(cutter.had_cut());
        assert!(connected.is_err(), "after {bytes} bytes");
    }
    let log = Arc::new(store(&url).await.message_log(system_clock(), 10));
    log.trim(PARTITION, MessageId::new(1 << 40)).await.expect("trims");
}
