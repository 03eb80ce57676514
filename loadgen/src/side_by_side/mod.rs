//! `loadgen side-by-side`: two servers in turns, A B A B, each on the same processor, with the client on another; and the
//! ratio of what they cost and deliver, pair by pair.
//!
//! # Contract       a server is started fresh for every run, so that neither inherits anything nor runs while the other does;
//!                  messages of both have the same length; the two runs of a pair are neighbours in time, so that what the
//!                  machine does meanwhile meets both
//! # Why not …      all of A, then all of B: a machine that slows down in between would make a difference

pub(crate) mod bar;
pub(crate) mod options;
pub(crate) mod page;
pub(crate) mod profile;
pub(crate) mod report;
pub(crate) mod server;
pub(crate) mod statistics;
mod suite;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use self::bar::Bar;
use self::options::{Pins, ServerFlags, SideBySideFlags};
use self::profile::Profile;
use self::report::{NotRun, Pair, Report, Results};
use self::server::Instance;
use self::suite::Suite;
use crate::counting::outcome::Outcome;
use crate::counting::shape::{Load, LoadFlags, SHAPES};
use crate::counting::usage::Machine;
use crate::counting::{self, stamp};
use crate::machine;

/// What is to be compared.
#[derive(Debug)]
pub(crate) struct Plan {
    flags: SideBySideFlags,
    /// None for what is only shown.
    comparisons: Vec<Comparison>,
    shown: Option<String>,
}

impl Plan {
    /// What the options mean.
    ///
    /// # Errors
    /// They contradict each other, or a profile or the suite cannot be read.
    pub(crate) fn new(flags: SideBySideFlags) -> Result<Plan, String> {
        let suite = flags.suite.as_deref().map(Suite::load).transpose()?;
        if flags.list {
            let shown = suite.map_or_else(|| SHAPES.to_owned(), |suite| suite.list());
            return Ok(Plan { flags, comparisons: Vec::new(), shown: Some(shown) });
        }
        let comparisons = match suite {
            Some(suite) => suite.comparisons(&flags)?,
            None => vec![Comparison::new(&flags)?],
        };
        Ok(Plan { flags, comparisons, shown: None })
    }
}

