//! One loop of subscribers: a thread, a poll, thousands of sockets.
//!
//! # Contract       driven by [`Command`]s from the run, answers with [`Report`]s; the last of them holds the findings
//! # A turn         sleep → clock → interval → control → connect → input → churn and storm → slow readers → timers → measure
//! # Bounds         one read buffer per loop; a connection owns bytes only while a message is half read; what a turn leaves
//! unread is remembered, since readiness is told once

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use mio::{Events, Poll, Token, Waker};

use crate::account::Account;
use crate::control::{Command, Progress, Report, Shared};
use crate::gauge::{Gauge, Measured, Totals};
use crate::histogram::{DeliveryLatencies, Latency};
use crate::interval::{Cutter, Deliveries, DeliveryCounts, Note, Stretch};
use crate::link::{BUFFER_BYTES, Link, Reading};
use crate::machine::{NS_PER_SECOND, now_ns};
use crate::plan::{Plan, Role, Seat};
use crate::subscriber::{Company, Ending, Subscriber, Tally};
use crate::witness::Witness;

/// What a loop found out.
#[derive(Debug)]
pub(crate) struct Findings {
    /// The loop's number.
    pub(crate) thread: u32,
    /// What was seen.
    pub(crate) witness: Witness,
    /// What each subscriber received.
    pub(crate) accounts: Vec<(Seat, Account)>,
    /// What was measured.
    pub(crate) latencies: DeliveryLatencies,
    /// What was counted.
    pub(crate) tally: Tally,
    /// The measured part, if it was reached.
    pub(crate) measured: Option<Measured>,
    /// The time until all were connected, where that is what is measured.
    pub(crate) connecting: Option<Measured>,
    /// Connections that the server ended.
    pub(crate) closed: u64,
    /// Subscribers that were cut off on purpose and resumed.
    pub(crate) churned: u64,
    /// Subscribers that left on purpose and came back as strangers.
    pub(crate) replaced: u64,
    /// Subscribers that the storm cut off.
    pub(crate) stormed: u64,
    /// Connections that failed, by reason, where that is what is counted.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// Subscribers that were given up, and why.
    pub(crate) abandoned: Vec<String>,
    /// Subscribers that were open at the end.
    pub(crate) open: u64,
}

impl Findings {
    /// The parts of the run by which a loop is judged.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Measured> + Clone + use<> {
        let connecting = self.connecting.filter(|part| CONNECTING_NS_MIN <= part.wall_ns);
        connecting.into_iter().chain(self.measured)
    }
}

/// A moment of connecting tells nothing of the processor.
const CONNECTING_NS_MIN: u64 = 100_000_000;

/// A running loop.
#[derive(Debug)]
pub(crate) struct Handle {
    /// Where it stands.
    pub(crate) progress: Arc<Progress>,
    commands: Sender<Command>,
    waker: Arc<Waker>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Sends a command and wakes the loop. A loop that has ended already does not mind.
    pub(crate) fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            // A wake-up that fails only delays the command to the end of the sleep, which is bounded.
            let _ = self.waker.wake();
        }
    }

    /// Waits for the end of the thread.
    pub(crate) fn join(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Starts the loop number `thread` of the run `run`.
///
/// # Errors
/// The system has no descriptor or thread left.
pub(crate) fn spawn(
    plan: &Arc<Plan>,
    thread: u32,
    run: u64,
    shared: &Arc<Shared>,
    reports: Sender<Report>,
) -> io::Result<Handle> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let (commands, inbox) = crossbeam_channel::bounded(COMMANDS_MAX);
    let progress = Arc::new(Progress::default());
    let (plan, shared, shown) = (Arc::clone(plan), Arc::clone(shared), Arc::clone(&progress));
    let body = move || {
        let worker = Worker::new(
            plan,
            thread,
            run,
            Wiring { shared, progress: shown, poll, inbox, reports: reports.clone() },
        );
        let findings = worker.run();
        // Nobody listens any more only if the run has ended early.
        let _ = reports.send(Report::Done(Box::new(findings)));
    };
    let thread = std::thread::Builder::new().name(format!("subscribers-{thread}")).spawn(body)?;
    Ok(Handle { progress, commands, waker, thread })
}

