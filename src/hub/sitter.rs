//! The sequencer with what it needs at hand: whoever takes the seat has it, and nobody else.
//!
//! # Contract       [`Sitter::step`], then [`Sitter::announce`], before the seat is left: the receipts of a step are in it only
//! # Invariants     every step is announced once, by whoever made it

use std::collections::HashMap;
use std::ops::Range;

use super::Hub;
use super::desk::Desk;
use crate::latency::Latency;
use crate::log::{ChannelId, Writer};
use crate::sequencer::{Sequencer, Step};
use crate::sync::bell::fence_before_ring;
use crate::sync::{Arc, Ordering};
use crate::table::Table;
use crate::words::cursor::Epoch;
use crate::words::limits::Limits;
use crate::words::now::Now;

/// The one worker of a hub's seat.
pub struct Sitter {
    sequencer: Sequencer,
    step: Step,
    /// One a desk.
    interest: Box<[Interest]>,
}

impl Sitter {
    /// Of a hub of so many desks.
    pub(super) fn new(
        writer: Writer,
        epoch: Epoch,
        limits: &Limits,
        desks: usize,
        latency: Arc<Latency>,
    ) -> Sitter {
        let interest = (0..desks).map(|_| Interest::default()).collect();
        let sequencer = Sequencer::new(writer, epoch, limits).measured(latency);
        Sitter { sequencer, step: Step::default(), interest }
    }

    /// Takes what waits at `hub`, up to a bound, and publishes it; returns whether anything was taken. Nobody is told yet.
    pub fn step(&mut self, hub: &Hub, now: Now) -> bool {
        let has_taken = self.sequencer.step(hub.ingest(), now, &mut self.step);
        self.note_expiry(hub);
        has_taken
    }

    /// What the last step did.
    #[must_use]
    pub fn done(&self) -> &Step {
        &self.step
    }

    /// Lets what is too old leave the window.
    pub(super) fn expire(&mut self, hub: &Hub, now_unix_ms: u64) {
        self.sequencer.expire(now_unix_ms);
        self.note_expiry(hub);
    }

    fn note_expiry(&self, hub: &Hub) {
        if hub.limits.retain_age.is_some() {
            let next_ms = self.sequencer.next_expiry_ms().unwrap_or(u64::MAX);
            // Relaxed: whoever sees an older one looks in vain, or a little later.
            hub.next_expiry_ms.store(next_ms, Ordering::Relaxed);
        }
    }

    /// Tells everybody concerned of the last step: receipts to their desks, a ring to each sleeping loop that has a receipt
    /// or a subscriber. One fence for all. `own`: the loop that calls, if one does, which deals with its own receipts.
    pub fn announce(&mut self, hub: &Hub, own: Option<usize>) {
        let step = &self.step;
        for (origin, receipt) in &step.receipts {
            if origin.is_in_process() {
                hub.audience.answer(receipt);
            } else if let Some(desk) =
                hub.desks().get(origin.loop_index).filter(|_| own != Some(origin.loop_index))
            {
                desk.put_receipt(*receipt);
            }
        }
        fence_before_ring();
        hub.audience.ring(&hub.log, step.first..step.end);
        for (desk, interest) in hub.desks().iter().zip(&mut self.interest) {
            if !desk.bell.is_asleep() {
                continue;
            }
            if desk.has_receipt() || interest.in_range(hub, desk, step.first..step.end) {
                desk.bell.ring();
            } else {
                // Nothing of this concerns it: it sleeps on, and is not behind for all that.
                desk.advance_routed(step.end);
            }
        }
    }
}

/// Remembers for one loop which channels its current snapshot has subscribers of, so that a stream of events nobody
/// there wants costs the sequencer a look-up in a small map each.
#[derive(Default)]
struct Interest {
    /// The snapshot that `known` was worked out from.
    table: Option<Arc<Table>>,
    /// The numbering of channels that it was worked out from.
    reuses: u64,
    known: HashMap<ChannelId, bool, foldhash::fast::RandomState>,
}

impl Interest {
    /// Whether any event of `range` has a subscriber at `desk`.
    fn in_range(&mut self, hub: &Hub, desk: &Desk, range: Range<u64>) -> bool {
        let table = desk.table();
        let names = hub.log.names();
        let (Some(table), Some(names)) = (table.as_ref(), names.as_ref()) else { return false };
        if table.subscriptions() == 0 {
            return false;
        }
        let is_same_table = self.table.as_ref().is_some_and(|known| Arc::ptr_eq(known, table));
        if !is_same_table || self.reuses != names.reuses() || INTEREST_MAX < self.known.len() {
            self.table = Some(Arc::clone(table));
            self.reuses = names.reuses();
            self.known.clear();
        }
        range.into_iter().any(|seq| {
            // What is gone already may have been wanted: the loop will find out what it has missed.
            let Some(slot) = hub.log.slot(seq) else { return true };
            *self.known.entry(slot.route).or_insert_with(|| {
                names.name(slot.route).is_some_and(|name| table.has_subscriber(name.as_str()))
            })
        })
    }
}

/// Channels remembered per loop before the memory is begun anew.
const INTEREST_MAX: usize = 65_536;
