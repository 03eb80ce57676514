//! `loadgen compare`: two saved results of `run` or `count`, figure by figure.
//!
//! # Contract       only figures that both have and that have a direction are judged; at least one must be

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use crate::counting::figure::{Better, KINDS};
use crate::counting::outcome::shown;
use crate::report::saved::locate;

/// Options of `loadgen compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareFlags {
    /// The result before, as `run --json` or `count --json` wrote it, or the folder of `run -o`
    pub(crate) before: PathBuf,
    /// The result after
    pub(crate) after: PathBuf,
    /// Differences up to this share are none
    #[arg(long, value_name = "SHARE", default_value = "5%")]
    pub(crate) tolerance: Tolerance,
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
}

/// One figure of both results.
#[derive(Debug, PartialEq)]
struct Line {
    name: String,
    unit: &'static str,
    before: f64,
    after: f64,
    change: Change,
}

/// Compares two files and prints what changed.
///
/// # Errors
/// A file cannot be read, is no such result, or the two have no figure in common.
pub(crate) fn run(flags: &CompareFlags) -> anyhow::Result<ExitCode> {
    let (before, after) = (read(&flags.before)?, read(&flags.after)?);
    for (path, result) in [(&flags.before, &before), (&flags.after, &after)] {
        let verdict = result["verdict"].as_str().unwrap_or("none");
        if verdict != "pass" {
            println!("note       the verdict of {} is {verdict}, so its figures mean little", path.display());
        }
    }
    let lines = compare(&before, &after, flags.tolerance);
    if lines.is_empty() {
        bail!("the two results have no figure in common");
    }
    for line in &lines {
        let change = match line.change {
            Change::Better => "better",
            Change::Same => "same",
            Change::Worse => "WORSE",
        };
        let Line { name, unit, before, after, .. } = line;
        let percent = (after / before - 1.0) * 100.0;
        println!(
            "{name:<24}{:>16}{:>16} {unit:<6}{percent:>+9.1} %   {change}",
            shown(*before),
            shown(*after)
        );
    }
    let is_worse = lines.iter().any(|line| line.change == Change::Worse);
    println!("{}", if is_worse { "WORSE" } else { "same or better" });
    Ok(ExitCode::from(u8::from(is_worse)))
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let path = &locate(path);
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no result", path.display()))
}

fn compare(before: &Value, after: &Value, tolerance: Tolerance) -> Vec<Line> {
    let after = figures(after);
    let lines = figures(before).into_iter().filter_map(|(name, unit, better, before)| {
        let (.., after) = after.iter().find(|(other, ..)| *other == name)?;
        let change = change(before, *after, better, tolerance);
        Some(Line { name, unit, before, after: *after, change })
    });
    lines.collect()
}

fn change(before: f64, after: f64, better: Better, tolerance: Tolerance) -> Change {
    let more = after - before;
    if more.abs() <= before.abs() * tolerance.0 {
        return Change::Same;
    }
    if (0.0 < more) == (better == Better::Higher) { Change::Better } else { Change::Worse }
}

/// The figures of a result that have a direction.
fn figures(result: &Value) -> Vec<(String, &'static str, Better, f64)> {
    let mut figures = Vec::new();
    let mut put = |name: String, unit, better, value: &Value| {
        if let Some(value) = value.as_f64()
            && better != Better::Neither
        {
            figures.push((name, unit, better, value));
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_change_for_better_or_worse_by_their_direction() {
        let check = |name: &str, before: f64, after: f64, expected: Change| {
            let result = |value: f64| json!({"figures": {name: value}});
            let lines = compare(&result(before), &result(after), Tolerance(0.05));
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
        assert_eq!(compare(&before, &after, Tolerance(0.0)), []);
        let names: Vec<String> =
            compare(&after, &after, Tolerance(0.0)).into_iter().map(|line| line.name).collect();
        assert_eq!(names, ["p99", "server/delivery", "e2e p50"]);
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
