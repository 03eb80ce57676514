//! The client: one thread and one poll that opens connections, publishes when it is due, and counts what comes.
//!
//! # Contract       subscribers are open before the first event; an event is counted as expected once it was not refused
//! # Bounds         128 handshakes at once; a server that is silent in one for ten seconds ends the run
//! # Why not …      several threads: a client that shares nothing has nothing to explain, and it says when it is too slow

mod fault;
mod findings;
mod publisher;
mod subscriber;
mod turn;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

pub(crate) use findings::{Findings, Snapshot};
use publisher::Publisher;
use subscriber::Subscriber;

use super::ledger::Ledger;
use super::press::Press;
use super::reference::Reference;
use super::shape::{Load, Shape};
use super::stream::Counter;
use super::usage::Usage;
use crate::alarm::Alarm;
use crate::histogram::Latency;
use crate::machine::{NS_PER_SECOND, now_ns};
use crate::options::Transport;
use crate::side_by_side::profile::Profile;

/// The server that is driven.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// Host and port for the `Host` header.
    pub(crate) authority: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its process, if that is known.
    pub(crate) pid: Option<u32>,
}

/// Runs `load` against `server` with bodies of `body_bytes` bytes.
///
/// # Errors
/// The server cannot be reached or refuses subscribers, or the system gives no descriptors.
pub(crate) fn run(
    profile: &Profile,
    load: &Load,
    body_bytes: usize,
    server: &Server,
    stop: &AtomicBool,
) -> anyhow::Result<Findings> {
    let mut client = Client::new(profile, load, body_bytes, server, stop)?;
    match load.shape {
        Shape::Connect => client.connect_over_and_over()?,
        Shape::Idle => client.hold()?,
        _ => client.drive()?,
    }
    Ok(client.finish())
}

struct Client<'a> {
    profile: &'a Profile,
    load: &'a Load,
    server: &'a Server,
    stop: &'a AtomicBool,
    press: Option<Press>,
    poll: Poll,
    alarm: Alarm,
    alarm_ns: u64,
    events: Events,
    buffer: Vec<u8>,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    /// Subscribers of whom more may be there without being told again.
    unfinished: VecDeque<usize>,
    /// Subscribers that are connecting.
    opening: usize,
    open: usize,
    counter: Counter,
    service: Latency,
    lag: Latency,
    ledger: Ledger,
    measured: (Snapshot, Snapshot),
    totals: Snapshot,
    failures: Vec<String>,
    empty: Option<Usage>,
    connected: Option<Usage>,
    connecting_ns: u64,
    interrupted: bool,
}

