//! How old the events of the window are, by a clock that somebody may set.
//!
//! An event is as old as its timestamp says, and no older than the time that has passed since the clock was last seen
//! behind it. So a clock that is set back neither ages anything nor holds the window open until it has caught up: what
//! then seems to come from the future counts as stamped at the moment when that was noticed, and stays at most as long
//! again, each time. A clock that is set forward ages everything at once: of time that nobody watched nobody can tell
//! whether it has passed.
//!
//! # Invariants     A1 caps ascend, in `end` and in `stamp_ms`; so the first that covers an event is its lowest
//! # Bounds         [`CAPS_MAX`] caps; beyond it the newest two become one, which keeps events longer, never shorter

use std::collections::VecDeque;
use std::time::Duration;

/// Says when events are due to leave.
#[derive(Debug)]
pub(super) struct Ages {
    /// How old an event may become, in milliseconds; none: as old as it likes.
    max_ms: Option<u64>,
    /// What the clock said last, in Unix milliseconds: no timestamp is later, but where a cap covers it.
    last_ms: u64,
    /// What the clock was seen to be set back to.
    caps: VecDeque<Cap>,
}

/// Events below `end` count as stamped no later than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cap {
    end: u64,
    stamp_ms: u64,
}

impl Ages {
    pub(super) fn new(max: Option<Duration>) -> Ages {
        let max_ms = max.map(|max| u64::try_from(max.as_millis()).unwrap_or(u64::MAX));
        Ages { max_ms, last_ms: 0, caps: VecDeque::new() }
    }

    /// Whether events leave by age at all.
    pub(super) fn is_on(&self) -> bool {
        self.max_ms.is_some()
    }

    /// It is `now_ms`, and the events of `oldest..next` are of interest. To be called whenever the clock is read.
    pub(super) fn look(&mut self, now_ms: u64, oldest: u64, next: u64) {
        while self.caps.front().is_some_and(|cap| cap.end <= oldest) {
            self.caps.pop_front();
        }
        if now_ms < self.last_ms && oldest < next {
            while self.caps.back().is_some_and(|cap| now_ms <= cap.stamp_ms) {
                self.caps.pop_back();
            }
            if self.caps.len() == CAPS_MAX {
                self.caps.pop_back();
            }
            self.caps.push_back(Cap { end: next, stamp_ms: now_ms });
        }
        self.last_ms = now_ms;
    }

    /// When the event `seq` with that timestamp is too old, in Unix milliseconds; never before the events before it.
    pub(super) fn due_ms(&self, seq: u64, timestamp_ms: u64) -> Option<u64> {
        let cap = self.caps.iter().find(|cap| seq < cap.end);
        let stamp_ms = cap.map_or(timestamp_ms, |cap| cap.stamp_ms.min(timestamp_ms));
        self.max_ms.map(|max_ms| stamp_ms.saturating_add(max_ms))
    }
}

/// Times that the clock was set back while what was stamped before is still in the window: about a kilobyte.
const CAPS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_MS: u64 = 1000;

    /// Events 1, 2, 3 … stamped as `clock` went, each looked at at once; then when the first is due.
    fn first_due(clock: &[u64]) -> Option<u64> {
        let mut ages = Ages::new(Some(Duration::from_millis(MAX_MS)));
        for (at, &now_ms) in clock.iter().enumerate() {
            ages.look(now_ms, 1, at as u64 + 1);
        }
        ages.due_ms(1, clock[0])
    }

    #[test]
    fn a_clock_that_is_set_back_neither_ages_nor_holds() {
        let check = |clock: &[u64], expected| assert_eq!(first_due(clock), Some(expected), "{clock:?}");
        check(&[5000], 6000);
        check(&[5000, 5900], 6000);
        check(&[5000, 4999], 5999);
        check(&[5000, 100], 1100);
        check(&[5000, 100, 200, 300], 1100);
        check(&[5000, 100, 900, 800], 1100);
        check(&[5000, 900, 100], 1100);
        check(&[5000, 100, 9000, 8000], 1100);
        check(&[u64::MAX], u64::MAX);
    }

    #[test]
    fn without_a_bound_nothing_is_ever_due() {
        let mut ages = Ages::new(None);
        ages.look(5000, 1, 2);
        assert!(!ages.is_on());
        assert_eq!(ages.due_ms(1, 0), None);
    }

    #[test]
    fn a_clock_that_is_set_back_all_the_time_ages_events_too_and_costs_a_bounded_memory() {
        let mut ages = Ages::new(Some(Duration::from_millis(MAX_MS)));
        // Stamped far in the future; from then on the clock goes 20 forward and 10 back.
        ages.look(1 << 50, 1, 2);
        let mut now_ms = 5000;
        let mut left_at = None;
        for next in 3..3 + 2 * CAPS_MAX as u64 {
            ages.look(now_ms + 20, 1, next);
            now_ms += 10;
            ages.look(now_ms, 1, next);
            assert!(ages.caps.len() <= CAPS_MAX);
            assert!(
                ages.caps
                    .iter()
                    .is_sorted_by(|one, other| one.end <= other.end && one.stamp_ms < other.stamp_ms)
            );
            if ages.due_ms(1, 1 << 50).is_some_and(|due_ms| due_ms <= now_ms) {
                left_at.get_or_insert(now_ms);
            }
        }
        assert_eq!(left_at, Some(5010 + MAX_MS), "the first cap is what counts");
        ages.look(now_ms, 1 << 40, 1 << 40);
        assert!(ages.caps.is_empty(), "what has left needs no cap");
    }
}
