//! What is typed: the subcommands and their options.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, Parser, Subcommand};

use crate::agent::AgentFlags;
use crate::agent::wording;

use crate::compare::CompareFlags;
use crate::counting::CountFlags;
use crate::doctor::DoctorFlags;
use crate::files::Files;
use crate::load::arrival::Arrival;
use crate::load::share::{Share, Slow, Storm};
use crate::load::size::Size;
use crate::load::skew::Skew;
use crate::load::stages::Stages;
use crate::objective::Objective;
use crate::options::{Interval, OnSlow, Rate, SourceRange, Transports, Verify, Via};
use crate::report::outputs::OutputFlags;
use crate::report::saved::ReportFlags;
use crate::search::SearchFlags;
use crate::shell::{CompletionsFlags, ManFlags};
use crate::side_by_side::options::SideBySideFlags;
use crate::target::Target;
use crate::tls::Trust;

/// Drives a Fanfare server with load and tells latency one can trust.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, about, long_about = ABOUT, max_term_width = 110)]
pub(crate) struct Flags {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Flags {
    /// Notes what was typed as it was, for commands that agents can have a part in.
    pub(crate) fn retype(&mut self, matches: &ArgMatches) {
        let Some((_, part)) = matches.subcommand() else { return };
        let run = match &mut self.command {
            Command::Run(flags) | Command::Sub(flags) | Command::Connect(flags) => &mut **flags,
            Command::Search(flags) => &mut flags.run,
            _ => return,
        };
        run.typed = wording::retyped(part);
    }
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publish and subscribe at once; measure, and check that every subscriber got everything, once, in order
    #[command(long_about = ABOUT_RUN, after_long_help = AFTER_RUN, args_override_self = true)]
    Run(Box<RunFlags>),
    /// Subscribe only; latencies are measured where the payloads are those of another loadgen on this host
    #[command(long_about = ABOUT_SUB, after_long_help = AFTER_SUB, args_override_self = true)]
    Sub(Box<RunFlags>),
    /// Publish only
    #[command(long_about = ABOUT_PUB, after_long_help = AFTER_PUB, args_override_self = true)]
    Pub(Box<RunFlags>),
    /// Connect at a rate, however the server fares, and hold the connections
    #[command(long_about = ABOUT_CONNECT, after_long_help = AFTER_CONNECT, args_override_self = true)]
    Connect(Box<RunFlags>),
    /// Find the highest rate that holds the objectives
    #[command(long_about = ABOUT_SEARCH, after_long_help = AFTER_SEARCH, args_override_self = true)]
    Search(Box<SearchFlags>),
    /// Drive subscribers for runs that are coordinated elsewhere (`run --agents`)
    #[command(long_about = ABOUT_AGENT, after_long_help = AFTER_AGENT, args_override_self = true)]
    Agent(AgentFlags),
    /// Look at what this machine and the server allow, and say what to change
    Doctor(DoctorFlags),
    /// Publish real events one by one, for demonstrations and for a server to have something to show
    #[command(long_about = ABOUT_REPLAY, after_long_help = AFTER_REPLAY, args_override_self = true)]
    Replay(ReplayFlags),
    /// Count what a server delivers under one load, and what that costs it
    #[command(long_about = ABOUT_COUNT, after_long_help = AFTER_COUNT, args_override_self = true)]
    Count(Box<CountFlags>),
    /// Run two servers in turns and tell the ratio of their costs
    #[command(long_about = ABOUT_SIDE_BY_SIDE, after_long_help = AFTER_SIDE_BY_SIDE, args_override_self = true)]
    SideBySide(Box<SideBySideFlags>),
    /// Tell saved results again, in any form; several side by side
    #[command(after_long_help = AFTER_REPORT)]
    Report(ReportFlags),
    /// Compare saved results, one or several before and after, figure by figure
    #[command(long_about = ABOUT_COMPARE, after_long_help = AFTER_COMPARE)]
    Compare(CompareFlags),
    /// Serve as little as fan-out can be: the kernel's sends and next to nothing else, to put beside a server
    #[command(long_about = ABOUT_FLOOR, args_override_self = true)]
    Floor(FloorFlags),
    /// Print what makes a shell complete this program's words
    Completions(CompletionsFlags),
    /// Print the manual page, or write those of all commands into a directory
    Man(ManFlags),
}

/// The command line, where commands that are a part of `run` have only their part of its options.
pub(crate) fn command() -> clap::Command {
    let without = |command: clap::Command, names: &[&str]| {
        names.iter().fold(command, |command, name| command.mut_arg(*name, |arg| arg.hide(true)))
    };
    let hiding = |command: clap::Command| {
        let names = hidden(command.get_name());
        without(command, &names)
    };
    Flags::command()
        .mut_subcommand("pub", |command| hiding(command.mut_arg("connections", |arg| arg.default_value("0"))))
        .mut_subcommand("sub", hiding)
        .mut_subcommand("connect", hiding)
        .mut_subcommand("search", |command| {
            hiding(command)
                .mut_arg("duration", |arg| arg.default_value("5s"))
                .mut_arg("warmup", |arg| arg.default_value("1s"))
        })
}

/// Refuses options of `run` that a part of it does not have and that were typed all the same, since they would do nothing. What
/// the environment says may be meant for other commands.
///
/// # Errors
/// Names the first of them.
pub(crate) fn refuse_hidden(matches: &ArgMatches) -> Result<(), String> {
    let Some((command, matches)) = matches.subcommand() else { return Ok(()) };
    let names = hidden(command);
    let mut typed = names.iter().filter(|name| {
        // What hides an option that is named in a sentence of its own is left to that.
        **name != "connections" && matches.value_source(name) == Some(ValueSource::CommandLine)
    });
    typed.next().map_or(Ok(()), |name| {
        Err(format!(
            "{command} has no --{}: it would do nothing (see loadgen {command} --help)",
            name.replace('_', "-")
        ))
    })
}

/// The options of `run` that a command has no use for.
fn hidden(command: &str) -> Vec<&'static str> {
    let (part, more): (&[&str], &[&str]) = match command {
        "pub" => (SUBSCRIBING, &["connections", "hgrm"]),
        "sub" => (PUBLISHING, &[]),
        "connect" => {
            (PUBLISHING, &["slow", "on_slow", "resume_churn", "churn", "reconnect", "verify", "hgrm"])
        }
        "search" => (&[], &["hold", "rate", "stages"]),
        _ => (&[], &[]),
    };
    [part, more].concat()
}