/// What ties a loop to the rest of the run.
struct Wiring {
    shared: Arc<Shared>,
    progress: Arc<Progress>,
    poll: Poll,
    inbox: Receiver<Command>,
    reports: Sender<Report>,
}

struct Worker {
    thread: u32,
    shared: Arc<Shared>,
    progress: Arc<Progress>,
    poll: Poll,
    inbox: Receiver<Command>,
    reports: Sender<Report>,
    company: Company,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    /// Subscribers that have not connected yet.
    waiting: VecDeque<usize>,
    first_connect_ns: u64,
    connects_begun: u64,
    /// Connects per second of this loop.
    connect_rate: f64,
    /// Subscribers that reconnect, by time.
    retries: BinaryHeap<Reverse<(u64, usize)>>,
    handshaking: usize,
    open: u64,
    /// Whether [`Report::Connected`] was sent.
    connected: bool,
    /// Connections that have more to read than one turn gave them.
    unfinished: VecDeque<usize>,
    /// Those who are cut off and resume, and those who leave and come back as strangers.
    churns: [Churn; 2],
    /// When the storm comes, after the start of the measured part, until it has come.
    storm_after_ns: Option<u64>,
    /// When slow subscribers read again, if they read at all.
    next_trickle_ns: u64,
    stage: Stage,
    gauge: Gauge,
    /// Of the time until all are connected, where that is what is measured.
    connecting: Gauge,
    /// What was measured in intervals that are over; the company has the rest.
    latencies: DeliveryLatencies,
    /// What was counted in intervals that are over.
    handed_over: DeliveryCounts,
    /// Ends intervals, once events may come.
    cutter: Option<Cutter>,
    bytes: u64,
    closed: u64,
    storm_cuts: u64,
    /// Connections that failed where that is what is counted, and why.
    refused: u64,
    refusals: BTreeMap<String, u64>,
    abandoned: Vec<String>,
    next_timeout_check_ns: u64,
}

struct Connection {
    subscriber: Subscriber,
    link: Option<Link>,
    /// Connects since the last one that opened.
    attempts: u32,
    abandoned: bool,
    /// Whether it is in the list of those that have more to read.
    unfinished: bool,
}

/// Cutting subscribers off one by one.
#[derive(Default)]
struct Churn {
    /// Whether they come back without a cursor.
    as_strangers: bool,
    /// Cuts per second of this loop.
    rate: f64,
    began_ns: u64,
    cuts: u64,
    next: usize,
}

enum Stage {
    Connecting,
    Publishing,
    Draining { last: Arc<[u64]>, next_check_ns: u64, reported: bool },
}

