//! The bell: no wake-up is lost, and none is given twice.

use fanfare::sync::bell::{Bell, Waker, fence_before_ring};
use fanfare::sync::{Arc, AtomicU64, AtomicUsize, Ordering};
use loom::sync::Notify;
use loom::thread;

use crate::{Expected, Kept, Seen, explore};

/// An eventfd: a wake that comes early is kept.
pub(crate) struct Wake {
    notify: Notify,
    /// How often it was rung.
    pub(crate) count: AtomicUsize,
}

impl Wake {
    pub(crate) fn new() -> Wake {
        Wake { notify: Notify::new(), count: AtomicUsize::new(0) }
    }

    /// Blocks until somebody wakes it; like a poll it may also return by itself.
    pub(crate) fn wait(&self) {
        self.notify.wait();
    }
}

/// The sleeper's and the ringer's hold on one [`Wake`].
#[derive(Clone)]
pub(crate) struct Handle(pub(crate) Arc<Wake>);

impl Waker for Handle {
    fn wake(&self) {
        self.0.count.fetch_add(1, Ordering::Relaxed);
        self.0.notify.notify();
    }
}

/// Works for `work` to become `wanted`, sleeping at most as often as it must. Returns how often it lay down.
fn sleep_until(wanted: u64, work: &AtomicU64, bell: &Bell<Handle>, wake: &Wake, seen: &Seen) -> usize {
    for sleeps in 1.. {
        bell.lie_down();
        let found = work.load(Ordering::Acquire);
        if found < wanted {
            wake.wait();
            let is_rung = 0 < wake.count.load(Ordering::Relaxed);
            seen.note(if is_rung { "woken by the bell" } else { "woken by itself" });
        } else {
            seen.note("saw the work before it slept");
        }
        bell.get_up();
        if found == wanted || work.load(Ordering::Acquire) == wanted {
            return sleeps;
        }
    }
    unreachable!()
}

/// A wake-up that is lost leaves the sleeper blocked for ever, which loom reports.
#[test]
fn sleeping_loop_is_woken() {
    let expected = Expected {
        name: "sleeping_loop_is_woken",
        preemptions: None,
        interleavings_min: 100,
        outcomes: &["saw the work before it slept", "woken by itself", "woken by the bell"],
    };
    explore(&expected, |seen| {
        let work = Kept::new(AtomicU64::new(0));
        let wake = Kept::new(Wake::new());
        let bell = Kept::new(Bell::new(Handle(wake.share())));
        let ringer = thread::spawn({
            let (work, bell) = (work.clone(), bell.clone());
            move || {
                work.store(1, Ordering::Release);
                fence_before_ring();
                bell.ring();
            }
        });
        sleep_until(1, &work, &bell, &wake, seen);
        ringer.join().unwrap();
    });
}

/// However many ring, a sleeper is woken at most once each time it lies down.
#[test]
fn two_ringers_wake_once_per_sleep() {
    let expected = Expected {
        name: "two_ringers_wake_once_per_sleep",
        preemptions: Some(3),
        interleavings_min: 10000,
        outcomes: &["saw the work before it slept", "woken by itself", "woken by the bell"],
    };
    explore(&expected, |seen| {
        let work = Kept::new(AtomicU64::new(0));
        let wake = Kept::new(Wake::new());
        let bell = Kept::new(Bell::new(Handle(wake.share())));
        let ringers = [0, 1].map(|_| {
            let (work, bell) = (work.clone(), bell.clone());
            thread::spawn(move || {
                work.fetch_add(1, Ordering::Release);
                fence_before_ring();
                bell.ring();
            })
        });
        let sleeps = sleep_until(2, &work, &bell, &wake, seen);
        for ringer in ringers {
            ringer.join().unwrap();
        }
        let wakes = wake.count.load(Ordering::Relaxed);
        assert!(wakes <= sleeps, "{wakes} wakes for {sleeps} sleeps");
    });
}
