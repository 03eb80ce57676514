//! The client: one thread and one poll that opens connections, publishes when it is due, and counts what comes.
//!
//! # Contract       subscribers are open before the first event; an event is counted as expected once it was not refused
//! # Bounds         128 handshakes at once; a server that is silent in one for ten seconds ends the run
//! # Why not …      several threads: a client that shares nothing has nothing to explain, and it says when it is too slow

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::answers::Answers;
use super::ledger::{InFlight, Ledger};
use super::listener::Listener;
use super::press::Press;
use super::request;
use super::shape::{Load, PublishVia, Shape};
use super::stream::Counter;
use super::usage::{Busy, Usage, thread_waited_ns};
use crate::alarm::Alarm;
use crate::histogram::Latency;
use crate::http;
use crate::link::{Link, Reading};
use crate::machine::{NS_PER_SECOND, now_ns, thread_cpu_ns};
use crate::options::Transport;
use crate::side_by_side::profile::Profile;
use crate::websocket::{self, Opcode};

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

/// What a run found.
#[derive(Debug)]
pub(crate) struct Findings {
    /// Counts at the beginning and the end of the measured part.
    pub(crate) measured: (Snapshot, Snapshot),
    /// What subscribers were delivered, with the latencies.
    pub(crate) counter: Counter,
    /// From requests to answers, of the shape `publish`; from connecting to the open stream, of `connect` and `idle`.
    pub(crate) service: Latency,
    /// How late the client itself published.
    pub(crate) lag: Latency,
    /// Events that were handed to the server.
    pub(crate) published: u64,
    /// Of these, refused.
    pub(crate) refused: u64,
    /// Of these, never answered.
    pub(crate) unanswered: u64,
    /// What went wrong with subscribers, as sentences.
    pub(crate) failures: Vec<String>,
    /// How many subscribers did not get what they must have.
    pub(crate) incomplete: u64,
    /// Deliveries that are missing, and those that are too many.
    pub(crate) missed: u64,
    /// As above.
    pub(crate) surplus: u64,
    /// The server's usage before the first connection.
    pub(crate) empty: Option<Usage>,
    /// And once all connections stood, before the first event.
    pub(crate) connected: Option<Usage>,
    /// How long connecting took, in nanoseconds.
    pub(crate) connecting_ns: u64,
    /// Whether somebody ended the run early.
    pub(crate) interrupted: bool,
}

/// Counts at one instant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Snapshot {
    /// When it was taken, in nanoseconds of the monotonic clock.
    pub(crate) at_ns: u64,
    /// Processor time of the client.
    pub(crate) cpu_ns: u64,
    /// How long it could have run and waited for a processor.
    pub(crate) waited_ns: u64,
    /// Usage of the server.
    pub(crate) server: Option<Usage>,
    /// How busy the machine was.
    pub(crate) machine: Option<Busy>,
    /// Events that were delivered.
    pub(crate) events: u64,
    /// Bytes of their messages.
    pub(crate) payload_bytes: u64,
    /// Bytes that subscribers read.
    pub(crate) wire_bytes: u64,
    /// Readings of subscribers that brought something.
    pub(crate) readings: u64,
    /// Events that were published and answered.
    pub(crate) answered: u64,
    /// Connections that were opened.
    pub(crate) opened: u64,
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

struct Subscriber {
    link: Option<Link>,
    listener: Listener,
    outgoing: Vec<u8>,
    began_ns: u64,
    is_stuck: bool,
    is_unfinished: bool,
}

struct Publisher {
    link: Link,
    outgoing: Vec<u8>,
    answers: Answers,
    /// The key of a WebSocket whose upgrade is not answered.
    key: Option<String>,
    in_flight: VecDeque<InFlight>,
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
            counter: Counter::new(!matches!(load.shape, Shape::Saturation { .. }), has_lines),
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

