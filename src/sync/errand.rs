//! An errand: something that threads leave for another one to see to, which may sleep.
//!
//! # Contract       who leaves an errand makes the work visible before [`Errand::leave`], and rings the other one after it; the
//!   other one calls [`Errand::take`], then looks for the work, and asks [`Errand::is_left`] before it sleeps
//! # Memory order   who takes it sees the work of everybody whose errand it takes: a swap reads the newest value, whoever left
//!   it. A plain store would wipe out what was left since the look before it, work unseen

use super::{AtomicBool, Ordering};

/// Whether something was left.
pub struct Errand(AtomicBool);

impl Errand {
    /// Nothing was left.
    #[allow(clippy::new_without_default, reason = "the models' atomics have no default")]
    pub fn new() -> Errand {
        Errand(AtomicBool::new(false))
    }

    /// Leaves it.
    pub fn leave(&self) {
        self.0.swap(true, Ordering::Release);
    }

    /// Whether it was left, and not taken yet.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Takes it, if it was left. Cost: a load while there is none.
    pub fn take(&self) {
        if !self.is_left() {
            return;
        }
        if cfg!(fanfare_mutant = "errand_wiped_out") {
            self.0.store(false, Ordering::Relaxed);
        } else {
            self.0.swap(false, Ordering::Acquire);
        }
    }
}
