//! `loadgen search`: the highest rate that holds the objectives.
//!
//! # Contract       doubles the rate until an objective is missed, halves it until none is, then bisects to the precision;
//! each step is a run of its own. If the lowest rate that does not hold is one that the generator could not make, the search is
//! INVALID
//! # Bounds         at most [`STEPS_MAX`] steps

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::flags::RunFlags;
use crate::load::arrival::Arrival;
use crate::load::share::Share;
use crate::objective::Judged;
use crate::options::Rate;
use crate::plan::Plan as RunPlan;
use crate::report::outputs::probe;
use crate::report::{Report, Verdict};
use crate::run;

/// Options of `loadgen search`.
#[derive(Debug, Args)]
pub(crate) struct SearchFlags {
    /// The first rate that is tried
    #[arg(long, value_name = "RATE", default_value = "100/s", help_heading = "Search")]
    pub(crate) from: Rate,
    /// The highest rate that is tried
    #[arg(long, value_name = "RATE", default_value = "1M/s", help_heading = "Search")]
    pub(crate) to: Rate,
    /// How near the answer must be to the lowest rate that does not hold
    #[arg(long, value_name = "SHARE%", default_value = "5%", help_heading = "Search")]
    pub(crate) precision: Share,
    #[command(flatten)]
    pub(crate) run: RunFlags,
}

/// A valid search.
#[derive(Debug)]
pub(crate) struct Plan {
    run: RunPlan,
    from: f64,
    to: f64,
    precision: f64,
    json: Option<PathBuf>,
}

impl Plan {
    /// Checks what was typed.
    ///
    /// # Errors
    /// Says which option is wrong, and why.
    pub(crate) fn new(mut flags: SearchFlags) -> Result<Plan, String> {
        let (Rate::PerSecond(from), Rate::PerSecond(to)) = (flags.from, flags.to) else {
            return Err("--from and --to must be numbers above 0".to_owned());
        };
        let Share::Part(precision) = flags.precision else {
            return Err("--precision must be a share such as 5%".to_owned());
        };
        if precision < PRECISION_MIN {
            return Err("--precision is less than 0.1 %, which no short run can tell".to_owned());
        }
        if to < from {
            return Err("--from is more than --to".to_owned());
        }
        if flags.run.objectives.is_empty() {
            return Err("--slo is needed: what must hold?".to_owned());
        }
        if flags.run.rate.is_some() || flags.run.stages.is_some() || flags.run.hold {
            return Err("search chooses the rate itself, so leave --rate, --stages and --hold out".to_owned());
        }
        if !matches!(flags.run.arrival, Arrival::Constant | Arrival::Poisson) {
            return Err("--arrival must be constant or poisson, which have a rate".to_owned());
        }
        let json = flags.run.output.json.take();
        Ok(Plan { run: RunPlan::new(flags.run)?, from, to, precision, json })
    }
}

/// One rate that was tried.
#[derive(Debug, Serialize)]
struct Step {
    rate: f64,
    outcome: Outcome,
    /// Why it did not hold, or how it was judged.
    objectives: Vec<Judged>,
    reasons: Vec<String>,
}

/// What came of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Held,
    Missed,
    /// The generator could not make it.
    Invalid,
    /// The server lost, repeated, reordered or changed something.
    Failed,
}

/// How the search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Ending {
    /// The highest rate is known.
    Found,
    /// No rate holds.
    Missed,
    /// The generator could not make a rate that would have to be tried.
    Invalid,
    /// A run failed its verification.
    Failed,
    /// Somebody ended it early.
    Interrupted,
    /// A run could not be set up.
    Broken,
}

/// What came of the search.
#[derive(Debug, Serialize)]
struct Findings {
    ending: Ending,
    /// The highest rate that held; absent if none did.
    rate: Option<f64>,
    /// The lowest rate above it that did not; absent if the highest allowed one held.
    bound: Option<f64>,
    steps: Vec<Step>,
}

