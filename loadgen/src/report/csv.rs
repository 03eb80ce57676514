//! Intervals as comma-separated values, one line each, for spreadsheets.

use super::Report;
use crate::timeline::{END_TO_END, Interval, Kind};

/// All intervals of all runs, under one line of names. `labels` name the runs.
pub(super) fn intervals(reports: &[Report], labels: &[String]) -> String {
    let names: Vec<&str> = [END_TO_END].into_iter().chain(Kind::ALL.map(Kind::name)).collect();
    let mut out = COLUMNS.join(",");
    for name in &names {
        let name = name.replace(' ', "_");
        FIGURES.iter().for_each(|figure| out.push_str(&format!(",{name}_{figure}")));
    }
    out.push('\n');
    for (report, label) in reports.iter().zip(labels) {
        for interval in &report.intervals {
            put_interval(&mut out, label, report.phase_of(interval), interval, &names);
        }
    }
    out
}

fn put_interval(out: &mut String, label: &str, phase: &str, interval: &Interval, names: &[&str]) {
    out.push_str(&format!(
        "{},{:.3},{:.3},{phase},{},{},{},{},{:.1},{},{:.1},{},{},{},{},{:.3},{:.3}",
        quoted(label),
        interval.start_s,
        interval.length_s,
        interval.sent,
        interval.accepted,
        interval.refused,
        interval.retried,
        interval.accepted_per_s(),
        interval.delivered,
        interval.delivered_per_s(),
        interval.bytes,
        interval.gaps,
        interval.closed,
        interval.open,
        interval.cpu_share_max,
        interval.turn_ms_max,
    ));
    for name in names {
        match interval.latency_ms.iter().find(|row| row.name == *name).map(|row| &row.summary) {
            Some(row) => out.push_str(&format!(
                ",{},{:.3},{:.3},{:.3},{:.3},{:.3}",
                row.count, row.p50_ms, row.p90_ms, row.p99_ms, row.p999_ms, row.max_ms
            )),
            None => out.push_str(",0,,,,,"),
        }
    }
    out.push('\n');
}

/// A field that may hold anything. What a spreadsheet would take for a formula gets an apostrophe in front.
fn quoted(text: &str) -> String {
    let formula = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{formula}{}\"", text.replace('"', "\"\""))
}

const COLUMNS: [&str; 17] = [
    "run",
    "start_s",
    "length_s",
    "phase",
    "sent",
    "accepted",
    "refused",
    "retried",
    "accepted_per_s",
    "delivered",
    "delivered_per_s",
    "bytes",
    "gaps",
    "closed",
    "open",
    "cpu_share_max",
    "turn_ms_max",
];
const FIGURES: [&str; 6] = ["count", "p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn every_line_has_a_field_for_every_name() {
        let reports = [sample("a"), sample("b")];
        let text = intervals(&reports, &["one, \"two\"".to_owned(), "=1+1".to_owned()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + reports.iter().map(|report| report.intervals.len()).sum::<usize>());
        assert!(lines[1].starts_with("\"one, \"\"two\"\"\",-1.000,1.000,warm-up,"), "{}", lines[1]);
        assert!(text.contains("\n\"'=1+1\","), "{text}");
        let count = |line: &str| line.split(',').count();
        assert!(lines[4..].iter().all(|line| count(line) == count(lines[0])), "{text}");
    }
}
