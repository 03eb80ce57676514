//! What a subscriber's connection brings, counted without reading it: WebSocket frames are hopped over from header to
//! header, blocks of an event stream from empty line to empty line.
//!
//! # Contract       a message is an event if it has a stamp; whatever else comes is counted apart. Nothing is copied but the
//!                  rest of a block that continues in another chunk. What another subscriber has read need not be: it is skipped
//! # Bounds         a frame, a block and a chunk are at most 4 MiB

use memchr::memmem;

use super::progress::Progress;
use super::reference::Reference;
use super::stamp::{self, Finder};
use crate::histogram::Latency;
use crate::websocket::{self, FRAME_BYTES_MAX, Opcode};

/// What all subscribers together were delivered.
#[derive(Debug)]
pub(crate) struct Counter {
    /// Events.
    pub(crate) events: u64,
    /// Of these, skipped: their bytes were counted.
    pub(crate) skipped: u64,
    /// Bytes of the frames' payloads, or of the blocks, of events that were read.
    pub(crate) payload_bytes: u64,
    /// Messages that are no events.
    pub(crate) others: u64,
    /// Of these the gaps.
    pub(crate) gaps: u64,
    /// The first gaps, as they came.
    pub(crate) gap_samples: Vec<String>,
    /// From when events were due to their receipt.
    pub(crate) latency: Latency,
    /// Whether every event's latency is recorded, or that of the last one of each reading.
    pub(crate) keep_each: bool,
    /// Events are recorded that were due from here …
    pub(crate) from_ns: u64,
    /// … to before here.
    pub(crate) to_ns: u64,
    /// What the stream consists of, where subscribers may skip what others have read.
    pub(crate) reference: Option<Reference>,
    finder: Finder,
    /// What ends a message of an event stream.
    ending: &'static [u8],
    search: memmem::Finder<'static>,
}

impl Counter {
    /// Nothing came yet, and nothing is recorded until `from_ns` and `to_ns` are set. With `has_lines` each line of an event
    /// stream may be an event, and not each block.
    pub(crate) fn new(keep_each: bool, has_lines: bool) -> Counter {
        let ending = if has_lines { LINE } else { EMPTY_LINE };
        Counter {
            events: 0,
            skipped: 0,
            payload_bytes: 0,
            others: 0,
            gaps: 0,
            gap_samples: Vec::new(),
            latency: Latency::new(),
            keep_each,
            from_ns: u64::MAX,
            to_ns: u64::MAX,
            reference: None,
            finder: Finder::new(),
            ending,
            search: memmem::Finder::new(ending),
        }
    }

