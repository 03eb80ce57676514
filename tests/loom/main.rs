//! Models of what threads share, run by loom in every order that the memory model allows.
//!
//! `RUSTFLAGS="--cfg fanfare_loom" cargo test --release --test loom` runs them. Each says how many interleavings it saw, which
//! must not fall below a floor, and which outcomes occurred, which must be all that it names: a model that no longer
//! reaches the case it is about fails. `mutants.txt` has the weakenings that each must find.

#![cfg(fanfare_loom)]

mod bell;
mod hub;
mod log;
mod seat;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What a model is expected to be.
struct Expected {
    /// Its name.
    name: &'static str,
    /// How often threads that could go on may be interrupted, where all orders would be too many.
    preemptions: Option<usize>,
    /// Fewest interleavings.
    interleavings_min: usize,
    /// What happens in some interleaving or other; nothing else happens in any.
    outcomes: &'static [&'static str],
}

/// The outcomes that were seen, outside of what loom watches.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeSet<&'static str>>>);

impl Seen {
    fn note(&self, outcome: &'static str) {
        self.0.lock().unwrap().insert(outcome);
    }
}

/// What threads of a model share and, if the model fails, nobody drops: after a deadlock loom cannot, and would abort
/// before the test harness has said what failed.
struct Kept<T>(Option<loom::sync::Arc<T>>);

impl<T> Kept<T> {
    fn new(value: T) -> Kept<T> {
        Kept(Some(loom::sync::Arc::new(value)))
    }

    /// A reference of the kind that the library takes.
    fn share(&self) -> loom::sync::Arc<T> {
        self.0.clone().expect("taken when dropped only")
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Kept<T> {
        Kept(self.0.clone())
    }
}

impl<T> std::ops::Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("taken when dropped only")
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::mem::forget(self.0.take());
        }
    }
}

/// Runs `model` in every order and checks that it was what was `expected`.
fn explore(expected: &Expected, model: impl Fn(&Seen) + Send + Sync + 'static) {
    let seen = Seen::default();
    let interleavings = Arc::new(AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = expected.preemptions;
    builder.check({
        let (seen, interleavings) = (seen.clone(), Arc::clone(&interleavings));
        move || {
            interleavings.fetch_add(1, Ordering::Relaxed);
            model(&seen);
        }
    });
    let interleavings = interleavings.load(Ordering::Relaxed);
    let outcomes = seen.0.lock().unwrap();
    // Past the test harness, which keeps what passing tests print to itself.
    let _ =
        writeln!(std::io::stderr(), "model {}: {interleavings} interleavings, {outcomes:?}", expected.name);
    assert_eq!(*outcomes, expected.outcomes.iter().copied().collect(), "outcomes of {}", expected.name);
    assert!(
        expected.interleavings_min <= interleavings,
        "{} has only {interleavings} interleavings",
        expected.name
    );
}
