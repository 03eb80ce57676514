//! WebSocket as a client speaks it (RFC 6455): the upgrade, frames read in place, masked frames written.
//!
//! # Contract       `read_frame` lends the payload where it lies; nothing is copied
//! # Bounds         a frame is at most 4 MiB
//! # Why not …      tungstenite's own reader: it copies each message, and this one is a second opinion on the server's encoder

use crate::http;
use crate::target::Target;
use tungstenite::handshake::{client::generate_key, derive_accept_key};

/// One frame as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// Whether this is the last frame of its message.
    pub(crate) last: bool,
    /// What the payload is.
    pub(crate) opcode: Opcode,
    /// The payload.
    pub(crate) payload: &'a [u8],
}

/// What a frame's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// A further part of a message.
    Continuation,
    /// Text, or its first part.
    Text,
    /// Bytes, or their first part.
    Binary,
    /// The end of the connection, with code and reason.
    Close,
    /// A question for a sign of life.
    Ping,
    /// The answer to it.
    Pong,
}

/// Reads the frame at the start of `bytes`; `None` while it is incomplete. The number is its length with header.
///
/// # Errors
/// A frame that a server must not send: masked, with a reserved bit or opcode, a control frame that is long or
/// in parts, a length in more bytes than it needs, or longer than 4 MiB.
pub(crate) fn read_frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, &'static str> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err("a frame has a reserved bit set");
    }
    if second & 0x80 != 0 {
        return Err("a frame from the server is masked");
    }
    let opcode = match first & 0x0f {
        0 => Opcode::Continuation,
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => return Err("a frame has a reserved opcode"),
    };
    let last = first & 0x80 != 0;
    let (length, header_bytes) = match second & 0x7f {
        126 => match rest {
            [a, b, ..] => (u64::from(u16::from_be_bytes([*a, *b])), 4),
            _ => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(length) => (u64::from_be_bytes(*length), 10),
            None => return Ok(None),
        },
        length => (u64::from(length), 2),
    };
    if (header_bytes == 4 && length < 126) || (header_bytes == 10 && length < 65_536) {
        return Err("a frame's length is written in more bytes than it needs");
    }
    if FRAME_BYTES_MAX < length {
        return Err("a frame is longer than 4 MiB");
    }
    let control = matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
    if control && (!last || 125 < length) {
        return Err("a control frame is long or in parts");
    }
    let end = header_bytes + length as usize;
    match bytes.get(header_bytes..end) {
        Some(payload) => Ok(Some((Frame { last, opcode, payload }, end))),
        None => Ok(None),
    }
}

/// Appends a whole message as one masked frame. The mask need not be secret here, only present: it keeps
/// intermediaries from reading frames as requests, and there are none.
pub(crate) fn write_frame(opcode: Opcode, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    out.push(0x80 | opcode_number(opcode));
    match payload.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..65_536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    for chunk in out[start..].chunks_mut(mask.len()) {
        chunk.iter_mut().zip(mask).for_each(|(byte, key)| *byte ^= key);
    }
}

/// Appends the request that upgrades a connection, whose query has the members that have a value, and returns the key
/// that the answer must fit.
pub(crate) fn write_upgrade(target: &Target, members: &[(&str, Option<&str>)], out: &mut Vec<u8>) -> String {
    let key = generate_key();
    out.extend_from_slice(b"GET /ws");
    http::push_query(out, members);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    http::write_common(target, out);
    out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
    out.extend_from_slice(b"Sec-WebSocket-Key: ");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    key
}

/// Whether `head` is the right answer to an upgrade with `key`.
///
/// # Errors
/// Says in what the answer is wrong.
pub(crate) fn check_upgrade(head: &http::Head, key: &str) -> Result<(), String> {
    if head.status != 101 {
        return Err(format!("the upgrade was answered {}", head.status));
    }
    if head.websocket_accept != derive_accept_key(key.as_bytes()) {
        return Err("the upgrade's answer does not fit its key".to_owned());
    }
    Ok(())
}

