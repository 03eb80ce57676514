//! The seat and what is left when somebody gets up. Whoever finds the seat taken leaves his work to whoever sits; who gets up
//! early leaves it to somebody by name.

use fanfare::sync::errand::Errand;
use fanfare::sync::seat::Seat;
use fanfare::sync::{AtomicUsize, Ordering};
use loom::thread;

use crate::{Expected, Kept, Seen, explore};

/// What publishers share.
struct Shop {
    /// Submissions that wait. Relaxed throughout: what one sees of another's he sees by the seat.
    waiting: AtomicUsize,
    seat: Seat<usize>,
}

/// Submits once, and works if nobody else does. Returns how many submissions it carried out.
fn publish(shop: &Shop) -> usize {
    shop.waiting.fetch_add(1, Ordering::Relaxed);
    let mut carried_out = 0;
    let is_work = || shop.waiting.load(Ordering::Relaxed) != 0;
    shop.seat.work(is_work, |done| {
        // Queues give back what their cells say is there, not what was put in a moment ago.
        let taken = shop.waiting.load(Ordering::Relaxed);
        shop.waiting.fetch_sub(taken, Ordering::Relaxed);
        *done += taken;
        carried_out += taken;
        false
    });
    carried_out
}

/// Nothing is left lying when all have gone.
#[test]
fn no_submission_is_left_lying() {
    let expected = Expected {
        name: "no_submission_is_left_lying",
        preemptions: None,
        interleavings_min: 20,
        outcomes: &["each its own", "one for both"],
    };
    explore(&expected, |seen: &Seen| {
        let shop = Kept::new(Shop { waiting: AtomicUsize::new(0), seat: Seat::new(0) });
        let other = thread::spawn({
            let shop = shop.clone();
            move || publish(&shop)
        });
        let own = publish(&shop);
        let others = other.join().unwrap();
        assert_eq!(own + others, 2, "a submission was left lying");
        seen.note(if own == 1 { "each its own" } else { "one for both" });
        let worker = shop.seat.take().expect("whoever sat got up");
        assert_eq!(*worker, 2);
        drop(worker);
    });
}

/// Of two who leave work behind, neither is forgotten by the one who comes for it in between.
#[test]
fn no_errand_is_forgotten() {
    let expected = Expected {
        name: "no_errand_is_forgotten",
        preemptions: None,
        interleavings_min: 20,
        outcomes: &["both at once", "one after the other"],
    };
    explore(&expected, |seen: &Seen| {
        let waiting = Kept::new(AtomicUsize::new(0));
        let errand = Kept::new(Errand::new());
        let leaving = [0, 1].map(|_| {
            let (waiting, errand) = (waiting.clone(), errand.clone());
            thread::spawn(move || {
                waiting.fetch_add(1, Ordering::Relaxed);
                errand.leave();
            })
        });
        let come = || {
            errand.take();
            // As in a queue: only what is seen is taken.
            let taken = waiting.load(Ordering::Relaxed);
            waiting.fetch_sub(taken, Ordering::Relaxed);
            taken
        };
        let early = come();
        for thread in leaving {
            thread.join().unwrap();
        }
        // It would sleep otherwise, and nobody would ring it any more.
        let late = if errand.is_left() { come() } else { 0 };
        assert_eq!(early + late, 2, "work was left lying");
        seen.note(if early == 1 { "one after the other" } else { "both at once" });
    });
}
