//! An agent's side of one run.
//!
//! # Contract       the thread that hears answers the question for the clock at once; the one that tells hands on what the loops
//! say. Whatever goes wrong ends the loops, and the coordinator hears why if it can
//! # Bounds         a coordinator that says nothing for [`SILENCE_TIME`], or not what comes next within [`ANSWER_TIME`], is gone

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::message::{ANSWER_TIME, Answer, Ask, Greeting, Lines, Order, SILENCE_TIME, TICK, Trouble, say};
use super::parcel::{self, Delivered, Told};
use crate::control::{Command, NOTES_EACH, Progress, Report, Shared};
use crate::environment::Environment;
use crate::interval::Note;
use crate::machine::{self, now_ns};
use crate::plan::Plan;
use crate::run::check_descriptors;
use crate::worker;

/// How a coordinator's visit has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There was no run.
    Nothing,
    /// The coordinator knows everything.
    Told,
    /// There was a run, and it came to nothing.
    Failed,
}

/// Serves one coordinator; `stop` ends it early. Sets `is_leaving` when all is done but to hang up.
pub(super) fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    stop: &Arc<AtomicBool>,
    is_leaving: &AtomicBool,
) -> Outcome {
    let (outcome, reason) = match Session::new(stream, stop) {
        Ok(mut session) => {
            let served = session.serve(peer);
            // Before the connection is closed: who sees that can be served next.
            is_leaving.store(true, Ordering::Release);
            served
        }
        Err(error) => (Outcome::Nothing, Some(format!("the connection broke: {error}"))),
    };
    match (outcome, reason) {
        (Outcome::Told, _) => eprintln!("loadgen agent: the run for {peer} is over"),
        (_, Some(reason)) => eprintln!("loadgen agent: {peer} is given up: {reason}"),
        (_, None) => {}
    }
    outcome
}

struct Session {
    lines: Lines,
    mouth: Arc<Mouth>,
    stop: Arc<AtomicBool>,
}

/// What both threads speak through.
struct Mouth(Mutex<TcpStream>);

impl Mouth {
    fn say(&self, answer: &Answer) -> Result<(), String> {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        say(&stream, answer).map_err(|error| format!("it cannot be told: {error}"))
    }
}

impl Session {
    fn new(stream: TcpStream, stop: &Arc<AtomicBool>) -> std::io::Result<Session> {
        stream.set_nonblocking(false)?;
        let mouth = Arc::new(Mouth(Mutex::new(stream.try_clone()?)));
        Ok(Session { lines: Lines::new(stream)?, mouth, stop: Arc::clone(stop) })
    }

    fn serve(&mut self, peer: SocketAddr) -> (Outcome, Option<String>) {
        let (order, plan) = match self.prepare() {
            Ok(prepared) => prepared,
            Err(reason) => {
                // What was asked for cannot be; a peer that is gone does not hear so.
                let _ = self.mouth.say(&Answer::Refused(reason.clone()));
                return (Outcome::Nothing, Some(reason));
            }
        };
        let connections = plan.connections_of(Some(order.place));
        eprintln!(
            "loadgen agent: a run for {peer}: {connections} of {} subscribers of {}",
            plan.seats.len(),
            plan.target.authority
        );
        let result = self.measure(&order, &plan);
        if let Err(reason) = &result {
            let _ = self.mouth.say(&Answer::GivenUp(reason.clone()));
        }
        match result {
            Ok(()) => (Outcome::Told, None),
            Err(reason) => (Outcome::Failed, Some(reason)),
        }
    }

