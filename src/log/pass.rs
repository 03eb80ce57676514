//! A reader's pass: frames lent from the log, which stay put until the pass ends.
//!
//! Frame bytes are borrowed from the pass, so that handing them to a socket after the pass has ended does not compile.
//! A pass reaches into at most [`PASS_SEGMENTS_MAX`] segments: that bounds what the writer may find still in use.

use std::cell::OnceCell;

use super::segment::{Segment, number_of};
use super::slot::{Form, Slot, Span, Stream};
use super::{Loaded, Log};
use crate::wire::websocket::header_len;
use crate::words::accepted::Accepted;
use crate::words::labels::Labels;

/// Segments that one pass may reach into.
pub const PASS_SEGMENTS_MAX: usize = match (cfg!(fanfare_loom), cfg!(miri)) {
    (true, _) => 2,
    (_, true) => 4,
    _ => 8,
};

/// One look at the log.
pub struct Pass<'log> {
    log: &'log Log,
    published: u64,
    /// What lies below was cleared before the pass began.
    floor: u64,
    /// By `segment number & (len - 1)`.
    segments: [OnceCell<(u64, Loaded<Segment>)>; PASS_SEGMENTS_MAX],
}

/// What a pass answers when asked for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held<T> {
    /// Here it is.
    Here(T),
    /// No longer held, or cleared.
    Lapped,
    /// This pass already reaches into as many segments as it may: end it and begin another.
    PassFull,
}

/// The bytes of one event in one wire form, in up to four pieces to be sent one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'pass> {
    accepted: Accepted,
    pieces: [Option<Piece<'pass>>; 4],
}

impl<'pass> Frame<'pass> {
    /// When the event was accepted, and of which namespace it is.
    #[must_use]
    pub fn accepted(&self) -> Accepted {
        self.accepted
    }

    /// The pieces, in order.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'pass>> {
        self.pieces.into_iter().flatten()
    }

    /// The bytes of the pieces, in order.
    pub fn parts(&self) -> impl Iterator<Item = &'pass [u8]> {
        self.pieces().map(Piece::bytes)
    }

    /// Length in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pieces().map(|piece| piece.span.len()).sum()
    }
}

/// A run of bytes lent by a pass; runs that lie back to back can be joined, so that the frames of consecutive events
/// become one slice of a vectored write.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'pass> {
    segment: &'pass Segment,
    stream: Stream,
    span: Span,
}

impl<'pass> Piece<'pass> {
    /// The bytes.
    #[must_use]
    pub fn bytes(self) -> &'pass [u8] {
        // SAFETY: a piece is made from a published slot of its segment, or from two such that lie back to back.
        unsafe { self.segment.bytes(self.stream, self.span) }
    }

    /// This piece and `next` as one, if `next` begins where this ends.
    #[must_use]
    pub fn joined(self, next: Piece<'pass>) -> Option<Piece<'pass>> {
        let is_same_stream = std::ptr::eq(self.segment, next.segment) && self.stream == next.stream;
        let span = self.span.joined(next.span).filter(|_| is_same_stream)?;
        Some(Piece { span, ..self })
    }

    /// The bytes `range` of this piece.
    fn cut(self, start: usize, end: usize) -> Option<Piece<'pass>> {
        (start < end).then(|| Piece { span: self.span.cut(start, end), ..self })
    }
}

impl<'log> Pass<'log> {
    pub(super) fn new(log: &'log Log) -> Pass<'log> {
        Pass { log, published: log.published(), floor: log.floor(), segments: Default::default() }
    }

    /// Everything below this can be read in this pass. Fixed when the pass began.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.published
    }

    /// The descriptor of `seq`.
    ///
    /// # Panics
    /// If `seq` is not below [`Pass::published`]; so do [`Pass::frame`] and [`Pass::json`].
    pub fn slot(&self, seq: u64) -> Held<Slot> {
        // SAFETY: `seq` is in `floor..published`, and `published` was acquired when the pass began (L2).
        self.with_segment(seq, |segment| unsafe { segment.slot(seq) })
    }

