//! The form that the client library of the dialect `guts` reads from `/api/events` and `/ws/subscribe`: an event stream
//! without names, so that `onmessage` fires.
//!
//! Channels are spelled as [`Spelling::Sdk`](super::guts::Spelling::Sdk) says.

use super::guts::push_event_id;
use super::{push_block, push_cursor, push_number, push_text};
use crate::reader::EventView;
use crate::session::reply;
use crate::words::cursor::Epoch;
use crate::words::cursor::Gap;
use crate::words::timestamp::{Fraction, push_rfc3339};

/// Appends an event. The library reads its data as `payload`, the server has always written it as `data`: it is both.
pub fn push_event_json(out: &mut Vec<u8>, event: &EventView<'_>) {
    push_text(out, "{\"type\":", event.kind);
    push_text(out, ",\"channel\":", event.channel);
    out.extend_from_slice(b",\"payload\":");
    out.extend_from_slice(event.data);
    out.extend_from_slice(b",\"timestamp\":\"");
    push_rfc3339(out, event.timestamp_ms, Fraction::Millis);
    out.extend_from_slice(b"\",\"data\":");
    out.extend_from_slice(event.data);
    push_event_id(out, event);
    out.extend_from_slice(b",\"seq\":");
    push_number(out, event.seq);
    out.push(b'}');
}

/// Appends an event as a block: its cursor, the JSON of [`push_event_json`].
pub fn push_event_block(out: &mut Vec<u8>, event: &EventView<'_>) {
    out.extend_from_slice(b"id: ");
    push_cursor(out, event);
    out.push(b'\n');
    push_block(out, &[], |out| push_event_json(out, event), &[]);
}

/// Appends a gap as a block without a name, since a listener for names is what these clients have not: its JSON is the
/// native one, whose `type` is no event's. The stream goes on after `resume_at`, as in
/// [`engram::push_gap_block`](super::engram::push_gap_block).
pub fn push_gap_block(out: &mut Vec<u8>, epoch: Epoch, gap: &Gap, resume_at: u64) {
    let id = format!("{epoch}-{resume_at}");
    let json = reply::gap(gap);
    push_block(out, &[("id", &id)], |out| out.extend_from_slice(json.as_bytes()), &[]);
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;
    use crate::words::cursor::GapCause;

    #[test]
    fn blocks_are_what_the_client_library_reads() {
        let event = EventView {
            epoch: Epoch::from_bits(0),
            seq: 41,
            timestamp_ms: 1_795_316_060_123,
            channel: "repo:alice/demo",
            kind: "push",
            data: br#"{"commit_count":3}"#,
            event_id: Some("e-1"),
            ids: smallvec![],
            tags: smallvec![],
            workspace: None,
        };
        let mut out = Vec::new();
        push_event_block(&mut out, &event);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "id: aaaaaaaa-41\n\
             data: {\"type\":\"push\",\"channel\":\"repo:alice/demo\",\"payload\":{\"commit_count\":3},\
             \"timestamp\":\"2026-11-22T02:54:20.123Z\",\"data\":{\"commit_count\":3},\"event_id\":\"e-1\",\"seq\":41}\n\n",
        );
        let mut out = Vec::new();
        let evicted = Gap::of((3, 9), GapCause::Evicted);
        push_gap_block(&mut out, event.epoch, &evicted, 9);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "id: aaaaaaaa-9\ndata: {\"type\":\"gap\",\"from\":3,\"to\":9,\"cause\":\"evicted\"}\n\n",
        );
    }
}
