//! A loop whose subscriptions change, against a sequencer that decides by a snapshot of them whom to ring.
//!
//! The hub itself is above the layers that loom sees; this is its protocol with everything else left out.

use fanfare::sync::bell::{Bell, fence_before_ring};
use fanfare::sync::{Arc, ArcCell, AtomicU64, Ordering};
use loom::thread;

use crate::bell::{Handle, Wake};
use crate::{Expected, Kept, Seen, explore};

/// What a loop and the sequencer share.
struct Desk {
    /// The log's cursor.
    published: AtomicU64,
    /// The loop's table: whether it has a subscriber.
    table: ArcCell<bool>,
    bell: Bell<Handle>,
    /// Everything below this concerns nobody here, or has been handed on.
    routed: AtomicU64,
}

/// Publishes the event 1 and tells the loop, if it sleeps and if it concerns it.
fn sequencer(desk: &Desk) {
    if !cfg!(fanfare_mutant = "ring_before_publish") {
        desk.published.store(2, Ordering::Release);
    }
    fence_before_ring();
    if desk.bell.is_asleep() {
        let table = desk.table.load();
        if table.as_ref().is_some_and(|has_subscriber| **has_subscriber) {
            desk.bell.ring();
        } else {
            desk.routed.fetch_max(2, Ordering::AcqRel);
        }
    }
    if cfg!(fanfare_mutant = "ring_before_publish") {
        desk.published.store(2, Ordering::Release);
    }
}

/// Sleeps once without a subscriber, is woken by a socket, subscribes, and goes on until the event is behind it.
fn event_loop(desk: &Desk, wake: &Wake, seen: &Seen) {
    let mut cursor = 1;
    desk.bell.lie_down();
    let slept = desk.published.load(Ordering::Acquire) == cursor;
    desk.bell.get_up();
    if slept {
        cursor = cursor.max(desk.routed.load(Ordering::Acquire));
    }
    if !cfg!(fanfare_mutant = "table_after_look") {
        desk.table.swap(Some(Arc::new(true)));
    }
    if cursor == 2 {
        seen.note("before the subscription");
        return;
    }
    while cursor < 2 {
        desk.bell.lie_down();
        let sleeps = desk.published.load(Ordering::Acquire) == cursor;
        if cfg!(fanfare_mutant = "table_after_look") {
            desk.table.swap(Some(Arc::new(true)));
        }
        if sleeps {
            wake.wait();
        }
        desk.bell.get_up();
        // Only after a sleep: what the sequencer says while the loop is awake it says of an older table.
        if sleeps || cfg!(fanfare_mutant = "routed_taken_over_awake") {
            cursor = cursor.max(desk.routed.load(Ordering::Acquire));
        }
        if cursor < desk.published.load(Ordering::Acquire) {
            seen.note(if wake.count.load(Ordering::Relaxed) == 0 { "seen before it slept" } else { "rung" });
            return;
        }
    }
    panic!("the event was passed over although there was a subscriber before it");
}

/// Either the loop sees the event before it sleeps, or it is rung: nobody who subscribed before misses it.
#[test]
fn subscribe_against_publish() {
    let expected = Expected {
        name: "subscribe_against_publish",
        preemptions: None,
        interleavings_min: 1000,
        outcomes: &["before the subscription", "rung", "seen before it slept"],
    };
    explore(&expected, |seen| {
        let wake = Kept::new(Wake::new());
        let desk = Kept::new(Desk {
            published: AtomicU64::new(1),
            table: ArcCell::new(Some(Arc::new(false))),
            bell: Bell::new(Handle(wake.share())),
            routed: AtomicU64::new(1),
        });
        let publishing = thread::spawn({
            let desk = desk.clone();
            move || sequencer(&desk)
        });
        event_loop(&desk, &wake, seen);
        publishing.join().unwrap();
    });
}
