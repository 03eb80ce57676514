//! What the loops, the sequencer and in-process publishers share.
//!
//! # Contract       whoever sits writes the log ([`Hub::sequence`]); each loop writes its own [`Desk`]; everybody reads everything
//! # Memory order   a loop that subscribes stores its table, fences, and looks at `published` before it sleeps; the
//!   sequencer publishes, fences, and looks at the tables before it rings: one of the two sees the other
//!   ([`crate::sync::bell`] has the argument, `tests/loom` the model)

mod desk;
mod sitter;

use crossbeam_utils::CachePadded;

use crate::admission::Admission;
use crate::audience::Audience;
use crate::counters::Counters;
use crate::latency::{Latency, Snapshot};
use crate::live::LiveLimits;
use crate::log::{BATCH_EVENTS_MAX, FRAME_BYTES_MAX, Log, Retention, frame_bytes_max};
use crate::mail::Letter;
use crate::presence::Presence;
use crate::sequencer::{Ingest, Order, Refusal, Step, Submission};
use crate::sync::bell::{Waker, fence_before_ring};
use crate::sync::errand::Errand;
use crate::sync::seat::Seat;
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Ordering, or_abort};
use crate::words::cursor::Epoch;
use crate::words::door::Door;
use crate::words::limits::{EVENT_BYTES_CEILING, Limits, STEP_EVENTS_MAX};
use crate::words::now::Now;

pub use desk::Desk;
pub use sitter::Sitter;

/// The shared middle of one server.
pub struct Hub {
    /// The bounds, as they were at the start.
    pub limits: Limits,
    /// Those of them that may have changed since then.
    pub live: LiveLimits,
    /// The name of this log.
    pub epoch: Epoch,
    /// The log.
    pub log: Arc<Log>,
    /// The way to the sequencer.
    ingest: Ingest,
    /// One desk a loop.
    desks: Box<[Desk]>,
    /// Where the sequencer is taken: by whichever loop, or thread, has something for it.
    /// On a cache line of its own, since every loop writes to it.
    seat: CachePadded<Seat<Sitter>>,
    /// What threads that are no loops have got up from, for the first loop to see to.
    pub errand: Errand,
    /// When the oldest event is too old, as whoever sat last has found, in Unix milliseconds.
    next_expiry_ms: AtomicU64,
    /// Set once, when the server begins to shut down.
    draining: AtomicBool,
    /// Loops that have ended.
    loops_left: AtomicUsize,
    /// Who is let in.
    pub admission: Admission,
    /// Streams and subscriptions of all loops.
    pub counters: Counters,
    /// What those who measure how long things take have in common.
    pub measure: Arc<Latency>,
    /// Who is on which channel, of those where that is told.
    pub presence: Presence,
    /// Which patterns are subscribed to, if that is told.
    pub occupancy: Presence,
    /// Who waits and reads in this process, without a loop.
    pub audience: Audience,
}

/// A loop that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Which.
    pub loop_index: usize,
    /// For how long, in milliseconds; at least 1.
    pub for_ms: u64,
}

impl Hub {
    /// The middle of a server with one loop per waker; without wakers, of an engine alone.
    ///
    /// # Panics
    /// If [`Limits::check`] refuses the limits.
    #[must_use]
    pub fn new(limits: Limits, epoch: Epoch, wakers: Vec<Box<dyn Waker>>) -> Arc<Hub> {
        assert_eq!(limits.check(), Ok(()), "the limits were checked");
        let (log, writer) = Log::new(retention(&limits));
        // Every submission of a loop can be answered at once.
        let receipts_max = limits.ingest_items_max * 2;
        let measure = Arc::new(Latency::default());
        let sitter = Sitter::new(writer, epoch, &limits, wakers.len(), Arc::clone(&measure));
        let hub = Hub {
            epoch,
            log,
            ingest: Ingest::new(limits.ingest_items_max, limits.ingest_bytes_max),
            seat: CachePadded::new(Seat::new(sitter)),
            errand: Errand::new(),
            next_expiry_ms: AtomicU64::new(u64::MAX),
            desks: wakers.into_iter().map(|waker| Desk::new(waker, receipts_max)).collect(),
            draining: AtomicBool::new(false),
            loops_left: AtomicUsize::new(0),
            admission: Admission::default(),
            counters: Counters::default(),
            measure,
            presence: Presence::default(),
            occupancy: Presence::default(),
            audience: Audience::default(),
            live: LiveLimits::new(&limits),
            limits,
        };
        Arc::new(hub)
    }

