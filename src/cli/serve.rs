//! `fanfare serve`.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Failure;
use super::config::{Settled, faults};
use super::edge::{EdgeFlags, check_bind};
use super::limits::LimitFlags;
use super::reload::{Live, Running};
use super::tokens::TokenFlags;
use super::units::{parse_bytes, size};
use crate::admission::TURNED_AWAY_MAX;
use crate::journal::{self, Field, Form};
use crate::server::{Certificate, Config, Server, Shown, Supervisor, Told};
use crate::session::auth::{self, AuthSettings, Revoked};
use crate::session::authority::{Authority, Development, Insecure};
use crate::session::hooks::{Secrets, Source};
use crate::session::policy::{InForce, Policy};
use crate::session::settings::Settings;
use crate::words::channel::is_namespace;
use crate::words::dialect::Dialect;
use crate::words::file;
use crate::words::kind::{self, KindError};
use crate::words::level::Level;
use crate::words::limits::{KEY_FILE_BYTES_MAX, Limits};
use crate::words::on_slow::OnSlow;
use crate::words::rate::{Rate, RateError};
use crate::words::worst_case::WorstCase;

/// Runs the server until SIGTERM or SIGINT. SIGHUP reads the configuration again, and every file that it names. At the end it drains: publishers get 503, what was accepted is delivered, every
/// client is told where it stands. A second signal ends at once.
#[derive(Args)]
pub(super) struct ServeFlags {
    /// File with any of these flags as keys (`max_connections = 1000`); flags and environment come before it.
    #[arg(long, env = "FANFARE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everybody may connect; port 0 takes a free one.
    #[arg(long, env = "FANFARE_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where operators may connect (health, statistics); port 0 takes a free one.
    #[arg(long, env = "FANFARE_ADMIN_LISTEN", default_value = "127.0.0.1:8081")]
    admin_listen: SocketAddr,
    /// File with the certificate of the server and those that vouch for it (PEM): the public door speaks TLS then, and the
    /// operators' if others can reach it.
    #[arg(long, env = "FANFARE_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// File with the private key of the certificate (PEM).
    #[arg(long, env = "FANFARE_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Event loops [default: one per core].
    #[arg(long, env = "FANFARE_LOOPS")]
    loops: Option<usize>,
    /// Events kept for resume and history.
    #[arg(long, env = "FANFARE_RETAIN_EVENTS", default_value_t = Limits::default().retain_events)]
    retain_events: usize,
    /// Bytes of events kept for resume and history, at most.
    #[arg(long, env = "FANFARE_RETAIN_BYTES", default_value = "256MiB", value_parser = parse_bytes)]
    retain_bytes: usize,
    /// Connections at once; more are answered 503.
    #[arg(long, env = "FANFARE_MAX_CONNECTIONS", default_value_t = Limits::default().connections_max)]
    max_connections: usize,
    /// Subscriptions of one connection, at most.
    #[arg(long, env = "FANFARE_MAX_SUBSCRIPTIONS", default_value_t = Limits::default().subscriptions_max)]
    max_subscriptions: usize,
    /// Namespaces of channels besides repo, user, org and memory, separated by commas [default: any].
    #[arg(long, env = "FANFARE_NAMESPACES", value_delimiter = ',', value_name = "NAMESPACE", value_parser = parse_namespace)]
    namespaces: Option<Vec<String>>,
    /// Custom kinds that filters may name, separated by commas; those with a dot in them need not be told.
    #[arg(long, env = "FANFARE_KINDS", value_delimiter = ',', value_name = "KIND", value_parser = parse_kind)]
    kinds: Vec<String>,
    /// The dialect of /ws for clients that name none: native, engram or guts.
    #[arg(long, env = "FANFARE_DIALECT", default_value = "native", value_parser = parse_dialect)]
    dialect: Dialect,
    /// What happens to a stream that is behind, unless it has chosen: gap (it is told what it has missed), latest (it gets
    /// the newest event of each entity) or close.
    #[arg(long, env = "FANFARE_ON_SLOW", default_value = "gap", value_parser = parse_on_slow)]
    on_slow: OnSlow,
    /// Namespaces in whose channels it is told who comes and goes, separated by commas.
    #[arg(long, env = "FANFARE_PRESENCE", value_delimiter = ',', value_name = "NAMESPACE", value_parser = parse_namespace)]
    presence: Vec<String>,
    /// Tell on sys:clients who connects, and on sys:channels what is subscribed to.
    #[arg(long, env = "FANFARE_SYS_EVENTS")]
    sys_events: bool,
    /// Where to keep notifications; in memory unless given.
    #[arg(long, env = "FANFARE_DATA_DIR", value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// File with the secrets of GitHub's webhooks, one a line; without it they are refused.
    #[arg(long, env = "FANFARE_HOOK_GITHUB_SECRETS", value_name = "FILE")]
    hook_github_secrets: Option<PathBuf>,
    /// The same for Gitea and Forgejo.
    #[arg(long, env = "FANFARE_HOOK_GITEA_SECRETS", value_name = "FILE")]
    hook_gitea_secrets: Option<PathBuf>,
    /// The same for GitLab.
    #[arg(long, env = "FANFARE_HOOK_GITLAB_TOKENS", value_name = "FILE")]
    hook_gitlab_tokens: Option<PathBuf>,
    /// After this long events leave, whatever there is room for [default: never].
    #[arg(long, env = "FANFARE_RETAIN_AGE", value_name = "TIME", value_parser = humantime::parse_duration)]
    retain_age: Option<Duration>,
    /// How long a second attempt to publish the same is answered as the first was.
    #[arg(long, env = "FANFARE_IDEMPOTENCY_WINDOW", default_value = "10m", value_parser = humantime::parse_duration)]
    idempotency_window: Duration,
    /// Attempts that are remembered for that; 0 for none.
    #[arg(long, env = "FANFARE_IDEMPOTENCY_KEYS", default_value_t = Limits::default().idempotency_keys_max)]
    idempotency_keys: usize,
    /// After this long without an event a client is sent its cursor, so that silence never ages into a gap.
    #[arg(long, env = "FANFARE_QUIET_AFTER", default_value = "30s", value_parser = humantime::parse_duration)]
    quiet_after: Duration,
    /// Data frames of one WebSocket client in a second, as '50' or with a burst '50/200'; 0 for any number.
    #[arg(long, env = "FANFARE_FRAMES_PER_SECOND", default_value = "0", value_name = "RATE", value_parser = parse_rate)]
    frames_per_second: OptionalRate,
    /// Pings, and pongs that nobody asked for, of one WebSocket client in a second; 0 for any number.
    #[arg(long, env = "FANFARE_CONTROL_FRAMES_PER_SECOND", default_value = "10/20", value_name = "RATE", value_parser = parse_rate)]
    control_frames_per_second: OptionalRate,
    /// Commands of one WebSocket client in a second; 0 for any number.
    #[arg(long, env = "FANFARE_COMMANDS_PER_SECOND", default_value = "0", value_name = "RATE", value_parser = parse_rate)]
    commands_per_second: OptionalRate,
    /// How often a WebSocket client is pinged.
    #[arg(long, env = "FANFARE_PING_EVERY", default_value = "25s", value_parser = humantime::parse_duration)]
    ping_every: Duration,
    /// How long a client may take nothing although there is something to send.
    #[arg(long, env = "FANFARE_STALL_MAX", default_value = "2m", value_parser = humantime::parse_duration)]
    stall_max: Duration,
    /// The same for a stream that is to be disconnected when it is slow.
    #[arg(long, env = "FANFARE_SLOW_MAX", default_value = "10s", value_parser = humantime::parse_duration)]
    slow_max: Duration,
    /// Events that may lie ahead of a stream of the policy 'latest' before only the newest of each entity are sent.
    #[arg(long, env = "FANFARE_CONFLATE_EVENTS_MAX", default_value_t = Limits::default().conflate_events_max)]
    conflate_events_max: usize,
    /// Events that a slow stream may be behind before its policy holds, whatever is still kept [default: any].
    #[arg(long, env = "FANFARE_LAG_EVENTS_MAX")]
    lag_events_max: Option<u64>,
    /// How old the event at a slow stream's cursor may be; as above [default: any].
    #[arg(long, env = "FANFARE_LAG_AGE_MAX", value_name = "TIME", value_parser = humantime::parse_duration)]
    lag_age_max: Option<Duration>,
    /// How old the oldest event that waits to be sent may be before publishers get 503.
    #[arg(long, env = "FANFARE_FANOUT_BACKLOG_MAX", default_value = "200ms", value_parser = humantime::parse_duration)]
    fanout_backlog_max: Duration,
    /// How long a loop may stand still before health is red.
    #[arg(long, env = "FANFARE_LOOP_STALL_MAX", default_value = "5s", value_parser = humantime::parse_duration)]
    loop_stall_max: Duration,
    /// How long a loop may stand still before the process ends, so that it can be started again; 0 for as long as it likes.
    #[arg(long, env = "FANFARE_STALL_ABORT", default_value = "30s", value_parser = parse_patience)]
    stall_abort: Patience,
    /// How long a drain may take.
    #[arg(long, env = "FANFARE_DRAIN_TIMEOUT", default_value = "10s", value_parser = humantime::parse_duration)]
    drain_timeout: Duration,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    tokens: TokenFlags,
    #[command(flatten)]
    edge: EdgeFlags,
    /// Publish bundled real events in a circle, so that there is something to see.
    #[arg(long, env = "FANFARE_DEMO")]
    demo: bool,
    /// Events a second of the demonstration.
    #[arg(long, env = "FANFARE_DEMO_RATE", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    demo_rate: u32,
    /// How the log on standard error is written: text, json, or auto (text on a terminal, which NO_COLOR keeps plain, else json).
    #[arg(long, env = "FANFARE_LOG_FORMAT", default_value = "auto", value_parser = parse_log_format)]
    log_format: LogFormat,
    /// How much is logged: error, warn, info or debug.
    #[arg(long, env = "FANFARE_LOG_LEVEL", default_value = "info", value_parser = parse_level)]
    log_level: Level,
    /// Log every request when it is answered, and every stream when it ends.
    #[arg(long, env = "FANFARE_ACCESS_LOG")]
    access_log: bool,
    /// Listen on addresses that others can reach although anybody could then read and publish everything.
    #[arg(long, env = "FANFARE_INSECURE")]
    insecure: bool,
}

