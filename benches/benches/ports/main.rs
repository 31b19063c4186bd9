//! The ports of a node: each on its embedded adapter and on the server of a cluster, in one run on one
//! machine; the run ends with one table. A line names each server that is not installed.
#![allow(missing_docs, reason = "criterion's macros make public items")]

mod table;

use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use futures::future::{join_all, try_join_all};
use pabal_benches::node::{GROUP, PARTITIONS};
use pabal_benches::{disk, group_message};
use pabal_core::memory::{
    MemoryInterest, MemoryMessageLog, MemoryNodeInbox, MemoryNodeRegistry, MemoryPresence,
    SystemClock,
};
use pabal_core::model::{
    ChannelId, Device, DeviceId, Draft, Message, MessageId, NodeId, Partition, Timestamp,
    TokenHash, User, UserId,
};
use pabal_core::ports::*;
use pabal_servers::{Cassandra, Missing, Postgres, Redis};
use pabal_storage::directory::{PostgresDirectory, SqliteDirectory};
use pabal_storage::embedded::{EmbeddedConfig, EmbeddedStore};
use pabal_storage::history::CassandraHistoryStore;
use pabal_storage::redis::{RedisConfig, RedisStore};
use tokio::runtime::Runtime;

/// Concurrent callers of the log.
const SENDERS: u64 = 50;
/// Concurrent callers of the directory.
const CALLERS: u64 = 16;
/// Deliveries or notifications of one call.
const TOGETHER: u64 = 32;
/// Users or channels of one query.
const ASKED: u64 = 100;
/// The runtime of all benches.
const LEASE: Duration = Duration::from_secs(3_600);

/// The backends of the adapters, in the order of the table.
#[derive(Clone, Copy)]
enum Backend {
    Embedded,
    Cluster,
}

/// The benches of a port on a backend.
fn group<'a>(c: &'a mut Criterion, port: &str, backend: Backend) -> BenchmarkGroup<'a, WallTime> {
    let backend = match backend {
        Backend::Embedded => table::EMBEDDED,
        Backend::Cluster => table::CLUSTER,
    };
    let mut group = c.benchmark_group(format!("{port}/{backend}"));
    group.sample_size(20);
    group
}

fn node() -> NodeId {
    "n1".parse().expect("a name")
}

fn message(id: MessageId) -> Message {
    let name = Some(id.to_string().into());
    Message { client_message_id: name, ..group_message(id.get(), &"x".repeat(128)) }
}

/// Named sends of 128 bytes to one partition, whose owner reads and trims.
fn message_log(c: &mut Criterion, runtime: &Runtime, backend: Backend, log: &dyn MessageLog) {
    let partition = Partition::of(GROUP, PARTITIONS);
    let (mut number, mut stored) = (0u64, MessageId::default());
    let mut group = group(c, "message_log", backend);
    for count in [1, SENDERS] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("append, read, trim", count), |b| {
            b.iter(|| {
                let appends = (0..count).map(|_| {
                    number += 1;
                    let draft = Draft {
                        channel_id: GROUP,
                        message_from: UserId::new(1),
                        message_to: None,
                        content: "x".repeat(128).into(),
                        client_message_id: Some(number.to_string().into()),
                    };
                    let (accepted_at, trace) = (SystemClock.now(), Trace::default());
                    let origin = Origin { node: node(), accepted_at, trace };
                    log.append(partition, MessageId::default(), draft, origin)
                });
                let appends: Vec<_> = appends.collect();
                runtime.block_on(async {
                    try_join_all(appends).await.expect("appended");
                    let mut left = count as usize;
                    while left > 0 {
                        let entries = log.read(partition, stored, 256).await.expect("entries");
                        left -= entries.len();
                        stored = entries[entries.len() - 1].message.message_id;
                    }
                    log.trim(partition, stored).await.expect("trimmed");
                });
            });
        });
    }
}

fn node_inbox(c: &mut Criterion, runtime: &Runtime, backend: Backend, inbox: &dyn NodeInbox) {
    runtime.block_on(inbox.open(&node())).expect("open");
    let mut after = InboxPosition::default();
    let mut group = group(c, "node_inbox", backend);
    for count in [1, TOGETHER] {
        let deliveries: Vec<_> = (1..=count)
            .map(|id| Delivery::Message {
                message: message(MessageId::new(id)),
                accepted_at: SystemClock.now(),
                trace: Trace::default(),
            })
            .collect();
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("send, receive", count), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    inbox.send(&node(), deliveries.clone()).await.expect("sent");
                    let mut left = count as usize;
                    while left > 0 {
                        // The read confirms the entries received before.
                        let entries = inbox.receive(&node(), after, 256).await.expect("entries");
                        left -= entries.len();
                        after = entries[entries.len() - 1].position;
                    }
                });
            });
        });
    }
}

