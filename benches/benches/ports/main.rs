//! History and directory: the embedded backends beside the servers of a cluster, in one run on one
//! machine. Servers that are not installed are left out, in words.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pabal_benches::node::{GROUP, PARTITIONS, on_disk};
use pabal_core::memory::SystemClock;
use pabal_core::model::{
    Device, DeviceId, Message, MessageId, Partition, Timestamp, TokenHash, User, UserId,
};
use pabal_core::ports::{Access, Clock, Directory, HistoryStore, PageFrom};
use pabal_servers::{Cassandra, Postgres};
use pabal_storage::directory::{PostgresDirectory, SqliteDirectory};
use pabal_storage::history::CassandraHistoryStore;
use tokio::runtime::Runtime;

/// How many callers a directory has at once.
const CALLERS: u64 = 16;

fn history(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    // The store's writer is a task.
    let _in_runtime = runtime.enter();
    let fjall = on_disk(folder.path()).expect("a store");
    append_and_read(c, &runtime, "fjall", &fjall);
    let server = match runtime.block_on(Cassandra::start()) {
        Ok(server) => server,
        Err(missing) => return missing.leave_out(),
    };
    let url = server.keyspace();
    let cassandra: Arc<dyn HistoryStore> = runtime.block_on(async {
        CassandraHistoryStore::migrate(&url).await.expect("tables");
        Arc::new(CassandraHistoryStore::connect(&url).await.expect("a store"))
    });
    append_and_read(c, &runtime, "Cassandra", &cassandra);
}

/// Appends of named sends of 128 bytes: one at a time, and as an owner under load makes them.
fn append_and_read(
    c: &mut Criterion,
    runtime: &Runtime,
    name: &str,
    history: &Arc<dyn HistoryStore>,
) {
    let partition = Partition::of(GROUP, PARTITIONS);
    let mut id = MessageId::first_at(SystemClock.now(), partition);
    let mut group = c.benchmark_group(format!("history/{name}"));
    group.sample_size(20);
    for count in [1usize, 32, 256] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("append", count), |b| {
            b.iter(|| {
                let messages = (0..count).map(|_| {
                    id = id.successor();
                    Message {
                        message_id: id,
                        channel_id: GROUP,
                        message_from: UserId::new(1),
                        message_to: None,
                        content: "x".repeat(128).into(),
                        client_message_id: Some(id.to_string().into()),
                    }
                });
                runtime.block_on(history.append(partition, messages.collect())).expect("stored")
            });
        });
    }
    group.throughput(Throughput::Elements(50));
    group.bench_function("last 50 of a channel", |b| {
        b.iter(|| runtime.block_on(history.page(GROUP, PageFrom::Newest, 50)).expect("a page"));
    });
    group.finish();
}

fn directory(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = SqliteDirectory::open(folder.path().join("directory.sqlite"));
    let sqlite: Arc<dyn Directory> = Arc::new(runtime.block_on(sqlite).expect("a directory"));
    sign_up_and_ask(c, &runtime, "SQLite", &sqlite);
    let server = match runtime.block_on(Postgres::start()) {
        Ok(server) => server,
        Err(missing) => return missing.leave_out(),
    };
    let postgres: Arc<dyn Directory> = runtime.block_on(async {
        let url = server.database().await;
        PostgresDirectory::migrate(&url).await.expect("tables");
        Arc::new(PostgresDirectory::connect(&url, CALLERS as u32).await.expect("a directory"))
    });
    sign_up_and_ask(c, &runtime, "PostgreSQL", &postgres);
}

fn sign_up_and_ask(
    c: &mut Criterion,
    runtime: &Runtime,
    name: &str,
    directory: &Arc<dyn Directory>,
) {
    let mut number = 0;
    let mut group = c.benchmark_group(format!("directory/{name}"));
    group.sample_size(20);
    group.throughput(Throughput::Elements(CALLERS));
    group.bench_function(format!("sign-ups, {CALLERS} at once"), |b| {
        b.iter(|| {
            number += CALLERS;
            let calls = (number..number + CALLERS).map(|number| sign_up(directory, number));
            runtime.block_on(futures::future::join_all(calls));
        });
    });
    let token = TokenHash::of(&number.to_string());
    group.bench_function(format!("whose a token is, {CALLERS} at once"), |b| {
        b.iter(|| {
            let calls = (0..CALLERS).map(|_| directory.access(token));
            let found = runtime.block_on(futures::future::try_join_all(calls)).expect("answers");
            assert!(found.iter().all(Option::is_some));
        });
    });
    group.finish();
}

async fn sign_up(directory: &Arc<dyn Directory>, number: u64) {
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

criterion_group! {
    name = benches;
    config = pabal_benches::criterion_of!(Criterion);
    targets = history, directory
}
criterion_main!(benches);
