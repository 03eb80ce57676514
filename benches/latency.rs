//! What measuring costs: one record, the clock, and a snapshot on request.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use fanfare::latency::{Clock, Latency, Pace, Recorder, Snapshot, Transport, Way};
use fanfare::words::accepted::Accepted;

const WAY: Way = Way { transport: Transport::WebSocket, pace: Pace::Live };

fn measuring(criterion: &mut Criterion) {
    let (latency, recorder, clock) = (Latency::default(), Recorder::default(), Clock::default());
    let mut group = criterion.benchmark_group("latency");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group.bench_function("a record in the same bucket", |bencher| {
        let accepted = Accepted::new(1, 0);
        bencher.iter(|| recorder.deliver(WAY, black_box(accepted), black_box(100_000), 1));
    });
    group.bench_function("a record anywhere", |bencher| {
        let (accepted, mut value_ns) = (Accepted::new(1, 0), 1_u64);
        bencher.iter(|| {
            // From a microsecond to a second, in no order.
            value_ns = value_ns.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            recorder.deliver(WAY, accepted, 1_000 + (value_ns >> 34), 1);
        });
    });
    group.bench_function("a reading of the clock", |bencher| bencher.iter(|| clock.read_ns()));
    group.bench_function("a snapshot of a loop, one namespace", |bencher| {
        bencher.iter(|| Snapshot::take(&latency, std::iter::once(&recorder)));
    });
    group.finish();
}

criterion_group!(benches, measuring);
criterion_main!(benches);