/// Searches and prints each step. However it ends, what there is until then is told and written.
///
/// # Errors
/// The server cannot be reached, or the result cannot be written.
pub(crate) fn run(plan: &Plan, stop: &Arc<AtomicBool>) -> anyhow::Result<ExitCode> {
    let outputs = &plan.run.outputs;
    outputs.prepare()?;
    let is_json_alone = plan.json.as_deref() == Some(Path::new("-"));
    if let Some(path) = plan.json.as_ref().filter(|_| !is_json_alone) {
        probe(path)?;
    }
    let is_silent = is_json_alone || outputs.quiet;
    // What files are written of: the highest rate that held, or else the last one that was tried.
    let mut best: Option<(f64, Report)> = None;
    let mut last = None;
    let mut broken = None;
    let mut early = None;
    let mut steps: Vec<Step> = Vec::new();
    let mut interval = Interval::new(plan.from, plan.to, plan.precision);
    while let Some(rate) = interval.next_rate()
        && early.is_none()
        && steps.len() < STEPS_MAX
    {
        let report = match run::measure(plan.run.at_rate(rate), stop) {
            Ok(report) => report.filter(|report| report.verdict() != Verdict::Interrupted),
            Err(error) => {
                (early, broken) = (Some(Ending::Broken), Some(error));
                break;
            }
        };
        let Some(report) = report else {
            early = Some(Ending::Interrupted);
            break;
        };
        // Ending a run sets the flag; a signal during it has shown in the verdict.
        stop.store(false, Ordering::Relaxed);
        let step = Step::judge(rate, &report);
        if !is_silent {
            writeln!(io::stdout(), "{}", step.line(steps.len() + 1))?;
        }
        match step.outcome {
            Outcome::Failed => {
                eprint!("{}", report.failures());
                early = Some(Ending::Failed);
                // It is this run that has to be looked into.
                (best, last) = (None, Some(report));
            }
            Outcome::Held => {
                interval.note(rate, true);
                if best.as_ref().is_none_or(|(other, _)| *other < rate) {
                    best = Some((rate, report));
                }
            }
            Outcome::Missed | Outcome::Invalid => {
                interval.note(rate, false);
                last = Some(report);
            }
        }
        steps.push(step);
    }
    let bounded_by = steps.iter().find(|step| Some(step.rate) == interval.bound).map(|step| step.outcome);
    let ending = early.unwrap_or_else(|| Ending::of(interval.held, bounded_by));
    if let Some(error) = broken.take_if(|_| steps.is_empty()) {
        return Err(error);
    }
    let findings = Findings { ending, rate: interval.held, bound: interval.bound, steps };
    let files = best.map(|(_, report)| report).or(last).map_or(Ok(()), |report| outputs.write_files(&report));
    let json = plan.json.as_ref().map_or(Ok(()), |path| findings.write(path, is_json_alone));
    let text = findings.line();
    match (is_json_alone, outputs.quiet && ending != Ending::Found) {
        (_, true) => eprintln!("{text}"),
        (false, false) if !outputs.quiet => writeln!(io::stdout(), "{text}")?,
        _ => {}
    }
    files.and(json)?;
    broken.map_or(Ok(ExitCode::from(ending.exit_code())), Err)
}

impl Ending {
    /// What the highest rate that held is worth, by what came of the lowest one that did not.
    fn of(held: Option<f64>, bounded_by: Option<Outcome>) -> Ending {
        match (held, bounded_by) {
            (_, Some(Outcome::Invalid)) => Ending::Invalid,
            (None, _) => Ending::Missed,
            (Some(_), _) => Ending::Found,
        }
    }

    fn exit_code(self) -> u8 {
        match self {
            Ending::Found => 0,
            Ending::Broken => 3,
            Ending::Invalid => 4,
            Ending::Failed => 5,
            Ending::Missed => 99,
            Ending::Interrupted => 130,
        }
    }
}

