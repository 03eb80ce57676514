//! Events as CloudEvents 1.0, structured mode, JSON.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{push_block, push_cursor, push_number, push_text};
use crate::reader::EventView;
use crate::words::timestamp::{Fraction, push_rfc3339};

/// Appends an event. Its `id` is the publisher's or else its cursor, its `subject` the first of its ids that is not
/// empty; `sequence` (its number as text), `channel` and `workspace` are extensions.
pub fn push_event_json(out: &mut Vec<u8>, event: &EventView<'_>) {
    match event.event_id {
        Some(id) => push_text(out, "{\"specversion\":\"1.0\",\"id\":", id),
        None => {
            out.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":\"");
            push_cursor(out, event);
            out.push(b'"');
        }
    }
    out.extend_from_slice(b",\"source\":\"/channels/");
    utf8_percent_encode(event.channel, NOT_IN_PATH).for_each(|part| out.extend_from_slice(part.as_bytes()));
    push_text(out, "\",\"type\":", event.kind);
    if let Some(subject) = event.ids.iter().find(|id| !id.is_empty()) {
        push_text(out, ",\"subject\":", subject);
    }
    out.extend_from_slice(b",\"time\":\"");
    push_rfc3339(out, event.timestamp_ms, Fraction::Millis);
    out.extend_from_slice(b"\",\"datacontenttype\":\"application/json\",\"sequence\":\"");
    push_number(out, event.seq);
    push_text(out, "\",\"channel\":", event.channel);
    if let Some(workspace) = event.workspace {
        push_text(out, ",\"workspace\":", workspace);
    }
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(event.data);
    out.push(b'}');
}

/// Appends an event as a block: its cursor, its kind, the JSON of [`push_event_json`].
pub fn push_event_block(out: &mut Vec<u8>, event: &EventView<'_>) {
    out.extend_from_slice(b"id: ");
    push_cursor(out, event);
    out.push(b'\n');
    push_block(out, &[("event", event.kind)], |out| push_event_json(out, event), &[]);
}

/// What a `source`, which is a URI reference, has to escape in its path.
const NOT_IN_PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b':').remove(b'/').remove(b'~');

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;
    use crate::words::cursor::Epoch;

    #[test]
    fn events_have_the_attributes_of_the_standard() {
        let mut event = EventView {
            epoch: Epoch::from_bits(0),
            seq: 41,
            timestamp_ms: 1_795_316_060_123,
            channel: "memory:default",
            kind: "memory_created",
            data: br#"{"preview":"hello"}"#,
            event_id: Some("e-1"),
            ids: smallvec!["", "42"],
            tags: smallvec!["t"],
            workspace: Some("default"),
        };
        let check = |event: &EventView<'_>, push: fn(&mut Vec<u8>, &EventView<'_>), expected: &str| {
            let mut out = Vec::new();
            push(&mut out, event);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check(
            &event,
            push_event_json,
            r#"{"specversion":"1.0","id":"e-1","source":"/channels/memory:default","type":"memory_created","subject":"42","time":"2026-11-22T02:54:20.123Z","datacontenttype":"application/json","sequence":"41","channel":"memory:default","workspace":"default","data":{"preview":"hello"}}"#,
        );
        event = EventView {
            channel: "t:ä b",
            event_id: None,
            ids: smallvec![],
            workspace: None,
            data: b"null",
            ..event
        };
        check(
            &event,
            push_event_block,
            "id: aaaaaaaa-41\nevent: memory_created\n\
             data: {\"specversion\":\"1.0\",\"id\":\"aaaaaaaa-41\",\"source\":\"/channels/t:%C3%A4%20b\",\
             \"type\":\"memory_created\",\"time\":\"2026-11-22T02:54:20.123Z\",\
             \"datacontenttype\":\"application/json\",\"sequence\":\"41\",\"channel\":\"t:ä b\",\"data\":null}\n\n",
        );
    }
}