    /// The desks, one a loop.
    #[must_use]
    pub fn desks(&self) -> &[Desk] {
        &self.desks
    }

    /// How long events have taken through this server so far. Cost: a look at each counter of the ways and
    /// namespaces in use, a thousand each.
    #[must_use]
    pub fn latency(&self) -> Snapshot {
        Snapshot::take(&self.measure, self.desks.iter().map(|desk| &desk.recorder))
    }

    /// Another policy is in force: every loop looks at its clients anew.
    pub fn review(&self) {
        self.desks.iter().for_each(|desk| desk.post(Letter::Review));
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
        let is_publish = matches!(submission.order, Order::Publish { .. });
        if is_publish && self.is_far_behind() {
            self.counters.refuse_publish();
            return Err(Refusal::Overloaded);
        }
        let outcome = self.submit_own(submission);
        if is_publish && outcome.is_err() {
            self.counters.refuse_publish();
        }
        outcome
    }

    /// Lets a loop's own events in, whatever else there is to do.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] when the queue is full.
    pub fn submit_own(&self, mut submission: Submission) -> Result<(), Refusal> {
        // Without loops nobody measures.
        if submission.accepted_ns == 0 && !self.desks.is_empty() {
            submission.accepted_ns = self.measure.clock.read_ns();
        }
        self.ingest.submit(submission).map_err(|_| Refusal::Overloaded)
    }

    /// Carries out what waits in the queue, unless somebody does: he finds it then. Everybody calls it who has submitted
    /// something. `after` is called after each step, which it may look at, with the number of those steps; when it says so
    /// the caller has done enough for others. Returns whether work is left then, which is the caller's to pass on, or to
    /// do a moment later.
    ///
    /// `own`: the loop that calls, if one does; the receipts of its own submissions are in the steps only.
    pub fn sequence(
        &self,
        now: Now,
        own: Option<usize>,
        mut after: impl FnMut(usize, &Step) -> bool,
    ) -> bool {
        let is_work = || !self.ingest.is_empty();
        let mut steps = 0;
        let turn = |sitter: &mut Sitter| {
            while is_work() {
                // Others rely on whoever sits: if he failed they would wait for ever.
                let has_taken = or_abort("the sequencer", || {
                    let has_taken = sitter.step(self, now);
                    if has_taken {
                        sitter.announce(self, own);
                    }
                    has_taken
                });
                if !has_taken {
                    break;
                }
                steps += 1;
                if after(steps, sitter.done()) {
                    return true;
                }
            }
            false
        };
        self.seat.work(is_work, turn)
    }

    /// [`Hub::sequence`] by a thread that is no loop. Work that is left is passed on: to a loop, or to whoever waits for a
    /// receipt where there is no loop. `is_done`: the caller has what it was waiting for.
    pub fn sequence_outside(&self, now: Now, is_done: impl Fn() -> bool) {
        if self.sequence(now, None, |steps, _| OUTSIDE_STEPS_MAX <= steps && is_done()) {
            self.pass_on();
        }
    }

    /// Who has got up although work was left, and is no loop, passes it on.
    pub fn pass_on(&self) {
        let Some(desk) = self.desks.first() else { return self.audience.tickets.call_one() };
        self.errand.leave();
        fence_before_ring();
        desk.bell.ring();
    }