    /// Up to where the plan is known to be possible.
    fn prepare(&mut self) -> Result<(Order, Arc<Plan>), String> {
        let own = Greeting::own();
        let Ask::Hello(greeting) = self.hear(ANSWER_TIME)? else {
            return Err("it did not introduce itself".to_owned());
        };
        // Both check, so that each can say which versions these are.
        self.mouth.say(&Answer::Hello(own.clone()))?;
        own.check(&greeting)?;
        let Ask::Order(mut order) = self.hear(ANSWER_TIME)? else {
            return Err("it did not say what to do".to_owned());
        };
        let plan = std::mem::take(&mut order.wording).plan(order.role)?;
        if plan.agents.len() <= order.place as usize {
            return Err(format!("there is no place {} among {} agents", order.place, plan.agents.len()));
        }
        check_descriptors(&plan, Some(order.place)).map_err(|error| format!("{error:#}"))?;
        self.mouth.say(&Answer::Ready(Box::new(Environment::look())))?;
        Ok((order, Arc::new(plan)))
    }

    /// From the first look at the clock to the last.
    fn measure(&mut self, order: &Order, plan: &Arc<Plan>) -> Result<(), String> {
        let (offset_ns, begun_ns) = loop {
            match self.hear(ANSWER_TIME)? {
                Ask::Clock => self.tell_clock()?,
                Ask::Go { offset_ns, begun_ns } => break (offset_ns, begun_ns),
                _ => return Err(OUT_OF_TURN.to_owned()),
            }
        };
        let loops = plan.loops_of(order.place);
        let (notes, told) = crossbeam_channel::bounded(NOTES_EACH * loops.len());
        let (sender, reports) = crossbeam_channel::unbounded();
        let shared = Arc::new(Shared::of_agent(plan.outputs.interval.ns, offset_ns, begun_ns, notes));
        let loops = loops
            .map(|thread| Ok((thread, worker::spawn(plan, thread, order.run, &shared, sender.clone())?)))
            .collect::<std::io::Result<Vec<(u32, worker::Handle)>>>()
            .map_err(|error| format!("the loops cannot start: {error}"))?;
        drop(sender);
        let ended = Arc::new(AtomicBool::new(false));
        let teller = Teller {
            mouth: Arc::clone(&self.mouth),
            reports,
            notes: told,
            shared: Arc::clone(&shared),
            loops: loops.iter().map(|(thread, handle)| (*thread, Arc::clone(&handle.progress))).collect(),
            ended: Arc::clone(&ended),
        };
        let teller = teller.spawn().map_err(|error| format!("no thread to tell by: {error}"));
        let handles: Vec<worker::Handle> = loops.into_iter().map(|(_, handle)| handle).collect();
        let result = teller.and_then(|teller| {
            let result = self.obey(plan, offset_ns, &shared, &handles, &ended);
            // Loops that were not told to stop yet end now, which is what the teller waits for.
            handles.iter().for_each(|handle| handle.send(Command::Stop));
            let told = teller.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result.and(told)
        });
        handles.iter().for_each(|handle| handle.send(Command::Stop));
        handles.into_iter().for_each(worker::Handle::join);
        result
    }

    /// Does what it is asked until the coordinator hangs up, which is well once it knows everything.
    fn obey(
        &mut self,
        plan: &Plan,
        offset_ns: i64,
        shared: &Shared,
        loops: &[worker::Handle],
        ended: &AtomicBool,
    ) -> Result<(), String> {
        let here_ns = |there_ns: u64| there_ns.saturating_add_signed(offset_ns);
        let send = |command: Command| loops.iter().for_each(|handle| handle.send(command.clone()));
        loop {
            let ask = match self.hear(SILENCE_TIME) {
                Err(_) if ended.load(Ordering::Acquire) => return Ok(()),
                heard => heard?,
            };
            match ask {
                Ask::Clock => self.tell_clock()?,
                Ask::Begin { start_ns, measured_from_ns } => {
                    let (start_ns, now_ns) = (here_ns(start_ns), now_ns());
                    if !plan.hold && start_ns < now_ns {
                        let late = Duration::from_nanos(now_ns - start_ns).as_millis();
                        return Err(format!("the beginning was told {late} ms after it"));
                    }
                    send(Command::Begin { start_ns, measured_from_ns: here_ns(measured_from_ns) });
                }
                Ask::Until(to_ns) => shared.measured_to_ns.store(here_ns(to_ns), Ordering::Relaxed),
                Ask::Sample => send(Command::Sample),
                Ask::Drain(last) if last.len() == plan.channels.len() => send(Command::Drain(last.into())),
                Ask::Stop => send(Command::Stop),
                Ask::Still => {}
                _ => return Err(OUT_OF_TURN.to_owned()),
            }
        }
    }

