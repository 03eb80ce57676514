//! Objectives while a run goes on: once a second, so that one that is hopeless can be called off.
//!
//! # Contract       only what a second can tell is watched: the end-to-end latency and the rate

use super::{Figure, Objective, Value};
use crate::histogram::Latency;
use crate::machine::NS_PER_SECOND;

/// Watches the objectives of a run.
#[derive(Debug)]
pub(crate) struct Watch {
    objectives: Vec<Objective>,
    patience_ns: u64,
    next_ns: u64,
    /// Loops that have not told yet what the second has brought.
    awaited: usize,
    second: Latency,
    /// Where the publishers stood at the end of the last second, and when that was.
    last: Standing,
    last_ns: u64,
    /// What was owed at the end of the last second with a latency.
    settled: u64,
    /// When the first second after that began in which more came to be owed.
    owed_since_ns: Option<u64>,
    missed_since_ns: Option<u64>,
}

/// Where the publishers stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Events accepted so far.
    pub(crate) accepted: u64,
    /// Deliveries that these ask for.
    pub(crate) owed: u64,
    /// Whether the server owes publishers an answer, or room for what is due.
    pub(crate) is_behind: bool,
}

impl Watch {
    /// Calls a run off when `objectives` have been missed for `patience_ns`, beginning at `from_ns`.
    pub(crate) fn new(objectives: &[Objective], patience_ns: u64, from_ns: u64) -> Watch {
        let is_watched = |objective: &&Objective| {
            matches!(objective.figure(), Figure::Latency { row: "e2e", .. } | Figure::Rate)
        };
        Watch {
            objectives: objectives.iter().filter(is_watched).cloned().collect(),
            patience_ns,
            next_ns: from_ns.saturating_add(NS_PER_SECOND),
            awaited: 0,
            second: Latency::new(),
            last: Standing::default(),
            last_ns: from_ns,
            settled: 0,
            owed_since_ns: None,
            missed_since_ns: None,
        }
    }

    /// The measured part begins now, with what the warm-up has brought.
    pub(crate) fn begin(&mut self, standing: Standing, now_ns: u64) {
        self.next_ns = now_ns.saturating_add(NS_PER_SECOND);
        (self.last, self.last_ns, self.settled) = (standing, now_ns, standing.owed);
    }

    /// Whether all `loops` are to be asked now for what the last second has brought.
    pub(crate) fn is_due(&mut self, now_ns: u64, loops: usize) -> bool {
        let is_due = self.awaited == 0 && self.next_ns <= now_ns && 0 < loops;
        if is_due {
            self.awaited = loops;
            self.second = Latency::new();
            self.next_ns = now_ns + NS_PER_SECOND;
        }
        is_due
    }

    /// One loop has told, while publishers stood at `standing`. `true` calls the run off.
    pub(crate) fn take(&mut self, latency: &Latency, standing: Standing, now_ns: u64) -> bool {
        self.second.merge(latency);
        self.awaited = self.awaited.saturating_sub(1);
        if 0 < self.awaited {
            return false;
        }
        let seconds = now_ns.saturating_sub(self.last_ns) as f64 / NS_PER_SECOND as f64;
        let accepted = standing.accepted.saturating_sub(self.last.accepted);
        let rate = accepted as f64 / seconds.max(f64::MIN_POSITIVE);
        let begun_ns = std::mem::replace(&mut self.last_ns, now_ns);
        // A second in which nothing came is a miss only if something should have come in it: what was owed or unanswered when it
        // began. What is accepted or sent at its very end may well come in the next one.
        let is_stuck = self.last.is_behind && standing.is_behind && accepted == 0;
        let owed_since_ns = self.owed_since_ns.or(is_stuck.then_some(begun_ns));
        let is_missed = self.objectives.iter().any(|objective| match objective.figure() {
            Figure::Latency { value, .. } if 0 < self.second.count() => {
                !objective.judge(Some(value.of(&self.second))).met
            }
            Figure::Latency { .. } => owed_since_ns.is_some(),
            _ => !objective.judge(Some(rate)).met,
        });
        let missed_from_ns = owed_since_ns.filter(|_| self.second.count() == 0).unwrap_or(begun_ns);
        if 0 < self.second.count() {
            (self.settled, self.owed_since_ns) = (standing.owed, None);
        } else if self.settled < standing.owed {
            self.owed_since_ns.get_or_insert(begun_ns);
        }
        self.last = standing;
        if !is_missed {
            self.missed_since_ns = None;
            return false;
        }
        let since_ns = *self.missed_since_ns.get_or_insert(missed_from_ns);
        self.patience_ns <= now_ns.saturating_sub(since_ns)
    }
}

