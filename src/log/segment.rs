//! A segment: a fixed number of consecutive events, descriptors and frame bytes.
//!
//! # Invariants
//! - S1 the writer alone writes; a slot, and the bytes and chunks that it points at, are written once before the
//!   `published` cursor passes it and never again while the segment is shared
//! - S2 a segment gets a new number only while the writer holds the only reference to it
//!
//! # Memory order   S1 is carried by `published` (Release in `Writer::publish` → Acquire in the reader)

use super::chunk::Chunk;
use super::slot::{ChannelId, Slot, Span, Stream};
use crate::sync::SharedCell;
use crate::words::accepted::Accepted;

/// Events in a segment. `seq >> SEGMENT_SHIFT` is the segment, the low bits are the slot: the number is the address.
pub const SEGMENT_EVENTS: usize = 1 << SEGMENT_SHIFT;

/// Binary logarithm of [`SEGMENT_EVENTS`]. A segment is what is evicted and reused at once, so it is small enough that
/// a segment of the largest events is a small part of the byte budget. Smaller still where every access is checked.
pub(super) const SEGMENT_SHIFT: u32 = match (cfg!(fanfare_loom), cfg!(miri)) {
    (true, _) => 1,
    (_, true) => 3,
    _ => 8,
};

/// JSON of this many bytes and more is never copied into the SSE form: the block is sent as head, JSON, tail.
pub const SPLIT_JSON_BYTES: usize = 2048;

pub(super) fn number_of(seq: u64) -> u64 {
    seq >> SEGMENT_SHIFT
}

/// One segment.
#[derive(Debug)]
pub(super) struct Segment {
    /// Which run of sequence numbers this is; fixed while shared (S2).
    pub(super) number: u64,
    slots: Box<[SharedCell<Slot>]>,
    /// By stream; each chunk holds at least one frame, so that there are never more than [`SEGMENT_EVENTS`].
    chunks: [Box<[SharedCell<Option<Chunk>>]>; 3],
}

impl Segment {
    pub(super) fn new() -> Segment {
        let empty = Slot {
            timestamp_ms: 0,
            accepted: Accepted::default(),
            web_socket: Span::default(),
            sse: Span::default(),
            labels: Span::default(),
            route: ChannelId(0),
            back: 0,
        };
        let chunks = || (0..SEGMENT_EVENTS).map(|_| SharedCell::new(None)).collect();
        Segment {
            number: u64::MAX,
            slots: (0..SEGMENT_EVENTS).map(|_| SharedCell::new(empty)).collect(),
            chunks: [chunks(), chunks(), chunks()],
        }
    }

    /// Takes the chunks out, for a segment that nobody else refers to.
    pub(super) fn take_chunks(&mut self, mut keep: impl FnMut(Stream, Chunk)) {
        let streams = [Stream::WebSocket, Stream::Sse, Stream::Labels];
        for (stream, table) in streams.into_iter().zip(&mut self.chunks) {
            for place in table.iter_mut() {
                match std::mem::replace(place, SharedCell::new(None)).into_inner() {
                    Some(chunk) => keep(stream, chunk),
                    None => break,
                }
            }
        }
    }

    /// Puts `chunk` at `index` of the table of `stream`.
    ///
    /// # Safety
    /// Only the writer calls this, for an index that no published slot of this segment points at (S1).
    pub(super) unsafe fn put_chunk(&self, stream: Stream, index: usize, chunk: Chunk) {
        // SAFETY: promised by the caller.
        unsafe { self.chunks[stream as usize][index].set(Some(chunk)) };
    }

    /// Copies `first`, `parts` and `last`, as long as `span` together, one after the other to it.
    ///
    /// # Safety
    /// Only the writer calls this, for a span whose chunk is put in and whose bytes no published slot points at (S1).
    #[inline]
    pub(super) unsafe fn write(
        &self,
        stream: Stream,
        span: Span,
        first: &[u8],
        parts: &[&[u8]],
        last: [&[u8]; 2],
    ) {
        // SAFETY: the writer itself put the chunk in.
        let chunk = unsafe { self.chunks[stream as usize][span.chunk()].get() };
        let chunk = chunk.as_ref().expect("the writer puts a chunk in before it writes to it");
        // SAFETY: promised by the caller.
        unsafe { chunk.write(span.offset(), span.len(), first, parts, last) };
    }

    /// Writes the descriptor of `seq`.
    ///
    /// # Safety
    /// Only the writer calls this, once, before `published` passes `seq` (S1).
    pub(super) unsafe fn put_slot(&self, seq: u64, slot: Slot) {
        // SAFETY: promised by the caller.
        unsafe { self.slots[seq as usize & (SEGMENT_EVENTS - 1)].set(slot) };
    }

    /// Reads the descriptor of `seq`.
    ///
    /// # Safety
    /// `seq` belongs to this segment and its slot was written before this call, in the sense of happens-before (S1).
    pub(super) unsafe fn slot(&self, seq: u64) -> Slot {
        debug_assert_eq!(number_of(seq), self.number);
        // SAFETY: promised by the caller.
        unsafe { *self.slots[seq as usize & (SEGMENT_EVENTS - 1)].get() }
    }

    /// How many chunks are put in.
    #[cfg(test)]
    pub(super) fn chunks(&self) -> usize {
        // SAFETY: only the writer calls this, of a segment that nobody else refers to.
        self.chunks.iter().flatten().filter(|place| unsafe { place.get() }.is_some()).count()
    }

    /// Lends the bytes at `span`.
    ///
    /// # Safety
    /// `span` comes from a slot read from this segment under the promise of [`Segment::slot`].
    pub(super) unsafe fn bytes(&self, stream: Stream, span: Span) -> &[u8] {
        // SAFETY: the chunk was put in before the slot was written.
        let chunk = unsafe { self.chunks[stream as usize][span.chunk()].get() };
        let chunk = chunk.as_ref().expect("a written slot points at a chunk");
        // SAFETY: the bytes were written before the slot was.
        unsafe { chunk.read(span.offset(), span.len()) }
    }
}
