//! `fanfare serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Failure;
use super::edge::{EdgeFlags, check_bind};
use super::limits::LimitFlags;
use super::tokens::TokenFlags;
use super::units::{parse_bytes, size};
use crate::admission::TURNED_AWAY_MAX;
use crate::server::{Certificate, Config, Server, Shown};
use crate::session::auth::{self, AuthSettings, Revoked};
use crate::session::authority::{Authority, Development, Insecure};
use crate::session::hooks::{Secrets, Source};
use crate::session::policy::InForce;
use crate::session::settings::Settings;
use crate::words::channel::is_namespace;
use crate::words::dialect::Dialect;
use crate::words::kind::{self, KindError};
use crate::words::limits::Limits;
use crate::words::on_slow::OnSlow;
use crate::words::rate::{Rate, RateError};
use crate::words::worst_case::WorstCase;

/// Runs the server until SIGTERM or SIGINT, then drains: publishers get 503, what was accepted is delivered, every
/// client is told where it stands. A second signal ends at once.
#[derive(Args)]
pub(super) struct ServeFlags {
    /// Where everybody may connect; port 0 takes a free one.
    #[arg(long, env = "FANFARE_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where operators may connect (health, statistics); port 0 takes a free one.
    #[arg(long, env = "FANFARE_ADMIN_LISTEN", default_value = "127.0.0.1:8081")]
    admin_listen: SocketAddr,
    /// File with the certificate of the server and those that vouch for it (PEM): the public door speaks TLS then, and the
    /// operators' if others can reach it.
    #[arg(long, env = "FANFARE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// File with the private key of the certificate (PEM).
    #[arg(long, env = "FANFARE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
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
    /// Listen on addresses that others can reach although anybody could then read and publish everything.
    #[arg(long, env = "FANFARE_INSECURE")]
    insecure: bool,
}

pub(super) fn run(flags: &ServeFlags) -> anyhow::Result<()> {
    let config = config(flags)?;
    // Before any thread starts, so that no signal finds the process without it.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (loops, is_encrypted) = (config.loops, config.certificate.is_some());
    let server = Server::start(config)?;
    let scheme = |is_encrypted: bool| if is_encrypted { "https" } else { "http" };
    let admin = server.admin_address();
    eprintln!("listening on {}://{}", scheme(is_encrypted), server.address());
    eprintln!("admin on {}://{admin}", scheme(is_encrypted && !admin.ip().is_loopback()));
    eprintln!(
        "{loops} loops, up to {} connections; end with SIGTERM or Ctrl-C",
        server.hub().limits.connections_max
    );
    eprintln!("{}", memory(&WorstCase::of(&server.hub().limits, is_encrypted), flags.data_dir.is_some()));
    if let Some(signal) = signals.forever().next() {
        eprintln!("signal {signal}: draining; a second one ends at once");
    }
    server.drain();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            eprintln!("second signal: ending at once");
            std::process::exit(130);
        }
    });
    server.join();
    eprintln!("drained");
    Ok(())
}