/// The name of channels that takes that of the profile's, if there is one.
pub(crate) const CHANNEL_DEFAULT: &str = "bench:{i}";

/// Options that say nothing where nobody subscribes.
const SUBSCRIBING: &[&str] = &[
    "transport",
    "connect_rate",
    "subscriber_tokens",
    "hold",
    "subs_per_conn",
    "slow",
    "on_slow",
    "resume_churn",
    "churn",
    "reconnect",
    "threads",
    "source_ip",
    "agents",
    "verify",
];
/// Options that say nothing where nobody publishes.
const PUBLISHING: &[&str] = &[
    "publishers",
    "rate",
    "arrival",
    "stages",
    "outstanding",
    "messages",
    "warmup",
    "size",
    "hold",
    "skew",
    "publish_via",
    "batch",
    "seed",
    "drain",
    "slo_abort_after",
];

/// What both subcommands need to reach the server.
#[derive(Debug, Args)]
pub(crate) struct TargetFlags {
    /// The server: http://HOST:PORT or ws://HOST:PORT, or https:// or wss:// where it is encrypted
    pub(crate) url: String,
    /// Bearer token, sent with every request
    #[arg(long, env = "LOADGEN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// File with the bearer token, which others cannot see as they can a command line
    #[arg(long, env = "LOADGEN_TOKEN_FILE", value_name = "FILE", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// File with certificates in PEM to trust in place of the system's
    #[arg(long, env = "LOADGEN_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Trust every certificate
    #[arg(long, env = "LOADGEN_INSECURE", conflicts_with = "ca")]
    pub(crate) insecure: bool,
}

impl TargetFlags {
    /// The server, and what it takes to be let in.
    ///
    /// # Errors
    /// As [`Target::parse_any`], and when the file cannot be read.
    pub(crate) fn target(&self) -> Result<Target, String> {
        self.target_of(&Files::Here)
    }

    /// The same, as the files are in `files`.
    ///
    /// # Errors
    /// As [`TargetFlags::target`].
    pub(crate) fn target_of(&self, files: &Files) -> Result<Target, String> {
        let token = match &self.token_file {
            None => self.token.clone(),
            Some(path) => Some(files.read(path)?.trim().to_owned()),
        };
        let trust = match (&self.ca, files) {
            _ if self.insecure => Trust::Anybody,
            (Some(path), Files::Here) => Trust::File(path.clone()),
            (Some(path), Files::Sent(_)) => Trust::Text(files.read(path)?),
            (None, _) => Trust::System,
        };
        Target::parse_any(&self.url, token, &trust)
    }
}

/// Options of `loadgen run`.
#[derive(Debug, Args)]
pub(crate) struct RunFlags {
    #[command(flatten)]
    pub(crate) target: TargetFlags,

