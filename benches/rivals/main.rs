//! The log beside what a Rust developer would otherwise take for one producer and several consumers: `tokio`'s broadcast
//! channel, the `disruptor` and `bus` crates, and a bounded `crossbeam` channel for each consumer.
//!
//! `cargo bench --bench rivals [-- repetitions]`. A pass is 65,536 events of which every consumer gets every one, from
//! the start of the producer to the end of the last consumer. Everybody keeps 65,536, so that nothing is lost or waited
//! for, whatever a rival does when it is full. Passes of all contestants alternate, which is why this is not criterion:
//! what counts are ratios, each within its repetition, and their medians.
//!
//! The log encodes each event in two forms with labels, into memory of its own. The others get what their users would
//! give them: an `Arc<[u8]>` of a ready frame, made anew for each event. All consumers wait in the same way, by looking
//! again, and look at each frame: its length and its first byte.

mod contestants;

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use contestants::all;

/// Events of a pass, and what everybody can hold.
const EVENTS: usize = 65_536;

/// Events that are published at once, where that can be done: what the sequencer takes when it is busy.
const BATCH: usize = 64;

/// Passes of each contestant, unless told otherwise.
const REPETITIONS: usize = 21;

/// Passes before them, so that everything has gone round.
const WARM_UP: usize = 3;

/// What the log must reach, as a multiple of a contestant's events a second, for frames of this size and one consumer.
const BARS: [(&str, f64); 2] = [("tokio broadcast", 10.0), ("disruptor, Arc, batches", 2.0)];
const BARS_FRAME_BYTES: usize = 192;

fn main() {
    let number = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let repetitions: usize = number.unwrap_or(REPETITIONS).max(1);
    for frame_bytes in [64, 192] {
        for consumers in [1, 2] {
            compare(frame_bytes, consumers, repetitions);
        }
    }
}

/// Lets all contestants run in turns, and prints how the log compares with each.
fn compare(frame_bytes: usize, consumers: usize, repetitions: usize) {
    let mut contestants = all(frame_bytes, consumers);
    let mut times = vec![Vec::with_capacity(repetitions); contestants.len()];
    for repetition in 0..WARM_UP + repetitions {
        for (contestant, times) in contestants.iter_mut().zip(&mut times) {
            let time = contestant.pass();
            if WARM_UP <= repetition {
                times.push(time.as_secs_f64());
            }
        }
    }
    println!(
        "\nframes of {frame_bytes} bytes, consumers: {consumers}, median of {repetitions} passes of {EVENTS}"
    );
    println!(
        "{:28} {:>12} {:>12} {:>12} {:>24}",
        "", "M events/s", "ns an event", "at best", "the log is so much faster"
    );
    for (contestant, own) in contestants.iter().zip(&times) {
        let ratios = own.iter().zip(&times[0]).map(|(own, log)| own / log);
        let (low, ratio, high) = quartiles(ratios.collect());
        let (_, time, _) = quartiles(own.clone());
        // The one that others on the machine disturbed the least.
        let best = own.iter().copied().fold(f64::INFINITY, f64::min);
        let name = contestant.name();
        let bar = BARS.iter().find(|(of, _)| *of == name).map(|(_, bar)| bar);
        let bar = bar.filter(|_| frame_bytes == BARS_FRAME_BYTES && consumers == 1);
        let verdict = match bar {
            Some(bar) if *bar <= ratio => format!("  at least {bar}: met"),
            Some(bar) => format!("  at least {bar}: NOT met"),
            None => String::new(),
        };
        let events = EVENTS as f64;
        println!(
            "{name:28} {:12.2} {:12.1} {:12.1} {ratio:10.2} ({low:.2}..{high:.2}){verdict}",
            events / time / 1e6,
            time * 1e9 / events,
            best * 1e9 / events
        );
    }
}

/// The first quartile, the median and the third.
fn quartiles(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |quarter: usize| values[(values.len() - 1) * quarter / 4];
    (at(1), at(2), at(3))
}

/// The time from the moment that everybody is ready until the producer and all consumers are done. Every consumer must
/// have seen every event.
fn race<C: Send>(
    consumers: &mut [C],
    frame_bytes: usize,
    consume: impl Fn(&mut C) -> Tally + Sync,
    produce: impl FnOnce(),
) -> Duration {
    let ready = Barrier::new(consumers.len() + 1);
    thread::scope(|scope| {
        let handles: Vec<_> = consumers
            .iter_mut()
            .map(|consumer| {
                scope.spawn(|| {
                    ready.wait();
                    let tally = consume(consumer);
                    let end = Instant::now();
                    assert_eq!(tally.bytes, EVENTS * frame_bytes, "whole frames, and every one");
                    end
                })
            })
            .collect();
        ready.wait();
        let begin = Instant::now();
        produce();
        let ends = handles.into_iter().map(|handle| handle.join().expect("a consumer has everything"));
        ends.max().map_or(Duration::ZERO, |end| end - begin)
    })
}

/// What a consumer has seen.
#[derive(Default)]
struct Tally {
    events: usize,
    bytes: usize,
}

impl Tally {
    fn see(&mut self, frame: &[u8]) {
        self.events += 1;
        self.bytes += frame.len();
        black_box(frame[0]);
    }

    /// Whether that was all of a pass.
    fn is_whole(&self) -> bool {
        self.events == EVENTS
    }
}

/// How everybody waits for more: a little while on the spot, then by letting others have the core, since there may be
/// more threads than cores.
#[derive(Default)]
struct Patience(u32);

impl Patience {
    fn wait(&mut self) {
        self.0 += 1;
        if self.0 < 64 { std::hint::spin_loop() } else { thread::yield_now() }
    }

    fn rest(&mut self) {
        self.0 = 0;
    }
}
