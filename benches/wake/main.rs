//! How long it takes to wake a loop that sleeps, beside what the system needs at least: two threads that wake each other
//! by an eventfd.
//!
//! `cargo bench --bench wake [-- repetitions]`. Each way is a ping and a pong: the one thread wakes the other, which
//! answers and sleeps again. The answer is an eventfd in every case, so what differs is the way there:
//!
//! - *eventfd*: a blocking read, nothing else; the yardstick.
//! - *eventfd, epoll*: the sleeper waits in epoll, as anybody does who has sockets, too.
//! - *bell*: the same under the protocol of [`fanfare::sync::bell`], which looks for work before it blocks.
//! - *loop*: an event is published to a loop with one subscriber, which turns and writes it to its link.
//!
//! The ways alternate, and what counts is the ratio within a repetition.

#[path = "../crowd/mod.rs"]
mod crowd;
mod sleepers;

use std::time::{Duration, Instant};

use sleepers::{Pair, bare, bell, epoll, event_loop};

/// Pings of one way at a time.
const PINGS: u32 = 500;

/// Of each way, unless told otherwise.
const REPETITIONS: usize = 41;

/// The longest that a bell may take, as a multiple of the yardstick.
const BAR: f64 = 1.2;

fn main() {
    let number = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let repetitions: usize = number.unwrap_or(REPETITIONS).max(1);
    let mut ways: [(&str, Pair); 4] =
        [("eventfd", bare()), ("eventfd, epoll", epoll()), ("bell", bell()), ("loop", event_loop())];
    let mut times = ways.each_ref().map(|_| Vec::with_capacity(repetitions));
    // The first time round everything is cold.
    for repetition in 0..=repetitions {
        for ((_, pair), times) in ways.iter_mut().zip(&mut times) {
            let time = time_of(pair);
            if 0 < repetition {
                times.push(time);
            }
        }
    }
    println!("\na ping and its answer, median of {repetitions} times {PINGS}");
    println!("{:16} {:>10} {:>24} {:>24}", "", "us", "of eventfd", "of eventfd, epoll");
    for ((name, _), own) in ways.iter().zip(&times) {
        let [of_bare, of_epoll] = [0, 1].map(|base: usize| {
            quartiles(own.iter().zip(&times[base]).map(|(own, base)| own / base).collect())
        });
        let verdict = match *name {
            "bell" | "loop" if of_bare.1 <= BAR => format!("  at most {BAR}: met"),
            "bell" | "loop" => format!("  at most {BAR}: NOT met"),
            _ => String::new(),
        };
        println!(
            "{name:16} {:10.2} {:10.2} ({:.2}..{:.2}) {:10.2} ({:.2}..{:.2}){verdict}",
            quartiles(own.clone()).1 * 1e6,
            of_bare.1,
            of_bare.0,
            of_bare.2,
            of_epoll.1,
            of_epoll.0,
            of_epoll.2
        );
    }
    for (_, pair) in ways {
        pair.end();
    }
}

/// Seconds a ping.
fn time_of(pair: &mut Pair) -> f64 {
    let mut spent = Duration::ZERO;
    for _ in 0..PINGS {
        let begin = Instant::now();
        pair.ping();
        spent += begin.elapsed();
    }
    spent.as_secs_f64() / f64::from(PINGS)
}

/// The first quartile, the median and the third.
fn quartiles(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |quarter: usize| values[(values.len() - 1) * quarter / 4];
    (at(1), at(2), at(3))
}
