//! A request head, understood once.
//!
//! # Contract       what is lent borrows from the bytes it was read from; nothing is allocated for [`FIELDS_IN_PLACE`] fields
//!   and fewer
//! # Invariants     the whole head is UTF-8 without control bytes, and every span lies inside it
//! # Bounds         about 250 bytes on the stack, most of them places for header fields; 64 fields at most

use std::{borrow::Cow, cell::Cell, fmt, mem::MaybeUninit};

use smallvec::SmallVec;

use super::{
    error::HttpError,
    framing::{BodyKind, Framing},
    scanner::{HEADERS_CAPACITY, HeadLimits, HeadScanner},
    target::split_target,
};

/// A request without its body.
#[derive(Clone)]
pub struct RequestHead<'a> {
    /// What is to be done.
    pub method: Method,
    /// The target's path as it was sent, still percent-encoded; begins with `/`, or is `*` for `OPTIONS`.
    pub path: &'a str,
    /// What follows the `?`, as it was sent.
    pub query: Option<&'a str>,
    /// The version of the request.
    pub version: Version,
    /// How the length of the body is told.
    pub body: BodyKind,
    /// Whether the peer wants to send another request on this connection.
    pub keep_alive: bool,
    /// Whether the peer waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether this is a `GET` that asks to become a WebSocket; see [`websocket_accept`](super::websocket_accept).
    pub upgrade_websocket: bool,
    /// What somebody has noted about the head before this one, whose bytes were the same but for the digits of its
    /// length; 0 where nobody has. Nothing if no such head is known.
    pub note: Option<&'a Cell<u32>>,
    pub(super) text: &'a str,
    pub(super) fields: Cow<'a, Fields>,
}

/// Where the header fields of a head lie in it.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    spans: SmallVec<[FieldSpan; FIELDS_IN_PLACE]>,
    /// How long the names are: one bit for each length, the highest for all that are longer.
    name_lengths: u64,
}

impl Fields {
    fn new() -> Fields {
        Fields { spans: SmallVec::new(), name_lengths: 0 }
    }

    fn push(&mut self, span: FieldSpan) {
        self.spans.push(span);
        self.name_lengths |= length_bit(usize::from(span.name_end - span.name_start));
    }
}

/// Header fields that a head has room for in place; browsers send fewer.
const FIELDS_IN_PLACE: usize = 16;

/// The bit for names of `len` bytes.
fn length_bit(len: usize) -> u64 {
    1 << len.min(63)
}

impl<'a> RequestHead<'a> {
    /// The value of the first header field called `name`, in any case, without the white space around it.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers(name).next()
    }

    /// The values of all header fields called `name`, in any case, in the order they were sent.
    pub fn headers<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'a str> + 'h {
        // Most of what is asked for was not sent, and has a length that no name has.
        let may_be_there = self.fields.name_lengths & length_bit(name.len()) != 0;
        let spans = if may_be_there { &*self.fields.spans } else { &[] };
        let text = self.text;
        spans
            .iter()
            .filter(move |span| span.name(text).eq_ignore_ascii_case(name))
            .map(|span| span.value(text))
    }

    /// Name and value of every header field, in the order they were sent.
    pub fn all_headers(&self) -> impl Iterator<Item = (&'a str, &'a str)> + '_ {
        let text = self.text;
        self.fields.spans.iter().map(move |span| (span.name(text), span.value(text)))
    }
}

