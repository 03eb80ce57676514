//! The header of a client's frame.
//!
//! # Contract       what is read may stand here: every rule that a header alone can break has been checked
//! # Invariants     each check is made as soon as the field it looks at has come, in the order of the bytes
//! Neither the split of the input nor what follows changes the verdict.
//! # Why not …      the library's parser
//! It refuses a reserved opcode only after the whole header, cannot tell a length that is longer than needed, and
//! formats every header for its trace log.

use super::{
    encoder::{CONTROL_BYTES_MAX, FINAL, LENGTH_IN_2_BYTES, LENGTH_IN_8_BYTES},
    violation::{
        CONTROL_FRAGMENTED, CONTROL_TOO_LONG, LENGTH_BAD, MESSAGE_UNFINISHED, RESERVED_BITS, RESERVED_OPCODE,
        STRAY_CONTINUATION, TOO_BIG, TOO_MANY_FRAGMENTS, TOO_MANY_FRAMES, UNMASKED, Violation,
    },
};

/// A header that has passed every check.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) opcode: Opcode,
    pub(super) is_final: bool,
    pub(super) mask: [u8; 4],
    /// Bytes of the payload.
    pub(super) length: u32,
}

/// What the state of the connection allows the next header to say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// Whether a message has begun and not ended.
    pub(super) is_inside_message: bool,
    /// Frames that the message may still have.
    pub(super) fragments_left: u32,
    /// Data frames that may still come, of whichever message.
    pub(super) frames_left: u32,
    /// Bytes that the message may still have.
    pub(super) bytes_left: u32,
}

/// Reads a header from its first bytes, `None` if they are too few. The checks stand in the order of the bytes.
pub(super) fn read_header(bytes: &[u8], expected: Expected) -> Result<Option<(Frame, usize)>, Violation> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let opcode = check_first(first, expected)?;
    let Some(&second) = bytes.get(1) else { return Ok(None) };
    if second & MASKED == 0 {
        return Err(UNMASKED);
    }
    let short_length = second & !MASKED;
    if opcode.is_control() && CONTROL_BYTES_MAX < short_length as usize {
        return Err(CONTROL_TOO_LONG);
    }
    let (length, mask_start) = match short_length {
        LENGTH_IN_2_BYTES => match bytes.get(2..4) {
            Some(&[high, low]) => (u64::from(u16::from_be_bytes([high, low])), 4),
            _ => return Ok(None),
        },
        LENGTH_IN_8_BYTES => match bytes.get(2..10).and_then(|length| length.as_array::<8>()) {
            Some(length) => (u64::from_be_bytes(*length), 10),
            None => return Ok(None),
        },
        _ => (u64::from(short_length), 2),
    };
    let shortest_for = match mask_start {
        2 => 0,
        4 => LENGTH_IN_2_BYTES as u64,
        _ => 1 << 16,
    };
    if length < shortest_for || length >> 63 != 0 {
        return Err(LENGTH_BAD);
    }
    // A claimed length is compared and never allocated.
    if !opcode.is_control() && u64::from(expected.bytes_left) < length {
        return Err(TOO_BIG);
    }
    let Some(&mask) = bytes.get(mask_start..mask_start + 4).and_then(|mask| mask.as_array::<4>()) else {
        return Ok(None);
    };
    let frame = Frame { opcode, is_final: first & FINAL != 0, mask, length: length as u32 };
    Ok(Some((frame, mask_start + 4)))
}

/// Checks all that the first byte of a frame decides.
fn check_first(first: u8, expected: Expected) -> Result<Opcode, Violation> {
    if first & RESERVED != 0 {
        return Err(RESERVED_BITS);
    }
    let opcode = Opcode::from_bits(first & OPCODE).ok_or(RESERVED_OPCODE)?;
    match (opcode, expected.is_inside_message) {
        (Opcode::Continuation, false) => return Err(STRAY_CONTINUATION),
        (Opcode::Text | Opcode::Binary, true) => return Err(MESSAGE_UNFINISHED),
        (Opcode::Close | Opcode::Ping | Opcode::Pong, _) if first & FINAL == 0 => {
            return Err(CONTROL_FRAGMENTED);
        }
        _ => {}
    }
    if !opcode.is_control() && expected.fragments_left == 0 {
        return Err(TOO_MANY_FRAGMENTS);
    }
    if !opcode.is_control() && expected.frames_left == 0 {
        return Err(TOO_MANY_FRAMES);
    }
    Ok(opcode)
}

/// What a frame is, as far as clients may send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The longest header of a client's frame: 2 bytes, 8 of length, 4 of mask.
pub(super) const HEADER_BYTES_MAX: usize = 14;

const OPCODE: u8 = 0x0f;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
