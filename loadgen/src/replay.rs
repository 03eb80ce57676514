//! `loadgen replay`: real events, one by one, at a steady rate or by the times that they have.
//!
//! # Contract       every event is published once: a refused one is sent again after the time the server states, and one
//! whose answer is lost is sent again under the same `event_id`, which the server knows again

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::corpus::{self, Specimen};
use crate::flags::ReplayFlags;
use crate::history::History;
use crate::http;
use crate::machine::{NS_PER_SECOND, now_ns};
use crate::options::Rate;
use crate::payload::scatter;
use crate::target::Target;
use crate::tls::ReadWrite;

/// A valid replay.
#[derive(Debug)]
pub(crate) struct Plan {
    target: Target,
    pace: Pace,
    endless: bool,
    limit: u64,
    source: Source,
}

/// Where events come from.
#[derive(Clone, Debug)]
enum Source {
    Bundled,
    File(PathBuf),
    Repository(PathBuf),
}

/// When events are due.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// So long after one another; 0 is as fast as answers come.
    Steady { interval_ns: f64 },
    /// As they were, so many times as fast, but without longer pauses than this.
    Own { speed: f64, pause_ns_max: f64 },
}

impl Pace {
    /// The time between two events, the times of which are so many seconds apart.
    fn pause_ns(self, seconds: i64) -> f64 {
        match self {
            Pace::Steady { interval_ns } => interval_ns,
            Pace::Own { speed, pause_ns_max } => {
                // Clocks of those who commit go backwards now and then.
                (seconds.max(0) as f64 / speed * NS_PER_SECOND as f64).min(pause_ns_max)
            }
        }
    }
}

impl Plan {
    /// Checks what was typed.
    ///
    /// # Errors
    /// Says which option is wrong, and why.
    pub(crate) fn new(flags: ReplayFlags) -> Result<Plan, String> {
        if !flags.speed.is_finite() || flags.speed <= 0.0 {
            return Err(format!("--speed is {}, but must be above 0", flags.speed));
        }
        if flags.endless && flags.file.as_deref().is_some_and(is_stdin) {
            return Err("--loop cannot begin standard input again".to_owned());
        }
        let rate = match (flags.rate, &flags.git) {
            (None, Some(_)) => None,
            (rate, _) => Some(rate.unwrap_or(Rate::PerSecond(RATE_DEFAULT))),
        };
        Ok(Plan {
            target: flags.target.target()?,
            pace: match rate {
                Some(Rate::PerSecond(rate)) => {
                    Pace::Steady { interval_ns: NS_PER_SECOND as f64 / rate / flags.speed }
                }
                Some(Rate::Saturation) => Pace::Steady { interval_ns: 0.0 },
                None => Pace::Own { speed: flags.speed, pause_ns_max: flags.pause_max.ns as f64 },
            },
            endless: flags.endless,
            limit: flags.limit.unwrap_or(u64::MAX),
            source: match (flags.file, flags.git) {
                (Some(file), _) => Source::File(file),
                (None, Some(repository)) => Source::Repository(repository),
                (None, None) => Source::Bundled,
            },
        })
    }
}

/// Replays until the end, the limit, or `stop`, and prints the summary.
///
/// # Errors
/// The events cannot be read, the server cannot be reached, or it does not take an event.
pub(crate) fn run(plan: Plan, stop: &AtomicBool) -> anyhow::Result<ExitCode> {
    let mut replay = Replay {
        client: Client::connect(plan.target.clone())?,
        tally: Tally::default(),
        name: scatter(now_ns() ^ u64::from(std::process::id())),
        due_ns: now_ns() as f64,
        terminal: io::stderr().is_terminal(),
        plan,
        stop,
    };
    let result = replay.replay_all();
    if replay.terminal {
        eprintln!();
    }
    writeln!(io::stdout(), "{}", replay.tally.summary())?;
    result?;
    Ok(if stop.load(Ordering::Relaxed) { ExitCode::from(EXIT_INTERRUPTED) } else { ExitCode::SUCCESS })
}

struct Replay<'a> {
    plan: Plan,
    client: Client,
    tally: Tally,
    /// Tells the event ids of several replays apart.
    name: u64,
    /// When the next event is due, to fractions of a nanosecond, which add up.
    due_ns: f64,
    terminal: bool,
    stop: &'a AtomicBool,
}

#[derive(Debug, Default)]
struct Tally {
    published: u64,
    first: Option<u64>,
    last: Option<u64>,
    refused: u64,
    resent: u64,
}