    /// Subscribers
    #[arg(
        short,
        long,
        env = "LOADGEN_CONNECTIONS",
        value_name = "N",
        default_value_t = 1000,
        help_heading = "Load"
    )]
    pub(crate) connections: u32,
    /// How subscribers connect: ws, sse, or shares such as ws:80,sse:20
    #[arg(long, env = "LOADGEN_TRANSPORT", value_name = "MIX", default_value = "ws", help_heading = "Load")]
    pub(crate) transport: Transports,
    /// File with a bearer token a line; subscribers show them in turn, publishers do not
    #[arg(long, env = "LOADGEN_SUBSCRIBER_TOKENS", value_name = "FILE", help_heading = "Load")]
    pub(crate) subscriber_tokens: Option<PathBuf>,
    /// How fast subscribers connect, all together
    #[arg(
        long,
        env = "LOADGEN_CONNECT_RATE",
        value_name = "RATE",
        default_value = "2000/s",
        help_heading = "Load"
    )]
    pub(crate) connect_rate: Rate,
    /// Publishers, one connection each
    #[arg(
        short,
        long,
        env = "LOADGEN_PUBLISHERS",
        value_name = "N",
        default_value_t = 1,
        help_heading = "Load"
    )]
    pub(crate) publishers: u32,
    /// Events per second of all publishers together (k and M are understood); 0 or max saturates the server
    /// [default: 100/s]
    #[arg(short = 'R', long, env = "LOADGEN_RATE", value_name = "RATE", help_heading = "Load")]
    pub(crate) rate: Option<Rate>,
    /// When events are due: evenly (constant), by chance (poisson), N at once every so often (burst:N@TIME, in place of a
    /// rate), or each when one of a publisher's N unanswered ones is answered (closed:N), which hides what a server's
    /// stalls cost
    #[arg(
        long,
        env = "LOADGEN_ARRIVAL",
        value_name = "HOW",
        default_value = "constant",
        help_heading = "Load"
    )]
    pub(crate) arrival: Arrival,
    /// Rates that change, such as 100:10s,1k:30s,0:10s: each stage ramps from the rate before to its own, the first holds
    /// it; in place of a rate and a duration. The warm-up goes before, at the first rate
    #[arg(
        long,
        env = "LOADGEN_STAGES",
        value_name = "RATE:TIME,…",
        conflicts_with = "rate",
        help_heading = "Load"
    )]
    pub(crate) stages: Option<Stages>,
    /// At saturation: unanswered requests per publisher
    #[arg(long, env = "LOADGEN_OUTSTANDING", value_name = "N", default_value_t = 64, help_heading = "Load")]
    pub(crate) outstanding: u32,
    /// Length of the measured part
    #[arg(
        short,
        long,
        env = "LOADGEN_DURATION",
        value_name = "TIME",
        default_value = "30s",
        help_heading = "Load"
    )]
    pub(crate) duration: Interval,
    /// Stop after N events, those of the warm-up included, if that comes before the end of the duration
    #[arg(short = 'n', long, env = "LOADGEN_MESSAGES", value_name = "N", help_heading = "Load")]
    pub(crate) messages: Option<u64>,
    /// Time before the measured part: published and verified, but not in the figures
    #[arg(long, env = "LOADGEN_WARMUP", value_name = "TIME", default_value = "2s", help_heading = "Load")]
    pub(crate) warmup: Interval,
    /// Bytes of an event's data (48 or so are the least): 256, any between 64..4KiB, or lognormal:MEDIAN,DEVIATION;
    /// corpus = real webhook payloads, projection = their list members only
    #[arg(
        short,
        long,
        env = "LOADGEN_SIZE",
        value_name = "SIZE",
        default_value = "256",
        help_heading = "Load"
    )]
    pub(crate) size: Size,
    /// Only connect and hold the connections for the duration; publish nothing
    #[arg(long, env = "LOADGEN_HOLD", help_heading = "Load")]
    pub(crate) hold: bool,

    /// What the server speaks: fanfare, raw-ws, sse, nchan, mercure, pusher, centrifugo, durable-streams, or a profile's
    /// file as in benches/side-by-side. All but the first take one publisher, over HTTP
    #[arg(
        long,
        env = "LOADGEN_PROTOCOL",
        value_name = "NAME|FILE",
        default_value = "fanfare",
        help_heading = "Protocol"
    )]
    pub(crate) protocol: String,
    /// Of such a protocol: the path that subscribers ask for; {channel} is the channel's name, here and below
    #[arg(long, env = "LOADGEN_SUBSCRIBE_PATH", value_name = "PATH", help_heading = "Protocol")]
    pub(crate) subscribe_path: Option<String>,
    /// The text that subscribers send on their WebSocket
    #[arg(long, env = "LOADGEN_SUBSCRIBE_SEND", value_name = "TEXT", help_heading = "Protocol")]
    pub(crate) subscribe_send: Option<String>,
    /// What the text contains that confirms a subscription
    #[arg(long, env = "LOADGEN_SUBSCRIBE_CONFIRM", value_name = "TEXT", help_heading = "Protocol")]
    pub(crate) subscribe_confirm: Option<String>,
    /// The path that events are posted to
    #[arg(long, env = "LOADGEN_PUBLISH_PATH", value_name = "PATH", help_heading = "Protocol")]
    pub(crate) publish_path: Option<String>,
    /// The body of such a request; {body} is the event (letters, digits and -), {n} its number
    #[arg(long, env = "LOADGEN_PUBLISH_BODY", value_name = "TEXT", help_heading = "Protocol")]
    pub(crate) publish_body: Option<String>,
    /// A header line of such a request, in place of the profile's. Repeatable
    #[arg(long = "publish-header", value_name = "NAME: VALUE", help_heading = "Protocol")]
    pub(crate) publish_headers: Vec<String>,

    /// Number of channels; each subscriber takes --subs-per-conn of them, events go round all
    #[arg(long, env = "LOADGEN_CHANNELS", value_name = "N", default_value_t = 1, help_heading = "Shape")]
    pub(crate) channels: u32,
    /// Name of a channel; {i} is its number
    #[arg(
        long,
        env = "LOADGEN_CHANNEL",
        value_name = "NAME",
        default_value = CHANNEL_DEFAULT,
        help_heading = "Shape"
    )]
    pub(crate) channel: String,
    /// Events go to channels by chance and not in turn, to the one of rank n as often as 1/n to the power of S: zipf:S
    #[arg(long, env = "LOADGEN_SKEW", value_name = "zipf:S", help_heading = "Shape")]
    pub(crate) skew: Option<Skew>,
    /// Channels that each subscriber takes
    #[arg(
        long,
        env = "LOADGEN_SUBS_PER_CONN",
        value_name = "K",
        default_value_t = 1,
        help_heading = "Shape"
    )]
    pub(crate) subs_per_conn: u32,
    /// Subscribers filter by a tag that so many of the events have, chosen by chance; they must get these and no others
    #[arg(long, env = "LOADGEN_FILTER", value_name = "SHARE%", help_heading = "Shape")]
    pub(crate) filter: Option<Share>,
    /// How publishers publish: http (pipelined POST) or ws
    #[arg(
        long,
        env = "LOADGEN_PUBLISH_VIA",
        value_name = "http|ws",
        default_value = "http",
        help_heading = "Shape"
    )]
    pub(crate) publish_via: Via,
    /// Events per request, as one atomic batch (http only)
    #[arg(long, env = "LOADGEN_BATCH", value_name = "N", default_value_t = 1, help_heading = "Shape")]
    pub(crate) batch: u32,
    /// Chooses all that is left to chance: payloads, sizes, times, channels; the same seed makes the same events
    #[arg(long, env = "LOADGEN_SEED", value_name = "N", default_value_t = 42, help_heading = "Shape")]
    pub(crate) seed: u64,
    /// Of the subscribers, how many (100, 5%) read slowly for the measured part (5%:10KB/s each, or not at all) and then
    /// read on; they are told of gaps and reported apart. What the kernels hold for them comes on top
    #[arg(
        long,
        env = "LOADGEN_SLOW",
        value_name = "N|SHARE%[:BYTES/s]",
        default_value = "0",
        help_heading = "Shape"
    )]
    pub(crate) slow: Slow,
    /// What subscribers ask the server to do when they are slow: gap, latest or close; as the server is set unless given
    #[arg(long, env = "LOADGEN_ON_SLOW", value_name = "gap|latest|close", help_heading = "Shape")]
    pub(crate) on_slow: Option<OnSlow>,
    /// Subscribers per second that are cut off and resume by cursor, each time over the other transport
    #[arg(long, env = "LOADGEN_RESUME_CHURN", value_name = "RATE", help_heading = "Shape")]
    pub(crate) resume_churn: Option<Rate>,
    /// Subscribers per second that leave, and come back as strangers: without a cursor, so that they have missed what
    /// there was in between
    #[arg(long, env = "LOADGEN_CHURN", value_name = "RATE", help_heading = "Shape")]
    pub(crate) churn: Option<Rate>,
    /// Cut so many subscribers off at once, so long after the start of the measured part; they resume by cursor
    #[arg(long, env = "LOADGEN_RECONNECT", value_name = "storm:SHARE%@TIME", help_heading = "Shape")]
    pub(crate) reconnect: Option<Storm>,

    /// Loops that drive the subscribers, one thread each; the publishers have one more
    #[arg(
        short,
        long,
        env = "LOADGEN_THREADS",
        value_name = "N",
        default_value_t = 1,
        help_heading = "Machine"
    )]
    pub(crate) threads: u32,
    /// Addresses to connect from, in turn, such as 127.0.0.2..9; one address can hold some 28,000 connections
    #[arg(long, env = "LOADGEN_SOURCE_IP", value_name = "FROM[..TO]", help_heading = "Machine")]
    pub(crate) source_ip: Option<SourceRange>,

    /// Agents that drive the subscribers in place of this process, which publishes and reports (see `loadgen agent`). Their
    /// loops, --threads each, share all that is about subscribers out evenly: connections by transport, --connect-rate, --slow,
    /// --churn, --resume-churn, --reconnect. Each must have the addresses of --source-ip; of files each gets the text
    #[arg(
        long,
        env = "LOADGEN_AGENTS",
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        help_heading = "Machine"
    )]
    pub(crate) agents: Vec<String>,
    /// What was typed, as agents are told of it.
    #[arg(skip)]
    pub(crate) typed: Vec<String>,

    /// The server's process, if it runs here: what it costs is told
    #[arg(long, env = "LOADGEN_PID", value_name = "PID", help_heading = "Machine")]
    pub(crate) pid: Option<u32>,
    /// Where the server tells its process_cpu_seconds_total and process_resident_memory_bytes, such as
    /// http://127.0.0.1:8081/metrics: what it costs is told
    #[arg(
        long,
        env = "LOADGEN_METRICS",
        value_name = "URL",
        conflicts_with = "pid",
        help_heading = "Machine"
    )]
    pub(crate) metrics: Option<String>,

    /// What subscribers check: nothing, the order, order and completeness (gaps), or the content of each delivery too
    #[arg(
        long,
        env = "LOADGEN_VERIFY",
        value_name = "none|order|gaps|full",
        default_value = "full",
        help_heading = "Check"
    )]
    pub(crate) verify: Verify,
    /// What the run must reach, such as p99<5ms, ack.p99.9<20ms, reach==1, rate>=100k/s; exit code 99 if it does not.
    /// Repeatable
    #[arg(
        long = "slo",
        env = "LOADGEN_SLO",
        value_name = "OBJECTIVE",
        value_delimiter = ',',
        help_heading = "Check"
    )]
    pub(crate) objectives: Vec<Objective>,
    /// End the run when an objective about the end-to-end latency or the rate has been missed for so long, second by second
    #[arg(
        long,
        env = "LOADGEN_SLO_ABORT_AFTER",
        value_name = "TIME",
        requires = "objectives",
        help_heading = "Check"
    )]
    pub(crate) slo_abort_after: Option<Interval>,
    /// How long the last events may take to arrive once publishing has ended
    #[arg(long, env = "LOADGEN_DRAIN", value_name = "TIME", default_value = "10s", help_heading = "Check")]
    pub(crate) drain: Interval,
    /// Only note that the generator was the bottleneck, instead of exit code 4 (for machines that are busy
    /// anyway, where the checks count and the latencies do not)
    #[arg(long, env = "LOADGEN_LENIENT", help_heading = "Check")]
    pub(crate) lenient: bool,

    #[command(flatten)]
    pub(crate) output: OutputFlags,
}