    /// The seat, for whoever sits without [`Hub::sequence`]; he looks at [`Hub::ingest`] again after he has got up.
    #[must_use]
    pub fn seat(&self) -> &Seat<Sitter> {
        &self.seat
    }

    /// Lets what is too old leave the window, if it is time and nobody sits: he does it with each step. [`Hub::sequence`] is to
    /// be called after it, for those who found the seat taken meanwhile.
    pub fn expire(&self, now_unix_ms: u64) {
        if self.next_expiry_ms.load(Ordering::Relaxed) <= now_unix_ms
            && let Some(mut sitter) = self.seat.take()
        {
            or_abort("the sequencer", || sitter.expire(self, now_unix_ms));
            self.seat.put_back(sitter);
        }
    }

    /// When [`Hub::expire`] has something to do, or may have, in Unix milliseconds; never, if events do not age.
    #[must_use]
    pub fn next_expiry_ms(&self, now_unix_ms: u64) -> Option<u64> {
        // What is published from now on is not too old before that.
        let retain_ms = u64::try_from(self.limits.retain_age?.as_millis()).unwrap_or(u64::MAX);
        let at_most_ms = now_unix_ms.saturating_add(retain_ms);
        Some(at_most_ms.min(self.next_expiry_ms.load(Ordering::Relaxed)))
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
        self.desks.iter().all(Desk::is_quiet) && self.ingest.is_empty()
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

    /// Connections that there may be at `door`.
    #[must_use]
    pub fn places(&self, door: Door) -> usize {
        match door {
            Door::Public => self.live.connections_max(),
            Door::Admin => self.limits.admin_connections_max,
        }
    }

    /// Connections of all loops now, at both doors.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.admission.inside()
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

fn retention(limits: &Limits) -> Retention {
    Retention {
        events: limits.retain_events,
        bytes: limits.retain_bytes,
        age: limits.retain_age,
        channels_max: limits.channels_max,
    }
}

/// Steps that a thread that is no loop makes, at least, before it leaves the rest to others.
const OUTSIDE_STEPS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sequencer::{Before, Done, EventParts, Origin, Publication};
    use crate::table::Table;
    use crate::words::channel::{Channel, Pattern};
    use crate::words::limits::STEP_SUBMISSIONS_MAX;

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
        let hub = Hub::new(limits, Epoch::from_bits(0), vec![waker]);
        let desk = &hub.desks()[0];
        let mut table = Table::default();
        table.subscribe(&Pattern::parse("t:wanted").unwrap(), 0);
        desk.show_table(table);
        desk.bell.lie_down();
        hub.submit(submission(channels)).unwrap();
        let mut sitter = hub.seat().take().unwrap();
        assert!(sitter.step(&hub, Now::default()));
        sitter.announce(&hub, None);
        (rung.load(Ordering::Relaxed), desk.routed())
    }

    #[test]
    fn a_sleeper_is_rung_for_its_own_events_only() {
        assert_eq!(step_past_a_sleeper(["t:wanted"].into_iter()), (1, 1));
        assert_eq!(step_past_a_sleeper(["t:other"; 3].into_iter()), (0, 4), "it is not behind for all that");
    }

    #[test]
    fn what_is_too_old_leaves_when_it_is_time() {
        let limits = Limits { retain_age: Some(Duration::from_secs(1)), ..Limits::default() };
        let hub = Hub::new(limits, Epoch::from_bits(0), Vec::new());
        let check = |now_ms: u64, oldest: u64, next_ms: u64| {
            hub.expire(now_ms);
            assert_eq!(
                (hub.log.oldest(), hub.next_expiry_ms(now_ms)),
                (oldest, Some(next_ms)),
                "{now_ms} ms"
            );
        };
        check(4000, 1, 5000);
        hub.submit(submission(["t:a"].into_iter())).unwrap();
        hub.sequence_outside(Now { mono_ms: 0, unix_ms: 5000 }, || true);
        check(5000, 1, 6000);
        check(5999, 1, 6000);
        check(6000, 2, 7000);
    }