impl Replay<'_> {
    fn replay_all(&mut self) -> anyhow::Result<()> {
        loop {
            let published = self.tally.published;
            match self.plan.source.clone() {
                Source::Bundled => {
                    for specimen in corpus::bundled()? {
                        if !self.replay(&specimen, 0)? {
                            return Ok(());
                        }
                    }
                }
                Source::Repository(path) => {
                    let mut history = History::open(&path, self.name)?;
                    let mut before: Option<i64> = None;
                    while let Some(commit) = history.next_commit()? {
                        let before = before.replace(commit.committed_at).unwrap_or(commit.committed_at);
                        if !self.replay(&commit.specimen, commit.committed_at.saturating_sub(before))? {
                            return Ok(());
                        }
                    }
                }
                Source::File(path) => {
                    let mut lines = LineReader::open(&path)?;
                    while let Some(specimen) = lines.next_specimen()? {
                        if !self.replay(&specimen, 0)? {
                            return Ok(());
                        }
                    }
                }
            }
            if published == self.tally.published {
                bail!("there are no events to replay");
            }
            if !self.plan.endless {
                return Ok(());
            }
        }
    }

    /// Publishes one event when it is due, which came so many seconds after the one before; `false` when the replay is over.
    fn replay(&mut self, specimen: &Specimen, seconds: i64) -> anyhow::Result<bool> {
        if self.plan.limit <= self.tally.published {
            return Ok(false);
        }
        if 0 < self.tally.published {
            self.due_ns += self.plan.pace.pause_ns(seconds);
        }
        if !self.sleep_until(self.due_ns as u64) {
            return Ok(false);
        }
        let event = Outgoing {
            channel: &specimen.channel,
            event: &specimen.kind,
            event_id: format!("replay-{:016x}-{}", self.name, self.tally.published),
            data: &specimen.payload,
        };
        let body = serde_json::to_vec(&event)?;
        let mut attempts = 0;
        loop {
            match self.client.publish(&body) {
                Ok(Answer::Accepted(sequence)) => {
                    self.tally.published += 1;
                    self.tally.first.get_or_insert(sequence);
                    self.tally.last = Some(sequence);
                    self.show_progress();
                    return Ok(true);
                }
                Ok(Answer::Refused { after_ns }) => {
                    self.tally.refused += 1;
                    if !self.sleep_until(now_ns() + after_ns) {
                        return Ok(false);
                    }
                }
                Ok(Answer::Wrong(text)) => bail!("an event on {} was answered {text}", specimen.channel),
                Err(error) if attempts < RECONNECTS_MAX => {
                    attempts += 1;
                    if !self.sleep_until(now_ns() + u64::from(attempts) * RECONNECT_NS) {
                        return Ok(false);
                    }
                    self.tally.resent += 1;
                    // A server that is not back yet shows at the next attempt.
                    let _ = self.client.reconnect().map_err(|_| error);
                }
                Err(error) => return Err(error).context("the connection broke and could not be made again"),
            }
        }
    }

    /// Sleeps in small pieces, so that a signal is heard; `false` if one came.
    fn sleep_until(&self, due_ns: u64) -> bool {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            let now_ns = now_ns();
            if due_ns <= now_ns {
                return true;
            }
            std::thread::sleep(Duration::from_nanos((due_ns - now_ns).min(SLEEP_NS_MAX)));
        }
    }

    fn show_progress(&self) {
        let (published, last) = (self.tally.published, self.tally.last.unwrap_or(0));
        if self.terminal {
            eprint!("\rpublished {published}, last seq {last}");
        } else if published.is_multiple_of(PROGRESS_EVENTS) {
            eprintln!("published {published}, last seq {last}");
        }
    }
}

impl Tally {
    fn summary(&self) -> String {
        let number = |sequence: Option<u64>| {
            sequence.map_or_else(|| "none".to_owned(), |sequence| sequence.to_string())
        };
        let (first, last) = (number(self.first), number(self.last));
        let mut text = format!(
            "published {}, first seq {first}, last seq {last}, refused and retried {}",
            self.published, self.refused
        );
        if 0 < self.resent {
            text.push_str(&format!(", sent again after a broken connection {}", self.resent));
        }
        text
    }
}

#[derive(Serialize)]
struct Outgoing<'a> {
    channel: &'a str,
    event: &'a str,
    event_id: String,
    data: &'a RawValue,
}

/// What a server says to a publish.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Accepted(u64),
    Refused { after_ns: u64 },
    Wrong(String),
}

