//! What the loops, the sequencer and in-process publishers share.
//!
//! # Contract       the sequencer writes the log; each loop writes its own [`Desk`]; everybody reads everything
//! # Memory order   a loop that subscribes stores its table, fences, and looks at `published` before it sleeps; the
//!   sequencer publishes, fences, and looks at the tables before it rings: one of the two sees the other
//!   ([`crate::sync::bell`] has the argument, `tests/loom` the model)

use std::collections::HashMap;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use crossbeam_utils::CachePadded;

use crate::admission::Admission;
use crate::audience::Audience;
use crate::counters::{Counters, Traffic};
use crate::log::{BATCH_EVENTS_MAX, ChannelId, FRAME_BYTES_MAX, Log, Retention, frame_bytes_max};
use crate::mail::Letter;
use crate::presence::Presence;
use crate::sequencer::{Ingest, Order, Receipt, Refusal, Sequencer, Step, Submission};
use crate::sync::bell::{Bell, Waker, fence_before_ring};
use crate::sync::{Arc, ArcCell, AtomicBool, AtomicU64, AtomicUsize, Loaded, Ordering};
use crate::table::Table;
use crate::words::cursor::Epoch;
use crate::words::limits::{EVENT_BYTES_CEILING, Limits, STEP_EVENTS_MAX};

/// The shared middle of one server.
pub struct Hub {
    /// The bounds.
    pub limits: Limits,
    /// The name of this log.
    pub epoch: Epoch,
    /// The log.
    pub log: Arc<Log>,
    /// The way to the sequencer.
    ingest: Ingest,
    /// One desk a loop.
    desks: Box<[Desk]>,
    /// Whether the only loop runs the sequencer itself and has to be rung for a submission from elsewhere.
    inline: bool,
    /// Set once, when the server begins to shut down.
    draining: AtomicBool,
    /// Loops that have ended.
    loops_left: AtomicUsize,
    /// Who is let in.
    pub admission: Admission,
    /// Streams and subscriptions of all loops.
    pub counters: Counters,
    /// Who is on which channel, of those where that is told.
    pub presence: Presence,
    /// Which patterns are subscribed to, if that is told.
    pub occupancy: Presence,
    /// Who waits and reads in this process, without a loop.
    pub audience: Audience,
}

/// What a loop shows to the others.
pub struct Desk {
    /// Wakes it.
    pub bell: Bell<Box<dyn Waker>>,
    /// Who its subscribers are: the snapshot of its last turn.
    table: ArcCell<Table>,
    /// Receipts on their way to it.
    receipts: (Sender<Receipt>, Receiver<Receipt>),
    /// Letters on their way to it; `mail` says what bounds them.
    letters: (Sender<Letter>, Receiver<Letter>),
    /// What it has sent.
    pub traffic: Traffic,
    /// Everything below this has been handed to the kernel for everybody who keeps up.
    routed: CachePadded<AtomicU64>,
    /// How old the first event was that the loop had not handed on at the end of its last turn, in milliseconds.
    behind_ms: AtomicU64,
    /// Set when the loop, draining, has nothing more to submit or to be answered.
    quiet: AtomicBool,
    /// Turns that the loop has begun, or [`RETIRED`].
    turns: AtomicU64,
    /// For how long the loop has not turned though it is awake, as the watchdog says; 0 if it is well.
    stalled_ms: AtomicU64,
}

/// More turns than a loop can begin.
const RETIRED: u64 = u64::MAX;

/// A loop that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Which.
    pub loop_index: usize,
    /// For how long, in milliseconds; at least 1.
    pub for_ms: u64,
}

