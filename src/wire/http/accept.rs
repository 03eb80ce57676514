//! The server's half of the WebSocket handshake (RFC 6455, section 4.2).
//!
//! # Contract       a request either becomes exactly one 101 answer or one refusal; extensions are never agreed to

use smallvec::SmallVec;
use tungstenite::handshake::derive_accept_key;

use super::{
    error::HttpError,
    framing::{BodyKind, list_members},
    head::RequestHead,
};

/// A handshake that may be answered with 101.
#[derive(Debug, Clone)]
pub struct WebSocketAccept<'a> {
    accept_key: String,
    protocols: SmallVec<[&'a str; 4]>,
}

/// Checks whether a request is a WebSocket handshake.
///
/// # Errors
/// 426 if it does not ask for the upgrade, or for another version than 13; 400 if its key or its list of
/// sub-protocols is malformed, or it has a body.
pub fn websocket_accept<'a>(head: &RequestHead<'a>) -> Result<WebSocketAccept<'a>, HttpError> {
    if !head.upgrade_websocket {
        return Err(NO_UPGRADE);
    }
    if head.body != BodyKind::None {
        return Err(BODY);
    }
    if only_header(head, "sec-websocket-version") != Some("13") {
        return Err(VERSION);
    }
    let key = only_header(head, "sec-websocket-key").filter(|key| is_key(key)).ok_or(KEY)?;
    let mut protocols = SmallVec::new();
    for protocol in head.headers("sec-websocket-protocol").flat_map(list_members) {
        if protocols.len() == PROTOCOLS_MAX || !protocol.bytes().all(is_token_byte) {
            return Err(PROTOCOLS);
        }
        protocols.push(protocol);
    }
    Ok(WebSocketAccept { accept_key: derive_accept_key(key.as_bytes()), protocols })
}

impl<'a> WebSocketAccept<'a> {
    /// The sub-protocols the client offers, in its order of preference; at most 16.
    pub fn protocols(&self) -> &[&'a str] {
        &self.protocols
    }

    /// Appends the 101 answer, naming `protocol` if the client offered it (it must fail the handshake otherwise).
    ///
    /// `headers` are further fields; they must not hold line ends.
    pub fn write_to(&self, out: &mut Vec<u8>, protocol: Option<&str>, headers: &[(&str, &str)]) {
        out.reserve(ANSWER_BYTES);
        let mut push = |parts: &[&str]| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        push(&["HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"]);
        push(&["Sec-WebSocket-Accept: ", &self.accept_key, "\r\n"]);
        if let Some(protocol) = protocol.filter(|protocol| self.protocols.contains(protocol)) {
            push(&["Sec-WebSocket-Protocol: ", protocol, "\r\n"]);
        }
        for (name, value) in headers {
            debug_assert!(!value.contains(['\r', '\n', '\0']), "{name} must stay on its line");
            push(&[name, ": ", value, "\r\n"]);
        }
        push(&["\r\n"]);
    }
}

/// The value of a field that was sent exactly once.
fn only_header<'a>(head: &RequestHead<'a>, name: &str) -> Option<&'a str> {
    let mut values = head.headers(name);
    values.next().filter(|_| values.next().is_none())
}

