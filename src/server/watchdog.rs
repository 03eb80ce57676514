//! Whoever looks whether the loops still turn: a thread that shares nothing with them but numbers.
//!
//! # Contract       a loop that is awake and has not turned for `loop_stall_max` is said to stand still, on its desk, until it
//!   turns again; after `loop_stall_abort` the process ends, so that whoever supervises it can start another
//! # Why not …      the time of a loop's last turn: a process that was stopped for a while, or a machine that slept, would find
//!   all of its loops late. What counts is how long the watchdog itself has seen a loop stand still

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::stand_in::StandIn;
use crate::hub::Hub;
use crate::sync::{AtomicBool, Ordering};
use crate::words::limits::Limits;

/// The longest time between two looks.
const LOOK_MAX: Duration = Duration::from_millis(250);

/// Looks again and again until `stop`, and answers in place of a loop that stands still. To be unparked after `stop` was set, and
/// when a drain begins.
pub(super) fn run(hub: &Hub, stand_in: &Arc<StandIn>, stop: &AtomicBool) {
    let limits = &hub.limits;
    let look = LOOK_MAX.min(limits.loop_stall_max / 4).max(Duration::from_millis(1));
    let mut watch = Watch::new(hub.desks().len());
    let mut last = Instant::now();
    while !stop.load(Ordering::Acquire) {
        thread::park_timeout(look);
        if hub.is_draining() {
            stand_in.leave();
        }
        // More than this the watchdog was not there itself.
        let passed = last.elapsed().min(look * 2);
        last = Instant::now();
        for (index, desk) in hub.desks().iter().enumerate() {
            let still = watch.look(index, desk.turns(), desk.bell.is_asleep(), passed);
            match verdict(still, limits) {
                Verdict::Turns => {
                    if desk.stalled_ms() != 0 {
                        eprintln!("fanfare: loop {index} turns again");
                    }
                    desk.set_stalled_ms(0);
                }
                Verdict::Stalled => {
                    if desk.stalled_ms() == 0 {
                        eprintln!("fanfare: loop {index} has stood still for {} ms", still.as_millis());
                        hub.counters.count_stall();
                    }
                    desk.set_stalled_ms((still.as_millis() as u64).max(1));
                    stand_in.answer(hub, index);
                }
                Verdict::Lost => {
                    let seconds = still.as_secs_f64();
                    eprintln!(
                        "fanfare: loop {index} has stood still for {seconds:.1} s; the server cannot go on"
                    );
                    std::process::abort();
                }
            }
        }
    }
}

/// What is to be done about a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing.
    Turns,
    /// It is said that it stands still.
    Stalled,
    /// The process ends.
    Lost,
}

fn verdict(still: Duration, limits: &Limits) -> Verdict {
    match limits.loop_stall_abort {
        Some(most) if most <= still => Verdict::Lost,
        _ if limits.loop_stall_max <= still => Verdict::Stalled,
        _ => Verdict::Turns,
    }
}

/// What was seen of each loop.
#[derive(Debug)]
struct Watch {
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    turns: Option<u64>,
    still: Duration,
}

impl Watch {
    fn new(loops: usize) -> Watch {
        Watch { seen: vec![Seen::default(); loops] }
    }

    /// `passed` after the last look the loop `index` has begun so many turns, or had its last; returns for how long it has
    /// stood still.
    fn look(&mut self, index: usize, turns: Option<u64>, is_asleep: bool, passed: Duration) -> Duration {
        let seen = &mut self.seen[index];
        let stands_still = turns.is_some() && turns == seen.turns && !is_asleep;
        seen.turns = turns;
        seen.still = if stands_still { seen.still + passed } else { Duration::ZERO };
        seen.still
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loop_that_is_awake_and_does_not_turn_stands_still() {
        let mut watch = Watch::new(2);
        let second = Duration::from_secs(1);
        let mut check = |turns: u64, is_asleep: bool, expected_s: u32| {
            assert_eq!(watch.look(1, Some(turns), is_asleep, second), second * expected_s);
        };
        check(1, false, 0);
        check(2, false, 0);
        check(2, false, 1);
        check(2, false, 2);
        check(3, false, 0);
        check(3, true, 0);
        check(3, true, 0);
        check(3, false, 1);
        check(3, true, 0);
        assert_eq!(watch.look(0, Some(7), false, second), Duration::ZERO);
        assert_eq!(watch.look(0, Some(7), false, second), second, "each by itself");
        assert_eq!(watch.look(0, None, false, second), Duration::ZERO);
        assert_eq!(watch.look(0, None, false, second), Duration::ZERO, "it has ended");
    }

    #[test]
    fn red_comes_first_and_the_end_only_if_it_is_wanted() {
        let check = |still_ms: u64, abort_ms: Option<u64>, expected: Verdict| {
            let loop_stall_abort = abort_ms.map(Duration::from_millis);
            let limits = Limits { loop_stall_abort, ..Limits::default() };
            assert_eq!(
                verdict(Duration::from_millis(still_ms), &limits),
                expected,
                "{still_ms} {abort_ms:?}"
            );
        };
        check(0, Some(30_000), Verdict::Turns);
        check(4_999, Some(30_000), Verdict::Turns);
        check(5_000, Some(30_000), Verdict::Stalled);
        check(29_999, Some(30_000), Verdict::Stalled);
        check(30_000, Some(30_000), Verdict::Lost);
        check(3_600_000, None, Verdict::Stalled);
        check(2_000, Some(1_000), Verdict::Lost);
    }
}
