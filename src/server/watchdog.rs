//! Whoever looks whether the loops still turn, and whether the sequencer goes on: a thread that shares nothing with them but numbers.
//!
//! # Contract       a loop that is awake and has not turned for `loop_stall_max` is said to stand still, on its desk, until it
//!   turns again; after `loop_stall_abort` the process ends, so that whoever supervises it can start another. The same goes
//!   for a sequencer that begins no step though something waits for it
//! # Why not …      the time of a loop's last turn: a process that was stopped for a while, or a machine that slept, would find
//!   all of its loops late. What counts is how long the watchdog itself has seen a loop stand still

use std::fmt::Display;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::stand_in::StandIn;
use super::supervisor::{Supervisor, Told};
use crate::hub::Hub;
use crate::journal;
use crate::sync::{AtomicBool, Ordering};
use crate::words::level::Level;
use crate::words::limits::Limits;

/// The longest time between two looks.
const LOOK_MAX: Duration = Duration::from_millis(250);

/// Looks again and again until `stop`, answers in place of a loop that stands still, and tells the supervisor that all is well
/// while it is. To be unparked after `stop` was set, and when a drain begins.
pub(super) fn run(hub: &Hub, stand_in: &Arc<StandIn>, supervisor: &Supervisor, stop: &AtomicBool) {
    let limits = &hub.limits;
    // It wants to hear us in half of its time.
    let tell_every = supervisor.watchdog().map(|watchdog| watchdog / 2);
    let look = LOOK_MAX.min(limits.loop_stall_max / 4).min(tell_every.unwrap_or(LOOK_MAX) / 2);
    let look = look.max(Duration::from_millis(1));
    let mut told: Option<Instant> = None;
    let mut watch = Watch::new(hub.desks().len() + 1);
    let (mut last, mut answering) = (Instant::now(), Duration::ZERO);
    while !stop.load(Ordering::Acquire) {
        thread::park_timeout(look);
        if hub.is_draining() {
            stand_in.leave();
        }
        // More than this the watchdog was not there itself.
        let passed = last.elapsed().min(look * 2 + answering);
        (last, answering) = (Instant::now(), Duration::ZERO);
        for (index, desk) in hub.desks().iter().enumerate() {
            let still = watch.look(index, desk.turns(), desk.bell.is_asleep(), passed);
            desk.set_stalled_ms(judge(&format_args!("loop {index}"), still, desk.stalled_ms(), hub));
            if desk.stalled_ms() != 0 {
                let since = Instant::now();
                stand_in.answer(hub, index);
                answering += since.elapsed();
            }
        }
        let (ingest, sequencer) = (hub.ingest(), hub.desks().len());
        // One that sits in a loop ends with it.
        let steps = hub.desks().iter().any(|desk| desk.turns().is_some()).then(|| ingest.steps());
        let still = watch.look(sequencer, steps, ingest.is_empty(), passed);
        ingest.set_stalled_ms(judge(&"the sequencer", still, ingest.stalled_ms(), hub));
        let is_due = tell_every.is_some_and(|every| told.is_none_or(|told| every <= told.elapsed() + look));
        if is_due && hub.stalled().is_none() && ingest.stalled_ms() == 0 {
            supervisor.tell(Told::Well);
            told = Some(Instant::now());
        }
    }
}

/// Says what is to be said of `who`, which has stood still for so long, and was known to for `stalled_ms`; returns the new
/// number of these. Ends the process if it has been too long.
fn judge(who: &dyn Display, still: Duration, stalled_ms: u64, hub: &Hub) -> u64 {
    match verdict(still, &hub.limits) {
        Verdict::Turns => {
            if stalled_ms != 0 {
                journal::say(Level::Warn, "watchdog", &format!("{who} goes on again"), &[]);
            }
            0
        }
        Verdict::Stalled => {
            if stalled_ms == 0 {
                let message = format!("{who} has stood still for {} ms", still.as_millis());
                journal::say(Level::Error, "watchdog", &message, &[]);
                hub.counters.count_stall();
            }
            (still.as_millis() as u64).max(1)
        }
        Verdict::Lost => {
            let seconds = still.as_secs_f64();
            let message = format!("{who} has stood still for {seconds:.1} s; the server cannot go on");
            journal::last_words("watchdog", &message);
            std::process::abort();
        }
    }
}

