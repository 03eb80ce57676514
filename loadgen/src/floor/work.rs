//! Work that stands for a server's own: every event takes a stated time.
//!
//! With it the floor is a server of known capacity, of which it can be seen whether a search finds it and a comparison
//! notices that it has become less.
//!
//! # Contract       as long as there is input, `n` events take `n` times the stated time by the clock, whatever else runs on
//! the machine: what a neighbour took is caught up on, up to [`CATCH_UP_MAX`]. Idle time is not saved up
//! # Why not …      processor time: the capacity would be whatever the machine's other users leave of it

use std::time::{Duration, Instant};

/// How long events take, and when the next one can begin.
#[derive(Debug)]
pub(crate) struct Work {
    each: Duration,
    free_at: Instant,
}

impl Work {
    /// `each` is the time of one event.
    pub(crate) fn new(each: Duration, now: Instant) -> Work {
        Work { each, free_at: now }
    }

    /// Notes that there was nothing to do until `now`.
    pub(crate) fn rest(&mut self, now: Instant) {
        self.free_at = self.free_at.max(now);
    }

    /// Burns the time of `events`.
    pub(crate) fn spend(&mut self, events: u32) {
        let until = self.end_of(events, Instant::now());
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }

    /// When `events` that are there at `now` are done.
    fn end_of(&mut self, events: u32, now: Instant) -> Instant {
        let oldest = now.checked_sub(CATCH_UP_MAX).unwrap_or(now);
        self.free_at = self.free_at.max(oldest) + self.each * events;
        self.free_at
    }
}

/// Longer than a scheduler lets a neighbour run, and so short that a stopped server is seen to have stood still.
const CATCH_UP_MAX: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_queue_for_their_time_and_idle_time_is_not_saved_up() {
        let begin = Instant::now() + Duration::from_secs(1);
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let mut work = Work::new(Duration::from_millis(2), begin);
        let mut check = |rested: bool, now_ms: u64, events: u32, expected_ms: u64| {
            if rested {
                work.rest(at(now_ms));
            }
            assert_eq!(work.end_of(events, at(now_ms)), at(expected_ms), "{events} at {now_ms} ms");
        };
        check(false, 0, 3, 6);
        // Somebody else had the processor until here; the input was there all along.
        check(false, 26, 4, 14);
        check(true, 30, 1, 32);
        // More than can be caught up on.
        check(false, 1_000, 1, 952);
        check(false, 1_000, 100, 1_152);
        // What is still to be done is not forgotten in a pause.
        check(true, 1_010, 1, 1_154);
    }
}