impl Hub {
    /// The middle of a server with one loop per waker, and its sequencer. `inline`: the only loop will run it. Without
    /// wakers it is the middle of an engine alone.
    ///
    /// # Panics
    /// If [`Limits::check`] refuses the limits, or a sequencer is to sit inline in one of several loops.
    #[must_use]
    pub fn new(
        limits: Limits,
        epoch: Epoch,
        wakers: Vec<Box<dyn Waker>>,
        inline: bool,
    ) -> (Arc<Hub>, Sequencer) {
        assert!(!inline || wakers.len() == 1, "a sequencer inline has one loop");
        assert_eq!(limits.check(), Ok(()), "the limits were checked");
        let (log, writer) = Log::new(retention(&limits));
        let desk = |waker| Desk {
            bell: Bell::new(waker),
            table: ArcCell::new(Some(Arc::default())),
            // Every submission of a loop can be answered at once.
            receipts: crossbeam_channel::bounded(limits.ingest_items_max * 2),
            letters: crossbeam_channel::unbounded(),
            traffic: Traffic::default(),
            routed: CachePadded::new(AtomicU64::new(1)),
            behind_ms: AtomicU64::new(0),
            quiet: AtomicBool::new(false),
            turns: AtomicU64::new(0),
            stalled_ms: AtomicU64::new(0),
        };
        let sequencer = Sequencer::new(writer, epoch, &limits);
        let hub = Hub {
            epoch,
            log,
            ingest: Ingest::new(limits.ingest_items_max, limits.ingest_bytes_max),
            desks: wakers.into_iter().map(desk).collect(),
            inline,
            draining: AtomicBool::new(false),
            loops_left: AtomicUsize::new(0),
            admission: Admission::default(),
            counters: Counters::default(),
            presence: Presence::default(),
            occupancy: Presence::default(),
            audience: Audience::default(),
            limits,
        };
        (Arc::new(hub), sequencer)
    }

    /// The desks, one a loop.
    #[must_use]
    pub fn desks(&self) -> &[Desk] {
        &self.desks
    }

    /// The way to the sequencer, for whoever runs it.
    #[must_use]
    pub fn ingest(&self) -> &Ingest {
        &self.ingest
    }

    /// Lets `submission` in, or says why not; its receipt comes to the desk of its origin.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] when the queue is full or the loops are too far behind, [`Refusal::Draining`] when the
    /// server shuts down. Nothing of it was done then, and nothing will be. Loops that are behind do not keep old events
    /// from being cleared.
    pub fn submit(&self, submission: Submission) -> Result<(), Refusal> {
        if self.is_draining() {
            return Err(Refusal::Draining);
        }
        if matches!(submission.order, Order::Publish { .. }) && self.is_far_behind() {
            return Err(Refusal::Overloaded);
        }
        self.submit_own(submission)
    }

    /// Lets a loop's own events in, whatever else there is to do.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] when the queue is full.
    pub fn submit_own(&self, submission: Submission) -> Result<(), Refusal> {
        let own_loop = submission.origin.loop_index;
        self.ingest.submit(submission).map_err(|_| Refusal::Overloaded)?;
        if self.inline && own_loop != 0 {
            fence_before_ring();
            self.desks[0].bell.ring();
        }
        Ok(())
    }

    /// Tells everybody concerned of a step: receipts to their desks, a ring to each sleeping loop that has a receipt or
    /// a subscriber. One fence for all.
    pub fn announce(&self, step: &Step, interest: &mut [Interest]) {
        self.announce_by(None, step, interest);
    }

    /// The same, said by the loop `own` if there is one, which deals with its own receipts.
    pub fn announce_by(&self, own: Option<usize>, step: &Step, interest: &mut [Interest]) {
        for (origin, receipt) in &step.receipts {
            if origin.is_in_process() {
                self.audience.answer(receipt);
            } else if let Some(desk) =
                self.desks.get(origin.loop_index).filter(|_| own != Some(origin.loop_index))
            {
                // Bounded by what the loop may have in flight, which it counts itself; it cannot be full.
                let sent = desk.receipts.0.try_send(*receipt);
                debug_assert!(sent.is_ok());
            }
        }
        fence_before_ring();
        self.audience.ring(&self.log, step.first..step.end);
        for (index, desk) in self.desks.iter().enumerate() {
            if !desk.bell.is_asleep() {
                continue;
            }
            let has_receipt = !desk.receipts.0.is_empty();
            if has_receipt || interest[index].in_range(self, desk, step.first..step.end) {
                desk.bell.ring();
            } else {
                // Nothing of this concerns it: it sleeps on, and is not behind for all that.
                desk.advance_routed(step.end);
            }
        }
    }

