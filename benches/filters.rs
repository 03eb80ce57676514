//! A thousand subscribers of one channel: what an event costs their loop through filters and in other words than the
//! log's. Links take everything and do nothing with it, so all times are without the send.

mod crowd;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crowd::{Peer, Rig, rig, web_socket};
use fanfare::sequencer::{EventParts, Publication, WordList};
use fanfare::words::channel::Channel;

const SUBSCRIBERS: usize = 1000;

/// An event of the channel of all, about one entity and with one tag.
fn event() -> Publication {
    let channel = Channel::parse("memory:default").expect("a valid name");
    let data = br#"{"preview":"remember the milk, and the honey","importance":0.5,"session":"01h2xcejqtf2"}"#;
    let (ids, tags) = (WordList { json: b"[42]".to_vec(), words: vec!["42".into()] }, list("home"));
    let parts = EventParts { ids: &ids, tags: &tags, ..EventParts::new(&channel, "memory_created", data) };
    Publication::new(&parts).expect("it names no workspace")
}

fn list(word: &str) -> WordList {
    WordList::of_strings(vec![word.to_owned()])
}

/// The time of a loop whose clients came with these queries, for so many events a turn; `wanted` of the clients get each.
fn check(
    criterion: &mut Criterion,
    name: &str,
    per_turn: usize,
    wanted: usize,
    query: impl Fn(usize) -> String,
) {
    let mut rig = rig();
    let peers: Vec<Peer> =
        (0..SUBSCRIBERS).map(|number| web_socket(&mut rig, &query(number))).inspect(Peer::listen).collect();
    rig.settle();
    assert!(peers.iter().all(|peer| peer.heard().starts_with(b"HTTP/1.1 101 ")));
    rig.send_blindly();
    let mut group = criterion.benchmark_group("1,000 subscribers");
    group.throughput(Throughput::Elements(per_turn as u64));
    group.bench_function(format!("{name}, {per_turn} a turn"), |bencher| {
        bencher.iter_custom(|rounds| {
            let before = rig.delivered();
            let spent = rounds_of(&mut rig, rounds, per_turn);
            assert_eq!(rig.delivered() - before, rounds * (per_turn * wanted) as u64);
            spent
        });
    });
}

fn rounds_of(rig: &mut Rig, rounds: u64, per_turn: usize) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..rounds {
        rig.publish((0..per_turn).map(|_| event()));
        let begin = Instant::now();
        rig.turn();
        spent += begin.elapsed();
    }
    spent
}

const CHANNEL: &str = "?channel=memory:default";

fn filters(criterion: &mut Criterion) {
    for per_turn in [1, 64] {
        check(criterion, "no filter", per_turn, SUBSCRIBERS, |_| CHANNEL.into());
        check(criterion, "one filter that lets all through", per_turn, SUBSCRIBERS, |_| {
            format!("{CHANNEL}&event_types=memory_created&tags=home")
        });
        check(criterion, "one filter that lets nothing through", per_turn, 0, |_| {
            format!("{CHANNEL}&event_types=memory_created&tags=work")
        });
        check(criterion, "1,000 filters that let all through", per_turn, SUBSCRIBERS, |number| {
            format!("{CHANNEL}&ids=42,{}", 1000 + number)
        });
        check(criterion, "1,000 filters that let nothing through", per_turn, 0, |number| {
            format!("{CHANNEL}&ids={}", 1000 + number)
        });
    }
}

fn dialects(criterion: &mut Criterion) {
    for per_turn in [1, 64] {
        check(criterion, "dialect engram", per_turn, SUBSCRIBERS, |_| "?dialect=engram".into());
        check(criterion, "CloudEvents", per_turn, SUBSCRIBERS, |_| format!("{CHANNEL}&dialect=cloudevents"));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2));
    targets = filters, dialects
}
criterion_main!(benches);
