//! What filters look at: an event's kind, ids and tags in a compact binary form, kept beside its frame.
//!
//! ```text
//! labels := data_start:u28 data_len:u28  text(kind) text(workspace) text(event_id)  list(ids) list(tags)
//! text   := len:u14 bytes        list := count:u7 text*
//! ```
//!
//! Numbers take seven bits a byte, the lowest first: so labels are text, and what they stand in is text as well.

/// The labels of one event, as written by [`push`].
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a>(&'a [u8]);

/// What is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'a> {
    /// Where the data stands in the event's JSON, counted from the end of its sequence number, and its length.
    pub data: (u32, u32),
    /// The kind in wire form.
    pub kind: &'a str,
    /// The workspace, empty for none.
    pub workspace: &'a str,
    /// The publisher's own id, empty for none.
    pub event_id: &'a str,
    /// Entities that the event is about: at most 127.
    pub ids: &'a [String],
    /// Tags: at most 127.
    pub tags: &'a [String],
}

/// Appends the labels of an event. Every text is shorter than 16,384 bytes, and the event than 256 MiB: publishers'
/// limits see to it.
pub fn push(out: &mut Vec<u8>, parts: &Parts<'_>) {
    out.extend_from_slice(&seven_bits::<4>(parts.data.0));
    out.extend_from_slice(&seven_bits::<4>(parts.data.1));
    for text in [parts.kind, parts.workspace, parts.event_id] {
        push_text(out, text);
    }
    for list in [parts.ids, parts.tags] {
        let list = &list[..list.len().min(SEVEN_BITS as usize)];
        out.push(list.len() as u8);
        for text in list {
            push_text(out, text);
        }
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    let text = if text.len() < 1 << 14 { text } else { "" };
    out.extend_from_slice(&seven_bits::<2>(text.len() as u32));
    out.extend_from_slice(text.as_bytes());
}

/// Where the length of the data stands in labels.
pub const DATA_LEN: std::ops::Range<usize> = 4..8;

/// A number of at most seven bits for each byte, as labels have it: ASCII.
#[must_use]
pub fn seven_bits<const N: usize>(number: u32) -> [u8; N] {
    debug_assert!(number >> (7 * N) == 0, "{number} takes more than {N} bytes");
    std::array::from_fn(|at| (number >> (7 * at) & SEVEN_BITS) as u8)
}

/// What [`seven_bits`] was given.
fn number(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |number, byte| number << 7 | usize::from(*byte))
}

const SEVEN_BITS: u32 = (1 << 7) - 1;

impl<'a> Labels<'a> {
    /// Labels that [`push`] wrote.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Labels<'a> {
        Labels(bytes)
    }

    /// The labels as they were written.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Where the data stands in the event's JSON, counted from the end of its sequence number, and its length.
    #[must_use]
    pub fn data(self) -> (usize, usize) {
        let number_at = |place| number(self.0.get(place).unwrap_or_default());
        (number_at(0..DATA_LEN.start), number_at(DATA_LEN))
    }

    /// The kind in wire form.
    #[must_use]
    pub fn kind(self) -> &'a str {
        self.reader().text()
    }

    /// The workspace, empty for none.
    #[must_use]
    pub fn workspace(self) -> &'a str {
        let mut reader = self.reader();
        reader.text();
        reader.text()
    }

    /// The publisher's own id, empty for none.
    #[must_use]
    pub fn event_id(self) -> &'a str {
        let mut reader = self.reader();
        reader.text();
        reader.text();
        reader.text()
    }

    /// Entities that the event is about.
    pub fn ids(self) -> impl Iterator<Item = &'a str> {
        self.lists().list()
    }

    /// Tags.
    pub fn tags(self) -> impl Iterator<Item = &'a str> {
        let mut reader = self.lists();
        for _ in 0..reader.count() {
            reader.text();
        }
        reader.list()
    }

    /// What follows the data's place.
    fn reader(self) -> Reader<'a> {
        Reader(self.0.get(DATA_LEN.end..).unwrap_or_default())
    }

    /// What follows kind, workspace and id.
    fn lists(self) -> Reader<'a> {
        let mut reader = self.reader();
        for _ in 0..3 {
            reader.text();
        }
        reader
    }
}

/// Reads on through labels; at their end everything is empty.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(count).unwrap_or_default();
        self.0 = rest;
        taken
    }

    fn text(&mut self) -> &'a str {
        let len = number(self.take(2));
        std::str::from_utf8(self.take(len)).unwrap_or_default()
    }

    fn count(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    fn list(mut self) -> impl Iterator<Item = &'a str> {
        (0..self.count()).map(move |_| self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_reads_back() {
        let ids = ["42".to_owned(), "ü".to_owned()];
        let parts = Parts {
            data: (70_000, 3),
            kind: "pr_opened",
            workspace: "acme",
            event_id: "",
            ids: &ids,
            tags: &["x".to_owned()],
        };
        let mut bytes = Vec::new();
        push(&mut bytes, &parts);
        let labels = Labels::new(&bytes);
        assert_eq!(labels.data(), (70_000, 3));
        assert_eq!((labels.kind(), labels.workspace(), labels.event_id()), ("pr_opened", "acme", ""));
        assert!(labels.ids().eq(["42", "ü"]));
        assert!(labels.tags().eq(["x"]));
        assert!(std::str::from_utf8(&bytes).is_ok(), "labels are text");
    }

    #[test]
    fn numbers_of_seven_bits_a_byte_read_back() {
        for expected in [0, 1, 127, 128, 16_383, 16_384, (1 << 28) - 1] {
            let bytes = seven_bits::<4>(expected);
            assert!(bytes.is_ascii() && number(&bytes) == expected as usize, "{expected}");
        }
        for len in [127, 128, 16_383] {
            let mut bytes = Vec::new();
            push(
                &mut bytes,
                &Parts { event_id: &"x".repeat(len), ids: &["y".to_owned()], ..Parts::default() },
            );
            let labels = Labels::new(&bytes);
            assert!(labels.event_id().len() == len && labels.ids().eq(["y"]), "{len}");
        }
    }

    #[test]
    fn labels_cut_short_are_empty_and_nothing_worse() {
        let mut bytes = Vec::new();
        push(&mut bytes, &Parts { kind: "push", tags: &["x".to_owned()], ..Parts::default() });
        for len in 0..bytes.len() {
            let labels = Labels::new(&bytes[..len]);
            assert!(labels.kind().len() <= 4 && labels.ids().count() == 0 && labels.tags().count() <= 1);
        }
    }
}
