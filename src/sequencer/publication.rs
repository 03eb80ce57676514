//! An event on its way to the sequencer: everything that needs no sequence number is rendered and checked already.

use super::stamp::Stamp;
use crate::wire::json::push_string;
use crate::words::channel::{ANNOUNCEMENTS, Channel, ChannelError, ChannelName, RouteName};
use crate::words::labels::{self, DATA_LEN, Labels};
use crate::words::workspace::Workspace;

/// What a publisher says of an event; each part is valid on its own.
#[derive(Clone, Copy, Debug)]
pub struct EventParts<'a> {
    /// Where it is published.
    pub channel: ChannelName<'a>,
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
        EventParts { channel: channel.name(), kind, data, event_id: None, ids, tags, workspace: None }
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
    /// The JSON text from after the sequence number to before the timestamp, then from after the timestamp to the end;
    /// then the labels; then the route, unless that is the channel. With room at its end, because giving back the few
    /// bytes that were too many would cost more than they do while it waits.
    text: String,
    places: Places,
}

/// Where in a publication's text what stands; from the first byte to before the last where there are two numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    middle_len: u32,
    json_len: u32,
    labels_end: u32,
    kind: (u32, u32),
    route: (u32, u32),
    /// How much of the route is the workspace.
    workspace_len: u8,
    is_announcement: bool,
    has_event_id: bool,
}

impl Publication {
    /// Renders an event. Cost: one copy of its data, and one allocation.
    ///
    /// # Errors
    /// [`ChannelError::OtherWorkspace`] if the channel belongs to another workspace than the event.
    ///
    /// # Panics
    /// If the data is no JSON, nor even UTF-8.
    pub fn new(parts: &EventParts<'_>) -> Result<Publication, ChannelError> {
        let route = parts.channel.route(parts.kind, parts.workspace)?;
        let mut bytes = Vec::with_capacity(room_for(parts));
        bytes.extend_from_slice(CHANNEL_START);
        bytes.extend_from_slice(parts.channel.as_str().as_bytes());
        bytes.extend_from_slice(KIND_START);
        let kind_start = bytes.len();
        bytes.extend_from_slice(parts.kind.as_bytes());
        let kind_end = bytes.len();
        bytes.extend_from_slice(DATA_START);
        let data = (bytes.len() as u32, parts.data.len() as u32);
        bytes.extend_from_slice(parts.data);
        bytes.extend_from_slice(DATA_END);
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
            workspace: route.workspace.unwrap_or_default(),
            event_id: parts.event_id.unwrap_or_default(),
            ids: &parts.ids.words,
            tags: &parts.tags.words,
        };
        labels::push(&mut bytes, &labels);
        let labels_end = bytes.len();
        let workspace_len = route.workspace.map_or(0, str::len) as u8;
        let route = if route.is_channel() {
            (CHANNEL_START.len() as u32, (CHANNEL_START.len() + parts.channel.as_str().len()) as u32)
        } else {
            route.pieces().into_iter().for_each(|piece| bytes.extend_from_slice(piece.as_bytes()));
            (labels_end as u32, bytes.len() as u32)
        };
        let places = Places {
            middle_len: middle_len as u32,
            json_len: json_len as u32,
            labels_end: labels_end as u32,
            kind: (kind_start as u32, kind_end as u32),
            route,
            workspace_len,
            is_announcement: false,
            has_event_id: parts.event_id.is_some(),
        };
        Ok(Publication { text: String::from_utf8(bytes).expect("JSON and labels are text"), places })
    }

    /// An announcement to everybody: `message` is the text.
    #[must_use]
    pub fn announcement(message: &str) -> Publication {
        let mut bytes = b",\"message\":".to_vec();
        let data_start = bytes.len();
        push_string(&mut bytes, message);
        let data = (data_start as u32, (bytes.len() - data_start) as u32);
        bytes.extend_from_slice(DATA_END);
        let middle_len = bytes.len() as u32;
        bytes.push(b'}');
        let json_len = bytes.len() as u32;
        labels::push(
            &mut bytes,
            &labels::Parts { data, kind: ANNOUNCEMENT_KIND, ..labels::Parts::default() },
        );
        // The kind is at hand in the labels: behind the data's place and the text's length.
        let kind_start = json_len + 10;
        let labels_end = bytes.len() as u32;
        bytes.extend_from_slice(ANNOUNCEMENTS.as_bytes());
        let places = Places {
            middle_len,
            json_len,
            labels_end,
            kind: (kind_start, kind_start + ANNOUNCEMENT_KIND.len() as u32),
            route: (labels_end, labels_end + ANNOUNCEMENTS.len() as u32),
            workspace_len: 0,
            is_announcement: true,
            has_event_id: false,
        };
        Publication { text: String::from_utf8(bytes).expect("JSON and labels are text"), places }
    }

    /// Its channel, as the publisher wrote it; an announcement has the one of announcements.
    #[must_use]
    pub fn channel(&self) -> &str {
        if self.places.is_announcement {
            return ANNOUNCEMENTS;
        }
        &self.text[CHANNEL_START.len()..self.places.kind.0 as usize - KIND_START.len()]
    }

    /// Its kind in wire form.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.part(self.places.kind)
    }

    /// Its data: one JSON value on one line.
    #[must_use]
    pub fn data(&self) -> &str {
        let (start, len) = Labels::new(self.labels()).data();
        &self.text[start..start + len]
    }

    /// The publisher's own id, if it gave one.
    #[must_use]
    pub fn event_id(&self) -> Option<&str> {
        self.places.has_event_id.then(|| Labels::new(self.labels()).event_id())
    }

    /// All that was rendered: equal for equal events, and for no others.
    #[must_use]
    pub fn rendered(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The workspace that it belongs to.
    #[must_use]
    pub fn workspace(&self) -> Option<&str> {
        let start = self.places.route.0;
        Some(self.part((start, start + u32::from(self.places.workspace_len)))).filter(|text| !text.is_empty())
    }

    /// What it is matched on.
    #[must_use]
    pub fn route(&self) -> RouteName<'_> {
        RouteName::of_text(self.part(self.places.route))
    }

    /// Bytes it takes while it waits.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.capacity() + size_of::<Publication>()
    }

    fn part(&self, (start, end): (u32, u32)) -> &str {
        &self.text[start as usize..end as usize]
    }

    /// Its labels.
    pub(super) fn labels(&self) -> &[u8] {
        &self.text.as_bytes()[self.places.json_len as usize..self.places.labels_end as usize]
    }

    /// The whole event, stamped: calls `then` with the pieces of its JSON text and of what stands before it in an SSE
    /// block.
    pub(super) fn with_pieces<T>(&self, stamp: &Stamp, then: impl FnOnce(&[&[u8]], &[&[u8]]) -> T) -> T {
        let Places { middle_len, json_len, kind, is_announcement, .. } = self.places;
        let bytes = self.text.as_bytes();
        let (middle, end) = bytes[..json_len as usize].split_at(middle_len as usize);
        let kind = &bytes[kind.0 as usize..kind.1 as usize];
        let start = if is_announcement { ANNOUNCEMENT_START } else { EVENT_START };
        let head: &[&[u8]] = &[stamp.block_start(), kind, b"\ndata: "];
        if self.places.has_event_id {
            then(&[start, stamp.seq(), middle, stamp.timestamp(), end], head)
        } else {
            // The cursor is unique, and whoever sees the event has it already.
            then(&[start, stamp.seq(), middle, stamp.timestamp_and_id(), end], head)
        }
    }
}

