//! What a comparison says: medians, ratios with their intervals, bars; as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::Serialize;

use super::Comparison;
use super::bar::{Bar, Judgement};
use super::options::Pins;
use super::page::{self, Document};
use super::profile::Profile;
use super::statistics::{self, Spread};
use crate::counting::figure::KINDS;
use crate::counting::outcome::{Outcome, Verdict, shown};
use crate::counting::usage::Machine;
use crate::report::outputs::RESULT_FILE;

/// All that a command found.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    kind: &'static str,
    version: &'static str,
    /// Unix seconds.
    finished_at: u64,
    /// How the program was called.
    command: Vec<String>,
    machine: Machine,
    pins: Pins,
    exit_code: u8,
    results: Vec<Report>,
    /// Comparisons of a suite that could not be made.
    not_run: Vec<NotRun>,
}

/// A comparison that could not be made.
#[derive(Debug, Serialize)]
pub(crate) struct NotRun {
    /// Its name.
    pub(crate) name: String,
    /// Why.
    pub(crate) reason: String,
}

/// One comparison.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    name: String,
    /// The shape that it has in common with others.
    group: Option<String>,
    /// The figure that matters most.
    figure: Option<&'static str>,
    a: SideReport,
    b: SideReport,
    verdict: Verdict,
    /// Why the figures do not stand for the servers.
    invalid: Vec<String>,
    /// What a server did not do that it must.
    failures: Vec<String>,
    notes: Vec<String>,
    figures: Vec<Row>,
    bars: Vec<BarReport>,
    pairs: Vec<Pair>,
}

#[derive(Debug, Serialize)]
struct SideReport {
    profile: Profile,
    load: String,
    /// What the server says of itself.
    version: Option<String>,
}

/// One figure of both sides.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    unit: &'static str,
    a: Spread,
    b: Spread,
    /// A/B, pair by pair; of `p99` and `p999` over all runs put together.
    ratio: Option<Spread>,
}

#[derive(Debug, Serialize)]
struct BarReport {
    bar: Bar,
    met: Judgement,
    spread: Option<Spread>,
}

/// Two runs that are neighbours in time.
#[derive(Debug, Serialize)]
pub(crate) struct Pair {
    a: Outcome,
    b: Outcome,
    ratios: BTreeMap<&'static str, f64>,
    /// Whether others used the machine in either of them.
    is_disturbed: bool,
}

impl Pair {
    /// Of these two.
    pub(crate) fn new(a: Outcome, b: Outcome) -> Pair {
        let ratios = a.figures.iter().filter_map(|(name, of_a)| {
            let of_b = b.figures.get(name).filter(|of_b| **of_b != 0.0)?;
            Some((*name, of_a / of_b))
        });
        let ratios = ratios.collect();
        let is_disturbed = a.neighbours.are_heavy() || b.neighbours.are_heavy();
        Pair { a, b, ratios, is_disturbed }
    }
}

impl Results {
    /// Nothing yet, of this machine.
    pub(crate) fn new(machine: Machine, pins: Pins) -> Results {
        Results {
            kind: "side-by-side",
            version: env!("CARGO_PKG_VERSION"),
            finished_at: 0,
            command: std::env::args().skip(1).collect(),
            machine,
            pins,
            exit_code: 0,
            results: Vec::new(),
            not_run: Vec::new(),
        }
    }

