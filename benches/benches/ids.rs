//! Ids: assigning, reading and writing them, and which partition a channel is in.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use pabal_core::model::{ChannelId, MessageId, Partition, SessionId, Timestamp, TokenHash};

fn ids(c: &mut Criterion) {
    let mut group = c.benchmark_group("ids");
    let now = Timestamp::from_millis(1_790_000_000_000);
    let partition = Partition::of(ChannelId::new(7), 64);
    let id = MessageId::first_at(now, partition);
    group.bench_function("first of a millisecond", |b| {
        b.iter(|| MessageId::first_at(black_box(now), partition));
    });
    group.bench_function("successor", |b| b.iter(|| black_box(id).successor()));
    group.bench_function("above in", |b| b.iter(|| black_box(id).above_in(partition)));
    group.bench_function("partition of a channel", |b| {
        b.iter(|| Partition::of(black_box(ChannelId::new(359_021_374_210_048)), 64));
    });
    group.bench_function("write", |b| b.iter(|| black_box(id).to_string()));
    let text = id.to_string();
    group.bench_function("parse", |b| b.iter(|| black_box(text.as_str()).parse::<MessageId>()));
    let session = "00c0ffee00c0ffee.n1";
    group.bench_function("parse a session id", |b| {
        b.iter(|| black_box(session).parse::<SessionId>());
    });
    group.bench_function("hash a token", |b| {
        b.iter(|| TokenHash::of(black_box("dGhlIHNhbXBsZSBub25jZSBvZiB0aGUgcmZjIDY0NTU")));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = pabal_benches::criterion_of!(Criterion);
    targets = ids
}
criterion_main!(benches);