impl Findings {
    /// What came of it, in a line.
    fn line(&self) -> String {
        let known = match (self.rate, self.bound) {
            (None, None) => "nothing is known yet".to_owned(),
            (None, Some(bound)) => format!("no rate is known to hold, {bound:.0}/s does not"),
            (Some(rate), None) => format!("{rate:.0}/s holds"),
            (Some(rate), Some(bound)) => format!("{rate:.0}/s holds, {bound:.0}/s does not"),
        };
        match (self.ending, self.rate, self.bound) {
            (Ending::Found, Some(rate), Some(bound)) => {
                format!("highest rate that holds: {rate:.0}/s ({bound:.0}/s does not)")
            }
            (Ending::Found, Some(rate), None) => format!("the highest rate allowed holds: {rate:.0}/s"),
            (Ending::Invalid, Some(rate), Some(bound)) => format!(
                "INVALID: {rate:.0}/s holds, and at {bound:.0}/s the generator was the bottleneck: the server may do more"
            ),
            (Ending::Invalid, _, bound) => format!(
                "INVALID: no rate is known to hold, and at {:.0}/s the generator was the bottleneck",
                bound.unwrap_or_default()
            ),
            (Ending::Failed, ..) => {
                let failed = self.steps.last().map_or(0.0, |step| step.rate);
                format!("FAILED at {failed:.0}/s: {known}")
            }
            (Ending::Interrupted, ..) => format!("interrupted: {known}"),
            (Ending::Broken, ..) => format!("the search could not go on: {known}"),
            (Ending::Found | Ending::Missed, ..) => "no rate holds the objectives".to_owned(),
        }
    }

    fn write(&self, path: &Path, is_json_alone: bool) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        if is_json_alone {
            io::stdout().write_all(text.as_bytes())?;
            return Ok(());
        }
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }
}

impl Outcome {
    /// Load that never was counts against the server where the generator was not the bottleneck and an objective was missed.
    fn of(verdict: Verdict, is_generator_bound: bool, is_missed: bool) -> Outcome {
        match (verdict, is_generator_bound, is_missed) {
            (Verdict::Failed, ..) => Outcome::Failed,
            (_, true, _) => Outcome::Invalid,
            (_, false, true) => Outcome::Missed,
            (Verdict::Invalid, false, false) => Outcome::Invalid,
            (_, false, false) => Outcome::Held,
        }
    }
}

impl Step {
    /// A rate holds if the objectives are met and the server took what was sent. Where the generator was the bottleneck nothing
    /// is known of the server, whatever the objectives say.
    fn judge(rate: f64, report: &Report) -> Step {
        let objectives = report.objectives().to_vec();
        let mut reasons: Vec<String> = Vec::new();
        if report.accepted_share() < ACCEPTED_MIN {
            reasons.push(format!("only {:.1} % were accepted", report.accepted_share() * 100.0));
        }
        let is_missed = objectives.iter().any(|judged| !judged.met) || !reasons.is_empty();
        let outcome = Outcome::of(report.verdict(), report.is_generator_bound(), is_missed);
        if outcome == Outcome::Invalid {
            reasons.extend(report.invalid().iter().cloned());
        }
        Step { rate, outcome, objectives, reasons }
    }

    fn line(&self, number: usize) -> String {
        let word = match self.outcome {
            Outcome::Held => "holds",
            Outcome::Missed => "missed",
            Outcome::Invalid => "INVALID",
            Outcome::Failed => "FAILED",
        };
        let judged = self.objectives.iter().map(Judged::line);
        let why: Vec<String> = judged.chain(self.reasons.iter().cloned()).collect();
        format!("step {number:<3} {:>12.0}/s   {word:<8} {}", self.rate, why.join("   "))
    }
}

/// What is known of where the answer lies.
#[derive(Debug)]
struct Interval {
    from: f64,
    to: f64,
    precision: f64,
    /// The highest rate that held.
    held: Option<f64>,
    /// The lowest one that did not.
    bound: Option<f64>,
}

