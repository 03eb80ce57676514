//! The log: the one place events are, and the queue everybody reads from.
//!
//! # Contract       one [`Writer`]; any number of readers through the shared [`Log`]. A reader gets an event, or is told
//!   that it is no longer held; it never waits and never makes the writer wait
//! # Invariants     L1 `oldest ≤ published`; the visible window is `oldest..published`
//!   L2 slots below `published` are never written again while their segment can be reached
//!   L3 a channel's `head` is its newest event below `published`, or newer; its `evicted` is its newest
//!   event below `oldest`, or newer
//!   L4 a segment is reused only when the writer holds the only reference to it
//!   L5 `floor ≤ oldest`; what lies below `floor` was cleared, and is lent to no pass that begins after it was raised
//! # Memory order   `published`: Release in [`Writer::publish`] → Acquire in [`Log::published`]; carries slots, bytes,
//!   heads and names.
//!   `appended`: Release → Acquire; carries the slots below it, even those not yet published.
//!   `heads`: Release → Acquire; carries `appended` past the slot it names.
//!   `oldest`: Release → Acquire; carries the `evicted` marks below it; carried by the emptying of a place.
//!   `floor`: Release in [`Writer::clear`] → Acquire when a pass begins, and in [`Log::slot`]; carries `oldest`, and
//!   with it the marks: who is refused what was cleared finds his gap.
//!   `forgotten_below`: Release → Acquire; carried by a wiped head or mark.
//!   Reuse (L4): the swap that empties a place, and after it `Arc::get_mut`, synchronise with the end of
//!   every pass that reached into the segment; arc-swap does this since 1.9.1, `sync` says more
//! # Bounds         events by `retain_events`, bytes by `retain_bytes` plus one segment, time in the window by
//!   `retain_age` where that is set, channels by `channels_max`;
//!   spare segments by what readers hold at one instant ([`PASS_SEGMENTS_MAX`] each)
//! # Why not …      a seqlock: a write to a socket cannot be taken back when the check afterwards fails, and the racing
//!   read is undefined behaviour. A queue per subscriber: one event would be copied once per subscriber

mod age;
mod channels;
mod chunk;
mod pass;
mod segment;
mod slot;
mod tally;
mod writer;

pub use channels::{ChannelsFull, Names};
pub use chunk::CHUNK_BYTES;
pub use pass::{Frame, Held, PASS_SEGMENTS_MAX, Pass, Piece};
pub use segment::{SEGMENT_EVENTS, SPLIT_JSON_BYTES};
pub use slot::{ChannelId, Form, Slot, Span};
pub use writer::{BATCH_EVENTS_MAX, Encoded, FRAME_BYTES_MAX, Writer, frame_bytes_max};

use std::sync::atomic::{AtomicU64 as UnmodelledU64, AtomicUsize as UnmodelledUsize};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::sync::{Arc, ArcCell, AtomicU64, Loaded, Ordering, zeroed_counters};
use segment::{Segment, number_of};
use tally::Tally;

/// How much the log keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events in the visible window, exactly; 0 keeps none for resume and history (live delivery needs none).
    pub events: usize,
    /// Frame bytes in the visible window, at most.
    pub bytes: usize,
    /// How old an event in the visible window may become, by its own timestamp; `None`: as old as it likes. What
    /// happens when the clock is set: see [`Writer::expire`].
    pub age: Option<Duration>,
    /// Channels known at once, at most.
    pub channels_max: usize,
}

/// The shared side of the log.
pub struct Log {
    /// Nothing below this is lent any more, whatever is held: the first sequence number of all, or where
    /// [`Writer::clear`] was called. Beside what hardly changes, because every pass looks at it.
    floor: AtomicU64,
    /// The next sequence number to be published: everything below it can be read. Starts at 1.
    published: CachePadded<AtomicU64>,
    /// The oldest sequence number of the visible window; equals `published` when it is empty.
    oldest: CachePadded<AtomicU64>,
    /// The slots below this are written, though perhaps not published. Apart from `published`, because it changes
    /// with every event and hardly anybody looks at it.
    appended: CachePadded<AtomicU64>,
    /// By `segment number & (len - 1)`.
    places: Box<[ArcCell<Segment>]>,
    /// By channel: its newest event, 0 for none.
    heads: Box<[AtomicU64]>,
    /// By channel: its newest event below the visible window, 0 for none.
    evicted: Box<[AtomicU64]>,
    /// What channels there are.
    names: ArcCell<Names>,
    /// Every event of a channel that was forgotten lies below this.
    forgotten_below: AtomicU64,
    /// Which channel each of the last events was of.
    tally: Tally,
    /// Frame bytes in the visible window, as of the last publish or eviction. It is told and nothing depends on it, so the
    /// models need not look at it.
    window_bytes: UnmodelledU64,
    /// Readers of SSE blocks: how many, whoever they are. Nothing depends on it but in how many pieces a block lies, so
    /// the models need not look at it.
    block_readers: UnmodelledUsize,
}

impl Log {
    /// An empty log and its one writer. Cost: all descriptors and first chunks are allocated here, though their
    /// pages are not touched.
    #[must_use]
    pub fn new(retention: Retention) -> (Arc<Log>, Writer) {
        Log::starting_at(1, retention)
    }

