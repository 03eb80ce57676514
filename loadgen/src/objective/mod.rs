//! What a run must reach: `p99<5ms`, `reach==1`, `rate>=100k/s`.
//!
//! # Contract       an objective whose figure was not measured is missed: nobody can say that it was met

pub(crate) mod watch;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::options::Rate;
use crate::timeline::{END_TO_END, Kind};

/// A bound on one figure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Objective {
    text: String,
    figure: Figure,
    relation: Relation,
    /// In milliseconds, events per second, or of 1, as the figure is.
    bound: f64,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Figure {
    /// Of one of the rows of latencies.
    Latency {
        /// The row's name.
        row: &'static str,
        /// What of it.
        value: Value,
    },
    /// Deliveries received of those that were expected, of 1.
    Reach,
    /// Events accepted per second.
    Rate,
    /// Events delivered per second, to all together.
    Deliveries,
    /// Subscribers open at the end, of 1.
    Connected,
    /// Deliveries missing without a word.
    Lost,
    /// Gaps told to subscribers that keep reading.
    Gaps,
    /// Events refused.
    Refused,
}

/// What of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    /// So much of 1 is no longer.
    Quantile(f64),
    /// The longest.
    Max,
    /// The arithmetic mean.
    Mean,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

/// What became of an objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Judged {
    /// As it was typed.
    pub(crate) objective: String,
    /// Whether it was reached.
    pub(crate) met: bool,
    /// What was measured, in the unit of the objective's figure: milliseconds, events per second, or of 1.
    pub(crate) figure: Option<f64>,
}

impl Objective {
    /// What it bounds.
    pub(crate) fn figure(&self) -> &Figure {
        &self.figure
    }

    /// Compares with what was measured, if anything was.
    pub(crate) fn judge(&self, figure: Option<f64>) -> Judged {
        let is_met = |figure: f64| match self.relation {
            Relation::Less => figure < self.bound,
            Relation::LessOrEqual => figure <= self.bound,
            Relation::Equal => figure == self.bound,
            Relation::GreaterOrEqual => self.bound <= figure,
            Relation::Greater => self.bound < figure,
        };
        Judged { objective: self.text.clone(), met: figure.is_some_and(is_met), figure }
    }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Objective, String> {
        let signs = [
            ("<=", Relation::LessOrEqual),
            (">=", Relation::GreaterOrEqual),
            ("==", Relation::Equal),
            ("<", Relation::Less),
            (">", Relation::Greater),
        ];
        let found = signs.into_iter().find_map(|(sign, relation)| Some((text.split_once(sign)?, relation)));
        let ((name, bound), relation) =
            found.ok_or_else(|| format!("{text:?} has none of < <= == >= > in it"))?;
        let (name, bound) = (name.trim(), bound.trim());
        let figure: Figure = name.parse()?;
        let bound = figure
            .read_bound(bound)
            .ok_or_else(|| format!("{bound:?} is no bound of {name}, such as {}", figure.example()))?;
        Ok(Objective { text: text.split_whitespace().collect(), figure, relation, bound })
    }
}

impl FromStr for Figure {
    type Err = String;

    fn from_str(name: &str) -> Result<Figure, String> {
        Ok(match name {
            "reach" => Figure::Reach,
            "rate" => Figure::Rate,
            "deliveries" => Figure::Deliveries,
            "connected" => Figure::Connected,
            "lost" => Figure::Lost,
            "gaps" => Figure::Gaps,
            "refused" => Figure::Refused,
            _ => {
                let (row, value) = name
                    .split_once('.')
                    .filter(|(row, _)| row_of(row).is_some())
                    .unwrap_or((END_TO_END, name));
                let unknown = || {
                    format!(
                        "{name:?} is no figure: p99, p99.9, max or mean, of e2e or as ack.p99 of {}; \
                         or reach, rate, deliveries, connected, lost, gaps, refused",
                        rows().collect::<Vec<_>>().join(", ")
                    )
                };
                let row = row_of(row).ok_or_else(unknown)?;
                Figure::Latency { row, value: read_value(value).ok_or_else(unknown)? }
            }
        })
    }
}

impl Figure {
    fn read_bound(&self, text: &str) -> Option<f64> {
        let number =
            |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite() && 0.0 <= *number);
        match self {
            Figure::Latency { .. } => {
                let units = [("ns", 1e-6), ("us", 1e-3), ("µs", 1e-3), ("ms", 1.0), ("s", 1e3), ("m", 6e4)];
                units.into_iter().find_map(|(unit, ms)| Some(number(text.strip_suffix(unit)?.trim())? * ms))
            }
            Figure::Rate | Figure::Deliveries => match text.parse() {
                Ok(Rate::PerSecond(rate)) => Some(rate),
                _ => None,
            },
            Figure::Reach | Figure::Connected => match text.strip_suffix('%') {
                Some(percent) => number(percent.trim()).map(|percent| percent / 100.0),
                None => number(text),
            }
            .filter(|part| *part <= 1.0),
            Figure::Lost | Figure::Gaps | Figure::Refused => {
                number(text).filter(|count| count.fract() == 0.0)
            }
        }
    }

    fn example(&self) -> &'static str {
        match self {
            Figure::Latency { .. } => "5ms or 300us",
            Figure::Rate | Figure::Deliveries => "100k/s",
            Figure::Reach | Figure::Connected => "1 or 99.9%",
            Figure::Lost | Figure::Gaps | Figure::Refused => "0",
        }
    }

    /// The unit that its values are shown with.
    pub(crate) fn unit(&self) -> &'static str {
        match self {
            Figure::Latency { .. } => " ms",
            Figure::Rate | Figure::Deliveries => "/s",
            _ => "",
        }
    }
}

