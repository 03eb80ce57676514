//! Where a run's results go, and what it shows meanwhile.

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::{Report, csv, html};
use crate::live::{Show, wants_color};
use crate::options::Interval;
use crate::timeline::END_TO_END;

/// Options about results; where a search makes several, files are of the highest rate that holds.
#[derive(Clone, Debug, Args)]
pub(crate) struct OutputFlags {
    /// Write everything into the folder DIR: result.json, intervals.csv, latency.hlog, latency.hgrm, report.html and
    /// env.json; `loadgen report DIR` reads it again
    #[arg(short, long, env = "LOADGEN_OUT", value_name = "DIR", help_heading = "Output")]
    pub(crate) out: Option<PathBuf>,
    /// Write the whole result as JSON, to standard output (in place of the table) or to FILE
    #[arg(long, env = "LOADGEN_JSON", value_name = "FILE", num_args = 0..=1, default_missing_value = "-", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,
    /// Write the intervals as comma-separated values to FILE
    #[arg(long, env = "LOADGEN_CSV", value_name = "FILE", help_heading = "Output")]
    pub(crate) csv: Option<PathBuf>,
    /// Write the latencies as an HdrHistogram interval log to FILE: end to end without a tag, all kinds with theirs
    #[arg(long, env = "LOADGEN_HLOG", value_name = "FILE", help_heading = "Output")]
    pub(crate) hlog: Option<PathBuf>,
    /// Write the end-to-end latency as HdrHistogram percentiles to FILE
    #[arg(long, env = "LOADGEN_HGRM", value_name = "FILE", help_heading = "Output")]
    pub(crate) hgrm: Option<PathBuf>,
    /// Write the report as one self-contained page to FILE
    #[arg(long, env = "LOADGEN_HTML", value_name = "FILE", help_heading = "Output")]
    pub(crate) html: Option<PathBuf>,
    /// What the run is called in reports and comparisons
    #[arg(long, env = "LOADGEN_NAME", value_name = "NAME", help_heading = "Output")]
    pub(crate) name: Option<String>,
    /// Length of an interval of the results; a run of more than 600 has longer ones
    #[arg(
        long,
        env = "LOADGEN_INTERVAL",
        value_name = "TIME",
        default_value = "1s",
        help_heading = "Output"
    )]
    pub(crate) interval: Interval,
    /// Show nothing on the terminal while running
    #[arg(long, env = "LOADGEN_NO_TUI", help_heading = "Output")]
    pub(crate) no_tui: bool,
    /// In place of the view on the terminal, print a line to standard error every 5 s, terminal or not
    #[arg(long, env = "LOADGEN_PROGRESS", help_heading = "Output")]
    pub(crate) progress: bool,
    /// Print only what went wrong
    #[arg(short, long, env = "LOADGEN_QUIET", help_heading = "Output")]
    pub(crate) quiet: bool,
}

