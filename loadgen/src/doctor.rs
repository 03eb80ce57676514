//! `loadgen doctor`: what this machine and the server allow, and what to change before figures can be believed.
//!
//! # Contract       nothing is published and nothing is changed but this process's own limits; a handful of connections

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::counting::usage::Busy;
use crate::flags::TargetFlags;
use crate::http;
use crate::machine::{self, now_ns};
use crate::target::Target;
use crate::websocket;

/// Options of `loadgen doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorFlags {
    #[command(flatten)]
    pub(crate) target: TargetFlags,
    /// Subscribers that are to be connected
    #[arg(short, long, env = "LOADGEN_CONNECTIONS", value_name = "N", default_value_t = 1000)]
    pub(crate) connections: u32,
    /// The server's process, if it runs here: its own limit of descriptors is looked at
    #[arg(long, env = "LOADGEN_PID", value_name = "PID")]
    pub(crate) pid: Option<u32>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Well,
    /// Figures suffer.
    Doubtful,
    /// A run cannot work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    name: &'static str,
    state: State,
    text: String,
    /// What to change; empty if nothing.
    advice: &'static str,
}

/// Looks at everything and prints it; 3 if a run cannot work.
///
/// # Errors
/// Standard output takes nothing.
pub(crate) fn run(flags: &DoctorFlags, target: &Target) -> anyhow::Result<ExitCode> {
    let mut findings =
        vec![descriptors(flags.connections), ports(flags.connections), processors(), neighbours(), clock()];
    findings.extend(flags.pid.map(|pid| server_descriptors(pid, flags.connections)));
    let reached = reach(target);
    let is_reached = reached.state != State::Bad;
    findings.push(reached);
    if is_reached {
        findings.extend([ready(target), websocket(target), event_stream(target)]);
    }
    let mut out = String::new();
    for finding in &findings {
        let word = match finding.state {
            State::Well => "ok",
            State::Doubtful => "warn",
            State::Bad => "FAIL",
        };
        out.push_str(&format!("{word:<5} {:<12} {}\n", finding.name, finding.text));
        if !finding.advice.is_empty() {
            out.push_str(&format!("{:<18} → {}\n", "", finding.advice));
        }
    }
    io::stdout().write_all(out.as_bytes())?;
    let is_bad = findings.iter().any(|finding| finding.state == State::Bad);
    Ok(ExitCode::from(if is_bad { EXIT_SETUP } else { 0 }))
}

impl Finding {
    fn new(name: &'static str, state: State, text: String, advice: &'static str) -> Finding {
        let advice = if state == State::Well { "" } else { advice };
        Finding { name, state, text, advice }
    }
}

fn descriptors(connections: u32) -> Finding {
    let advice = "raise the hard limit: ulimit -Hn, LimitNOFILE= of a unit, or /etc/security/limits.conf";
    match machine::raise_descriptor_limit() {
        Ok(limit) => {
            let state = if u64::from(connections) + RESERVED <= limit { State::Well } else { State::Bad };
            Finding::new(
                "descriptors",
                state,
                format!("{limit} may be open, {connections} subscribers are asked for"),
                advice,
            )
        }
        Err(error) => Finding::new("descriptors", State::Bad, error.to_string(), advice),
    }
}

fn server_descriptors(pid: u32, connections: u32) -> Finding {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"));
    let soft = limits.as_deref().ok().and_then(open_files);
    match soft {
        Some(limit) => {
            let state = if u64::from(connections) + RESERVED <= limit { State::Well } else { State::Bad };
            let text = format!("the server may have {limit} open");
            Finding::new(
                "server",
                state,
                text,
                "raise the limit of the server: ulimit -n, or LimitNOFILE= of its unit",
            )
        }
        None => Finding::new(
            "server",
            State::Doubtful,
            format!("the limits of process {pid} cannot be read"),
            "name the server's process, as its user or root",
        ),
    }
}

fn ports(connections: u32) -> Finding {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = range.split_whitespace().filter_map(|word| word.parse::<u32>().ok());
    match (ends.next(), ends.next()) {
        (Some(first), Some(last)) if first <= last => {
            let count = last - first + 1;
            let state = if connections <= count { State::Well } else { State::Bad };
            let text = format!("{count} for each source address to one server");
            Finding::new(
                "ports",
                state,
                text,
                "use more addresses: --source-ip 127.0.0.2..9, or widen net.ipv4.ip_local_port_range",
            )
        }
        _ => Finding::new(
            "ports",
            State::Doubtful,
            "this system does not tell".to_owned(),
            "use several addresses beyond some 16,000 connections: --source-ip",
        ),
    }
}

fn processors() -> Finding {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let state = if 1 < count { State::Well } else { State::Doubtful };
    let advice =
        "with one processor the server and the generator wait for each other; measure from another machine";
    Finding::new("processors", state, format!("{count} may be used"), advice)
}

fn neighbours() -> Finding {
    let advice = "end what else runs here, or measure elsewhere: latencies would be those of the neighbours";
    let before = Busy::now();
    std::thread::sleep(LOOK);
    match before.zip(Busy::now()) {
        Some((before, after)) => {
            let share = |ns: u64| ns as f64 / LOOK.as_nanos() as f64;
            let busy = share(after.busy_ns.saturating_sub(before.busy_ns));
            let stolen = share(after.steal_ns.saturating_sub(before.steal_ns));
            let state = if busy + stolen < NEIGHBOURS_MAX { State::Well } else { State::Doubtful };
            let text = format!(
                "{:.0} % of a processor busy, {:.0} % stolen, while nothing was measured",
                busy * 100.0,
                stolen * 100.0
            );
            Finding::new("neighbours", state, text, advice)
        }
        None => Finding::new("neighbours", State::Doubtful, "this system does not tell".to_owned(), advice),
    }
}

