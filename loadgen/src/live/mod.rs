//! The recorder: a thread that puts together what others hand over, and shows on a terminal where the run stands.
//!
//! # Contract       threads that make load only send; packing and adding up are done here, and writing by the painter, so that
//! a terminal that takes nothing keeps nobody from anything
//! # Bounds         the view is drawn [`DRAWS_PER_SECOND`] times a second at most; the timeline has its own bound

mod painter;
mod screen;
mod view;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use self::painter::{Drawing, Painter};
use self::view::{Standing, View};
use crate::control::{Progress, Shared};
use crate::histogram::Latency;
use crate::interval::{Note, Phase, Stretch};
use crate::machine::{NS_PER_SECOND, now_ns};
use crate::plan::{Plan, Role};
use crate::report;
use crate::timeline::Timeline;

/// How a run shows where it stands, on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// Not at all.
    Nothing,
    /// A line every few seconds.
    Lines,
    /// A view that is redrawn in place.
    View {
        /// Whether colours may be used.
        color: bool,
    },
}

impl Show {
    /// What fits standard error, unless something else is asked for.
    pub(crate) fn choose(quiet: bool, no_tui: bool, progress: bool) -> Show {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match (quiet, progress) {
            (true, _) => Show::Nothing,
            (false, true) => Show::Lines,
            (false, false) if no_tui || is_dumb || !io::stderr().is_terminal() => Show::Nothing,
            (false, false) => Show::View { color: wants_color() },
        }
    }
}

/// Whether a terminal may be written to in colour.
pub(crate) fn wants_color() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The running thread.
#[derive(Debug)]
pub(crate) struct Recorder {
    notes: Sender<Note>,
    thread: Option<JoinHandle<Option<Timeline>>>,
}

