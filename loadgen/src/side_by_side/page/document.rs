//! What is told of saved comparisons, and how they are put together by the shapes of their loads.
//!
//! # Contract       everything is read from what `side-by-side` saved as JSON, so that a saved result can be told again

use serde::Deserialize;
use serde_json::Value;

use crate::counting::figure::{self, Better};
use crate::side_by_side::statistics::Spread;

/// What one command compared.
#[derive(Debug, Deserialize)]
pub(crate) struct Document {
    pub(super) version: String,
    /// Unix seconds.
    #[serde(default)]
    pub(super) finished_at: u64,
    pub(super) command: Vec<String>,
    pub(super) machine: Machine,
    pub(super) pins: Pins,
    pub(super) results: Vec<Comparison>,
    #[serde(default)]
    pub(super) not_run: Vec<NotRun>,
}

/// Where it ran.
#[derive(Debug, Deserialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) kernel: String,
    pub(super) memory_bytes: Option<u64>,
}

/// On which processors.
#[derive(Debug, Deserialize)]
pub(super) struct Pins {
    pub(super) server: Option<usize>,
    pub(super) client: Option<usize>,
}

/// Two servers under one load.
#[derive(Debug, Deserialize)]
pub(super) struct Comparison {
    pub(super) name: String,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    figure: Option<String>,
    pub(super) a: Side,
    pub(super) b: Side,
    pub(super) verdict: String,
    pub(super) invalid: Vec<String>,
    pub(super) failures: Vec<String>,
    pub(super) notes: Vec<String>,
    pub(super) figures: Vec<Row>,
    pub(super) bars: Vec<BarRow>,
    pub(super) pairs: Vec<PairRow>,
}

/// One of the two.
#[derive(Debug, Deserialize)]
pub(super) struct Side {
    pub(super) profile: ProfileRow,
    pub(super) load: String,
    #[serde(default)]
    pub(super) version: Option<String>,
}

/// What is told of a profile.
#[derive(Debug, Deserialize)]
pub(super) struct ProfileRow {
    pub(super) name: String,
    #[serde(default)]
    pub(super) note: String,
    #[serde(default)]
    pub(super) command: Vec<String>,
}

/// One figure of both.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) a: Spread,
    pub(super) b: Spread,
    pub(super) ratio: Option<Spread>,
}

/// A bar and what became of it.
#[derive(Debug, Deserialize)]
pub(super) struct BarRow {
    /// As it was typed.
    pub(super) bar: String,
    /// `met`, `undecided`, `missed` or `unknown`.
    pub(super) met: String,
    pub(super) spread: Option<Spread>,
}

/// Two runs.
#[derive(Debug, Deserialize)]
pub(super) struct PairRow {
    a: RunRow,
    b: RunRow,
    pub(super) is_disturbed: bool,
}

#[derive(Debug, Deserialize)]
struct RunRow {
    neighbours: Neighbours,
}

#[derive(Debug, Deserialize)]
struct Neighbours {
    busy_cores: f64,
    steal_cores: f64,
}

/// A comparison that could not be made.
#[derive(Debug, Deserialize)]
pub(super) struct NotRun {
    pub(super) name: String,
    pub(super) reason: String,
}

/// The comparisons of one shape; the first one's other server is the measure.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) name: &'a str,
    pub(super) comparisons: Vec<&'a Comparison>,
}

/// One server of a shape, in parts of the measure.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    pub(super) name: &'a str,
    pub(super) role: Role,
    pub(super) low: f64,
    pub(super) middle: f64,
    pub(super) high: f64,
}

/// What a server is in a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The one that all others stand beside.
    Own,
    /// The one that is 1.
    Measure,
    /// Another one.
    Other,
}

impl Document {
    /// What `value` says, if `side-by-side` has written it.
    ///
    /// # Errors
    /// It is a result of `side-by-side` and yet lacks something.
    pub(crate) fn read(value: Value) -> Option<Result<Document, serde_json::Error>> {
        (value["kind"] == "side-by-side").then(|| serde_json::from_value(value))
    }

