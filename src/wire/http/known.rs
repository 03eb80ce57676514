//! A head like the one before it, recognised by its bytes instead of being parsed again.
//!
//! # Contract       [`KnownHead::recognise`] answers what the parser answers for the same bytes, or nothing. Bytes are those
//!   of the head before, one by one, but for the digits of `Content-Length`, which are as many and are read anew. What is
//!   noted about such a head holds as long as the next is recognised by it
//! # Bounds         one head with a length, of at most [`KNOWN_BYTES_MAX`]; others are parsed each time, since nobody sends
//!   many of them in a row
//! # Why not …      a table of heads: whoever sends one request after the other sends the same head, and while it is its
//!   turn nobody else does

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

use super::framing::{BodyKind, content_length};
use super::head::{Fields, Method, RequestHead, Version};

/// The head that was parsed last, if it was an ordinary one.
#[derive(Debug, Default)]
pub struct KnownHead(Option<Box<Known>>);

#[derive(Debug)]
struct Known {
    bytes: Vec<u8>,
    /// The digits of `Content-Length`.
    length: Range<usize>,
    method: Method,
    path: Range<usize>,
    query: Option<Range<usize>>,
    version: Version,
    keep_alive: bool,
    expects_continue: bool,
    upgrade_websocket: bool,
    note: Cell<u32>,
    fields: Fields,
}

impl KnownHead {
    /// The head that `bytes` begin with and its length, if it is known.
    #[must_use]
    pub fn recognise<'a>(&'a self, bytes: &'a [u8]) -> Option<(RequestHead<'a>, usize)> {
        let known = self.0.as_deref()?;
        let head = bytes.get(..known.bytes.len())?;
        let Range { start, end } = known.length;
        if head[..start] != known.bytes[..start] || head[end..] != known.bytes[end..] {
            return None;
        }
        let text = str::from_utf8(head).ok()?;
        let body = BodyKind::Length(content_length(text.get(start..end)?).ok()?);
        let query = match &known.query {
            Some(query) => Some(text.get(query.clone())?),
            None => None,
        };
        let head = RequestHead {
            method: known.method,
            path: text.get(known.path.clone())?,
            query,
            version: known.version,
            body,
            keep_alive: known.keep_alive,
            expects_continue: known.expects_continue,
            upgrade_websocket: known.upgrade_websocket,
            note: Some(&known.note),
            text,
            fields: Cow::Borrowed(&known.fields),
        };
        Some((head, known.bytes.len()))
    }

    /// Remembers a head that was parsed, of `len` bytes, instead of the one before.
    pub fn learn(&mut self, head: &RequestHead<'_>, len: usize) {
        let BodyKind::Length(_) = head.body else { return };
        let Some(length) = head.header("content-length") else { return };
        // The parser was given the head and nothing behind it.
        if KNOWN_BYTES_MAX < len || head.text.len() != len {
            return;
        }
        let place_of = |part: &str| {
            let start = part.as_ptr().addr() - head.text.as_ptr().addr();
            start..start + part.len()
        };
        let mut bytes = self.0.take().map(|known| known.bytes).unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(head.text.as_bytes());
        self.0 = Some(Box::new(Known {
            bytes,
            length: place_of(length),
            method: head.method,
            path: place_of(head.path),
            query: head.query.map(place_of),
            version: head.version,
            keep_alive: head.keep_alive,
            expects_continue: head.expects_continue,
            upgrade_websocket: head.upgrade_websocket,
            note: Cell::new(0),
            fields: head.fields.clone().into_owned(),
        }));
    }
}

/// The longest head that is remembered, in bytes.
const KNOWN_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{HeadLimits, parse_head};

    /// All that a head says.
    fn said(head: &RequestHead<'_>) -> String {
        let fields: Vec<_> = head.all_headers().collect();
        format!("{head:?} {:?} {fields:?} {}", head.query, head.expects_continue || head.upgrade_websocket)
    }

    /// Whether `second` is recognised after `first`; if it is, as what the parser says it is.
    fn check(first: &str, second: &str, expected: bool) {
        let limits = HeadLimits::default();
        let mut known = KnownHead::default();
        assert!(known.recognise(first.as_bytes()).is_none(), "nothing is known yet");
        let (head, len) = parse_head(first.as_bytes(), &limits).unwrap().unwrap();
        known.learn(&head, len);
        let recognised = known.recognise(second.as_bytes());
        assert_eq!(recognised.is_some(), expected, "{first:?} {second:?}");
        if let Some((head, len)) = recognised {
            let (parsed, parsed_len) = parse_head(second.as_bytes(), &limits).unwrap().unwrap();
            assert_eq!((said(&head), len), (said(&parsed), parsed_len));
            assert_eq!(head.body, parsed.body);
        }
    }

    #[test]
    fn a_head_is_recognised_by_all_its_bytes() {
        let post = |length: &str| {
            format!("POST /publish?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nX: y\r\n\r\n")
        };
        check(&post("10"), &(post("10") + "0123456789"), true);
        check(&post("10"), &post("99"), true);
        check(&post("10"), &post("00"), true);
        check(&post("10"), &post("9"), false);
        check(&post("10"), &post("100"), false);
        for length in ["1a", " 1", "+1", "-1", "1\r", "1,", "1\0", "\u{e9}"] {
            check(&post("10"), &post(length), false);
        }
        check(&post("9007199254740992"), &post("9007199254740993"), false);
        check(&post("10"), &post("10").replace("X: y", "X: z"), false);
        check(&post("10"), &post("10").replace("POST", "POSt"), false);
        check(&post("10"), &post("10")[..post("10").len() - 1], false);
        let get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        check(get, get, false);
        let chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(chunked, chunked, false);
    }

    #[test]
    fn what_is_noted_about_a_head_is_gone_with_it() {
        let limits = HeadLimits::default();
        let post = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n");
        let mut known = KnownHead::default();
        let mut noted = |path: &str, note: u32| {
            let text = post(path);
            if let Some((head, _)) = known.recognise(text.as_bytes()) {
                return head.note.map(|place| place.replace(note));
            }
            let (head, len) = parse_head(text.as_bytes(), &limits).unwrap().unwrap();
            assert!(head.note.is_none());
            known.learn(&head, len);
            None
        };
        assert_eq!(noted("/a", 7), None);
        assert_eq!(noted("/a", 7), Some(0));
        assert_eq!(noted("/a", 8), Some(7));
        assert_eq!(noted("/b", 9), None);
        assert_eq!(noted("/a", 9), None);
        assert_eq!(noted("/a", 9), Some(0));
    }

    #[test]
    fn long_heads_are_not_remembered() {
        let long = format!(
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nX: {}\r\n\r\n",
            "y".repeat(KNOWN_BYTES_MAX)
        );
        check(&long, &long, false);
    }
}
