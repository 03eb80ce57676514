//! `loadgen count`: a lean client that counts what a server delivers, and what that costs the server.
//!
//! It reads into one buffer and hops from frame to frame; an event is recognised by the stamp in its body. What every
//! subscriber must have is known, so that a run fails on one delivery that is missing or too many. The client states its
//! own ceiling with each result, and a result that is too near to it is INVALID.

mod answers;
mod client;
pub(crate) mod figure;
mod ledger;
mod listener;
pub(crate) mod outcome;
mod press;
mod progress;
mod reference;
pub(crate) mod request;
pub(crate) mod shape;
pub(crate) mod stamp;
mod stream;
pub(crate) mod usage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use clap::Args;

pub(crate) use client::Server;
use outcome::Outcome;
use shape::{Load, LoadFlags};

use crate::machine;
use crate::side_by_side::options::{Pins, ServerFlags};
use crate::side_by_side::profile::Profile;
use crate::side_by_side::server::Instance;

/// Options of `loadgen count`.
#[derive(Debug, Args)]
pub(crate) struct CountFlags {
    /// The server, http://HOST:PORT; without it the profile's command is started
    pub(crate) url: Option<String>,
    /// How the server is spoken to, and started: a file, or a name in --profiles
    #[arg(long, value_name = "PROFILE", default_value = "fanfare")]
    pub(crate) profile: String,
    /// The server's process, for its cost, if it is not started here
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// Bytes of an event's body, in place of the length of messages; the trial that finds out how long bodies must be for
    /// that is then left out
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(..=BODY_BYTES_MAX))]
    pub(crate) body: Option<u32>,
    #[command(flatten)]
    pub(crate) load: LoadFlags,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
    /// Write the whole result as JSON, to standard output (in place of the table) or to FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,
}

/// One load and one server.
#[derive(Debug)]
pub(crate) struct Plan {
    flags: CountFlags,
    load: Load,
    profile: Profile,
}

impl Plan {
    /// What the options mean.
    ///
    /// # Errors
    /// They contradict each other, or the profile cannot be read.
    pub(crate) fn new(flags: CountFlags) -> Result<Plan, String> {
        let load = Load::new(&flags.load)?;
        let mut profile = Profile::load(&flags.profile, &flags.server.profiles)?;
        if let Some(url) = &flags.url {
            profile.command.clear();
            profile.url = Some(url.clone());
        }
        Ok(Plan { flags, load, profile })
    }
}

/// Runs one load against one server and says what came of it.
///
/// # Errors
/// The server cannot be started or reached, or the result cannot be written.
pub(crate) fn run(plan: &Plan, stop: &AtomicBool) -> anyhow::Result<ExitCode> {
    let Plan { flags, load, profile } = plan;
    machine::raise_descriptor_limit()?;
    // A server that runs already is where it is, and the client goes where the system sends it.
    let pins = if profile.url.is_some() { Pins::default() } else { flags.server.pins()? };
    let start = || Instance::start(profile, load, &flags.server, pins, flags.pid);
    let (mut note, mut body_bytes) = (None, flags.body.map_or(load.size, |bytes| bytes as usize));
    if flags.body.is_none() && load.publishes() && 0 < load.subscribers {
        let envelope = trial(profile, load, &start()?.server(), stop)?;
        if load.size < envelope + stamp::BODY_BYTES_MIN {
            note = Some(format!("{} B are too few for this server's envelope of {envelope} B", load.size));
        }
        body_bytes = load.size.saturating_sub(envelope);
    }
    let instance = start()?;
    let body_bytes = body_bytes.max(stamp::BODY_BYTES_MIN);
    let mut outcome = measure(profile, load, body_bytes, &instance.server(), stop)?;
    drop(instance);
    outcome.notes.extend(note);
    crate::side_by_side::report::write_json(flags.json.as_deref(), &outcome)?;
    if flags.json.as_deref().is_none_or(|path| path.as_os_str() != "-") {
        print!("{}", outcome.table());
    }
    Ok(ExitCode::from(outcome.verdict.exit_code()))
}

/// Runs `load` with bodies of `body_bytes` bytes against a server that is ready.
///
/// # Errors
/// The server cannot be reached, or refuses subscribers.
pub(crate) fn measure(
    profile: &Profile,
    load: &Load,
    body_bytes: usize,
    server: &Server,
    stop: &AtomicBool,
) -> anyhow::Result<Outcome> {
    let findings = client::run(profile, load, body_bytes, server, stop)?;
    Ok(Outcome::new(&profile.name, load, body_bytes, findings))
}

/// Runs `load` for a moment and says by how many bytes messages are longer than bodies.
///
/// # Errors
/// As [`measure`]; also if nothing was delivered.
pub(crate) fn trial(
    profile: &Profile,
    load: &Load,
    server: &Server,
    stop: &AtomicBool,
) -> anyhow::Result<usize> {
    let mut short = load.clone();
    short.duration_ns = TRIAL_NS;
    short.warmup_ns = 0;
    let body_bytes = load.size.max(stamp::BODY_BYTES_MIN);
    let outcome = measure(profile, &short, body_bytes, server, stop)?;
    let Some(payload_bytes) = outcome.figures.get("payload_bytes") else {
        anyhow::bail!(
            "{} delivered nothing in a trial{}",
            profile.name,
            outcome.failures.iter().map(|failure| format!("; {failure}")).collect::<String>()
        );
    };
    Ok((payload_bytes.round() as usize).saturating_sub(body_bytes))
}

const BODY_BYTES_MAX: i64 = 1024 * 1024;
/// Long enough for a steady load at the lowest rate.
const TRIAL_NS: u64 = machine::NS_PER_SECOND * 3 / 10;