    /// Whether the slowest loop that is awake is further behind than publishers may drive it.
    #[must_use]
    pub fn is_far_behind(&self) -> bool {
        let published = self.log.published();
        let behind_max_ms = self.limits.fanout_backlog_max.as_millis() as u64;
        let is_far_behind = |desk: &Desk| {
            let routed = desk.routed();
            let is_late = || behind_max_ms <= desk.behind_ms() || desk.stalled_ms() != 0;
            self.limits.fanout_backlog_events_max <= published.saturating_sub(routed)
                || (routed < published && is_late())
        };
        // A sleeping loop has handed on everything that concerns it, or is being rung.
        self.desks.iter().filter(|desk| !desk.bell.is_asleep()).any(is_far_behind)
    }

    /// Begins to shut down: no new publish is let in from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        for desk in &self.desks {
            fence_before_ring();
            desk.bell.ring();
        }
        fence_before_ring();
        self.audience.ring_all();
    }

    /// Whether the server is shutting down.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Whether everything that was let in has been published and answered, so that loops may say goodbye.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.desks.iter().all(|desk| desk.quiet.load(Ordering::SeqCst)) && self.ingest.is_empty()
    }

    /// A loop has ended, at the end of a drain: the others, of which one may have waited for that, look again.
    pub fn leave_loop(&self) {
        self.loops_left.fetch_add(1, Ordering::SeqCst);
        fence_before_ring();
        for desk in &self.desks {
            desk.bell.ring();
        }
    }

    /// Whether only one loop has not ended.
    #[must_use]
    pub fn is_last_loop(&self) -> bool {
        self.desks.len() <= self.loops_left.load(Ordering::SeqCst) + 1
    }

    /// The first loop that stands still, if one does.
    #[must_use]
    pub fn stalled(&self) -> Option<Stall> {
        let stall = |(loop_index, desk): (usize, &Desk)| {
            Some(Stall { loop_index, for_ms: desk.stalled_ms() }).filter(|stall| stall.for_ms != 0)
        };
        self.desks.iter().enumerate().find_map(stall)
    }

    /// Whether every loop has handed everything up to `seq` to the kernel, for everybody who keeps up.
    #[must_use]
    pub fn has_delivered(&self, seq: u64) -> bool {
        self.desks.iter().all(|desk| seq < desk.routed())
    }

    /// Connections of all loops now, at both doors.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.admission.inside()
    }
}

impl Desk {
    /// Shows a new snapshot of the loop's table. The loop must look at `published` once more before it blocks, after
    /// [`Bell::lie_down`], as it does anyway.
    pub fn show_table(&self, table: Table) {
        self.table.swap(Some(Arc::new(table)));
    }

    /// The next receipt for the loop.
    #[must_use]
    pub fn take_receipt(&self) -> Option<Receipt> {
        self.receipts.1.try_recv().ok()
    }

    /// Sends the loop a letter, and wakes it.
    pub fn post(&self, letter: Letter) {
        // Both ends live as long as the desk.
        let sent = self.letters.0.send(letter);
        debug_assert!(sent.is_ok());
        fence_before_ring();
        self.bell.ring();
    }

    /// The next letter for the loop.
    #[must_use]
    pub fn take_letter(&self) -> Option<Letter> {
        self.letters.1.try_recv().ok()
    }

    /// Whether a letter waits.
    #[must_use]
    pub fn has_letter(&self) -> bool {
        !self.letters.1.is_empty()
    }