    fn tell_clock(&self) -> Result<(), String> {
        self.mouth.say(&Answer::Clock(now_ns()))
    }

    /// The next thing it says.
    fn hear(&mut self, patience: Duration) -> Result<Ask, String> {
        let begun = Instant::now();
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err("the agent was interrupted".to_owned());
            }
            match self.lines.next() {
                Ok(Some(ask)) => return Ok(ask),
                Ok(None) if begun.elapsed() < patience => {}
                Ok(None) => return Err(Trouble::Silent(patience).to_string()),
                Err(trouble) => return Err(trouble.to_string()),
            }
        }
    }
}

/// Hands on what the loops say.
struct Teller {
    mouth: Arc<Mouth>,
    reports: Receiver<Report>,
    notes: Receiver<Note>,
    shared: Arc<Shared>,
    loops: Vec<(u32, Arc<Progress>)>,
    /// Set when the coordinator has been told everything. Release: it has been sent before.
    ended: Arc<AtomicBool>,
}

impl Teller {
    fn spawn(self) -> std::io::Result<JoinHandle<Result<(), String>>> {
        std::thread::Builder::new().name("teller".to_owned()).spawn(move || self.tell())
    }

    /// Until all loops have ended, or something cannot be told any more.
    fn tell(self) -> Result<(), String> {
        let mut resident_bytes = None;
        let mut connected = 0;
        // Loops end in any order, and say so without their number: that stands in what they found.
        let mut left = self.loops.len();
        while 0 < left {
            let report = match self.reports.recv_timeout(TICK) {
                Ok(report) => Some(report),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Err("a loop ended without a word".to_owned()),
            };
            // What a loop has handed over before it said something is on its way already.
            while let Ok(note) = self.notes.try_recv() {
                if let Note::Deliveries(one) = note {
                    self.mouth.say(&Answer::Delivered(Box::new(Delivered::new(&one))))?;
                }
            }
            match report {
                None => self.tell_progress()?,
                Some(Report::Connected) => {
                    connected += 1;
                    if connected == self.loops.len() {
                        resident_bytes = machine::resident_bytes();
                    }
                    self.tell_progress()?;
                    self.mouth.say(&Answer::Connected)?;
                }
                Some(Report::Drained) => self.mouth.say(&Answer::Drained)?,
                Some(Report::Sampled(sample)) => {
                    self.mouth.say(&Answer::Sampled(parcel::encode(&sample)))?;
                }
                Some(Report::Failed(reason)) => self.mouth.say(&Answer::Failed(reason))?,
                Some(Report::Done(findings)) => {
                    left -= 1;
                    parcel::tell(findings.thread, *findings, |answer| self.mouth.say(&answer))?;
                }
                // The others are said by threads that an agent does not have.
                Some(_) => {}
            }
        }
        let left_out = self.shared.left_out.load(Ordering::Relaxed);
        self.mouth.say(&Answer::Told(Told { resident_bytes, left_out }))?;
        self.ended.store(true, Ordering::Release);
        Ok(())
    }

    fn tell_progress(&self) -> Result<(), String> {
        let sum = |of: fn(&Progress) -> u64| self.loops.iter().map(|(_, progress)| of(progress)).sum();
        self.mouth.say(&Answer::Progress {
            open: sum(|progress| progress.open.load(Ordering::Relaxed)),
            refused: sum(|progress| progress.refused.load(Ordering::Relaxed)),
            delivered: sum(|progress| progress.delivered.load(Ordering::Relaxed)),
        })
    }
}

/// What it was is not repeated: there may be a token in it.
const OUT_OF_TURN: &str = "it said something out of turn";
