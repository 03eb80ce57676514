//! What the framing and connection header fields of a request mean together.
//!
//! # Invariants     a request has no body, or a length, or chunks; every other combination is refused

use super::{
    error::HttpError,
    head::{Method, Version},
    target::check_host,
};

/// How the length of a request's body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// Neither `Content-Length` nor `Transfer-Encoding` was sent.
    None,
    /// `Content-Length`, in bytes; at most 2^53.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Collects the fields that decide about framing and the connection's future, in the order they were sent.
#[derive(Debug, Default)]
pub(super) struct Framing {
    host_seen: bool,
    content_length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    upgrade_websocket: bool,
    expects_continue: bool,
}

/// What [`Framing`] amounts to.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) body: BodyKind,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) upgrade_websocket: bool,
}

impl Framing {
    /// Takes one header field; fields that have no part in framing are passed over.
    pub(super) fn take(&mut self, name: &str, value: &str) -> Result<(), HttpError> {
        // The length is compared first, so that an ordinary field costs one jump.
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => self.take_host(value),
            6 if name.eq_ignore_ascii_case("expect") => self.take_expect(value),
            7 if name.eq_ignore_ascii_case("upgrade") => {
                self.upgrade_websocket |= has_token(value, "websocket");
                Ok(())
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                self.close |= has_token(value, "close");
                self.keep_alive |= has_token(value, "keep-alive");
                self.upgrade |= has_token(value, "upgrade");
                Ok(())
            }
            14 if name.eq_ignore_ascii_case("content-length") => self.take_content_length(value),
            17 if name.eq_ignore_ascii_case("transfer-encoding") => self.take_transfer_encoding(value),
            _ => Ok(()),
        }
    }

    /// The verdict after the last field.
    pub(super) fn finish(self, method: Method, version: Version) -> Result<Connection, HttpError> {
        let is_1_1 = version == Version::Http11;
        if is_1_1 && !self.host_seen {
            return Err(HOST_MISSING);
        }
        let body = match (self.chunked, self.content_length) {
            (true, Some(_)) => return Err(TWO_FRAMINGS),
            (true, None) if !is_1_1 => return Err(CHUNKED_ON_1_0),
            (true, None) => BodyKind::Chunked,
            (false, Some(length)) => BodyKind::Length(length),
            (false, None) => BodyKind::None,
        };
        Ok(Connection {
            body,
            keep_alive: !self.close && (is_1_1 || self.keep_alive),
            // A peer that sends no body waits for nothing, and HTTP/1.0 does not know interim answers.
            expects_continue: self.expects_continue && is_1_1 && body != BodyKind::None,
            upgrade_websocket: self.upgrade && self.upgrade_websocket && is_1_1 && method == Method::Get,
        })
    }

    fn take_host(&mut self, value: &str) -> Result<(), HttpError> {
        if self.host_seen {
            return Err(HOST_TWICE);
        }
        self.host_seen = true;
        check_host(value)
    }

    fn take_expect(&mut self, value: &str) -> Result<(), HttpError> {
        if !value.eq_ignore_ascii_case("100-continue") {
            return Err(EXPECTATION_UNKNOWN);
        }
        self.expects_continue = true;
        Ok(())
    }

    fn take_content_length(&mut self, value: &str) -> Result<(), HttpError> {
        if self.content_length.is_some() {
            return Err(LENGTH_TWICE);
        }
        self.content_length = Some(content_length(value)?);
        Ok(())
    }

    fn take_transfer_encoding(&mut self, value: &str) -> Result<(), HttpError> {
        if self.chunked || !value.eq_ignore_ascii_case("chunked") {
            return Err(ENCODING_BAD);
        }
        self.chunked = true;
        Ok(())
    }
}

/// The length that a `Content-Length` says.
pub(super) fn content_length(value: &str) -> Result<u64, HttpError> {
    if value.is_empty() {
        return Err(LENGTH_BAD);
    }
    value.bytes().try_fold(0, |length: u64, byte| {
        // What is no more than the largest has room for one more digit.
        let digit = byte.wrapping_sub(b'0');
        let length = length * 10 + u64::from(digit);
        if digit < 10 && length <= CONTENT_LENGTH_MAX { Ok(length) } else { Err(LENGTH_BAD) }
    })
}