impl Worker {
    fn new(plan: Arc<Plan>, thread: u32, run: u64, wiring: Wiring) -> Worker {
        let Wiring { shared, progress, poll, inbox, reports } = wiring;
        let offset_ns = shared.offset_ns;
        let seats = plan.seats.iter().filter(|seat| seat.thread == thread);
        let connections: Vec<_> = seats.map(|seat| Connection::new(*seat)).collect();
        let plan_samples = plan.patience_ns.is_some();
        // Where connecting is what is measured, that begins here.
        let mut connecting = Gauge::default();
        let mut cutter = None;
        if plan.role == Role::Connect {
            connecting.open(now_ns(), Totals::default());
            cutter = Some(Cutter::new(shared.grid(shared.begun_ns), now_ns()));
        }
        let part = connections.len() as f64 / plan.seats.len().max(1) as f64;
        Worker {
            thread,
            shared,
            progress,
            poll,
            inbox,
            reports,
            buffer: vec![0; BUFFER_BYTES],
            waiting: (0..connections.len()).collect(),
            first_connect_ns: now_ns(),
            connects_begun: 0,
            connect_rate: plan.connect_rate * part,
            retries: BinaryHeap::new(),
            handshaking: 0,
            open: 0,
            connected: false,
            unfinished: VecDeque::new(),
            churns: [
                Churn { rate: plan.churn_rate * part, ..Churn::default() },
                Churn { rate: plan.turnover_rate * part, as_strangers: true, ..Churn::default() },
            ],
            storm_after_ns: plan.storm_after_ns,
            next_trickle_ns: 0,
            stage: Stage::Connecting,
            gauge: Gauge::default(),
            connecting,
            latencies: DeliveryLatencies::new(),
            handed_over: DeliveryCounts::default(),
            cutter,
            bytes: 0,
            closed: 0,
            storm_cuts: 0,
            refused: 0,
            refusals: BTreeMap::new(),
            abandoned: Vec::new(),
            next_timeout_check_ns: 0,
            connections,
            company: Company {
                witness: Witness::new(run, &plan.channels),
                scratch: Vec::new(),
                plan,
                latencies: DeliveryLatencies::new(),
                sample: plan_samples.then(Latency::new),
                tally: Tally::default(),
                epoch: None,
                publishing: false,
                measured_from_ns: u64::MAX,
                offset_ns,
            },
        }
    }

    fn run(mut self) -> Findings {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        loop {
            let timeout = self.sleep_time(now_ns());
            if let Err(error) = self.poll.poll(&mut events, Some(timeout))
                && error.kind() != ErrorKind::Interrupted
            {
                self.say(Report::Failed(format!("polling failed: {error}")));
                break;
            }
            let turn_ns = now_ns();
            self.begin_turn(turn_ns);
            if !self.control(turn_ns) {
                break;
            }
            self.connect(turn_ns);
            self.input(&events);
            self.cut(turn_ns);
            self.storm(turn_ns);
            self.trickle(turn_ns);
            self.check_timeouts(turn_ns);
            self.check_drained(turn_ns);
            self.measure(turn_ns);
        }
        self.finish()
    }

    /// How long nothing is to be done unless a socket says so.
    fn sleep_time(&self, now_ns: u64) -> Duration {
        if !self.unfinished.is_empty() {
            return Duration::ZERO;
        }
        let mut due_ns = now_ns + SLEEP_NS_MAX;
        if !self.waiting.is_empty() && self.handshaking < HANDSHAKES_MAX {
            due_ns = due_ns.min(self.connect_due_ns());
        }
        // What is due and could not be done waits for others to finish, so it is no reason to stay awake.
        let soonest_ns = now_ns + BLOCKED_NS;
        if let Some(Reverse((retry_ns, _))) = self.retries.peek() {
            due_ns = due_ns.min(soonest_ns.max(*retry_ns));
        }
        if matches!(self.stage, Stage::Publishing) {
            for churn in self.churns.iter().filter(|churn| 0.0 < churn.rate) {
                due_ns = due_ns.min(soonest_ns.max(churn.due_ns()));
            }
            if let Some(storm_ns) = self.storm_ns() {
                due_ns = due_ns.min(storm_ns);
            }
        }
        if self.company.plan.slow_bytes_per_s.is_some() && self.holds_back() {
            due_ns = due_ns.min(self.next_trickle_ns);
        }
        if let Stage::Draining { next_check_ns, reported: false, .. } = self.stage {
            due_ns = due_ns.min(next_check_ns);
        }
        if self.gauge.is_open() {
            due_ns = due_ns.min(self.shared.measured_to_ns.load(Ordering::Relaxed));
        } else if !self.gauge.has_begun() {
            due_ns = due_ns.min(self.company.measured_from_ns);
        }
        Duration::from_nanos(due_ns.saturating_sub(now_ns))
    }

