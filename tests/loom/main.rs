//! Models of what threads share, run by loom in every order that a bounded number of preemptions allows.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom` runs them. Each says how many interleavings it saw, which
//! must not fall below a floor, and which outcomes occurred, which must be all that it names: a model that no longer
//! reaches the case it is about fails. `mutants.txt` has the weakenings that each must find.

#![cfg(loom)]

mod bell;
mod hub;
mod log;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What a model is expected to be.
struct Expected {
    /// Its name.
    name: &'static str,
    /// How often a thread that could go on may be interrupted.
    preemptions: usize,
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

/// Runs `model` in every order and checks that it was what was `expected`.
fn explore(expected: &Expected, model: impl Fn(&Seen) + Send + Sync + 'static) {
    let seen = Seen::default();
    let interleavings = Arc::new(AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(expected.preemptions);
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
