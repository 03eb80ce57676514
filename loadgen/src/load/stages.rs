//! A rate that changes: stages, each of which ramps from the rate of the one before to its own.

use std::str::FromStr;

use crate::machine::NS_PER_SECOND;
use crate::options::{Interval, Rate};

/// How fast events come over the length of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stages {
    stages: Vec<Stage>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stage {
    /// Events per second at its end, 0 or more.
    rate: f64,
    length_ns: u64,
}

impl Stages {
    /// One rate, without an end.
    pub(crate) fn steady(rate: f64) -> Stages {
        Stages { stages: vec![Stage { rate, length_ns: u64::MAX }] }
    }

    /// The same behind a warm-up at the first rate.
    pub(crate) fn after(mut self, warmup_ns: u64) -> Stages {
        if 0 < warmup_ns {
            self.stages.insert(0, Stage { rate: self.stages[0].rate, length_ns: warmup_ns });
        }
        self
    }

    /// How long all of them are, in nanoseconds.
    pub(crate) fn length_ns(&self) -> u64 {
        self.stages.iter().fold(0, |sum, stage| sum.saturating_add(stage.length_ns))
    }

    /// The highest rate.
    pub(crate) fn rate_max(&self) -> f64 {
        self.stages.iter().map(|stage| stage.rate).fold(0.0, f64::max)
    }

    /// The rate over time as corners: seconds after the start, events per second.
    pub(crate) fn points(&self) -> Vec<(f64, f64)> {
        let mut at_s = 0.0;
        let ends = self.stages.iter().map(|stage| {
            at_s += stage.length_ns as f64 / NS_PER_SECOND as f64;
            (at_s, stage.rate)
        });
        [(0.0, self.stages[0].rate)].into_iter().chain(ends).collect()
    }

    /// When so many events have come, in nanoseconds after the start; `None` if so many never come.
    pub(crate) fn offset_ns(&self, events: f64) -> Option<u64> {
        let (mut left, mut before, mut from_ns) = (events, self.stages[0].rate, 0u64);
        for stage in &self.stages {
            if before == stage.rate && stage.length_ns == u64::MAX {
                return Some(from_ns + (left / stage.rate * NS_PER_SECOND as f64) as u64);
            }
            let length = stage.length_ns as f64 / NS_PER_SECOND as f64;
            let within = (before + stage.rate) / 2.0 * length;
            // What falls upon the very end belongs to the next stage, or comes never.
            if left < within {
                let half_slope = (stage.rate - before) / (2.0 * length);
                // In this form nothing is divided by a slope that may be 0.
                let root = (before * before + 4.0 * half_slope * left).max(0.0).sqrt();
                let seconds = if left == 0.0 { 0.0 } else { 2.0 * left / (before + root) };
                return Some(from_ns + (seconds * NS_PER_SECOND as f64) as u64);
            }
            left -= within;
            before = stage.rate;
            from_ns = from_ns.saturating_add(stage.length_ns);
        }
        None
    }
}

impl std::fmt::Display for Stages {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, stage) in self.stages.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(formatter, "{comma}{}:{}s", stage.rate, stage.length_ns as f64 / NS_PER_SECOND as f64)?;
        }
        Ok(())
    }
}

impl FromStr for Stages {
    type Err = String;

    fn from_str(text: &str) -> Result<Stages, String> {
        let mut stages = Vec::new();
        for part in text.split(',') {
            let wrong = |reason: &str| format!("{part:?} is no stage such as 1k:30s: {reason}");
            let (rate, length) = part.split_once(':').ok_or_else(|| wrong("it has no colon"))?;
            let rate = match rate.trim().parse::<Rate>().map_err(|error| wrong(&error))? {
                Rate::PerSecond(rate) => rate,
                Rate::Saturation if rate.trim() == "max" => return Err(wrong("max is no rate to ramp to")),
                Rate::Saturation => 0.0,
            };
            let length = length.trim().parse::<Interval>().map_err(|error| wrong(&error))?;
            if length.ns == 0 {
                return Err(wrong("it has no length"));
            }
            stages.push(Stage { rate, length_ns: length.ns });
        }
        if STAGES_MAX < stages.len() {
            return Err(format!("there are {} stages, but at most {STAGES_MAX} can be", stages.len()));
        }
        let stages = Stages { stages };
        if stages.rate_max() == 0.0 {
            return Err("all stages have the rate 0".to_owned());
        }
        if LENGTH_NS_MAX < stages.length_ns() {
            return Err("all stages together are longer than a week".to_owned());
        }
        Ok(stages)
    }
}

const STAGES_MAX: usize = 1_000;
const LENGTH_NS_MAX: u64 = 7 * 24 * 3_600 * NS_PER_SECOND;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corners_of_the_rate_are_those_that_were_typed() {
        let stages: Stages = "100:10s,1k:30s".parse().expect("stages");
        assert_eq!(stages.points(), [(0.0, 100.0), (10.0, 100.0), (40.0, 1_000.0)]);
        assert_eq!(stages.to_string().parse(), Ok(stages), "what a report saves is read again");
    }

    #[test]
    fn events_come_when_the_area_under_the_rate_has_grown_to_them() {
        let check = |text: &str, events: f64, expected_ms: Option<u64>| {
            let stages: Stages = text.parse().expect("stages");
            let got = stages.offset_ns(events).map(|ns| (ns + 500_000) / 1_000_000);
            assert_eq!(got, expected_ms, "{text} {events}");
        };
        // The first stage holds its rate.
        check("100:10s", 0.0, Some(0));
        check("100:10s", 250.0, Some(2_500));
        check("100:10s", 1_000.0, None);
        // From 0 to 100 within ten seconds are 500 events, a quarter of them in the first half.
        check("0:1s,100:10s", 0.0, Some(1_000));
        check("0:1s,100:10s", 125.0, Some(6_000));
        check("0:1s,100:10s", 499.999, Some(11_000));
        check("0:1s,100:10s", 500.0, None);
        // And down again, as long.
        check("0:1s,100:10s,100:1s,0:10s", 550.0, Some(11_500));
        check("0:1s,100:10s,100:1s,0:10s", 600.0 + 375.0, Some(17_000));
        check("0:1s,100:10s,0:1s,0:5s,100:2s", 550.0, Some(17_000));
    }

    #[test]
    fn a_warm_up_goes_before_at_the_first_rate() {
        let stages: Stages = "50:10s,100:10s".parse().expect("stages");
        let stages = stages.after(2 * NS_PER_SECOND);
        assert_eq!(stages.length_ns(), 22 * NS_PER_SECOND);
        assert_eq!(stages.offset_ns(100.0), Some(2 * NS_PER_SECOND));
        assert_eq!(Stages::steady(3.0).offset_ns(3_000_000.0), Some(1_000_000 * NS_PER_SECOND));
    }

    #[test]
    fn what_is_no_stage_is_refused_with_a_reason() {
        let check = |text: &str, part: &str| {
            let error = text.parse::<Stages>().expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        };
        check("", "no colon");
        check("1k", "no colon");
        check("1k:0", "no length");
        check("max:1s", "max");
        check("0:1s,0:2s", "rate 0");
        check("1k:6d,1k:6d", "longer than a week");
        check("fast:1s", "number");
    }
}