impl ServeFlags {
    /// Whether anybody is asked for a token or key.
    pub(super) fn has_keys(&self) -> bool {
        self.tokens.settings().has_keys()
    }

    /// How much is logged.
    pub(super) fn log_level(&self) -> Level {
        self.log_level
    }

    /// Where operators connect, and whether they speak TLS there.
    pub(super) fn operators_door(&self) -> (SocketAddr, bool) {
        (self.admin_listen, self.tls_cert.is_some() && !self.admin_listen.ip().is_loopback())
    }
}

pub(super) fn run(flags: &ServeFlags, settled: Settled, arguments: &[OsString]) -> anyhow::Result<()> {
    // Before any thread starts, which could read the environment.
    let supervisor = Supervisor::of_environment().map_err(Failure::Usage)?;
    let revoked = Arc::<Revoked>::default();
    let config = config(flags, &revoked).map_err(|faults| located(&settled, &faults))?;
    journal::open(form(flags.log_format), flags.access_log)?;
    journal::set_level(flags.log_level);
    // Before any thread starts, so that no signal finds the process without it.
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    std::panic::set_hook(Box::new(say_panic));
    let (loops, is_encrypted) = (config.loops, config.certificate.is_some());
    let (policy, shown) = (config.settings.policy.clone(), config.certificate.clone());
    let say = |message: &str, fields: &[Field<'_>]| journal::say(Level::Info, "server", message, fields);
    match policy.load().authority.key_names().join(", ") {
        names if !names.is_empty() => say(&format!("keys: {names}"), &[]),
        _ if is_public(flags) => {
            let message =
                "anybody who reaches this server can read and publish everything but what is of single users";
            journal::say(Level::Warn, "server", message, &[]);
        }
        _ => {}
    }
    let drain_max = config.limits.drain_deadline;
    let server = Server::start_under(config, &supervisor)?;
    let (has_keys, hub) = (flags.has_keys(), Arc::clone(server.hub()));
    let live = Live { policy, has_keys, shown, revoked, hub };
    let mut running = Running::new(arguments, settled, live);
    let scheme = |is_encrypted: bool| if is_encrypted { "https" } else { "http" };
    let (address, admin) = (server.address().to_string(), server.admin_address());
    let serving = format!("listening on {}://{address}", scheme(is_encrypted));
    say(&serving, &[("address", (&address).into())]);
    let address = admin.to_string();
    let message = format!("admin on {}://{address}", scheme(is_encrypted && !admin.ip().is_loopback()));
    say(&message, &[("address", (&address).into())]);
    let places = server.hub().limits.connections_max;
    say(&format!("{loops} loops, up to {places} connections; end with SIGTERM or Ctrl-C"), &[]);
    let worst = WorstCase::of(&server.hub().limits, is_encrypted);
    say(&memory(&worst, flags.data_dir.is_some()), &[]);
    supervisor.tell(Told::Ready(&serving));
    for signal in signals.forever() {
        if signal == SIGHUP {
            supervisor.tell(Told::Reloading);
            let outcome = running.reload();
            let status = outcome
                .map_or_else(|reason| format!("{serving}; not reloaded: {reason}"), |()| serving.clone());
            supervisor.tell(Told::Ready(&status));
            continue;
        }
        say(&format!("signal {signal}: draining; a second one ends at once"), &[]);
        break;
    }
    supervisor.tell(Told::Stopping(drain_max + END_MAX));
    server.drain();
    std::thread::spawn(move || {
        if signals.forever().any(|signal| signal != SIGHUP) {
            journal::say(Level::Warn, "server", "second signal: ending at once", &[]);
            journal::flush(journal::LAST_WORDS_MAX);
            std::process::exit(130);
        }
    });
    server.join();
    say("drained", &[]);
    journal::flush(journal::LAST_WORDS_MAX);
    Ok(())
}

/// What flags ask for that a reload may exchange.
pub(super) struct Checked {
    pub(super) policy: Policy,
    pub(super) certificate: Option<Certificate>,
    pub(super) limits: Limits,
}

/// What these flags ask for that a reload may exchange, if a server could run with them.
///
/// # Errors
/// What is wrong; of limits that do not fit each other, the first.
pub(super) fn check(
    flags: &ServeFlags,
    settled: &Settled,
    revoked: &Arc<Revoked>,
) -> anyhow::Result<Checked> {
    let config = config(flags, revoked).map_err(|faults| located(settled, &faults))?;
    let policy = Policy::clone(&config.settings.policy.load());
    let certificate = config.certificate.map(|shown| shown.certificate());
    Ok(Checked { policy, certificate, limits: config.limits })
}

fn located(settled: &Settled, all: &[String]) -> anyhow::Error {
    faults(&all.iter().map(|fault| settled.located(fault)).collect::<Vec<String>>())
}

fn form(format: LogFormat) -> Form {
    let stderr = std::io::stderr();
    match format {
        LogFormat::Json => Form::Json,
        LogFormat::Auto if !stderr.is_terminal() => Form::Json,
        LogFormat::Auto | LogFormat::Text => {
            let may_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            Form::Text { coloured: may_colour && stderr.is_terminal() }
        }
    }
}

/// A fault of ours is one line like everything else, and whoever it happens to does not wait for standard error.
fn say_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let what = panic.payload_as_str().unwrap_or("of unknown kind");
    let fields = [("thread", thread.name().into()), ("place", (&place).into())];
    journal::say(Level::Error, "server", &format!("panicked at {place}: {what}"), &fields);
}

