//! JSON: the cost of serialising an event, assembling a batch and parsing a command.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pabal_benches::group_message;
use pabal_core::model::Seq;
use pabal_core::protocol::{Batch, event, parse_client_frame, parse_commands};

fn events(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec/event");
    for bytes in [128, 4096] {
        let message = group_message(1, &"x".repeat(bytes));
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_with_input(BenchmarkId::new("message", bytes), &message, |b, message| {
            b.iter(|| event::message(black_box(message)));
        });
    }
    group.finish();
}

fn batches(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec/batch");
    for count in [1, 32] {
        let message = group_message(1, &"x".repeat(128));
        let events: Vec<Bytes> = (0..count).map(|_| event::message(&message)).collect();
        group.throughput(Throughput::Elements(count));
        group.bench_with_input(BenchmarkId::new("write", count), &events, |b, events| {
            let mut out = Vec::new();
            b.iter(|| {
                out.clear();
                let batch = Batch::new(black_box(events).iter(), Seq::new(12_345));
                out.reserve(batch.len());
                batch.write(&mut out);
                out.len()
            });
        });
    }
    group.finish();
}

fn commands(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec/command");
    let content = "x".repeat(128);
    let send = format!(
        r#"{{"id":"c1","type":"send","channel_id":"359021374210048","client_message_id":"m1","content":"{content}"}}"#
    );
    group.bench_function("send", |b| {
        b.iter(|| parse_client_frame(black_box(&send)));
    });
    group.bench_function("ack", |b| {
        b.iter(|| parse_client_frame(black_box(r#"{"ack":"12345"}"#)));
    });
    let body = format!(r#"{{"commands":[{}]}}"#, vec![send.as_str(); 16].join(","));
    group.throughput(Throughput::Elements(16));
    group.bench_function("16 sends", |b| b.iter(|| parse_commands(black_box(body.as_bytes()))));
    group.finish();
}

criterion_group! {
    name = benches;
    config = pabal_benches::criterion_of!(Criterion);
    targets = events, batches, commands
}
criterion_main!(benches);
