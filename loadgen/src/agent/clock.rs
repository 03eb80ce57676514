//! How far two machines' monotonic clocks are apart, and how well that is known.
//!
//! # Contract       an exchange has the agent's clock lie between the sending of a question and its answer, so the offset is
//! known to half of the round trip. Of several the one with the least round trip counts. It is measured before the run and
//! behind it; in between the offset is taken to be between the two
//! # One clock      processes of one boot and one time namespace read the same clock: the offset is 0 and exact, unless an
//! exchange contradicts it (a machine that was copied while it ran keeps its boot's name)

use serde::{Deserialize, Serialize};

/// The offset of an agent's clock as one round of exchanges shows it: the agent's time less the coordinator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offset {
    /// The most likely one.
    pub(crate) offset_ns: i64,
    /// It is wrong by no more than this.
    pub(crate) error_ns: u64,
}

impl Offset {
    /// What one exchange shows: asked and answered by the coordinator's clock, and what the agent's said in between.
    pub(crate) fn of(asked_ns: u64, agent_ns: u64, answered_ns: u64) -> Offset {
        let round_ns = answered_ns.saturating_sub(asked_ns);
        let middle_ns = asked_ns + round_ns / 2;
        let offset_ns = i128::from(agent_ns) - i128::from(middle_ns);
        let bound = i128::from(i64::MAX / 2);
        Offset { offset_ns: offset_ns.clamp(-bound, bound) as i64, error_ns: round_ns.div_ceil(2) }
    }

    /// The one that is known better.
    pub(crate) fn better(self, other: Offset) -> Offset {
        if other.error_ns < self.error_ns { other } else { self }
    }

    /// How wrong the assumption can be that the offset is `used_ns`.
    fn distance_ns(self, used_ns: i64) -> u64 {
        self.offset_ns.abs_diff(used_ns).saturating_add(self.error_ns)
    }

    fn holds(self, offset_ns: i64) -> bool {
        self.offset_ns.abs_diff(offset_ns) <= self.error_ns
    }
}

/// What is known of an agent's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Clock {
    /// Whether it is the coordinator's own.
    pub(crate) is_same: bool,
    /// What the agent's times were corrected by: its clock less the coordinator's.
    pub(crate) offset_ns: i64,
    /// How well that was known before the run.
    pub(crate) error_ns: u64,
    /// The offset behind the run.
    pub(crate) end_offset_ns: i64,
    /// How well that is known.
    pub(crate) end_error_ns: u64,
    /// A corrected time is wrong by no more than this.
    pub(crate) bound_ns: u64,
}

impl Clock {
    /// What the agent's times are to be corrected by.
    pub(crate) fn used_ns(is_same: bool, begin: Offset) -> i64 {
        if is_same && begin.holds(0) { 0 } else { begin.offset_ns }
    }

    /// What two rounds show, if `is_same` says that both processes name one clock.
    pub(crate) fn new(is_same: bool, begin: Offset, end: Offset) -> Clock {
        let used_ns = Clock::used_ns(is_same, begin);
        let is_same = is_same && begin.holds(0) && end.holds(0);
        let bound_ns = if is_same { 0 } else { begin.distance_ns(used_ns).max(end.distance_ns(used_ns)) };
        Clock {
            is_same,
            offset_ns: used_ns,
            error_ns: begin.error_ns,
            end_offset_ns: end.offset_ns,
            end_error_ns: end.error_ns,
            bound_ns,
        }
    }

    /// In words.
    pub(crate) fn line(&self) -> String {
        if self.is_same {
            return "the same clock".to_owned();
        }
        let ms = |ns: i64| ns as f64 / 1e6;
        let drift_ns = self.end_offset_ns.saturating_sub(self.offset_ns);
        format!(
            "clock {:+.3} ms ± {:.3} ms (± {:.3} at the start, ± {:.3} at the end, {:+.3} between)",
            ms(self.offset_ns),
            self.bound_ns as f64 / 1e6,
            self.error_ns as f64 / 1e6,
            self.end_error_ns as f64 / 1e6,
            ms(drift_ns),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exchange_with_the_least_round_trip_bounds_the_offset() {
        // The agent is 1,000 ahead; the way there takes longer than the way back, or the other way round.
        let slow = Offset::of(100, 1_100 + 70, 200);
        let quick = Offset::of(300, 1_300 + 2, 310);
        assert_eq!(slow, Offset { offset_ns: 1_020, error_ns: 50 });
        assert_eq!(quick, Offset { offset_ns: 997, error_ns: 5 });
        assert!(slow.holds(1_000) && quick.holds(1_000));
        assert_eq!((slow.better(quick), quick.better(slow)), (quick, quick));
        assert_eq!(Offset::of(u64::MAX, 0, 0).error_ns, 0, "an answer before its question");
    }

    #[test]
    fn the_bound_covers_both_ends_and_the_drift_between() {
        let begin = Offset { offset_ns: 1_000, error_ns: 20 };
        let check = |is_same: bool, begin: Offset, end: (i64, u64), expected: (bool, i64, u64)| {
            let end = Offset { offset_ns: end.0, error_ns: end.1 };
            let clock = Clock::new(is_same, begin, end);
            assert_eq!((clock.is_same, clock.offset_ns, clock.bound_ns), expected, "{begin:?} {end:?}");
        };
        check(false, begin, (1_000, 10), (false, 1_000, 20));
        check(false, begin, (1_300, 10), (false, 1_000, 310));
        check(false, begin, (900, 50), (false, 1_000, 150));
        // One name, and no exchange that contradicts it; one that does at the start, and one at the end.
        let near = Offset { offset_ns: 5, error_ns: 20 };
        check(true, near, (-7, 10), (true, 0, 0));
        check(true, begin, (1_000, 10), (false, 1_000, 20));
        check(true, near, (40, 10), (false, 0, 50));
        check(false, near, (-7, 10), (false, 5, 22));
    }

    #[test]
    fn a_line_says_how_far_apart_and_how_well_that_is_known() {
        let line = Clock::new(
            false,
            Offset { offset_ns: -1_500_000, error_ns: 40_000 },
            Offset { offset_ns: -1_400_000, error_ns: 10_000 },
        );
        assert_eq!(
            line.line(),
            "clock -1.500 ms ± 0.110 ms (± 0.040 at the start, ± 0.010 at the end, +0.100 between)"
        );
    }
}