fn clock() -> Finding {
    let source = fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let source = source.map_or_else(|_| "unknown".to_owned(), |source| source.trim().to_owned());
    let begun_ns = now_ns();
    (0..CLOCK_READINGS).for_each(|_| {
        std::hint::black_box(now_ns());
    });
    let each_ns = (now_ns() - begun_ns) / CLOCK_READINGS;
    let state = if each_ns < CLOCK_NS_MAX { State::Well } else { State::Doubtful };
    let advice =
        "each delivery reads the clock; a source such as tsc or kvm-clock is read without a system call";
    Finding::new("clock", state, format!("source {source}, {each_ns} ns a reading"), advice)
}

fn reach(target: &Target) -> Finding {
    let mut best_ns = u64::MAX;
    for _ in 0..CONNECTS {
        let begun_ns = now_ns();
        match target.connect(PATIENCE) {
            Ok(_) => best_ns = best_ns.min(now_ns() - begun_ns),
            Err(error) => {
                let text = format!("{} cannot be reached: {error}", target.address);
                return Finding::new(
                    "server",
                    State::Bad,
                    text,
                    "start the server, or look at the address and the firewall",
                );
            }
        }
    }
    let secret = if target.tls.is_some() { ", encrypted" } else { "" };
    let text = format!("{} reached in {:.3} ms{secret}", target.address, best_ns as f64 / 1e6);
    Finding::new("server", State::Well, text, "")
}

fn ready(target: &Target) -> Finding {
    let mut request = b"GET /health/ready HTTP/1.1\r\n".to_vec();
    http::write_common(target, &mut request);
    request.extend_from_slice(b"\r\n");
    let advice = "the server drains, is overloaded, or is none that says whether it is ready";
    match ask(target, &request) {
        Ok(head) if head.status == 200 => {
            Finding::new("readiness", State::Well, "/health/ready is answered 200".to_owned(), "")
        }
        Ok(head) => Finding::new(
            "readiness",
            State::Doubtful,
            format!("/health/ready is answered {}", head.status),
            advice,
        ),
        Err(error) => Finding::new("readiness", State::Doubtful, format!("/health/ready: {error}"), advice),
    }
}

fn websocket(target: &Target) -> Finding {
    let mut request = Vec::new();
    let members = [("channel", Some(CHANNEL))];
    let key = websocket::write_upgrade(target, &members, &mut request);
    let upgraded = ask(target, &request).map_err(|error| error.to_string());
    protocol("websocket", "/ws upgrades", upgraded.and_then(|head| websocket::check_upgrade(&head, &key)))
}

fn event_stream(target: &Target) -> Finding {
    let mut request = Vec::new();
    http::write_event_stream(target, &[("channel", Some(CHANNEL))], None, &mut request);
    let answered = ask(target, &request).map_err(|error| error.to_string());
    let checked = answered.and_then(|head| match head.status {
        200 if head.content_type.starts_with("text/event-stream") => Ok(()),
        200 => Err(format!("/events has the type {:?}", head.content_type)),
        status => Err(format!("/events was answered {status}")),
    });
    protocol("events", "/events streams", checked)
}

fn protocol(name: &'static str, well: &str, checked: Result<(), String>) -> Finding {
    let advice = "401 and 403 ask for --token; other servers are driven by --protocol";
    match checked {
        Ok(()) => Finding::new(name, State::Well, well.to_owned(), ""),
        Err(error) => Finding::new(name, State::Doubtful, error, advice),
    }
}

/// Sends one request on a connection of its own and reads the head of its answer.
fn ask(target: &Target, request: &[u8]) -> io::Result<http::Head> {
    let mut stream = target.connect(PATIENCE)?;
    http::ask(&mut *stream, request).map(|(head, _)| head)
}

/// The soft limit of open files in `/proc/…/limits`.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

const EXIT_SETUP: u8 = 3;
const CHANNEL: &str = "bench:doctor";
const PATIENCE: Duration = Duration::from_secs(5);
/// Standard streams, polls, files.
const RESERVED: u64 = 64;
const LOOK: Duration = Duration::from_millis(300);
/// Of a processor.
const NEIGHBOURS_MAX: f64 = 0.2;
const CLOCK_READINGS: u64 = 10_000;
/// A reading without a system call takes a tenth of that.
const CLOCK_NS_MAX: u64 = 300;
const CONNECTS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_given_only_where_something_is_wrong() {
        assert_eq!(Finding::new("clock", State::Well, String::new(), "change it").advice, "");
        assert_eq!(Finding::new("clock", State::Bad, String::new(), "change it").advice, "change it");
        assert_eq!(descriptors(u32::MAX).state, State::Bad);
        assert_eq!(descriptors(1).state, State::Well);
    }

    #[test]
    fn the_limit_of_open_files_is_read() {
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax cpu time  unlimited unlimited seconds\nMax open files            1024                 4096                 files\n";
        assert_eq!(open_files(limits), Some(1_024));
        assert_eq!(open_files("Max open files unlimited"), None);
    }
}
