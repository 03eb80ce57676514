//! What a run ran on: the machine, the system's limits, and how the program was called.
//!
//! # Contract       no secret is in it: what may be one is masked, in the command line and in the environment

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What a run ran on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Environment {
    /// The program and its version.
    pub(crate) program: String,
    /// How it was called, secrets masked.
    pub(crate) command: Vec<String>,
    /// Variables of the environment that stand for flags, secrets masked.
    pub(crate) variables: BTreeMap<String, String>,
    /// The operating system's name.
    pub(crate) system: Option<String>,
    /// The kernel's version.
    pub(crate) kernel: Option<String>,
    /// The machine's architecture.
    pub(crate) architecture: String,
    /// The processor's name.
    pub(crate) processor: Option<String>,
    /// Processors that this program may use.
    pub(crate) processors: usize,
    /// Memory of the machine.
    pub(crate) memory_bytes: Option<u64>,
    /// What the kernel's clock is.
    pub(crate) clock: Option<String>,
    /// The load of the machine when the result was written: of the last one, five and fifteen minutes.
    pub(crate) load: Option<String>,
    /// Limits that bound connections, by name.
    pub(crate) limits: BTreeMap<String, String>,
}

impl Environment {
    /// Looks around. What the system does not tell is left out.
    pub(crate) fn look() -> Environment {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Environment {
            program: concat!("loadgen ", env!("CARGO_PKG_VERSION")).to_owned(),
            command: mask_command(std::env::args()),
            variables: mask_variables(std::env::vars_os().filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
            })),
            system: value_of(&release, "PRETTY_NAME=").map(|name| name.trim_matches('"').to_owned()),
            kernel: line("/proc/sys/kernel/osrelease"),
            architecture: std::env::consts::ARCH.to_owned(),
            processor: value_of(&cpu, "model name")
                .map(|name| name.trim_start_matches([' ', '\t', ':']).to_owned()),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: value_of(&memory, "MemTotal:")
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .map(|kibibytes| kibibytes * 1024),
            clock: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            load: line("/proc/loadavg")
                .map(|load| load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")),
            limits: limits(),
        }
    }
}

fn limits() -> BTreeMap<String, String> {
    let mut limits: BTreeMap<String, String> = LIMIT_FILES
        .iter()
        .filter_map(|(name, path)| Some(((*name).to_owned(), line(path)?.replace('\t', " "))))
        .collect();
    let own = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(open) = value_of(&own, "Max open files") {
        let numbers: Vec<&str> = open.split_whitespace().take(2).collect();
        limits.insert("open files, soft and hard".to_owned(), numbers.join(" "));
    }
    limits
}

/// The first line of a file of the system.
fn line(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

/// What follows `name` on the line that begins with it.
fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The command line, without the values of flags that carry secrets.
fn mask_command(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut masks_next = false;
    arguments
        .enumerate()
        .map(|(place, argument)| {
            if place == 0 {
                // Where the program lies is of no use to anyone else.
                return argument.rsplit('/').next().unwrap_or_default().to_owned();
            }
            if std::mem::take(&mut masks_next) {
                return MASK.to_owned();
            }
            match argument.split_once('=') {
                Some((flag, _)) if SECRET_FLAGS.contains(&flag) => format!("{flag}={MASK}"),
                _ if SECRET_FLAGS.contains(&&*argument) => {
                    masks_next = true;
                    argument
                }
                Some((flag, value)) if flag.starts_with("--") => format!("{flag}={}", mask_url(value)),
                _ => mask_url(&argument),
            }
        })
        .collect()
}

fn mask_variables(all: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    all.filter(|(name, _)| name.starts_with("LOADGEN_"))
        .map(|(name, value)| {
            let secret = SECRET_WORDS.iter().any(|word| name.contains(word)) && !name.ends_with("_FILE");
            let value = if secret { MASK.to_owned() } else { mask_url(&value) };
            (name, value)
        })
        .collect()
}

/// A URL without a password, and without what follows the path, or a path without that; anything else as it is.
fn mask_url(text: &str) -> String {
    if text.starts_with('/')
        && let Some((path, _)) = text.split_once('?')
    {
        return format!("{path}?{MASK}");
    }
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (rest, has_query) = rest.split_once('?').map_or((rest, false), |(rest, _)| (rest, true));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{MASK}@{host}"),
        None => authority.to_owned(),
    };
    let query = if has_query { format!("?{MASK}") } else { String::new() };
    format!("{scheme}://{authority}{path}{query}")
}

