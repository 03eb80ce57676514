//! The log alone, on one thread: what an event costs to write, to read again, and to find by its channel.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare::log::{ChannelId, Encoded, Form, Held, Log, Retention, Writer};
use fanfare::words::channel::{Channel, Route};

/// The visible window, in events: the server's default.
const RETAINED: u64 = 65_536;

const RETENTION: Retention =
    Retention { events: RETAINED as usize, bytes: 256 << 20, age: None, channels_max: 1024 };

fn routes(writer: &mut Writer) -> Vec<ChannelId> {
    let name =
        |number| Route::from(&Channel::parse(&format!("repo:owner/name{number}")).expect("a valid name"));
    (0..100).map(|number| writer.intern(&name(number)).expect("there is room")).collect()
}

/// Appends an event of 188 bytes of JSON, a frame of 192, in the pieces that the sequencer hands over.
fn append(writer: &mut Writer, route: ChannelId) {
    let middle = [b'm'; 140];
    let json: &[&[u8]] = &[b"{\"type\":\"event\",\"seq\":", b"12345678", &middle, b"1795316060123", b",...}"];
    let sse_head: &[&[u8]] = &[b"id: ", b"aaaaaaaa", b"-", b"12345678", b"\nevent: ", b"push", b"\ndata: "];
    writer.append(
        route,
        black_box(&Encoded {
            json,
            sse_head,
            labels: &[b'l'; 24],
            timestamp_ms: 1_795_316_060_123,
            accepted: Default::default(),
        }),
    );
}

fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append and publish");
    for (batch, blocks) in [(1, false), (64, false), (64, true)] {
        let (log, mut writer) = Log::new(RETENTION);
        if blocks {
            log.open_blocks();
        }
        let routes = routes(&mut writer);
        // Twice round, so that segments and chunks are reused as they are after a while.
        for turn in 0..4 * RETAINED {
            append(&mut writer, routes[turn as usize % routes.len()]);
            if turn % 64 == 0 {
                writer.publish();
            }
        }
        group.throughput(Throughput::Elements(batch));
        group.bench_function(
            BenchmarkId::new(if blocks { "whole blocks, batch" } else { "batch" }, batch),
            |bencher| {
                bencher.iter(|| {
                    for place in 0..batch {
                        append(&mut writer, routes[place as usize]);
                    }
                    writer.publish()
                });
            },
        );
    }
}

/// A full window, in which every 6,553rd event is of the channel returned.
fn full() -> (std::sync::Arc<Log>, Writer, ChannelId) {
    let (log, mut writer) = Log::new(RETENTION);
    log.open_blocks();
    let routes = routes(&mut writer);
    for turn in 0..RETAINED {
        let is_sparse = turn % (RETAINED / 10) == 0 && turn < RETAINED / 10 * 10;
        append(&mut writer, if is_sparse { routes[0] } else { routes[1 + turn as usize % 99] });
        if turn % 64 == 63 {
            writer.publish();
        }
    }
    (log, writer, routes[0])
}

fn replay(criterion: &mut Criterion) {
    let (log, _writer, _) = full();
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Elements(RETAINED));
    for form in [Form::WebSocket, Form::Sse] {
        group.bench_function(BenchmarkId::from_parameter(format!("{form:?}")), |bencher| {
            bencher.iter(|| {
                let (mut cursor, mut bytes) = (log.oldest(), 0);
                let mut pass = log.pass();
                while cursor < pass.published() {
                    match pass.frame(cursor, form) {
                        Held::Here(frame) => bytes += frame.bytes(),
                        Held::PassFull => {
                            pass = log.pass();
                            continue;
                        }
                        Held::Lapped => unreachable!("nobody writes"),
                    }
                    cursor += 1;
                }
                assert!(192 * RETAINED as usize <= bytes);
                bytes
            });
        });
    }
}

fn resume(criterion: &mut Criterion) {
    let (log, _writer, sparse) = full();
    criterion.bench_function("resume of 10 events among 65,536", |bencher| {
        bencher.iter(|| {
            let (mut at, mut found) = (Some(log.head_of(black_box(sparse))), 0);
            while let Some((seq, slot)) = at.and_then(|seq| Some((seq, log.slot(seq)?))) {
                found += 1;
                at = slot.previous(seq);
            }
            assert_eq!(found, 10);
        });
    });
}

criterion_group!(benches, write, replay, resume);
criterion_main!(benches);
