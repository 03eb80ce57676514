//! Results side by side: the same figures of each, one line per figure.

use super::Report;
use super::table::{binary, grouped};
use crate::cost::{CostFigure, Costs};

/// One figure of all results.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// What it is.
    pub(super) name: String,
    /// As text, by result.
    pub(super) values: Vec<String>,
    /// As numbers where it is one that may be compared.
    pub(super) numbers: Vec<Option<f64>>,
}

impl Line {
    /// By how much a result differs from the first one; empty where that says nothing.
    pub(super) fn difference(&self, place: usize) -> String {
        match (self.numbers.first().copied().flatten(), self.numbers.get(place).copied().flatten()) {
            (Some(first), Some(number)) if 0 < place && first != 0.0 => {
                format!("{:+.1} %", (number / first - 1.0) * 100.0)
            }
            _ => String::new(),
        }
    }
}

/// The figures of all results, those that no result has left out.
pub(super) fn lines(reports: &[Report]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut text = |name: &str, value: fn(&Report) -> String| {
        let values = reports.iter().map(value).collect();
        lines.push(Line { name: name.to_owned(), values, numbers: vec![None; reports.len()] });
    };
    text("verdict", |report| report.verdict.word().to_owned());
    text("target", Report::server);
    text("subscribers", |report| grouped(report.setting.connections as f64));
    text("asked for", Report::load);
    let mut number = |name: String, value: &dyn Fn(&Report) -> Option<f64>, shown: fn(f64) -> String| {
        put_number(&mut lines, reports, name, value, shown);
    };
    number("published/s".to_owned(), &|report| Some(report.published.accepted_per_s), grouped);
    number("delivered/s".to_owned(), &|report| Some(report.delivered.per_s), grouped);
    number("received/s".to_owned(), &|report| Some(report.delivered.bytes_per_s), binary);
    number("delivered".to_owned(), &|report| Some(report.delivered.total as f64), grouped);
    number("reach".to_owned(), &|report| report.delivered.reach, |reach| format!("{reach:.6}"));
    number("lost".to_owned(), &|report| Some(report.verification.lost as f64), grouped);
    number("repeated".to_owned(), &|report| Some(report.verification.faults.repeated as f64), grouped);
    number("out of order".to_owned(), &|report| Some(report.verification.faults.reordered as f64), grouped);
    number("gaps told".to_owned(), &|report| Some(report.verification.gaps as f64), grouped);
    number("refused".to_owned(), &|report| Some(report.published.refused as f64), grouped);
    let mut names: Vec<&str> = Vec::new();
    for row in reports.iter().flat_map(|report| &report.latency_ms) {
        if !names.contains(&&*row.name) {
            names.push(&row.name);
        }
    }
    for name in names {
        for (quantile, least, value) in super::table::QUANTILES {
            let of = |report: &Report| {
                let row = report.latency_ms.iter().find(|row| row.name == name)?;
                (least <= row.summary.count).then(|| value(&row.summary))
            };
            number(format!("{name} {quantile}, ms"), &of, |ms| format!("{ms:.3}"));
        }
    }
    let mut objectives: Vec<&str> = Vec::new();
    for judged in reports.iter().flat_map(|report| &report.objectives) {
        if !objectives.contains(&&*judged.objective) {
            objectives.push(&judged.objective);
        }
    }
    for objective in objectives {
        let of = |report: &Report| {
            let judged = report.objectives.iter().find(|judged| judged.objective == objective);
            judged
                .map_or_else(|| "-".to_owned(), |judged| format!("{} ({})", judged.word(), judged.measured()))
        };
        let (values, numbers) = (reports.iter().map(of).collect(), vec![None; reports.len()]);
        lines.push(Line { name: objective.to_owned(), values, numbers });
    }
    let mut number = |name: &str, value: &dyn Fn(&Report) -> Option<f64>, shown: fn(f64) -> String| {
        put_number(&mut lines, reports, name.to_owned(), value, shown);
    };
    let mut costs: Vec<CostFigure> = Vec::new();
    for figure in reports.iter().flat_map(|report| &report.costs).flat_map(Costs::figures) {
        if !costs.iter().any(|(name, ..)| *name == figure.0) {
            costs.push(figure);
        }
    }
    for (name, _, shown) in costs {
        let of = |report: &Report| {
            let figures = report.costs.as_ref()?.figures();
            figures.into_iter().find(|(other, ..)| *other == name)?.1
        };
        number(name, &of, shown);
    }
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    number("busiest loop", &|report| Some(report.generator.cpu_share_max), percent);
    number("longest turn, ms", &|report| Some(report.generator.turn_ms_max), |ms| format!("{ms:.1}"));
    lines
}

