//! A client's bytes, in one piece, byte by byte and in pieces of a size that the input chooses.

use std::ops::ControlFlow;

use fanfare::wire::websocket::{Decoder, WebSocketLimits, close};

const LIMITS: WebSocketLimits = WebSocketLimits { message_bytes_max: 300, fragments_max: 6 };

/// Runs one input.
pub(crate) fn run(bytes: &[u8]) {
    let Some((&cut_every, wire)) = bytes.split_first() else { return };
    let whole = decode(wire, wire.len().max(1), false);
    assert_eq!(decode(wire, 1, false), whole, "byte by byte");
    assert_eq!(decode(wire, usize::from(cut_every).max(1), false), whole, "in pieces of {cut_every}");
    assert_eq!(
        decode(wire, usize::from(cut_every).max(1), true),
        whole,
        "with a callback that always breaks"
    );
}

/// Messages as text, and the close code of the violation after them.
fn decode(wire: &[u8], piece: usize, breaks: bool) -> (Vec<String>, Option<u16>) {
    let mut decoder = Decoder::new(LIMITS);
    let mut messages = Vec::new();
    let mut violation = None;
    for piece in wire.chunks(piece) {
        let mut input = piece.to_vec();
        let mut taken = 0;
        while taken < input.len() {
            let messages_before = messages.len();
            let outcome = decoder.decode(&mut input[taken..], &mut |message| {
                messages.push(format!("{message:?}"));
                if breaks { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            match outcome {
                Ok(count) => {
                    assert!(breaks && messages_before < messages.len() || taken + count == input.len());
                    taken += count;
                }
                Err(error) => {
                    assert_eq!(violation.replace(error.close_code), None, "one violation, then silence");
                    assert!(close::may_be_sent(error.close_code) && error.reason.len() <= 123);
                    break;
                }
            }
        }
        assert!(decoder.buffered_bytes() <= 2 * LIMITS.message_bytes_max);
        assert!(decoder.is_mid_message() || decoder.buffered_bytes() == 0);
    }
    (messages, violation)
}
