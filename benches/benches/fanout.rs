//! One message through the whole engine, in memory, to 1,000 sessions that all read it.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pabal_benches::node::{GROUP, Node, memory};
use pabal_core::engine::{Session, WakeReason};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

const SESSIONS: usize = 1000;
/// Sessions of a user.
const OF_A_USER: usize = 16;

/// The events that all readers have received.
#[derive(Default)]
struct Received {
    events: AtomicU64,
    wanted: AtomicU64,
    all: Notify,
}

impl Received {
    async fn wait_for(&self, more: u64) {
        let wanted = self.wanted.fetch_add(more, Ordering::AcqRel) + more;
        while self.events.load(Ordering::Acquire) < wanted {
            self.all.notified().await;
        }
    }

    fn add(&self, events: u64) {
        let events = self.events.fetch_add(events, Ordering::AcqRel) + events;
        if events == self.wanted.load(Ordering::Acquire) {
            self.all.notify_one();
        }
    }
}

/// Reads, writes the batch and confirms, as a streaming transport does.
async fn read(session: Arc<Session>, received: Arc<Received>) {
    let reader = session.attach();
    let (mut after, mut out) = (session.start(), Vec::new());
    while reader.wait(after).await == WakeReason::Events {
        out.clear();
        let read = session.read(Some(after), usize::MAX, |view| {
            view.batch().write(&mut out);
            (view.len() as u64, view.next())
        });
        let Ok((events, next)) = read else { return };
        after = next;
        received.add(events);
    }
}

fn fanout(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let users = SESSIONS.div_ceil(OF_A_USER);
    let node = runtime.block_on(Node::start(memory(), users)).expect("a node");
    let received = Arc::new(Received::default());
    for number in 0..SESSIONS {
        let session = runtime.block_on(node.session(number / OF_A_USER)).expect("a session");
        runtime.spawn(read(session, Arc::clone(&received)));
    }
    let content = "x".repeat(128);
    let mut group = c.benchmark_group("fanout/1000 sessions");
    for window in [1usize, 32] {
        group.throughput(Throughput::Elements((SESSIONS * window) as u64));
        group.bench_function(BenchmarkId::new("messages", window), |b| {
            b.to_async(&runtime).iter(|| async {
                let all = received.wait_for((SESSIONS * window) as u64);
                let sends = (0..window).map(|_| node.send(0, GROUP, &content));
                let (sent, ()) = tokio::join!(futures::future::try_join_all(sends), all);
                sent.expect("sent").len()
            });
        });
    }
    group.finish();
    runtime.block_on(node.engine.shutdown());
}

criterion_group! {
    name = benches;
    config = pabal_benches::criterion_of!(Criterion);
    targets = fanout
}
criterion_main!(benches);