impl OutputFlags {
    /// Whether the values can be.
    ///
    /// # Errors
    /// Says which option is wrong, and why.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(INTERVAL_NS_MIN..=INTERVAL_NS_MAX).contains(&self.interval.ns) {
            return Err("--interval must be 100ms to 1h".to_owned());
        }
        if self.name.as_ref().is_some_and(|name| NAME_CHARACTERS_MAX < name.chars().count()) {
            return Err(format!("--name must be at most {NAME_CHARACTERS_MAX} characters"));
        }
        Ok(())
    }

    /// What the run shows while it goes on.
    pub(crate) fn show(&self) -> Show {
        Show::choose(self.quiet, self.no_tui, self.progress)
    }

    /// Makes sure, before the run, that what is to be written can be. Leaves no file where there was none.
    ///
    /// # Errors
    /// The folder or a file cannot be created or written.
    pub(crate) fn prepare(&self) -> anyhow::Result<()> {
        if let Some(folder) = &self.out {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        self.files().iter().try_for_each(|(_, path)| probe(path))
    }

    /// Prints the table and writes the files. One that cannot be written keeps none of the others from it.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) fn write(&self, report: &Report) -> anyhow::Result<()> {
        let json_on_stdout = self.json.as_deref().is_some_and(is_stdout);
        let result = self.print(report, json_on_stdout).and(self.write_files(report));
        if let (Some(folder), false, true) = (&self.out, self.quiet, result.is_ok()) {
            let saved = format!("saved      {}", folder.display());
            if json_on_stdout { eprintln!("{saved}") } else { println!("{saved}") }
        }
        result
    }

    /// Writes the files alone. One that cannot be written keeps none of the others from it.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) fn write_files(&self, report: &Report) -> anyhow::Result<()> {
        let mut result = Ok(());
        for (form, path) in self.files() {
            let written = form.make(report).and_then(|text| {
                fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
            });
            result = result.and(written);
        }
        result
    }

    fn print(&self, report: &Report, json_on_stdout: bool) -> anyhow::Result<()> {
        if json_on_stdout {
            io::stdout().write_all(Form::Json.make(report)?.as_bytes())?;
        }
        if self.quiet {
            eprint!("{}", report.failures());
        } else if json_on_stdout {
            eprint!("{}", report.table(io::stderr().is_terminal() && wants_color()));
        } else {
            let table = report.table(io::stdout().is_terminal() && wants_color());
            io::stdout().write_all(table.as_bytes())?;
        }
        Ok(())
    }

    /// Every file that is asked for.
    fn files(&self) -> Vec<(Form, PathBuf)> {
        let single = [
            (Form::Json, self.json.as_ref().filter(|path| !is_stdout(path))),
            (Form::Csv, self.csv.as_ref()),
            (Form::Hlog, self.hlog.as_ref()),
            (Form::Hgrm, self.hgrm.as_ref()),
            (Form::Html, self.html.as_ref()),
        ];
        let single = single.into_iter().filter_map(|(form, path)| Some((form, path?.clone())));
        let folder =
            self.out.iter().flat_map(|folder| FOLDER.iter().map(|(form, name)| (*form, folder.join(name))));
        single.chain(folder).collect()
    }
}

/// Makes sure that a file can be written, and leaves none where there was none.
///
/// # Errors
/// It cannot be created or written.
pub(crate) fn probe(path: &Path) -> anyhow::Result<()> {
    let is_there = path.exists();
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.with_context(|| format!("cannot write {}", path.display()))?;
    if !is_there {
        // An empty result of a run that could not be set up would be taken for one. One that stays does no harm.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Json,
    Csv,
    Hlog,
    Hgrm,
    Html,
    Environment,
}

impl Form {
    fn make(self, report: &Report) -> anyhow::Result<String> {
        let own = std::slice::from_ref(report);
        let label = [report.label()];
        Ok(match self {
            Form::Json => serde_json::to_string_pretty(report)? + "\n",
            Form::Csv => csv::intervals(own, &label),
            Form::Hlog => report.interval_log().map_err(anyhow::Error::msg)?,
            Form::Hgrm => {
                let latency = report.latency(END_TO_END).map_err(anyhow::Error::msg)?;
                let mut out = Vec::new();
                latency.unwrap_or_else(crate::histogram::Latency::new).write_percentiles(&mut out)?;
                String::from_utf8(out)?
            }
            Form::Html => html::page(own, &label).map_err(anyhow::Error::msg)?,
            Form::Environment => serde_json::to_string_pretty(&report.environment)? + "\n",
        })
    }
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The result in a folder, from which everything else can be made again.
pub(crate) const RESULT_FILE: &str = "result.json";
/// What a folder of results holds; the result first, in case that the disk is full.
const FOLDER: [(Form, &str); 6] = [
    (Form::Json, RESULT_FILE),
    (Form::Csv, "intervals.csv"),
    (Form::Hlog, "latency.hlog"),
    (Form::Hgrm, "latency.hgrm"),
    (Form::Html, "report.html"),
    (Form::Environment, "env.json"),
];
/// Shorter ones would be made of the generator's own turns.
const INTERVAL_NS_MIN: u64 = 100_000_000;
const INTERVAL_NS_MAX: u64 = 3_600_000_000_000;
const NAME_CHARACTERS_MAX: usize = 100;