impl<'a> Client<'a> {
    fn new(
        profile: &'a Profile,
        load: &'a Load,
        body_bytes: usize,
        server: &'a Server,
        stop: &'a AtomicBool,
    ) -> anyhow::Result<Client<'a>> {
        let press = if load.publishes() {
            let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            // Ten days of seconds, and a million numbers for each.
            let first_number = seconds.map_or(0, |since| since.as_secs() % 1_000_000 * 1_000_000);
            let press = Press::new(profile, load, body_bytes, &server.authority, first_number);
            Some(press.map_err(anyhow::Error::msg)?)
        } else {
            None
        };
        if load.wildcard && profile.wildcard.is_none() {
            bail!("the profile {} has no wildcard", profile.name);
        }
        let sse = profile.subscribe.sse.as_ref().filter(|_| load.transport == Transport::Sse);
        let has_lines = sse.is_some_and(|sse| sse.each_line);
        let mut counter = Counter::new(!matches!(load.shape, Shape::Saturation { .. }), has_lines);
        // Where a line is an event, what comes in one block is another matter for each subscriber.
        counter.reference = (load.skips() && !has_lines).then(Reference::default);
        let poll = Poll::new().context("no poll")?;
        let alarm = Alarm::new().context("no alarm")?;
        poll.registry().register(&mut SourceFd(&alarm.descriptor()), ALARM, Interest::READABLE)?;
        Ok(Client {
            profile,
            load,
            server,
            stop,
            press,
            poll,
            alarm,
            alarm_ns: 0,
            events: Events::with_capacity(EVENTS_PER_TURN),
            buffer: Vec::new(),
            subscribers: Vec::new(),
            publishers: Vec::new(),
            unfinished: VecDeque::new(),
            opening: 0,
            open: 0,
            counter,
            service: Latency::new(),
            lag: Latency::new(),
            ledger: Ledger::new(load.channels, load.receivers()),
            measured: Default::default(),
            totals: Snapshot::default(),
            failures: Vec::new(),
            empty: None,
            connected: None,
            connecting_ns: 0,
            interrupted: false,
        })
    }

    /// Subscribers, then publishers, then events: before the measured part, within it, and what is left after it.
    fn drive(&mut self) -> anyhow::Result<()> {
        self.open_all()?;
        self.open_publishers()?;
        self.connected = self.server.pid.and_then(Usage::of);
        let period_ns = match self.load.shape {
            Shape::Steady { period_ns } | Shape::Burst { period_ns, .. } => period_ns,
            _ => 1,
        };
        let whole = |ns: u64| ns.div_ceil(period_ns) * period_ns;
        let start_ns = now_ns() + NS_PER_SECOND / 100;
        // Readings are taken a moment before an instant, so that they delay nothing that is due.
        let ahead_ns = (period_ns / 4).min(NS_PER_SECOND / 500);
        let from_ns = start_ns + whole(self.load.warmup_ns) - ahead_ns;
        let to_ns = from_ns + whole(self.load.duration_ns);
        (self.counter.from_ns, self.counter.to_ns) = (from_ns, to_ns);
        let mut due_ns = start_ns;
        while !self.is_over() {
            let now = now_ns();
            if self.measured.0.at_ns == 0 && from_ns <= now {
                self.measured.0 = self.snapshot();
            }
            let next_ns = match self.load.shape {
                Shape::Steady { .. } | Shape::Burst { .. } => {
                    // What was due is published however late, or lateness would leave out what it hurts.
                    while due_ns <= now_ns() && due_ns < to_ns {
                        self.publish_due(due_ns)?;
                        due_ns += period_ns;
                    }
                    due_ns
                }
                _ if to_ns <= now => to_ns,
                Shape::Saturation { outstanding } => {
                    self.publish_window(outstanding)?;
                    u64::MAX
                }
                _ => {
                    self.publish_depth()?;
                    u64::MAX
                }
            };
            if to_ns <= now {
                break;
            }
            let boundary_ns = if self.measured.0.at_ns == 0 { from_ns } else { to_ns };
            self.turn(next_ns.min(boundary_ns))?;
        }
        self.measured.1 = self.snapshot();
        self.drain()
    }

    /// Everything that was published is answered and delivered, or too late.
    fn drain(&mut self) -> anyhow::Result<()> {
        let deadline_ns = now_ns() + self.load.drain_ns;
        let is_settled = |client: &Client| {
            client.ledger.is_delivered() && client.publishers.iter().all(|one| one.in_flight.is_empty())
        };
        while !is_settled(self) && !self.is_over() && now_ns() < deadline_ns {
            self.turn(deadline_ns.min(now_ns() + NS_PER_SECOND / 10))?;
        }
        // What comes twice comes right behind.
        let deadline_ns = now_ns() + SURPLUS_NS;
        while now_ns() < deadline_ns {
            self.turn(deadline_ns)?;
        }
        Ok(())
    }

    fn connect_over_and_over(&mut self) -> anyhow::Result<()> {
        self.empty = self.server.pid.and_then(Usage::of);
        self.connected = self.empty;
        self.measured.0 = self.snapshot();
        let deadline_ns = now_ns() + self.load.duration_ns;
        loop {
            self.open_all()?;
            let is_last = deadline_ns <= now_ns()
                || CONNECTS_MAX < self.totals.opened + u64::from(self.load.subscribers)
                || self.is_over();
            self.subscribers.clear();
            (self.opening, self.open) = (0, 0);
            self.unfinished.clear();
            if is_last {
                break;
            }
        }
        // The server's part of closing counts too.
        self.rest(SETTLE_NS)?;
        self.measured.1 = self.snapshot();
        Ok(())
    }

    fn hold(&mut self) -> anyhow::Result<()> {
        self.open_all()?;
        self.rest(SETTLE_NS)?;
        self.connected = self.server.pid.and_then(Usage::of);
        self.measured.0 = self.snapshot();
        let deadline_ns = now_ns() + self.load.duration_ns;
        while now_ns() < deadline_ns && !self.is_over() {
            self.turn(deadline_ns)?;
        }
        self.measured.1 = self.snapshot();
        Ok(())
    }

    fn rest(&mut self, ns: u64) -> anyhow::Result<()> {
        let deadline_ns = now_ns() + ns;
        while now_ns() < deadline_ns {
            self.turn(deadline_ns)?;
        }
        Ok(())
    }

    /// Whether somebody asked for an early end.
    fn is_over(&mut self) -> bool {
        self.interrupted |= self.stop.load(Ordering::Relaxed);
        self.interrupted
    }

    fn fail(&mut self, failure: String) {
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(failure);
        }
    }
}

const ALARM: Token = Token(usize::MAX);
/// Tokens of publishers begin here; those of subscribers at 0.
const PUBLISHERS: usize = 1 << 32;
const EVENTS_PER_TURN: usize = 1_024;
const HANDSHAKE_NS_MAX: u64 = 10 * NS_PER_SECOND;
/// Ports of closed connections rest for a minute, and one address has 28,000.
const CONNECTS_MAX: u64 = 10_000;
const SETTLE_NS: u64 = NS_PER_SECOND / 5;
const SURPLUS_NS: u64 = NS_PER_SECOND / 200;
const FAILURES_MAX: usize = 10;
