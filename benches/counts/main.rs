//! What does not depend on how busy the machine is: instructions, counted by valgrind, and bytes, counted by the
//! allocator. This is the gate: who makes something dearer finds out here.
//!
//! `cargo bench --bench counts` runs itself under `valgrind --tool=callgrind` and fails if anything takes more
//! instructions than `counts.json` says, by more than two in a hundred, or if a million subscriptions that do not match
//! change what a publish costs by more than one in a hundred. `FANFARE_BLESS=1` writes the file anew.

mod bytes;
mod callgrind;
#[path = "../crowd/mod.rs"]
mod crowd;
mod deliver;
#[path = "../../tests/support/heap.rs"]
mod heap;
mod nobody;
mod record;
mod request;

use std::process::ExitCode;

use callgrind::{Metric, count, run};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

fn metrics() -> Vec<Metric> {
    [deliver::metrics(), request::metrics()].into_iter().flatten().collect()
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let word_after = |option: &str| Some(&words[words.iter().position(|word| word == option)? + 1]);
    match word_after(callgrind::CHILD).map(|what| what.parse::<usize>()) {
        Some(Ok(crowd)) => {
            nobody::run(crowd);
            ExitCode::SUCCESS
        }
        Some(Err(_)) => {
            run(&metrics());
            ExitCode::SUCCESS
        }
        None => {
            bytes::print();
            let (is_flat, mut counts) = nobody::compare();
            counts.extend(count("metrics"));
            let is_good = record::compare(&counts);
            if is_flat && is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}