/// A line of numbers, unless no result has any.
fn put_number(
    lines: &mut Vec<Line>,
    reports: &[Report],
    name: String,
    value: &dyn Fn(&Report) -> Option<f64>,
    shown: fn(f64) -> String,
) {
    let numbers: Vec<Option<f64>> = reports.iter().map(value).collect();
    if numbers.iter().any(Option::is_some) {
        let values = numbers.iter().map(|number| number.map_or_else(|| "-".to_owned(), shown)).collect();
        lines.push(Line { name, values, numbers });
    }
}

/// As a table for a terminal; behind each result but the first by how much it differs from that.
pub(super) fn text(lines: &[Line], labels: &[String]) -> String {
    let mut rows: Vec<Vec<String>> = vec![vec![String::new()]];
    for (place, label) in labels.iter().enumerate() {
        rows[0].push(label.clone());
        if 0 < place {
            rows[0].push(String::new());
        }
    }
    for line in lines {
        let mut row = vec![line.name.clone()];
        for (place, value) in line.values.iter().enumerate() {
            row.push(value.clone());
            if 0 < place {
                row.push(line.difference(place));
            }
        }
        rows.push(row);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut text = format!("{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            text.push_str(&format!("  {cell:>width$}"));
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

/// As a Markdown table.
pub(super) fn markdown(lines: &[Line], labels: &[String]) -> String {
    let mut out = String::from("| |");
    labels.iter().for_each(|label| out.push_str(&format!(" {} |", cell(label))));
    out.push_str("\n|---|");
    labels.iter().for_each(|_| out.push_str("---:|"));
    out.push('\n');
    for line in lines {
        out.push_str(&format!("| {} |", cell(&line.name)));
        for (place, value) in line.values.iter().enumerate() {
            let difference = match line.difference(place) {
                difference if difference.is_empty() => difference,
                difference => format!(" ({difference})"),
            };
            out.push_str(&format!(" {}{difference} |", cell(value)));
        }
        out.push('\n');
    }
    out
}

/// A text that is no Markdown but itself.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '\n' | '\r' => out.push(' '),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '&' => {
                out.push('\\');
                out.push(character);
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::Objective;
    use crate::report::tests::sample;
    use serde_json::json;

    fn several() -> (Vec<Line>, Vec<String>) {
        let mut slower = sample("b");
        slower.latency_ms[0].summary.p99_ms *= 2.0;
        slower.latency_ms.pop();
        (lines(&[sample("a"), slower]), vec!["a".to_owned(), "b|<b>".to_owned()])
    }

    #[test]
    fn results_stand_in_columns_with_their_difference_from_the_first() {
        let (lines, labels) = several();
        let text = text(&lines, &labels);
        let line = text.lines().find(|line| line.starts_with("e2e p99,")).expect("a line");
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>(),
            ["e2e", "p99,", "ms", "2.100", "4.200", "+100.0", "%"]
        );
        let missing = text.lines().find(|line| line.starts_with("send lag max")).expect("a line");
        assert!(missing.trim_end().ends_with('-'), "{missing}");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn objectives_and_costs_stand_beside_each_other_too() {
        let judge = |figure: f64| "p99<5ms".parse::<Objective>().expect("one").judge(Some(figure));
        let costs =
            |us: f64| serde_json::from_value(json!({"server_cpu_us_per_delivery": us})).expect("costs");
        let one = Report { objectives: vec![judge(2.1)], costs: Some(costs(4.0)), ..sample("a") };
        let other = Report { objectives: vec![judge(6.8)], costs: Some(costs(5.0)), ..sample("b") };
        let lines = lines(&[one, other, sample("c")]);
        let line = |name: &str| lines.iter().find(|line| line.name == name).expect(name);
        assert_eq!(line("p99<5ms").values, ["PASS (2.100 ms)", "FAIL (6.800 ms)", "-"]);
        let cost = line("server, µs a delivery");
        assert_eq!(cost.values, ["4.00", "5.00", "-"]);
        assert_eq!(cost.difference(1), "+25.0 %");
    }

    #[test]
    fn markdown_has_a_row_for_each_line_and_takes_nothing_for_marks() {
        let (lines, labels) = several();
        let text = markdown(&lines, &labels);
        assert_eq!(text.lines().count(), lines.len() + 2);
        assert!(text.starts_with("| | a | b\\|\\<b\\> |\n|---|---:|---:|\n"), "{text}");
    }
}