/// What is to be done about a loop, or the sequencer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing.
    Turns,
    /// It is said that it stands still.
    Stalled,
    /// The process ends.
    Lost,
}

fn verdict(still: Duration, limits: &Limits) -> Verdict {
    match limits.loop_stall_abort {
        Some(most) if most <= still => Verdict::Lost,
        _ if limits.loop_stall_max <= still => Verdict::Stalled,
        _ => Verdict::Turns,
    }
}

/// What was seen of each loop, and of the sequencer.
#[derive(Debug)]
struct Watch {
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    turns: Option<u64>,
    still: Duration,
}

impl Watch {
    fn new(count: usize) -> Watch {
        Watch { seen: vec![Seen::default(); count] }
    }

    /// `passed` after the last look number `index` has begun so many turns, or had its last, and has nothing to do if
    /// `is_idle`; returns for how long it has stood still.
    fn look(&mut self, index: usize, turns: Option<u64>, is_idle: bool, passed: Duration) -> Duration {
        let seen = &mut self.seen[index];
        let stands_still = turns.is_some() && turns == seen.turns && !is_idle;
        seen.turns = turns;
        seen.still = if stands_still { seen.still + passed } else { Duration::ZERO };
        seen.still
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Sitter;
    use crate::sequencer::{Before, Origin, Submission};
    use crate::sync::bell::Waker;
    use crate::sync::last_words_of;
    use crate::words::cursor::Epoch;
    use crate::words::now::Now;

    #[test]
    fn only_a_loop_that_is_awake_and_does_not_turn_stands_still() {
        let mut watch = Watch::new(2);
        let second = Duration::from_secs(1);
        let mut check = |turns: u64, is_idle: bool, expected_s: u32| {
            assert_eq!(watch.look(1, Some(turns), is_idle, second), second * expected_s);
        };
        check(1, false, 0);
        check(2, false, 0);
        check(2, false, 1);
        check(2, false, 2);
        check(3, false, 0);
        check(3, true, 0);
        check(3, true, 0);
        check(3, false, 1);
        check(3, true, 0);
        assert_eq!(watch.look(0, Some(7), false, second), Duration::ZERO);
        assert_eq!(watch.look(0, Some(7), false, second), second, "each by itself");
        assert_eq!(watch.look(0, None, false, second), Duration::ZERO);
        assert_eq!(watch.look(0, None, false, second), Duration::ZERO, "it has ended");
    }

    /// Nobody.
    struct Deaf;

    impl Waker for Deaf {
        fn wake(&self) {}
    }

    /// A server's middle under watch, where nobody gets at the sequencer but `act`.
    fn under_watch(limits: Limits, act: impl FnOnce(&Hub, &mut Sitter)) {
        under_supervision(limits, &Supervisor::default(), act);
    }

    /// The same with somebody who is told.
    fn under_supervision(limits: Limits, supervisor: &Supervisor, act: impl FnOnce(&Hub, &mut Sitter)) {
        let wakers: Vec<Box<dyn Waker>> = vec![Box::new(Deaf), Box::new(Deaf)];
        let hub = Hub::new(limits, Epoch::from_bits(0), wakers);
        let mut sitter = hub.seat().take().unwrap();
        // Its loops sleep.
        hub.desks().iter().for_each(|desk| desk.bell.lie_down());
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| run(&hub, &Arc::default(), supervisor, &stop));
            // It ends if the test fails, too.
            let _end = End(&stop);
            act(&hub, &mut sitter);
        });
    }

    /// Ends the watchdog when dropped, at its next look.
    struct End<'a>(&'a AtomicBool);

    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }

    fn submit(hub: &Hub) {
        hub.submit(Submission::clear(Origin::NOBODY, Before::Keep(0))).unwrap();
    }

    fn wait_until(what: &str, is_true: impl Fn() -> bool) {
        let begin = Instant::now();
        while !is_true() {
            assert!(begin.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
            thread::yield_now();
        }
    }

    #[test]
    fn a_sequencer_that_leaves_something_lying_is_noticed_until_it_goes_on() {
        let limits =
            Limits { loop_stall_max: Duration::from_millis(40), loop_stall_abort: None, ..Limits::default() };
        under_watch(limits, |hub, sitter| {
            submit(hub);
            wait_until("it is seen", || hub.ingest().stalled_ms() != 0);
            assert!(40 <= hub.ingest().stalled_ms());
            assert_eq!((hub.stalled(), hub.counters.stalls()), (None, 1), "no loop stands still");
            assert!(sitter.step(hub, Now::default()));
            wait_until("it is seen to go on", || hub.ingest().stalled_ms() == 0);
            let begin = Instant::now();
            // Longer than it might stand still, if there were anything to do.
            wait_until("some time has passed", || {
                assert_eq!(hub.ingest().stalled_ms(), 0);
                Duration::from_millis(200) < begin.elapsed()
            });
        });
    }

    #[test]
    fn nobody_is_told_that_all_is_well_while_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let hears = || {
            let mut buffer = [0; 64];
            let told = socket.recv(&mut buffer).map(|count| buffer[..count].to_vec()).ok();
            told.inspect(|told| assert_eq!(told, b"WATCHDOG=1\n")).is_some()
        };
        let limits =
            Limits { loop_stall_max: Duration::from_millis(40), loop_stall_abort: None, ..Limits::default() };
        let supervisor = Supervisor::at(&path, Duration::from_millis(20));
        under_supervision(limits, &supervisor, |hub, sitter| {
            wait_until("it is told that all is well", hears);
            wait_until("it is told again", hears);
            submit(hub);
            wait_until("the sequencer is seen to stand still", || hub.ingest().stalled_ms() != 0);
            while hears() {}
            let begin = Instant::now();
            wait_until("some time has passed", || {
                assert!(!hears());
                Duration::from_millis(200) < begin.elapsed()
            });
            assert!(sitter.step(hub, Now::default()));
            wait_until("it is told that all is well again", hears);
        });
    }

    /// Set in the child, which is this test once more.
    const CHILD: &str = "FANFARE_TEST_SEQUENCER_CHILD";

    #[test]
    fn a_sequencer_that_stands_still_for_too_long_ends_the_process() {
        if std::env::var_os(CHILD).is_some() {
            let limits = Limits {
                loop_stall_max: Duration::from_millis(20),
                loop_stall_abort: Some(Duration::from_millis(100)),
                ..Limits::default()
            };
            under_watch(limits, |hub, _| {
                submit(hub);
                wait_until("the process ends", || false);
            });
            return;
        }
        let name = "server::watchdog::tests::a_sequencer_that_stands_still_for_too_long_ends_the_process";
        let said = last_words_of(name, CHILD);
        assert!(
            said.contains("fanfare: the sequencer has stood still for 0.1 s; the server cannot go on"),
            "{said}"
        );
    }

    #[test]
    fn red_comes_first_and_the_end_only_if_it_is_wanted() {
        let check = |still_ms: u64, abort_ms: Option<u64>, expected: Verdict| {
            let loop_stall_abort = abort_ms.map(Duration::from_millis);
            let limits = Limits { loop_stall_abort, ..Limits::default() };
            assert_eq!(
                verdict(Duration::from_millis(still_ms), &limits),
                expected,
                "{still_ms} {abort_ms:?}"
            );
        };
        check(0, Some(30_000), Verdict::Turns);
        check(4_999, Some(30_000), Verdict::Turns);
        check(5_000, Some(30_000), Verdict::Stalled);
        check(29_999, Some(30_000), Verdict::Stalled);
        check(30_000, Some(30_000), Verdict::Lost);
        check(3_600_000, None, Verdict::Stalled);
        check(2_000, Some(1_000), Verdict::Lost);
    }
}
