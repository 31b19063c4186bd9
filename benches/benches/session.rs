//! Sessions and their mailboxes through the public API: reading, confirming, attaching a reader, and
//! opening.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pabal_benches::node::{GROUP, Node, memory};
use pabal_core::engine::Session;
use pabal_core::model::Seq;
use tokio::runtime::Runtime;

/// A session that holds `count` messages.
async fn holding(node: &Node, count: u64) -> Arc<Session> {
    let session = node.session(0).await.expect("a session");
    for _ in 0..count {
        node.send(0, GROUP, &"x".repeat(128)).await.expect("sent");
    }
    let held = || session.read(None, usize::MAX, |view| view.len() as u64);
    while held().expect("the session lives") < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    session
}

fn sessions(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let node = runtime.block_on(Node::start(memory(), 1)).expect("a node");
    let mut group = c.benchmark_group("session");
    for count in [1u64, 32, 1000] {
        let session = runtime.block_on(holding(&node, count));
        group.throughput(Throughput::Elements(count));
        group.bench_with_input(BenchmarkId::new("read", count), &session, |b, session| {
            let mut out = Vec::new();
            b.iter(|| {
                out.clear();
                let read = session.read(None, usize::MAX, |view| view.batch().write(&mut out));
                black_box(read.is_ok())
            });
        });
        runtime.block_on(node.engine.close_session(&session));
    }
    group.throughput(Throughput::Elements(1));
    let session = runtime.block_on(holding(&node, 1));
    group.bench_function("confirm late", |b| b.iter(|| session.confirm(black_box(Seq::new(0)))));
    group.bench_function("attach, see news, leave", |b| {
        b.to_async(&runtime).iter(|| async { session.attach().wait(Seq::new(0)).await });
    });
    runtime.block_on(node.engine.close_session(&session));
    group.bench_function("open and close", |b| {
        b.to_async(&runtime).iter(|| async {
            let session = node.session(0).await.expect("a session");
            node.engine.close_session(&session).await;
        });
    });
    group.finish();
    runtime.block_on(node.engine.shutdown());
}

criterion_group! {
    name = benches;
    config = pabal_benches::criterion_of!(Criterion);
    targets = sessions
}
criterion_main!(benches);
