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
    accepted: u64,
    accepted_at_ns: u64,
    missed_since_ns: Option<u64>,
    /// Whether events come often enough for a second without one to be a miss.
    is_busy: bool,
}

impl Watch {
    /// Calls a run off when `objectives` have been missed for `patience_ns`, beginning at `from_ns`. `rate` is that of the
    /// events.
    pub(crate) fn new(objectives: &[Objective], patience_ns: u64, from_ns: u64, rate: f64) -> Watch {
        let is_watched = |objective: &&Objective| {
            matches!(objective.figure(), Figure::Latency { row: "e2e", .. } | Figure::Rate)
        };
        Watch {
            objectives: objectives.iter().filter(is_watched).cloned().collect(),
            patience_ns,
            next_ns: from_ns.saturating_add(NS_PER_SECOND),
            awaited: 0,
            second: Latency::new(),
            accepted: 0,
            accepted_at_ns: from_ns,
            missed_since_ns: None,
            is_busy: BUSY_RATE <= rate,
        }
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

    /// One loop has told; `accepted` counts all events that were accepted so far. `true` calls the run off.
    pub(crate) fn take(&mut self, latency: &Latency, accepted: u64, now_ns: u64) -> bool {
        self.second.merge(latency);
        self.awaited = self.awaited.saturating_sub(1);
        if 0 < self.awaited {
            return false;
        }
        let seconds = now_ns.saturating_sub(self.accepted_at_ns) as f64 / NS_PER_SECOND as f64;
        let rate = (accepted - self.accepted) as f64 / seconds.max(f64::MIN_POSITIVE);
        (self.accepted, self.accepted_at_ns) = (accepted, now_ns);
        let is_missed = self.objectives.iter().any(|objective| match objective.figure() {
            Figure::Latency { value, .. } if 0 < self.second.count() => {
                !objective.judge(Some(value.of(&self.second))).met
            }
            Figure::Latency { .. } => self.is_busy,
            _ => !objective.judge(Some(rate)).met,
        });
        if !is_missed {
            self.missed_since_ns = None;
            return false;
        }
        let since_ns = *self.missed_since_ns.get_or_insert(now_ns.saturating_sub(NS_PER_SECOND));
        self.patience_ns <= now_ns - since_ns
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
/// Events per second.
const BUSY_RATE: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds in each of which two loops had one latency, or none where it is 0; returns the first second that calls the
    /// run off.
    fn called_off(objective: &str, rate: f64, seconds: &[u64]) -> Option<usize> {
        let objectives = [objective.parse().expect("an objective")];
        let mut watch = Watch::new(&objectives, 2 * NS_PER_SECOND, 0, rate);
        for (second, ms) in (1u64..).zip(seconds) {
            let now_ns = second * NS_PER_SECOND;
            assert!(watch.is_due(now_ns, 2));
            assert!(!watch.is_due(now_ns, 2), "once a second");
            let mut latency = Latency::new();
            if 0 < *ms {
                latency.record(ms * 1_000_000);
            }
            assert!(!watch.take(&Latency::new(), 50 * second, now_ns), "one of two loops");
            if watch.take(&latency, 50 * second, now_ns) {
                return Some(second as usize);
            }
        }
        None
    }

    #[test]
    fn only_what_lasts_calls_a_run_off() {
        assert_eq!(called_off("p99<5ms", 100.0, &[1, 9, 1, 9, 1]), None);
        assert_eq!(called_off("p99<5ms", 100.0, &[1, 9, 9, 9]), Some(3));
        assert_eq!(called_off("p99<5ms", 100.0, &[9, 9]), Some(2));
        assert_eq!(called_off("p99<5ms", 100.0, &[1, 0, 0]), Some(3));
        assert_eq!(called_off("p99<5ms", 1.0, &[1, 0, 0, 0]), None, "nothing need come every second");
        assert_eq!(called_off("rate>=60/s", 100.0, &[1, 1]), Some(2));
        assert_eq!(called_off("rate>=50/s", 100.0, &[1, 1, 1]), None);
        assert_eq!(called_off("reach==1", 100.0, &[9, 9, 9]), None, "nobody can tell before the end");
    }
}
