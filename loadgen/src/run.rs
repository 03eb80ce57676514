//! `loadgen run` from connecting to the report.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::audit::Audit;
use crate::control::{Command, Report as ThreadReport, Shared};
use crate::machine::{self, NS_PER_SECOND, now_ns};
use crate::payload::scatter;
use crate::plan::{EVENTS_MAX, Plan};
use crate::publishing::{self, Published};
use crate::record::{Fate, Record};
use crate::report::{Material, Report};
use crate::worker::{self, Findings};

/// Runs the plan; the exit code is the verdict's, or 3 if the run could not be set up.
///
/// # Errors
/// The run could not be set up, or a result not be written.
pub(crate) fn run(plan: Plan, stop: Arc<AtomicBool>) -> anyhow::Result<ExitCode> {
    check_descriptors(&plan)?;
    let mut run = Run::new(Arc::new(plan), stop)?;
    let report = run.drive();
    let interrupted = run.stop.load(Ordering::Relaxed);
    run.close();
    let report = match report {
        // Before there was anything to report.
        Err(_) if interrupted => return Ok(ExitCode::from(EXIT_INTERRUPTED)),
        report => report?,
    };
    write_results(&run.plan, &report)?;
    Ok(ExitCode::from(report.exit_code()))
}

struct Run {
    plan: Arc<Plan>,
    number: u64,
    stop: Arc<AtomicBool>,
    shared: Arc<Shared>,
    reports: Receiver<ThreadReport>,
    sender: crossbeam_channel::Sender<ThreadReport>,
    loops: Vec<worker::Handle>,
    publishing: Option<publishing::Handle>,
    ticker: Ticker,
}

impl Run {
    fn new(plan: Arc<Plan>, stop: Arc<AtomicBool>) -> anyhow::Result<Run> {
        let (sender, reports) = crossbeam_channel::unbounded();
        // Below 2^48, so that it has few digits in every event.
        let number = scatter(now_ns() ^ u64::from(std::process::id())) >> 16;
        let shared = Arc::new(Shared::new());
        let ticker = Ticker { shown: !plan.quiet && io::stderr().is_terminal(), width: 0 };
        let loops = (0..plan.threads)
            .map(|thread| worker::spawn(&plan, thread, number, &shared, sender.clone()))
            .collect::<io::Result<Vec<_>>>()
            .context("starting the loops")?;
        Ok(Run { plan, number, stop, shared, reports, sender, loops, publishing: None, ticker })
    }

    /// Connect, publish or hold, drain, stop, audit.
    fn drive(&mut self) -> anyhow::Result<Report> {
        let begun_ns = now_ns();
        self.await_loops("connecting", u64::MAX, |report| matches!(report, ThreadReport::Connected))?;
        let connecting_s = (now_ns() - begun_ns) as f64 / NS_PER_SECOND as f64;
        let resident_bytes = machine::resident_bytes();
        let mut notes = Vec::new();
        let (published, measured_from_ns) = if self.plan.hold {
            (None, self.hold())
        } else {
            let (published, measured_from_ns) = self.publish()?;
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
        };
        let findings = self.stop()?;
        self.ticker.clear();
        let nothing = Record::new(0);
        let record = published.as_ref().map_or(&nothing, |published| &published.record);
        let audit = Audit::new(&self.plan, record, &findings, measured_from_ns);
        Ok(Report::new(Material {
            plan: &self.plan,
            published: published.as_ref(),
            findings: &findings,
            audit,
            connecting_s,
            interrupted: self.stop.load(Ordering::Relaxed),
            resident_bytes,
            notes,
        }))
    }

    /// Keeps the connections for the duration; returns when that began.
    fn hold(&mut self) -> u64 {
        let from_ns = now_ns();
        let to_ns = from_ns + self.plan.duration_ns;
        self.shared.measured_to_ns.store(to_ns, Ordering::Relaxed);
        self.tell_loops(&Command::Begin { measured_from_ns: from_ns });
        while now_ns() < to_ns && !self.stop.load(Ordering::Relaxed) {
            let left = Duration::from_nanos(to_ns.saturating_sub(now_ns())).min(TICK);
            // Loops have nothing to report now; a failure shows in the findings.
            let _ = self.reports.recv_timeout(left);
            self.tick("holding");
        }
        from_ns
    }

    /// Publishes the whole schedule; returns what came of it and where the measured part began.
    fn publish(&mut self) -> anyhow::Result<(Published, u64)> {
        let publishing =
            publishing::spawn(&self.plan, self.number, &self.shared, &self.stop, self.sender.clone())?;
        let publishing = self.publishing.insert(publishing);
        match self.reports.recv() {
            Ok(ThreadReport::Ready) => {}
            Ok(ThreadReport::Failed(reason)) => anyhow::bail!(reason),
            other => anyhow::bail!("the publishers could not start: {other:?}"),
        }
        let start_ns = now_ns() + START_DELAY_NS;
        let measured_from_ns = start_ns.saturating_add(self.plan.warmup_ns);
        // The loops must know first: a subscription confirmed from here on cannot pass over anything.
        self.loops.iter().for_each(|handle| handle.send(Command::Begin { measured_from_ns }));
        publishing.begin(start_ns);
        loop {
            if let Some(ThreadReport::Published(published)) = self.next_report(u64::MAX, "publishing")? {
                return Ok((*published, measured_from_ns));
            }
        }
    }

