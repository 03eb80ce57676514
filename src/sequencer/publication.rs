//! An event on its way to the sequencer: everything that needs no sequence number is rendered and checked already.

use std::ops::Range;

use crate::wire::json::push_string;
use crate::words::channel::{ANNOUNCEMENTS, Channel, ChannelError, Route};
use crate::words::cursor::Epoch;
use crate::words::labels::{self, Labels};
use crate::words::workspace::Workspace;

/// What a publisher says of an event; each part is valid on its own.
#[derive(Clone, Copy, Debug)]
pub struct EventParts<'a> {
    /// Where it is published.
    pub channel: &'a Channel,
    /// Its kind in wire form.
    pub kind: &'a str,
    /// Its data: one JSON value on one line.
    pub data: &'a [u8],
    /// The publisher's own id, if it gave one.
    pub event_id: Option<&'a str>,
    /// Ids of the entities it is about.
    pub ids: &'a WordList,
    /// Its tags.
    pub tags: &'a WordList,
    /// The workspace that it belongs to, if the publisher says one.
    pub workspace: Option<&'a Workspace>,
}

impl<'a> EventParts<'a> {
    /// An event without id, words or workspace.
    #[must_use]
    pub fn new(channel: &'a Channel, kind: &'a str, data: &'a [u8]) -> EventParts<'a> {
        let (ids, tags) = (WordList::EMPTY, WordList::EMPTY);
        EventParts { channel, kind, data, event_id: None, ids, tags, workspace: None }
    }
}

/// Words that a publisher gives an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WordList {
    /// As the event shows them: a JSON array on one line, or empty for none.
    pub json: Vec<u8>,
    /// As filters compare them: strings decoded, numbers as they are written.
    pub words: Vec<String>,
}

impl WordList {
    /// No words.
    pub const EMPTY: &WordList = &WordList { json: Vec::new(), words: Vec::new() };

    /// A list of strings.
    #[must_use]
    pub fn of_strings(words: Vec<String>) -> WordList {
        let mut json = Vec::new();
        for word in &words {
            json.push(if json.is_empty() { b'[' } else { b',' });
            push_string(&mut json, word);
        }
        if !words.is_empty() {
            json.push(b']');
        }
        WordList { json, words }
    }
}

/// A rendered event.
#[derive(Clone, Debug)]
pub struct Publication {
    route: Route,
    /// The JSON text from after the sequence number to before the timestamp, then from after the timestamp to the end;
    /// then the labels.
    bytes: Box<[u8]>,
    middle_len: u32,
    json_len: u32,
    /// What the JSON text begins with.
    start: &'static [u8],
    /// Where the kind stands in `bytes`.
    kind: Range<u32>,
    has_event_id: bool,
}

impl Publication {
    /// Renders an event. Cost: one copy of its data.
    ///
    /// # Errors
    /// [`ChannelError::OtherWorkspace`] if the channel belongs to another workspace than the event.
    pub fn new(parts: &EventParts<'_>) -> Result<Publication, ChannelError> {
        let route = parts.channel.route(parts.kind, parts.workspace)?;
        let words = parts.ids.json.len() + parts.tags.json.len() + parts.event_id.map_or(0, str::len);
        let mut bytes = Vec::with_capacity(
            parts.data.len() + parts.channel.as_str().len() + 2 * (parts.kind.len() + words) + 160,
        );
        bytes.extend_from_slice(b",\"channel\":\"");
        bytes.extend_from_slice(parts.channel.as_str().as_bytes());
        bytes.extend_from_slice(b"\",\"event\":\"");
        let kind_start = bytes.len();
        bytes.extend_from_slice(parts.kind.as_bytes());
        let kind_end = bytes.len();
        bytes.extend_from_slice(b"\",\"data\":");
        let data = (bytes.len() as u32, parts.data.len() as u32);
        bytes.extend_from_slice(parts.data);
        bytes.extend_from_slice(b",\"timestamp\":");
        let middle_len = bytes.len();
        if let Some(event_id) = parts.event_id {
            bytes.extend_from_slice(b",\"event_id\":");
            push_string(&mut bytes, event_id);
        }
        for (name, list) in [(",\"ids\":", parts.ids), (",\"tags\":", parts.tags)] {
            if !list.json.is_empty() {
                bytes.extend_from_slice(name.as_bytes());
                bytes.extend_from_slice(&list.json);
            }
        }
        if let Some(workspace) = parts.workspace {
            bytes.extend_from_slice(b",\"workspace\":\"");
            bytes.extend_from_slice(workspace.as_str().as_bytes());
            bytes.push(b'"');
        }
        bytes.push(b'}');
        let json_len = bytes.len();
        let labels = labels::Parts {
            data,
            kind: parts.kind,
            workspace: route.parts().0.unwrap_or_default(),
            event_id: parts.event_id.unwrap_or_default(),
            ids: &parts.ids.words,
            tags: &parts.tags.words,
        };
        labels::push(&mut bytes, &labels);
        Ok(Publication {
            route,
            middle_len: middle_len as u32,
            json_len: json_len as u32,
            start: EVENT_START,
            kind: kind_start as u32..kind_end as u32,
            has_event_id: parts.event_id.is_some(),
            bytes: bytes.into_boxed_slice(),
        })
    }