/// Whether the comma-separated list `value` holds `token`, in any case.
pub(super) fn has_token(value: &str, token: &str) -> bool {
    list_members(value).any(|member| member.eq_ignore_ascii_case(token))
}

/// The members of a comma-separated list, without the white space around them and without empty ones.
pub(super) fn list_members(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty())
}

/// Largest length that survives every JSON tool and every signed counter between us and the peer.
const CONTENT_LENGTH_MAX: u64 = 1 << 53;

const HOST_MISSING: HttpError =
    HttpError::bad_request("bad_host", "An HTTP/1.1 request needs a Host header.");
const HOST_TWICE: HttpError =
    HttpError::bad_request("bad_host", "The request has more than one Host header.");
const EXPECTATION_UNKNOWN: HttpError =
    HttpError { status: 417, code: "expectation_failed", detail: "Only Expect: 100-continue is understood." };
const LENGTH_TWICE: HttpError =
    HttpError::bad_request("bad_content_length", "The request has more than one Content-Length header.");
const LENGTH_BAD: HttpError = HttpError::bad_request(
    "bad_content_length",
    "Content-Length must be one decimal number of at most 2^53.",
);
const ENCODING_BAD: HttpError = HttpError::bad_request(
    "bad_transfer_encoding",
    "The only Transfer-Encoding understood is chunked, sent once.",
);
const TWO_FRAMINGS: HttpError =
    HttpError::bad_request("bad_framing", "Content-Length and Transfer-Encoding exclude each other.");
const CHUNKED_ON_1_0: HttpError =
    HttpError::bad_request("bad_transfer_encoding", "HTTP/1.0 does not know Transfer-Encoding.");

#[cfg(test)]
mod tests {
    use super::*;

    type Fields = [(&'static str, &'static str)];

    fn check(version: Version, fields: &Fields, expected: Result<(BodyKind, bool), u16>) {
        let mut framing = Framing::default();
        let outcome = fields
            .iter()
            .try_for_each(|(name, value)| framing.take(name, value))
            .and_then(|()| framing.finish(Method::Post, version))
            .map(|connection| (connection.body, connection.keep_alive))
            .map_err(|error| error.status);
        assert_eq!(outcome, expected, "{version:?} {fields:?}");
    }

    #[test]
    fn the_version_and_the_connection_tokens_decide_about_keep_alive() {
        let host = ("Host", "h");
        let cases: [(Version, &Fields, bool); 8] = [
            (Version::Http11, &[host], true),
            (Version::Http11, &[host, ("connection", "close")], false),
            (Version::Http11, &[host, ("Connection", "x, CLOSE ,y")], false),
            (Version::Http11, &[host, ("Connection", "keep-alive"), ("Connection", "close")], false),
            (Version::Http11, &[host, ("Connection", "closed")], true),
            (Version::Http10, &[], false),
            (Version::Http10, &[("Connection", "Keep-Alive")], true),
            (Version::Http10, &[("Connection", "keep-alive, close")], false),
        ];
        for (version, fields, keep_alive) in cases {
            check(version, fields, Ok((BodyKind::None, keep_alive)));
        }
    }

    #[test]
    fn a_message_has_one_framing_or_none() {
        let host = ("Host", "h");
        let cases: [(&Fields, Result<BodyKind, u16>); 8] = [
            (&[host, ("Content-Length", "0")], Ok(BodyKind::Length(0))),
            (&[host, ("CONTENT-length", "9007199254740992")], Ok(BodyKind::Length(1 << 53))),
            (&[host, ("Content-Length", "9007199254740993")], Err(400)),
            (&[host, ("Content-Length", "5"), ("Content-Length", "5")], Err(400)),
            (&[host, ("Transfer-Encoding", "Chunked")], Ok(BodyKind::Chunked)),
            (&[host, ("Transfer-Encoding", "gzip, chunked")], Err(400)),
            (&[host, ("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")], Err(400)),
            (&[host, ("Transfer-Encoding", "chunked"), ("Content-Length", "0")], Err(400)),
        ];
        for (fields, expected) in cases {
            check(Version::Http11, fields, expected.map(|body| (body, true)));
        }
    }
}