fn opcode_number(opcode: Opcode) -> u8 {
    match opcode {
        Opcode::Continuation => 0,
        Opcode::Text => 1,
        Opcode::Binary => 2,
        Opcode::Close => 8,
        Opcode::Ping => 9,
        Opcode::Pong => 10,
    }
}

/// Events are at most 1 MiB on the server; four times that leaves room for what is around them.
pub(crate) const FRAME_BYTES_MAX: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::protocol::frame::{Frame as TungsteniteFrame, FrameHeader};

    #[test]
    fn frames_of_every_length_are_read_as_tungstenite_writes_them() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let payload = vec![b'x'; length];
            let code = tungstenite::protocol::frame::coding::OpCode::Data(
                tungstenite::protocol::frame::coding::Data::Text,
            );
            let mut bytes = Vec::new();
            TungsteniteFrame::message(payload.clone(), code, true).format(&mut bytes).expect("formatted");
            let whole = bytes.len();
            for end in [0, 1, 2, 3, whole - 1] {
                if end < whole {
                    assert_eq!(read_frame(&bytes[..end]), Ok(None), "{length} cut at {end}");
                }
            }
            bytes.extend_from_slice(b"more");
            let frame = Frame { last: true, opcode: Opcode::Text, payload: &payload };
            assert_eq!(read_frame(&bytes), Ok(Some((frame, whole))));
        }
    }

    #[test]
    fn what_a_server_must_not_send_is_refused() {
        let check = |bytes: &[u8]| assert!(read_frame(bytes).is_err(), "{bytes:02x?}");
        check(&[0x81, 0x81, 1, 2, 3, 4, b'x']);
        check(&[0xc1, 0x01, b'x']);
        check(&[0x83, 0x00]);
        check(&[0x09, 0x00]);
        check(&[0x89, 126, 0, 126]);
        check(&[0x81, 126, 0, 125]);
        check(&[0x81, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        check(&[0x81, 127, 0, 0, 0, 0, 0x40, 0, 0, 1]);
        check(&[0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn written_frames_are_masked_and_unmask_to_what_was_given() {
        for length in [0, 5, 126, 65_536] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut bytes = Vec::new();
            write_frame(Opcode::Text, &payload, [1, 2, 3, 4], &mut bytes);
            let mut cursor = std::io::Cursor::new(&bytes);
            let (header, stated) = FrameHeader::parse(&mut cursor).expect("valid").expect("whole");
            assert_eq!((header.mask, stated), (Some([1, 2, 3, 4]), length as u64));
            let body = &bytes[cursor.position() as usize..];
            let unmasked: Vec<u8> =
                body.iter().enumerate().map(|(at, byte)| byte ^ [1, 2, 3, 4][at % 4]).collect();
            assert_eq!(unmasked, payload);
        }
    }

    #[test]
    fn an_upgrade_must_be_answered_with_its_own_key() {
        let target = Target::parse("ws://127.0.0.1:9", None).expect("a target");
        let mut out = Vec::new();
        let key = write_upgrade(&target, &[("channel", Some("bench:0")), ("since", Some("E-4"))], &mut out);
        let text = String::from_utf8(out).expect("text");
        assert!(text.starts_with("GET /ws?channel=bench:0&since=E-4 HTTP/1.1\r\n"), "{text}");
        let answer = |status: &str, accept: &str| {
            let text = format!("HTTP/1.1 {status} X\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
            http::read_head(text.as_bytes()).expect("valid").expect("whole").0
        };
        let accept = derive_accept_key(key.as_bytes());
        assert_eq!(check_upgrade(&answer("101", &accept), &key), Ok(()));
        assert!(check_upgrade(&answer("101", "other"), &key).is_err());
        assert!(check_upgrade(&answer("200", &accept), &key).is_err());
    }
}
