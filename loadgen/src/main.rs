//! `loadgen`: drives a Fanfare server and reports latency one can trust.
//!
//! Nothing here is shared with the server, so that a mistake in its encoders cannot hide behind the same mistake in
//! a reader: requests, answers, frames and event streams are read and written by code of this program's own.

mod account;
mod agent;
mod alarm;
mod audit;
mod compare;
mod control;
mod corpus;
mod cost;
mod counting;
mod doctor;
mod environment;
mod event;
mod files;
mod flags;
mod floor;
mod foreign;
mod gauge;
mod histogram;
mod history;
mod http;
mod interval;
mod link;
mod live;
mod load;
mod machine;
mod objective;
mod options;
mod payload;
mod plan;
mod publisher;
mod publishing;
mod record;
mod replay;
mod report;
mod run;
mod search;
mod shell;
mod side_by_side;
mod sse;
mod subscriber;
mod target;
mod timeline;
mod tls;
mod websocket;
mod witness;
mod worker;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::FromArgMatches;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::flags::{Command, Flags, RunFlags};
use crate::plan::{Plan, Role};

fn main() -> ExitCode {
    let matches = flags::command().get_matches();
    let mut flags = Flags::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if let Err(error) = flags::refuse_hidden(&matches) {
        return failed(EXIT_USAGE, &error);
    }
    flags.retype(&matches);
    let stop = match stop_signals() {
        Ok(stop) => stop,
        Err(error) => return failed(EXIT_SETUP, &format!("cannot watch for signals: {error}")),
    };
    let result = match flags.command {
        Command::Run(flags) => return run_as(Role::Whole, *flags, stop),
        Command::Pub(flags) => return run_as(Role::Publish, *flags, stop),
        Command::Sub(flags) => return run_as(Role::Subscribe, *flags, stop),
        Command::Connect(flags) => return run_as(Role::Connect, *flags, stop),
        Command::Search(flags) => match search::Plan::new(*flags) {
            Ok(plan) => search::run(&plan, &stop),
            Err(error) => return failed(EXIT_USAGE, &error),
        },
        Command::Agent(flags) => match flags.check() {
            Ok(()) => agent::run(&flags, &stop),
            Err(error) => return failed(EXIT_USAGE, &error),
        },
        Command::Doctor(flags) => match flags.target.target() {
            Ok(target) => doctor::run(&flags, &target),
            Err(error) => return failed(EXIT_USAGE, &error),
        },
        Command::Completions(flags) => shell::completions(&flags),
        Command::Man(flags) => shell::man(&flags),
        Command::Replay(flags) => match replay::Plan::new(flags) {
            Ok(plan) => replay::run(plan, &stop),
            Err(error) => return failed(EXIT_USAGE, &error),
        },
        Command::Count(flags) => match counting::Plan::new(*flags) {
            Ok(plan) => counting::run(&plan, &stop),
            Err(error) => return failed(EXIT_USAGE, &error),
        },
        Command::SideBySide(flags) => match side_by_side::Plan::new(*flags) {
            Ok(plan) => side_by_side::run(plan, &stop),
            Err(error) => return failed(EXIT_USAGE, &error),
        },
        Command::Report(flags) => match flags.check() {
            Ok(()) => report::saved::run(&flags),
            Err(error) => return failed(EXIT_USAGE, &error),
        },
        Command::Compare(flags) => compare::run(&flags),
        Command::Floor(flags) => floor::run(&flags, &stop),
    };
    result.unwrap_or_else(|error| gave_up(&error))
}

fn run_as(role: Role, flags: RunFlags, stop: Arc<AtomicBool>) -> ExitCode {
    match Plan::of(role, flags) {
        Ok(plan) => run::run(plan, stop).unwrap_or_else(|error| gave_up(&error)),
        Err(error) => failed(EXIT_USAGE, &error),
    }
}

/// The first signal asks for an early end with a report; the second one ends at once.
fn stop_signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// What cannot be done has its own exit code where it was an agent's doing.
fn gave_up(error: &anyhow::Error) -> ExitCode {
    let code = if error.is::<agent::Lost>() { EXIT_AGENT } else { EXIT_SETUP };
    failed(code, &format!("{error:#}"))
}

fn failed(code: u8, reason: &str) -> ExitCode {
    eprintln!("loadgen: {reason}");
    ExitCode::from(code)
}

const EXIT_USAGE: u8 = 2;
const EXIT_SETUP: u8 = 3;
const EXIT_AGENT: u8 = 6;
const EXIT_INTERRUPTED: i32 = 130;
