//! The dialect `engram`: bare events with numbers, named event-stream blocks, and filters as the only thing a client
//! says.
//!
//! Its events live on the channels `memory:<workspace>`. The kind is its type, `ids` holds the memory's id, and `data`
//! is an object whose members `preview` and `changes` stand beside it in this form.

use std::borrow::Cow;

use serde::Deserialize;

use super::members::{Member, Members, is_array_of_strings};
use super::{push_block, push_number, push_text};
use crate::reader::EventView;
use crate::session::reply;
use crate::words::cursor::Gap;
use crate::words::limits::LABEL_BYTES_MAX;
use crate::words::timestamp::{Fraction, push_rfc3339};

/// Appends an event as this dialect's clients read it, over either transport.
///
/// `preview` is taken out of `data` if it is a string or `null`, `changes` if it is an array of strings or `null`; of
/// several the last counts. One of another type is none of this dialect's (the data of a finished synchronisation has
/// a number called `changes`) and stays in `data`, as every other member does, in its order and spelling. Data of
/// which nothing is left is `null`, and data that is no object stays whole.
pub fn push_event_json(out: &mut Vec<u8>, event: &EventView<'_>) {
    let (mut preview, mut changes, mut has_rest) = (NULL, NULL, false);
    for member in Members::of(event.data).into_iter().flatten() {
        match role_of(&member) {
            Role::Preview => preview = member.value,
            Role::Changes => changes = member.value,
            Role::Data => has_rest = true,
        }
    }
    out.extend_from_slice(b"{\"seq_id\":");
    push_number(out, event.seq);
    push_text(out, ",\"type\":", event.kind);
    out.extend_from_slice(b",\"timestamp\":\"");
    push_rfc3339(out, event.timestamp_ms, Fraction::Nanos);
    out.extend_from_slice(b"\",\"memory_id\":");
    match memory_id(event) {
        // A number that is one has the same digits again.
        Some(id) => out.extend_from_slice(id.to_string().as_bytes()),
        None => out.extend_from_slice(NULL),
    }
    for part in [b",\"preview\":", preview, b",\"changes\":", changes, b",\"data\":"] {
        out.extend_from_slice(part);
    }
    match Members::of(event.data) {
        None => out.extend_from_slice(event.data),
        Some(_) if !has_rest => out.extend_from_slice(NULL),
        Some(members) => {
            let mut mark = b'{';
            for member in members.filter(|member| role_of(member) == Role::Data) {
                out.push(mark);
                out.extend_from_slice(member.text);
                mark = b',';
            }
            out.push(b'}');
        }
    }
    out.push(b'}');
}

/// Appends an event as a block: its kind, the JSON of [`push_event_json`], its bare number.
pub fn push_event_block(out: &mut Vec<u8>, event: &EventView<'_>) {
    let id = event.seq.to_string();
    push_block(out, &[("event", event.kind)], |out| push_event_json(out, event), &[("id", &id)]);
}

/// Appends a gap as a block called `gap`. Over a WebSocket it is the native text, [`reply::gap`].
///
/// `resume_at` is the number after which the stream goes on: the gap's last, or, where that cannot be told, the one
/// before the oldest event held.
pub fn push_gap_block(out: &mut Vec<u8>, gap: &Gap, resume_at: u64) {
    let id = resume_at.to_string();
    let json = reply::gap(gap);
    push_block(out, &[("event", "gap")], |out| out.extend_from_slice(json.as_bytes()), &[("id", &id)]);
}

/// Appends the block that a stream begins with: how many milliseconds to wait before connecting again.
pub fn push_retry(out: &mut Vec<u8>, retry_ms: u32) {
    out.extend_from_slice(b"retry:");
    push_number(out, retry_ms.into());
    out.extend_from_slice(b"\n\n");
}

/// What a quiet stream is sent.
pub const KEEP_ALIVE: &[u8] = b":\n\n";

/// The memory that an event is about: the first of its ids that is a whole number of 64 bits in its plain spelling.
#[must_use]
pub fn memory_id(event: &EventView<'_>) -> Option<i64> {
    let plain = |text: &&str| text.parse::<i64>().ok().filter(|number| number.to_string() == **text);
    event.ids.iter().find_map(plain)
}