fn presence(c: &mut Criterion, runtime: &Runtime, backend: Backend, presence: &dyn Presence) {
    let users: Vec<_> = (0..ASKED).map(UserId::new).collect();
    runtime.block_on(async {
        presence.begin(&node(), LEASE).await.expect("begun");
        for user in users.iter().step_by(2) {
            presence.join(&node(), *user).await.expect("joined");
        }
    });
    let mut group = group(c, "presence", backend);
    group.throughput(Throughput::Elements(1));
    group.bench_function("join, leave", |b| {
        let user = UserId::new(ASKED);
        b.iter(|| {
            runtime.block_on(async {
                presence.join(&node(), user).await.expect("joined");
                presence.leave(&node(), user).await.expect("left");
            });
        });
    });
    group.throughput(Throughput::Elements(ASKED));
    group.bench_function(BenchmarkId::new("locate", ASKED), |b| {
        b.iter(|| runtime.block_on(presence.locate(&users)).expect("a result"));
    });
}

fn interest(c: &mut Criterion, runtime: &Runtime, backend: Backend, interest: &dyn Interest) {
    let channels: Vec<_> = (0..ASKED).map(ChannelId::new).collect();
    runtime.block_on(async {
        interest.begin(&node(), LEASE).await.expect("begun");
        interest.join(&node(), &channels[..channels.len() / 2]).await.expect("joined");
    });
    let mut group = group(c, "interest", backend);
    group.throughput(Throughput::Elements(1));
    group.bench_function("join, leave", |b| {
        let channel = [ChannelId::new(ASKED)];
        b.iter(|| {
            runtime.block_on(async {
                interest.join(&node(), &channel).await.expect("joined");
                interest.leave(&node(), &channel).await.expect("left");
            });
        });
    });
    group.throughput(Throughput::Elements(ASKED));
    group.bench_function(BenchmarkId::new("nodes of channels", ASKED), |b| {
        b.iter(|| runtime.block_on(interest.nodes(&channels)).expect("a result"));
    });
}

fn node_registry(
    c: &mut Criterion,
    runtime: &Runtime,
    backend: Backend,
    registry: &dyn NodeRegistry,
) {
    let info = NodeInfo {
        node: node(),
        url: "http://127.0.0.1:8080".into(),
        peer_url: String::new(),
        websocket_url: "ws://127.0.0.1:8080".into(),
        region: String::new(),
        location: None,
        capacity: 10_000,
        load: 0,
        draining: false,
    };
    let mut group = group(c, "node_registry", backend);
    group.throughput(Throughput::Elements(1));
    group.bench_function("heartbeat", |b| {
        b.iter(|| runtime.block_on(registry.heartbeat(info.clone(), LEASE)).expect("alive"));
    });
    let partition = Partition::of(GROUP, PARTITIONS);
    group.bench_function("lease: acquire, renew, release", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let lease = registry.acquire(&node(), partition, LEASE).await.expect("a result");
                let lease = lease.expect("is free");
                assert!(registry.renew(&lease, LEASE).await.expect("a result"));
                registry.release(&lease).await.expect("a result");
            });
        });
    });
}

fn push_notifier(c: &mut Criterion, runtime: &Runtime, backend: Backend, push: &dyn PushNotifier) {
    let mut group = group(c, "push_notifier", backend);
    for count in [1, TOGETHER] {
        let notifications: Vec<_> = (1..=count)
            .map(|id| Notification {
                user_id: UserId::new(id),
                message: message(MessageId::new(id)),
                queued_at: SystemClock.now(),
            })
            .collect();
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("enqueue, take, confirm", count), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    push.enqueue(notifications.clone()).await.expect("queued");
                    let queued = push.pending(PushPosition::default(), 256).await.expect("queued");
                    let positions: Vec<_> = queued.iter().map(|queued| queued.position).collect();
                    assert_eq!(positions.len() as u64, count);
                    push.confirm(&positions).await.expect("confirmed");
                });
            });
        });
    }
}