    /// Counts the whole frames in `input`, which a subscriber read at `now_ns`, and answers pings into `outgoing`. Returns
    /// the bytes that are used up.
    ///
    /// # Errors
    /// The server broke the protocol, or closed the connection.
    pub(crate) fn take_frames(
        &mut self,
        input: &[u8],
        now_ns: u64,
        progress: &mut Progress,
        outgoing: &mut Vec<u8>,
    ) -> Result<usize, String> {
        let (mut at, mut last) = (0, None);
        while let Some((frame, length)) = websocket::read_frame(&input[at..])? {
            at += length;
            match frame.opcode {
                Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                    last = self.note(frame.payload, length, now_ns, progress).or(last);
                }
                Opcode::Ping => websocket::write_frame(Opcode::Pong, frame.payload, [0; 4], outgoing),
                Opcode::Pong => {}
                Opcode::Close => {
                    return Err(format!("the server closed the connection{}", close_code(frame.payload)));
                }
            }
        }
        self.note_last(last, now_ns);
        Ok(at)
    }

    /// Counts the whole blocks in `input`, as [`Counter::take_frames`].
    ///
    /// # Errors
    /// A block is too long.
    pub(crate) fn take_blocks(
        &mut self,
        input: &[u8],
        now_ns: u64,
        progress: &mut Progress,
    ) -> Result<usize, String> {
        let (mut at, mut last) = (0, None);
        while let Some(length) = self.search.find(&input[at..]) {
            let end = at + length + self.ending.len();
            last = self.note(&input[at..end], end - at, now_ns, progress).or(last);
            at = end;
        }
        if FRAME_BYTES_MAX < (input.len() - at) as u64 {
            return Err("a block is longer than 4 MiB".to_owned());
        }
        self.note_last(last, now_ns);
        Ok(at)
    }

    /// How many bytes of events a subscriber need not read next, since another one has, after `held` bytes that it holds.
    pub(crate) fn known_bytes(&self, held: usize, progress: &Progress) -> usize {
        // What comes before the first event differs from one to the other, so that one is read by everybody.
        if progress.is_watched || progress.events == 0 {
            return 0;
        }
        let end = self.reference.as_ref().map_or(0, Reference::end);
        end.saturating_sub(progress.bytes + held as u64) as usize
    }

    /// Counts `bytes` bytes that a subscriber did not read; they are no more than [`Counter::known_bytes`], and what it held.
    pub(crate) fn skip(&mut self, bytes: usize, progress: &mut Progress) {
        let Some(reference) = &self.reference else { return };
        progress.bytes += bytes as u64;
        progress.skipped_bytes += bytes as u64;
        let events = reference.events_in(progress.bytes).saturating_sub(progress.events);
        progress.events += events;
        self.events += events;
        self.skipped += events;
    }

    /// Counts one message of `wire_bytes` bytes with its header; if its latency is to be recorded with the reading's last,
    /// gives it back with its stamp.
    fn note<'a>(
        &mut self,
        message: &'a [u8],
        wire_bytes: usize,
        now_ns: u64,
        progress: &mut Progress,
    ) -> Option<(&'a [u8], usize)> {
        let Some(at) = self.finder.find(message) else {
            progress.strays += u64::from(0 < progress.events && !message.starts_with(b":"));
            self.note_other(message);
            return None;
        };
        self.events += 1;
        self.payload_bytes += message.len() as u64;
        if let Some(reference) = &mut self.reference {
            reference.note(progress.bytes, wire_bytes as u64);
        }
        progress.events += 1;
        progress.bytes += wire_bytes as u64;
        if !progress.is_watched {
            return None;
        }
        if !self.keep_each {
            return Some((message, at));
        }
        self.record(message, at, now_ns);
        None
    }

    fn note_last(&mut self, last: Option<(&[u8], usize)>, now_ns: u64) {
        if let Some((message, at)) = last {
            self.record(message, at, now_ns);
        }
    }

    fn record(&mut self, message: &[u8], at: usize, now_ns: u64) {
        if let Some(due_ns) = stamp::due_ns(message, at)
            && (self.from_ns..self.to_ns).contains(&due_ns)
        {
            self.latency.record(now_ns.saturating_sub(due_ns));
        }
    }

    #[cold]
    fn note_other(&mut self, message: &[u8]) {
        if self.ending == LINE && !message.starts_with(b"data:") {
            return;
        }
        self.others += 1;
        if memmem::find(message, b"\"gap\"").is_some() || message.starts_with(b"event: gap") {
            self.gaps += 1;
            if self.gap_samples.len() < GAP_SAMPLES_MAX {
                let shown = &message[..message.len().min(GAP_SAMPLE_BYTES_MAX)];
                self.gap_samples.push(String::from_utf8_lossy(shown).trim().to_owned());
            }
        }
    }
}

/// Takes the chunks of an answer's body apart.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    /// What is still to come of the chunk that has begun, and of the line end behind it.
    left: usize,
    /// The rest of a block that continues in the next chunk.
    partial: Vec<u8>,
}

impl Chunks {
    /// Counts the whole blocks in the chunks in `input`, as [`Counter::take_blocks`].
    ///
    /// # Errors
    /// These are no chunks, the last one has come, or a block is too long.
    pub(crate) fn take(
        &mut self,
        input: &[u8],
        now_ns: u64,
        progress: &mut Progress,
        counter: &mut Counter,
    ) -> Result<usize, String> {
        let mut at = 0;
        loop {
            if self.left == 0 {
                let Some((content, header)) = chunk_header(&input[at..])? else { return Ok(at) };
                at += header;
                self.left = content + LINE_END;
            }
            let whole = self.left.saturating_sub(LINE_END).min(input.len() - at);
            self.take_content(&input[at..at + whole], now_ns, progress, counter)?;
            at += whole;
            self.left -= whole;
            if self.left <= LINE_END {
                let end = self.left.min(input.len() - at);
                at += end;
                self.left -= end;
            }
            if at == input.len() {
                return Ok(at);
            }
        }
    }

    fn take_content(
        &mut self,
        content: &[u8],
        now_ns: u64,
        progress: &mut Progress,
        counter: &mut Counter,
    ) -> Result<(), String> {
        if self.partial.is_empty() {
            let used = counter.take_blocks(content, now_ns, progress)?;
            self.partial.extend_from_slice(&content[used..]);
            return Ok(());
        }
        self.partial.extend_from_slice(content);
        let used = counter.take_blocks(&self.partial, now_ns, progress)?;
        self.partial.drain(..used);
        Ok(())
    }
}

