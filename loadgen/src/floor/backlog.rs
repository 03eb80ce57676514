//! The recent bytes of one wire form, which all its subscribers share.
//!
//! # Contract       a subscriber is a position in these bytes; what lies between it and the head is what it has yet
//! to get
//! # Invariants     base ≤ every subscriber's position ≤ head; a position counts from the first byte ever appended
//! # Bounds         nothing is held that every subscriber has; up to half of what is held may be waiting for removal

use memchr::memchr2_iter;

/// How events look on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A text frame.
    WebSocket,
    /// A block of a `data` field.
    EventStream,
}

/// The backlogs of both forms.
#[derive(Debug)]
pub(crate) struct Backlogs {
    websocket: Backlog,
    event_stream: Backlog,
    /// Events since [`Backlogs::take_count`].
    count: u32,
}

impl Backlogs {
    /// Empty ones; `each` as in [`Backlog::ends`].
    pub(crate) fn new(each: bool) -> Backlogs {
        Backlogs { websocket: Backlog::new(each), event_stream: Backlog::new(each), count: 0 }
    }

    /// Appends an event in the forms that have subscribers.
    pub(crate) fn publish(&mut self, body: &[u8]) {
        self.count = self.count.saturating_add(1);
        if 0 < self.websocket.subscribers {
            push_frame(body, &mut self.websocket.bytes);
            self.websocket.end_event();
        }
        if 0 < self.event_stream.subscribers {
            push_block(body, &mut self.event_stream.bytes);
            self.event_stream.end_event();
        }
    }

    /// How many events there were since this was last asked.
    pub(crate) fn take_count(&mut self) -> u32 {
        std::mem::take(&mut self.count)
    }

    /// The one of `form`.
    pub(crate) fn of(&mut self, form: Form) -> &mut Backlog {
        match form {
            Form::WebSocket => &mut self.websocket,
            Form::EventStream => &mut self.event_stream,
        }
    }

    /// Whether something was published since [`Backlogs::trim`].
    pub(crate) fn have_grown(&self) -> bool {
        self.websocket.has_grown() || self.event_stream.has_grown()
    }

    /// Ends a fan-out that told both backlogs of every subscriber's position.
    pub(crate) fn trim(&mut self) {
        self.websocket.trim();
        self.event_stream.trim();
    }
}

/// The bytes of one form.
#[derive(Debug)]
pub(crate) struct Backlog {
    bytes: Vec<u8>,
    /// The position of the first of `bytes`.
    base: u64,
    /// The head at the last trim.
    trimmed_at: u64,
    /// The least position that was asked to be kept since the last trim.
    kept_from: u64,
    /// The ends of this turn's events, if they are to be written one by one.
    ends: Vec<u64>,
    each: bool,
    subscribers: usize,
}

impl Backlog {
    fn new(each: bool) -> Backlog {
        Backlog {
            bytes: Vec::new(),
            base: 0,
            trimmed_at: 0,
            kept_from: u64::MAX,
            ends: Vec::new(),
            each,
            subscribers: 0,
        }
    }

    /// One subscriber more; the position it starts at.
    pub(crate) fn join(&mut self) -> u64 {
        self.subscribers += 1;
        self.head()
    }

    /// One subscriber less.
    pub(crate) fn leave(&mut self) {
        self.subscribers -= 1;
    }

