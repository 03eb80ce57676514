//! An event on its way to the sequencer: everything that needs no sequence number is rendered and checked already.

use std::ops::Range;

use crate::wire::json::push_string;
use crate::words::channel::Channel;
use crate::words::cursor::Epoch;

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
    /// Ids of the entities it is about: a JSON array of strings, or empty for none.
    pub ids: &'a [u8],
    /// Its tags: a JSON array of strings, or empty for none.
    pub tags: &'a [u8],
}

/// A rendered event.
#[derive(Clone, Debug)]
pub struct Publication {
    route: Channel,
    /// The JSON text from after the sequence number to before the timestamp, then from after the timestamp to the end.
    bytes: Box<[u8]>,
    middle_len: u32,
    /// Where the kind stands in `bytes`.
    kind: Range<u32>,
    has_event_id: bool,
}

impl Publication {
    /// Renders an event. Cost: one copy of its data.
    #[must_use]
    pub fn new(parts: &EventParts<'_>) -> Publication {
        let rest = parts.ids.len() + parts.tags.len() + parts.event_id.map_or(0, str::len);
        let mut bytes = Vec::with_capacity(
            parts.data.len() + parts.channel.as_str().len() + parts.kind.len() + rest + 96,
        );
        bytes.extend_from_slice(b",\"channel\":\"");
        bytes.extend_from_slice(parts.channel.as_str().as_bytes());
        bytes.extend_from_slice(b"\",\"event\":\"");
        let kind_start = bytes.len();
        bytes.extend_from_slice(parts.kind.as_bytes());
        let kind_end = bytes.len();
        bytes.extend_from_slice(b"\",\"data\":");
        bytes.extend_from_slice(parts.data);
        bytes.extend_from_slice(b",\"timestamp\":");
        let middle_len = bytes.len();
        if let Some(event_id) = parts.event_id {
            bytes.extend_from_slice(b",\"event_id\":");
            push_string(&mut bytes, event_id);
        }
        for (name, labels) in [(",\"ids\":", parts.ids), (",\"tags\":", parts.tags)] {
            if !labels.is_empty() {
                bytes.extend_from_slice(name.as_bytes());
                bytes.extend_from_slice(labels);
            }
        }
        bytes.push(b'}');
        Publication {
            route: parts.channel.route(parts.kind),
            middle_len: middle_len as u32,
            kind: kind_start as u32..kind_end as u32,
            has_event_id: parts.event_id.is_some(),
            bytes: bytes.into_boxed_slice(),
        }
    }

    /// The channel it is matched on.
    #[must_use]
    pub fn route(&self) -> &Channel {
        &self.route
    }

    /// Bytes it takes while it waits.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len() + size_of::<Publication>()
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
        let (middle, end) = self.bytes.split_at(self.middle_len as usize);
        let kind = &self.bytes[self.kind.start as usize..self.kind.end as usize];
        let epoch = epoch.as_str().as_bytes();
        let head: &[&[u8]] = &[b"id: ", epoch, b"-", seq, b"\nevent: ", kind, b"\ndata: "];
        let start = b"{\"type\":\"event\",\"seq\":";
        if self.has_event_id {
            then(&[start, seq, middle, timestamp, end], head)
        } else {
            // The cursor is unique, and whoever sees the event has it already.
            then(&[start, seq, middle, timestamp, b",\"event_id\":\"", epoch, b"-", seq, b"\"", end], head)
        }
    }
}

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
        Publication::new(parts).with_pieces(Epoch::from_bits(0), 41, 1_795_316_060_123, |json, head| {
            (String::from_utf8(json.concat()).unwrap(), String::from_utf8(head.concat()).unwrap())
        })
    }

    #[test]
    fn an_event_is_rendered_in_the_order_of_the_protocol() {
        let channel = Channel::parse("repo:alice/demo").unwrap();
        let parts = EventParts {
            channel: &channel,
            kind: "push",
            data: b"{\"a\":1}",
            event_id: None,
            ids: b"",
            tags: b"",
        };
        let (json, head) = rendered(&parts);
        assert_eq!(
            json,
            r#"{"type":"event","seq":41,"channel":"repo:alice/demo","event":"push","data":{"a":1},"timestamp":1795316060123,"event_id":"aaaaaaaa-41"}"#
        );
        assert_eq!(head, "id: aaaaaaaa-41\nevent: push\ndata: ");
        let (json, _) =
            rendered(&EventParts { event_id: Some("x\"y"), ids: b"[\"7\"]", tags: b"[]", ..parts });
        assert_eq!(
            json,
            r#"{"type":"event","seq":41,"channel":"repo:alice/demo","event":"push","data":{"a":1},"timestamp":1795316060123,"event_id":"x\"y","ids":["7"],"tags":[]}"#
        );
    }

    #[test]
    fn digits_of_small_and_large_numbers() {
        for number in [0, 9, 10, 1234567890, u64::MAX] {
            assert_eq!(Digits::default().write(number), number.to_string().as_bytes());
        }
    }
}