/// Options of `loadgen replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayFlags {
    #[command(flatten)]
    pub(crate) target: TargetFlags,
    /// Events per second; 0 or max = each as soon as the last one is answered [default: 20/s, or with --git the commits' own
    /// times]
    #[arg(long, env = "LOADGEN_REPLAY_RATE", value_name = "RATE")]
    pub(crate) rate: Option<Rate>,
    /// Multiplies the rate, or makes commits come so many times as fast as they did: 10 or 10x
    #[arg(
        long,
        env = "LOADGEN_REPLAY_SPEED",
        value_name = "X",
        default_value = "1",
        value_parser = speed
    )]
    pub(crate) speed: f64,
    /// Begin again at the end
    #[arg(long = "loop", env = "LOADGEN_REPLAY_LOOP")]
    pub(crate) endless: bool,
    /// Stop after N events
    #[arg(long, env = "LOADGEN_REPLAY_LIMIT", value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Replay the history of this repository in place of the bundled events: one event for each commit of the branch that is
    /// checked out, oldest first, on the channel repo:NAME/BRANCH, at the time that it was committed
    #[arg(long, env = "LOADGEN_REPLAY_GIT", value_name = "REPO", conflicts_with = "file")]
    pub(crate) git: Option<PathBuf>,
    /// With --git: no pause between two commits is longer, however long nobody worked
    #[arg(long, env = "LOADGEN_REPLAY_PAUSE_MAX", value_name = "TIME", default_value = "1s")]
    pub(crate) pause_max: Interval,
    /// Replay this NDJSON file in place of the bundled events; - is standard input
    #[arg(long, env = "LOADGEN_REPLAY_FILE", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Options of `loadgen floor`.
