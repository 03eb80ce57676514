//! Answers with a length.
//!
//! # Contract       status line, fields, `Content-Length`, `Connection` if it says anything, body; nothing is remembered between answers
//! # Invariants     no value can end a header line, whoever chose it

use std::{borrow::Cow, io::Write};

use smallvec::SmallVec;

use super::cross_origin::CrossOrigin;
use super::head::Version;
use crate::wire::json::{self, Digits};

/// An answer being put together.
#[derive(Debug, Clone)]
pub struct Response {
    status: u16,
    headers: SmallVec<[(&'static str, Cow<'static, str>); 4]>,
    body: Cow<'static, [u8]>,
}

/// What an answer must know about its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseContext {
    /// Whether the connection takes another request after this one.
    pub keep_alive: bool,
    /// Whether the request was `HEAD`: the body's length is told, the body is not sent.
    pub head_only: bool,
    /// The version of the request.
    pub version: Version,
    /// The page of another origin that asks and may read the answer.
    pub cross_origin: Option<CrossOrigin>,
}

impl ResponseContext {
    /// Of an answer that ends the conversation, whatever was asked.
    pub const LAST: ResponseContext =
        ResponseContext { keep_alive: false, head_only: false, version: Version::Http11, cross_origin: None };
}

impl Response {
    /// An answer without fields and body.
    pub fn new(status: u16) -> Self {
        Self { status, headers: SmallVec::new(), body: Cow::Borrowed(b"") }
    }

    /// Adds a header field. CR, LF and NUL in `value` become spaces: it must not be able to forge a field.
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, one_line(value.into())));
        self
    }

    /// Sets the body and its `Content-Type`.
    pub fn body(mut self, content_type: &'static str, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        self.body = bytes.into();
        self.header("Content-Type", content_type)
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.body
    }

    /// Appends the answer to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>, context: &ResponseContext) {
        let has_length = 200 <= self.status && self.status != 204 && self.status != 304;
        let sends_body = has_length && !context.head_only;
        let cross_origin = context.cross_origin.map(CrossOrigin::fields);
        let cross_origin = cross_origin.as_ref().map_or(&[][..], |fields| &fields[..]);
        let own = self.headers.iter().map(|(name, value)| (*name, &**value));
        let fields = own.chain(cross_origin.iter().copied());
        let fields_bytes: usize = fields.clone().map(|(name, value)| name.len() + value.len() + 4).sum();
        out.reserve(LINES_BYTES + fields_bytes + if sends_body { self.body.len() } else { 0 });

        push(out, format_args!("HTTP/1.1 {} {}\r\n", self.status, reason_phrase(self.status)));
        for (name, value) in fields {
            push(out, format_args!("{name}: {value}\r\n"));
        }
        if has_length {
            push(out, format_args!("Content-Length: {}\r\n", self.body.len()));
        }
        let upgrades = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("upgrade"));
        let connection = match (upgrades, context.keep_alive) {
            // Keeping is what HTTP/1.1 does unless told otherwise.
            (false, true) if context.version == Version::Http11 => "",
            (false, true) => "Connection: keep-alive\r\n",
            (false, false) => "Connection: close\r\n",
            // An Upgrade field holds for one hop only and has to be named as such.
            (true, true) => "Connection: upgrade\r\n",
            (true, false) => "Connection: upgrade, close\r\n",
        };
        push(out, format_args!("{connection}\r\n"));
        if sends_body {
            out.extend_from_slice(&self.body);
        }
    }
}

/// Appends an answer whose body is JSON: what [`Response`] would write, without putting it together first.
pub fn push_json(out: &mut Vec<u8>, status: u16, body: &[u8], context: &ResponseContext) {
    let has_length = 200 <= status && status != 204 && status != 304;
    let is_usual = context.keep_alive && !context.head_only && context.version == Version::Http11;
    if !is_usual || context.cross_origin.is_some() || !has_length {
        return Response::new(status).body(JSON, body.to_vec()).write_to(out, context);
    }
    out.reserve(LINES_BYTES + JSON.len() + body.len());
    let (code, length) = (Digits::of(status.into()), Digits::of(body.len() as u64));
    let parts: [&[u8]; 10] = [
        b"HTTP/1.1 ",
        code.as_bytes(),
        b" ",
        reason_phrase(status).as_bytes(),
        b"\r\nContent-Type: ",
        JSON.as_bytes(),
        b"\r\nContent-Length: ",
        length.as_bytes(),
        b"\r\n\r\n",
        body,
    ];
    parts.into_iter().for_each(|part| out.extend_from_slice(part));
}

