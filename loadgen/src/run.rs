//! `loadgen run` from connecting to the report.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::agent::remote;
use crate::audit::Audit;
use crate::control::{Command, NOTES_EACH, Progress, Report as ThreadReport, Shared};
use crate::cost::{Costs, Reading};
use crate::counting::request;
use crate::event::run_number;
use crate::interval::{Note, Phase};
use crate::live::Recorder;
use crate::machine::{self, NS_PER_SECOND, now_ns};
use crate::objective::watch::{Standing, Watch};
use crate::payload::scatter;
use crate::plan::{EVENTS_MAX, Plan, Role};
use crate::publishing::{self, Published};
use crate::record::{Fate, Record};
use crate::report::agents::AgentFigures;
use crate::report::{Material, Report};
use crate::worker::{self, Findings};

/// Runs the plan; the exit code is the verdict's, or 3 if the run could not be set up.
///
/// # Errors
/// The run could not be set up, or a result not be written.
pub(crate) fn run(plan: Plan, stop: Arc<AtomicBool>) -> anyhow::Result<ExitCode> {
    plan.outputs.prepare()?;
    let plan = Arc::new(plan);
    let Some(report) = measure_plan(&plan, &stop)? else { return Ok(ExitCode::from(EXIT_INTERRUPTED)) };
    plan.outputs.write(&report)?;
    Ok(ExitCode::from(report.exit_code()))
}

/// Runs the plan and writes nothing; nothing comes of one that was interrupted before there was anything to report. Sets `stop`
/// at the end.
///
/// # Errors
/// The run could not be set up.
pub(crate) fn measure(plan: Plan, stop: &Arc<AtomicBool>) -> anyhow::Result<Option<Report>> {
    measure_plan(&Arc::new(plan), stop)
}

fn measure_plan(plan: &Arc<Plan>, stop: &Arc<AtomicBool>) -> anyhow::Result<Option<Report>> {
    check_descriptors(plan, None)?;
    set_up_foreign(plan)?;
    // Both before the loops are there, since these connect at once.
    let first = plan.source.read(0).context("reading what the server has used")?;
    let mut run = match Run::new(Arc::clone(plan), Arc::clone(stop)) {
        Err(_) if stop.load(Ordering::Relaxed) => return Ok(None),
        run => run?,
    };
    let report = run.drive(&first);
    let interrupted = run.stop.load(Ordering::Relaxed) && !run.is_called_off;
    run.close();
    match report {
        Err(_) if interrupted => Ok(None),
        report => report.map(Some),
    }
}

/// Loops of subscribers, as the run commands them.
enum Handle {
    /// One of this process.
    Loop(worker::Handle),
    /// Those of an agent.
    Agent(remote::Handle),
}

impl Handle {
    fn send(&self, command: Command) {
        match self {
            Handle::Loop(handle) => handle.send(command),
            Handle::Agent(handle) => handle.send(command),
        }
    }

    fn progress(&self) -> &Arc<Progress> {
        match self {
            Handle::Loop(handle) => &handle.progress,
            Handle::Agent(handle) => &handle.progress,
        }
    }

    fn join(self) {
        match self {
            Handle::Loop(handle) => handle.join(),
            Handle::Agent(handle) => handle.join(),
        }
    }
}

struct Run {
    plan: Arc<Plan>,
    number: u64,
    stop: Arc<AtomicBool>,
    shared: Arc<Shared>,
    reports: Receiver<ThreadReport>,
    sender: crossbeam_channel::Sender<ThreadReport>,
    loops: Vec<Handle>,
    /// What agents did, by their place.
    agents: BTreeMap<u32, AgentFigures>,
    publishing: Option<publishing::Handle>,
    recorder: Recorder,
    /// Whether the run was called off, since an objective was missed for too long.
    is_called_off: bool,
    /// What was used at the start of the measured part, and at its end.
    readings: Option<(Reading, Reading)>,
    /// What is to be told besides the figures.
    notes: Vec<String>,
}