    /// Takes the run's commands; `false` ends the loop.
    fn control(&mut self, now_ns: u64) -> bool {
        while let Ok(command) = self.inbox.try_recv() {
            match command {
                Command::Begin { measured_from_ns, .. } => {
                    self.company.publishing = true;
                    self.company.measured_from_ns = measured_from_ns;
                    self.churns.iter_mut().for_each(|churn| churn.began_ns = now_ns);
                    let grid = self.shared.grid(measured_from_ns);
                    self.cutter.get_or_insert_with(|| Cutter::new(grid, now_ns));
                    self.stage = Stage::Publishing;
                }
                Command::Sample => {
                    let sample = self.company.sample.replace(Latency::new());
                    self.say(Report::Sampled(Box::new(sample.unwrap_or_else(Latency::new))));
                }
                Command::Drain(last) => {
                    self.end_measuring(now_ns);
                    self.stage = Stage::Draining { last, next_check_ns: now_ns, reported: false };
                }
                Command::Stop => {
                    self.end_connecting();
                    self.end_measuring(now_ns);
                    return false;
                }
            }
        }
        true
    }

    /// Begins the connections that are due.
    fn connect(&mut self, now_ns: u64) {
        while self.handshaking < HANDSHAKES_MAX && self.connect_due_ns() <= now_ns {
            let Some(index) = self.waiting.pop_front() else { break };
            let due_ns = self.connect_due_ns();
            self.connects_begun += 1;
            self.begin_connection(index, now_ns);
            // A storm of connects is an open loop too: who has to wait for his turn has been waiting since he was due.
            if self.company.plan.role == Role::Connect {
                self.connections[index].subscriber.count_from(due_ns);
            }
        }
        while self.handshaking < HANDSHAKES_MAX {
            match self.retries.peek() {
                Some(Reverse((due_ns, _))) if *due_ns <= now_ns => {}
                _ => break,
            }
            let Some(Reverse((_, index))) = self.retries.pop() else { break };
            self.begin_connection(index, now_ns);
        }
        if !self.connected && self.open + self.refused == self.connections.len() as u64 {
            self.connected = true;
            self.end_connecting();
            self.say(Report::Connected);
        }
    }

    fn connect_due_ns(&self) -> u64 {
        self.first_connect_ns + (self.connects_begun as f64 / self.connect_rate * NS_PER_SECOND as f64) as u64
    }

    fn begin_connection(&mut self, index: usize, now_ns: u64) {
        let connection = &mut self.connections[index];
        connection.attempts += 1;
        let seat = *connection.subscriber.seat();
        match Link::to(&self.company.plan.target, seat.source, self.poll.registry(), Token(index)) {
            Ok(link) => {
                connection.subscriber.start(now_ns, &self.company);
                connection.link = Some(link);
                self.handshaking += 1;
            }
            Err(error) => self.retry_or_abandon(index, &format!("cannot connect: {error}"), now_ns),
        }
    }

    fn input(&mut self, events: &Events) {
        for _ in 0..self.unfinished.len().min(EVENTS_PER_TURN) {
            if let Some(index) = self.unfinished.pop_front() {
                self.connections[index].unfinished = false;
                self.serve(index, false, true);
            }
        }
        for event in events {
            if event.token() != WAKER {
                let ended = event.is_read_closed() || event.is_error();
                self.serve(event.token().0, event.is_writable(), ended);
            }
        }
    }

    /// Writes and reads what can be written and read. `to_the_end` asks to read until nothing is left even where
    /// a short read says that there is nothing, since the end of a stream may stand behind it.
    fn serve(&mut self, index: usize, writable: bool, to_the_end: bool) {
        let subscriber = &self.connections[index].subscriber;
        if subscriber.seat().slow && subscriber.is_open() && self.holds_back() {
            return;
        }
        self.serve_some(index, writable, to_the_end, usize::MAX);
    }