/// Whether `key` is the Base64 form of 16 bytes: 22 digits, the last with four unused bits of zero, and padding.
fn is_key(key: &str) -> bool {
    let Some(digits) = key.strip_suffix("==") else { return false };
    digits.len() == 22
        && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
        && digits.ends_with(['A', 'Q', 'g', 'w'])
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Room for the answer, and for what is said first over a new WebSocket: as a rule one allocation holds both.
const ANSWER_BYTES: usize = 256;

/// More sub-protocols than anybody speaks.
const PROTOCOLS_MAX: usize = 16;

const NO_UPGRADE: HttpError = HttpError {
    status: 426,
    code: "upgrade_required",
    detail: "This path speaks WebSocket: send GET with Upgrade: websocket and Connection: Upgrade over HTTP/1.1.",
};
const VERSION: HttpError = HttpError {
    status: 426,
    code: "upgrade_required",
    detail: "Only version 13 of WebSocket is spoken here.",
};
const BODY: HttpError = HttpError::bad_request("bad_handshake", "A WebSocket handshake has no body.");
const KEY: HttpError =
    HttpError::bad_request("bad_handshake", "Sec-WebSocket-Key must be 16 bytes in Base64, sent once.");
const PROTOCOLS: HttpError =
    HttpError::bad_request("bad_handshake", "Sec-WebSocket-Protocol must be a list of at most 16 tokens.");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{HeadLimits, parse_head};

    /// The handshake of RFC 6455 with `line` instead of the one that begins the same way, or beside the others.
    fn handshake(request_line: &str, lines: &[&str]) -> Result<(String, Vec<String>), u16> {
        let request = format!("{request_line}\r\n{}\r\n\r\n", lines.join("\r\n"));
        let (head, _) = parse_head(request.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
        let accept = websocket_accept(&head).map_err(|error| error.status)?;
        let mut out = Vec::new();
        accept.write_to(&mut out, Some("b.v1"), &[("X-Cursor", "e-1")]);
        Ok((String::from_utf8(out).unwrap(), accept.protocols().iter().map(ToString::to_string).collect()))
    }

    const GET: &str = "GET /ws HTTP/1.1";
    const HOST: &str = "Host: h";
    const UPGRADE: &str = "Upgrade: websocket";
    const CONNECTION: &str = "Connection: keep-alive, Upgrade";
    const KEY_LINE: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    const VERSION_LINE: &str = "Sec-WebSocket-Version: 13";

    #[test]
    fn the_standard_example_gets_the_standard_answer() {
        let (answer, protocols) =
            handshake(GET, &[HOST, UPGRADE, CONNECTION, KEY_LINE, VERSION_LINE]).unwrap();
        assert!(protocols.is_empty());
        assert_eq!(
            answer,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Cursor: e-1\r\n\r\n"
        );
    }

    #[test]
    fn only_an_offered_protocol_is_named_and_extensions_never() {
        let offered = "Sec-WebSocket-Protocol: a, b.v1";
        let extensions = "Sec-WebSocket-Extensions: permessage-deflate";
        let lines = [HOST, UPGRADE, CONNECTION, KEY_LINE, VERSION_LINE, offered, extensions];
        let (answer, protocols) = handshake(GET, &lines).unwrap();
        assert_eq!(protocols, ["a", "b.v1"]);
        assert!(answer.contains("Sec-WebSocket-Protocol: b.v1\r\n"), "{answer}");
        assert!(!answer.contains("Sec-WebSocket-Extensions"), "{answer}");
        let (answer, _) = handshake(GET, &[HOST, UPGRADE, CONNECTION, KEY_LINE, VERSION_LINE]).unwrap();
        assert!(!answer.contains("Sec-WebSocket-Protocol"), "{answer}");
    }

    #[test]
    fn everything_else_is_refused() {
        let good = [HOST, UPGRADE, CONNECTION, KEY_LINE, VERSION_LINE];
        let without = |line: &str| good.into_iter().filter(|other| *other != line).collect::<Vec<_>>();
        let with = |line: &str, other: &'static str| [without(line), vec![other]].concat();
        let cases = [
            (GET, without(UPGRADE), 426),
            (GET, without(CONNECTION), 426),
            (GET, with(UPGRADE, "Upgrade: h2c"), 426),
            ("POST /ws HTTP/1.1", good.to_vec(), 426),
            ("GET /ws HTTP/1.0", good.to_vec(), 426),
            (GET, without(VERSION_LINE), 426),
            (GET, with(VERSION_LINE, "Sec-WebSocket-Version: 8"), 426),
            (GET, with(VERSION_LINE, "Sec-WebSocket-Version: 13, 8"), 426),
            (GET, with("", VERSION_LINE), 426),
            (GET, without(KEY_LINE), 400),
            (GET, with("", KEY_LINE), 400),
            (GET, with(KEY_LINE, "Sec-WebSocket-Key: "), 400),
            (GET, with(KEY_LINE, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"), 400),
            (GET, with(KEY_LINE, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR=="), 400),
            (GET, with(KEY_LINE, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQA="), 400),
            (GET, with(KEY_LINE, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j ZQ=="), 400),
            (GET, with("", "Content-Length: 3"), 400),
            (GET, with("", "Sec-WebSocket-Protocol: a b"), 400),
            (GET, with("", "Sec-WebSocket-Protocol: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"), 400),
        ];
        for (line, lines, expected) in cases {
            assert_eq!(handshake(line, &lines).map(|(answer, _)| answer), Err(expected), "{line} {lines:?}");
        }
    }
}
