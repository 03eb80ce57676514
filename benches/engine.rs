//! The engine inside one process: what a publisher pays, and what it costs until every subscriber has its event.
//!
//! `publish` is the publisher's side alone, beside readers that stand still; it must not depend on them. `deliver` is an
//! event published and then read by everybody, one event or 64 at a time; the time is that of one event.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare::engine::{Client, Draft, Engine, Metadata, Tap};
use serde_json::json;

/// An event of about 190 bytes of JSON.
fn event() -> Draft {
    Draft::new("repo:alice/demo", "push")
        .data(&json!({"ref": "refs/heads/main", "before": "0000000", "after": "1111111", "commit_count": 1}))
}

fn engine() -> Engine {
    Engine::builder().taps_max(100_000).clients_max(100_000).start().expect("the bounds hold")
}

fn taps(engine: &Engine, count: usize, channel: &str) -> Vec<Tap> {
    (0..count).map(|_| engine.tap().channels([channel]).open().expect("there is room")).collect()
}

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    group.throughput(Throughput::Elements(1));
    for (name, count, channel) in [
        ("0 taps", 0, ""),
        ("1 tap, matching", 1, "repo:alice/demo"),
        ("1000 taps, matching", 1000, "repo:alice/demo"),
        ("1000 taps, not matching", 1000, "repo:alice/other"),
    ] {
        let engine = engine();
        let _taps = taps(&engine, count, channel);
        group.bench_function(name, |bencher| {
            bencher.iter(|| engine.publish(black_box(event())).expect("there is room"));
        });
    }
    let engine = engine();
    group.throughput(Throughput::Elements(64));
    group.bench_function("64 in a batch", |bencher| {
        bencher.iter(|| engine.publish_batch((0..64).map(|_| event())).expect("there is room"));
    });
}

/// So many clients, each with so many subscriptions; of the first `matching` the last one is the channel of the events.
fn clients(engine: &Engine, count: usize, matching: usize, subscriptions: usize) -> Vec<Client> {
    let client = |number: usize| {
        let client = engine.connect(Metadata::default()).expect("there is room");
        for other in 1..subscriptions {
            client.subscribe(&format!("repo:bob/{number}-{other}")).expect("there is room");
        }
        let last = if number < matching { "repo:alice/demo" } else { "repo:alice/other" };
        client.subscribe(last).expect("there is room");
        client
    };
    (0..count).map(client).collect()
}

fn deliver(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deliver");
    group.sample_size(10);
    for (count, matching, subscriptions) in
        [(1000, 500, 1), (1000, 0, 1), (1000, 0, 100), (1000, 1000, 1), (10_000, 5000, 1), (10_000, 0, 1)]
    {
        for batch in [1, 64] {
            let engine = engine();
            let clients = clients(&engine, count, matching, subscriptions);
            let name = format!("{count} clients, {matching} matching, {subscriptions} subscriptions");
            group.throughput(Throughput::Elements(batch));
            group.bench_function(BenchmarkId::new(name, batch), |bencher| {
                bencher.iter(|| {
                    for _ in 0..batch {
                        engine.publish(event()).expect("there is room");
                    }
                    let mut given = 0;
                    for client in &clients {
                        while let Some(item) = client.try_recv() {
                            black_box(item);
                            given += 1;
                        }
                    }
                    assert_eq!(given, matching as u64 * batch);
                });
            });
        }
    }
}

criterion_group!(benches, publish, deliver);
criterion_main!(benches);