    /// The same for anybody, reading at most `most` bytes.
    fn serve_some(&mut self, index: usize, writable: bool, to_the_end: bool, most: usize) {
        let connection = &mut self.connections[index];
        if connection.link.is_none() {
            return;
        }
        let was_open = connection.subscriber.is_open();
        let was_handshaking = connection.subscriber.handshake_since_ns().is_some();
        let mut result = if writable { connection.flush() } else { Ok(()) };
        if result.is_ok() {
            let read = (most, to_the_end);
            result = match connection.read(&mut self.buffer, &mut self.company, &mut self.bytes, read) {
                Ok(Reading::Drained) => Ok(()),
                // Who reads slowly goes on by the clock.
                Ok(Reading::Unfinished) if most < usize::MAX => Ok(()),
                Ok(Reading::Unfinished) => {
                    if !std::mem::replace(&mut connection.unfinished, true) {
                        self.unfinished.push_back(index);
                    }
                    Ok(())
                }
                Err(failure) => Err(failure),
            };
            if result.is_ok() && !connection.subscriber.outgoing().is_empty() {
                result = connection.flush();
            }
        }
        let is_open = connection.subscriber.is_open();
        if is_open && !was_open {
            connection.attempts = 0;
            self.open += 1;
        }
        if was_handshaking && connection.subscriber.handshake_since_ns().is_none() {
            self.handshaking -= 1;
        }
        if let Err(failure) = result {
            self.closed += u64::from(is_open);
            self.end_connection(index);
            self.react(index, failure);
        }
    }

    /// Whether slow subscribers do not read now.
    fn holds_back(&self) -> bool {
        matches!(self.stage, Stage::Publishing) && self.gauge.is_open()
    }

    /// Closes a connection and puts its counts right; what follows is the caller's.
    fn end_connection(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        self.open -= u64::from(connection.subscriber.is_open());
        self.handshaking -= usize::from(connection.subscriber.handshake_since_ns().is_some());
        connection.link = None;
        connection.subscriber.stop(now_ns());
    }

    fn react(&mut self, index: usize, failure: Failure) {
        match failure {
            Failure::Socket(error) => {
                self.retry_or_abandon(index, &format!("the connection broke: {error}"), now_ns())
            }
            Failure::Ending(Ending::Closed(code)) => {
                let code = code.map_or_else(|| "no code".to_owned(), |code| format!("code {code}"));
                self.retry_or_abandon(
                    index,
                    &format!("the server closed the connection with {code}"),
                    now_ns(),
                );
            }
            Failure::Ending(Ending::Refused(text)) if self.company.plan.role == Role::Connect => {
                self.abandon(index, text);
            }
            Failure::Ending(Ending::Refused(text)) if !self.connected => self.say(Report::Failed(text)),
            Failure::Ending(Ending::Refused(text)) => self.retry_or_abandon(index, &text, now_ns()),
            Failure::Ending(Ending::Broken(text)) => {
                self.abandon(index, format!("the server broke the protocol: {text}"));
            }
        }
    }

    fn retry_or_abandon(&mut self, index: usize, reason: &str, now_ns: u64) {
        let attempts = self.connections[index].attempts;
        if self.company.plan.role == Role::Connect {
            self.abandon(index, reason.to_owned());
        } else if self.connected && attempts < RECONNECTS_MAX {
            self.retries.push(Reverse((now_ns + u64::from(attempts) * RECONNECT_NS, index)));
        } else if attempts < CONNECTS_MAX {
            self.retries.push(Reverse((now_ns + RECONNECT_NS, index)));
        } else {
            self.abandon(index, reason.to_owned());
        }
    }

    fn abandon(&mut self, index: usize, reason: String) {
        let connection = &mut self.connections[index];
        connection.abandoned = true;
        if self.company.plan.role == Role::Connect {
            self.refused += 1;
            let is_new = !self.refusals.contains_key(&reason);
            let is_many = is_new && REFUSALS_MAX <= self.refusals.len();
            let reason = if is_many { "other reasons".to_owned() } else { reason };
            *self.refusals.entry(reason).or_default() += 1;
        } else if !self.connected {
            self.say(Report::Failed(reason));
        } else if self.abandoned.len() < ABANDONED_NOTES_MAX {
            let id = connection.subscriber.seat().id;
            self.abandoned.push(format!("subscriber {id} was given up: {reason}"));
        }
    }

