//! The words of other systems' clients: how they see events, and what they say.
//!
//! # Contract       every `push_…` is a pure function of its arguments: the same event gives the same bytes
//! # Invariants     D1 what is pushed is one line of valid JSON, or whole blocks of an event stream
//!   D2 the event's data passes byte for byte; a dialect may leave members out or say them twice, never rewrite them
//! # Bounds         output ≤ 2 × data + 6 × the event's other texts + a constant; no tree of the data is built
//! # Why not …      stored beside the native form: few connections speak a dialect, and the log would hold all of them

pub mod cloud_event;
pub mod engram;
pub mod guts;
pub mod health;
mod members;
pub mod sdk;
pub mod stats;

use std::io::Write;

use crate::reader::EventView;
use crate::wire::json::push_string;
use crate::wire::sse::EVENT_TAIL;

/// Appends `name` (with its punctuation) and `text` as a JSON string.
fn push_text(out: &mut Vec<u8>, name: &str, text: &str) {
    out.extend_from_slice(name.as_bytes());
    push_string(out, text);
}

/// Appends a number's decimal digits.
fn push_number(out: &mut Vec<u8>, number: u64) {
    let written = write!(out, "{number}");
    debug_assert!(written.is_ok(), "a vector takes every byte");
}

/// Appends an event's cursor.
fn push_cursor(out: &mut Vec<u8>, event: &EventView<'_>) {
    out.extend_from_slice(event.epoch.as_str().as_bytes());
    out.push(b'-');
    push_number(out, event.seq);
}

/// Appends a block of an event stream: the lines of `fields`, each with its text, around the JSON that `push_json`
/// appends, which is one line by D1. Kinds, epochs and numbers cannot end a line either.
fn push_block(
    out: &mut Vec<u8>,
    before: &[(&str, &str)],
    push_json: impl FnOnce(&mut Vec<u8>),
    after: &[(&str, &str)],
) {
    let push_line = |out: &mut Vec<u8>, (name, value): &(&str, &str)| {
        debug_assert!(!value.contains(['\r', '\n', '\0']), "{name} must stay on its line");
        [name, ": ", value, "\n"].iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    };
    before.iter().for_each(|field| push_line(out, field));
    out.extend_from_slice(b"data: ");
    push_json(out);
    match after {
        [] => out.extend_from_slice(EVENT_TAIL),
        fields => {
            out.push(b'\n');
            fields.iter().for_each(|field| push_line(out, field));
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests;
