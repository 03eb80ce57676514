//! Comparisons as text: a line for each server of a shape and for each of its bars.

use std::fmt::Write;

use super::document::Document;
use super::{about, lines, ratio, sign, title, told, with_unit};

/// The whole in lines.
pub(crate) fn text(document: &Document) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write_text(&mut out, document);
    out
}

fn write_text(out: &mut String, document: &Document) -> std::fmt::Result {
    writeln!(out, "{}\n{}", title(document), about(document))?;
    for group in document.groups() {
        writeln!(out, "\n{}", group.name)?;
        writeln!(
            out,
            "  {:<20}{:<24}{:>16}{:>16}{:>9}  {:<16}",
            "beside", "figure", "own", "the other", "ratio", "95 % interval"
        )?;
        for comparison in &group.comparisons {
            for line in lines(comparison, group.figure()) {
                let row = line.row;
                let (middle, interval) = row.ratio.map_or_else(Default::default, |spread| {
                    (ratio(spread.middle), format!("{}–{}", ratio(spread.low), ratio(spread.high)))
                });
                let bar = line.bar.map_or_else(String::new, |bar| format!("{} {}", sign(&bar.bar), bar.met));
                let text = format!(
                    "  {:<20}{:<24}{:>16}{:>16}{middle:>9}  {interval:<16}{bar}",
                    comparison.b.profile.name,
                    row.name,
                    with_unit(row.a.middle, &row.unit),
                    with_unit(row.b.middle, &row.unit),
                );
                writeln!(out, "{}", text.trim_end())?;
            }
        }
    }
    writeln!(
        out,
        "\nbars: {} met, {} undecided, {} missed",
        document.bars("met"),
        document.bars("undecided") + document.bars("unknown"),
        document.bars("missed")
    )?;
    for comparison in &document.results {
        for bar in comparison.bars.iter().filter(|bar| bar.met == "missed") {
            writeln!(out, "missed     {}: {} ({})", comparison.name, bar.bar, told(bar))?;
        }
        for failure in &comparison.failures {
            writeln!(out, "FAILED     {}: {failure}", comparison.name)?;
        }
        for reason in &comparison.invalid {
            writeln!(out, "INVALID    {}: {reason}", comparison.name)?;
        }
    }
    for one in &document.not_run {
        writeln!(out, "not run    {}: {}", one.name, one.reason)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::document::tests::{comparison, document, spread};
    use super::*;

    #[test]
    fn every_server_of_a_shape_has_a_line() {
        let text = text(&document(vec![
            comparison("one", Some("steady"), "floor", spread(1.0, 1.02, 1.04)),
            comparison("two", Some("steady"), "slow", spread(0.4, 0.5, 0.6)),
        ]));
        let line = |name: &str| {
            text.lines()
                .find(|line| line.trim_start().starts_with(name))
                .unwrap_or_else(|| panic!("{name} in {text}"))
        };
        assert!(line("floor").ends_with("1.02  1.00–1.04       ≤ 1.05 met"), "{text}");
        assert!(line("slow").contains("0.50  0.40–0.60"), "{text}");
        assert!(line("not run").ends_with("beside nobody: cannot start"), "{text}");
    }
}