    /// The snapshot of the loop's table that others see.
    #[must_use]
    pub fn table(&self) -> Loaded<Table> {
        self.table.load()
    }

    /// Whether a receipt waits.
    #[must_use]
    pub fn has_receipt(&self) -> bool {
        !self.receipts.1.is_empty()
    }

    /// Everything below this has been handed to the kernel for everybody who keeps up.
    #[must_use]
    pub fn routed(&self) -> u64 {
        self.routed.load(Ordering::Acquire)
    }

    /// Everything below `routed` is done with: said by the loop itself, or by the sequencer of a sleeping loop that
    /// has no subscriber of what was published. The loop takes the number over when it wakes.
    pub fn advance_routed(&self, routed: u64) {
        self.routed.fetch_max(routed, Ordering::AcqRel);
    }

    /// How old the first event was that the loop had not handed on at the end of its last turn, in milliseconds; 0 if it
    /// had handed on all.
    #[must_use]
    pub fn behind_ms(&self) -> u64 {
        self.behind_ms.load(Ordering::Relaxed)
    }

    /// The loop ends a turn, and the first event that it has not handed on is so old.
    pub fn set_behind_ms(&self, behind_ms: u64) {
        // Relaxed: only the number counts.
        self.behind_ms.store(behind_ms, Ordering::Relaxed);
    }