/// The media type of JSON.
const JSON: &str = "application/json";

/// The interim answer to `Expect: 100-continue`: send the body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// An `application/problem+json` answer (RFC 9457) with the stable member `code`.
pub fn problem(status: u16, code: &str, detail: &str) -> Response {
    let mut body = br#"{"type":"about:blank","title":"#.to_vec();
    json::push_string(&mut body, reason_phrase(status));
    push(&mut body, format_args!(r#","status":{status},"code":"#));
    json::push_string(&mut body, code);
    body.extend_from_slice(br#","detail":"#);
    json::push_string(&mut body, detail);
    body.push(b'}');
    Response::new(status).body("application/problem+json", body)
}

/// The customary words for a status code; `"Unknown"` for one that is never sent here.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Unknown",
    }
}

/// `value` itself if it fits on one header line, else with spaces for what would end it.
fn one_line(value: Cow<'static, str>) -> Cow<'static, str> {
    if value.contains(LINE_ENDERS) { Cow::Owned(value.replace(LINE_ENDERS, " ")) } else { value }
}

/// Formats into a vector, which cannot fail.
fn push(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a vector takes every byte");
}

/// What a peer takes for the end of a header line.
const LINE_ENDERS: [char; 3] = ['\r', '\n', '\0'];

/// Room for the status line, `Content-Length` and `Connection`; measured on the longest of them.
const LINES_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(response: &Response, context: ResponseContext, expected: &str) {
        let mut out = b"before|".to_vec();
        response.write_to(&mut out, &context);
        assert_eq!(String::from_utf8(out).unwrap(), format!("before|{expected}"));
    }

    const KEPT: ResponseContext = ResponseContext { keep_alive: true, ..ResponseContext::LAST };

    #[test]
    fn an_answer_has_length_and_connection() {
        let response =
            Response::new(202).header("X-Seq", 7.to_string()).body("text/plain", b"hello".to_vec());
        let head = "HTTP/1.1 202 Accepted\r\nX-Seq: 7\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n";
        check(&response, KEPT, &format!("{head}\r\nhello"));
        let old = ResponseContext { version: Version::Http10, ..KEPT };
        check(&response, old, &format!("{head}Connection: keep-alive\r\n\r\nhello"));
        let closing = ResponseContext { keep_alive: false, ..KEPT };
        check(&response, closing, &format!("{head}Connection: close\r\n\r\nhello"));
        let head_only = ResponseContext { head_only: true, ..KEPT };
        check(&response, head_only, &format!("{head}\r\n"));
    }

    #[test]
    fn json_is_answered_in_the_same_bytes_however_it_is_written() {
        for status in [202, 200, 204, 404] {
            for (keep_alive, head_only) in [(true, false), (true, true), (false, false), (false, true)] {
                for version in [Version::Http10, Version::Http11] {
                    let context = ResponseContext { keep_alive, head_only, version, cross_origin: None };
                    let (mut expected, mut out) = (Vec::new(), Vec::new());
                    Response::new(status).body(JSON, b"{}\n".to_vec()).write_to(&mut expected, &context);
                    push_json(&mut out, status, b"{}\n", &context);
                    assert_eq!(out, expected, "{status} {context:?}");
                }
            }
        }
    }

    #[test]
    fn no_content_means_no_length_either() {
        check(&Response::new(204), KEPT, "HTTP/1.1 204 No Content\r\n\r\n");
        let empty = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        check(&Response::new(404), KEPT, empty);
    }

    #[test]
    fn a_value_cannot_forge_a_field() {
        let response = Response::new(204).header("Location", "/a\r\nSet-Cookie: b\n\0".to_owned());
        let expected = "HTTP/1.1 204 No Content\r\nLocation: /a  Set-Cookie: b  \r\n\r\n";
        check(&response, KEPT, expected);
    }

    #[test]
    fn a_problem_is_json_whatever_its_detail_says() {
        let mut out = Vec::new();
        problem(400, "bad_channel", "no \"quotes\"\n").write_to(&mut out, &KEPT);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Content-Type: application/problem+json\r\n"), "{head}");
        assert_eq!(
            body,
            r#"{"type":"about:blank","title":"Bad Request","status":400,"code":"bad_channel","detail":"no \"quotes\"\n"}"#
        );
    }
}