fn is_public(flags: &ServeFlags) -> bool {
    [flags.listen, flags.admin_listen].iter().any(|address| !address.ip().to_canonical().is_loopback())
}

/// What is valid of what was typed, or everything that is wrong with it.
fn config(flags: &ServeFlags, revoked: &Arc<Revoked>) -> Result<Config, Vec<String>> {
    let mut faults = Vec::new();
    let has_keys = flags.has_keys();
    for (name, address) in [("--listen", flags.listen), ("--admin-listen", flags.admin_listen)] {
        faults.extend(check_bind(name, address, has_keys, flags.insecure).err());
    }
    if flags.listen == flags.admin_listen && flags.listen.port() != 0 {
        faults.push("--listen and --admin-listen are the same address".to_owned());
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let loops = flags.loops.unwrap_or(cores);
    if !(1..=LOOPS_MAX).contains(&loops) {
        faults.push("--loops is a number from 1 to 256".to_owned());
    }
    if flags.max_connections == 0 || flags.max_subscriptions == 0 {
        faults.push("--max-connections and --max-subscriptions are at least 1".to_owned());
    }
    let rare = flags.limits.durations();
    let durations = [
        ("--quiet-after", flags.quiet_after),
        ("--ping-every", flags.ping_every),
        ("--stall-max", flags.stall_max),
        ("--slow-max", flags.slow_max),
        ("--fanout-backlog-max", flags.fanout_backlog_max),
        ("--drain-timeout", flags.drain_timeout),
        ("--loop-stall-max", flags.loop_stall_max),
    ];
    let optional = [("--lag-age-max", flags.lag_age_max), ("--stall-abort", flags.stall_abort)];
    let optional = optional.into_iter().filter_map(|(flag, duration)| Some((flag, duration?)));
    for (flag, duration) in durations.into_iter().chain(rare).chain(optional) {
        if duration.as_millis() == 0 || DURATION_MAX < duration {
            faults.push(format!("{flag}: durations are from 1ms to 30 days"));
        }
    }
    if RETAIN_EVENTS_MAX < flags.retain_events {
        faults.push("--retain-events is at most 16777216".to_owned());
    }
    let rare = flags.limits.limits();
    if rare.retry < rare.retry_spread {
        faults.push("--retry-spread is longer than --retry".to_owned());
    }
    let (descriptors, own) =
        (descriptors(), own_descriptors(loops.min(LOOPS_MAX), rare.admin_connections_max));
    let connections_max = flags.max_connections.min(descriptors.saturating_sub(own));
    if connections_max == 0 && flags.max_connections != 0 {
        faults.push(format!(
            "the process may have {descriptors} descriptors, and needs {own} besides connections; \
             allow it more (ulimit -n), or give it fewer --loops or --admin-connections"
        ));
    }
    let limits = Limits {
        retain_events: flags.retain_events,
        retain_bytes: flags.retain_bytes,
        connections_max,
        subscriptions_max: flags.max_subscriptions,
        namespaces: flags.namespaces.clone(),
        custom_kinds: flags.kinds.clone(),
        retain_age: flags.retain_age,
        idempotency_window: flags.idempotency_window,
        idempotency_keys_max: flags.idempotency_keys,
        frame_rate: flags.frames_per_second,
        control_frame_rate: flags.control_frames_per_second,
        command_rate: flags.commands_per_second,
        quiet_after: flags.quiet_after,
        ping_every: flags.ping_every,
        stall_max: flags.stall_max,
        slow_max: flags.slow_max,
        conflate_events_max: flags.conflate_events_max,
        lag_events_max: flags.lag_events_max,
        lag_age_max: flags.lag_age_max,
        fanout_backlog_max: flags.fanout_backlog_max,
        loop_stall_max: flags.loop_stall_max,
        loop_stall_abort: flags.stall_abort,
        drain_deadline: flags.drain_timeout,
        ..rare
    };
    // What it names is in words: where a flag was named already there is no need for them.
    if let Some(fault) = limits.check().err().filter(|_| faults.is_empty()) {
        faults.push(fault.to_owned());
    }
    let demo_rate = if flags.demo { flags.demo_rate } else { 0 };
    let policy = policy(flags, revoked, &mut faults);
    let certificate = certificate(flags).map_err(|fault| faults.push(fault)).unwrap_or_default();
    if !faults.is_empty() {
        return Err(faults);
    }
    let settings = Settings {
        dialect: flags.dialect,
        on_slow: flags.on_slow,
        presence: flags.presence.clone(),
        sys_events: flags.sys_events,
        policy: InForce::new(policy),
        ..Settings::default()
    };
    let data_dir = flags.data_dir.clone();
    let (listen, admin_listen) = (flags.listen, flags.admin_listen);
    let certificate = certificate.map(Shown::new);
    Ok(Config { listen, admin_listen, certificate, loops, limits, settings, data_dir, demo_rate })
}

/// The certificate, if the server is to have one.
fn certificate(flags: &ServeFlags) -> Result<Option<Certificate>, String> {
    match (&flags.tls_cert, &flags.tls_key) {
        (None, None) => Ok(None),
        (Some(chain), Some(key)) => Certificate::read(chain, key)
            .map(Some)
            .map_err(|error| format!("--tls-cert and --tls-key: {error}")),
        (Some(_), None) => Err("--tls-cert takes --tls-key, the file with its private key".to_owned()),
        (None, Some(_)) => Err("--tls-key takes --tls-cert, the file with its certificate".to_owned()),
    }
}

/// Who decides: tokens where there are keys, else nobody who could know anybody.
fn authority(
    flags: &ServeFlags,
    settings: &AuthSettings,
    revoked: &Arc<Revoked>,
) -> Result<Arc<dyn Authority>, String> {
    if settings.has_keys() {
        if settings.admin_open && !flags.admin_listen.ip().is_loopback() {
            let message = format!(
                "--admin-open, and --admin-listen {} can be reached by others: give operators tokens",
                flags.admin_listen
            );
            return Err(message);
        }
        let tokens = auth::load(settings, revoked).map_err(|error| flags.tokens.named(&error))?;
        return Ok(Arc::new(tokens));
    }
    if !settings.anonymous_subscribe.is_empty() || settings.admin_open {
        return Err("--anonymous-subscribe and --admin-open mean nothing without keys".to_owned());
    }
    Ok(if is_public(flags) { Arc::new(Insecure) } else { Arc::new(Development) })
}

/// Everything that may be exchanged while the server runs, with whatever it needs from files; what is wrong with it comes to the
/// faults.
fn policy(flags: &ServeFlags, revoked: &Arc<Revoked>, faults: &mut Vec<String>) -> Policy {
    let whatever = Policy::default();
    let authority = authority(flags, &flags.tokens.settings(), revoked);
    let authority = authority.map_err(|fault| faults.push(fault)).unwrap_or(whatever.authority);
    let policy = flags.edge.policy(authority, flags.listen, flags.admin_listen);
    let policy = policy.map_err(|fault| faults.push(fault.to_owned())).unwrap_or_default();
    let secrets = secrets(flags, faults);
    Policy { secrets, ..policy }
}

/// The secrets of webhooks, one a line of their files, so that a new one can be told before the old one goes.
fn secrets(flags: &ServeFlags, faults: &mut Vec<String>) -> Secrets {
    let mut secrets = Secrets::default();
    let files = [
        (Source::GitHub, "--hook-github-secrets", &flags.hook_github_secrets),
        (Source::Gitea, "--hook-gitea-secrets", &flags.hook_gitea_secrets),
        (Source::GitLab, "--hook-gitlab-tokens", &flags.hook_gitlab_tokens),
    ];
    for (source, flag, path) in files {
        let Some(path) = path else { continue };
        let mut bad = |reason: &dyn Display| faults.push(format!("{flag} {}: {reason}", path.display()));
        let bytes = match file::read(path, KEY_FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) => {
                bad(&error);
                continue;
            }
        };
        for line in bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
        {
            if let Err(error) = secrets.add(source, line) {
                bad(&error);
            }
        }
        if !secrets.is_configured(source) {
            bad(&"there is no secret in it");
        }
    }
    secrets
}