#[derive(Debug, Args)]
pub(crate) struct FloorFlags {
    /// Where to listen; port 0 takes a free one, which is printed
    #[arg(long, env = "LOADGEN_FLOOR_BIND", value_name = "HOST:PORT", default_value = "127.0.0.1:8090")]
    pub(crate) bind: SocketAddr,
    /// Write to each subscriber once for every event
    #[arg(long)]
    pub(crate) each: bool,
    /// Write to each subscriber once for all events of a turn (the default)
    #[arg(long, conflicts_with = "each")]
    pub(crate) batch: bool,
    /// Burn so much time for every event, at most a second: a server whose capacity is known, to try tools on
    #[arg(long, value_name = "TIME", value_parser = work)]
    pub(crate) work: Option<Interval>,
}

/// Time that an event may take.
fn work(text: &str) -> Result<Interval, String> {
    let work: Interval = text.parse()?;
    if work.ns <= crate::machine::NS_PER_SECOND { Ok(work) } else { Err("must be at most 1s".to_owned()) }
}

/// A factor, with or without an x behind it.
fn speed(text: &str) -> Result<f64, String> {
    text.strip_suffix('x')
        .unwrap_or(text)
        .parse()
        .map_err(|_| "it must be a number such as 10 or 10x".to_owned())
}

const ABOUT: &str = "\
Drives a Fanfare server with load and tells latency one can trust.