    fn starting_at(first: u64, retention: Retention) -> (Arc<Log>, Writer) {
        let places = segments_for(&retention).next_power_of_two();
        let log = Arc::new(Log {
            floor: AtomicU64::new(first),
            published: CachePadded::new(AtomicU64::new(first)),
            oldest: CachePadded::new(AtomicU64::new(first)),
            appended: CachePadded::new(AtomicU64::new(first)),
            places: (0..places).map(|_| ArcCell::new(None)).collect(),
            heads: zeroed_counters(retention.channels_max),
            evicted: zeroed_counters(retention.channels_max),
            names: ArcCell::new(Some(Arc::new(Names::default()))),
            forgotten_below: AtomicU64::new(0),
            tally: Tally::new(retention.events),
            window_bytes: UnmodelledU64::new(0),
            block_readers: UnmodelledUsize::new(0),
        });
        let writer = Writer::new(Arc::clone(&log), retention);
        (log, writer)
    }

    /// The next sequence number to be published: everything below it can be read until it is evicted.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// The oldest sequence number of the visible window.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.oldest.load(Ordering::Acquire)
    }

    /// The newest event of `channel`, 0 for none. It may be newer than `published`: walk back from it with [`Log::slot`].
    #[must_use]
    pub fn head_of(&self, channel: ChannelId) -> u64 {
        self.heads[channel.index()].load(Ordering::Acquire)
    }

    /// The newest event of `channel` that has left the visible window, 0 for none.
    #[must_use]
    pub fn evicted_of(&self, channel: ChannelId) -> u64 {
        self.evicted[channel.index()].load(Ordering::Acquire)
    }

    /// Channels whose events all lie below this may have been forgotten: nothing exact can be said of them.
    #[must_use]
    pub fn forgotten_below(&self) -> u64 {
        self.forgotten_below.load(Ordering::Acquire)
    }

    /// How many of the events `from..=to`, which are published, are of channels that `wants` says yes to, held or not;
    /// nothing of what is too long ago. Channels that lie below [`Log::forgotten_below`] may count as others. Cost: a
    /// look at four bytes an event.
    #[must_use]
    pub fn count(&self, range: (u64, u64), wants: impl FnMut(ChannelId) -> bool) -> Option<u64> {
        self.tally.count(range, wants, || self.appended.load(Ordering::Acquire))
    }

    /// The channels that have events in the log, or had. Loaded during a pass, it has the names of all events that the
    /// pass lends; loaded before, it may be too old for them.
    #[must_use]
    pub fn names(&self) -> Loaded<Names> {
        self.names.load()
    }

    /// A reader's pass over the log: what it lends stays put until the pass ends.
    #[must_use]
    pub fn pass(&self) -> Pass<'_> {
        Pass::new(self)
    }

    /// The descriptor of `seq`, or nothing if it is no longer held, was cleared, or is not yet written. For single
    /// looks, such as walking a channel's links; a pass is cheaper for runs.
    #[must_use]
    pub fn slot(&self, seq: u64) -> Option<Slot> {
        let is_written = seq < self.published() || seq < self.appended.load(Ordering::Acquire);
        if seq < self.floor() || !is_written {
            return None;
        }
        let segment = self.load_segment(number_of(seq));
        // SAFETY: `seq` is below a cursor that was just acquired, and that carries its slot (L2).
        segment.as_ref().map(|segment| unsafe { segment.slot(seq) })
    }

    /// Somebody reads SSE blocks from now on. While anybody does, those of small events are laid down whole, so that a
    /// run of them is one slice; while nobody does, their JSON is written once, in the WebSocket form, and a block that
    /// is read later comes in pieces.
    pub fn open_blocks(&self) {
        // Relaxed: either form can be read at any time.
        self.block_readers.fetch_add(1, Ordering::Relaxed);
    }

    /// One who read SSE blocks has gone.
    pub fn close_blocks(&self) {
        let before = self.block_readers.fetch_sub(1, Ordering::Relaxed);
        debug_assert_ne!(before, 0);
    }

    /// How many read SSE blocks now.
    #[must_use]
    pub fn block_readers(&self) -> usize {
        self.block_readers.load(Ordering::Relaxed)
    }

    /// Frame bytes in the visible window, as of the last publish or eviction.
    #[must_use]
    pub fn window_bytes(&self) -> u64 {
        self.window_bytes.load(Ordering::Relaxed)
    }

    /// What lies below this may not be lent.
    fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    /// The segment of that number, if it is still reachable.
    fn load_segment(&self, number: u64) -> Loaded<Segment> {
        let place = number as usize & (self.places.len() - 1);
        let held = self.places[place].load();
        match held.as_ref() {
            Some(segment) if segment.number == number => held,
            _ => nothing(),
        }
    }
}

/// Reachable segments: those that the window lies in wherever it begins, one that is being written, and no fewer than
/// [`SEGMENTS_MIN`].
fn segments_for(retention: &Retention) -> usize {
    (retention.events.div_ceil(SEGMENT_EVENTS) + 2).max(SEGMENTS_MIN)
}

#[cfg(not(fanfare_loom))]
fn nothing() -> Loaded<Segment> {
    Loaded::from_inner(None)
}

#[cfg(fanfare_loom)]
fn nothing() -> Loaded<Segment> {
    None
}

/// Fewest places: what lives physically even when the visible window is empty, so that a loop that is a little
/// behind reads on instead of losing events.
const SEGMENTS_MIN: usize = match (cfg!(fanfare_loom), cfg!(miri)) {
    (true, _) => 2,
    (_, true) => 8,
    _ => 16,
};

#[cfg(all(test, not(fanfare_loom)))]
mod tests;