fn parse_namespace(text: &str) -> Result<String, &'static str> {
    is_namespace(text).then(|| text.to_owned()).ok_or("a namespace is made of A-Z, a-z, 0-9, '_', '.', '-'")
}

fn parse_kind(text: &str) -> Result<String, KindError> {
    kind::normalise(text).map(Into::into)
}

fn parse_on_slow(text: &str) -> Result<OnSlow, &'static str> {
    OnSlow::parse(text).ok_or("gap, latest or close")
}

fn parse_level(text: &str) -> Result<Level, &'static str> {
    Level::parse(text).ok_or("error, warn, info or debug")
}

/// How the log is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    Text,
    Json,
}

fn parse_log_format(text: &str) -> Result<LogFormat, &'static str> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("auto, text or json"),
    }
}

pub(super) fn parse_rate(text: &str) -> Result<OptionalRate, RateError> {
    if text == "0" { Ok(None) } else { text.parse().map(Some) }
}

/// Under a name of its own, as the flags would take it for a flag that may be left out.
pub(super) type OptionalRate = Option<Rate>;

fn parse_patience(text: &str) -> Result<Patience, humantime::DurationError> {
    if text == "0" { Ok(None) } else { humantime::parse_duration(text).map(Some) }
}

/// As above.
type Patience = Option<Duration>;

