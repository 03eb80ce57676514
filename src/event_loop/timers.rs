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
    wheel: Box<[Vec<u32>]>,
    /// The first tick that has not come yet.
    tick: u64,
    /// The first tick that somebody is to be reminded in; `u64::MAX` if there is none. A loop asks for it whenever it
    /// sleeps, so it is known and not looked for.
    soonest: u64,
}

impl Timers {
    pub(super) fn new(now_ms: u64) -> Timers {
        Timers { wheel: (0..TICKS).map(|_| Vec::new()).collect(), tick: now_ms / TICK_MS, soonest: u64::MAX }
    }

    /// Sees to it that one is reminded of the connection numbered `key` at `at_ms`, or a little later; `already_ms`:
    /// when one will be anyway, or `u64::MAX`. Returns when.
    ///
    /// It is asked after every flush, mostly for the same moment again: what rounds to the same tick is no new entry.
    pub(super) fn remind(&mut self, key: u32, at_ms: u64, already_ms: u64) -> u64 {
        let tick = (at_ms / TICK_MS + 1).clamp(self.tick, self.tick + TICKS as u64 - 1);
        let moment_ms = tick * TICK_MS;
        if already_ms <= moment_ms {
            return already_ms;
        }
        self.wheel[tick as usize % TICKS].push(key);
        self.soonest = self.soonest.min(tick);
        moment_ms
    }

    /// Moves to `now_ms` and puts what is due into `due`.
    pub(super) fn expire(&mut self, now_ms: u64, due: &mut Vec<u32>) {
        let end = now_ms / TICK_MS + 1;
        let last = self.tick + TICKS as u64;
        self.tick = self.tick.max(end);
        if end <= self.soonest {
            return;
        }
        // After a long sleep one turn of the wheel names everything.
        for tick in self.soonest..end.min(last) {
            // With its memory: a crowd that comes back at each of its deadlines would leave some in every tick.
            due.append(&mut std::mem::take(&mut self.wheel[tick as usize % TICKS]));
        }
        let is_occupied = |tick: &u64| !self.wheel[*tick as usize % TICKS].is_empty();
        self.soonest = (self.tick..self.tick + TICKS as u64).find(is_occupied).unwrap_or(u64::MAX);
    }

    /// When to look next, if there is anything to look for.
    pub(super) fn next_ms(&self) -> Option<u64> {
        (self.soonest != u64::MAX).then(|| self.soonest * TICK_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reminder_comes_once_and_never_early() {
        let mut timers = Timers::new(1000);
        let at = timers.remind(7, 1500, u64::MAX);
        assert!((1500..1500 + 2 * TICK_MS).contains(&at));
        let mut due = Vec::new();
        timers.expire(1499, &mut due);
        assert_eq!(due, [0u32; 0]);
        assert_eq!(timers.next_ms(), Some(at));
        timers.expire(at, &mut due);
        assert_eq!(due, [7]);
        assert_eq!(timers.next_ms(), None);
        let (later, sooner) = (timers.remind(1, 9000, u64::MAX), timers.remind(2, 5000, u64::MAX));
        assert_eq!(timers.next_ms(), Some(sooner));
        due.clear();
        timers.expire(sooner, &mut due);
        assert_eq!((due, timers.next_ms()), (vec![2], Some(later)));
    }

    #[test]
    fn the_same_deadline_asked_for_again_and_again_is_one_entry() {
        let mut timers = Timers::new(0);
        let mut at = u64::MAX;
        for now_ms in 0..1000 {
            at = timers.remind(7, 5000, at);
            timers.expire(now_ms, &mut Vec::new());
        }
        assert_eq!(timers.wheel.iter().map(Vec::len).sum::<usize>(), 1);
        assert!(timers.remind(7, 4000, at) < at, "an earlier one is another");
        // One that has passed comes at the next look, however often it is asked for.
        let first = timers.remind(8, 10, u64::MAX);
        assert_eq!(timers.remind(8, 10, first), first);
        assert_eq!(timers.wheel.iter().map(Vec::len).sum::<usize>(), 3);
    }

    #[test]
    fn a_crowd_leaves_no_memory_behind_in_the_ticks_it_has_passed() {
        let mut timers = Timers::new(0);
        let mut due = Vec::new();
        for round in 0..100 {
            for key in 0..1000 {
                timers.remind(key, round * 500 + 400, u64::MAX);
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
        let far = timers.remind(1, 1 << 40, u64::MAX);
        assert!(far <= TICKS as u64 * TICK_MS, "asked again at the end of the wheel");
        timers.remind(2, 40, u64::MAX);
        let mut due = Vec::new();
        timers.expire(1 << 41, &mut due);
        due.sort_unstable();
        assert_eq!(due, [1, 2]);
        timers.remind(3, 5, u64::MAX);
        due.clear();
        timers.expire(1 << 41, &mut due);
        assert_eq!(due, [0u32; 0], "what is overdue comes at the next look");
        timers.expire((1 << 41) + TICK_MS, &mut due);
        assert_eq!(due, [3]);
    }
}