    /// Opens all subscribers, 128 at once.
    fn open_all(&mut self) -> anyhow::Result<()> {
        let (began_ns, count) = (now_ns(), self.load.subscribers as usize);
        if self.empty.is_none() {
            self.empty = self.server.pid.and_then(Usage::of);
        }
        while self.open < count && !self.is_over() {
            while self.opening < HANDSHAKES_MAX && self.subscribers.len() < count {
                self.begin_subscriber()?;
            }
            let before = self.open;
            let deadline_ns = now_ns() + HANDSHAKE_NS_MAX;
            while self.open == before && !self.is_over() {
                if deadline_ns <= now_ns() {
                    bail!("{} of {count} subscribers are not open after ten seconds", count - self.open);
                }
                self.turn(deadline_ns)?;
            }
        }
        self.connecting_ns = now_ns() - began_ns;
        Ok(())
    }

    fn begin_subscriber(&mut self) -> anyhow::Result<()> {
        let index = self.subscribers.len();
        let id = index as u32;
        let channel = match &self.profile.wildcard {
            Some(wildcard) if self.load.wildcard => wildcard.clone(),
            _ => self.profile.channel_name(self.load.channel_of(id)),
        };
        let (listener, outgoing) =
            Listener::new(self.profile, self.load.transport, &channel, &self.server.authority)
                .map_err(anyhow::Error::msg)?;
        let source = self.load.source.map(|source| source.of(id));
        let link = Link::open(self.server.address, source, self.poll.registry(), Token(index))
            .with_context(|| format!("cannot connect to {}", self.server.authority))?;
        self.subscribers.push(Subscriber {
            link: Some(link),
            listener,
            outgoing,
            began_ns: now_ns(),
            is_stuck: 0 < self.load.stuck && self.load.is_stuck(id),
            is_unfinished: false,
        });
        self.opening += 1;
        Ok(())
    }

    fn open_publishers(&mut self) -> anyhow::Result<()> {
        for index in 0..self.load.publishers as usize {
            let token = Token(PUBLISHERS + index);
            let link = Link::open(self.server.address, None, self.poll.registry(), token)
                .with_context(|| format!("cannot connect to {}", self.server.authority))?;
            let mut publisher = Publisher {
                link,
                outgoing: Vec::new(),
                answers: Answers::default(),
                key: None,
                in_flight: VecDeque::new(),
            };
            if let (PublishVia::Ws, Some(ws)) = (self.load.via, &self.profile.publish.ws) {
                let (text, key) = request::upgrade(&ws.path, &self.server.authority, &ws.headers);
                publisher.outgoing = text.into_bytes();
                publisher.key = Some(key);
            }
            self.publishers.push(publisher);
        }
        let deadline_ns = now_ns() + HANDSHAKE_NS_MAX;
        loop {
            let mut ready = 0;
            for publisher in &mut self.publishers {
                ready += usize::from(publisher.link.is_connected()? && publisher.key.is_none());
            }
            if ready == self.publishers.len() || self.is_over() {
                return Ok(());
            }
            if deadline_ns <= now_ns() {
                bail!("publishers could not connect within ten seconds");
            }
            self.turn(now_ns() + NS_PER_SECOND / 1_000)?;
        }
    }

    /// Hands over what is due at one instant, in one write.
    fn publish_due(&mut self, due_ns: u64) -> anyhow::Result<()> {
        let events = match self.load.shape {
            Shape::Burst { events, .. } => events,
            _ => 1,
        };
        if self.counter.from_ns <= due_ns && due_ns < self.counter.to_ns {
            self.lag.record(now_ns().saturating_sub(due_ns));
        }
        let requests = events.div_ceil(self.load.batch);
        // All at one instant go the same way, as one write.
        let index = (self.ledger.next / u64::from(events)) as usize % self.publishers.len();
        let mut left = events;
        for _ in 0..requests {
            let count = left.min(self.load.batch);
            self.enqueue(index, count, due_ns);
            left -= count;
        }
        self.flush(index)
    }