impl Value {
    /// Of a histogram, in milliseconds.
    pub(crate) fn of(self, latency: &Latency) -> f64 {
        match self {
            Value::Quantile(quantile) => latency.quantile_ns(quantile) as f64 / NS_PER_MS,
            Value::Max => latency.max_ns() as f64 / NS_PER_MS,
            Value::Mean => latency.summary().mean_ms,
        }
    }
}

const NS_PER_MS: f64 = 1e6;

#[cfg(test)]
mod tests {
    use super::*;

    /// A second: the longest latency in milliseconds, 0 if there was none; events accepted in it; and whether the server owes
    /// publishers something at its end.
    type Second = (u64, u64, bool);

    /// Seconds of two loops, behind a warm-up of 1,000 events; returns the first second that calls the run off.
    fn called_off(objective: &str, patience_s: u64, seconds: &[Second]) -> Option<usize> {
        let objectives = [objective.parse().expect("an objective")];
        let mut watch = Watch::new(&objectives, patience_s * NS_PER_SECOND, 0);
        let standing = |accepted: u64, is_behind| Standing { accepted, owed: 3 * accepted, is_behind };
        let mut accepted = 1_000;
        watch.begin(standing(accepted, false), 0);
        for (second, (ms, more, is_behind)) in (1u64..).zip(seconds) {
            let now_ns = second * NS_PER_SECOND;
            accepted += more;
            assert!(watch.is_due(now_ns, 2));
            assert!(!watch.is_due(now_ns, 2), "once a second");
            let mut latency = Latency::new();
            if 0 < *ms {
                latency.record(ms * 1_000_000);
            }
            let standing = standing(accepted, *is_behind);
            assert!(!watch.take(&Latency::new(), standing, now_ns), "one of two loops");
            if watch.take(&latency, standing, now_ns) {
                return Some(second as usize);
            }
        }
        None
    }

    #[test]
    fn only_what_lasts_calls_a_run_off() {
        let check = |objective: &str, latencies: &[u64], expected: Option<usize>| {
            let seconds: Vec<Second> = latencies.iter().map(|ms| (*ms, 50, false)).collect();
            assert_eq!(called_off(objective, 2, &seconds), expected, "{objective} {latencies:?}");
        };
        check("p99<5ms", &[1, 9, 1, 9, 1], None);
        check("p99<5ms", &[1, 9, 9, 9], Some(3));
        check("p99<5ms", &[9, 9], Some(2));
        check("p99<5ms", &[1, 0, 0], Some(3));
        check("rate>=60/s", &[1, 1], Some(2));
        check("rate>=50/s", &[1, 1, 1], None);
        // Nobody can tell before the end.
        check("reach==1", &[9, 9, 9], None);
    }

    #[test]
    fn a_pause_of_the_schedule_is_no_miss_and_a_server_that_stands_still_is() {
        let pause: Second = (0, 0, false);
        let burst: Second = (1, 100, false);
        assert_eq!(called_off("p99<5ms", 2, &[burst, pause, pause, pause, pause, burst, pause, pause]), None);
        // Accepted at the very end of a second, and delivered in the next one.
        let late = [(0, 100, true), (1, 0, false)];
        assert_eq!(called_off("p99<5ms", 1, &[&[pause, pause][..], &late, &[pause], &late].concat()), None);
        // Accepted and never delivered, and no more to come.
        assert_eq!(called_off("p99<5ms", 3, &[burst, (0, 1, false), pause, pause, pause]), Some(4));
        // Sent and never answered, however fast events should come.
        let stuck = (0, 0, true);
        assert_eq!(called_off("p99<5ms", 2, &[(1, 64, true), stuck, stuck, stuck]), Some(3));
        assert_eq!(called_off("p99<5ms", 2, &[pause, (0, 0, true), pause, pause, pause]), None);
    }

    #[test]
    fn the_first_second_has_nothing_of_the_warm_up() {
        assert_eq!(called_off("rate<100/s", 1, &[(1, 50, false)]), None);
        assert_eq!(called_off("rate>=100/s", 1, &[(1, 50, false)]), Some(1));
    }
}