    /// An announcement to everybody: `message` is the text.
    #[must_use]
    pub fn announcement(message: &str) -> Publication {
        let mut bytes = b",\"message\":".to_vec();
        let data_start = bytes.len();
        push_string(&mut bytes, message);
        let data = (data_start as u32, (bytes.len() - data_start) as u32);
        bytes.extend_from_slice(b",\"timestamp\":");
        let middle_len = bytes.len() as u32;
        bytes.push(b'}');
        let json_len = bytes.len() as u32;
        labels::push(
            &mut bytes,
            &labels::Parts { data, kind: ANNOUNCEMENT_KIND, ..labels::Parts::default() },
        );
        // The kind is at hand in the labels: behind the data's place and the text's length.
        let kind_start = json_len + 10;
        Publication {
            route: Route::announcements(),
            middle_len,
            json_len,
            start: ANNOUNCEMENT_START,
            kind: kind_start..kind_start + ANNOUNCEMENT_KIND.len() as u32,
            has_event_id: false,
            bytes: bytes.into_boxed_slice(),
        }
    }

    /// Its channel, as the publisher wrote it; an announcement has the one of announcements.
    #[must_use]
    pub fn channel(&self) -> &str {
        let text =
            self.bytes.strip_prefix(b",\"channel\":\"").and_then(|rest| rest.split(|&b| b == b'"').next());
        text.and_then(|text| std::str::from_utf8(text).ok()).unwrap_or(ANNOUNCEMENTS)
    }

    /// Its kind in wire form.
    #[must_use]
    pub fn kind(&self) -> &str {
        Labels::new(self.labels()).kind()
    }

    /// Its data: one JSON value on one line.
    #[must_use]
    pub fn data(&self) -> &str {
        let (start, len) = Labels::new(self.labels()).data();
        self.bytes.get(start..start + len).and_then(|data| std::str::from_utf8(data).ok()).unwrap_or("null")
    }

    /// The publisher's own id, if it gave one.
    #[must_use]
    pub fn event_id(&self) -> Option<&str> {
        self.has_event_id.then(|| Labels::new(self.labels()).event_id())
    }

    /// All that was rendered: equal for equal events, and for no others.
    #[must_use]
    pub fn rendered(&self) -> &[u8] {
        &self.bytes
    }