    /// Publishes until `outstanding` events are on their way.
    fn publish_window(&mut self, outstanding: u32) -> anyhow::Result<()> {
        if self.counter.to_ns <= now_ns() {
            return Ok(());
        }
        let mut left = self.ledger.room(outstanding);
        // A batch waits until there is room for a whole one, as far as the window can have one.
        if left < self.load.batch.min(outstanding) {
            return Ok(());
        }
        let due_ns = now_ns();
        let index = self.ledger.next as usize % self.publishers.len();
        while 0 < left {
            let count = left.min(self.load.batch);
            self.enqueue(index, count, due_ns);
            left -= count;
        }
        self.flush(index)
    }

    /// Fills every connection up to its depth.
    fn publish_depth(&mut self) -> anyhow::Result<()> {
        let Shape::Publish { depth } = self.load.shape else { return Ok(()) };
        for index in 0..self.publishers.len() {
            let flying = self.publishers[index].in_flight.len();
            // Half a window at once, so that requests are written, and read, together.
            if flying <= depth as usize / 2 {
                let due_ns = now_ns();
                for _ in flying..depth as usize {
                    self.enqueue(index, self.load.batch, due_ns);
                }
                self.flush(index)?;
            }
        }
        Ok(())
    }

    fn enqueue(&mut self, index: usize, count: u32, due_ns: u64) {
        let publisher = &mut self.publishers[index];
        let first = self.ledger.next;
        if let Some(press) = &self.press {
            press.write(first, count, due_ns, &mut publisher.outgoing);
        }
        self.ledger.publish(count);
        if self.load.via == PublishVia::Ws && self.profile.publish.ws.as_ref().is_some_and(|ws| !ws.answers) {
            self.ledger.answered += u64::from(count);
        } else {
            publisher.in_flight.push_back(InFlight { first, count, due_ns });
        }
    }

    fn flush(&mut self, index: usize) -> anyhow::Result<()> {
        let publisher = &mut self.publishers[index];
        publisher.link.flush(&mut publisher.outgoing).context("a publisher's connection broke")
    }