/// Runs all comparisons of `plan`, and says what came of them.
///
/// # Errors
/// A server cannot be started or reached, or the result cannot be written.
pub(crate) fn run(plan: Plan, stop: &AtomicBool) -> anyhow::Result<ExitCode> {
    let Plan { flags, comparisons, shown } = plan;
    let are_several = 1 < comparisons.len();
    if let Some(shown) = shown {
        print!("{shown}");
        return Ok(ExitCode::SUCCESS);
    }
    machine::raise_descriptor_limit()?;
    // Before the client is pinned, which hides all other processors from it.
    let machine = Machine::this();
    let pins = flags.server.pins()?;
    let is_json_alone = flags.json.as_deref() == Some(Path::new("-"));
    let mut results = Results::new(machine, pins);
    for mut comparison in comparisons {
        let outcome = match comparison.run(&flags.server, pins, stop) {
            Ok(report) => Ok(report),
            // One server that is not there is no reason to forget the others.
            Err(error) if are_several => {
                let reason = format!("{error:#}");
                eprintln!("loadgen: {} was not run: {reason}", comparison.name);
                Err(NotRun { name: comparison.name.clone(), reason })
            }
            Err(error) => return Err(error),
        };
        if let Ok(report) = &outcome
            && !is_json_alone
        {
            print!("{}", report.table());
        }
        results.add(outcome);
        if let Some(folder) = &flags.out {
            results.write(folder)?;
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    report::write_json(flags.json.as_deref(), &results)?;
    Ok(ExitCode::from(results.exit_code()))
}

/// What is compared.
#[derive(Debug)]
struct Comparison {
    name: String,
    /// The shape that it has in common with others.
    group: Option<String>,
    /// The figure that matters most.
    figure: Option<&'static str>,
    sides: [Side; 2],
    pairs: u32,
    bars: Vec<Bar>,
    seed: u64,
}

/// One of the two.
#[derive(Debug)]
struct Side {
    profile: Profile,
    load: Load,
    /// What the server says of itself.
    version: Option<String>,
}

impl Comparison {
    /// The one that the command line names.
    fn new(flags: &SideBySideFlags) -> Result<Comparison, String> {
        let (Some(a), Some(b)) = (&flags.a, &flags.b) else {
            return Err("two profiles are needed, or --suite".to_owned());
        };
        let side = |name: &str, own: &Option<LoadFlags>| {
            Side::new(name, &flags.server.profiles, own.clone(), &flags.load, flags.quick)
        };
        Ok(Comparison {
            name: format!("{a} beside {b}"),
            group: None,
            figure: None,
            sides: [side(a, &flags.a_options)?, side(b, &flags.b_options)?],
            pairs: flags.pairs(None),
            bars: flags.bars.clone(),
            seed: flags.seed,
        })
    }

    fn run(&mut self, flags: &ServerFlags, pins: Pins, stop: &AtomicBool) -> anyhow::Result<Report> {
        for side in &mut self.sides {
            side.version = server::version(&side.profile, flags);
        }
        let mut envelopes = [0; 2];
        for (envelope, side) in envelopes.iter_mut().zip(&self.sides) {
            *envelope = side.trial(flags, pins, stop)?;
        }
        let mut pairs = Vec::new();
        for _ in 0..self.pairs {
            let bodies = bodies(&self.sides, envelopes);
            let a = self.sides[0].run(bodies[0], flags, pins, stop)?;
            let b = self.sides[1].run(bodies[1], flags, pins, stop)?;
            if stop.load(Ordering::Relaxed) {
                break;
            }
            // Numbers in envelopes grow with a run, so the next pair goes by this one and not by the trial.
            for ((envelope, body_bytes), outcome) in envelopes.iter_mut().zip(bodies).zip([&a, &b]) {
                if let Some(payload_bytes) = outcome.figures.get("payload_bytes") {
                    *envelope = (payload_bytes.round() as usize).saturating_sub(body_bytes);
                }
            }
            pairs.push(Pair::new(a, b));
        }
        let asked = self.sides.each_ref().map(|side| side.load.size);
        Ok(Report::new(self, pairs, asked))
    }
}

impl Side {
    fn new(
        name: &str,
        profiles: &Path,
        own: Option<LoadFlags>,
        both: &LoadFlags,
        is_quick: bool,
    ) -> Result<Side, String> {
        let flags = own.map_or_else(|| both.clone(), |own| own.over(both));
        let mut load = Load::new(&flags)?;
        if is_quick {
            load.duration_ns = load.duration_ns.min(QUICK_NS);
        }
        Ok(Side { profile: Profile::load(name, profiles)?, load, version: None })
    }

    /// What the server puts around bodies; 0 where nothing is delivered.
    fn trial(&self, flags: &ServerFlags, pins: Pins, stop: &AtomicBool) -> anyhow::Result<usize> {
        if self.load.subscribers == 0 || !self.load.publishes() {
            return Ok(0);
        }
        let instance = Instance::start(&self.profile, &self.load, flags, pins, None)?;
        counting::trial(&self.profile, &self.load, &instance.server(), stop)
    }

    fn run(
        &self,
        body_bytes: usize,
        flags: &ServerFlags,
        pins: Pins,
        stop: &AtomicBool,
    ) -> anyhow::Result<Outcome> {
        let instance = Instance::start(&self.profile, &self.load, flags, pins, None)?;
        counting::measure(&self.profile, &self.load, body_bytes, &instance.server(), stop)
    }
}

/// Lengths of bodies with which the messages of both sides are equally long: as long as was asked for, or as the larger
/// envelope needs.
fn bodies(sides: &[Side; 2], envelopes: [usize; 2]) -> [usize; 2] {
    let least = envelopes[0].max(envelopes[1]) + stamp::BODY_BYTES_MIN;
    [0, 1].map(|side| sides[side].load.size.max(least) - envelopes[side])
}

/// The measured part of a run of which nobody wants to know more than that it runs.
const QUICK_NS: u64 = 300_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_make_messages_of_both_sides_equally_long() {
        let side = |size: usize| Side {
            profile: Profile::parse(r#"{"name":"x","command":["x"]}"#).expect("a profile"),
            load: Load::new(&format!("-s {size}").parse().expect("options")).expect("a load"),
            version: None,
        };
        let check = |size: usize, envelopes: [usize; 2], expected: [usize; 2]| {
            assert_eq!(bodies(&[side(size), side(size)], envelopes), expected, "{size} {envelopes:?}");
        };
        check(1_024, [120, 0], [904, 1_024]);
        check(128, [120, 0], [20, 140]);
        check(128, [0, 120], [140, 20]);
        check(0, [0, 0], [20, 20]);
    }
}