    /// What it is matched on.
    #[must_use]
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// Bytes it takes while it waits.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len() + size_of::<Publication>()
    }

    /// Its labels.
    pub(super) fn labels(&self) -> &[u8] {
        &self.bytes[self.json_len as usize..]
    }

    /// The whole event, stamped: calls `then` with the pieces of its JSON text and of what stands before it in an SSE
    /// block.
    pub(super) fn with_pieces<T>(
        &self,
        epoch: Epoch,
        seq: u64,
        timestamp_ms: u64,
        then: impl FnOnce(&[&[u8]], &[&[u8]]) -> T,
    ) -> T {
        let (mut seq_digits, mut time_digits) = (Digits::default(), Digits::default());
        let seq = seq_digits.write(seq);
        let timestamp = time_digits.write(timestamp_ms);
        let (middle, end) = self.bytes[..self.json_len as usize].split_at(self.middle_len as usize);
        let kind = &self.bytes[self.kind.start as usize..self.kind.end as usize];
        let epoch = epoch.as_str().as_bytes();
        let head: &[&[u8]] = &[b"id: ", epoch, b"-", seq, b"\nevent: ", kind, b"\ndata: "];
        let start = self.start;
        if self.has_event_id {
            then(&[start, seq, middle, timestamp, end], head)
        } else {
            // The cursor is unique, and whoever sees the event has it already.
            then(&[start, seq, middle, timestamp, b",\"event_id\":\"", epoch, b"-", seq, b"\"", end], head)
        }
    }
}

/// What an event's JSON text begins with; its sequence number follows.
const EVENT_START: &[u8] = b"{\"type\":\"event\",\"seq\":";

/// What an announcement's begins with.
const ANNOUNCEMENT_START: &[u8] = b"{\"type\":\"system\",\"seq\":";

/// The kind of an announcement.
const ANNOUNCEMENT_KIND: &str = "system";

/// Room for the decimal digits of a number.
#[derive(Default)]
struct Digits([u8; 20]);

impl Digits {
    fn write(&mut self, mut number: u64) -> &[u8] {
        let mut at = self.0.len();
        loop {
            at -= 1;
            self.0[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return &self.0[at..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(parts: &EventParts<'_>) -> (String, String) {
        Publication::new(parts).unwrap().with_pieces(
            Epoch::from_bits(0),
            41,
            1_795_316_060_123,
            |json, head| {
                (String::from_utf8(json.concat()).unwrap(), String::from_utf8(head.concat()).unwrap())
            },
        )
    }

    #[test]
    fn an_event_is_rendered_in_the_order_of_the_protocol() {
        let channel = Channel::parse("repo:alice/demo").unwrap();
        let parts = EventParts::new(&channel, "push", b"{\"a\":1}");
        let (json, head) = rendered(&parts);
        assert_eq!(
            json,
            r#"{"type":"event","seq":41,"channel":"repo:alice/demo","event":"push","data":{"a":1},"timestamp":1795316060123,"event_id":"aaaaaaaa-41"}"#
        );
        assert_eq!(head, "id: aaaaaaaa-41\nevent: push\ndata: ");
        let ids = WordList::of_strings(vec!["7".to_owned()]);
        let tags = WordList { json: b"[]".to_vec(), words: Vec::new() };
        let acme = Workspace::parse("acme");
        let parts =
            EventParts { event_id: Some("x\"y"), ids: &ids, tags: &tags, workspace: acme.as_ref(), ..parts };
        let (json, _) = rendered(&parts);
        assert_eq!(
            json,
            r#"{"type":"event","seq":41,"channel":"repo:alice/demo","event":"push","data":{"a":1},"timestamp":1795316060123,"event_id":"x\"y","ids":["7"],"tags":[],"workspace":"acme"}"#
        );
        let publication = Publication::new(&parts).unwrap();
        assert_eq!(publication.route().as_str(), "acme@repo:alice/demo");
        let labels = Labels::new(publication.labels());
        assert_eq!((labels.kind(), labels.workspace(), labels.event_id()), ("push", "acme", "x\"y"));
        assert!(labels.ids().eq(["7"]));
        let (start, len) = labels.data();
        let after_seq = json.find(",\"channel\"").unwrap();
        assert_eq!(&json[after_seq + start..after_seq + start + len], "{\"a\":1}");
    }

    #[test]
    fn digits_of_small_and_large_numbers() {
        for number in [0, 9, 10, 1234567890, u64::MAX] {
            assert_eq!(Digits::default().write(number), number.to_string().as_bytes());
        }
    }
}