/// An event without its data, for others that differ from it in nothing else: checked and rendered once.
#[derive(Clone, Debug, Default)]
pub struct Mould {
    /// The event's text without its data; what its labels say of the length of that counts for nothing.
    text: String,
    data_start: usize,
    /// As they are when the data is empty.
    places: Places,
}

impl Mould {
    /// Takes the form of `publication`, an event, instead of the one before.
    pub fn take(&mut self, publication: &Publication) {
        debug_assert!(!publication.places.is_announcement);
        let data_len = publication.data().len();
        self.data_start = publication.places.kind.1 as usize + DATA_START.len();
        self.text.clear();
        self.text.push_str(&publication.text[..self.data_start]);
        self.text.push_str(&publication.text[self.data_start + data_len..]);
        self.places = publication.places.moved(|place| place - data_len as u32);
    }

    /// The event with this `data`: one JSON value on one line. Cost: one copy, and one allocation.
    #[must_use]
    pub fn cast(&self, data: &str) -> Publication {
        let data_len = data.len() as u32;
        let (start, rest) = self.text.split_at(self.data_start);
        let labels = self.places.json_len as usize - start.len();
        let mut text = String::with_capacity(self.text.len() + data.len());
        text.push_str(start);
        text.push_str(data);
        text.push_str(&rest[..labels + DATA_LEN.start]);
        labels::seven_bits::<4>(data_len).into_iter().for_each(|byte| text.push(char::from(byte)));
        text.push_str(&rest[labels + DATA_LEN.end..]);
        Publication { text, places: self.places.moved(|place| place + data_len) }
    }
}

