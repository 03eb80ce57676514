//! What everybody on the stage shares: the clock, the dice, the log and its twin, and who sits outside.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use fanfare::event_loop::Now;
use fanfare::hub::{Hub, Sitter};
use fanfare::log::Held;

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
    /// The sequencer, while somebody who is no loop sits.
    outsider: RefCell<Option<Outsider>>,
    /// Somebody outside has submitted something, and has not looked after it yet.
    pub(crate) outside_owes: Cell<bool>,
    /// Outside they sit down at whatever waits, before the loops do.
    pub(crate) has_busybody: Cell<bool>,
    pub(crate) tally: Tally,
    has_trace: bool,
}

/// A thread that is no loop, and sits.
struct Outsider {
    sitter: Box<Sitter>,
    /// A step was published, and nobody was told yet.
    is_pending: bool,
}

impl Context {
    /// A stage before the play.
    pub(crate) fn new(random: Random, hub: Arc<Hub>) -> Context {
        Context {
            random,
            now_ms: Cell::new(1000),
            is_calm: Cell::new(false),
            has_floods: Cell::new(false),
            twin: RefCell::new(Twin::new(hub.epoch.as_str(), UNIX_MS)),
            hub,
            outsider: RefCell::default(),
            outside_owes: Cell::default(),
            has_busybody: Cell::default(),
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

    /// Somebody who is no loop goes on with what he does: he sits down, if it is his turn; publishes; tells; or gets up.
    /// Returns whether there was anything to do.
    pub(crate) fn step(&self) -> bool {
        let mut place = self.outsider.borrow_mut();
        let Some(outsider) = place.as_mut() else {
            let wants = self.outside_owes.replace(false) || self.has_busybody.get();
            if !wants || self.hub.ingest().is_empty() {
                return false;
            }
            // If somebody sits already, he finds it.
            *place = self.hub.seat().take().map(|sitter| Outsider { sitter, is_pending: false });
            return place.is_some();
        };
        if std::mem::take(&mut outsider.is_pending) {
            outsider.sitter.announce(&self.hub, None);
            if !self.fault(200) {
                return true;
            }
        } else {
            outsider.is_pending = outsider.sitter.step(&self.hub, self.now());
        }
        if outsider.is_pending {
            let done = outsider.sitter.done();
            self.trace(|| format!("somebody outside published {}..{}", done.first, done.end));
            self.observe();
        } else if let Some(Outsider { sitter, .. }) = place.take() {
            self.hub.seat().put_back(sitter);
            if !self.hub.ingest().is_empty() {
                self.trace(|| "somebody outside leaves work to others".to_owned());
                self.hub.pass_on();
            }
        }
        true
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