    /// The loop begins another turn.
    pub fn begin_turn(&self) {
        // Relaxed, and no read-modify-write: there is one writer, and only that the number changes counts.
        self.turns.store(self.turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The loop has had its last turn.
    pub fn retire(&self) {
        self.turns.store(RETIRED, Ordering::Relaxed);
    }

    /// Turns that the loop has begun; nothing once it has had its last.
    #[must_use]
    pub fn turns(&self) -> Option<u64> {
        Some(self.turns.load(Ordering::Relaxed)).filter(|turns| *turns != RETIRED)
    }

    /// For how many milliseconds the loop has not turned though it is awake; 0 if it is well.
    #[must_use]
    pub fn stalled_ms(&self) -> u64 {
        self.stalled_ms.load(Ordering::Relaxed)
    }

    /// What the watchdog has found out.
    pub fn set_stalled_ms(&self, stalled_ms: u64) {
        self.stalled_ms.store(stalled_ms, Ordering::Relaxed);
    }

    /// The loop, draining, has nothing more to submit or to be answered.
    pub fn set_quiet(&self) {
        self.quiet.store(true, Ordering::SeqCst);
    }
}

// Under Miri the log is tiny.
const _: () =
    assert!(cfg!(miri) || STEP_EVENTS_MAX * 2 <= BATCH_EVENTS_MAX, "a step overruns by at most one batch");
const _: () = assert!(
    frame_bytes_max(EVENT_BYTES_CEILING + EVENT_REST_BYTES) <= FRAME_BYTES_MAX,
    "a frame is addressed by 24 bits"
);

/// What an event's JSON has besides its data, at most: channel, kind, ids and tags, and their names.
const EVENT_REST_BYTES: usize = 1 << 18;

/// Remembers for one loop which channels its current snapshot has subscribers of, so that a stream of events nobody
/// there wants costs the sequencer a look-up in a small map each.
#[derive(Default)]
pub struct Interest {
    /// The snapshot that `known` was worked out from.
    table: Option<Arc<Table>>,
    /// The numbering of channels that it was worked out from.
    reuses: u64,
    known: HashMap<ChannelId, bool, foldhash::fast::RandomState>,
}

impl Interest {
    /// Whether any event of `range` has a subscriber at `desk`.
    fn in_range(&mut self, hub: &Hub, desk: &Desk, range: std::ops::Range<u64>) -> bool {
        let table = desk.table.load();
        let names = hub.log.names();
        let (Some(table), Some(names)) = (table.as_ref(), names.as_ref()) else { return false };
        if table.subscriptions() == 0 {
            return false;
        }
        let is_same_table = self.table.as_ref().is_some_and(|known| Arc::ptr_eq(known, table));
        if !is_same_table || self.reuses != names.reuses() || INTEREST_MAX < self.known.len() {
            self.table = Some(Arc::clone(table));
            self.reuses = names.reuses();
            self.known.clear();
        }
        range.into_iter().any(|seq| {
            // What is gone already may have been wanted: the loop will find out what it has missed.
            let Some(slot) = hub.log.slot(seq) else { return true };
            *self.known.entry(slot.route).or_insert_with(|| {
                names.name(slot.route).is_some_and(|name| table.has_subscriber(name.as_str()))
            })
        })
    }
}

/// Channels remembered per loop before the memory is begun anew.
const INTEREST_MAX: usize = 65_536;

fn retention(limits: &Limits) -> Retention {
    Retention {
        events: limits.retain_events,
        bytes: limits.retain_bytes,
        age: limits.retain_age,
        channels_max: limits.channels_max,
    }
}

/// Runs the sequencer on the calling thread until `stop` says so: the seat it has when there are several loops.
pub fn run_sequencer(hub: &Hub, mut sequencer: Sequencer, now_unix_ms: impl Fn() -> u64, stop: &AtomicBool) {
    let mut step = Step::default();
    let mut interest: Vec<Interest> = hub.desks.iter().map(|_| Interest::default()).collect();
    while !stop.load(Ordering::Acquire) {
        if !hub.ingest.wait(SEQUENCER_LOOK_UP) {
            sequencer.expire(now_unix_ms());
            continue;
        }
        while sequencer.step(&hub.ingest, now_unix_ms(), &mut step) {
            hub.announce(&step, &mut interest);
        }
    }
}

/// How often an idle sequencer looks whether it shall stop, and what is too old.
const SEQUENCER_LOOK_UP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequencer::{Before, Done, EventParts, Origin, Publication};
    use crate::words::channel::{Channel, Pattern};

    /// Counts how often it was rung.
    struct Count(Arc<AtomicUsize>);

    impl Waker for Count {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn submission(channels: impl Iterator<Item = &'static str>) -> Submission {
        let publication = |name| {
            let channel = Channel::parse(name).unwrap();
            let parts = EventParts::new(&channel, "k", b"1");
            Publication::new(&parts).unwrap()
        };
        Submission::publish(Origin::NOBODY, channels.map(publication).collect())
    }

    /// Publishes `channels` in one step to a sleeping loop that subscribes to `t:wanted`; returns how often it was
    /// rung, and what it is taken to have routed.
    fn step_past_a_sleeper(channels: impl Iterator<Item = &'static str>) -> (usize, u64) {
        let rung = Arc::new(AtomicUsize::new(0));
        let limits = Limits { retain_events: 0, retain_bytes: 1, ..Limits::default() };
        let waker: Box<dyn Waker> = Box::new(Count(Arc::clone(&rung)));
        let (hub, mut sequencer) = Hub::new(limits, Epoch::from_bits(0), vec![waker], false);
        let desk = &hub.desks()[0];
        let mut table = Table::default();
        table.subscribe(&Pattern::parse("t:wanted").unwrap(), 0);
        desk.show_table(table);
        desk.bell.lie_down();
        hub.submit(submission(channels)).unwrap();
        let mut step = Step::default();
        assert!(sequencer.step(hub.ingest(), 0, &mut step));
        hub.announce(&step, &mut [Interest::default()]);
        (rung.load(Ordering::Relaxed), desk.routed())
    }

    #[test]
    fn a_sleeper_is_rung_for_its_own_events_only() {
        assert_eq!(step_past_a_sleeper(["t:wanted"].into_iter()), (1, 1));
        assert_eq!(step_past_a_sleeper(["t:other"; 3].into_iter()), (0, 4), "it is not behind for all that");
    }

    #[test]
    fn an_idle_sequencer_lets_go_of_what_is_too_old() {
        let limits = Limits { retain_age: Some(Duration::from_secs(1)), ..Limits::default() };
        let waker: Box<dyn Waker> = Box::new(Count(Arc::default()));
        let (hub, sequencer) = Hub::new(limits, Epoch::from_bits(0), vec![waker], false);
        let (clock_ms, stop) = (AtomicU64::new(5000), AtomicBool::new(false));
        let begin = std::time::Instant::now();
        let comes = |is_there: &dyn Fn() -> bool| {
            while !is_there() && begin.elapsed() < Duration::from_secs(30) {
                std::thread::yield_now();
            }
            is_there()
        };
        let (was_published, has_left) = std::thread::scope(|scope| {
            scope.spawn(|| run_sequencer(&hub, sequencer, || clock_ms.load(Ordering::Relaxed), &stop));
            let is_in = hub.submit(submission(["t:a"].into_iter())).is_ok();
            let was_published = is_in && comes(&|| hub.log.published() == 2);
            let oldest = hub.log.oldest();
            clock_ms.store(6000, Ordering::Relaxed);
            let has_left = oldest == 1 && comes(&|| hub.log.oldest() == 2);
            stop.store(true, Ordering::Release);
            (was_published, has_left)
        });
        assert!(was_published && has_left, "{was_published} {has_left}");
    }

    #[test]
    fn loops_that_are_behind_keep_publishers_out_and_not_who_clears() {
        let limits = Limits { fanout_backlog_events_max: 1, ..Limits::default() };
        let waker: Box<dyn Waker> = Box::new(Count(Arc::default()));
        let (hub, mut sequencer) = Hub::new(limits, Epoch::from_bits(0), vec![waker], false);
        let mut step = Step::default();
        hub.submit(submission(["t:a"; 2].into_iter())).unwrap();
        assert!(sequencer.step(hub.ingest(), 0, &mut step));
        assert_eq!(hub.submit(submission(["t:a"].into_iter())), Err(Refusal::Overloaded));
        assert_eq!(hub.submit(Submission::clear(Origin::NOBODY, Before::Seq(2))), Ok(()));
        assert!(sequencer.step(hub.ingest(), 0, &mut step));
        assert_eq!(step.receipts[0].1.outcome, Ok(Done::Cleared { count: 1, oldest: 2 }));
    }

    #[test]
    fn a_loop_that_is_late_or_stands_still_keeps_publishers_out_only_while_it_owes_something() {
        let limits = Limits { fanout_backlog_max: Duration::from_millis(200), ..Limits::default() };
        let waker: Box<dyn Waker> = Box::new(Count(Arc::default()));
        let (hub, mut sequencer) = Hub::new(limits, Epoch::from_bits(0), vec![waker], false);
        let desk = &hub.desks()[0];
        let check = |behind_ms: u64, stalled_ms: u64, is_level: bool, expected: bool| {
            desk.set_behind_ms(behind_ms);
            desk.set_stalled_ms(stalled_ms);
            desk.advance_routed(if is_level { hub.log.published() } else { 1 });
            assert_eq!(hub.is_far_behind(), expected, "{behind_ms} ms behind, {stalled_ms} ms still");
        };
        check(1000, 1000, true, false);
        hub.submit(submission(["t:a"].into_iter())).unwrap();
        assert!(sequencer.step(hub.ingest(), 0, &mut Step::default()));
        check(0, 0, false, false);
        check(199, 0, false, false);
        check(200, 0, false, true);
        check(0, 1, false, true);
        desk.bell.lie_down();
        check(200, 1, false, false);
        desk.bell.get_up();
        check(200, 1, true, false);
    }

    #[test]
    fn an_event_that_is_gone_when_the_sleepers_are_looked_at_still_rings() {
        // The first segment leaves a window of one byte in the step that filled it.
        let wanted_then_many = std::iter::once("t:wanted").chain(std::iter::repeat_n("t:other", 600));
        assert_eq!(step_past_a_sleeper(wanted_then_many), (1, 1));
    }
}