impl Places {
    /// The same where what stands behind the data is somewhere else.
    fn moved(self, to: impl Fn(u32) -> u32) -> Places {
        let is_behind = self.labels_end <= self.route.0;
        Places {
            middle_len: to(self.middle_len),
            json_len: to(self.json_len),
            labels_end: to(self.labels_end),
            route: if is_behind { (to(self.route.0), to(self.route.1)) } else { self.route },
            ..self
        }
    }
}

/// Bytes that an event takes once it is rendered, and a few more.
fn room_for(parts: &EventParts<'_>) -> usize {
    let words =
        |list: &WordList| list.json.len() + list.words.iter().map(|word| word.len() + 2).sum::<usize>();
    let event_id = parts.event_id.map_or(0, str::len);
    let workspace = parts.workspace.map_or(0, |workspace| workspace.as_str().len());
    let channel = parts.channel.as_str().len();
    let texts = 2 * (channel + parts.kind.len() + event_id) + 3 * workspace;
    parts.data.len() + texts + words(parts.ids) + words(parts.tags) + REST_BYTES
}

/// What names and numbers of members and labels take, and the marks around them.
const REST_BYTES: usize = 128;

/// What stands before the channel.
const CHANNEL_START: &[u8] = b",\"channel\":\"";

/// What stands between the channel and the kind.
const KIND_START: &[u8] = b"\",\"event\":\"";

/// What stands between the kind and the data.
const DATA_START: &[u8] = b"\",\"data\":";

/// What stands between the data and the timestamp.
const DATA_END: &[u8] = b",\"timestamp\":";

/// What an event's JSON text begins with; its sequence number follows.
const EVENT_START: &[u8] = b"{\"type\":\"event\",\"seq\":";

/// What an announcement's begins with.
const ANNOUNCEMENT_START: &[u8] = b"{\"type\":\"system\",\"seq\":";

/// The kind of an announcement.
const ANNOUNCEMENT_KIND: &str = "system";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::cursor::Epoch;

    fn rendered(parts: &EventParts<'_>) -> (String, String) {
        let mut stamp = Stamp::new(Epoch::from_bits(0));
        stamp.set(41, 1_795_316_060_123);
        Publication::new(parts).unwrap().with_pieces(&stamp, |json, head| {
            (String::from_utf8(json.concat()).unwrap(), String::from_utf8(head.concat()).unwrap())
        })
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
        assert_eq!((publication.channel(), publication.workspace()), ("repo:alice/demo", Some("acme")));
        let parts = EventParts { workspace: None, kind: "pr_opened", ..parts };
        let without = Publication::new(&parts).unwrap();
        assert_eq!((without.route().as_str(), without.workspace()), ("repo:alice/demo/prs", None));
        let labels = Labels::new(publication.labels());
        assert_eq!((labels.kind(), labels.workspace(), labels.event_id()), ("push", "acme", "x\"y"));
        assert!(labels.ids().eq(["7"]));
        let (start, len) = labels.data();
        let after_seq = json.find(",\"channel\"").unwrap();
        assert_eq!(&json[after_seq + start..after_seq + start + len], "{\"a\":1}");
    }

    #[test]
    fn an_event_from_a_mould_is_what_it_would_be_without() {
        let (acme, ids) = (Workspace::parse("acme").unwrap(), WordList::of_strings(vec!["7".to_owned()]));
        let mut mould = Mould::default();
        let mut check = |parts: &EventParts<'_>| {
            mould.take(&Publication::new(parts).unwrap());
            for data in ["1", "{\"a\":2}", "\"\u{fc}\"", &format!("\"{}\"", "x".repeat(70_000))] {
                let publication = Publication::new(&EventParts { data: data.as_bytes(), ..*parts }).unwrap();
                let cast = mould.cast(data);
                assert_eq!(format!("{cast:?}"), format!("{publication:?}"));
                assert_eq!((cast.data(), cast.route()), (data, publication.route()));
            }
        };
        for (channel, kind) in [("t:a", "k"), ("repo:a/b", "pr_opened"), ("memory:acme", "k")] {
            let channel = Channel::parse(channel).unwrap();
            let parts = EventParts::new(&channel, kind, b"{\"a\":1}");
            check(&parts);
            check(&EventParts { workspace: Some(&acme), event_id: Some("x"), ids: &ids, ..parts });
        }
    }

    #[test]
    fn an_announcement_is_on_the_channel_that_everybody_gets() {
        let announcement = Publication::announcement("soon");
        assert_eq!(announcement.route().as_str(), ANNOUNCEMENTS);
        assert_eq!((announcement.channel(), announcement.kind()), (ANNOUNCEMENTS, "system"));
        assert_eq!(announcement.data(), "\"soon\"");
    }
}