/// Every event type that a client may name.
pub const EVENT_TYPES: &[&str] = &[
    "memory_created",
    "memory_updated",
    "memory_deleted",
    "crossref_created",
    "crossref_deleted",
    "sync_started",
    "sync_completed",
    "sync_failed",
    "progress",
];

/// Most ids, and most tags, of one filter; a longer list is no filter. Costs 8 bytes an id per connection.
pub const FILTER_ENTRIES_MAX: usize = 4096;

/// What a text message of a client does to its filter. Nothing is ever answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterUpdate {
    /// This is the filter now. Conditions are joined by *and*, the entries of a list by *or*; an empty list matches
    /// nothing.
    Set {
        /// The event's type is one of these; no type stands twice.
        event_types: Option<Vec<&'static str>>,
        /// The event's [`memory_id`] is one of these, or it has none.
        memory_ids: Option<Vec<i64>>,
        /// One of the event's tags is one of these.
        tags: Option<Vec<String>>,
    },
    /// There is no filter any more.
    Reset,
    /// The filter stays as it is.
    Ignored,
}

/// Reads a text message.
///
/// Only the empty object resets. An object that says nothing of a filter, such as an application's own ping, is
/// ignored, and so is everything that is no filter: other types of JSON, unknown event types, entries of wrong types,
/// lists of more than [`FILTER_ENTRIES_MAX`] entries, tags longer than any event's.
#[must_use]
pub fn parse_filter_update(text: &str) -> FilterUpdate {
    let text = text.trim_matches(JSON_SPACES);
    let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return FilterUpdate::Ignored;
    };
    if inner.trim_matches(JSON_SPACES).is_empty() {
        return FilterUpdate::Reset;
    }
    let Ok(RawFilter { event_types, memory_ids, tags }) = serde_json::from_str(text) else {
        return FilterUpdate::Ignored;
    };
    if event_types.is_none() && memory_ids.is_none() && tags.is_none() {
        return FilterUpdate::Ignored;
    }
    let (memory_ids, tags) = (memory_ids.flatten(), tags.flatten());
    let fits = memory_ids.as_ref().is_none_or(|ids| ids.len() <= FILTER_ENTRIES_MAX)
        && tags.as_ref().is_none_or(|tags| {
            tags.len() <= FILTER_ENTRIES_MAX && tags.iter().all(|tag| tag.len() <= LABEL_BYTES_MAX)
        });
    let event_types = event_types.flatten().map(|names| known_types(names.iter().map(|name| &**name)));
    match event_types.transpose() {
        Ok(event_types) if fits => FilterUpdate::Set { event_types, memory_ids, tags },
        _ => FilterUpdate::Ignored,
    }
}

/// Reads the `event_types` of a query: names separated by commas, with or without spaces around them.
///
/// # Errors
/// [`UnknownEventType`] for a name that is none, the empty one included: a filter that says nothing must not let
/// everything through.
pub fn parse_event_types(text: &str) -> Result<Vec<&'static str>, UnknownEventType> {
    known_types(text.split(',').map(str::trim))
}

/// A name that is none of [`EVENT_TYPES`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown event type: '{0}'")]
pub struct UnknownEventType(pub String);

/// Where a member of `data` stands in this form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Preview,
    Changes,
    Data,
}

fn role_of(member: &Member<'_>) -> Role {
    let value = member.value;
    if member.is("preview") && (value == NULL || value.starts_with(b"\"")) {
        Role::Preview
    } else if member.is("changes") && (value == NULL || is_array_of_strings(value)) {
        Role::Changes
    } else {
        Role::Data
    }
}

const NULL: &[u8] = b"null";
const JSON_SPACES: [char; 4] = [' ', '\t', '\n', '\r'];

/// A client's filter as it stands in the message. Outside: whether the member is there; inside: whether it is `null`,
/// which asks for nothing.
#[derive(Deserialize)]
struct RawFilter<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    event_types: Option<Option<Vec<Cow<'a, str>>>>,
    #[serde(default, deserialize_with = "present")]
    memory_ids: Option<Option<Vec<i64>>>,
    #[serde(default, deserialize_with = "present")]
    tags: Option<Option<Vec<String>>>,
}

fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// The names as the catalogue has them, each once.
fn known_types<'a>(names: impl Iterator<Item = &'a str>) -> Result<Vec<&'static str>, UnknownEventType> {
    let mut known = Vec::new();
    for name in names {
        let Some(&event_type) = EVENT_TYPES.iter().find(|known| **known == name) else {
            return Err(UnknownEventType(name.to_owned()));
        };
        if !known.contains(&event_type) {
            known.push(event_type);
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;
    use crate::words::cursor::{Epoch, GapCause};
    use crate::words::kind;

    fn json(data: &str, ids: &[&str]) -> String {
        let event = EventView {
            epoch: Epoch::from_bits(0),
            seq: 1,
            timestamp_ms: 1_795_316_076_359,
            channel: "memory:default",
            kind: "memory_created",
            data: data.as_bytes(),
            event_id: None,
            ids: ids.iter().copied().collect(),
            tags: smallvec![],
            workspace: None,
        };
        let mut out = Vec::new();
        push_event_json(&mut out, &event);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_created_memory_is_the_frame_its_clients_know() {
        let expected = r#"{"seq_id":1,"type":"memory_created","timestamp":"2026-11-22T02:54:36.359000000Z","memory_id":42,"preview":"hello","changes":null,"data":null}"#;
        assert_eq!(json(r#"{"preview":"hello"}"#, &["42"]), expected);
    }

    #[test]
    fn preview_and_changes_stand_beside_the_rest_of_the_data() {
        let check = |data: &str, expected: &str| {
            let head = r#"{"seq_id":1,"type":"memory_created","timestamp":"2026-11-22T02:54:36.359000000Z","memory_id":null,"#;
            assert_eq!(json(data, &[]), format!("{head}{expected}}}"), "{data}");
        };
        check("null", r#""preview":null,"changes":null,"data":null"#);
        check("{}", r#""preview":null,"changes":null,"data":null"#);
        check("7", r#""preview":null,"changes":null,"data":7"#);
        check(r#"["preview"]"#, r#""preview":null,"changes":null,"data":["preview"]"#);
        check(
            r#"{"changes":["content","tags"]}"#,
            r#""preview":null,"changes":["content","tags"],"data":null"#,
        );
        check(
            r#"{"workspace":"w","preview":"p","n":1.0e2,"n":[{"preview":"q"}],"changes":null,"é":"\u00e9"}"#,
            r#""preview":"p","changes":null,"data":{"workspace":"w","n":1.0e2,"n":[{"preview":"q"}],"é":"\u00e9"}"#,
        );
        check(
            r#"{"direction":"push","changes":3}"#,
            r#""preview":null,"changes":null,"data":{"direction":"push","changes":3}"#,
        );
        check(
            r#"{"preview":"a","preview":7,"preview":"b"}"#,
            r#""preview":"b","changes":null,"data":{"preview":7}"#,
        );
        check(r#"{"pr\u0065view":"a\nb"}"#, r#""preview":"a\nb","changes":null,"data":null"#);
    }

    #[test]
    fn the_memory_is_the_first_id_that_is_a_number() {
        let check = |ids: &[&str], expected: &str| {
            assert!(json("null", ids).contains(&format!(r#""memory_id":{expected},"#)), "{ids:?}");
        };
        check(&[], "null");
        check(&["x", "007", "+1", "1.0", " 1", "9223372036854775808"], "null");
        check(&["x", "-7", "8"], "-7");
        check(&["9223372036854775807"], "9223372036854775807");
    }

    #[test]
    fn blocks_have_the_order_and_spacing_its_clients_know() {
        let event = EventView {
            epoch: Epoch::from_bits(0),
            seq: 4,
            timestamp_ms: 0,
            channel: "memory:default",
            kind: "sync_failed",
            data: br#"{"error":"e"}"#,
            event_id: None,
            ids: smallvec![],
            tags: smallvec![],
            workspace: None,
        };
        let check = |push: &dyn Fn(&mut Vec<u8>), expected: &str| {
            let mut out = Vec::new();
            push(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check(
            &|out| push_event_block(out, &event),
            "event: sync_failed\n\
             data: {\"seq_id\":4,\"type\":\"sync_failed\",\"timestamp\":\"1970-01-01T00:00:00.000000000Z\",\
             \"memory_id\":null,\"preview\":null,\"changes\":null,\"data\":{\"error\":\"e\"}}\n\
             id: 4\n\n",
        );
        let lapped = Gap::of((3, 9), GapCause::Lapped);
        check(
            &|out| push_gap_block(out, &lapped, 9),
            "event: gap\ndata: {\"type\":\"gap\",\"from\":3,\"to\":9,\"cause\":\"lapped\"}\nid: 9\n\n",
        );
        check(&|out| push_retry(out, 3000), "retry:3000\n\n");
        check(&|out| out.extend_from_slice(KEEP_ALIVE), ":\n\n");
    }

    #[test]
    fn what_a_text_does_to_the_filter() {
        let check =
            |text: &str, expected: FilterUpdate| assert_eq!(parse_filter_update(text), expected, "{text}");
        let set =
            |event_types: Option<&[&'static str]>, memory_ids: Option<&[i64]>, tags: Option<&[&str]>| {
                FilterUpdate::Set {
                    event_types: event_types.map(<[_]>::to_vec),
                    memory_ids: memory_ids.map(<[_]>::to_vec),
                    tags: tags.map(|tags| tags.iter().map(|&tag| tag.to_owned()).collect()),
                }
            };
        check(r#"{"event_types":["memory_created"]}"#, set(Some(&["memory_created"]), None, None));
        check(r#"{"memory_ids":[1,-2]}"#, set(None, Some(&[1, -2]), None));
        check(r#" {"tags":["a\n"],"other":{}} "#, set(None, None, Some(&["a\n"])));
        check(
            r#"{"event_types":["progress","progress"],"memory_ids":[],"tags":null}"#,
            set(Some(&["progress"]), Some(&[]), None),
        );
        check(r#"{"event_types":[]}"#, set(Some(&[]), None, None));
        check(r#"{"event_types":null}"#, set(None, None, None));
        check("{}", FilterUpdate::Reset);
        check(" { \n} ", FilterUpdate::Reset);
        for ignored in [
            r#"{"foo":1}"#,
            r#"{"type":"ping"}"#,
            "[null,null,null]",
            r#"{"event_types":["bogus"]}"#,
            r#"{"event_types":["memory.created"]}"#,
            r#"{"event_types":"memory_created"}"#,
            r#"{"memory_ids":["1"]}"#,
            r#"{"memory_ids":[1.0]}"#,
            r#"{"memory_ids":[9223372036854775808]}"#,
            r#"{"tags":[1]}"#,
            r#"{"tags":["a"],"tags":["b"]}"#,
            "[]",
            "null",
            "",
            "{",
            "{}}",
            "{x}",
            "{\u{a0}}",
            "nonsense",
        ] {
            check(ignored, FilterUpdate::Ignored);
        }
        let ids = |count: usize| format!(r#"{{"memory_ids":[{}]}}"#, vec!["7"; count].join(","));
        check(&ids(FILTER_ENTRIES_MAX), set(None, Some(&[7; FILTER_ENTRIES_MAX]), None));
        check(&ids(FILTER_ENTRIES_MAX + 1), FilterUpdate::Ignored);
        check(&format!(r#"{{"tags":["{}"]}}"#, "x".repeat(LABEL_BYTES_MAX + 1)), FilterUpdate::Ignored);
    }

    #[test]
    fn event_types_of_a_query() {
        let check = |text: &str, expected: Result<&[&'static str], &str>| {
            let got = parse_event_types(text);
            assert_eq!(
                got,
                expected.map(<[_]>::to_vec).map_err(|name| UnknownEventType(name.to_owned())),
                "{text}"
            );
        };
        check("memory_created", Ok(&["memory_created"]));
        check(" memory_created , sync_failed,memory_created", Ok(&["memory_created", "sync_failed"]));
        check("bogus", Err("bogus"));
        check("memory_created,bogus", Err("bogus"));
        check("", Err(""));
        check("memory_created,", Err(""));
        check("Memory_Created", Err("Memory_Created"));
        for name in EVENT_TYPES {
            check(name, Ok(&[name]));
            assert_eq!(kind::normalise(name).as_deref(), Ok(*name));
            assert!(kind::BUILT_IN.contains(name), "{name}");
        }
    }
}
