//! `loadgen compare`: saved results of `run` or `count`, figure by figure; one or several of each side.
//!
//! # Contract       only figures that both sides have in every result and that have a direction are judged; at least one must be.
//! With several results a side a figure is worse, or better, if the whole interval of the difference is beyond the tolerance; the
//! intervals of all figures together miss a truth in one comparison of twenty
//! # Bounds         at most [`RESULTS_MAX`] results a side

mod difference;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use self::difference::Difference;
use crate::counting::figure::{Better, KINDS};
use crate::counting::outcome::shown;
use crate::report::outputs::RESULT_FILE;

/// Options of `loadgen compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareFlags {
    /// The result before, as `run --json` or `count --json` wrote it, or the folder of `run -o`; or a folder of several such
    pub(crate) before: PathBuf,
    /// The result after, or a folder of several
    pub(crate) after: PathBuf,
    /// Differences up to this share are none
    #[arg(long, value_name = "SHARE", default_value = "5%")]
    pub(crate) tolerance: Tolerance,
    /// Judge this figure only, as the table calls it, such as 'e2e p99'. Repeatable
    #[arg(long = "figure", value_name = "NAME")]
    pub(crate) figures: Vec<String>,
}

/// A share of 1 that is 0 or more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tolerance(f64);

/// What became of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Better,
    Same,
    Worse,
    /// The results differ too much among themselves to say.
    Undecided,
}

/// One figure of both sides.
#[derive(Debug, PartialEq)]
struct Line {
    name: String,
    unit: &'static str,
    difference: Difference,
    change: Change,
}

/// Compares both sides and prints what changed.
///
/// # Errors
/// A file cannot be read, is no such result, or the two sides have no figure in common.
pub(crate) fn run(flags: &CompareFlags) -> anyhow::Result<ExitCode> {
    let (before, after) = (read_side(&flags.before)?, read_side(&flags.after)?);
    for (path, result) in before.iter().chain(&after) {
        let verdict = result["verdict"].as_str().unwrap_or("none");
        if verdict != "pass" {
            println!("note       the verdict of {} is {verdict}, so its figures mean little", path.display());
        }
    }
    let values =
        |side: &[(PathBuf, Value)]| side.iter().map(|(_, result)| result.clone()).collect::<Vec<_>>();
    let (before, after) = (values(&before), values(&after));
    let lines = compare(&before, &after, &flags.figures, flags.tolerance)?;
    let are_several = 1 < before.len().max(after.len());
    if are_several {
        println!(
            "means of {} results before and {} after (of five or more without a fifth at either end), and the interval of the difference",
            before.len(),
            after.len()
        );
    }
    lines.iter().for_each(|line| println!("{}", line.text(are_several)));
    let count = |change: Change| lines.iter().filter(|line| line.change == change).count();
    let (worse, undecided) = (count(Change::Worse), count(Change::Undecided));
    match (worse, undecided) {
        (0, 0) => println!("same or better"),
        (0, _) => println!("same or better, as far as can be told: {undecided} of {} undecided", lines.len()),
        _ => println!("WORSE"),
    }
    Ok(ExitCode::from(u8::from(0 < worse)))
}

impl Line {
    fn text(&self, are_several: bool) -> String {
        let Line { name, unit, difference, change } = self;
        let percent = difference.middle * 100.0;
        let interval = if are_several {
            format!("{:>20}", format!("{:+.1} to {:+.1} %", difference.low * 100.0, difference.high * 100.0))
        } else {
            String::new()
        };
        let (before, after) = (shown(difference.before), shown(difference.after));
        format!("{name:<24}{before:>16}{after:>16} {unit:<6}{percent:>+9.1} %{interval}   {}", change.word())
    }
}

impl Change {
    fn word(self) -> &'static str {
        match self {
            Change::Better => "better",
            Change::Same => "same",
            Change::Worse => "WORSE",
            Change::Undecided => "undecided",
        }
    }
}

/// The results that `path` names, one or several, each with its own path.
fn read_side(path: &Path) -> anyhow::Result<Vec<(PathBuf, Value)>> {
    let paths = result_paths(path)?;
    paths.into_iter().map(|path| Ok((path.clone(), read(&path)?))).collect()
}

