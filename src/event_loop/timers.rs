//! Deadlines of many connections: a wheel of ticks, in which each connection has about one entry.
//!
//! An entry is a reminder to look, not a promise that something is due: a deadline that moves later costs nothing
//! until the old entry comes round, when the connection is asked again. So the hot path never touches the wheel.

/// Length of a tick, in milliseconds: how late a deadline may be noticed.
const TICK_MS: u64 = 32;

/// Ticks in a turn of the wheel; later deadlines wait at its far end and are asked again.
const TICKS: usize = 2048;

/// Reminders, by when they are due.
#[derive(Debug)]
pub(super) struct Timers {
    wheel: Box<[Vec<u64>]>,
    /// The first tick that has not come yet.
    tick: u64,
    entries: usize,
}

impl Timers {
    pub(super) fn new(now_ms: u64) -> Timers {
        Timers { wheel: (0..TICKS).map(|_| Vec::new()).collect(), tick: now_ms / TICK_MS, entries: 0 }
    }

    /// Reminds of `token` at `at_ms`, or a little later; returns when.
    pub(super) fn remind(&mut self, token: u64, at_ms: u64) -> u64 {
        let tick = (at_ms / TICK_MS + 1).clamp(self.tick, self.tick + TICKS as u64 - 1);
        self.wheel[tick as usize % TICKS].push(token);
        self.entries += 1;
        tick * TICK_MS
    }

    /// Moves to `now_ms` and puts what is due into `due`.
    pub(super) fn expire(&mut self, now_ms: u64, due: &mut Vec<u64>) {
        let end = now_ms / TICK_MS + 1;
        // After a long sleep one turn of the wheel names everything.
        for tick in self.tick..end.min(self.tick + TICKS as u64) {
            // With its memory: a crowd that comes back at each of its deadlines would leave some in every tick.
            due.append(&mut std::mem::take(&mut self.wheel[tick as usize % TICKS]));
        }
        self.entries -= due.len().min(self.entries);
        self.tick = self.tick.max(end);
    }

    /// When to look next, if there is anything to look for.
    pub(super) fn next_ms(&self) -> Option<u64> {
        if self.entries == 0 {
            return None;
        }
        let occupied =
            (self.tick..self.tick + TICKS as u64).find(|tick| !self.wheel[*tick as usize % TICKS].is_empty());
        occupied.map(|tick| tick * TICK_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reminder_comes_once_and_never_early() {
        let mut timers = Timers::new(1000);
        let at = timers.remind(7, 1500);
        assert!((1500..1500 + 2 * TICK_MS).contains(&at));
        let mut due = Vec::new();
        timers.expire(1499, &mut due);
        assert_eq!(due, [0u64; 0]);
        assert_eq!(timers.next_ms(), Some(at));
        timers.expire(at, &mut due);
        assert_eq!(due, [7]);
        assert_eq!(timers.next_ms(), None);
    }

    #[test]
    fn a_crowd_leaves_no_memory_behind_in_the_ticks_it_has_passed() {
        let mut timers = Timers::new(0);
        let mut due = Vec::new();
        for round in 0..100 {
            for token in 0..1000 {
                timers.remind(token, round * 500 + 400);
            }
            due.clear();
            timers.expire((round + 1) * 500, &mut due);
            assert_eq!(due.len(), 1000);
        }
        assert_eq!(timers.wheel.iter().map(Vec::capacity).sum::<usize>(), 0);
    }

    #[test]
    fn far_deadlines_and_long_sleeps() {
        let mut timers = Timers::new(0);
        let far = timers.remind(1, 1 << 40);
        assert!(far <= TICKS as u64 * TICK_MS, "asked again at the end of the wheel");
        timers.remind(2, 40);
        let mut due = Vec::new();
        timers.expire(1 << 41, &mut due);
        due.sort_unstable();
        assert_eq!(due, [1, 2]);
        timers.remind(3, 5);
        due.clear();
        timers.expire(1 << 41, &mut due);
        assert_eq!(due, [0u64; 0], "what is overdue comes at the next look");
        timers.expire((1 << 41) + TICK_MS, &mut due);
        assert_eq!(due, [3]);
    }
}
