//! The data that a page draws its charts from.
//!
//! # Bounds         the curve of a kind has about 5 points per halving of what is left to 100 %; intervals have their own bound

use serde_json::{Value, json};

use crate::histogram::BANDS_PER_DECADE;
use crate::load::stages::Stages;
use crate::report::Report;
use crate::timeline::{END_TO_END, Interval};

/// The data of all runs.
///
/// # Errors
/// A saved text is no histogram.
pub(super) fn data(reports: &[Report], labels: &[String]) -> Result<Value, String> {
    let runs = reports.iter().zip(labels).map(|(report, label)| run(report, label));
    Ok(json!({"bandsPerDecade": BANDS_PER_DECADE, "runs": runs.collect::<Result<Vec<_>, _>>()?}))
}

fn run(report: &Report, label: &str) -> Result<Value, String> {
    let mut curves = Vec::new();
    for row in &report.latency_ms {
        if let Some(latency) = report.latency(&row.name)? {
            curves.push(json!({"name": row.name, "points": latency.curve()}));
        }
    }
    let intervals = report.intervals.iter().map(|interval| time_point(report, interval));
    Ok(json!({
        "label": label,
        "verdict": report.verdict.word(),
        "hold": report.setting.hold,
        // A rate that changes has points, and no one value.
        "rate": report.setting.rate.filter(|_| report.setting.stages.is_none()),
        "stages": report.setting.stages.as_ref().and_then(|text| Some(text.parse::<Stages>().ok()?.points())),
        "subscribers": report.setting.connections,
        "curves": curves,
        "intervals": intervals.collect::<Result<Vec<_>, _>>()?,
    }))
}

fn time_point(report: &Report, interval: &Interval) -> Result<Value, String> {
    let of = |name: &str| interval.latency_ms.iter().find(|row| row.name == name).map(|row| &row.summary);
    let whole = of(END_TO_END);
    let bands = interval.latency(END_TO_END)?.map(|latency| latency.bands());
    Ok(json!({
        "from": interval.start_s,
        "length": interval.length_s,
        "phase": report.phase_of(interval),
        "published": interval.accepted_per_s(),
        "delivered": interval.delivered_per_s(),
        "open": interval.open,
        "gaps": interval.gaps,
        "closed": interval.closed,
        "cpu": interval.cpu_share_max,
        "p50": whole.map(|summary| summary.p50_ms),
        "p99": whole.map(|summary| summary.p99_ms),
        "max": whole.map(|summary| summary.max_ms),
        "span": of("span").map(|summary| summary.p99_ms),
        "bands": bands,
    }))
}