/// What is valid of what was typed.
fn config(flags: &ServeFlags) -> anyhow::Result<Config> {
    let auth_settings = flags.tokens.settings();
    let has_keys = auth_settings.has_keys();
    for (name, address) in [("--listen", flags.listen), ("--admin-listen", flags.admin_listen)] {
        check_bind(name, address, has_keys, flags.insecure).map_err(Failure::Usage)?;
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let loops = flags.loops.unwrap_or(cores);
    let bad = |message: &str| anyhow::Error::from(Failure::Usage(message.to_owned()));
    if !(1..=LOOPS_MAX).contains(&loops) {
        return Err(bad("--loops is a number from 1 to 256"));
    }
    if flags.max_connections == 0 || flags.max_subscriptions == 0 {
        return Err(bad("--max-connections and --max-subscriptions are at least 1"));
    }
    let rare = flags.limits.durations();
    let durations = [
        flags.quiet_after,
        flags.ping_every,
        flags.stall_max,
        flags.slow_max,
        flags.fanout_backlog_max,
        flags.drain_timeout,
        flags.loop_stall_max,
    ];
    let optional = flags.lag_age_max.iter().chain(&flags.stall_abort);
    let mut durations = durations.iter().chain(&rare).chain(optional);
    if durations.any(|duration| duration.as_millis() == 0 || DURATION_MAX < *duration) {
        return Err(bad("durations are from 1ms to 30 days"));
    }
    if RETAIN_EVENTS_MAX < flags.retain_events {
        return Err(bad("--retain-events is at most 16777216"));
    }
    let rare = flags.limits.limits();
    let (descriptors, own) = (descriptors(), own_descriptors(loops, rare.admin_connections_max));
    let connections_max = flags.max_connections.min(descriptors.saturating_sub(own));
    if connections_max == 0 {
        let message = format!(
            "the process may have {descriptors} descriptors, and needs {own} besides connections; \
             allow it more (ulimit -n), or give it fewer --loops or --admin-connections"
        );
        return Err(Failure::Usage(message).into());
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
    limits.check().map_err(bad)?;
    let demo_rate = if flags.demo { flags.demo_rate } else { 0 };
    let is_public =
        [flags.listen, flags.admin_listen].iter().any(|address| !address.ip().to_canonical().is_loopback());
    let authority = authority(flags, &auth_settings, is_public)?;
    if is_public && !has_keys {
        eprintln!(
            "warning: anybody who reaches this server can read and publish everything but what is of single users"
        );
    }
    let settings = Settings {
        dialect: flags.dialect,
        on_slow: flags.on_slow,
        secrets: secrets(flags)?,
        presence: flags.presence.clone(),
        sys_events: flags.sys_events,
        policy: InForce::new(flags.edge.policy(authority, flags.listen, flags.admin_listen)?),
        ..Settings::default()
    };
    let data_dir = flags.data_dir.clone();
    let certificate = certificate(flags)?.map(Shown::new);
    let (listen, admin_listen) = (flags.listen, flags.admin_listen);
    Ok(Config { listen, admin_listen, certificate, loops, limits, settings, data_dir, demo_rate })
}

/// The certificate, if the server is to have one.
fn certificate(flags: &ServeFlags) -> anyhow::Result<Option<Certificate>> {
    let (Some(chain), Some(key)) = (&flags.tls_cert, &flags.tls_key) else { return Ok(None) };
    let certificate = Certificate::read(chain, key).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(Some(certificate))
}

/// Who decides: tokens where there are keys, else nobody who could know anybody.
fn authority(
    flags: &ServeFlags,
    settings: &AuthSettings,
    is_public: bool,
) -> anyhow::Result<Arc<dyn Authority>> {
    if settings.has_keys() {
        if settings.admin_open && !flags.admin_listen.ip().is_loopback() {
            let message = format!(
                "--admin-open, and --admin-listen {} can be reached by others: give operators tokens",
                flags.admin_listen
            );
            return Err(Failure::Usage(message).into());
        }
        let tokens = auth::load(settings, &Arc::<Revoked>::default());
        let tokens = tokens.map_err(|error| Failure::Usage(error.to_string()))?;
        eprintln!("keys: {}", tokens.key_names().collect::<Vec<_>>().join(", "));
        return Ok(Arc::new(tokens));
    }
    if !settings.anonymous_subscribe.is_empty() || settings.admin_open {
        let message = "--anonymous-subscribe and --admin-open mean nothing without keys";
        return Err(Failure::Usage(message.to_owned()).into());
    }
    Ok(if is_public { Arc::new(Insecure) } else { Arc::new(Development) })
}

/// The secrets of webhooks, one a line of their files, so that a new one can be told before the old one goes.
fn secrets(flags: &ServeFlags) -> anyhow::Result<Secrets> {
    let mut secrets = Secrets::default();
    let files = [
        (Source::GitHub, &flags.hook_github_secrets),
        (Source::Gitea, &flags.hook_gitea_secrets),
        (Source::GitLab, &flags.hook_gitlab_tokens),
    ];
    for (source, file) in files {
        let Some(file) = file else { continue };
        let bad = |error: &dyn std::fmt::Display| {
            Failure::Usage(format!("secrets of {} in {}: {error}", source.name(), file.display()))
        };
        let text = std::fs::read_to_string(file).map_err(|error| bad(&error))?;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            secrets.add(source, line.as_bytes()).map_err(|error| bad(&error))?;
        }
        if !secrets.is_configured(source) {
            return Err(bad(&"there is none").into());
        }
    }
    Ok(secrets)
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

const LOOPS_MAX: usize = 256;

const RETAIN_EVENTS_MAX: usize = 1 << 24;

const DURATION_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Descriptors kept for what is no connection of the public door, so that these never take the last one: of each loop its
/// listener, its poll, its waker and its reserve; operators; those who are being turned away at either door; files.
fn own_descriptors(loops: usize, admin_connections_max: usize) -> usize {
    loops * 4 + admin_connections_max + TURNED_AWAY_MAX * 2 + FILES_MAX
}

/// Standard streams, the operators' listener, the store of notifications, and files that are read at the start.
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
