//! What filters look at: an event's kind, ids and tags in a compact binary form, kept beside its frame.
//!
//! ```text
//! labels := data_start:u32 data_len:u32  text(kind) text(workspace) text(event_id)  list(ids) list(tags)
//! text   := len:u16 bytes        list := count:u8 text*        numbers are little-endian
//! ```

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
    /// Entities that the event is about: at most 255.
    pub ids: &'a [String],
    /// Tags: at most 255.
    pub tags: &'a [String],
}

/// Appends the labels of an event. Every text is shorter than 65,536 bytes: publishers' limits see to it.
pub fn push(out: &mut Vec<u8>, parts: &Parts<'_>) {
    out.extend_from_slice(&parts.data.0.to_le_bytes());
    out.extend_from_slice(&parts.data.1.to_le_bytes());
    for text in [parts.kind, parts.workspace, parts.event_id] {
        push_text(out, text);
    }
    for list in [parts.ids, parts.tags] {
        let list = &list[..list.len().min(usize::from(u8::MAX))];
        out.push(list.len() as u8);
        for text in list {
            push_text(out, text);
        }
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).unwrap_or(0);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..usize::from(len)]);
}

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
        let number = |at: usize| {
            let bytes = self.0.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or_default()) as usize
        };
        (number(0), number(4))
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
        Reader(self.0.get(8..).unwrap_or_default())
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
        let len = self.take(2).try_into().map(u16::from_le_bytes).unwrap_or_default();
        std::str::from_utf8(self.take(usize::from(len))).unwrap_or_default()
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
