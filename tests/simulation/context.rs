//! What everybody on the stage shares: the clock, the dice, the log and its twin, and the sequencer's seat.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use fanfare::event_loop::Now;
use fanfare::hub::{Hub, Interest};
use fanfare::log::Held;
use fanfare::sequencer::{Sequencer, Step};

use crate::random::Random;
use crate::tally::Tally;
use crate::twin::Twin;
use crate::wishes::publish_inside;

/// Unix milliseconds when the play's clock stands at 0.
pub(crate) const UNIX_MS: u64 = 1_795_316_060_000;

/// The stage.
pub(crate) struct Context {
    pub(crate) random: Random,
    pub(crate) now_ms: Cell<u64>,
    /// No more faults: whatever can go on does.
    pub(crate) is_calm: Cell<bool>,
    /// Bursts may lap the log itself.
    pub(crate) has_floods: Cell<bool>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) twin: RefCell<Twin>,
    /// The sequencer, unless it sits inside the only loop.
    seat: RefCell<Option<Seat>>,
    pub(crate) tally: Tally,
    has_trace: bool,
}

/// The sequencer on its own thread.
struct Seat {
    sequencer: Sequencer,
    step: Step,
    interest: Vec<Interest>,
    /// A step was published, and nobody was told yet.
    is_pending: bool,
}

impl Context {
    /// A stage whose sequencer, if given, is stepped by the play.
    pub(crate) fn new(random: Random, hub: Arc<Hub>, sequencer: Option<Sequencer>) -> Context {
        let interest = hub.desks().iter().map(|_| Interest::default()).collect();
        let seat =
            sequencer.map(|sequencer| Seat { sequencer, step: Step::default(), interest, is_pending: false });
        Context {
            random,
            now_ms: Cell::new(1000),
            is_calm: Cell::new(false),
            has_floods: Cell::new(false),
            twin: RefCell::new(Twin::new(hub.epoch.as_str(), UNIX_MS)),
            hub,
            seat: RefCell::new(seat),
            tally: Tally::default(),
            has_trace: std::env::var_os("FANFARE_TRACE").is_some_and(|value| value == "1"),
        }
    }

    /// The time for a loop.
    pub(crate) fn now(&self) -> Now {
        Now { mono_ms: self.now_ms.get(), unix_ms: UNIX_MS + self.now_ms.get() }
    }

    /// Whether something happens that may happen so many times in a thousand while there are faults.
    pub(crate) fn fault(&self, per_mille: u64) -> bool {
        !self.is_calm.get() && self.random.chance(per_mille)
    }

    /// A line of the trace.
    pub(crate) fn trace(&self, line: impl FnOnce() -> String) {
        if self.has_trace {
            eprintln!("{:>7} {}", self.now_ms.get(), line());
        }
    }

    /// The sequencer does half of what it does: it publishes, or it tells. Returns whether it had anything to do.
    pub(crate) fn step(&self) -> bool {
        let mut seat = self.seat.borrow_mut();
        let Some(seat) = seat.as_mut() else { return false };
        if std::mem::take(&mut seat.is_pending) {
            self.hub.announce(&seat.step, &mut seat.interest);
            return true;
        }
        let unix_ms = self.now().unix_ms;
        seat.is_pending = seat.sequencer.step(self.hub.ingest(), unix_ms, &mut seat.step);
        if seat.is_pending {
            self.trace(|| format!("sequencer published {}..{}", seat.step.first, seat.step.end));
            self.observe();
        }
        seat.is_pending
    }

    /// Other threads go on while a loop is in the middle of something: the sequencer, and somebody who publishes.
    pub(crate) fn meanwhile(&self) {
        if !self.fault(60) {
            return;
        }
        for _ in 0..1 + self.random.index(6) {
            if self.random.chance(250) {
                let is_flood = self.has_floods.get() && self.random.chance(200);
                publish_inside(self, 1 + self.random.index(if is_flood { 600 } else { 2 }));
            } else {
                self.step();
            }
        }
    }

    /// The omniscient reader: takes over into the twin what is new in the log.
    pub(crate) fn observe(&self) {
        let mut twin = self.twin.borrow_mut();
        while twin.end() < self.hub.log.published() {
            let pass = self.hub.log.pass();
            let json = match pass.json(twin.end()) {
                Held::Here(json) => Some(json),
                Held::Lapped | Held::PassFull => None,
            };
            twin.grow(json, self.now_ms.get());
        }
    }
}