`run` opens WebSocket and SSE subscribers, publishes at a fixed rate, and measures from the time at which each \
event was due, so that a server (or a generator) that stalls cannot hide it. It keeps a record of every accepted \
event and fails if a subscriber lost, repeated or reordered one, or got other bytes than were sent.";

const ABOUT_RUN: &str = "\
Publish and subscribe at once; measure, and check that every subscriber got everything, once, in order.

Latencies: e2e is receipt minus the time the event was due (no coordinated omission); service is receipt minus the \
time it was really sent; ack is the answer to a publish minus its sending; span is the last minus the first \
subscriber's receipt of one event; handshake is from connecting to the open stream; resumed is e2e of what had to wait because \
the generator had cut a subscriber off (--resume-churn, --reconnect), and is not in e2e; send lag is how late the generator \
itself was.

A gap that the server tells is counted, and what lies in it is not expected; where it says that some follow \
(`--on-slow latest`), as many must come as were not left out, the newest among them. A loss without a gap, a repeat, a \
change of order or of content, or the delivery of an event whose publish was refused fails the run.";

const AFTER_RUN: &str = "\
Examples:
  loadgen run http://127.0.0.1:8080                                   1,000 WebSocket subscribers, 100 events/s, 30 s
  loadgen run ws://127.0.0.1:8080 -c 5k --transport ws:50,sse:50 -R 1k/s -s corpus -d 1m
  loadgen run http://127.0.0.1:8080 -c 1000 -R max                    what the server can fan out at all
  loadgen run http://127.0.0.1:8080 -c 500 --resume-churn 50/s        every event once, in order, across reconnects
  loadgen run http://127.0.0.1:8080 -c 1000 --slow 100 --on-slow latest -R 1k/s -s 4000 -d 1m
                                                                      a tenth stands still for a minute
  loadgen run http://127.0.0.1:8080 --stages 100:10s,1k:30s,100:10s --slo 'p99<5ms' --slo reach==1
                                                                      up and down again, with objectives
  loadgen run http://127.0.0.1:8090 --protocol nchan -c 1000          a server of another protocol
  loadgen run http://127.0.0.1:8080 -c 20000 --source-ip 127.0.0.2..9 --hold -d 5m
                                                                      idle connections
  loadgen run http://127.0.0.1:8080 -o results/monday                 everything about it, with report.html to look at
  loadgen run http://10.0.0.1:8080 -c 100k --agents 10.0.0.2:8098,10.0.0.3:8098
                                                                      from two hosts that run `loadgen agent`
Exit codes:
  0 pass   2 wrong usage   3 cannot connect   4 invalid: the generator was the bottleneck, or some load never was
  5 verification failed   6 an agent was lost, or is none that this program can work with   99 an objective was missed
  130 interrupted (the report is still written)";

const ABOUT_SUB: &str = "\
Subscribe only; latencies are measured where the payloads are those of another loadgen on this host.

Events say when they were due by a clock that all processes of one host share, and which clock that was. On another host, and \
where the system does not tell its clocks apart (all but Linux), there are counts and rates, but no latencies. The order is \
checked (where the server numbers nothing, that of each publisher); what should have come cannot be known here.";

const AFTER_SUB: &str = "\
Examples:
  loadgen sub http://127.0.0.1:8080 -c 1000 -d 1m &
  loadgen pub http://127.0.0.1:8080 -R 1k/s -d 1m";

const ABOUT_PUB: &str = "\
Publish only, with all that `run` can do for that.";

const AFTER_PUB: &str = "\
Examples:
  loadgen pub http://127.0.0.1:8080 -R 10k/s -p 4 --batch 10 --arrival poisson
  loadgen pub http://127.0.0.1:8080 --stages 0:10s,1k:30s,0:10s";

const ABOUT_CONNECT: &str = "\
Connect at a rate, however the server fares, and hold the connections.

A handshake counts from when its connection was due. A connection that fails is not tried again: failures are counted by \
their reason, and fail the command, unless an objective says how many may (--slo 'connected>=99%'). It is INVALID if the \
generator was the bottleneck while connecting. Intervals count from the first connection.";

const AFTER_CONNECT: &str = "\
Examples:
  loadgen connect http://127.0.0.1:8080 -c 20k --connect-rate 5k/s --source-ip 127.0.0.2..9 -d 5m
  loadgen connect http://127.0.0.1:8080 -c 5000 --slo 'handshake.p99<50ms' --slo 'connected>=99%'";

const ABOUT_SEARCH: &str = "\
Find the highest rate that holds the objectives.

The rate is doubled until an objective is missed, and then the ratio between what holds and what does not is halved until it \
is small enough. Each step is a run of its own, of 5 s unless said otherwise. A rate of which the server accepts less than \
99 % does not hold.

Where the generator was the bottleneck nothing is known of the server, whatever the objectives say: then the search is INVALID. \
What the server does not take in time is not held against the generator.

Files (-o and others) are of the run at the highest rate that held, or of the last one if none did, or of the one that failed; \
--json is of the whole search and says how it ended, also early.";

