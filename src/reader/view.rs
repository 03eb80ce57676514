//! One event taken apart: what another wire form is made from.

use smallvec::SmallVec;

use crate::log::{Held, Pass};
use crate::words::channel::ANNOUNCEMENTS;
use crate::words::cursor::Epoch;
use crate::words::labels::Labels;

/// One event of the log, borrowed from a pass.
#[derive(Clone, Debug)]
pub struct EventView<'a> {
    /// The log's epoch.
    pub epoch: Epoch,
    /// Its sequence number.
    pub seq: u64,
    /// When it got that, in Unix milliseconds.
    pub timestamp_ms: u64,
    /// Where it was published.
    pub channel: &'a str,
    /// Its kind in wire form.
    pub kind: &'a str,
    /// Its data: one JSON value on one line.
    pub data: &'a [u8],
    /// The publisher's own id.
    pub event_id: Option<&'a str>,
    /// Entities it is about; numbers as they are written.
    pub ids: SmallVec<[&'a str; 4]>,
    /// Its tags.
    pub tags: SmallVec<[&'a str; 4]>,
    /// The workspace it belongs to.
    pub workspace: Option<&'a str>,
}

impl<'a> EventView<'a> {
    /// The event `seq` of `pass`.
    pub fn read(epoch: Epoch, pass: &'a Pass<'_>, seq: u64) -> Held<EventView<'a>> {
        let slot = match pass.slot(seq) {
            Held::Here(slot) => slot,
            Held::Lapped => return Held::Lapped,
            Held::PassFull => return Held::PassFull,
        };
        let (Held::Here(labels), Held::Here(json)) = (pass.labels(seq), pass.json(seq)) else {
            return Held::Lapped;
        };
        let text = EventText { json, labels };
        let some = |text: &'a str| (!text.is_empty()).then_some(text);
        Held::Here(EventView {
            epoch,
            seq,
            timestamp_ms: slot.timestamp_ms,
            channel: text.channel(),
            kind: labels.kind(),
            data: text.data(),
            event_id: some(labels.event_id()),
            ids: labels.ids().collect(),
            tags: labels.tags().collect(),
            workspace: some(labels.workspace()),
        })
    }
}

/// An event's JSON text and its labels, which say where things stand in it.
#[derive(Clone, Copy, Debug)]
pub struct EventText<'a> {
    /// The JSON text.
    pub json: &'a [u8],
    /// The labels.
    pub labels: Labels<'a>,
}

impl<'a> EventText<'a> {
    /// Where it was published; an announcement's own channel for an announcement.
    #[must_use]
    pub fn channel(self) -> &'a str {
        channel_of(&self.json[after_seq(self.json)..])
    }

    /// Its data: one JSON value on one line.
    #[must_use]
    pub fn data(self) -> &'a [u8] {
        self.json.get(self.data_range()).unwrap_or(b"null")
    }

    /// The id that clients know it by: the publisher's own, or its cursor.
    #[must_use]
    pub fn event_id(self) -> &'a str {
        match self.labels.event_id() {
            "" => {
                let after_data = self.json.get(self.data_range().end..).unwrap_or_default();
                // Of `,"timestamp":…,"event_id":"…"` the sixth piece between quotes; a cursor has no escapes.
                let cursor = after_data.split(|&b| b == b'"').nth(5);
                cursor.and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
            }
            own => own,
        }
    }

    fn data_range(self) -> std::ops::Range<usize> {
        let (start, len) = self.labels.data();
        let after_seq = after_seq(self.json);
        after_seq + start..after_seq + start + len
    }
}

/// Where the sequence number of an event's JSON ends: after the first member, which is its type, and the number itself.
fn after_seq(json: &[u8]) -> usize {
    let comma = |from: usize| json[from..].iter().position(|&b| b == b',').map_or(json.len(), |at| from + at);
    comma((comma(0) + 1).min(json.len()))
}

/// The channel that stands right after the sequence number; an announcement has none.
fn channel_of(rest: &[u8]) -> &str {
    let text = rest.strip_prefix(b",\"channel\":\"").and_then(|text| text.split(|&b| b == b'"').next());
    text.and_then(|text| std::str::from_utf8(text).ok()).unwrap_or(ANNOUNCEMENTS)
}