    /// Cuts off the subscribers that are due. Those who resume do so at once over the other transport.
    fn cut(&mut self, now_ns: u64) {
        if !matches!(self.stage, Stage::Publishing) {
            return;
        }
        for place in 0..self.churns.len() {
            let as_strangers = self.churns[place].as_strangers;
            while self.churns[place].is_due(now_ns) && self.handshaking < HANDSHAKES_MAX {
                let (count, next) = (self.connections.len(), self.churns[place].next);
                let mut places = (0..count).map(|step| (next + step) % count);
                let fit = |index: &usize| {
                    let subscriber = &self.connections[*index].subscriber;
                    let can_resume = as_strangers || subscriber.can_resume();
                    subscriber.is_open() && !subscriber.seat().slow && can_resume
                };
                let Some(index) = places.find(fit) else { break };
                let churn = &mut self.churns[place];
                churn.next = (index + 1) % count;
                churn.cuts += 1;
                self.end_connection(index);
                let subscriber = &mut self.connections[index].subscriber;
                subscriber.excuse();
                if as_strangers {
                    subscriber.forget();
                } else {
                    subscriber.change_transport();
                }
                self.begin_connection(index, now_ns);
            }
        }
    }

    /// Cuts off all who are part of the storm; they come back as fast as handshakes may begin.
    fn storm(&mut self, now_ns: u64) {
        if self.storm_ns().is_none_or(|storm_ns| now_ns < storm_ns)
            || !matches!(self.stage, Stage::Publishing)
        {
            return;
        }
        self.storm_after_ns = None;
        for index in 0..self.connections.len() {
            let subscriber = &self.connections[index].subscriber;
            if subscriber.seat().storm && subscriber.is_open() && subscriber.can_resume() {
                self.storm_cuts += 1;
                self.end_connection(index);
                self.connections[index].subscriber.excuse();
                self.retries.push(Reverse((now_ns, index)));
            }
        }
    }

    fn storm_ns(&self) -> Option<u64> {
        Some(self.company.measured_from_ns.saturating_add(self.storm_after_ns?))
    }

    /// Has slow subscribers read as much as their speed allows since the last time.
    fn trickle(&mut self, now_ns: u64) {
        let Some(speed) = self.company.plan.slow_bytes_per_s else { return };
        if !self.holds_back() || now_ns < self.next_trickle_ns {
            return;
        }
        self.next_trickle_ns = now_ns + TRICKLE_NS;
        let bytes = (speed * TRICKLE_NS).div_ceil(NS_PER_SECOND) as usize;
        for index in 0..self.connections.len() {
            let subscriber = &self.connections[index].subscriber;
            if subscriber.seat().slow && subscriber.is_open() {
                self.serve_some(index, false, false, bytes);
            }
        }
    }

    /// Ends handshakes that take too long.
    fn check_timeouts(&mut self, now_ns: u64) {
        if now_ns < self.next_timeout_check_ns || self.handshaking == 0 {
            return;
        }
        self.next_timeout_check_ns = now_ns + TIMEOUT_CHECK_NS;
        for index in 0..self.connections.len() {
            let since_ns = self.connections[index].subscriber.handshake_since_ns();
            if since_ns.is_some_and(|since_ns| since_ns + HANDSHAKE_NS_MAX < now_ns) {
                self.end_connection(index);
                self.retry_or_abandon(index, "the server did not answer for 10 s", now_ns);
            }
        }
    }