const AFTER_SEARCH: &str = "\
Examples:
  loadgen search http://127.0.0.1:8080 -c 1000 --slo 'p99<5ms' --slo reach==1
  loadgen search http://127.0.0.1:8080 -c 100 --slo 'p99.9<20ms' --from 1k/s --precision 2% -d 20s -o results/knee

Exit codes:
  0 found   2 wrong usage   3 cannot connect   4 the generator was the bottleneck first   5 verification failed
  99 no rate holds   130 interrupted";

const ABOUT_REPLAY: &str = "\
Publish real events one by one, for demonstrations and for a server to have something to show.

The bundled events are example payloads of a forge's webhooks. They have no times of their own, so they are published \
at a steady rate. Commits of a repository (`--git`) come by their own times, pauses cut short. A publish that is refused (503) is repeated after the time that the server states.";

const ABOUT_AGENT: &str = "\
Drive subscribers for runs that are coordinated elsewhere (`run --agents`, and so with `sub`, `connect` and `search`).

The coordinator publishes, tells all agents when events begin, and makes one report of what all have found: counts are added, \
histograms merged, intervals added by their time, and what every subscriber got is compared with what was published. Each agent's \
clock is compared with the coordinator's before and after the run. Times are corrected by what was found; how wrong they can \
still be stands in the report, and a latency below that is marked. Where both read the same clock, on one host, it is exact.

An agent serves one run at a time and refuses others meanwhile. Whoever reaches it can have it connect to any server, and sees \
nothing encrypted: it is for networks that one trusts, and listens on this host only unless told --insecure. Coordinator and \
agents must be of one version.";

const AFTER_AGENT: &str = "\
Examples:
  loadgen agent                                                       waits on 127.0.0.1:8098
  loadgen agent --listen 10.0.0.2:8098 --insecure                     for a coordinator on another host
  loadgen run http://10.0.0.1:8080 -c 100k --agents 10.0.0.2:8098,10.0.0.3:8098

Exit codes:
  0 ended by a signal, or --once and the run was told   2 wrong usage   3 cannot listen, or --once and the run failed";

const ABOUT_FLOOR: &str = "\
Serve as little as fan-out can be: the kernel's sends and next to nothing else, to put beside a server.

GET /ws is a WebSocket and GET /events an event stream; each gets every body that is sent to POST /publish, as a text \
frame or as the data of a block, as it came. There are no channels, and nothing is kept for who comes later. \
GET /health/ready is answered 200. One thread. A subscriber that does not read is closed when it is 64 MiB behind; \
what a slow one missed it gets in as few writes as its socket allows, with --each too.

With --work it takes at most as many events a second as that leaves room for: 1,000 of 1ms each, less its sends. benches/calibrate \
sees by that whether `search` finds what is known and `compare` notices what was planted.";