    /// The comparisons by shape, in the order in which shapes were first met.
    pub(super) fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for comparison in &self.results {
            let name = comparison.group.as_ref().unwrap_or(&comparison.name);
            match groups.iter_mut().find(|group| group.name == name) {
                Some(group) => group.comparisons.push(comparison),
                None => groups.push(Group { name, comparisons: vec![comparison] }),
            }
        }
        groups
    }

    /// How many bars have come out as `met`, of all.
    pub(super) fn bars(&self, met: &str) -> usize {
        self.results.iter().flat_map(|comparison| &comparison.bars).filter(|bar| bar.met == met).count()
    }
}

impl<'a> Group<'a> {
    /// The figure that the chart shows.
    pub(super) fn figure(&self) -> &'a str {
        self.comparisons.first().map_or("", |comparison| comparison.figure())
    }

    /// Whether less of it is better.
    pub(super) fn is_less_better(&self) -> bool {
        figure::kind(self.figure()).is_none_or(|kind| kind.better == Better::Lower)
    }

    /// Every server, the best first. Fanfare ran beside each: so two others are put in relation by it.
    pub(super) fn standings(&self) -> Vec<Standing<'a>> {
        let name = self.figure();
        let ratio = |comparison: &Comparison| comparison.row(name)?.ratio.filter(|ratio| 0.0 < ratio.low);
        let Some((first, rest)) = self.comparisons.split_first() else { return Vec::new() };
        let Some(own) = ratio(first) else { return Vec::new() };
        let one = |name: &'a str, role, middle, low, high| Standing { name, role, middle, low, high };
        let mut standings = vec![
            one(&first.a.profile.name, Role::Own, own.middle, own.low, own.high),
            one(&first.b.profile.name, Role::Measure, 1.0, 1.0, 1.0),
        ];
        for comparison in rest {
            if let Some(beside) = ratio(comparison) {
                let (middle, low, high) = quotient(&own, &beside);
                standings.push(one(&comparison.b.profile.name, Role::Other, middle, low, high));
            }
        }
        standings.sort_by(|one, other| one.middle.total_cmp(&other.middle));
        if !self.is_less_better() {
            standings.reverse();
        }
        standings
    }
}

/// `a / b` with the interval that two independent ones make: on the scale of ratios their half widths add like sides at right angles.
fn quotient(a: &Spread, b: &Spread) -> (f64, f64, f64) {
    let middle = a.middle / b.middle;
    let together = |one: f64, other: f64| one.ln().hypot(other.ln()).exp();
    let below = together(a.middle / a.low, b.high / b.middle);
    let above = together(a.high / a.middle, b.middle / b.low);
    (middle, middle / below, middle * above)
}

impl Comparison {
    /// The figure that matters most: the one that the suite names, or that of the first bar.
    pub(super) fn figure(&self) -> &str {
        let of_bar = || Some(bar_figure(&self.bars.first()?.bar));
        let of_row = || Some(self.figures.iter().find(|row| row.ratio.is_some())?.name.as_str());
        self.figure.as_deref().or_else(of_bar).or_else(of_row).unwrap_or("")
    }

    /// The row called `name`.
    pub(super) fn row(&self, name: &str) -> Option<&Row> {
        self.figures.iter().find(|row| row.name == name)
    }

    /// Processors that others kept busy or took: in the middle of all runs, and in the worst one.
    pub(super) fn neighbours(&self) -> Option<(f64, f64)> {
        let runs = self.pairs.iter().flat_map(|pair| [&pair.a, &pair.b]);
        let mut cores: Vec<f64> =
            runs.map(|run| run.neighbours.busy_cores + run.neighbours.steal_cores).collect();
        cores.sort_by(f64::total_cmp);
        Some((*cores.get(cores.len() / 2)?, *cores.last()?))
    }
}

