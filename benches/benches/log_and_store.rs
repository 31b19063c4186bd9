//! Between accept and acknowledge: the log of a partition, and history in memory and on disk.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pabal_benches::group_message;
use pabal_benches::node::{GROUP, PARTITIONS, memory, on_disk};
use pabal_core::memory::{MemoryMessageLog, SystemClock};
use pabal_core::model::{Draft, MessageId, Partition, UserId};
use pabal_core::ports::{Clock, HistoryStore, MessageLog, Origin, PageFrom, Sequenced, Trace};
use tokio::runtime::Runtime;

fn log(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let log = MemoryMessageLog::new(Arc::new(SystemClock), 8_192);
    let partition = Partition::of(GROUP, PARTITIONS);
    let origin = || Origin {
        node: "n1".parse().expect("a name"),
        accepted_at: SystemClock.now(),
        trace: Trace::default(),
    };
    let draft = Draft {
        channel_id: GROUP,
        message_from: UserId::new(1),
        message_to: None,
        content: "x".repeat(128).into(),
        client_message_id: None,
    };
    let mut group = c.benchmark_group("log/memory");
    for count in [1u64, 32] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("append, read, trim", count), |b| {
            b.to_async(&runtime).iter(|| async {
                let (mut last, floor) = (MessageId::new(0), MessageId::new(0));
                for _ in 0..count {
                    let appended = log.append(partition, floor, draft.clone(), origin()).await;
                    if let Ok(Sequenced::New(id) | Sequenced::Repeat(id)) = appended {
                        last = id;
                    }
                }
                let read = log.read(partition, floor, count as usize).await;
                log.trim(partition, last).await.expect("trimmed");
                read.map(|entries| entries.len())
            });
        });
    }
    group.finish();
}

fn store(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = Runtime::new().expect("a runtime");
    // A task of this runtime completes the writes of the store.
    let within = runtime.enter();
    let disk = on_disk(folder.path()).expect("a store");
    drop(within);
    for (name, history) in [("memory", memory()), ("fjall", disk)] {
        one_store(c, name, &history, &runtime);
    }
}

fn one_store(c: &mut Criterion, name: &str, history: &Arc<dyn HistoryStore>, runtime: &Runtime) {
    let partition = Partition::of(GROUP, PARTITIONS);
    let mut id = MessageId::first_at(SystemClock.now(), partition);
    let mut group = c.benchmark_group(format!("store/{name}"));
    for count in [1usize, 32, 256] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("append", count), |b| {
            b.iter(|| {
                let messages = (0..count).map(|_| {
                    id = id.successor();
                    group_message(id.get(), CONTENT)
                });
                runtime.block_on(history.append(partition, messages.collect())).expect("stored")
            });
        });
    }
    group.throughput(Throughput::Elements(50));
    group.bench_function("last 50 of a channel", |b| {
        b.iter(|| runtime.block_on(history.page(GROUP, PageFrom::Newest, 50.into())));
    });
    group.finish();
}

const CONTENT: &str = "The courier rides by day and by night, on horse or on foot, and the letter \
                       arrives. It has two hundred bytes, as the messages of the measured history \
                       have, or very nearly that many, give or take";

criterion_group! {
    name = benches;
    config = pabal_benches::criterion_of!(Criterion);
    targets = log, store
}
criterion_main!(benches);