    /// The bytes of `seq` in `form`.
    pub fn frame(&self, seq: u64, form: Form) -> Held<Frame<'_>> {
        self.with_segment(seq, |segment| {
            // SAFETY: as in `slot`.
            let slot = unsafe { segment.slot(seq) };
            frame_of(segment, &slot, form)
        })
    }

    /// The labels of `seq`.
    pub fn labels(&self, seq: u64) -> Held<Labels<'_>> {
        self.with_segment(seq, |segment| {
            // SAFETY: as in `slot`.
            let slot = unsafe { segment.slot(seq) };
            // SAFETY: the span comes from that slot.
            Labels::new(unsafe { segment.bytes(Stream::Labels, slot.labels) })
        })
    }

    /// The JSON text of `seq`.
    pub fn json(&self, seq: u64) -> Held<&[u8]> {
        self.with_segment(seq, |segment| {
            // SAFETY: as in `slot`.
            let slot = unsafe { segment.slot(seq) };
            json_of(Piece { segment, stream: Stream::WebSocket, span: slot.web_socket }).bytes()
        })
    }

    /// Calls `take` with the segment of `seq`, whose slot is written.
    fn with_segment<'pass, T>(&'pass self, seq: u64, take: impl FnOnce(&'pass Segment) -> T) -> Held<T> {
        assert!(seq < self.published, "{seq} is not published in this pass");
        if seq < self.floor {
            return Held::Lapped;
        }
        let number = number_of(seq);
        let cell = &self.segments[number as usize & (PASS_SEGMENTS_MAX - 1)];
        let (held_number, held) = cell.get_or_init(|| (number, self.log.load_segment(number)));
        if *held_number != number {
            return Held::PassFull;
        }
        match held.as_ref() {
            Some(segment) => Held::Here(take(segment)),
            None => Held::Lapped,
        }
    }
}

/// The pieces of an event's frame: an SSE block that is split borrows its JSON from the WebSocket frame, and the
/// unnamed form is the block without its second line.
fn frame_of<'a>(segment: &'a Segment, slot: &Slot, form: Form) -> Frame<'a> {
    let whole = Piece { segment, stream: Stream::WebSocket, span: slot.web_socket };
    let accepted = slot.accepted;
    if form == Form::WebSocket {
        return Frame { accepted, pieces: [Some(whole), None, None, None] };
    }
    let block = Piece { segment, stream: Stream::Sse, span: slot.sse };
    let len = slot.sse.len();
    let (id_end, rest) = if form == Form::SseUnnamed { event_line(block.bytes()) } else { (0, 0) };
    let json = json_of(whole);
    if !slot.sse.is_split() {
        return Frame { accepted, pieces: [block.cut(0, id_end), block.cut(rest, len), None, None] };
    }
    let tail = len - SSE_TAIL.len();
    Frame {
        accepted,
        pieces: [block.cut(0, id_end), block.cut(rest, tail), Some(json), block.cut(tail, len)],
    }
}

/// Where a block's `event:` line begins and ends.
fn event_line(block: &[u8]) -> (usize, usize) {
    let mut line_ends = memchr::memchr_iter(b'\n', block).map(|at| at + 1);
    (line_ends.next().unwrap_or_default(), line_ends.next().unwrap_or_default())
}

fn json_of(whole: Piece<'_>) -> Piece<'_> {
    let len = whole.span.len();
    // A frame's length tells its header's: the ranges of the three header sizes do not meet.
    let header = [2, 4, 10].into_iter().find(|&header| header <= len && header_len(len - header) == header);
    Piece { span: whole.span.cut(header.unwrap_or_default(), len), ..whole }
}

/// What ends every SSE block.
pub(super) const SSE_TAIL: &[u8] = b"\n\n";
