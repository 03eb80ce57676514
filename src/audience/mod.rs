//! Who waits and reads in this process, without an event loop: publishers that wait for a receipt, readers that sleep.
//!
//! The sequencer, wherever it runs, answers publishers by their [`Ticket`]s and rings those sleeping readers whose
//! channels had events. Both are free of locks on the sequencer's side.

mod sleepers;
mod tickets;

use std::ops::Range;

use crate::log::Log;
use crate::sequencer::Receipt;
use crate::sync::{AtomicU64, Ordering};

pub use sleepers::{Place, Sleepers};
pub use tickets::{Outcome, Ticket, Tickets};

/// Everybody in this process.
#[derive(Default)]
pub struct Audience {
    /// Publishers that wait.
    pub tickets: Tickets,
    /// Readers that may sleep.
    pub sleepers: Sleepers,
    /// What readers were given.
    pub tallies: Tallies,
}

impl Audience {
    /// Gives a publisher its answer.
    pub fn answer(&self, receipt: &Receipt) {
        self.tickets.answer(receipt.token, receipt.outcome);
    }

    /// Rings every sleeping reader with a subscription to an event of `range`. To be called after the fence
    /// ([`crate::sync::bell::fence_before_ring`]). Cost: one load while nobody sleeps; otherwise a look-up for each
    /// channel of the range, and a wake-up for each sleeper that it concerns.
    pub fn ring(&self, log: &Log, range: Range<u64>) {
        self.sleepers.ring(log, range);
    }

    /// Rings every sleeping reader; as above.
    pub fn ring_all(&self) {
        self.sleepers.ring_all();
    }
}

/// What readers in this process were given since the start. All relaxed: only the numbers count.
#[derive(Debug, Default)]
pub struct Tallies {
    deliveries: crossbeam_utils::CachePadded<AtomicU64>,
    gaps: AtomicU64,
}

impl Tallies {
    /// An event was given to a reader.
    pub fn deliver(&self) {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
    }

    /// A reader was told of a gap.
    pub fn tell_gap(&self) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
    }

    /// Events given to readers, each counted once a reader.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.deliveries.load(Ordering::Relaxed)
    }

    /// Gaps that readers were told of.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.gaps.load(Ordering::Relaxed)
    }
}
