//! What the log says of one event beside its bytes.

use crate::words::accepted::Accepted;

/// The number of an interned channel: dense, so that tables can be arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u32);

impl ChannelId {
    /// The number as an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The wire forms that the log lends ready to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A whole server WebSocket frame: header and JSON.
    WebSocket,
    /// A whole Server-Sent-Events block.
    Sse,
    /// The block without its `event:` line.
    SseUnnamed,
}

/// The runs of bytes that a segment keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// WebSocket frames, back to back.
    WebSocket,
    /// SSE blocks, back to back.
    Sse,
    /// What filters look at ([`crate::words::labels`]).
    Labels,
}

/// Where a run of bytes lies in a segment: 8 bits of chunk, 24 bits of offset; and its length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    at: u32,
    /// The length in the low bits, and [`Span::SPLIT`].
    len: u32,
}

impl Span {
    const OFFSET_BITS: u32 = 24;

    /// Set where these are the head and the tail of a block whose JSON lies elsewhere. A length has no more bits than an
    /// offset.
    const SPLIT: u32 = 1 << 31;

    /// A span of `len` bytes at `offset` of the chunk numbered `chunk`.
    pub(super) fn new(chunk: usize, offset: usize, len: usize) -> Span {
        debug_assert!(chunk < 256 && offset < 1 << Span::OFFSET_BITS);
        Span { at: (chunk as u32) << Span::OFFSET_BITS | offset as u32, len: len as u32 }
    }

    /// This span and `next` as one, if `next` begins where this ends, in the same chunk.
    pub(super) fn joined(self, next: Span) -> Option<Span> {
        let is_next = self.chunk() == next.chunk() && self.offset() + self.len() == next.offset();
        is_next.then(|| Span { at: self.at, len: (self.len() + next.len()) as u32 })
    }

    /// The bytes `start..end` of this span.
    pub(super) fn cut(self, start: usize, end: usize) -> Span {
        debug_assert!(start <= end && end <= self.len());
        Span { at: self.at + start as u32, len: (end - start) as u32 }
    }

    /// The same, as head and tail of a block whose JSON lies elsewhere.
    pub(super) fn as_split(self) -> Span {
        Span { len: self.len | Span::SPLIT, ..self }
    }

    pub(super) fn is_split(self) -> bool {
        self.len & Span::SPLIT != 0
    }

    pub(super) fn chunk(self) -> usize {
        (self.at >> Span::OFFSET_BITS) as usize
    }

    pub(super) fn offset(self) -> usize {
        (self.at & ((1 << Span::OFFSET_BITS) - 1)) as usize
    }

    /// Length in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a frame is never empty")]
    #[must_use]
    pub fn len(self) -> usize {
        (self.len & !Span::SPLIT) as usize
    }
}

/// The descriptor of one event: 48 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// When the sequencer stamped the event, in Unix milliseconds.
    pub timestamp_ms: u64,
    /// When it was accepted, and of which namespace it is.
    pub accepted: Accepted,
    /// The whole WebSocket frame.
    pub web_socket: Span,
    /// The SSE block; or its head and tail only, and then its JSON is lent by the WebSocket frame.
    pub sse: Span,
    /// Its labels.
    pub labels: Span,
    /// The channel the event is matched on.
    pub route: ChannelId,
    /// How many events back the previous event of the same route is; 0 if there is none that the log knows of.
    pub back: u32,
}

const _: () = assert!(size_of::<Slot>() == 48, "every event costs this beside its bytes");

impl Slot {
    /// The bytes that this event takes of the retention's byte budget.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.web_socket.len() + self.sse.len() + self.labels.len()
    }

    /// The previous event of the same route before `seq` (this slot's own), if the log knows of one.
    #[must_use]
    pub fn previous(&self, seq: u64) -> Option<u64> {
        if self.back == 0 { None } else { Some(seq - u64::from(self.back)) }
    }
}
