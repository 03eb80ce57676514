//! What a ratio must be, and whether it is.

use std::str::FromStr;

use serde::Serialize;

use super::statistics::Spread;
use crate::counting::figure;

/// A bound on a figure's ratio A/B, or on A's figure itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(into = "String")]
pub(crate) struct Bar {
    /// The figure.
    pub(crate) figure: &'static str,
    /// Whether A's figure is meant, and not the ratio.
    pub(crate) is_absolute: bool,
    /// Whether the bound is the most, or else the least.
    pub(crate) is_most: bool,
    /// The bound.
    pub(crate) bound: f64,
}

/// Whether a bar is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Judgement {
    /// The whole interval is within.
    Met,
    /// The interval is on both sides of the bound.
    Undecided,
    /// The whole interval is beyond.
    Missed,
    /// There is no such figure in this shape.
    Unknown,
}

impl Bar {
    /// The figure called `name`.
    ///
    /// # Errors
    /// There is none; the message names those that there are.
    pub(crate) fn figure_named(name: &str) -> Result<&'static str, String> {
        let names = || figure::KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
        figure::kind(name).map(|kind| kind.name).ok_or_else(|| format!("{name:?} is none of {}", names()))
    }

    /// What `spread` says of the bar.
    pub(crate) fn judge(&self, spread: Option<&Spread>) -> Judgement {
        let Some(spread) = spread else { return Judgement::Unknown };
        let is_within = |value: f64| if self.is_most { value <= self.bound } else { self.bound <= value };
        match (is_within(spread.low), is_within(spread.high)) {
            (true, true) => Judgement::Met,
            (false, false) => Judgement::Missed,
            _ => Judgement::Undecided,
        }
    }
}

impl Judgement {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Judgement::Met => "met",
            Judgement::Undecided => "undecided",
            Judgement::Missed => "missed",
            Judgement::Unknown => "unknown",
        }
    }
}

impl FromStr for Bar {
    type Err = String;

    fn from_str(text: &str) -> Result<Bar, String> {
        let (whole, is_most, bound) = match (text.split_once("<="), text.split_once(">=")) {
            (Some((whole, bound)), None) => (whole, true, bound),
            (None, Some((whole, bound))) => (whole, false, bound),
            _ => return Err(format!("{text:?} has no <= and no >=, or both")),
        };
        let (name, is_absolute) = match whole.trim().strip_prefix("a:") {
            Some(name) => (name, true),
            None => (whole.trim(), false),
        };
        let figure = Bar::figure_named(name)?;
        let bound = bound.trim().parse::<f64>().ok().filter(|bound| bound.is_finite());
        let bound = bound.ok_or_else(|| format!("the bound of {text:?} is no number"))?;
        Ok(Bar { figure, is_absolute, is_most, bound })
    }
}

impl From<Bar> for String {
    fn from(bar: Bar) -> String {
        let side = if bar.is_absolute { "a:" } else { "" };
        let sign = if bar.is_most { "<=" } else { ">=" };
        format!("{side}{}{sign}{}", bar.figure, bar.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_read_and_written_alike() {
        for text in ["cpu_per_delivery<=1.05", "deliveries_per_s>=0.9", "a:rss_per_connection<=400"] {
            let bar: Bar = text.parse().expect("a bar");
            assert_eq!(String::from(bar), text);
        }
        for wrong in
            ["", "cpu_per_delivery", "speed<=1", "p50<=x", "p50=>1", "p50<=1>=2", "b:p50<=1", "p50<=inf"]
        {
            assert!(wrong.parse::<Bar>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bar_is_undecided_while_its_bound_lies_in_the_interval() {
        let check = |bar: &str, low: f64, high: f64, expected: Judgement| {
            let spread = Spread { middle: (low + high) / 2.0, low, high, min: low, max: high };
            assert_eq!(
                bar.parse::<Bar>().expect("a bar").judge(Some(&spread)),
                expected,
                "{bar} {low} {high}"
            );
        };
        check("p50<=1.1", 0.9, 1.0, Judgement::Met);
        check("p50<=1.1", 1.0, 1.1, Judgement::Met);
        check("p50<=1.1", 1.0, 1.2, Judgement::Undecided);
        check("p50<=1.1", 1.15, 1.2, Judgement::Missed);
        check("deliveries_per_s>=0.9", 0.95, 1.2, Judgement::Met);
        check("deliveries_per_s>=0.9", 0.85, 1.2, Judgement::Undecided);
        check("deliveries_per_s>=0.9", 0.5, 0.8, Judgement::Missed);
        assert_eq!("p50<=1".parse::<Bar>().expect("a bar").judge(None), Judgement::Unknown);
    }
}
