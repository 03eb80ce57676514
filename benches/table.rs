//! A loop with many subscriptions: what an event and a subscription cost it. Links take everything and do nothing with
//! it, so all times are without the send.

mod crowd;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crowd::{Rig, channel, command, event, quiet_channel, rig};
use fanfare::table::Table;
use fanfare::words::channel::Pattern;

/// The channels of the first bench, each with one subscriber.
const CHANNELS: usize = 100_000;

/// Numbers that jump about, so that caches help no more than they would with many users.
struct Jumps(usize);

impl Jumps {
    fn next(&mut self, below: usize) -> usize {
        // A step that shares no factor with any of the counts here.
        self.0 = self.0.wrapping_add(7_368_787);
        self.0 % below
    }
}

/// The loop's time for so many rounds of `batch` events, each on a channel that `next` names.
fn loop_time(rig: &mut Rig, rounds: u64, batch: usize, mut next: impl FnMut() -> String) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..rounds {
        rig.publish((0..batch).map(|_| event(&next())));
        let begin = Instant::now();
        rig.turn();
        spent += begin.elapsed();
    }
    spent
}

fn one_subscriber(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("an event on one of 100,000 channels, one subscriber each");
    for clients in [1000, CHANNELS] {
        let mut rig = rig();
        let _peers = crowd::crowd(&mut rig, clients, CHANNELS / clients, channel);
        let mut jumps = Jumps(0);
        rig.send_blindly();
        // Each channel has had an event before, as in a server that has run for a while.
        for first in (0..CHANNELS).step_by(250) {
            rig.publish((first..first + 250).map(|number| event(&channel(number))));
            rig.turn();
        }
        for batch in [1, 256] {
            group.throughput(Throughput::Elements(batch));
            group.bench_function(BenchmarkId::new(format!("{clients} clients"), batch), |bencher| {
                bencher.iter_custom(|rounds| {
                    let before = rig.delivered();
                    let spent = loop_time(&mut rig, rounds, batch as usize, || channel(jumps.next(CHANNELS)));
                    assert_eq!(rig.delivered() - before, rounds * batch, "each event reaches its subscriber");
                    spent
                });
            });
        }
    }
}

fn nobody_matches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("an event that nobody wants, 256 a turn");
    group.throughput(Throughput::Elements(256));
    for (clients, each) in [(0, 0), (10_000, 0), (10_000, 100)] {
        let mut rig = rig();
        let _peers = crowd::crowd(&mut rig, clients, each, quiet_channel);
        let mut jumps = Jumps(0);
        group.bench_function(BenchmarkId::from_parameter(format!("{clients} x {each}")), |bencher| {
            bencher.iter_custom(|rounds| loop_time(&mut rig, rounds, 256, || channel(jumps.next(1000))));
        });
        assert_eq!(rig.delivered(), 0);
    }
}

/// A table of `size` exact patterns, a hundred to a connection.
fn table_of(size: usize) -> Table {
    let mut table = Table::default();
    for number in 0..size {
        table.subscribe(
            &Pattern::parse(&quiet_channel(number)).expect("a valid pattern"),
            number as u32 / 100,
        );
    }
    table
}

fn one_more(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one more subscription");
    for size in [100, 10_000, 1_000_000] {
        let mut table = table_of(size);
        let mut shown = table.clone();
        let pattern = Pattern::parse(&channel(42)).expect("a valid pattern");
        group.bench_function(
            BenchmarkId::new("subscribe, snapshot, unsubscribe, snapshot", size),
            |bencher| {
                bencher.iter(|| {
                    assert!(table.subscribe(black_box(&pattern), 7));
                    shown = table.clone();
                    assert!(table.unsubscribe(black_box(&pattern), 7));
                    shown = table.clone();
                });
            },
        );
        let route = channel(43);
        let mut into = Vec::new();
        group.bench_function(BenchmarkId::new("a look-up that finds nobody", size), |bencher| {
            bencher.iter(|| table.collect(black_box(&route), &mut into));
        });
    }
    drop(group);
    in_a_loop(criterion);
}

/// The same as commands of a client, answered, in two turns of a loop that has a million already.
fn in_a_loop(criterion: &mut Criterion) {
    let mut rig = rig();
    let _peers = crowd::crowd(&mut rig, 10_000, 100, quiet_channel);
    let peer = crowd::web_socket(&mut rig, "");
    rig.settle();
    peer.listen();
    let [subscribe, unsubscribe] = ["subscribe", "unsubscribe"].map(|verb| command(verb, [channel(42)]));
    let come_and_go = |rig: &mut Rig| {
        for said in [&subscribe, &unsubscribe] {
            rig.say(&peer, said);
            rig.turn();
        }
    };
    come_and_go(&mut rig);
    let heard = peer.heard();
    let answers = String::from_utf8_lossy(&heard);
    assert!(answers.contains("\"subscribed\"") && answers.contains("\"unsubscribed\""), "{answers}");
    peer.ignore();
    criterion.bench_function("one more in a loop with 1,000,000: two commands, two turns", |bencher| {
        bencher.iter(|| come_and_go(&mut rig));
    });
    assert_eq!(rig.hub.counters.subscriptions(), 1_000_000);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2));
    targets = one_subscriber, nobody_matches, one_more
}
criterion_main!(benches);
