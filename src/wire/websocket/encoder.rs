//! Frames as a server sends them: one per message, unmasked, so that every receiver may share the bytes.

use super::close;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A text message.
    Text = 1,
    /// A binary message.
    Binary = 2,
    /// The last frame of an endpoint.
    Close = 8,
    /// Asks for a pong.
    Ping = 9,
    /// Answers a ping with its payload.
    Pong = 10,
}

/// Bytes of the header before a payload of `payload_len` bytes: 2, 4 or 10.
pub const fn header_len(payload_len: usize) -> usize {
    match payload_len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Writes the header of a final frame to the start of `out` and answers its length, [`header_len`].
///
/// # Panics
/// If `out` is shorter than the header, which is a mistake of the caller's own layout.
pub fn write_header(opcode: Opcode, payload_len: usize, out: &mut [u8]) -> usize {
    let (header, length) = header(opcode, payload_len);
    out[..length].copy_from_slice(&header[..length]);
    length
}

/// Appends a text message.
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    push_frame(out, Opcode::Text, text.as_bytes());
}

/// Appends a binary message.
pub fn push_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    push_frame(out, Opcode::Binary, bytes);
}

/// Appends a ping. A control frame holds at most 125 bytes; what is more is left out.
pub fn push_ping(out: &mut Vec<u8>, payload: &[u8]) {
    push_frame(out, Opcode::Ping, &payload[..payload.len().min(CONTROL_BYTES_MAX)]);
}

/// Appends the answer to a ping, with the ping's payload; what is more than 125 bytes is left out.
pub fn push_pong(out: &mut Vec<u8>, payload: &[u8]) {
    push_frame(out, Opcode::Pong, &payload[..payload.len().min(CONTROL_BYTES_MAX)]);
}

/// Appends a close frame; `reason` is cut to 123 bytes at the boundary of a character.
pub fn push_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    debug_assert!(close::may_be_sent(code), "{code} stands for a connection without a close frame");
    let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX)];
    let (header, length) = header(Opcode::Close, 2 + reason.len());
    out.extend_from_slice(&header[..length]);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

fn push_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let (header, length) = header(opcode, payload.len());
    out.reserve(length + payload.len());
    out.extend_from_slice(&header[..length]);
    out.extend_from_slice(payload);
}

/// The header's bytes and how many of them count.
fn header(opcode: Opcode, payload_len: usize) -> ([u8; HEADER_BYTES_MAX], usize) {
    let mut header = [0; HEADER_BYTES_MAX];
    header[0] = FINAL | opcode as u8;
    let length = header_len(payload_len);
    match length {
        2 => header[1] = payload_len as u8,
        4 => {
            header[1] = LENGTH_IN_2_BYTES;
            header[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
        }
        _ => {
            header[1] = LENGTH_IN_8_BYTES;
            header[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
        }
    }
    (header, length)
}

/// The longest header of a server's frame, in bytes.
pub const HEADER_BYTES_MAX: usize = 10;

/// The longest payload of a control frame, in bytes.
pub(super) const CONTROL_BYTES_MAX: usize = 125;
/// The longest reason: a control frame's payload without the code.
const CLOSE_REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// First byte: the last frame of its message.
pub(super) const FINAL: u8 = 0x80;
/// Second byte: the length follows in two bytes.
pub(super) const LENGTH_IN_2_BYTES: u8 = 126;
/// Second byte: the length follows in eight bytes.
pub(super) const LENGTH_IN_8_BYTES: u8 = 127;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tungstenite::protocol::frame::FrameHeader;

    use super::*;

    #[test]
    fn every_length_class_is_read_back_by_the_twin() {
        for payload_len in [0, 1, 125, 126, 127, 255, 256, 65_535, 65_536, 1 << 20] {
            let mut bytes = [0xaa; HEADER_BYTES_MAX];
            let length = write_header(Opcode::Text, payload_len, &mut bytes);
            assert_eq!(length, header_len(payload_len));
            let mut cursor = Cursor::new(&bytes[..length]);
            let (header, claimed) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
            assert_eq!((claimed, cursor.position()), (payload_len as u64, length as u64));
            assert!(header.is_final && header.mask.is_none());
            assert_eq!(u8::from(header.opcode), Opcode::Text as u8);
        }
    }

    #[test]
    fn frames_have_their_exact_bytes() {
        fn check(push: impl FnOnce(&mut Vec<u8>), expected: &[u8]) {
            let mut out = vec![0xff];
            push(&mut out);
            assert_eq!(out[1..], *expected);
        }
        check(|out| push_text(out, "hi"), b"\x81\x02hi");
        check(|out| push_binary(out, b"\x00"), b"\x82\x01\x00");
        check(|out| push_ping(out, b""), b"\x89\x00");
        check(|out| push_pong(out, b"p"), b"\x8a\x01p");
        check(|out| push_close(out, close::GOING_AWAY, "e-7"), b"\x88\x05\x03\xe9e-7");
        check(|out| push_ping(out, &[7; 126]), &[&b"\x89\x7d"[..], &[7; 125]].concat());
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        push_close(&mut out, close::NORMAL, &"ü".repeat(100));
        assert_eq!(out[1], 2 + 122);
        assert_eq!(str::from_utf8(&out[4..]).unwrap(), "ü".repeat(61));
    }
}
