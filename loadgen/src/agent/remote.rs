//! The coordinator's side: an agent as the run sees it, a handle to loops that are elsewhere.
//!
//! # Contract       commands go out as they come, with the end of the measured part as soon as it is known; what the loops say
//! comes in as if they were here. An agent that is gone, silent or not to be understood is [`Report::Lost`], once, and ends the run
//! # Bounds         two threads for each agent; every wait has a deadline

use std::io;
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::Lost;
use super::clock::{Clock, Offset};
use super::message::{
    ANSWER_TIME, Answer, Ask, CONNECT_TIME, Greeting, Lines, Order, SILENCE_TIME, STILL_TIME, TICK, Trouble,
    say,
};
use super::parcel::{self, Gathering, Told};
use crate::control::{Command, Progress, Report, Shared};
use crate::environment::Environment;
use crate::interval::Note;
use crate::machine::now_ns;
use crate::plan::{Plan, Role};
use crate::report::agents::AgentFigures;
use crate::worker::Findings;

/// An agent at work.
#[derive(Debug)]
pub(crate) struct Handle {
    /// Where its loops stand together.
    pub(crate) progress: Arc<Progress>,
    commands: Sender<Command>,
    stream: TcpStream,
    threads: [JoinHandle<()>; 2],
}

impl Handle {
    /// Sends a command. One that is lost does not mind.
    pub(crate) fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Hangs up, whether the run is over or not, and waits for the end of the threads.
    pub(crate) fn join(self) {
        drop(self.commands);
        // It may have hung up itself.
        let _ = self.stream.shutdown(Shutdown::Both);
        for thread in self.threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// An agent that has taken its order, and whose clock is known.
#[derive(Debug)]
pub(crate) struct Ready {
    place: u32,
    address: String,
    lines: Lines,
    stream: TcpStream,
    is_same_clock: bool,
    begin: Offset,
    environment: Environment,
}

/// Gives all agents of the plan their orders, and looks at their clocks.
///
/// # Errors
/// [`Lost`], if one cannot be reached, is another version, or cannot do it; or `stop` was set meanwhile.
pub(crate) fn summon(plan: &Plan, run: u64, stop: &AtomicBool) -> anyhow::Result<Vec<Ready>> {
    let ready = std::thread::scope(|scope| {
        let summoned: Vec<_> = (0..)
            .zip(&plan.agents)
            .map(|(place, address)| scope.spawn(move || Ready::summon(plan, run, place, address, stop)))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        summoned.into_iter().map(join).collect::<Vec<Result<Ready, String>>>()
    });
    let named = |(address, ready): (&String, Result<Ready, String>)| {
        ready.map_err(|reason| anyhow::Error::new(lost(address, &reason)))
    };
    plan.agents.iter().zip(ready).map(named).collect()
}

impl Ready {
    fn summon(plan: &Plan, run: u64, place: u32, address: &str, stop: &AtomicBool) -> Result<Ready, String> {
        let broke = |error: io::Error| format!("the connection broke: {error}");
        let stream = connect(address).map_err(|error| format!("it cannot be reached: {error}"))?;
        let mut lines = Lines::new(stream.try_clone().map_err(broke)?).map_err(broke)?;
        let own = Greeting::own();
        say(&stream, &Ask::Hello(own.clone())).map_err(broke)?;
        let greeting = match hear(&mut lines, ANSWER_TIME, stop)? {
            Answer::Hello(greeting) => greeting,
            other => return Err(unexpected(&other)),
        };
        own.check(&greeting)?;
        let order = Order { role: plan.role, run, place, wording: plan.wording.clone() };
        say(&stream, &Ask::Order(order)).map_err(broke)?;
        let environment = match hear(&mut lines, SILENCE_TIME, stop)? {
            Answer::Ready(environment) => *environment,
            other => return Err(unexpected(&other)),
        };
        let begin = look_at_clock(&stream, &mut lines, stop)?;
        // A system that does not name its clock has one that nobody else is known to read.
        let is_same_clock = !own.clock.is_empty() && own.clock == greeting.clock;
        let address = address.to_owned();
        Ok(Ready { place, address, lines, stream, is_same_clock, begin, environment })
    }

    /// Has its loops start, which connect at once.
    ///
    /// # Errors
    /// There is no thread left.
    pub(crate) fn go(
        self,
        plan: &Arc<Plan>,
        shared: &Arc<Shared>,
        reports: Sender<Report>,
    ) -> io::Result<Handle> {
        let offset_ns = Clock::used_ns(self.is_same_clock, self.begin);
        let (commands, inbox) = crossbeam_channel::unbounded();
        let progress = Arc::new(Progress::default());
        // Where connecting is what is measured, that begins at once.
        let is_measuring = plan.role == Role::Connect;
        let counts_from_ns = if is_measuring { shared.begun_ns } else { UNKNOWN_NS };
        let counts_from_ns = Arc::new(AtomicU64::new(counts_from_ns));
        let (speaker, stream) = (self.stream.try_clone()?, self.stream.try_clone()?);
        let mouth = Speaker {
            stream: speaker,
            shared: Arc::clone(shared),
            counts_from_ns: Arc::clone(&counts_from_ns),
            spoken: Instant::now(),
        };
        let ear = Listener {
            gathering: Gathering::new(plan, self.place, offset_ns, now_ns()),
            ready: self,
            plan: Arc::clone(plan),
            shared: Arc::clone(shared),
            progress: Arc::clone(&progress),
            counts_from_ns,
            reports,
            findings: Vec::new(),
        };
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let listener = thread("agent-listener").spawn(move || ear.listen())?;
        let speaker = thread("agent-speaker").spawn(move || mouth.speak(offset_ns, &inbox))?;
        Ok(Handle { progress, commands, stream, threads: [listener, speaker] })
    }
}

/// Says what the run commands.
struct Speaker {
    stream: TcpStream,
    shared: Arc<Shared>,
    counts_from_ns: Arc<AtomicU64>,
    spoken: Instant,
}

impl Speaker {
    /// Until the run has ended, or nobody listens any more: then the listener knows why.
    fn speak(mut self, offset_ns: i64, commands: &Receiver<Command>) {
        let mut to_ns = UNKNOWN_NS;
        let mut result = self.say(&Ask::Go { offset_ns, begun_ns: self.shared.begun_ns });
        while result.is_ok() {
            result = match commands.recv_timeout(TICK) {
                Ok(command) => self.say(&self.ask(command)),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let measured_to_ns = self.shared.measured_to_ns.load(Ordering::Relaxed);
            if result.is_ok() && measured_to_ns != to_ns {
                to_ns = measured_to_ns;
                result = self.say(&Ask::Until(to_ns));
            }
            if result.is_ok() && STILL_TIME <= self.spoken.elapsed() {
                result = self.say(&Ask::Still);
            }
        }
    }

    fn ask(&self, command: Command) -> Ask {
        match command {
            Command::Begin { start_ns, measured_from_ns } => {
                // Before it is said: the listener needs it for what comes of it.
                if self.counts_from_ns.load(Ordering::Relaxed) == UNKNOWN_NS {
                    self.counts_from_ns.store(measured_from_ns, Ordering::Release);
                }
                Ask::Begin { start_ns, measured_from_ns }
            }
            Command::Sample => Ask::Sample,
            Command::Drain(last) => Ask::Drain(last.to_vec()),
            Command::Stop => Ask::Stop,
        }
    }

    fn say(&mut self, ask: &Ask) -> io::Result<()> {
        self.spoken = Instant::now();
        say(&self.stream, ask)
    }
}

/// Hears what the agent's loops say.
struct Listener {
    ready: Ready,
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    progress: Arc<Progress>,
    /// Where intervals are counted from, once that is known.
    counts_from_ns: Arc<AtomicU64>,
    reports: Sender<Report>,
    gathering: Gathering,
    findings: Vec<Findings>,
}

impl Listener {
    fn listen(mut self) {
        let last = match self.hear_all() {
            Ok(Some(reason)) => Report::Failed(format!("agent {}: {reason}", self.ready.address)),
            Ok(None) => return,
            Err(reason) => Report::Lost(lost(&self.ready.address, &reason)),
        };
        // Nobody hears it only if the run has ended early.
        let _ = self.reports.send(last);
    }

    /// Until the agent has told everything. Returns why the run cannot go on, if that is not the agent's doing.
    fn hear_all(&mut self) -> Result<Option<String>, String> {
        let never = AtomicBool::new(false);
        let strange = |reason: String| format!("it told {reason}");
        loop {
            match hear(&mut self.ready.lines, SILENCE_TIME, &never)? {
                Answer::Progress { open, refused, delivered } => {
                    self.progress.open.store(open.min(COUNT_MAX), Ordering::Relaxed);
                    self.progress.refused.store(refused.min(COUNT_MAX), Ordering::Relaxed);
                    self.progress.delivered.store(delivered.min(COUNT_MAX), Ordering::Relaxed);
                }
                Answer::Connected => self.report(Report::Connected),
                Answer::Drained => self.report(Report::Drained),
                Answer::Sampled(text) => {
                    let sample = parcel::decode(&text).map_err(strange)?;
                    self.report(Report::Sampled(Box::new(sample)));
                }
                Answer::Delivered(one) => {
                    let from_ns = self.counts_from_ns.load(Ordering::Acquire);
                    if from_ns == UNKNOWN_NS {
                        return Err("it told deliveries before the beginning".to_owned());
                    }
                    let interval_ns = self.shared.interval_ns;
                    let one =
                        self.gathering.deliveries(&one, from_ns, interval_ns, now_ns()).map_err(strange)?;
                    self.shared.note(Note::Deliveries(Box::new(one)));
                }
                Answer::Seen { thread, events } => self.gathering.seen(thread, events).map_err(strange)?,
                Answer::Accounts { thread, accounts } => {
                    self.gathering.accounts(thread, accounts).map_err(strange)?;
                }
                Answer::Ended(ended) => self.findings.push(self.gathering.ended(*ended).map_err(strange)?),
                Answer::Told(told) if self.gathering.is_complete() => return self.end(told).map(|()| None),
                Answer::Failed(reason) => return Ok(Some(reason)),
                Answer::GivenUp(reason) => return Err(reason),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Looks at the clock once more, lets the agent go, and hands everything over.
    fn end(&mut self, told: Told) -> Result<(), String> {
        let Ready { lines, stream, .. } = &mut self.ready;
        let end = look_at_clock(stream, lines, &AtomicBool::new(false))?;
        // It may have hung up itself. Once it has, it is free for the next run.
        let _ = stream.shutdown(Shutdown::Write);
        let begun = Instant::now();
        while lines.next::<Answer>().is_ok() && begun.elapsed() < ANSWER_TIME {}
        self.shared.left_out.fetch_add(told.left_out.min(COUNT_MAX), Ordering::Relaxed);
        let clock = Clock::new(self.ready.is_same_clock, self.ready.begin, end);
        let figures = AgentFigures::new(
            self.ready.address.clone(),
            self.plan.connections_of(Some(self.ready.place)),
            &self.findings,
            told.resident_bytes,
            clock,
            self.ready.environment.clone(),
        );
        self.report(Report::Left(self.ready.place, Box::new(figures)));
        for findings in std::mem::take(&mut self.findings) {
            self.report(Report::Done(Box::new(findings)));
        }
        Ok(())
    }

    /// Nobody hears it only if the run has ended early.
    fn report(&self, report: Report) {
        let _ = self.reports.send(report);
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::other("it is no host and port");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIME) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The next thing an agent says.
fn hear(lines: &mut Lines, patience: Duration, stop: &AtomicBool) -> Result<Answer, String> {
    let begun = Instant::now();
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err("the run was interrupted".to_owned());
        }
        match lines.next() {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) if begun.elapsed() < patience => {}
            Ok(None) => return Err(Trouble::Silent(patience).to_string()),
            Err(trouble) => return Err(trouble.to_string()),
        }
    }
}

/// The offset of an agent's clock: of some dozens of exchanges the best.
fn look_at_clock(stream: &TcpStream, lines: &mut Lines, stop: &AtomicBool) -> Result<Offset, String> {
    let mut best: Option<Offset> = None;
    for _ in 0..EXCHANGES {
        let asked_ns = now_ns();
        say(stream, &Ask::Clock).map_err(|error| format!("the connection broke: {error}"))?;
        let agent_ns = match hear(lines, ANSWER_TIME, stop)? {
            Answer::Clock(agent_ns) => agent_ns,
            other => return Err(unexpected(&other)),
        };
        let offset = Offset::of(asked_ns, agent_ns, now_ns());
        best = Some(best.map_or(offset, |best| best.better(offset)));
    }
    best.ok_or_else(|| "its clock was not looked at".to_owned())
}

fn unexpected(answer: &Answer) -> String {
    match answer {
        Answer::Refused(reason) => format!("it refuses: {reason}"),
        Answer::GivenUp(reason) => reason.clone(),
        other => {
            let text = format!("{other:?}");
            let end = text.char_indices().nth(EXCERPT_CHARACTERS).map_or(text.len(), |(end, _)| end);
            format!("it said what was not asked for: {}", &text[..end])
        }
    }
}

fn lost(address: &str, reason: &str) -> Lost {
    Lost(format!("agent {address}: {reason}"))
}

/// Enough that one of them is not held up by anything, in a few milliseconds on a near network.
const EXCHANGES: u32 = 50;
/// No time of a run.
const UNKNOWN_NS: u64 = u64::MAX;
const COUNT_MAX: u64 = 1 << 48;
const EXCERPT_CHARACTERS: usize = 100;