    #[test]
    fn who_finds_the_seat_taken_leaves_his_work_to_whoever_sits() {
        let hub = Hub::new(Limits::default(), Epoch::from_bits(0), Vec::new());
        hub.submit(submission(["t:a"].into_iter())).unwrap();
        let mut is_first = true;
        let is_left = hub.sequence(Now::default(), None, |steps, step| {
            assert_eq!((steps, step.end), if is_first { (1, 2) } else { (2, 3) });
            if std::mem::take(&mut is_first) {
                hub.submit(submission(["t:b"].into_iter())).unwrap();
                hub.sequence_outside(Now::default(), || true);
                assert_eq!(hub.log.published(), 2, "somebody sits");
            }
            false
        });
        assert!(!is_left);
        assert_eq!(hub.log.published(), 3);
    }

    #[test]
    fn what_a_thread_outside_leaves_behind_is_the_first_loops_affair() {
        let rung = Arc::new(AtomicUsize::new(0));
        let waker: Box<dyn Waker> = Box::new(Count(Arc::clone(&rung)));
        let one_too_many = OUTSIDE_STEPS_MAX * STEP_SUBMISSIONS_MAX + 1;
        let limits = Limits { ingest_items_max: one_too_many, ..Limits::default() };
        let hub = Hub::new(limits, Epoch::from_bits(0), vec![waker]);
        for _ in 0..one_too_many {
            hub.submit_own(submission(["t:a"].into_iter())).unwrap();
        }
        hub.desks()[0].bell.lie_down();
        hub.sequence_outside(Now::default(), || true);
        assert_eq!((rung.load(Ordering::Relaxed), hub.errand.is_left()), (1, true));
        hub.errand.take();
        assert!(!hub.errand.is_left());
        assert!(!hub.sequence(Now::default(), Some(0), |_, _| false));
        assert_eq!(hub.log.published(), 1 + one_too_many as u64);
    }

    #[test]
    fn loops_that_are_behind_keep_publishers_out_and_not_who_clears() {
        let limits = Limits { fanout_backlog_events_max: 1, ..Limits::default() };
        let waker: Box<dyn Waker> = Box::new(Count(Arc::default()));
        let hub = Hub::new(limits, Epoch::from_bits(0), vec![waker]);
        hub.submit(submission(["t:a"; 2].into_iter())).unwrap();
        let mut sitter = hub.seat().take().unwrap();
        assert!(sitter.step(&hub, Now::default()));
        assert_eq!(hub.submit(submission(["t:a"].into_iter())), Err(Refusal::Overloaded));
        assert_eq!(hub.submit(Submission::clear(Origin::NOBODY, Before::Seq(2))), Ok(()));
        assert!(sitter.step(&hub, Now::default()));
        assert_eq!(sitter.done().receipts[0].1.outcome, Ok(Done::Cleared { count: 1, oldest: 2 }));
    }

    #[test]
    fn a_loop_that_is_late_or_stands_still_keeps_publishers_out_only_while_it_owes_something() {
        let limits = Limits { fanout_backlog_max: Duration::from_millis(200), ..Limits::default() };
        let waker: Box<dyn Waker> = Box::new(Count(Arc::default()));
        let hub = Hub::new(limits, Epoch::from_bits(0), vec![waker]);
        let desk = &hub.desks()[0];
        let check = |behind_ms: u64, stalled_ms: u64, is_level: bool, expected: bool| {
            desk.set_behind_ms(behind_ms);
            desk.set_stalled_ms(stalled_ms);
            desk.advance_routed(if is_level { hub.log.published() } else { 1 });
            assert_eq!(hub.is_far_behind(), expected, "{behind_ms} ms behind, {stalled_ms} ms still");
        };
        check(1000, 1000, true, false);
        hub.submit(submission(["t:a"].into_iter())).unwrap();
        hub.sequence_outside(Now::default(), || true);
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