const AFTER_REPLAY: &str = "\
A file has one JSON object per line:
  {\"event\":\"push\",\"action\":null,\"channel\":\"repo:alice/demo\",\"kind\":\"push\",\"payload\":{…}}

A commit is an event of the kind `commit`; its data has id, repository, branch, author, subject, authored_at and \
committed_at (Unix seconds), files_changed, and the names of at most 100 of these files.

Examples:
  loadgen replay http://127.0.0.1:8080                    the bundled events, 20 a second
  loadgen replay http://127.0.0.1:8080 --loop --speed 5   without end, 100 a second
  loadgen replay http://127.0.0.1:8080 --git . --speed 1000x
                                                          this repository's commits, a thousand times as fast
  my-exporter | loadgen replay http://127.0.0.1:8080 --file - --rate max";

const ABOUT_COUNT: &str = "\
Count what a server delivers under one load, and what that costs it.

One thread hops from frame to frame and recognises events by the stamp in their bodies. What every subscriber must have is \
known: one delivery that is missing or too many fails the run. The client states its own ceiling; a result above \
1/1.3 of it is INVALID. Without a URL the server of the profile is started, on a processor of its own.";

const AFTER_COUNT: &str = "\
Examples:
  loadgen count --shape burst:60 -c 1000                  the fanfare beside this program
  loadgen count --profile floor-batch --shape saturation:64
  loadgen count http://127.0.0.1:8080 --pid 4711 --shape publish:64 --publish-via http-batch

Exit codes:
  0 pass   2 wrong usage   3 cannot start or connect   4 invalid: the generator was the bottleneck
  5 somebody did not get exactly what was published   130 interrupted";

const ABOUT_SIDE_BY_SIDE: &str = "\
Run two servers in turns, A B A B, and tell the ratio of their costs.

Each run starts its server fresh on --server-cpu, with the client on --client-cpu. Messages of both are made equally \
long. Ratios are taken pair by pair; shown are their median and its 95 % interval by bootstrap. p99 and p999 are those of \
all runs together. Any server can be driven: a profile says how (see benches/side-by-side).";

const AFTER_SIDE_BY_SIDE: &str = "\
Examples:
  loadgen side-by-side fanfare floor-each --bar 'cpu_per_delivery<=1.05'
  loadgen side-by-side fanfare floor-batch --shape saturation:64 -c 5000 --bar 'deliveries_per_s>=0.9'
  loadgen side-by-side fanfare fanfare                    must be 1 within its interval: what the method itself adds
  loadgen side-by-side fanfare fanfare --a-options '--stuck 100' --bar 'p99<=1.1'
  loadgen side-by-side --suite benches/side-by-side/suite.json --only burst --json results.json

A bar is met or missed if the whole interval is on one side of it, and undecided otherwise.

Exit codes:
  0 no bar is missed   2 wrong usage   3 cannot start or connect   4 invalid: the generator was the bottleneck
  5 a bar is missed, or somebody did not get exactly what was published   130 interrupted";

const AFTER_REPORT: &str = "\
Examples:
  loadgen report results/monday                              the table once more
  loadgen report before after --format html -o report.html   two runs on one page
  loadgen report results/monday --format hgrm --latency sse  one latency, for a plotter of HdrHistograms

Exit codes:
  0 told   2 wrong usage   3 a file cannot be read or written";

const ABOUT_COMPARE: &str = "\
Compare saved results, one or several before and after, figure by figure.

Two single results differ by chance as well, in p99 and beyond by far more than 5 %. Several of each side, made in turns, tell \
what is a change and what is noise: a figure is worse if the whole interval of the difference is beyond the tolerance, the same if it is \
within, and undecided otherwise. The intervals are of trimmed means, as wide as the results of a side differ among themselves, and \
hold for all figures together in 19 comparisons of 20. Five a side are enough for a change of 10 % in figures that vary by 2 %; \
--figure chooses those that count, which makes the intervals narrower. Undecided figures do not fail the comparison.";

const AFTER_COMPARE: &str = "\
Examples:
  loadgen compare before.json after.json
  loadgen compare results/before results/after --figure 'e2e p50' --figure server/delivery
      with five results each, results/before/1 to 5 and results/after/1 to 5, as `run -o` wrote them

Exit codes:
  0 the same or better, as far as can be told   1 worse   2 wrong usage   3 a file cannot be read";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Flags::command().debug_assert();
        command().debug_assert();
    }

    #[test]
    fn commands_show_only_their_part_of_the_options() {
        let check = |name: &str, shown: &[&str], hidden: &[&str]| {
            let command = command();
            let part = command.find_subcommand(name).expect("a command");
            let is_shown = |option: &&str| {
                let arg = part.get_arguments().find(|arg| arg.get_long() == Some(option)).expect("an option");
                !arg.is_hide_set()
            };
            assert!(shown.iter().all(is_shown), "{name}");
            assert!(!hidden.iter().any(is_shown), "{name}");
        };
        check("run", &["rate", "connections", "hold", "out", "hgrm"], &[]);
        check("pub", &["rate", "batch", "out", "html"], &["connections", "slow", "hgrm"]);
        check("sub", &["connections", "slow", "out", "hgrm"], &["rate", "batch"]);
        check("connect", &["connect-rate", "out", "hlog"], &["rate", "slow", "hgrm"]);
        check("search", &["slo", "from", "out"], &["rate", "stages"]);
    }

    #[test]
    fn options_that_would_do_nothing_are_refused() {
        let check = |arguments: &str, refused: Option<&str>| {
            let words = ["loadgen"].into_iter().chain(arguments.split_whitespace());
            let matches = command().try_get_matches_from(words).expect(arguments);
            match (refuse_hidden(&matches), refused) {
                (Ok(()), None) => {}
                (Err(error), Some(name)) => assert!(error.contains(name), "{arguments}: {error}"),
                (got, _) => panic!("{arguments}: {got:?}"),
            }
        };
        check("run http://x:1 -R 5k -n 100", None);
        check("sub http://x:1 -c 5 -d 1s", None);
        check("sub http://x:1 -R 5k", Some("--rate"));
        check("sub http://x:1 -n 100", Some("--messages"));
        check("sub http://x:1 --stages 1:1h", Some("--stages"));
        check("connect http://x:1 --slow 5", Some("--slow"));
        check("connect http://x:1 --slo p99<1s --slo-abort-after 1s", Some("--slo-abort-after"));
        check("pub http://x:1 --resume-churn 5", Some("--resume-churn"));
        check("pub http://x:1 -R 5 --batch 2", None);
        check("search http://x:1 --slo p99<1s -R 5", Some("--rate"));
    }

    #[test]
    fn json_may_stand_alone_or_name_a_file() {
        let check = |arguments: &[&str], expected: Option<&str>| {
            let arguments = ["loadgen", "run", "http://x:1"].iter().chain(arguments);
            let Command::Run(flags) = Flags::try_parse_from(arguments).expect("parsed").command else {
                panic!("another command");
            };
            assert_eq!(flags.output.json, expected.map(PathBuf::from));
        };
        check(&[], None);
        check(&["--json"], Some("-"));
        check(&["--json", "out.json"], Some("out.json"));
        check(&["--json", "-q"], Some("-"));
    }
}