/// The file itself, the one in the folder, or those of all folders and files in it, by name.
fn result_paths(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let own = path.join(RESULT_FILE);
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    if own.is_file() {
        return Ok(vec![own]);
    }
    let named = || format!("cannot read {}", path.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).with_context(named)? {
        let entry = entry.with_context(named)?.path();
        let inner = entry.join(RESULT_FILE);
        if inner.is_file() {
            paths.push(inner);
        } else if entry.is_file() && entry.extension().is_some_and(|extension| extension == "json") {
            paths.push(entry);
        }
    }
    paths.sort();
    match paths.len() {
        0 => bail!("{} has no results in it", path.display()),
        count if RESULTS_MAX < count => {
            bail!("{} has {count} results in it, and {RESULTS_MAX} are the most", path.display())
        }
        _ => Ok(paths),
    }
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no result", path.display()))
}

/// Judges the figures that all results have, or those of them called `names`.
///
/// # Errors
/// There are none, or not these.
fn compare(
    before: &[Value],
    after: &[Value],
    names: &[String],
    tolerance: Tolerance,
) -> anyhow::Result<Vec<Line>> {
    let all = |results: &[Value]| -> Vec<Vec<Figure>> { results.iter().map(figures).collect() };
    let (before, after) = (all(before), all(after));
    // A figure that one of the results has not is none that all of them could be judged by.
    let values = |name: &str, results: &[Vec<Figure>]| -> Option<Vec<f64>> {
        results.iter().map(|figures| Some(figures.iter().find(|figure| figure.name == name)?.value)).collect()
    };
    let series =
        before.first().into_iter().flatten().filter_map(|figure| {
            Some((figure, values(&figure.name, &before)?, values(&figure.name, &after)?))
        });
    let mut series: Vec<_> = series.collect();
    if series.is_empty() {
        bail!("the two results have no figure in common");
    }
    for name in names {
        if !series.iter().any(|(figure, ..)| figure.name == *name) {
            let known: Vec<&str> = series.iter().map(|(figure, ..)| &*figure.name).collect();
            bail!("{name:?} is none of the figures that both have: {}", known.join(", "));
        }
    }
    series.retain(|(figure, ..)| names.is_empty() || names.contains(&figure.name));
    // Of many figures one or another is beyond its own interval by chance.
    let risk = RISK / series.len() as f64;
    let lines = series.into_iter().filter_map(|(figure, before, after)| {
        let difference = Difference::between(&before, &after, risk)?;
        let change = change(&difference, figure.better, tolerance);
        Some(Line { name: figure.name.clone(), unit: figure.unit, difference, change })
    });
    Ok(lines.collect())
}

fn change(difference: &Difference, better: Better, Tolerance(tolerance): Tolerance) -> Change {
    let Difference { low, high, .. } = *difference;
    match (tolerance < low, high < -tolerance) {
        (is_more, is_less) if is_more || is_less => {
            if is_more == (better == Better::Higher) {
                Change::Better
            } else {
                Change::Worse
            }
        }
        _ if -tolerance <= low && high <= tolerance => Change::Same,
        _ => Change::Undecided,
    }
}

/// A figure of a result that has a direction.
#[derive(Debug)]
struct Figure {
    name: String,
    unit: &'static str,
    better: Better,
    value: f64,
}

fn figures(result: &Value) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut put = |name: String, unit, better, value: &Value| {
        if let Some(value) = value.as_f64()
            && better != Better::Neither
        {
            figures.push(Figure { name, unit, better, value });
        }
    };
    for kind in KINDS {
        put(kind.name.to_owned(), kind.unit, kind.better, &result["figures"][kind.name]);
    }
    put("published/s".to_owned(), "/s", Better::Higher, &result["published"]["accepted_per_s"]);
    put("delivered/s".to_owned(), "/s", Better::Higher, &result["delivered"]["per_s"]);
    let cost = &result["costs"]["server_cpu_us_per_delivery"];
    put("server/delivery".to_owned(), "µs", Better::Lower, cost);
    for row in result["latency_ms"].as_array().into_iter().flatten() {
        let name = row["name"].as_str().unwrap_or_default();
        // The lateness of the generator is none of the server's.
        if name != "send lag" {
            for quantile in ["p50", "p99", "p999"] {
                put(format!("{name} {quantile}"), "ms", Better::Lower, &row[format!("{quantile}_ms")]);
            }
        }
    }
    figures
}

impl FromStr for Tolerance {
    type Err = String;

