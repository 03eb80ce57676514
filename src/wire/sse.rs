//! Server-Sent Events: the stream's head and its blocks.
//!
//! # Contract       what is pushed reads back, by the WHATWG's rules, as exactly one block with these fields
//! # Invariants     no field can end its line: ids and kinds are [`Field`]s, data is split at every line end
//! # Bounds         pure appends; a block is its data plus 6 bytes per line and the two fields

use std::io::Write;

use memchr::memchr2;

/// Text for an `id` or `event` field: without CR, LF and NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a>(&'a str);

impl<'a> Field<'a> {
    /// Takes `text` as a field's value.
    ///
    /// # Errors
    /// [`FieldError`] if it holds CR, LF or NUL: the first two would forge a field, the last makes browsers ignore
    /// an id.
    pub fn new(text: &'a str) -> Result<Self, FieldError> {
        if text.contains(['\r', '\n', '\0']) { Err(FieldError) } else { Ok(Self(text)) }
    }

    /// The text.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// The text cannot be the value of an `id` or `event` field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event stream field must not hold CR, LF or NUL")]
pub struct FieldError;

/// Appends the HTTP head of a stream: status 200, no length, closed at the end.
///
/// `headers` are further fields, such as those of CORS; they must not hold line ends.
pub fn push_stream_head(out: &mut Vec<u8>, headers: &[(&str, &str)]) {
    out.extend_from_slice(STREAM_HEAD);
    for (name, value) in headers {
        debug_assert!(!value.contains(['\r', '\n', '\0']), "{name} must stay on its line");
        push_parts(out, &[name, ": ", value, "\r\n"]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends how long a client is to wait before it connects again, in milliseconds.
pub fn push_retry(out: &mut Vec<u8>, retry_ms: u32) {
    push_parts(out, &["retry: "]);
    push_number(out, u64::from(retry_ms));
    out.extend_from_slice(EVENT_TAIL);
}

/// Appends what stands before the JSON of an event; [`EVENT_TAIL`] stands after it.
///
/// The JSON must be one line, as every minified one is.
pub fn push_event_head(out: &mut Vec<u8>, epoch: Field<'_>, seq: u64, kind: Field<'_>) {
    push_parts(out, &["id: ", epoch.0, "-"]);
    push_number(out, seq);
    push_parts(out, &["\nevent: ", kind.0, "\ndata: "]);
}

/// What ends a block.
pub const EVENT_TAIL: &[u8] = b"\n\n";

/// Appends a block that moves the client's last event id on and fires no event.
pub fn push_id_only(out: &mut Vec<u8>, id: Field<'_>) {
    push_parts(out, &["id: ", id.0, "\n\n"]);
}

/// Appends a comment, one line for each of `text`'s, and ends the block.
pub fn push_comment(out: &mut Vec<u8>, text: &str) {
    push_lines(out, b": ", text.as_bytes());
    out.push(b'\n');
}

/// Appends a block. `data` has one line for each of its own; CR, LF and CR LF all count, and arrive as LF.
pub fn push_block(out: &mut Vec<u8>, id: Option<Field<'_>>, event: Option<Field<'_>>, data: &str) {
    if let Some(id) = id {
        push_parts(out, &["id: ", id.0, "\n"]);
    }
    if let Some(event) = event {
        push_parts(out, &["event: ", event.0, "\n"]);
    }
    push_lines(out, b"data: ", data.as_bytes());
    out.push(b'\n');
}

/// Appends each line of `text` behind `prefix`; a text without line ends is one line, also an empty one.
fn push_lines(out: &mut Vec<u8>, prefix: &[u8], text: &[u8]) {
    let mut rest = text;
    loop {
        out.extend_from_slice(prefix);
        let Some(end) = memchr2(b'\r', b'\n', rest) else {
            out.extend_from_slice(rest);
            out.push(b'\n');
            return;
        };
        out.extend_from_slice(&rest[..end]);
        out.push(b'\n');
        let is_pair = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + if is_pair { 2 } else { 1 }..];
    }
}

fn push_parts(out: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    let written = write!(out, "{number}");
    debug_assert!(written.is_ok(), "a vector takes every byte");
}

/// The head up to the fields that differ. `no-transform` and the last field keep proxies from holding events back.
const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: text/event-stream; charset=utf-8\r\n\
    Cache-Control: no-store, no-transform\r\n\
    X-Accel-Buffering: no\r\n\
    Connection: close\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn field(text: &str) -> Field<'_> {
        Field::new(text).unwrap()
    }

    fn check(push: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let mut out = Vec::new();
        push(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn blocks_have_their_exact_bytes() {
        check(|out| push_retry(out, 3000), "retry: 3000\n\n");
        check(|out| push_event_head(out, field("e"), 7, field("push")), "id: e-7\nevent: push\ndata: ");
        check(|out| push_id_only(out, field("e-7")), "id: e-7\n\n");
        check(|out| push_comment(out, ""), ": \n\n");
        check(|out| push_comment(out, "a\nb"), ": a\n: b\n\n");
        check(
            |out| push_block(out, Some(field("1")), Some(field("x")), "{}"),
            "id: 1\nevent: x\ndata: {}\n\n",
        );
        check(|out| push_block(out, None, None, ""), "data: \n\n");
        check(
            |out| push_block(out, None, None, "a\rb\nc\r\nd\n\re"),
            "data: a\ndata: b\ndata: c\ndata: d\ndata: \ndata: e\n\n",
        );
        check(|out| push_block(out, None, None, "a\n"), "data: a\ndata: \n\n");
    }

    #[test]
    fn what_could_forge_a_field_is_no_field() {
        for text in ["a\nb", "a\rb", "\r\n", "a\0", "\n"] {
            assert_eq!(Field::new(text), Err(FieldError), "{text:?}");
        }
        assert_eq!(field(": ü ").as_str(), ": ü ");
    }

    #[test]
    fn the_head_has_no_length_and_ends_with_an_empty_line() {
        let mut out = Vec::new();
        push_stream_head(&mut out, &[("Vary", "Origin")]);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"),
            "{text}"
        );
        assert!(text.ends_with("Connection: close\r\nVary: Origin\r\n\r\n"), "{text}");
        assert!(!text.contains("Content-Length") && !text.contains("Transfer-Encoding"), "{text}");
    }
}