impl Interval {
    fn new(from: f64, to: f64, precision: f64) -> Interval {
        Interval { from, to, precision, held: None, bound: None }
    }

    /// The next rate to be tried; `None` when the answer is known as well as was asked for.
    fn next_rate(&self) -> Option<f64> {
        match (self.held, self.bound) {
            (None, None) => Some(self.from),
            (Some(held), None) => (held < self.to).then(|| (2.0 * held).min(self.to)),
            (None, Some(bound)) => (RATE_MIN < bound).then(|| (bound / 2.0).max(RATE_MIN)),
            // The middle of ratios, since it is a ratio that is asked for.
            (Some(held), Some(bound)) => {
                (held * (1.0 + self.precision) < bound).then(|| (held * bound).sqrt())
            }
        }
    }

    fn note(&mut self, rate: f64, holds: bool) {
        if holds {
            self.held = Some(self.held.map_or(rate, |held| held.max(rate)));
        } else {
            self.bound = Some(self.bound.map_or(rate, |bound| bound.min(rate)));
        }
    }
}

const STEPS_MAX: usize = 100;
const PRECISION_MIN: f64 = 0.001;
/// Of what was sent: a server that refuses does not hold the rate.
const ACCEPTED_MIN: f64 = 0.99;
/// Events per second.
const RATE_MIN: f64 = 1.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_knee_is_found_to_the_precision_from_wherever_the_search_begins() {
        for knee in [1.5, 37.0, 100.0, 4_321.0, 99_999.0] {
            for from in [1.0, 100.0, 50_000.0] {
                let mut interval = Interval::new(from, 1e6, 0.05);
                let mut steps = 0;
                while let Some(rate) = interval.next_rate() {
                    interval.note(rate, rate <= knee);
                    steps += 1;
                }
                let (held, bound) = (interval.held.expect("held"), interval.bound.expect("a bound"));
                assert!(
                    held <= knee && knee < bound && bound <= held * 1.05,
                    "{knee} {from}: {held} {bound}"
                );
                assert!(steps < 30, "{knee} from {from}: {steps} steps");
            }
        }
    }

    #[test]
    fn the_generator_s_limit_is_not_taken_for_the_server_s() {
        let check = |verdict: Verdict, is_generator_bound: bool, is_missed: bool, expected: Outcome| {
            assert_eq!(Outcome::of(verdict, is_generator_bound, is_missed), expected, "{verdict:?}");
        };
        check(Verdict::Pass, false, false, Outcome::Held);
        check(Verdict::Missed, false, true, Outcome::Missed);
        check(Verdict::Invalid, true, true, Outcome::Invalid);
        check(Verdict::Invalid, true, false, Outcome::Invalid);
        check(Verdict::Invalid, false, true, Outcome::Missed);
        check(Verdict::Invalid, false, false, Outcome::Invalid);
        check(Verdict::Failed, true, true, Outcome::Failed);
        let check = |held: Option<f64>, bounded_by: Option<Outcome>, code: u8| {
            assert_eq!(Ending::of(held, bounded_by).exit_code(), code, "{held:?} {bounded_by:?}");
        };
        check(Some(5.0), Some(Outcome::Missed), 0);
        check(Some(5.0), None, 0);
        check(Some(5.0), Some(Outcome::Invalid), 4);
        check(None, Some(Outcome::Invalid), 4);
        check(None, Some(Outcome::Missed), 99);
    }

    #[test]
    fn the_ends_of_what_can_be_tried_are_answers_too() {
        let search = |holds: fn(f64) -> bool| {
            let mut interval = Interval::new(100.0, 1_000.0, 0.05);
            while let Some(rate) = interval.next_rate() {
                interval.note(rate, holds(rate));
            }
            (interval.held, interval.bound)
        };
        assert_eq!(search(|_| true), (Some(1_000.0), None));
        assert_eq!(search(|_| false), (None, Some(1.0)));
    }
}