/// One connection that waits for each answer.
struct Client {
    target: Target,
    stream: Box<dyn ReadWrite + Send>,
    request: Vec<u8>,
    held: Vec<u8>,
}

impl Client {
    fn connect(target: Target) -> anyhow::Result<Client> {
        let stream =
            target.connect(ANSWER_TIME).with_context(|| format!("cannot connect to {}", target.authority))?;
        Ok(Client { target, stream, request: Vec::new(), held: Vec::new() })
    }

    fn reconnect(&mut self) -> io::Result<()> {
        self.stream = self.target.connect(ANSWER_TIME)?;
        self.held.clear();
        Ok(())
    }

    fn publish(&mut self, body: &[u8]) -> io::Result<Answer> {
        #[derive(Deserialize)]
        struct Receipt {
            seq: u64,
        }
        self.request.clear();
        http::write_publish(&self.target, body, &mut self.request);
        self.stream.write_all(&self.request)?;
        let mut piece = [0; 4_096];
        loop {
            let answer = http::read_answer(&self.held).map_err(io::Error::other)?;
            if let Some((answer, length)) = answer {
                let closes = answer.head.closes;
                let result = match (answer.head.status, serde_json::from_slice::<Receipt>(answer.body)) {
                    (200 | 202, Ok(receipt)) => Answer::Accepted(receipt.seq),
                    (429 | 503, _) => Answer::Refused {
                        after_ns: answer.head.retry_after_ns.unwrap_or(http::RETRY_AFTER_NS_DEFAULT),
                    },
                    (status, _) => {
                        Answer::Wrong(format!("{status}: {}", String::from_utf8_lossy(answer.body)))
                    }
                };
                self.held.drain(..length);
                if closes {
                    // If the server is gone for good, the next publish says so.
                    let _ = self.reconnect();
                }
                return Ok(result);
            }
            match self.stream.read(&mut piece)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => self.held.extend_from_slice(&piece[..count]),
            }
        }
    }
}

/// Reads a file line by line, so that standard input is replayed as it comes.
struct LineReader {
    lines: Box<dyn BufRead>,
    number: u64,
}

impl LineReader {
    fn open(path: &std::path::Path) -> anyhow::Result<LineReader> {
        let lines: Box<dyn BufRead> = if is_stdin(path) {
            Box::new(BufReader::new(io::stdin()))
        } else {
            let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
            Box::new(BufReader::new(file))
        };
        Ok(LineReader { lines, number: 0 })
    }

    fn next_specimen(&mut self) -> anyhow::Result<Option<Specimen>> {
        loop {
            let mut line = String::new();
            self.number += 1;
            let read = (&mut self.lines).take(LINE_BYTES_MAX).read_line(&mut line);
            let count = read.with_context(|| format!("reading line {}", self.number))?;
            if count as u64 == LINE_BYTES_MAX {
                bail!("line {} is longer than 4 MiB", self.number);
            }
            if count == 0 {
                return Ok(None);
            }
            if !line.trim().is_empty() {
                let specimen = Specimen::parse(&line).with_context(|| format!("line {}", self.number))?;
                return Ok(Some(specimen));
            }
        }
    }
}

fn is_stdin(path: &std::path::Path) -> bool {
    path.as_os_str() == "-"
}

/// Events a second, unless they have times of their own.
const RATE_DEFAULT: f64 = 20.0;
const EXIT_INTERRUPTED: u8 = 130;
/// Without a terminal a line is printed after so many events.
const PROGRESS_EVENTS: u64 = 100;
const ANSWER_TIME: Duration = Duration::from_secs(10);
const RECONNECTS_MAX: u32 = 10;
const RECONNECT_NS: u64 = NS_PER_SECOND / 10;
const SLEEP_NS_MAX: u64 = NS_PER_SECOND / 10;
/// A server takes events of 1 MiB, and a payload may be written with much white space.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_their_own_are_scaled_and_long_pauses_cut_short() {
        let own = Pace::Own { speed: 10.0, pause_ns_max: 2e9 };
        let check = |pace: Pace, seconds: i64, expected: f64| {
            assert_eq!(pace.pause_ns(seconds), expected, "{seconds}")
        };
        check(own, 5, 5e8);
        check(own, 0, 0.0);
        check(own, 86_400, 2e9);
        check(own, -300, 0.0);
        check(own, i64::MAX, 2e9);
        check(Pace::Steady { interval_ns: 7.5 }, 86_400, 7.5);
    }
}