/// The length of the chunk's content, and of the header that says so; `None` while it is incomplete.
fn chunk_header(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        return if CHUNK_HEADER_BYTES_MAX < bytes.len() { Err(NO_CHUNK.to_owned()) } else { Ok(None) };
    };
    let line = bytes[..end].trim_ascii_end();
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let content = str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match content {
        Some(0) => Err("the server ended the stream".to_owned()),
        Some(content) if content <= FRAME_BYTES_MAX => Ok(Some((content as usize, end + 1))),
        _ => Err(NO_CHUNK.to_owned()),
    }
}

fn close_code(payload: &[u8]) -> String {
    match payload {
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            format!(" with {code} {}", String::from_utf8_lossy(reason)).trim_end().to_owned()
        }
        _ => String::new(),
    }
}

const LINE: &[u8] = b"\n";
const EMPTY_LINE: &[u8] = b"\n\n";
const GAP_SAMPLES_MAX: usize = 5;
const GAP_SAMPLE_BYTES_MAX: usize = 200;
const CHUNK_HEADER_BYTES_MAX: usize = 256;
const NO_CHUNK: &str = "the server says it sends chunks, and this is none";
/// Behind a chunk's content.
const LINE_END: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn body(due_ns: u64) -> String {
        let mut body = Vec::new();
        stamp::write_body(40, &mut body);
        stamp::set_due(&mut body, due_ns);
        String::from_utf8(body).expect("text")
    }

    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            length @ 0..126 => frame.push(length as u8),
            length @ 126..65_536 => {
                frame.push(126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                frame.push(127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        frame
    }

    fn recording(keep_each: bool) -> Counter {
        let mut counter = Counter::new(keep_each, false);
        counter.from_ns = 1_000_000;
        counter
    }

    fn watched() -> Progress {
        Progress::new(true)
    }

    /// Feeds `whole` in two readings, cut at every byte, and checks the counts each time.
    fn check_cuts(whole: &[u8], mut take: impl FnMut(&[u8], &mut Progress, &mut Counter) -> usize) {
        for cut in 0..=whole.len() {
            let (mut counter, mut progress) = (recording(true), watched());
            let used = take(&whole[..cut], &mut progress, &mut counter);
            let used = used + take(&whole[used..], &mut progress, &mut counter);
            assert_eq!(used, whole.len(), "cut at {cut}");
            assert_eq!((counter.events, counter.others, counter.gaps), (3, 2, 1), "cut at {cut}");
            assert_eq!(progress.events, 3, "cut at {cut}");
            // The first one was due before recording began.
            assert_eq!(counter.latency.count(), 2, "cut at {cut}");
        }
    }

    #[test]
    fn frames_are_hopped_over_wherever_a_reading_ends() {
        let long = format!("{{\"x\":\"{}\",\"d\":\"{}\"}}", "y".repeat(70_000), body(3_000_000));
        let short = [
            frame(1, body(1).as_bytes()),
            frame(9, b"?"),
            frame(1, br#"{"type":"gap","from":1}"#),
            frame(2, format!("{}{}", body(2_000_000), "z".repeat(100)).as_bytes()),
            frame(1, b"{}"),
            frame(1, format!("....{}", body(3_000_000)).as_bytes()),
        ]
        .concat();
        check_cuts(&short, |input, progress, counter| {
            counter.take_frames(input, 5_000_000, progress, &mut Vec::new()).expect("frames")
        });
        let (mut counter, mut outgoing) = (recording(true), Vec::new());
        let input = [frame(1, long.as_bytes()), frame(9, b"?")].concat();
        let mut progress = watched();
        assert_eq!(counter.take_frames(&input, 5_000_000, &mut progress, &mut outgoing), Ok(input.len()));
        assert_eq!((progress.events, progress.bytes), (1, input.len() as u64 - 3));
        assert_eq!(outgoing, [0x8a, 0x81, 0, 0, 0, 0, b'?']);
        assert_eq!(counter.payload_bytes, long.len() as u64);
        let closing = frame(8, &[0x03, 0xe9, b'x']);
        let error = counter.take_frames(&closing, 0, &mut progress, &mut outgoing);
        assert!(error.is_err_and(|error| error.contains("1001 x")));
    }

    fn blocks() -> Vec<String> {
        vec![
            ": comment\nretry: 3000\n\n".to_owned(),
            format!("id: 9\ndata: {}\n\n", body(1)),
            format!("id: 10\ndata: {}\n\n", body(2_000_000)),
            "id: 11\nevent: gap\ndata: {\"type\":\"gap\"}\n\n".to_owned(),
            format!("data: {}\n\n", body(3_000_000)),
        ]
    }

    #[test]
    fn blocks_are_counted_wherever_a_reading_ends() {
        check_cuts(blocks().concat().as_bytes(), |input, progress, counter| {
            counter.take_blocks(input, 5_000_000, progress).expect("blocks")
        });
    }

    #[test]
    fn chunks_are_taken_apart_wherever_they_and_a_reading_end() {
        let text = blocks().concat();
        for size in [3, 30, 1_000] {
            let pieces = text.as_bytes().chunks(size);
            let whole: Vec<u8> = pieces
                .flat_map(|piece| [format!("{:X};x=y\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat())
                .collect();
            for cut in 0..=whole.len() {
                let (mut counter, mut chunks, mut progress) = (recording(true), Chunks::default(), watched());
                let mut take = |input: &[u8]| {
                    chunks.take(input, 5_000_000, &mut progress, &mut counter).expect("chunks")
                };
                let used = take(&whole[..cut]);
                let used = used + take(&whole[used..]);
                assert_eq!((used, progress.events), (whole.len(), 3), "chunks of {size} cut at {cut}");
                assert_eq!(counter.others, 2);
            }
        }
        for wrong in [&b"0\r\n\r\n"[..], b"no chunk\r\n"] {
            assert!(Chunks::default().take(wrong, 0, &mut watched(), &mut recording(true)).is_err());
        }
    }

    #[test]
    fn lines_are_events_of_their_own_where_the_profile_says_so() {
        let text = format!("event: data\ndata: {}\ndata: {}\n\ndata: [\n\n", body(2), body(3));
        for cut in 0..=text.len() {
            let mut counter = Counter::new(true, true);
            let used = counter.take_blocks(&text.as_bytes()[..cut], 5, &mut watched()).expect("lines");
            let rest = counter.take_blocks(&text.as_bytes()[used..], 5, &mut watched()).expect("lines");
            assert_eq!((used + rest, counter.events, counter.others), (text.len(), 2, 1), "cut at {cut}");
        }
    }

    #[test]
    fn at_saturation_one_latency_a_reading_is_recorded() {
        let mut counter = recording(false);
        let input = [frame(1, body(2_000_000).as_bytes()), frame(1, body(4_000_000).as_bytes())].concat();
        let mut progress = watched();
        assert_eq!(counter.take_frames(&input, 5_000_000, &mut progress, &mut Vec::new()), Ok(input.len()));
        assert_eq!((progress.events, counter.latency.count()), (2, 1));
        assert!(counter.latency.max_ns() < 1_100_000, "the last one of the two");
    }

    #[test]
    fn what_another_has_read_is_skipped_and_the_rest_is_read() {
        let mut counter = recording(true);
        counter.reference = Some(Reference::default());
        let lengths = [21, 21, 22, 22, 150];
        let events = lengths.map(|length| {
            let mut body = Vec::new();
            stamp::write_body(length, &mut body);
            frame(1, &body)
        });
        let (mut one, mut other) = (watched(), Progress::new(false));
        let mut outgoing = Vec::new();
        // Nobody has read anything, and then only somebody else: the first event is read.
        assert_eq!(counter.known_bytes(0, &other), 0);
        let first = events[..2].concat();
        counter.take_frames(&first, 5, &mut one, &mut outgoing).expect("frames");
        assert_eq!(counter.known_bytes(0, &other), 0);
        let input = [frame(9, b"?"), events[0].clone()].concat();
        counter.take_frames(&input, 5, &mut other, &mut outgoing).expect("frames");
        assert_eq!((other.events, counter.known_bytes(0, &other)), (1, events[1].len()));
        // Within a frame it has nothing yet; at its end it has.
        counter.skip(5, &mut other);
        assert_eq!(other.events, 1);
        counter.skip(events[1].len() - 5, &mut other);
        assert_eq!((other.events, counter.known_bytes(0, &other)), (2, 0));
        // Whoever is first reads, whether it is watched or not.
        counter.take_frames(&events[2..].concat(), 5, &mut other, &mut outgoing).expect("frames");
        counter.take_frames(&events[2], 5, &mut one, &mut outgoing).expect("frames");
        assert_eq!((other.events, one.events, counter.events, counter.skipped), (5, 3, 8, 1));
        assert_eq!(counter.known_bytes(0, &one), 0, "who is watched skips nothing");
        counter.take_frames(&frame(1, b"{}"), 5, &mut other, &mut outgoing).expect("frames");
        assert_eq!(other.strays, 1);
        assert_eq!(other.bytes, lengths.iter().map(|length| length + 2).sum::<usize>() as u64 + 2);
    }
}