fn parse_dialect(text: &str) -> Result<Dialect, &'static str> {
    let known =
        Dialect::parse(text).filter(|dialect| !matches!(dialect, Dialect::Sdk | Dialect::CloudEvents));
    known.ok_or("native, engram or guts")
}

/// What the end may take beyond the drain: threads, the last words of the log, and a machine that is busy.
const END_MAX: Duration = Duration::from_secs(10);

const LOOPS_MAX: usize = 256;

const RETAIN_EVENTS_MAX: usize = 1 << 24;

const DURATION_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Descriptors kept for what is no connection of the public door, so that these never take the last one: of each loop its
/// listener, the watchdog's copy of that, its poll, its waker and its reserve; operators; those who are being turned away at
/// either door; files.
fn own_descriptors(loops: usize, admin_connections_max: usize) -> usize {
    loops * 5 + admin_connections_max + TURNED_AWAY_MAX * 2 + FILES_MAX
}

/// Standard streams and the log's copy of one, the operators' listener and its copy, signals, the supervisor, the store of
/// notifications, and files that are read at the start.
const FILES_MAX: usize = 16;

/// How much memory the bounds allow, by part.
fn memory(worst: &WorstCase, notifications_on_disk: bool) -> String {
    let notifications = if notifications_on_disk { 0 } else { worst.notifications };
    let total = WorstCase { notifications, ..*worst }.total();
    format!(
        "memory at most {}: events {}, queue {}, idempotency keys {}, notifications {}, and {} connections with {} each, \
         if every client does its worst at once",
        size(total),
        size(worst.log),
        size(worst.queue),
        size(worst.keys),
        size(notifications),
        worst.connections,
        size(worst.connection),
    )
}

/// How many descriptors the process may have, after asking for as many as it can get.
fn descriptors() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read or write `limit`, which outlives them.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return 1024;
        }
        let most = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const most) == 0 {
            limit = most;
        }
    }
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}