    /// The position behind the last byte.
    pub(crate) fn head(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// Where this turn's writes end, in order: behind each event if they are written one by one, and at the head.
    pub(crate) fn ends(&self) -> impl Iterator<Item = u64> {
        self.ends.iter().copied().chain([self.head()])
    }

    /// The bytes from one position to another.
    pub(crate) fn bytes(&self, from: u64, to: u64) -> &[u8] {
        &self.bytes[(from - self.base) as usize..(to - self.base) as usize]
    }

    /// Asks for what lies behind `cursor` to be kept by the next trim.
    pub(crate) fn keep_from(&mut self, cursor: u64) {
        self.kept_from = self.kept_from.min(cursor);
    }

    fn has_grown(&self) -> bool {
        self.trimmed_at < self.head()
    }

    fn end_event(&mut self) {
        if self.each {
            self.ends.push(self.head());
        }
    }

    fn trim(&mut self) {
        let head = self.head();
        let done_bytes = (self.kept_from.min(head) - self.base) as usize;
        // Moving no more than is removed keeps the cost of a byte constant, however slow the slowest subscriber is.
        if self.bytes.len() <= 2 * done_bytes {
            self.bytes.drain(..done_bytes);
            self.base += done_bytes as u64;
        }
        self.trimmed_at = head;
        self.kept_from = u64::MAX;
        self.ends.clear();
    }
}

/// Appends `body` as an unmasked text frame.
fn push_frame(body: &[u8], out: &mut Vec<u8>) {
    out.push(0x81);
    match body.len() {
        length @ 0..126 => out.push(length as u8),
        length @ 126..65_536 => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(body);
}

/// Appends `body` as a block with one `data` field for each of its lines; CR LF ends two.
fn push_block(body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    let mut line = 0;
    for end in memchr2_iter(b'\n', b'\r', body) {
        out.extend_from_slice(&body[line..end]);
        out.extend_from_slice(b"\ndata: ");
        line = end + 1;
    }
    out.extend_from_slice(&body[line..]);
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sse, websocket};

    #[test]
    fn events_are_read_back_as_they_were_published() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let body = vec![b'x'; length];
            let mut bytes = Vec::new();
            push_frame(&body, &mut bytes);
            let (frame, end) = websocket::read_frame(&bytes).expect("valid").expect("whole");
            assert_eq!((frame.payload, frame.opcode, end), (&body[..], websocket::Opcode::Text, bytes.len()));
            bytes.clear();
            push_block(&body, &mut bytes);
            let (block, end) = sse::read_block(&bytes).expect("valid").expect("whole");
            assert_eq!((block.data.as_deref(), end), (Some(&body[..]), bytes.len()));
        }
    }

    #[test]
    fn a_body_of_many_lines_stays_one_block() {
        let mut bytes = Vec::new();
        push_block(b"a\n\nb\rc", &mut bytes);
        assert_eq!(bytes, b"data: a\ndata: \ndata: b\ndata: c\n\n");
    }

    #[test]
    fn only_forms_with_subscribers_are_encoded() {
        let mut backlogs = Backlogs::new(false);
        backlogs.publish(b"x");
        assert!(!backlogs.have_grown());
        assert_eq!(backlogs.of(Form::WebSocket).join(), 0);
        backlogs.publish(b"x");
        assert_eq!(backlogs.of(Form::WebSocket).head(), 3);
        assert_eq!(backlogs.of(Form::EventStream).head(), 0);
    }

    #[test]
    fn writes_end_at_the_head_or_behind_each_event() {
        let check = |each, expected: &[u64]| {
            let mut backlogs = Backlogs::new(each);
            backlogs.of(Form::WebSocket).join();
            backlogs.publish(b"a");
            backlogs.publish(b"bc");
            assert_eq!(backlogs.of(Form::WebSocket).ends().collect::<Vec<_>>(), expected);
            backlogs.trim();
            assert_eq!(backlogs.of(Form::WebSocket).ends().collect::<Vec<_>>(), [7]);
        };
        check(false, &[7]);
        check(true, &[3, 7, 7]);
    }

    #[test]
    fn what_the_slowest_subscriber_lacks_is_kept_and_no_more_than_twice_that() {
        let mut backlogs = Backlogs::new(false);
        backlogs.of(Form::WebSocket).join();
        let (mut written, mut slowest) = (Vec::new(), 0);
        for turn in 0..1_000u64 {
            let body = turn.to_string();
            backlogs.publish(body.as_bytes());
            push_frame(body.as_bytes(), &mut written);
            let backlog = backlogs.of(Form::WebSocket);
            slowest += if turn < 500 { 1 } else { (backlog.head() - slowest).min(9) };
            backlog.keep_from(backlog.head());
            backlog.keep_from(slowest);
            backlog.trim();
            let lacking = &written[slowest as usize..];
            assert_eq!(backlog.bytes(slowest, backlog.head()), lacking);
            assert!(backlog.bytes.len() <= 2 * lacking.len(), "turn {turn}");
        }
        assert_eq!(slowest, written.len() as u64, "the slowest has caught up");
    }
}