    /// Sleeps until something happens, `wake_ns` at the latest, and takes what came.
    fn turn(&mut self, wake_ns: u64) -> anyhow::Result<()> {
        let ahead_ns = wake_ns.saturating_sub(now_ns());
        // What is further ahead is left to the poll's own time, so that at saturation no alarm is set at all.
        if self.alarm_ns != wake_ns && (1..SLEEP_NS_MAX).contains(&ahead_ns) {
            self.alarm.set(wake_ns)?;
            self.alarm_ns = wake_ns;
        }
        let is_busy = !self.unfinished.is_empty() || ahead_ns == 0;
        let timeout = if is_busy { Duration::ZERO } else { Duration::from_nanos(SLEEP_NS_MAX) };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error).context("the poll failed"),
        }
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let result = self.take_events(&events);
        std::mem::swap(&mut self.events, &mut events);
        result?;
        for _ in 0..self.unfinished.len() {
            let Some(index) = self.unfinished.pop_front() else { break };
            self.subscribers[index].is_unfinished = false;
            self.take_subscriber(index)?;
        }
        Ok(())
    }

    fn take_events(&mut self, events: &Events) -> anyhow::Result<()> {
        for event in events {
            match event.token() {
                ALARM => {}
                Token(token) if PUBLISHERS <= token => self.take_publisher(token - PUBLISHERS)?,
                Token(index) => self.take_subscriber(index)?,
            }
        }
        Ok(())
    }

    fn take_subscriber(&mut self, index: usize) -> anyhow::Result<()> {
        // Readiness may be told of a connection that was closed in the same turn.
        let Some(subscriber) = self.subscribers.get_mut(index) else { return Ok(()) };
        let Some(link) = &mut subscriber.link else { return Ok(()) };
        let was_open = subscriber.listener.is_open();
        if was_open && subscriber.is_stuck {
            return Ok(());
        }
        let before = subscriber.listener.events;
        let (listener, outgoing, counter, totals) =
            (&mut subscriber.listener, &mut subscriber.outgoing, &mut self.counter, &mut self.totals);
        let mut result = if outgoing.is_empty() { Ok(()) } else { link.flush(outgoing).map_err(Fault::from) };
        let mut reading = Reading::Drained;
        if result.is_ok() {
            let got = link.read(&mut self.buffer, false, |input, new| {
                totals.wire_bytes += new as u64;
                totals.readings += 1;
                Ok(listener.handle_input(input, now_ns(), counter, outgoing)?)
            });
            result = got.map(|got| reading = got);
        }
        if result.is_ok() && !outgoing.is_empty() {
            result = link.flush(outgoing).map_err(Fault::from);
        }
        let delivered = subscriber.listener.events - before;
        if reading == Reading::Unfinished && !std::mem::replace(&mut subscriber.is_unfinished, true) {
            self.unfinished.push_back(index);
        }
        if !was_open && subscriber.listener.is_open() {
            self.opening -= 1;
            self.open += 1;
            self.totals.opened += 1;
            if !self.load.publishes() {
                self.service.record(now_ns() - subscriber.began_ns);
            }
        }
        if let Err(Fault(reason)) = result {
            if !subscriber.listener.is_open() {
                bail!("subscriber {index} could not subscribe: {reason}");
            }
            subscriber.link = None;
            self.fail(format!("subscriber {index} lost its connection: {reason}"));
        }
        if !self.subscribers[index].is_stuck && 0 < delivered {
            self.ledger.deliver(delivered);
            if let Shape::Saturation { outstanding } = self.load.shape {
                self.publish_window(outstanding)?;
            }
        }
        Ok(())
    }

    fn take_publisher(&mut self, index: usize) -> anyhow::Result<()> {
        loop {
            let publisher = &mut self.publishers[index];
            publisher.link.flush(&mut publisher.outgoing).context("a publisher's connection broke")?;
            let Publisher { link, answers, key, in_flight, outgoing } = publisher;
            let (profile, ledger, via) = (self.profile, &mut self.ledger, self.load.via);
            let service = matches!(self.load.shape, Shape::Publish { .. }).then_some(&mut self.service);
            let window = self.counter.from_ns..self.counter.to_ns;
            let mut service = service;
            let mut settle = |accepted: bool, now: u64| {
                let Some(request) = in_flight.pop_front() else { return };
                if let Some(service) = service.as_mut().filter(|_| window.contains(&request.due_ns)) {
                    service.record(now.saturating_sub(request.due_ns));
                }
                ledger.settle(request, accepted);
            };
            let reading = link.read(&mut self.buffer, false, |input, _| {
                let now = now_ns();
                match via {
                    PublishVia::Http | PublishVia::HttpBatch => {
                        let ok = match via {
                            PublishVia::Http => profile.publish.http.as_ref().map(|http| &http.ok),
                            _ => profile.publish.batch.as_ref().map(|batch| &batch.ok),
                        };
                        let ok = ok.map_or(&[][..], Vec::as_slice);
                        Ok(answers.take(input, |status| settle(request::is_ok(status, ok), now))?)
                    }
                    PublishVia::Ws => {
                        take_command_answers(input, key, profile, outgoing, |accepted| settle(accepted, now))
                    }
                }
            });
            match reading {
                Ok(Reading::Drained) => return Ok(()),
                Ok(Reading::Unfinished) => {}
                Err(Fault(reason)) => bail!("a publisher's connection ended: {reason}"),
            }
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        Snapshot {
            server: self.server.pid.and_then(Usage::of),
            machine: Busy::now(),
            cpu_ns: thread_cpu_ns(),
            waited_ns: thread_waited_ns(),
            at_ns: now_ns(),
            events: self.counter.events,
            payload_bytes: self.counter.payload_bytes,
            answered: self.ledger.answered,
            ..self.totals
        }
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

    fn finish(mut self) -> Findings {
        let (mut incomplete, mut missed, mut surplus) = (0, 0, 0);
        for index in 0..self.subscribers.len() {
            let subscriber = &self.subscribers[index];
            if subscriber.is_stuck || !self.load.publishes() {
                continue;
            }
            let channel = (!self.load.wildcard).then(|| self.load.channel_of(index as u32));
            let expected = self.ledger.expected(channel);
            let got = subscriber.listener.events;
            if got != expected {
                incomplete += 1;
                missed += expected.saturating_sub(got);
                surplus += got.saturating_sub(expected);
                self.fail(format!("subscriber {index} got {got} of {expected} events"));
            }
        }
        let in_flight = self.publishers.iter().flat_map(|publisher| &publisher.in_flight);
        let unanswered = in_flight.map(|request| u64::from(request.count)).sum();
        Findings {
            measured: self.measured,
            counter: self.counter,
            service: self.service,
            lag: self.lag,
            published: self.ledger.next,
            refused: self.ledger.refused,
            unanswered,
            failures: self.failures,
            incomplete,
            missed,
            surplus,
            empty: self.empty,
            connected: self.connected,
            connecting_ns: self.connecting_ns,
            interrupted: self.interrupted,
        }
    }
}

/// Answers on a publisher's WebSocket, the one to its upgrade first.
fn take_command_answers(
    input: &[u8],
    key: &mut Option<String>,
    profile: &Profile,
    outgoing: &mut Vec<u8>,
    mut settle: impl FnMut(bool),
) -> Result<usize, Fault> {
    let mut at = 0;
    if let Some(awaited) = key {
        let Some((head, length)) = http::read_head(input)? else { return Ok(0) };
        websocket::check_upgrade(&head, awaited)?;
        *key = None;
        at = length;
    }
    let accepted = profile.publish.ws.as_ref().and_then(|ws| ws.accepted.as_deref());
    while let Some((frame, length)) = websocket::read_frame(&input[at..])? {
        at += length;
        match frame.opcode {
            Opcode::Text | Opcode::Binary => {
                settle(accepted.is_none_or(|accepted| {
                    memchr::memmem::find(frame.payload, accepted.as_bytes()).is_some()
                }))
            }
            Opcode::Close => return Err(Fault("the server closed it".to_owned())),
            // It is sent with what is published next, or with the next reading.
            Opcode::Ping => websocket::write_frame(Opcode::Pong, frame.payload, [0; 4], outgoing),
            Opcode::Pong | Opcode::Continuation => {}
        }
    }
    Ok(at)
}

/// Why a connection is over.
struct Fault(String);

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Fault {
        Fault(error.to_string())
    }
}

impl From<String> for Fault {
    fn from(reason: String) -> Fault {
        Fault(reason)
    }
}

impl From<&str> for Fault {
    fn from(reason: &str) -> Fault {
        Fault(reason.to_owned())
    }
}

const ALARM: Token = Token(usize::MAX);
/// Tokens of publishers begin here; those of subscribers at 0.
const PUBLISHERS: usize = 1 << 32;
const EVENTS_PER_TURN: usize = 1_024;
const HANDSHAKES_MAX: usize = 128;
const HANDSHAKE_NS_MAX: u64 = 10 * NS_PER_SECOND;
/// Ports of closed connections rest for a minute, and one address has 28,000.
const CONNECTS_MAX: u64 = 10_000;
const SLEEP_NS_MAX: u64 = NS_PER_SECOND / 10;
const SETTLE_NS: u64 = NS_PER_SECOND / 5;
const SURPLUS_NS: u64 = NS_PER_SECOND / 200;
const FAILURES_MAX: usize = 10;