    /// One comparison more.
    pub(crate) fn add(&mut self, outcome: Result<Report, NotRun>) {
        let code = match &outcome {
            Ok(report) => report.exit_code(),
            Err(_) => EXIT_SETUP,
        };
        self.exit_code = self.exit_code.max(code);
        match outcome {
            Ok(report) => self.results.push(report),
            Err(not_run) => self.not_run.push(not_run),
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.finished_at = now.as_secs();
    }

    /// The exit code of all: that of the worst.
    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// Writes everything into `folder`: a page, a text, and JSON.
    ///
    /// # Errors
    /// The folder or a file in it cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let value = serde_json::to_value(self)?;
        let document = Document::read(value).context("of another kind")??;
        let tables: String = self.results.iter().map(Report::table).collect();
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        write_json(Some(&folder.join(RESULT_FILE)), self)?;
        for (name, text) in
            [("report.html", page::page(&document)), ("report.txt", page::summary::text(&document) + &tables)]
        {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

impl Report {
    /// Works everything out. `asked` are the lengths of messages that were asked for.
    pub(super) fn new(comparison: &Comparison, pairs: Vec<Pair>, asked: [usize; 2]) -> Report {
        let figures: Vec<Row> =
            KINDS.iter().filter_map(|kind| row(kind.name, kind.unit, &pairs, comparison.seed)).collect();
        let bars = comparison.bars.iter().map(|bar| {
            let row = figures.iter().find(|row| row.name == bar.figure);
            let spread = row.and_then(|row| if bar.is_absolute { Some(row.a) } else { row.ratio });
            BarReport { bar: bar.clone(), met: bar.judge(spread.as_ref()), spread }
        });
        let bars: Vec<BarReport> = bars.collect();
        let [a, b] = comparison.sides.each_ref().map(|side| SideReport {
            profile: side.profile.clone(),
            load: side.load.describe(),
            version: side.version.clone(),
        });
        let (failures, invalid) = (failures(&pairs), invalid(&pairs));
        let is_whole = pairs.len() == comparison.pairs as usize;
        let verdict = match (failures.is_empty(), is_whole, invalid.is_empty()) {
            (false, ..) => Verdict::Failed,
            (true, false, _) => Verdict::Interrupted,
            (true, true, false) => Verdict::Invalid,
            (true, true, true) => Verdict::Pass,
        };
        let notes = notes(&pairs, &figures, asked);
        Report {
            name: comparison.name.clone(),
            group: comparison.group.clone(),
            figure: comparison.figure,
            a,
            b,
            verdict,
            invalid,
            failures,
            notes,
            figures,
            bars,
            pairs,
        }
    }

    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        // Writing into a string cannot fail.
        let _ = self.write_table(&mut out);
        out
    }

    fn write_table(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "\n{}   {} pairs", self.name, self.pairs.len())?;
        for (letter, side) in [("A", &self.a), ("B", &self.b)] {
            writeln!(out, "{letter}  {:<18} {}", side.profile.name, side.load)?;
        }
        writeln!(
            out,
            "{:<22}{:>14}{:>14} {:<6}{:>9}{:>17}{:>17}",
            "", "A", "B", "", "A/B", "95 % interval", "least to most"
        )?;
        for row in &self.figures {
            write!(
                out,
                "{:<22}{:>14}{:>14} {:<6}",
                row.name,
                shown(row.a.middle),
                shown(row.b.middle),
                row.unit
            )?;
            match &row.ratio {
                Some(Spread { middle, low, high, min, max }) => {
                    writeln!(
                        out,
                        "{middle:>9.3}{:>17}{:>17}",
                        format!("{low:.3}–{high:.3}"),
                        format!("{min:.3}–{max:.3}")
                    )?;
                }
                None => writeln!(out)?,
            }
        }
        for bar in &self.bars {
            let spread = bar.spread.map_or_else(String::new, |spread| {
                format!("   {} in {}–{}", shown(spread.middle), shown(spread.low), shown(spread.high))
            });
            writeln!(out, "bar        {:<32}{}{spread}", String::from(bar.bar.clone()), bar.met.word())?;
        }
        for note in &self.notes {
            writeln!(out, "note       {note}")?;
        }
        for failure in &self.failures {
            writeln!(out, "FAILED     {failure}")?;
        }
        for reason in &self.invalid {
            writeln!(out, "INVALID    {reason}")?;
        }
        Ok(())
    }

    fn exit_code(&self) -> u8 {
        let is_missed = self.bars.iter().any(|bar| matches!(bar.met, Judgement::Missed | Judgement::Unknown));
        match self.verdict {
            Verdict::Pass if is_missed => Verdict::Failed.exit_code(),
            verdict => verdict.exit_code(),
        }
    }
}

/// Writes `value` as JSON: to standard output if `path` is `-`, to the file otherwise, nowhere without one.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write_json(path: Option<&Path>, value: &impl Serialize) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    if path.as_os_str() == "-" {
        return io::Write::write_all(&mut io::stdout(), text.as_bytes()).context("standard output");
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn row(name: &'static str, unit: &'static str, pairs: &[Pair], seed: u64) -> Option<Row> {
    let side = |of: fn(&Pair) -> &Outcome| {
        let values: Vec<f64> = pairs.iter().filter_map(|pair| of(pair).figures.get(name).copied()).collect();
        let mut spread = statistics::spread(&values, seed)?;
        if let Some(quantile) = pooled_quantile(name) {
            let latencies: Vec<_> = pairs.iter().map(|pair| &of(pair).latency).collect();
            spread.middle = statistics::pooled_ms(&latencies, quantile)?;
        }
        Some(spread)
    };
    let (a, b) = (side(|pair| &pair.a)?, side(|pair| &pair.b)?);
    let ratio = match pooled_quantile(name) {
        Some(quantile) => {
            let latencies: Vec<_> = pairs.iter().map(|pair| (&pair.a.latency, &pair.b.latency)).collect();
            statistics::pooled_ratio(&latencies, quantile, seed)
        }
        None => {
            let ratios: Vec<f64> = pairs.iter().filter_map(|pair| pair.ratios.get(name).copied()).collect();
            statistics::spread(&ratios, seed)
        }
    };
    Some(Row { name, unit, a, b, ratio })
}

/// The quantile of the figure `name`, if single runs have too few values for it.
fn pooled_quantile(name: &str) -> Option<f64> {
    match name {
        "p99" => Some(0.99),
        "p999" => Some(0.999),
        _ => None,
    }
}

fn failures(pairs: &[Pair]) -> Vec<String> {
    let mut failures = Vec::new();
    for (number, pair) in pairs.iter().enumerate() {
        for (letter, outcome) in [("A", &pair.a), ("B", &pair.b)] {
            let more = outcome.failures.iter().take(FAILURES_SHOWN);
            failures.extend(more.map(|failure| format!("{letter} in pair {}: {failure}", number + 1)));
        }
    }
    failures
}

/// A single run may be hit by the machine; that the client limits a side shows in the middle of its runs.
fn invalid(pairs: &[Pair]) -> Vec<String> {
    let mut invalid = Vec::new();
    for (letter, of) in [("A", (|pair| &pair.a) as fn(&Pair) -> &Outcome), ("B", |pair| &pair.b)] {
        let reasons: Vec<&String> = pairs.iter().filter_map(|pair| of(pair).invalid.first()).collect();
        if pairs.len() < 2 * reasons.len()
            && let Some(reason) = reasons.first()
        {
            invalid.push(format!("{letter} in {} of {} runs: {reason}", reasons.len(), pairs.len()));
        }
    }
    invalid
}

fn notes(pairs: &[Pair], figures: &[Row], asked: [usize; 2]) -> Vec<String> {
    let mut notes = Vec::new();
    let disturbed = pairs.iter().filter(|pair| pair.is_disturbed).count();
    if 0 < disturbed {
        notes.push(format!("in {disturbed} of {} pairs others used a tenth of a core or more", pairs.len()));
    }
    for (letter, of) in [("A", (|pair| &pair.a) as fn(&Pair) -> &Outcome), ("B", |pair| &pair.b)] {
        let of_all = |value: fn(&Outcome) -> f64| {
            let values: Vec<f64> = pairs.iter().map(|pair| value(of(pair))).collect();
            statistics::median(&values).unwrap_or(0.0)
        };
        notes.push(format!(
            "{letter}: the client's own ceiling was {}/s, {:.1} × the result; others used {:.2} cores, {:.2} were stolen",
            shown(of_all(|outcome| outcome.generator.ceiling_per_s)),
            of_all(|outcome| outcome.generator.ceiling_ratio),
            of_all(|outcome| outcome.neighbours.busy_cores),
            of_all(|outcome| outcome.neighbours.steal_cores),
        ));
        let refused =
            pairs.iter().filter(|pair| of(pair).notes.iter().any(|note| note.contains("refused"))).count();
        if 0 < refused {
            notes.push(format!("{letter}: the server refused events in {refused} runs"));
        }
    }
    if let Some(row) = figures.iter().find(|row| row.name == "payload_bytes")
        && (asked[0] as f64) < row.a.middle.round() - LENGTH_TOLERANCE
    {
        notes.push(format!(
            "messages of {:.0} B, as {} B are too few for the larger envelope",
            row.a.middle, asked[0]
        ));
    }
    notes
}

const EXIT_SETUP: u8 = 3;
const FAILURES_SHOWN: usize = 2;
/// Numbers in envelopes grow by a digit or two within a run.
const LENGTH_TOLERANCE: f64 = 3.0;