impl Recorder {
    /// Starts the thread. `notes` is the other end of what `shared` sends to; `loops` say where they stand.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(crate) fn spawn(
        plan: &Arc<Plan>,
        shared: &Arc<Shared>,
        loops: Vec<Arc<Progress>>,
        notes: Receiver<Note>,
        show: Show,
    ) -> io::Result<Recorder> {
        let sender = shared.notes.clone();
        let mut desk = Desk::new(Arc::clone(plan), Arc::clone(shared), loops, show);
        if show != Show::Nothing {
            // Not through the library's own handle: whoever holds its lock would keep everybody else from standard error.
            desk.painter = Some(Painter::spawn(File::from(io::stderr().as_fd().try_clone_to_owned()?))?);
        }
        let thread = std::thread::Builder::new().name("recorder".into()).spawn(move || desk.run(&notes))?;
        Ok(Recorder { notes: sender, thread: Some(thread) })
    }

    /// Ends the thread, takes the view away and returns the run over time; `None` if nothing was measured, or if this
    /// was asked before. All other threads must have ended.
    pub(crate) fn end(&mut self) -> Option<Timeline> {
        let thread = self.thread.take()?;
        // A thread that has ended has panicked, which shows next.
        let _ = self.notes.send(Note::End);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// The thread's own.
struct Desk {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    loops: Vec<Arc<Progress>>,
    show: Show,
    /// What load is asked for, in words.
    load: String,
    /// Whether somebody awaits events.
    receives: bool,
    painter: Option<Painter>,
    timeline: Option<Timeline>,
    phase: Phase,
    begun_ns: u64,
    phase_from_ns: u64,
    /// Accepted and delivered some moments ago, for rates.
    samples: Vec<Sample>,
    /// End-to-end latency of the newest interval, and its number.
    newest: (i64, Latency),
    total: Latency,
    /// By thread; the publishers are the last one.
    stretches: BTreeMap<u32, Stretch>,
    gaps: u64,
    closed: u64,
    /// Bytes a second of each loop in its newest interval.
    bytes_per_s: BTreeMap<u32, f64>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at_ns: u64,
    accepted: u64,
    delivered: u64,
}

impl Desk {
    fn new(plan: Arc<Plan>, shared: Arc<Shared>, loops: Vec<Arc<Progress>>, show: Show) -> Desk {
        // Where connecting is what is measured, intervals count from its beginning.
        let timeline = (plan.role == Role::Connect).then(|| Timeline::new(shared.grid(shared.begun_ns)));
        let receives = !plan.seats.is_empty() && (!plan.hold || plan.role == Role::Subscribe);
        Desk {
            load: report::load(&plan),
            receives,
            plan,
            shared,
            loops,
            show,
            painter: None,
            timeline,
            phase: Phase::Connecting,
            begun_ns: now_ns(),
            phase_from_ns: now_ns(),
            samples: Vec::new(),
            newest: (i64::MIN, Latency::new()),
            total: Latency::new(),
            stretches: BTreeMap::new(),
            gaps: 0,
            closed: 0,
            bytes_per_s: BTreeMap::new(),
        }
    }

    fn run(mut self, notes: &Receiver<Note>) -> Option<Timeline> {
        let pace_ns = match self.show {
            Show::Nothing => NS_PER_SECOND,
            Show::Lines => LINE_NS,
            Show::View { .. } => NS_PER_SECOND / DRAWS_PER_SECOND,
        };
        let mut next_ns = self.begun_ns + pace_ns;
        loop {
            match notes.recv_timeout(Duration::from_nanos(next_ns.saturating_sub(now_ns()))) {
                Ok(Note::End) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(note) => self.take(note),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now_ns = now_ns();
            if next_ns <= now_ns {
                next_ns = now_ns + pace_ns;
                self.draw(now_ns);
            }
        }
        if let Some(painter) = self.painter {
            painter.end();
        }
        self.timeline
    }

    fn take(&mut self, note: Note) {
        match note {
            Note::Phase(phase) => {
                self.phase = phase;
                self.phase_from_ns = now_ns();
                if let Phase::Measuring { from_ns } = phase {
                    let grid = self.shared.grid(from_ns);
                    self.timeline.get_or_insert_with(|| Timeline::new(grid));
                }
            }
            Note::Deliveries(one) => {
                for latency in &one.latencies.end_to_end {
                    self.note_latency(one.stretch.index, latency);
                }
                let wall_ns = one.stretch.to_ns.saturating_sub(one.stretch.from_ns).max(1);
                self.bytes_per_s.insert(one.thread, one.counts.bytes as f64 * 1e9 / wall_ns as f64);
                self.gaps += one.counts.gaps;
                self.closed += one.counts.closed;
                self.stretches.insert(one.thread, one.stretch);
                if let Some(timeline) = &mut self.timeline {
                    timeline.add_deliveries(&one);
                }
            }
            Note::Publishes(one) => {
                self.stretches.insert(PUBLISHERS, one.stretch);
                if let Some(timeline) = &mut self.timeline {
                    timeline.add_publishes(&one);
                }
            }
            Note::End => {}
        }
    }

    fn note_latency(&mut self, index: i64, latency: &Latency) {
        if self.show == Show::Nothing || latency.count() == 0 {
            return;
        }
        self.total.merge(latency);
        if self.newest.0 < index {
            self.newest = (index, latency.clone());
        } else if self.newest.0 == index {
            self.newest.1.merge(latency);
        }
    }

    fn draw(&mut self, now_ns: u64) {
        let drawing = match self.show {
            Show::Nothing => return,
            Show::Lines => Drawing::Line(self.standing(now_ns).line()),
            Show::View { color } => {
                let (width, height) = terminal_size();
                let view = View { width: width.saturating_sub(1), color };
                let mut lines = view.lines(&self.standing(now_ns));
                lines.truncate(height.saturating_sub(1));
                Drawing::View(lines, width)
            }
        };
        if let Some(painter) = &self.painter {
            painter.show(drawing);
        }
    }

    fn standing(&mut self, now_ns: u64) -> Standing {
        let sum = |part: fn(&Progress) -> u64| -> u64 { self.loops.iter().map(|one| part(one)).sum() };
        let open = sum(|progress| progress.open.load(Ordering::Relaxed));
        let failed = sum(|progress| progress.refused.load(Ordering::Relaxed));
        let delivered = sum(|progress| progress.delivered.load(Ordering::Relaxed));
        let accepted = self.shared.accepted.load(Ordering::Relaxed);
        let sample = Sample { at_ns: now_ns, accepted, delivered };
        self.samples.push(sample);
        // The oldest goes once the next one is old enough, so that rates are those of the last second or so.
        while self.samples.get(1).is_some_and(|second| NS_PER_SECOND <= now_ns - second.at_ns) {
            self.samples.remove(0);
        }
        let first = self.samples[0];
        let rate = |now: u64, before: u64| {
            let seconds = (now_ns - first.at_ns) as f64 / 1e9;
            if seconds == 0.0 { 0.0 } else { now.saturating_sub(before) as f64 / seconds }
        };
        let plan = &self.plan;
        let cpu_share = |stretch: &Stretch| {
            stretch.cpu_ns as f64 / stretch.to_ns.saturating_sub(stretch.from_ns).max(1) as f64
        };
        let loops = self.stretches.range(..PUBLISHERS);
        let busiest = loops.map(|(thread, stretch)| (*thread, cpu_share(stretch)));
        let (doing, done_s, whole_s) = self.progress(now_ns);
        Standing {
            target: plan.target.authority.clone(),
            subscribers: plan.seats.len() as u64,
            load: self.load.clone(),
            doing,
            done_s,
            whole_s,
            publishes: !plan.hold,
            receives: self.receives,
            open,
            failed,
            accepted,
            accepted_per_s: rate(accepted, first.accepted),
            delivered,
            delivered_per_s: rate(delivered, first.delivered),
            bytes_per_s: self.bytes_per_s.values().sum(),
            owed: (!plan.hold && plan.turnover_rate == 0.0).then(|| self.shared.owed.load(Ordering::Relaxed)),
            gaps: self.gaps,
            closed: self.closed,
            interval_s: self.shared.interval_ns as f64 / 1e9,
            newest: (0 < self.newest.1.count()).then(|| self.newest.1.summary()),
            total: (0 < self.total.count()).then(|| self.total.summary()),
            busiest: busiest.max_by(|one, other| one.1.total_cmp(&other.1)),
            publishing_share: self.stretches.get(&PUBLISHERS).map(cpu_share),
            turn_ms_max: self.stretches.values().map(|one| one.turn_ns_max).max().unwrap_or(0) as f64 / 1e6,
        }
    }

    /// What the run does, for how long, and how long that takes if it is known.
    fn progress(&self, now_ns: u64) -> (&'static str, f64, Option<f64>) {
        let seconds = |from_ns: u64| now_ns.saturating_sub(from_ns) as f64 / 1e9;
        let plan = &self.plan;
        match self.phase {
            Phase::Connecting => ("connecting", seconds(self.begun_ns), None),
            Phase::Measuring { from_ns } if now_ns < from_ns => {
                let warmup_s = plan.warmup_ns as f64 / 1e9;
                let left_s = (from_ns - now_ns) as f64 / 1e9;
                ("warming up", (warmup_s - left_s).max(0.0), Some(warmup_s))
            }
            Phase::Measuring { from_ns } => {
                let word = if plan.hold && !self.receives { "holding" } else { "measuring" };
                // The publishers know better than the plan where the number of events is bounded.
                let to_ns = self.shared.measured_to_ns.load(Ordering::Relaxed);
                let whole_ns = to_ns.saturating_sub(from_ns).min(plan.duration_ns);
                let whole_s = whole_ns as f64 / 1e9;
                (word, seconds(from_ns).min(whole_s), Some(whole_s))
            }
            Phase::Draining => ("draining", seconds(self.phase_from_ns), None),
            Phase::Auditing => ("comparing", seconds(self.phase_from_ns), None),
        }
    }
}

/// Columns and rows of the terminal behind standard error; 80 by 24 where nobody knows.
fn terminal_size() -> (usize, usize) {
    let size = terminal_size::terminal_size_of(io::stderr());
    size.map_or((80, 24), |(width, height)| (usize::from(width.0).max(1), usize::from(height.0).max(2)))
}

/// Behind every loop's number.
const PUBLISHERS: u32 = u32::MAX;
const DRAWS_PER_SECOND: u64 = 4;
const LINE_NS: u64 = 5 * NS_PER_SECOND;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{Command, Flags};
    use crate::histogram::DeliveryLatencies;
    use crate::interval::{Deliveries, DeliveryCounts};
    use clap::Parser;

    #[test]
    fn what_loops_hand_over_shows_where_the_run_stands_and_is_kept() {
        let arguments = ["loadgen", "run", "http://127.0.0.1:9", "-c", "10", "--channels", "2"];
        let Command::Run(flags) = Flags::try_parse_from(arguments).expect("parsed").command else {
            panic!("another command");
        };
        let plan = Arc::new(Plan::new(*flags).expect("a plan"));
        let shared = Arc::new(Shared::new(NS_PER_SECOND, crossbeam_channel::unbounded().0));
        let progress = Arc::new(Progress::default());
        let mut desk = Desk::new(plan, Arc::clone(&shared), vec![Arc::clone(&progress)], Show::Lines);
        assert_eq!(desk.standing(now_ns()).doing, "connecting");

        let from_ns = now_ns();
        desk.take(Note::Phase(Phase::Measuring { from_ns }));
        progress.delivered.store(95, Ordering::Relaxed);
        shared.owed.store(100, Ordering::Relaxed);
        for (index, ms) in [(0, 5), (1, 3)] {
            let mut latencies = DeliveryLatencies::new();
            latencies.end_to_end[0].record(ms * 1_000_000);
            let to_ns = from_ns + (index as u64 + 1) * NS_PER_SECOND;
            let stretch = Stretch { index, from_ns: to_ns - NS_PER_SECOND, to_ns, cpu_ns: 1, turn_ns_max: 2 };
            let counts = DeliveryCounts { events: 1, bytes: 1_000, gaps: 2, closed: 0 };
            let one = Deliveries { stretch, thread: 0, latencies, counts, open: 10 };
            desk.take(Note::Deliveries(Box::new(one)));
        }
        let standing = desk.standing(from_ns + NS_PER_SECOND);
        assert_eq!((standing.doing, standing.gaps, standing.bytes_per_s), ("measuring", 4, 1_000.0));
        assert_eq!((standing.delivered, standing.owed), (95, Some(100)));
        let max_ms =
            |summary: Option<crate::histogram::Summary>| summary.map(|summary| summary.max_ms.round());
        assert_eq!((max_ms(standing.newest), max_ms(standing.total)), (Some(3.0), Some(5.0)));
        assert_eq!(desk.timeline.map(|timeline| timeline.intervals().len()), Some(2));
    }
}
