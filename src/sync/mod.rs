//! What threads share, in one place, so that loom can take its place.
//!
//! Outside loom these are the types of `std` and of arc-swap. Under `--cfg fanfare_loom` atomics, `Arc` and cells are loom's,
//! and [`ArcCell`] is a small modelled twin of arc-swap's `ArcSwapOption` (loom does not see into arc-swap): a mutex
//! around an `Option<Arc>`. The twin assumes what arc-swap documents, that a load returns a value stored before it in
//! the modification order and that the loaded value stays alive; and, as its mutex does, what arc-swap does since 1.9.1,
//! that a swap synchronises with the end of every earlier load's use. Miri runs the real one.

mod arc_cell;
pub mod bell;
mod cell;
pub mod errand;
mod fatal;
pub mod seat;

pub use arc_cell::{ArcCell, Loaded};
pub use cell::SharedCell;
#[cfg(test)]
pub(crate) use fatal::last_words_of;
pub use fatal::or_abort;

#[cfg(not(fanfare_loom))]
pub use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(fanfare_loom)]
pub use loom::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
};

/// Zeroed counters that cost memory only where they are touched.
#[cfg(not(fanfare_loom))]
#[must_use]
pub fn zeroed_counters(len: usize) -> Box<[AtomicU64]> {
    let zeroed = Box::<[AtomicU64]>::new_zeroed_slice(len);
    // SAFETY: an `AtomicU64` of all zero bytes is the number 0.
    unsafe { zeroed.assume_init() }
}

/// Zeroed counters that cost memory only where they are touched.
#[cfg(fanfare_loom)]
#[must_use]
pub fn zeroed_counters(len: usize) -> Box<[AtomicU64]> {
    (0..len).map(|_| AtomicU64::new(0)).collect()
}