impl Run {
    fn new(plan: Arc<Plan>, stop: Arc<AtomicBool>) -> anyhow::Result<Run> {
        let (sender, reports) = crossbeam_channel::unbounded();
        let number = run_number(scatter(now_ns() ^ u64::from(std::process::id())), machine::clock_mark());
        let ready = remote::summon(&plan, number, &stop)?;
        let (notes, told) = crossbeam_channel::bounded(NOTES_EACH * (plan.threads as usize + 1));
        let shared = Arc::new(Shared::new(plan.outputs.interval.ns, notes));
        let loops = if plan.agents.is_empty() {
            let spawn =
                |thread| worker::spawn(&plan, thread, number, &shared, sender.clone()).map(Handle::Loop);
            (0..plan.threads).map(spawn).collect::<io::Result<Vec<_>>>()
        } else {
            let go = |ready: remote::Ready| ready.go(&plan, &shared, sender.clone()).map(Handle::Agent);
            ready.into_iter().map(go).collect()
        };
        let loops = loops.context("starting the loops")?;
        let progress = loops.iter().map(|handle| Arc::clone(handle.progress())).collect();
        let recorder = Recorder::spawn(&plan, &shared, progress, told, plan.outputs.show())
            .context("starting the recorder")?;
        Ok(Run {
            plan,
            number,
            stop,
            shared,
            reports,
            sender,
            loops,
            agents: BTreeMap::new(),
            publishing: None,
            recorder,
            is_called_off: false,
            readings: None,
            notes: Vec::new(),
        })
    }

    /// Connect, publish or hold, drain, stop, audit.
    fn drive(&mut self, first: &Reading) -> anyhow::Result<Report> {
        let begun_ns = self.shared.begun_ns;
        let is_connected =
            self.await_loops("connecting", u64::MAX, |report| matches!(report, ThreadReport::Connected))?;
        let connecting_s = (now_ns() - begun_ns) as f64 / NS_PER_SECOND as f64;
        let resident_bytes = machine::resident_bytes();
        let mut notes = Vec::new();
        let (published, measured_from_ns) = if is_connected && self.plan.hold {
            (None, self.hold()?)
        } else if is_connected && let Some((published, measured_from_ns)) = self.publish()? {
            if !self.drain(&published.record) {
                notes.push(format!(
                    "not every subscriber had settled its last event {:.0} s after publishing had ended",
                    self.plan.drain_ns as f64 / NS_PER_SECOND as f64
                ));
            }
            if EVENTS_MAX <= published.tally.sent {
                notes.push(format!(
                    "publishing ended at {EVENTS_MAX} events, the most that one run keeps a record of"
                ));
            }
            (Some(published), measured_from_ns)
        } else {
            notes.push("the run was interrupted while it was connecting".to_owned());
            (None, now_ns())
        };
        let findings = self.stop()?;
        self.shared.note(Note::Phase(Phase::Auditing));
        if self.plan.role == Role::Connect
            && is_connected
            && findings.iter().all(|one| one.latencies.handshake.count() == 0)
        {
            let mut reasons = findings.iter().flat_map(|one| one.refusals.keys());
            anyhow::bail!("nobody could connect: {}", reasons.next().map_or("", String::as_str));
        }
        notes.append(&mut self.notes);
        let left_out = self.shared.left_out.load(Ordering::Relaxed);
        if 0 < left_out {
            notes.push(format!(
                "{left_out} intervals are missing over time, since the recorder was too slow for them"
            ));
        }
        notes.extend(self.unmeasured(&findings));
        let costs = self
            .readings
            .map(|(start, end)| Costs::between(first, &start, &end, self.plan.seats.len() as u64));
        let nothing = Record::new(0);
        let record = published.as_ref().map_or(&nothing, |published| &published.record);
        let audit = Audit::new(&self.plan, record, &findings, measured_from_ns);
        // Where connecting is what is measured, everything counts from its beginning.
        let measured_from_ns = if self.plan.role == Role::Connect { begun_ns } else { measured_from_ns };
        Ok(Report::new(Material {
            plan: &self.plan,
            published: published.as_ref(),
            findings: &findings,
            audit,
            timeline: self.recorder.end(),
            measured_from_ns,
            connecting_s,
            interrupted: self.stop.load(Ordering::Relaxed),
            is_called_off: self.is_called_off,
            costs,
            resident_bytes,
            agents: std::mem::take(&mut self.agents).into_values().collect(),
            notes,
        }))
    }

    /// Why subscribers of somebody else's events have no latencies, if they have none.
    fn unmeasured(&self, findings: &[Findings]) -> Option<String> {
        let delivered: u64 = findings.iter().map(|one| one.tally.delivered).sum();
        let measured: u64 = findings
            .iter()
            .flat_map(|one| &one.latencies.end_to_end)
            .map(crate::histogram::Latency::count)
            .sum();
        (self.plan.role == Role::Subscribe && measured == 0).then(|| match delivered {
            0 => "nothing was delivered".to_owned(),
            _ => "no event says when it was due by the clock of this host, so there are no latencies"
                .to_owned(),
        })
    }

    /// Takes the first or the second reading of what the measured part costs. A server that tells no more, be it because it has
    /// died, is left out: what was measured of it is worth a report.
    fn read_costs(&mut self) {
        let delivered = self.delivered();
        let reading = self.plan.source.read(delivered).unwrap_or_else(|error| {
            self.notes.push(format!("what the server has used could not be read any more: {error}"));
            Reading::without_server(delivered)
        });
        self.readings = Some((self.readings.map_or(reading, |(start, _)| start), reading));
    }

