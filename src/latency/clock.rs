//! The clock of measurements: nanoseconds since it began; or, in tests, what they say.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A clock that never jumps.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    /// What it shows, or [`RUNNING`].
    stopped_ns: AtomicU64,
}

/// The clock is not stopped.
const RUNNING: u64 = u64::MAX;

impl Default for Clock {
    fn default() -> Clock {
        Clock { start: Instant::now(), stopped_ns: AtomicU64::new(RUNNING) }
    }
}

impl Clock {
    /// Nanoseconds since it began; at least 1, so that 0 can mean "not yet". Cost: 30 ns as measured, nearly all of them the
    /// system's.
    #[must_use]
    pub fn read_ns(&self) -> u64 {
        match self.stopped_ns.load(Ordering::Relaxed) {
            RUNNING => self.since_start_ns(Instant::now()),
            stopped_ns => stopped_ns,
        }
    }

    /// What it showed at that moment, for whoever has asked the system already.
    #[must_use]
    pub fn at_ns(&self, at: Instant) -> u64 {
        match self.stopped_ns.load(Ordering::Relaxed) {
            RUNNING => self.since_start_ns(at),
            stopped_ns => stopped_ns,
        }
    }

    fn since_start_ns(&self, at: Instant) -> u64 {
        (at.saturating_duration_since(self.start).as_nanos() as u64).max(1)
    }

    /// Stops it: from now on it shows `at_ns`, until this is said again. For tests, which move time by hand.
    pub fn stop_at(&self, at_ns: u64) {
        self.stopped_ns.store(at_ns, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_stopped_shows_what_it_is_told() {
        let clock = Clock::default();
        let before = clock.read_ns();
        assert!(1 <= before && before <= clock.read_ns());
        for at_ns in [7, 7, 3_000] {
            clock.stop_at(at_ns);
            assert_eq!((clock.read_ns(), clock.read_ns()), (at_ns, at_ns));
        }
    }
}