    fn check_drained(&mut self, now_ns: u64) {
        let Stage::Draining { last, next_check_ns, reported } = &mut self.stage else { return };
        if *reported || now_ns < *next_check_ns {
            return;
        }
        *next_check_ns = now_ns + DRAIN_CHECK_NS;
        let plan = &self.company.plan;
        let settled = |connection: &Connection| {
            let subscriber = &connection.subscriber;
            let mut channels = plan.channels_of(subscriber.seat());
            let cursor = subscriber.account().cursor();
            // Who has left, and is turned away again and again, has nothing to wait for.
            let is_away = subscriber.account().is_away() && !subscriber.is_open();
            let is_away = is_away && CONNECTS_MAX < connection.attempts;
            connection.abandoned || is_away || channels.all(|channel| last[channel] <= cursor)
        };
        if self.connections.iter().all(settled) {
            *reported = true;
            self.say(Report::Drained);
        }
    }

    /// Shows where the loop stands, and opens and closes the measured part.
    fn measure(&mut self, turn_ns: u64) {
        self.progress.open.store(self.open, Ordering::Relaxed);
        self.progress.refused.store(self.refused, Ordering::Relaxed);
        self.progress.delivered.store(self.company.tally.delivered, Ordering::Relaxed);
        let now_ns = now_ns();
        self.gauge.note_turn(now_ns - turn_ns);
        self.connecting.note_turn(now_ns - turn_ns);
        if self.company.measured_from_ns <= now_ns {
            self.gauge.open(now_ns, self.totals());
        }
        if self.shared.measured_to_ns.load(Ordering::Relaxed) <= now_ns {
            self.end_measuring(now_ns);
        }
        if let Some(cutter) = &mut self.cutter {
            cutter.end_turn(now_ns - turn_ns);
        }
    }

    /// Hands the interval over that is behind, before anything of this turn is recorded.
    fn begin_turn(&mut self, turn_ns: u64) {
        if let Some(stretch) = self.cutter.as_mut().and_then(|cutter| cutter.begin_turn(turn_ns)) {
            self.hand_over(stretch);
        }
    }

    /// Gives the recorder what the interval has brought, and keeps the sum.
    fn hand_over(&mut self, stretch: Stretch) {
        let latencies = std::mem::replace(&mut self.company.latencies, DeliveryLatencies::new());
        self.latencies.merge(&latencies);
        let tally = &self.company.tally;
        let counts = DeliveryCounts {
            events: tally.delivered,
            bytes: self.bytes,
            gaps: tally.gaps,
            closed: self.closed,
        };
        let since = counts.since(std::mem::replace(&mut self.handed_over, counts));
        let (thread, open) = (self.thread, self.open);
        let deliveries = Deliveries { stretch, thread, latencies, counts: since, open };
        self.shared.note(Note::Deliveries(Box::new(deliveries)));
    }

    /// Takes the figures of the time until all were connected, if they are asked for.
    fn end_connecting(&mut self) {
        self.connecting.close(now_ns(), self.totals());
    }

    /// Takes the figures of the measured part and lets slow subscribers read on.
    fn end_measuring(&mut self, now_ns: u64) {
        if !self.gauge.close(now_ns, self.totals()) {
            return;
        }
        for (index, connection) in self.connections.iter_mut().enumerate() {
            if connection.subscriber.seat().slow && !std::mem::replace(&mut connection.unfinished, true) {
                self.unfinished.push_back(index);
            }
        }
    }

    fn totals(&self) -> Totals {
        Totals { events: self.company.tally.delivered, bytes: self.bytes }
    }

    fn finish(mut self) -> Findings {
        match self.cutter.as_mut().map(|cutter| cutter.cut(now_ns())) {
            Some(stretch) => self.hand_over(stretch),
            None => self.latencies.merge(&self.company.latencies),
        }
        self.note_unplaced();
        let accounts = self.connections.into_iter().map(|connection| connection.subscriber.into_account());
        Findings {
            thread: self.thread,
            accounts: accounts.collect(),
            witness: self.company.witness,
            latencies: self.latencies,
            tally: self.company.tally,
            measured: self.gauge.measured(),
            connecting: self.connecting.measured(),
            closed: self.closed,
            churned: self.churns[0].cuts,
            replaced: self.churns[1].cuts,
            stormed: self.storm_cuts,
            refusals: self.refusals,
            abandoned: self.abandoned,
            open: self.open,
        }
    }