    /// Where the publishers stand.
    fn standing(&self) -> Standing {
        let Shared { accepted, owed, is_behind, .. } = &*self.shared;
        Standing {
            accepted: accepted.load(Ordering::Relaxed),
            owed: owed.load(Ordering::Relaxed),
            is_behind: is_behind.load(Ordering::Relaxed),
        }
    }

    /// Events that all subscribers together have got so far.
    fn delivered(&self) -> u64 {
        self.loops.iter().map(|handle| handle.progress().delivered.load(Ordering::Relaxed)).sum()
    }

    /// Keeps the connections for the duration; returns when that began.
    fn hold(&mut self) -> anyhow::Result<u64> {
        self.read_costs();
        let from_ns = now_ns();
        let to_ns = from_ns + self.plan.duration_ns;
        self.shared.measured_to_ns.store(to_ns, Ordering::Relaxed);
        self.shared.note(Note::Phase(Phase::Measuring { from_ns }));
        self.tell_loops(&Command::Begin { start_ns: from_ns, measured_from_ns: from_ns });
        while now_ns() < to_ns && !self.stop.load(Ordering::Relaxed) {
            let left = Duration::from_nanos(to_ns.saturating_sub(now_ns())).min(TICK);
            // Loops have nothing to report now, and a failure of one of them shows in the findings. An agent's does not.
            if let Ok(ThreadReport::Lost(lost)) = self.reports.recv_timeout(left) {
                return Err(lost.into());
            }
        }
        self.read_costs();
        Ok(from_ns)
    }

    /// Publishes the whole schedule; returns what came of it and where the measured part began, or nothing if somebody ended the
    /// run before the publishers were connected.
    fn publish(&mut self) -> anyhow::Result<Option<(Published, u64)>> {
        let publishing =
            publishing::spawn(&self.plan, self.number, &self.shared, &self.stop, self.sender.clone())?;
        let publishing = self.publishing.insert(publishing);
        match self.reports.recv() {
            Ok(ThreadReport::Ready) => {}
            Ok(ThreadReport::Failed(_)) if self.stop.load(Ordering::Relaxed) => return Ok(None),
            Ok(ThreadReport::Failed(reason)) => anyhow::bail!(reason),
            Ok(ThreadReport::Lost(lost)) => return Err(lost.into()),
            other => anyhow::bail!("the publishers could not start: {other:?}"),
        }
        let start_ns =
            now_ns() + if self.plan.agents.is_empty() { START_DELAY_NS } else { AGENTS_START_DELAY_NS };
        let measured_from_ns = start_ns.saturating_add(self.plan.warmup_ns);
        self.shared.note(Note::Phase(Phase::Measuring { from_ns: measured_from_ns }));
        // The loops must know first: a subscription confirmed from here on cannot pass over anything.
        self.loops.iter().for_each(|handle| handle.send(Command::Begin { start_ns, measured_from_ns }));
        publishing.begin(start_ns);
        let plan = Arc::clone(&self.plan);
        let mut watch =
            plan.patience_ns.map(|patience_ns| Watch::new(&plan.objectives, patience_ns, measured_from_ns));
        loop {
            let soonest_ns = if self.readings.is_none() { measured_from_ns } else { u64::MAX };
            let report = self.next_report(soonest_ns)?;
            if self.readings.is_none() && measured_from_ns <= now_ns() {
                self.read_costs();
                watch.iter_mut().for_each(|watch| watch.begin(self.standing(), now_ns()));
            }
            match report {
                Some(ThreadReport::Published(published)) => {
                    self.read_costs();
                    return Ok(Some((*published, measured_from_ns)));
                }
                Some(ThreadReport::Sampled(sample)) => {
                    let standing = self.standing();
                    if watch.as_mut().is_some_and(|watch| watch.take(&sample, standing, now_ns())) {
                        self.is_called_off = true;
                        self.stop.store(true, Ordering::Relaxed);
                    }
                }
                _ => {}
            }
            if watch.as_mut().is_some_and(|watch| watch.is_due(now_ns(), self.plan.threads as usize)) {
                self.tell_loops(&Command::Sample);
            }
        }
    }

