//! How long ago what a loop has not handed on was published, by the clock that never jumps: the time that stands on events is the
//! wall's, which may be set.
//!
//! # Bounds   so many moments are kept; at the bound the newest events are taken for younger than they are

use std::collections::VecDeque;

/// Moments kept: one a millisecond while the loop is behind, which is more than publishers may drive it.
const MOMENTS_MAX: usize = 256;

/// When what was published came to the loop's notice.
#[derive(Debug)]
pub(super) struct Backlog {
    /// Everything below the number was there at that time, in milliseconds of the loop's clock; both ascend.
    moments: VecDeque<(u64, u64)>,
}

impl Backlog {
    pub(super) fn new() -> Backlog {
        Backlog { moments: VecDeque::with_capacity(MOMENTS_MAX) }
    }

    /// It is `now_ms`, and everything below `published` is there.
    pub(super) fn see(&mut self, published: u64, now_ms: u64) {
        let is_full = self.moments.len() == MOMENTS_MAX;
        match self.moments.back_mut() {
            Some((last, _)) if *last == published => {}
            Some(last) if is_full || last.1 == now_ms => *last = (published, now_ms),
            _ => self.moments.push_back((published, now_ms)),
        }
    }

    /// It is `now_ms`, and everything below `base` was handed on: the age of the first event that was not, in milliseconds, as far
    /// as it is known; 0 if all were.
    pub(super) fn age_ms(&mut self, base: u64, now_ms: u64) -> u64 {
        while self.moments.front().is_some_and(|(published, _)| *published <= base) {
            self.moments.pop_front();
        }
        self.moments.front().map_or(0, |(_, seen_ms)| now_ms.saturating_sub(*seen_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_that_of_the_first_event_that_was_not_handed_on() {
        let mut backlog = Backlog::new();
        assert_eq!(backlog.age_ms(1, 1000), 0);
        for (published, now_ms) in [(5, 1000), (5, 1010), (9, 1020), (12, 1020), (20, 1050)] {
            backlog.see(published, now_ms);
        }
        let mut check = |base: u64, now_ms: u64, expected: u64| {
            assert_eq!(backlog.age_ms(base, now_ms), expected, "{base} at {now_ms}");
        };
        check(1, 1100, 100);
        check(4, 1100, 100);
        check(5, 1100, 80);
        check(11, 1120, 100);
        check(12, 1120, 70);
        check(19, 1200, 150);
        check(20, 1200, 0);
    }

    #[test]
    fn a_loop_that_is_far_behind_keeps_a_bounded_number_of_moments() {
        let mut backlog = Backlog::new();
        for at in 1..10_000 {
            backlog.see(at + 1, at);
        }
        assert_eq!(backlog.moments.len(), MOMENTS_MAX);
        assert_eq!(backlog.age_ms(1, 10_000), 9_999, "the oldest is right");
        assert_eq!(backlog.age_ms(10_000, 10_000), 0);
    }
}
