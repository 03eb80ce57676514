//! What all handles of one engine share, and how it publishes.
//!
//! Whoever publishes takes the sequencer's seat, if it is free, and carries out what waits, his own and others'; beside a
//! server the loops do the same. Those who find it taken wait for their receipts. Nobody works for others much longer once
//! he has his own receipt: then he gets up and calls a loop, or one of those who wait; each of these looks whether the seat
//! is free before he sleeps and whenever he is woken, and says that he sleeps before he looks. So of the one who gets up
//! and the one who lies down, one sees the other (`sync::seat` has the memory order).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_utils::Backoff;
use smallvec::SmallVec;

use super::client::Shared;
use super::error::PublishError;
use crate::audience::{Outcome, Ticket};
use crate::hub::Hub;
use crate::sequencer::{Done, IdempotencyKey, Order, Origin, Publication, Refusal, Submission};
use crate::sync::{AtomicUsize, Ordering};
use crate::words::filter::Filter;
use crate::words::now::Now;

/// What the time is.
pub type Clock = Box<dyn Fn() -> Now + Send + Sync>;

/// What all handles of one engine share.
pub(super) struct Core {
    pub(super) hub: Arc<Hub>,
    clock: Clock,
    registry: Mutex<Registry>,
    taps: AtomicUsize,
    /// Handles that keep a stand-alone engine open.
    pub(super) handles: AtomicUsize,
}

/// Who is here, on the path of control only.
#[derive(Default)]
pub(super) struct Registry {
    pub(super) clients: std::collections::HashMap<String, Weak<Shared>>,
    /// Filters that were registered under ids of one's own.
    pub(super) filters: std::collections::HashMap<String, Arc<Filter>>,
}

impl Registry {
    pub(super) fn len(&self) -> usize {
        self.clients.len() + self.filters.len()
    }
}

/// How often a waiting publisher looks by itself, which only matters when a server is shutting down.
const LOOK_UP: Duration = Duration::from_millis(100);

impl Core {
    pub(super) fn new(hub: Arc<Hub>, clock: Clock) -> Core {
        Core {
            hub,
            clock,
            registry: Mutex::default(),
            taps: AtomicUsize::new(0),
            handles: AtomicUsize::new(1),
        }
    }

    /// Whether the engine has no server beside it.
    pub(super) fn is_alone(&self) -> bool {
        self.hub.desks().is_empty()
    }

    pub(super) fn now_unix_ms(&self) -> u64 {
        (self.clock)().unix_ms
    }

    /// Lets what is too old leave the window.
    pub(super) fn expire(&self) {
        if self.hub.limits.retain_age.is_some() {
            self.hub.expire(self.now_unix_ms());
            self.sit(None);
        }
    }

    /// Publishes events together; the numbers of the first and the last, and whether that was done before.
    pub(super) fn publish(
        &self,
        publications: SmallVec<[Publication; 1]>,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<(u64, u64, bool), PublishError> {
        match self.carry_out(Order::Publish { publications, idempotency })? {
            Done::Published { first, last, is_repeat } => Ok((first, last, is_repeat)),
            Done::Cleared { .. } => unreachable!("a publish is not answered as a clear"),
        }
    }

    /// Submits `order` and waits for its receipt.
    pub(super) fn carry_out(&self, order: Order) -> Outcome {
        let ticket = self.hub.audience.tickets.take().ok_or(Refusal::Overloaded)?;
        let submission = Submission::new(Origin::in_process(ticket.token()), order);
        self.hub.submit(submission)?;
        self.sit(Some(&ticket));
        let backoff = Backoff::new();
        while !backoff.is_completed() {
            if let Some(outcome) = ticket.outcome() {
                return outcome;
            }
            backoff.snooze();
        }
        ticket.lie_down();
        let mut draining_since = None;
        loop {
            self.sit(Some(&ticket));
            if let Some(outcome) = ticket.outcome() {
                return outcome;
            }
            if self.hub.is_draining() {
                let since: &mut Instant = draining_since.get_or_insert_with(Instant::now);
                if self.hub.limits.drain_deadline + DRAIN_GRACE < since.elapsed() {
                    // The sequencer has ended without a look at this.
                    ticket.abandon();
                    return Err(Refusal::Draining);
                }
            }
            ticket.sleep(LOOK_UP);
        }
    }

    /// Carries out what waits, if nobody else does.
    fn sit(&self, own: Option<&Ticket<'_>>) {
        let is_done = || own.is_none_or(|ticket| ticket.outcome().is_some());
        self.hub.sequence_outside((self.clock)(), is_done);
    }

    /// Who is here. What a panicking thread left is whole: changes are single steps.
    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Taps open now.
    pub(super) fn taps(&self) -> usize {
        self.taps.load(Ordering::Relaxed)
    }

    /// Takes a place for a tap, if there is one.
    pub(super) fn open_tap(&self) -> bool {
        // Relaxed: only the number counts.
        let is_free = self.taps.fetch_add(1, Ordering::Relaxed) < self.hub.limits.taps_max;
        if !is_free {
            self.close_tap();
        }
        is_free
    }

    /// Gives a place back.
    pub(super) fn close_tap(&self) {
        self.taps.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether nothing will be published any more.
    pub(super) fn is_over(&self) -> bool {
        self.hub.is_draining() && self.hub.is_quiet()
    }
}

/// How much longer than a drain may take a publisher waits for its receipt.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
