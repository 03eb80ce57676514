//! What one loop shows to the others: its bell, its table, what is on its way to it, and how far it is.

use crossbeam_channel::{Receiver, Sender};
use crossbeam_utils::CachePadded;

use crate::counters::Traffic;
use crate::latency::Recorder;
use crate::mail::Letter;
use crate::sequencer::Receipt;
use crate::sync::bell::{Bell, Waker, fence_before_ring};
use crate::sync::{Arc, ArcCell, AtomicBool, AtomicU64, Loaded, Ordering};
use crate::table::Table;

/// What a loop shows to the others.
pub struct Desk {
    /// Wakes it.
    pub bell: Bell<Box<dyn Waker>>,
    /// Who its subscribers are: the snapshot of its last turn.
    table: ArcCell<Table>,
    /// Receipts on their way to it.
    receipts: (Sender<Receipt>, Receiver<Receipt>),
    /// Letters on their way to it; `mail` says what bounds them.
    letters: (Sender<Letter>, Receiver<Letter>),
    /// What it has sent.
    pub traffic: Traffic,
    /// How long that took.
    pub recorder: Recorder,
    /// Everything below this has been handed to the kernel for everybody who keeps up.
    routed: CachePadded<AtomicU64>,
    /// How old the first event was that the loop had not handed on at the end of its last turn, in milliseconds.
    behind_ms: AtomicU64,
    /// Set when the loop, draining, has nothing more to submit or to be answered.
    quiet: AtomicBool,
    /// Turns that the loop has begun, or [`RETIRED`].
    turns: AtomicU64,
    /// For how long the loop has not turned though it is awake, as the watchdog says; 0 if it is well.
    stalled_ms: AtomicU64,
}

/// More turns than a loop can begin.
const RETIRED: u64 = u64::MAX;

impl Desk {
    /// The desk of a loop that is awake and has subscribers of nothing. `receipts_max`: receipts that may be on their way.
    pub(super) fn new(waker: Box<dyn Waker>, receipts_max: usize) -> Desk {
        Desk {
            bell: Bell::new(waker),
            table: ArcCell::new(Some(Arc::default())),
            receipts: crossbeam_channel::bounded(receipts_max),
            letters: crossbeam_channel::unbounded(),
            traffic: Traffic::default(),
            recorder: Recorder::default(),
            routed: CachePadded::new(AtomicU64::new(1)),
            behind_ms: AtomicU64::new(0),
            quiet: AtomicBool::new(false),
            turns: AtomicU64::new(0),
            stalled_ms: AtomicU64::new(0),
        }
    }

    /// A receipt for the loop, which is to be rung then.
    pub(super) fn put_receipt(&self, receipt: Receipt) {
        // Bounded by what the loop may have in flight, which it counts itself; it cannot be full.
        let sent = self.receipts.0.try_send(receipt);
        debug_assert!(sent.is_ok());
    }

    /// Shows a new snapshot of the loop's table. The loop must look at `published` once more before it blocks, after
    /// [`Bell::lie_down`], as it does anyway.
    pub fn show_table(&self, table: Table) {
        self.table.swap(Some(Arc::new(table)));
    }

    /// The next receipt for the loop.
    #[must_use]
    pub fn take_receipt(&self) -> Option<Receipt> {
        self.receipts.1.try_recv().ok()
    }

    /// Sends the loop a letter, and wakes it.
    pub fn post(&self, letter: Letter) {
        // Both ends live as long as the desk.
        let sent = self.letters.0.send(letter);
        debug_assert!(sent.is_ok());
        fence_before_ring();
        self.bell.ring();
    }

    /// The next letter for the loop.
    #[must_use]
    pub fn take_letter(&self) -> Option<Letter> {
        self.letters.1.try_recv().ok()
    }

    /// Whether a letter waits.
    #[must_use]
    pub fn has_letter(&self) -> bool {
        !self.letters.1.is_empty()
    }

    /// The snapshot of the loop's table that others see.
    #[must_use]
    pub fn table(&self) -> Loaded<Table> {
        self.table.load()
    }

    /// Whether a receipt waits.
    #[must_use]
    pub fn has_receipt(&self) -> bool {
        !self.receipts.1.is_empty()
    }

    /// Everything below this has been handed to the kernel for everybody who keeps up.
    #[must_use]
    pub fn routed(&self) -> u64 {
        self.routed.load(Ordering::Acquire)
    }

    /// Everything below `routed` is done with: said by the loop itself, or by the sequencer of a sleeping loop that
    /// has no subscriber of what was published. The loop takes the number over when it wakes.
    pub fn advance_routed(&self, routed: u64) {
        self.routed.fetch_max(routed, Ordering::AcqRel);
    }

    /// How old the first event was that the loop had not handed on at the end of its last turn, in milliseconds; 0 if it
    /// had handed on all.
    #[must_use]
    pub fn behind_ms(&self) -> u64 {
        self.behind_ms.load(Ordering::Relaxed)
    }

    /// The loop ends a turn, and the first event that it has not handed on is so old.
    pub fn set_behind_ms(&self, behind_ms: u64) {
        // Relaxed: only the number counts.
        self.behind_ms.store(behind_ms, Ordering::Relaxed);
    }

    /// The loop begins another turn.
    pub fn begin_turn(&self) {
        // Relaxed, and no read-modify-write: there is one writer, and only that the number changes counts.
        self.turns.store(self.turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The loop has had its last turn.
    pub fn retire(&self) {
        self.turns.store(RETIRED, Ordering::Relaxed);
    }

    /// Turns that the loop has begun; nothing once it has had its last.
    #[must_use]
    pub fn turns(&self) -> Option<u64> {
        Some(self.turns.load(Ordering::Relaxed)).filter(|turns| *turns != RETIRED)
    }

    /// For how many milliseconds the loop has not turned though it is awake; 0 if it is well.
    #[must_use]
    pub fn stalled_ms(&self) -> u64 {
        self.stalled_ms.load(Ordering::Relaxed)
    }

    /// What the watchdog has found out.
    pub fn set_stalled_ms(&self, stalled_ms: u64) {
        self.stalled_ms.store(stalled_ms, Ordering::Relaxed);
    }

    /// Whether the loop, draining, has nothing more to submit or to be answered.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::SeqCst)
    }

    /// The loop, draining, has nothing more to submit or to be answered.
    pub fn set_quiet(&self) {
        self.quiet.store(true, Ordering::SeqCst);
    }
}
