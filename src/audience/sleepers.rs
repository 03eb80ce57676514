//! Readers of this process that may sleep, and who of them is to be woken for what.
//!
//! # Contract       a reader enters its patterns, lies down, looks at the log once more, and sleeps only if there is nothing
//!   new; the sequencer publishes, fences, and rings whom it concerns ([`crate::sync::bell`] has the argument)
//! # Invariants     the roster has every pattern of a reader that sleeps
//! # Memory order   `asleep`: Release when a reader lies down → Acquire in [`Sleepers::ring`]; carries the roster. It is
//!   raised before the sleeper's fence and read after the sequencer's: as for the bell itself, either the sequencer
//!   sees the number, or the sleeper sees the event
//! # Bounds         places are bounded by whoever gives them out; an edit copies the path to what it touches. Editors take
//!   turns by a mutex, which the sequencer never takes

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::thread::Thread;
use std::time::Instant;

use crossbeam_utils::CachePadded;
use rpds::VectorSync;
use smallvec::SmallVec;

use crate::log::{ChannelId, Log};
use crate::sync::bell::{Bell, Waker};
use crate::sync::{Arc, ArcCell, AtomicUsize, Ordering};
use crate::table::Table;
use crate::words::channel::Pattern;

/// All readers of this process.
pub struct Sleepers {
    roster: ArcCell<Roster>,
    edits: Mutex<Edits>,
    /// How many have lain down.
    asleep: CachePadded<AtomicUsize>,
}

/// Who reads what; copies share structure.
#[derive(Clone, Default)]
struct Roster {
    table: Table,
    /// By number.
    bells: VectorSync<Option<Arc<Bell<Parker>>>>,
}

/// The editors' side.
#[derive(Default)]
struct Edits {
    roster: Roster,
    /// Numbers that were given back.
    free: Vec<u32>,
}

impl Default for Sleepers {
    fn default() -> Sleepers {
        Sleepers {
            roster: ArcCell::new(Some(Arc::default())),
            edits: Mutex::default(),
            asleep: CachePadded::new(AtomicUsize::new(0)),
        }
    }
}

impl Sleepers {
    /// A place for one more reader, which subscribes to nothing yet.
    pub fn enter(&self) -> Place {
        let bell = Arc::new(Bell::new(Parker { thread: ArcCell::new(None) }));
        let number = self.edit(|edits| {
            let number = edits.free.pop().unwrap_or(edits.roster.bells.len() as u32);
            if edits.roster.bells.len() == number as usize {
                edits.roster.bells.push_back_mut(None);
            }
            edits.roster.bells.set_mut(number as usize, Some(Arc::clone(&bell)));
            number
        });
        Place { number, bell }
    }

    /// The reader of `place` wants `new` now instead of `old`.
    pub fn subscribe(&self, place: &Place, old: &[Pattern], new: &[Pattern]) {
        self.edit(|edits| {
            for pattern in old.iter().filter(|pattern| !new.contains(pattern)) {
                edits.roster.table.unsubscribe(pattern, place.number);
            }
            for pattern in new.iter().filter(|pattern| !old.contains(pattern)) {
                edits.roster.table.subscribe(pattern, place.number);
            }
        });
    }

    /// The reader of `place`, which wants `patterns`, is gone.
    pub fn leave(&self, place: &Place, patterns: &[Pattern]) {
        self.subscribe(place, patterns, &[]);
        self.edit(|edits| {
            edits.roster.bells.set_mut(place.number as usize, None);
            edits.free.push(place.number);
        });
    }

    /// Sleeps until the reader of `place` is rung for, or `deadline`; perhaps less. Not at all if `has_work`, which is
    /// asked after the reader has lain down. One thread a place.
    pub fn sleep(&self, place: &Place, deadline: Option<Instant>, has_work: impl FnOnce() -> bool) {
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        place.bell.waker().be_current();
        self.asleep.fetch_add(1, Ordering::Release);
        place.bell.lie_down();
        if !has_work() {
            match timeout {
                None => std::thread::park(),
                Some(timeout) => std::thread::park_timeout(timeout),
            }
        }
        place.bell.get_up();
        // Relaxed: read too high it costs the sequencer a look.
        self.asleep.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many sleep now.
    #[must_use]
    pub fn asleep(&self) -> usize {
        self.asleep.load(Ordering::Relaxed)
    }

    pub(super) fn ring(&self, log: &Log, range: Range<u64>) {
        if self.asleep.load(Ordering::Acquire) == 0 || range.is_empty() {
            return;
        }
        let (roster, names) = (self.roster.load(), log.names());
        let (Some(roster), Some(names)) = (roster.as_ref(), names.as_ref()) else { return };
        let mut looked_up: SmallVec<[ChannelId; CHANNELS_REMEMBERED]> = SmallVec::new();
        let mut concerned = Vec::new();
        for seq in range {
            // What is gone already may have been wanted: they will find out what they have missed.
            let Some(slot) = log.slot(seq) else { return self.ring_all() };
            if looked_up.contains(&slot.route) {
                continue;
            }
            if looked_up.len() < CHANNELS_REMEMBERED {
                looked_up.push(slot.route);
            }
            if let Some(route) = names.name(slot.route) {
                concerned.clear();
                roster.table.collect(route.as_str(), &mut concerned);
                for number in &concerned {
                    if let Some(Some(bell)) = roster.bells.get(*number as usize) {
                        bell.ring();
                    }
                }
            }
        }
    }

    pub(super) fn ring_all(&self) {
        let roster = self.roster.load();
        for bell in roster.as_ref().iter().flat_map(|roster| roster.bells.iter().flatten()) {
            bell.ring();
        }
    }

    fn edit<T>(&self, change: impl FnOnce(&mut Edits) -> T) -> T {
        // What a panicking editor left is whole: edits are single steps.
        let mut edits = self.edits.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut edits);
        self.roster.swap(Some(Arc::new(edits.roster.clone())));
        result
    }
}

/// Channels that one [`Sleepers::ring`] remembers having looked up; further ones are looked up as often as they come.
const CHANNELS_REMEMBERED: usize = 16;

/// Where one reader sleeps.
pub struct Place {
    number: u32,
    bell: Arc<Bell<Parker>>,
}

impl Place {
    /// Wakes whoever sleeps here. To be called after the fence ([`crate::sync::bell::fence_before_ring`]).
    pub fn ring(&self) {
        self.bell.ring();
    }
}

/// Wakes a parked thread.
struct Parker {
    thread: ArcCell<Thread>,
}

impl Parker {
    /// From now on it is the calling thread that is woken.
    fn be_current(&self) {
        let current = std::thread::current();
        let is_known = self.thread.load().as_ref().is_some_and(|known| known.id() == current.id());
        if !is_known {
            self.thread.swap(Some(Arc::new(current)));
        }
    }
}

impl Waker for Parker {
    fn wake(&self) {
        if let Some(thread) = self.thread.load().as_ref() {
            thread.unpark();
        }
    }
}