    /// Waits until every subscriber has settled its last event; `false` if the time for it was not enough.
    fn drain(&mut self, record: &Record) -> bool {
        let mut last = vec![0; self.plan.channels.len()];
        for (publisher, index, outcome) in record.outcomes() {
            if let Fate::Accepted(sequence) = outcome.fate() {
                let channel = self.plan.channel_of(publisher, index);
                last[channel] = sequence.max(last[channel]);
            }
        }
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
        while findings.len() < self.loops.len() {
            if let ThreadReport::Done(one) =
                self.reports.recv().context("a loop ended without its findings")?
            {
                findings.push(*one);
            }
        }
        Ok(findings)
    }

    /// Ends all threads, whatever became of the run.
    fn close(&mut self) {
        self.ticker.clear();
        self.stop.store(true, Ordering::Relaxed);
        self.tell_loops(&Command::Stop);
        self.loops.drain(..).for_each(worker::Handle::join);
        if let Some(publishing) = self.publishing.take() {
            publishing.join();
        }
    }

    fn tell_loops(&self, command: &Command) {
        self.loops.iter().for_each(|handle| handle.send(command.clone()));
    }

    /// Waits for one report that `counts` from every loop; `false` if the deadline comes first.
    fn await_loops(
        &mut self,
        doing: &str,
        deadline_ns: u64,
        counts: impl Fn(&ThreadReport) -> bool,
    ) -> anyhow::Result<bool> {
        let mut count = 0;
        while count < self.loops.len() {
            if deadline_ns <= now_ns() {
                return Ok(false);
            }
            let connecting = doing == "connecting";
            if connecting && self.stop.load(Ordering::Relaxed) {
                anyhow::bail!("interrupted while connecting");
            }
            if let Some(report) = self.next_report(deadline_ns, doing)? {
                count += usize::from(counts(&report));
            }
        }
        Ok(true)
    }

    /// The next report, or `None` after a while.
    fn next_report(&mut self, deadline_ns: u64, doing: &str) -> anyhow::Result<Option<ThreadReport>> {
        let left = Duration::from_nanos(deadline_ns.saturating_sub(now_ns())).min(TICK);
        match self.reports.recv_timeout(left) {
            Ok(ThreadReport::Failed(reason)) => anyhow::bail!(reason),
            Ok(report) => Ok(Some(report)),
            Err(RecvTimeoutError::Timeout) => {
                self.tick(doing);
                Ok(None)
            }
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("all threads of the run have ended"),
        }
    }

    fn tick(&mut self, doing: &str) {
        let sum = |part: fn(&crate::control::Progress) -> u64| -> u64 {
            self.loops.iter().map(|handle| part(&handle.progress)).sum()
        };
        let open = sum(|progress| progress.open.load(Ordering::Relaxed));
        let delivered = sum(|progress| progress.delivered.load(Ordering::Relaxed));
        let accepted = self.shared.accepted.load(Ordering::Relaxed);
        let text = format!("{doing}: {open} open, {accepted} published, {delivered} delivered");
        self.ticker.show(&text);
    }
}

/// The line that shows where a run stands, on a terminal only.
struct Ticker {
    shown: bool,
    width: usize,
}

impl Ticker {
    fn show(&mut self, text: &str) {
        if self.shown {
            eprint!("\r{text:<width$}", width = self.width);
            self.width = text.len();
        }
    }

    fn clear(&mut self) {
        if self.shown && 0 < self.width {
            eprint!("\r{:<width$}\r", "", width = self.width);
            self.width = 0;
        }
    }
}

/// Each connection is a descriptor, and a few belong to the program.
fn check_descriptors(plan: &Plan) -> anyhow::Result<()> {
    let limit = machine::raise_descriptor_limit().context("raising the limit of open descriptors")?;
    let needed = plan.seats.len() as u64 + u64::from(plan.publishers) + DESCRIPTORS_RESERVED;
    if limit < needed {
        anyhow::bail!(
            "{needed} descriptors are needed, but the hard limit RLIMIT_NOFILE is {limit} (see `ulimit -Hn`)"
        );
    }
    Ok(())
}

fn write_results(plan: &Plan, report: &Report) -> anyhow::Result<()> {
    let to_stdout = |path: &Path| path.as_os_str() == "-";
    if let Some(path) = &plan.hgrm {
        let mut out =
            BufWriter::new(File::create(path).with_context(|| format!("creating {}", path.display()))?);
        report.end_to_end().write_percentiles(&mut out)?;
        out.flush()?;
    }
    if let Some(path) = &plan.json {
        let mut text = serde_json::to_string_pretty(report)?;
        text.push('\n');
        if to_stdout(path) {
            io::stdout().write_all(text.as_bytes())?;
        } else {
            std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    let color =
        |terminal: bool| terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if plan.quiet {
        eprint!("{}", report.failures());
    } else if plan.json.as_deref().is_some_and(to_stdout) {
        eprint!("{}", report.table(color(io::stderr().is_terminal())));
    } else {
        io::stdout().write_all(report.table(color(io::stdout().is_terminal())).as_bytes())?;
    }
    Ok(())
}

/// Lets every loop hear of the beginning before the first event is due.
const START_DELAY_NS: u64 = NS_PER_SECOND / 20;
const AFTERMATH_NS: u64 = NS_PER_SECOND / 10;
const EXIT_INTERRUPTED: u8 = 130;
const TICK: Duration = Duration::from_millis(200);
/// Standard streams, polls, wakers, the alarm, result files.
const DESCRIPTORS_RESERVED: u64 = 64;