    /// Waits until every subscriber has settled its last event; `false` if the time for it was not enough.
    fn drain(&mut self, record: &Record) -> bool {
        let mut last = vec![0; self.plan.channels.len()];
        for (publisher, index, outcome) in record.outcomes() {
            if let Fate::Accepted(sequence) = outcome.fate()
                && self.plan.is_wanted(publisher, index)
            {
                let channel = self.plan.channel_of(publisher, index);
                last[channel] = sequence.max(last[channel]);
            }
        }
        self.shared.note(Note::Phase(Phase::Draining));
        self.tell_loops(&Command::Drain(last.into()));
        let deadline_ns = now_ns().saturating_add(self.plan.drain_ns);
        let drained =
            self.await_loops("draining", deadline_ns, |report| matches!(report, ThreadReport::Drained));
        // What should not come at all, such as the last event again, gets a moment to arrive.
        std::thread::sleep(Duration::from_nanos(AFTERMATH_NS.min(self.plan.drain_ns)));
        matches!(drained, Ok(true))
    }

    fn stop(&mut self) -> anyhow::Result<Vec<Findings>> {
        self.tell_loops(&Command::Stop);
        let mut findings = Vec::new();
        while findings.len() < self.plan.threads as usize {
            match self.reports.recv().context("a loop ended without its findings")? {
                ThreadReport::Done(one) => findings.push(*one),
                ThreadReport::Left(place, figures) => drop(self.agents.insert(place, *figures)),
                ThreadReport::Lost(lost) => return Err(lost.into()),
                _ => {}
            }
        }
        Ok(findings)
    }

    /// Ends all threads, whatever became of the run.
    fn close(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tell_loops(&Command::Stop);
        self.loops.drain(..).for_each(Handle::join);
        if let Some(publishing) = self.publishing.take() {
            publishing.join();
        }
        self.recorder.end();
    }

    fn tell_loops(&self, command: &Command) {
        self.loops.iter().for_each(|handle| handle.send(command.clone()));
    }

    /// Waits for one report that `counts` from every loop; `false` if the deadline comes first, or a signal while connecting.
    fn await_loops(
        &mut self,
        doing: &str,
        deadline_ns: u64,
        counts: impl Fn(&ThreadReport) -> bool,
    ) -> anyhow::Result<bool> {
        let mut count = 0;
        while count < self.plan.threads as usize {
            if deadline_ns <= now_ns() {
                return Ok(false);
            }
            let connecting = doing == "connecting";
            if connecting && self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            if let Some(report) = self.next_report(deadline_ns)? {
                count += usize::from(counts(&report));
            }
        }
        Ok(true)
    }

    /// The next report, or `None` after a while.
    fn next_report(&mut self, deadline_ns: u64) -> anyhow::Result<Option<ThreadReport>> {
        let left = Duration::from_nanos(deadline_ns.saturating_sub(now_ns())).min(TICK);
        match self.reports.recv_timeout(left) {
            Ok(ThreadReport::Failed(reason)) => anyhow::bail!(reason),
            Ok(ThreadReport::Lost(lost)) => Err(lost.into()),
            Ok(report) => Ok(Some(report)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("all threads of the run have ended"),
        }
    }
}

/// Makes the requests that a server of others wants before its first subscriber.
fn set_up_foreign(plan: &Plan) -> anyhow::Result<()> {
    let Plan { target, channels, foreign, .. } = plan;
    for request in foreign.iter().flat_map(|foreign| foreign.setup(channels)) {
        let asked = target
            .connect(request::PATIENCE)
            .and_then(|mut stream| request::ask_over(&mut *stream, &target.authority, &request));
        let status = asked.with_context(|| format!("{} {}", request.method, request.path))?;
        anyhow::ensure!(
            request::is_ok(status, &request.ok),
            "{} {} was answered {status}",
            request.method,
            request.path
        );
    }
    Ok(())
}

/// Each connection is a descriptor, and a few belong to the program: the agent in this place, or the run's own process.
///
/// # Errors
/// The limit is lower than what the plan needs.
pub(crate) fn check_descriptors(plan: &Plan, place: Option<u32>) -> anyhow::Result<()> {
    let limit = machine::raise_descriptor_limit().context("raising the limit of open descriptors")?;
    let needed = plan.connections_of(place) + DESCRIPTORS_RESERVED;
    if limit < needed {
        anyhow::bail!(
            "{needed} descriptors are needed, but the hard limit RLIMIT_NOFILE is {limit} (see `ulimit -Hn`)"
        );
    }
    Ok(())
}

/// Lets every loop hear of the beginning before the first event is due.
const START_DELAY_NS: u64 = NS_PER_SECOND / 20;
/// The same for agents, whom it takes a network to tell; one that hears of the beginning too late says so.
const AGENTS_START_DELAY_NS: u64 = NS_PER_SECOND / 2;
const AFTERMATH_NS: u64 = NS_PER_SECOND / 10;
const EXIT_INTERRUPTED: u8 = 130;
const TICK: Duration = Duration::from_millis(200);
/// Standard streams, polls, wakers, the alarm, result files.
const DESCRIPTORS_RESERVED: u64 = 64;