/// Appends of named sends of 128 bytes: one at a time, and in batches as of an owner under load.
fn history_store(
    c: &mut Criterion,
    runtime: &Runtime,
    backend: Backend,
    history: &dyn HistoryStore,
) {
    let partition = Partition::of(GROUP, PARTITIONS);
    let mut id = MessageId::first_at(SystemClock.now(), partition);
    let mut group = group(c, "history_store", backend);
    for count in [1usize, 32, 256] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("append", count), |b| {
            b.iter(|| {
                let messages = (0..count).map(|_| {
                    id = id.successor();
                    message(id)
                });
                runtime.block_on(history.append(partition, messages.collect())).expect("stored")
            });
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("last 50 of a channel", |b| {
        b.iter(|| {
            runtime.block_on(history.page(GROUP, PageFrom::Newest, 50.into())).expect("a page")
        });
    });
}

fn directory(c: &mut Criterion, runtime: &Runtime, backend: Backend, directory: &dyn Directory) {
    let mut number = 0;
    let mut group = group(c, "directory", backend);
    group.throughput(Throughput::Elements(CALLERS));
    group.bench_function(BenchmarkId::new("sign-up", CALLERS), |b| {
        b.iter(|| {
            number += CALLERS;
            let calls = (number..number + CALLERS).map(|number| sign_up(directory, number));
            runtime.block_on(join_all(calls));
        });
    });
    // A filter may have skipped the sign-ups.
    number += CALLERS;
    runtime.block_on(sign_up(directory, number));
    let token = TokenHash::of(&number.to_string());
    group.bench_function(BenchmarkId::new("user of a token", CALLERS), |b| {
        b.iter(|| {
            let calls = (0..CALLERS).map(|_| directory.access(token));
            let found = runtime.block_on(try_join_all(calls)).expect("a result");
            assert!(found.iter().all(Option::is_some));
        });
    });
}

async fn sign_up(directory: &dyn Directory, number: u64) {
    let user_id = UserId::new(number);
    let user = User {
        user_id,
        username: format!("user-{number}"),
        display_name: "A user".into(),
        status_text: String::new(),
        avatar_url: String::new(),
        created_at: Timestamp::from_millis(1_800_000_000_000),
    };
    let access = Access {
        token: TokenHash::of(&number.to_string()),
        device: Device { device_id: DeviceId::new(number), user_id, name: String::new() },
        expires_at: Timestamp::from_millis(1_900_000_000_000),
    };
    directory.sign_up(user, "hash".into(), access).await.expect("a sign-up");
}

fn embedded(c: &mut Criterion, runtime: &Runtime, folder: &std::path::Path) {
    let backend = Backend::Embedded;
    let log = MemoryMessageLog::new(Arc::new(SystemClock), 8_192);
    message_log(c, runtime, backend, &log);
    node_inbox(c, runtime, backend, &MemoryNodeInbox::new(65_536));
    presence(c, runtime, backend, &MemoryPresence::new());
    interest(c, runtime, backend, &MemoryInterest::new());
    node_registry(c, runtime, backend, &MemoryNodeRegistry::new());
    let config = EmbeddedConfig { partitions: PARTITIONS, ..EmbeddedConfig::default() };
    let store = EmbeddedStore::open(&folder.join("store"), &config).expect("a store");
    push_notifier(c, runtime, backend, &*store.push);
    history_store(c, runtime, backend, &*store.history);
    let sqlite = SqliteDirectory::open(folder.join("directory.sqlite"));
    directory(c, runtime, backend, &runtime.block_on(sqlite).expect("a directory"));
}

fn redis(c: &mut Criterion, runtime: &Runtime) -> Result<(), Missing> {
    let server = runtime.block_on(Redis::start())?;
    let url = server.url().parse().expect("an address");
    let config = RedisConfig::default();
    let store = runtime.block_on(RedisStore::connect(&url, &config)).expect("connects");
    let backend = Backend::Cluster;
    message_log(c, runtime, backend, &store.message_log(Arc::new(SystemClock), 8_192));
    node_inbox(c, runtime, backend, &store.node_inbox(65_536));
    presence(c, runtime, backend, &store.presence());
    interest(c, runtime, backend, &store.interest());
    node_registry(c, runtime, backend, &store.node_registry());
    push_notifier(c, runtime, backend, &store.push_notifier(100_000));
    Ok(())
}

fn cassandra(c: &mut Criterion, runtime: &Runtime) -> Result<(), Missing> {
    let server = runtime.block_on(Cassandra::start())?;
    let url = server.keyspace();
    let history = runtime.block_on(async {
        CassandraHistoryStore::migrate(&url).await.expect("tables");
        CassandraHistoryStore::connect(&url).await.expect("a store")
    });
    history_store(c, runtime, Backend::Cluster, &history);
    Ok(())
}

fn postgres(c: &mut Criterion, runtime: &Runtime) -> Result<(), Missing> {
    let server = runtime.block_on(Postgres::start())?;
    let postgres = runtime.block_on(async {
        let url = server.database().await;
        PostgresDirectory::migrate(&url).await.expect("tables");
        PostgresDirectory::connect(&url, CALLERS as u32).await.expect("a directory")
    });
    directory(c, runtime, Backend::Cluster, &postgres);
    Ok(())
}

fn main() {
    let mut criterion = pabal_benches::criterion_of!(Criterion)
        .output_directory(table::folder())
        .configure_from_args();
    let began = SystemClock.now();
    let runtime = Runtime::new().expect("a runtime");
    // The writer of the store is a task of this runtime.
    let _in_runtime = runtime.enter();
    let folder = tempfile::tempdir().expect("a folder");
    embedded(&mut criterion, &runtime, folder.path());
    for on_server in [redis, cassandra, postgres] {
        if let Err(missing) = on_server(&mut criterion, &runtime) {
            missing.leave_out();
        }
    }
    criterion.final_summary();
    let disk = disk::bare_sync(folder.path(), 128, Duration::from_secs(1)).expect("a disk");
    table::print(began, &disk);
}
