//! The ways a client can break the protocol.

use super::close;

/// How a client broke the protocol: the close frame it is to be sent, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{close_code} {reason}")]
pub struct Violation {
    /// The close code, one of those in [`close`].
    pub close_code: u16,
    /// The reason, short enough for a close frame.
    pub reason: &'static str,
}

const fn protocol_error(reason: &'static str) -> Violation {
    Violation { close_code: close::PROTOCOL_ERROR, reason }
}

pub(super) const UNMASKED: Violation = protocol_error("a client's frame must be masked");
pub(super) const RESERVED_BITS: Violation =
    protocol_error("a reserved bit is set and no extension was agreed on");
pub(super) const RESERVED_OPCODE: Violation = protocol_error("the opcode is reserved");
pub(super) const CONTROL_FRAGMENTED: Violation = protocol_error("a control frame must not be fragmented");
pub(super) const CONTROL_TOO_LONG: Violation = protocol_error("a control frame holds at most 125 bytes");
pub(super) const STRAY_CONTINUATION: Violation =
    protocol_error("a continuation without a message to continue");
pub(super) const MESSAGE_UNFINISHED: Violation = protocol_error("a new message inside an unfinished one");
pub(super) const LENGTH_BAD: Violation =
    protocol_error("the length is not in its shortest form, or negative");
pub(super) const CLOSE_SHORT: Violation = protocol_error("a close frame of one byte");
pub(super) const CLOSE_CODE_BAD: Violation = protocol_error("the close code must not be sent");
pub(super) const NOT_TEXT: Violation =
    Violation { close_code: close::INVALID_TEXT, reason: "the text is not UTF-8" };
pub(super) const TOO_BIG: Violation =
    Violation { close_code: close::MESSAGE_TOO_BIG, reason: "the message is larger than allowed" };
pub(super) const TOO_MANY_FRAGMENTS: Violation =
    Violation { close_code: close::POLICY_VIOLATION, reason: "the message has more fragments than allowed" };
pub(super) const TOO_MANY_FRAMES: Violation =
    Violation { close_code: close::POLICY_VIOLATION, reason: "more frames in a second than allowed" };