/// Flags whose values are secrets, or may hold one.
const SECRET_FLAGS: [&str; 9] = [
    "--token",
    "--header",
    "-H",
    "--password",
    "--secret",
    "--api-key",
    "--publish-header",
    "--publish-body",
    "--subscribe-send",
];
const SECRET_WORDS: [&str; 7] =
    ["TOKEN", "HEADER", "PASSWORD", "SECRET", "KEY", "PUBLISH_BODY", "SUBSCRIBE_SEND"];
const MASK: &str = "***";
const LIMIT_FILES: [(&str, &str); 5] = [
    ("local ports", "/proc/sys/net/ipv4/ip_local_port_range"),
    ("connections waiting at a listener", "/proc/sys/net/core/somaxconn"),
    ("receive buffer, least, default and most", "/proc/sys/net/ipv4/tcp_rmem"),
    ("send buffer, least, default and most", "/proc/sys/net/ipv4/tcp_wmem"),
    ("open files of the whole machine", "/proc/sys/fs/file-max"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_wherever_they_are_typed() {
        let check = |typed: &[&str], expected: &[&str]| {
            let arguments = typed.iter().map(|argument| (*argument).to_owned());
            assert_eq!(mask_command(arguments), expected);
        };
        check(
            &["/opt/x/loadgen", "run", "ws://h:1", "--token", "s3cret", "-c", "5"],
            &["loadgen", "run", "ws://h:1", "--token", "***", "-c", "5"],
        );
        check(
            &["loadgen", "--token=s3cret", "--header=Authorization: s3cret"],
            &["loadgen", "--token=***", "--header=***"],
        );
        check(
            &["loadgen", "http://u:p@h:1/ws?access_token=s3cret", "--slo", "p99<5ms"],
            &["loadgen", "http://***@h:1/ws?***", "--slo", "p99<5ms"],
        );
        check(
            &["loadgen", "--subscribe-path", "/s?key=s3cret", "--publish-header", "apikey: s3cret"],
            &["loadgen", "--subscribe-path", "/s?***", "--publish-header", "***"],
        );
        check(
            &["loadgen", "--subscribe-path=/s?key=s3cret", "--subscribe-send", "{\"token\":\"s3cret\"}"],
            &["loadgen", "--subscribe-path=/s?***", "--subscribe-send", "***"],
        );
        check(&["loadgen", "--token"], &["loadgen", "--token"]);
        check(&["loadgen", "--token-file", "key.txt"], &["loadgen", "--token-file", "key.txt"]);
    }

    #[test]
    fn of_the_environment_only_the_programs_own_variables_are_told() {
        let all =
            [("LOADGEN_TOKEN", "s3cret"), ("LOADGEN_RATE", "5"), ("LOADGEN_TOKEN_FILE", "f"), ("HOME", "/h")];
        let told = mask_variables(all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        let told: Vec<(&str, &str)> = told.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(told, [("LOADGEN_RATE", "5"), ("LOADGEN_TOKEN", "***"), ("LOADGEN_TOKEN_FILE", "f")]);
    }

    #[test]
    fn the_machine_tells_how_many_processors_it_has() {
        let environment = Environment::look();
        assert!(0 < environment.processors && !environment.architecture.is_empty());
    }
}