/// Shows neither the query nor a header's value: both carry tokens, and what is formatted gets logged.
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RequestHead")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("version", &self.version)
            .field("body", &self.body)
            .field("headers", &self.all_headers().map(|(name, _)| name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The methods that somebody here may know what to do with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`.
    Get,
    /// `HEAD`.
    Head,
    /// `POST`.
    Post,
    /// `OPTIONS`.
    Options,
    /// `DELETE`.
    Delete,
    /// `PUT`.
    Put,
    /// Every other method token.
    Other,
}

impl Method {
    /// The token, empty for every other one.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Options => "OPTIONS",
            Self::Delete => "DELETE",
            Self::Put => "PUT",
            Self::Other => "",
        }
    }

    fn from_token(token: &str) -> Self {
        match token {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "OPTIONS" => Self::Options,
            "DELETE" => Self::Delete,
            "PUT" => Self::Put,
            _ => Self::Other,
        }
    }
}

/// The versions of HTTP that are spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// Reads a request head from the start of `bytes`; `None` means that it is not complete yet.
///
/// Answers the head and its length in bytes. Looks at all bytes at each call: for a head that arrives in many
/// pieces, keep a [`HeadScanner`].
///
/// # Errors
/// 400 for everything malformed or ambiguous, 405 for `CONNECT`, 414 and 431 for the limits, 417 for an unknown
/// `Expect`, 505 for another version.
pub fn parse_head<'a>(
    bytes: &'a [u8],
    limits: &HeadLimits,
) -> Result<Option<(RequestHead<'a>, usize)>, HttpError> {
    HeadScanner::new().parse(bytes, limits)
}

/// Reads a head whose end and line ends the scanner has approved.
pub(super) fn parse_complete(head: &[u8]) -> Result<RequestHead<'_>, HttpError> {
    // Latin-1 in a header value would reach our users as something else than what was sent.
    let text = str::from_utf8(head).map_err(|_| NOT_TEXT)?;
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_CAPACITY];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut headers) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(REQUEST_LINE_BAD),
        Err(error) => return Err(refusal(error, text)),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(REQUEST_LINE_BAD);
    };
    if method == "CONNECT" {
        return Err(NO_TUNNELS);
    }
    let method = Method::from_token(method);
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let (path, query) = split_target(target, method)?;

    let mut fields = Fields::new();
    let mut framing = Framing::default();
    for header in request.headers.iter() {
        let span = FieldSpan::new(text, header);
        framing.take(span.name(text), span.value(text))?;
        fields.push(span);
    }
    let connection = framing.finish(method, version)?;
    Ok(RequestHead {
        method,
        path,
        query,
        version,
        body: connection.body,
        keep_alive: connection.keep_alive,
        expects_continue: connection.expects_continue,
        upgrade_websocket: connection.upgrade_websocket,
        note: None,
        text,
        fields: Cow::Owned(fields),
    })
}

/// Where a header field lies in the head: 8 bytes instead of two slices' 32.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FieldSpan {
    name_start: u16,
    name_end: u16,
    value_start: u16,
    value_end: u16,
}

impl FieldSpan {
    /// `header` was lent by the tokeniser from `text`.
    fn new(text: &str, header: &httparse::Header<'_>) -> Self {
        let value = header.value.trim_ascii();
        let start_of = |part: *const u8| part.addr().saturating_sub(text.as_ptr().addr()) as u16;
        let (name_start, value_start) = (start_of(header.name.as_ptr()), start_of(value.as_ptr()));
        Self {
            name_start,
            name_end: name_start + header.name.len() as u16,
            value_start,
            value_end: value_start + value.len() as u16,
        }
    }

    fn name<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.name_start as usize..self.name_end as usize).unwrap_or_default()
    }

    fn value<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.value_start as usize..self.value_end as usize).unwrap_or_default()
    }
}

/// Says what the tokeniser did not like.
fn refusal(error: httparse::Error, text: &str) -> HttpError {
    match error {
        httparse::Error::Version if names_another_version(text) => VERSION_UNKNOWN,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => HEADER_BAD,
        _ => REQUEST_LINE_BAD,
    }
}

/// Whether the request line ends in a well-formed version, so that it is only not ours.
fn names_another_version(text: &str) -> bool {
    let line = text.trim_start_matches("\r\n").split("\r\n").next().unwrap_or_default();
    let number = line.rsplit(' ').next().and_then(|version| version.strip_prefix("HTTP/"));
    match number.map(str::as_bytes) {
        Some(b"1.0" | b"1.1") => false,
        Some([major, b'.', minor]) => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    }
}

const NOT_TEXT: HttpError = HttpError::bad_request("bad_header", "The request head is not UTF-8 text.");
const REQUEST_LINE_BAD: HttpError =
    HttpError::bad_request("bad_request_line", "The request line must be: method, target, HTTP/1.1.");
const HEADER_BAD: HttpError = HttpError::bad_request(
    "bad_header",
    "A header field must be: name, colon, value, on one line without control bytes.",
);
const NO_TUNNELS: HttpError =
    HttpError { status: 405, code: "method_not_allowed", detail: "CONNECT is not offered here." };
const VERSION_UNKNOWN: HttpError = HttpError {
    status: 505,
    code: "version_not_supported",
    detail: "Only HTTP/1.0 and HTTP/1.1 are spoken here.",
};

#[cfg(test)]
mod tests;