/// The figure that a bar is about.
pub(super) fn bar_figure(bar: &str) -> &str {
    let name = bar.split(['<', '>']).next().unwrap_or(bar);
    name.strip_prefix("a:").unwrap_or(name)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// A spread.
    pub(in super::super) fn spread(low: f64, middle: f64, high: f64) -> Value {
        json!({"middle": middle, "low": low, "high": high, "min": low, "max": high})
    }

    /// A comparison of `fanfare` with `other`, whose ratio is `ratio`.
    pub(in super::super) fn comparison(name: &str, group: Option<&str>, other: &str, ratio: Value) -> Value {
        json!({
            "name": name, "group": group, "figure": null,
            "a": {"profile": {"name": "fanfare", "command": ["fanfare", "serve"]}, "load": "steady", "version": "fanfare 1"},
            "b": {"profile": {"name": other, "note": "a note"}, "load": "steady"},
            "verdict": "pass", "invalid": [], "failures": [], "notes": [],
            "figures": [{"name": "cpu_per_delivery", "unit": "µs", "a": spread(6.0, 6.5, 7.0),
                         "b": spread(6.1, 6.4, 6.8), "ratio": ratio}],
            "bars": [{"bar": "cpu_per_delivery<=1.05", "met": "met", "spread": ratio}],
            "pairs": [{"a": {"neighbours": {"busy_cores": 0.1, "steal_cores": 0.02}},
                       "b": {"neighbours": {"busy_cores": 0.0, "steal_cores": 0.0}}, "is_disturbed": true}]
        })
    }

    /// A document of these comparisons.
    pub(in super::super) fn document(results: Vec<Value>) -> Document {
        let value = json!({
            "kind": "side-by-side", "version": "1", "finished_at": 1_800_000_000, "command": ["side-by-side", "x"],
            "machine": {"processor": "p", "cores": 2, "kernel": "k", "memory_bytes": 1}, "exit_code": 0,
            "pins": {"server": 0, "client": 1}, "results": results,
            "not_run": [{"name": "beside nobody", "reason": "cannot start"}]
        });
        Document::read(value).expect("of side-by-side").expect("whole")
    }

    #[test]
    fn others_are_put_in_relation_to_the_measure_of_their_shape() {
        let document = document(vec![
            comparison("one", Some("steady"), "floor", spread(1.0, 1.1, 1.21)),
            comparison("alone", None, "floor", spread(0.9, 1.0, 1.1)),
            comparison("two", Some("steady"), "slow", spread(0.5, 0.5, 0.5)),
            comparison("three", Some("steady"), "slower", spread(0.2, 0.25, 0.25)),
        ]);
        let groups = document.groups();
        assert_eq!(groups.iter().map(|group| group.name).collect::<Vec<_>>(), ["steady", "alone"]);
        let standings = groups[0].standings();
        let got: Vec<(&str, String)> = standings
            .iter()
            .map(|one| (one.name, format!("{:.2} {:.2} {:.2}", one.low, one.middle, one.high)))
            .collect();
        // A ratio without an interval adds nothing to that of the other; two of a tenth make one of a tenth times the root of 2.
        assert_eq!(got[0], ("floor", "1.00 1.00 1.00".to_owned()));
        assert_eq!(got[1], ("fanfare", "1.00 1.10 1.21".to_owned()));
        assert_eq!(got[2], ("slow", "2.00 2.20 2.42".to_owned()));
        assert_eq!(got[3], ("slower", "4.00 4.40 5.61".to_owned()));
        assert_eq!(document.bars("met"), 4);
    }

    #[test]
    fn what_is_no_result_of_side_by_side_is_left_to_others() {
        assert!(Document::read(json!({"kind": "count"})).is_none());
        assert!(Document::read(json!({"kind": "side-by-side"})).is_some_and(|read| read.is_err()));
    }

    #[test]
    fn a_bar_is_about_the_figure_it_names() {
        for (bar, figure) in [("p99<=1.1", "p99"), ("a:rss_per_connection<=400", "rss_per_connection")] {
            assert_eq!(bar_figure(bar), figure);
        }
    }
}