    fn from_str(text: &str) -> Result<Tolerance, String> {
        let (number, factor) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
        let share = number.trim().parse::<f64>().ok().filter(|share| (0.0..1e6).contains(share));
        share
            .map(|share| Tolerance(share * factor))
            .ok_or_else(|| "must be a share such as 5% or 0.05".to_owned())
    }
}

/// How often all judged figures together may be misjudged.
const RISK: f64 = 0.05;
/// What one side may be made of; all of it is held in memory.
const RESULTS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::slice::from_ref;

    fn judge(before: &[Value], after: &[Value], tolerance: f64) -> Vec<Line> {
        compare(before, after, &[], Tolerance(tolerance)).unwrap_or_default()
    }

    #[test]
    fn figures_change_for_better_or_worse_by_their_direction() {
        let check = |name: &str, before: f64, after: f64, expected: Change| {
            let result = |value: f64| [json!({"figures": {name: value}})];
            let lines = judge(&result(before), &result(after), 0.05);
            assert_eq!(lines.len(), 1);
            assert_eq!(lines[0].change, expected, "{name} {before} {after}");
        };
        check("cpu_per_delivery", 1.0, 1.04, Change::Same);
        check("cpu_per_delivery", 1.0, 1.06, Change::Worse);
        check("cpu_per_delivery", 1.0, 0.9, Change::Better);
        check("deliveries_per_s", 100.0, 94.0, Change::Worse);
        check("deliveries_per_s", 100.0, 120.0, Change::Better);
        check("rss_growth", 0.0, 0.0, Change::Same);
        check("rss_growth", 0.0, 1.0, Change::Worse);
    }

    #[test]
    fn what_has_no_direction_or_no_counterpart_is_left_out() {
        let before = json!({"figures": {"payload_bytes": 1, "p50": 2}, "delivered": {"per_s": 10}});
        let after = json!({"figures": {"payload_bytes": 9, "p99": 2},
            "latency_ms": [{"name": "e2e", "p50_ms": 1.0}, {"name": "send lag", "p50_ms": 1.0}],
            "costs": {"server_cpu": 0.5, "server_cpu_us_per_delivery": 4.0}});
        let lines = |before: &Value, after: &Value| judge(from_ref(before), from_ref(after), 0.0);
        assert_eq!(lines(&before, &after), []);
        let names: Vec<String> = lines(&after, &after).into_iter().map(|line| line.name).collect();
        assert_eq!(names, ["p99", "server/delivery", "e2e p50"]);
    }

    #[test]
    fn several_results_tell_a_small_change_from_noise() {
        let side = |values: [f64; 5]| values.map(|value| json!({"figures": {"p50": value}}));
        let check = |before: [f64; 5], after: [f64; 5], expected: Change| {
            let lines = judge(&side(before), &side(after), 0.05);
            assert_eq!(lines[0].change, expected, "{before:?} {after:?}: {:?}", lines[0]);
        };
        let quiet = [1.0, 1.01, 0.99, 1.0, 1.02];
        check(quiet, quiet, Change::Same);
        check(quiet, quiet.map(|value| value * 1.1), Change::Worse);
        check(quiet, quiet.map(|value| value / 1.1), Change::Better);
        let loud = [1.0, 1.3, 0.8, 1.1, 0.9];
        check(loud, loud.map(|value| value * 1.1), Change::Undecided);
        check(loud, loud, Change::Undecided);
        // One run that was hit by something else neither hides a change nor makes one.
        check(quiet, [1.1, 1.11, 1.09, 1.1, 5.0], Change::Worse);
        check([1.0, 1.01, 0.99, 1.0, 5.0], quiet, Change::Same);
    }

    #[test]
    fn a_figure_that_one_result_lacks_is_left_out() {
        let whole = json!({"figures": {"p50": 1, "p99": 2}});
        let part = json!({"figures": {"p99": 2}});
        let (one, other) = ([whole.clone(), part], [whole.clone(), whole]);
        for (before, after) in [(&one, &other), (&other, &one)] {
            let lines = judge(before, after, 0.0);
            assert_eq!(lines.iter().map(|line| &*line.name).collect::<Vec<_>>(), ["p99"]);
        }
    }

    #[test]
    fn tolerances_are_shares() {
        assert_eq!("5%".parse(), Ok(Tolerance(0.05)));
        assert_eq!("0.5".parse(), Ok(Tolerance(0.5)));
        for wrong in ["", "-1", "x%", "NaN"] {
            assert!(wrong.parse::<Tolerance>().is_err(), "{wrong}");
        }
    }
}