    /// Names those of whom nobody can say what they should have had: they came back to a server that numbers nothing, and the
    /// first event that would have told where they stand did not come.
    fn note_unplaced(&mut self) {
        let is_unplaced = |subscriber: &&Subscriber| subscriber.is_open() && subscriber.account().is_away();
        let subscribers = self.connections.iter().map(|connection| &connection.subscriber);
        let room = ABANDONED_NOTES_MAX.saturating_sub(self.abandoned.len());
        let unplaced = subscribers.filter(is_unplaced).filter(|_| self.company.plan.foreign.is_some());
        self.abandoned.extend(unplaced.take(room).map(|subscriber| {
            format!(
                "subscriber {} got nothing once it was back, so that is not verified",
                subscriber.seat().id
            )
        }));
    }

    /// The run listens until every loop is done, so a report that nobody takes is of no use to anyone.
    fn say(&self, report: Report) {
        let _ = self.reports.send(report);
    }
}

impl Connection {
    fn new(seat: Seat) -> Connection {
        Connection {
            subscriber: Subscriber::new(seat),
            link: None,
            attempts: 0,
            abandoned: false,
            unfinished: false,
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        match &mut self.link {
            Some(link) => Ok(link.flush(self.subscriber.outgoing())?),
            None => Ok(()),
        }
    }

    fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        company: &mut Company,
        bytes: &mut u64,
        (most, to_the_end): (usize, bool),
    ) -> Result<Reading, Failure> {
        let Some(link) = &mut self.link else { return Ok(Reading::Drained) };
        link.read_some(buffer, most, to_the_end, |input, new| {
            *bytes += new as u64;
            Ok(self.subscriber.handle_input(input, now_ns(), company)?)
        })
    }
}

impl Churn {
    fn is_due(&self, now_ns: u64) -> bool {
        0.0 < self.rate && self.due_ns() <= now_ns
    }

    fn due_ns(&self) -> u64 {
        self.began_ns + ((self.cuts + 1) as f64 / self.rate * NS_PER_SECOND as f64) as u64
    }
}

/// Why a connection is over.
enum Failure {
    Socket(io::Error),
    Ending(Ending),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Socket(error)
    }
}

impl From<Ending> for Failure {
    fn from(ending: Ending) -> Failure {
        Failure::Ending(ending)
    }
}

const WAKER: Token = Token(usize::MAX);
const COMMANDS_MAX: usize = 8;
/// With a buffer of 256 KiB for each this keeps a turn to some 30 ms, however far behind all subscribers are.
const EVENTS_PER_TURN: usize = 128;
/// Connections under way at once: below what a listener usually queues.
const HANDSHAKES_MAX: usize = 256;
const HANDSHAKE_NS_MAX: u64 = 10 * NS_PER_SECOND;
const TIMEOUT_CHECK_NS: u64 = NS_PER_SECOND / 2;
/// How often a subscriber tries before the run is called off.
const CONNECTS_MAX: u32 = 3;
/// How often a subscriber that was connected tries before it is given up.
const RECONNECTS_MAX: u32 = 20;
const RECONNECT_NS: u64 = NS_PER_SECOND / 20;
const BLOCKED_NS: u64 = NS_PER_SECOND / 1_000;
const DRAIN_CHECK_NS: u64 = NS_PER_SECOND / 50;
/// How often slow subscribers read: often enough for a server to see them as slow and not as still.
const TRICKLE_NS: u64 = NS_PER_SECOND / 10;
const SLEEP_NS_MAX: u64 = NS_PER_SECOND / 10;
const ABANDONED_NOTES_MAX: usize = 20;
/// Reasons may carry what only one connection was told, so there could be as many as connections.
const REFUSALS_MAX: usize = 32;
