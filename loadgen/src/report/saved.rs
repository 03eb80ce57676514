//! `loadgen report`: saved results, told again in any form; several of them side by side.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{Report, comparison, csv, html};
use crate::live::wants_color;
use crate::side_by_side::page::{self, Document};
use crate::timeline::END_TO_END;

/// Options of `loadgen report`.
#[derive(Debug, Args)]
pub(crate) struct ReportFlags {
    /// Results: result.json as `run -o` or `run --json` wrote it, or the folder it is in; or the one of `side-by-side`
    #[arg(required = true, num_args = 1.., value_name = "FILE|DIR")]
    pub(crate) results: Vec<PathBuf>,
    /// In which form
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Write to FILE and not to standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// For hgrm: which latency, as the tables call it (such as e2e, ws, sse, service, ack, span)
    #[arg(long, value_name = "NAME", default_value = END_TO_END)]
    pub(crate) latency: String,
}

/// The forms that a result can be told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The table; of several results the figures side by side
    Text,
    /// The whole result; of several a list
    Json,
    /// The intervals, a line each
    Csv,
    /// One self-contained page
    Html,
    /// The percentile distribution of one result, as HdrHistogram's plotter reads it
    Hgrm,
    /// The interval log of one result, as HdrHistogram's tools read it
    Hlog,
    /// Figures as a Markdown table
    Md,
}

impl ReportFlags {
    /// Whether the values fit each other.
    ///
    /// # Errors
    /// Says what does not.
    pub(crate) fn check(&self) -> Result<(), String> {
        let count = self.results.len();
        if RESULTS_MAX < count {
            return Err(format!("{count} results are more than the {RESULTS_MAX} that fit side by side"));
        }
        if 1 < count && matches!(self.format, Format::Hgrm | Format::Hlog) {
            return Err(format!("--format hgrm and hlog hold one result, and {count} were named"));
        }
        Ok(())
    }
}

/// Reads the results and tells them.
///
/// # Errors
/// A file cannot be read or is no result of a run, or the result has no such latency.
pub(crate) fn run(flags: &ReportFlags) -> anyhow::Result<ExitCode> {
    let text = match flags.results.as_slice() {
        [one] => tell_comparisons(one, flags.format)?,
        _ => None,
    };
    let text = match text {
        Some(text) => text,
        None => {
            let reports =
                flags.results.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<Report>>>()?;
            let labels = labels(&reports, &flags.results);
            let color = flags.out.is_none() && io::stdout().is_terminal() && wants_color();
            tell(&reports, &labels, flags, color)?
        }
    };
    match &flags.out {
        None => io::stdout().write_all(text.as_bytes())?,
        Some(path) => fs::write(path, text).with_context(|| format!("writing {}", path.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What `side-by-side` saved at `path`, if it has.
fn tell_comparisons(path: &Path, format: Format) -> anyhow::Result<Option<String>> {
    let path = locate(path);
    let value = read_value(&path)?;
    if format == Format::Json && value["kind"] == "side-by-side" {
        return Ok(Some(serde_json::to_string_pretty(&value)? + "\n"));
    }
    let Some(document) = Document::read(value) else { return Ok(None) };
    let document = document.with_context(|| format!("{} is no whole result", path.display()))?;
    match format {
        Format::Text => Ok(Some(page::summary::text(&document))),
        Format::Html => Ok(Some(page::page(&document))),
        _ => bail!("servers side by side are told as text, json or html"),
    }
}

fn tell(reports: &[Report], labels: &[String], flags: &ReportFlags, color: bool) -> anyhow::Result<String> {
    let one = || reports.first().context("no result was named");
    let text = match flags.format {
        Format::Text => match reports {
            [one] => one.table(color),
            several => comparison::text(&comparison::lines(several), labels),
        },
        Format::Md => comparison::markdown(&comparison::lines(reports), labels),
        Format::Json => {
            let text = match reports {
                [one] => serde_json::to_string_pretty(one)?,
                several => serde_json::to_string_pretty(several)?,
            };
            text + "\n"
        }
        Format::Csv => csv::intervals(reports, labels),
        Format::Html => html::page(reports, labels).map_err(anyhow::Error::msg)?,
        Format::Hgrm => {
            let latency = one()?.latency(&flags.latency).map_err(anyhow::Error::msg)?;
            let latency = latency.with_context(|| format!("the result has no latency {}", flags.latency))?;
            let mut out = Vec::new();
            latency.write_percentiles(&mut out)?;
            String::from_utf8(out)?
        }
        Format::Hlog => one()?.interval_log().map_err(anyhow::Error::msg)?,
    };
    Ok(text)
}

/// Where the result is: the file that is named, or the one in the folder that is named.
fn locate(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(super::outputs::RESULT_FILE) } else { path.to_owned() }
}

fn read(path: &Path) -> anyhow::Result<Report> {
    let path = locate(path);
    serde_json::from_value(read_value(&path)?).with_context(|| no_result(&path))
}

fn read_value(path: &Path) -> anyhow::Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| no_result(path))
}

fn no_result(path: &Path) -> String {
    format!("{} is no result of a run", path.display())
}

/// A name for each result: its own, or that of its file or folder, with a number behind it where two would be the same.
fn labels(reports: &[Report], paths: &[PathBuf]) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for (report, path) in reports.iter().zip(paths) {
        let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
        let stem = stem.unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let label = report.name.clone().unwrap_or(stem);
        let same = labels.iter().filter(|other| **other == label).count();
        labels.push(if same == 0 { label } else { format!("{label} ({})", same + 1) });
    }
    labels
}

/// Columns that a table can have and still be read.
const RESULTS_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn results_have_names_of_their_own() {
        let unnamed = || Report { name: None, ..sample("a") };
        let reports = [sample("a"), sample("a"), unnamed(), unnamed()];
        let paths = ["x.json", "y.json", "results/z.json", "z.json"].map(PathBuf::from);
        assert_eq!(labels(&reports, &paths), ["a", "a (2)", "z", "z (2)"]);
    }

    #[test]
    fn a_saved_result_is_read_back_as_it_was() {
        let report = sample("a");
        let text = serde_json::to_string(&report).expect("written");
        let again: Report = serde_json::from_str(&text).expect("read");
        assert_eq!(
            serde_json::to_value(&again).expect("a value"),
            serde_json::to_value(&report).expect("a value")
        );
        assert_eq!(again.table(false), report.table(false));
    }
    #[test]
    fn a_result_from_before_there_were_intervals_can_be_told_too() {
        let mut value = serde_json::to_value(sample("a")).expect("a value");
        let members = value.as_object_mut().expect("an object");
        for name in ["name", "begun_at", "environment", "interval_s", "intervals", "histograms"] {
            members.remove(name).expect(name);
        }
        let old: Report = serde_json::from_value(value).expect("read");
        assert_eq!(old.table(false), sample("a").table(false));
        assert!(html::page(&[old], &["old".to_owned()]).expect("a page").contains("nothing lost"));
    }
}