impl Judged {
    /// The line that a report shows.
    pub(crate) fn line(&self) -> String {
        format!("{} {} ({})", self.word(), self.objective, self.measured())
    }

    /// Whether it was reached, in a word.
    pub(crate) fn word(&self) -> &'static str {
        if self.met { "PASS" } else { "FAIL" }
    }

    /// What was measured, with its unit.
    pub(crate) fn measured(&self) -> String {
        // It was parsed once, so it is again.
        let unit = self.objective.parse().map_or("", |objective: Objective| objective.figure.unit());
        match self.figure {
            None => "not measured".to_owned(),
            Some(figure) if figure.fract() == 0.0 => format!("{figure}{unit}"),
            Some(figure) if unit.is_empty() => format!("{figure:.6}"),
            Some(figure) => format!("{figure:.3}{unit}"),
        }
    }
}

fn row_of(name: &str) -> Option<&'static str> {
    rows().find(|row| row.replace(' ', "-") == name)
}

fn read_value(text: &str) -> Option<Value> {
    match text {
        "max" => Some(Value::Max),
        "mean" => Some(Value::Mean),
        _ => {
            let percent: f64 = text.strip_prefix('p')?.parse().ok()?;
            (0.0 < percent && percent <= 100.0).then_some(Value::Quantile(percent / 100.0))
        }
    }
}

/// The rows of latencies that objectives can name: those of a report.
fn rows() -> impl Iterator<Item = &'static str> {
    [END_TO_END].into_iter().chain(Kind::ALL.map(Kind::name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_judged_as_they_read() {
        let check = |text: &str, figure: f64, met: bool| {
            let objective: Objective = text.parse().expect(text);
            assert_eq!(objective.judge(Some(figure)).met, met, "{text} {figure}");
            assert!(!objective.judge(None).met, "what was not measured was not met: {text}");
        };
        check("p99<5ms", 4.999, true);
        check("p99<5ms", 5.0, false);
        check("p99 <= 300us", 0.3, true);
        check("max<2s", 1_999.0, true);
        check("reach==1", 1.0, true);
        check("reach>=99.9%", 0.998, false);
        check("rate>=100k/s", 100_000.0, true);
        check("rate>100k/s", 100_000.0, false);
        check("lost==0", 0.0, true);
        check("ack.p99.9<1s", 999.0, true);
        check("handshake.mean<1ms", 2.0, false);
    }

    #[test]
    fn each_figure_is_found_by_its_name() {
        let latency = |row, value| Figure::Latency { row, value };
        let check = |name: &str, figure: Figure| assert_eq!(name.parse(), Ok(figure), "{name}");
        check("p99", latency("e2e", Value::Quantile(0.99)));
        check("p99.9", latency("e2e", Value::Quantile(0.9990000000000001)));
        check("service.max", latency("service", Value::Max));
        check("send-lag.p50", latency("send lag", Value::Quantile(0.5)));
        check("connected", Figure::Connected);
    }

    #[test]
    fn what_is_no_objective_is_refused_with_a_reason() {
        let check = |text: &str, part: &str| {
            let error = text.parse::<Objective>().expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        };
        check("", "none of <");
        check("p99=5ms", "none of <");
        check("p99<5", "such as 5ms");
        check("p99<5 parsecs", "such as 5ms");
        check("p101<5ms", "is no figure");
        check("speed<5ms", "is no figure");
        check("queue.p99<5ms", "is no figure");
        check("rate>=max", "such as 100k/s");
        check("reach==2", "such as 1");
        check("lost==0.5", "such as 0");
    }

    #[test]
    fn the_line_says_what_was_measured() {
        let line = |text: &str, figure| text.parse::<Objective>().expect("an objective").judge(figure).line();
        assert_eq!(line("p99 < 20ms", Some(6.8151)), "PASS p99<20ms (6.815 ms)");
        assert_eq!(line("reach==1", Some(1.0)), "PASS reach==1 (1)");
        assert_eq!(line("rate>=1k/s", Some(99.5)), "FAIL rate>=1k/s (99.500/s)");
        assert_eq!(line("ack.p99<1ms", None), "FAIL ack.p99<1ms (not measured)");
    }
}
