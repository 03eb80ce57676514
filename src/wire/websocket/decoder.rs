//! Reads what a WebSocket client sends.
//!
//! # Contract       `decode` takes the loop's read buffer and lends whole messages out of it
//! Only what is half read is kept, in a buffer that is given back as soon as nothing is.
//! # Invariants
//! - D1 `buffer` is the message so far (`message_len` bytes) and after it what came of the current frame
//! - D2 how the input was split changes neither the messages nor the violation
//! - D3 after a close frame or a violation every further byte is ignored
//!
//! # Bounds         at most `message_bytes_max` + 125 bytes are held
//! Their buffer grows by doubling with what arrived and never by what a header claims; an idle connection owns no heap.

use std::ops::ControlFlow;

use super::{
    close,
    header::{Expected, Frame, HEADER_BYTES_MAX, Opcode, read_header},
    mask,
    violation::{CLOSE_CODE_BAD, CLOSE_SHORT, NOT_TEXT, Violation},
};

/// The inbound half of one WebSocket connection.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    phase: Phase,
    /// Bytes of the complete frames of an unfinished message, at the start of `buffer`.
    message_len: u32,
    /// How much of `buffer` is known to be UTF-8; counts for text messages only.
    validated: u32,
    message_bytes_max: u32,
    /// Data frames that may still come.
    frames_left: u32,
    fragments_max: u32,
    /// Frames of the unfinished message so far.
    fragments: u32,
    /// What the unfinished message is; `None` between messages.
    kind: Option<Kind>,
}

/// Bounds on what a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebSocketLimits {
    /// Longest message in bytes, over all its frames; beyond it 1009. More than 2^31 means 2^31.
    pub message_bytes_max: usize,
    /// Most frames of one message, empty ones included; beyond it 1008. More than 2^32 means 2^32.
    pub fragments_max: usize,
}

impl Default for WebSocketLimits {
    fn default() -> Self {
        Self { message_bytes_max: 65_536, fragments_max: 64 }
    }
}

/// One complete message of a client, lent for the length of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// Wants a pong with this payload.
    Ping(&'a [u8]),
    /// Answers a ping.
    Pong(&'a [u8]),
    /// The last thing this peer says.
    Close {
        /// Why; absent if the frame was empty.
        code: Option<u16>,
        /// Why, in words; often empty.
        reason: &'a str,
    },
}

impl Decoder {
    /// A decoder before the first byte after the handshake.
    pub fn new(limits: WebSocketLimits) -> Self {
        Self {
            buffer: Vec::new(),
            phase: Phase::EMPTY,
            message_len: 0,
            validated: 0,
            message_bytes_max: limits.message_bytes_max.min(MESSAGE_BYTES_CEILING) as u32,
            fragments_max: limits.fragments_max.min(u32::MAX as usize) as u32,
            frames_left: u32::MAX,
            fragments: 0,
            kind: None,
        }
    }

    /// From now on so many data frames may come, whole messages or parts of one; beyond it 1008. `u32::MAX`, and nothing
    /// said: any number.
    pub fn allow_frames(&mut self, frames: u32) {
        self.frames_left = frames;
    }

    /// Data frames that may still come: fewer by those that have come since it was said how many.
    #[must_use]
    pub fn frames_left(&self) -> u32 {
        self.frames_left
    }

    /// Takes `input`, whose payloads are unmasked in place, and gives every complete message to `on`.
    ///
    /// Answers how many bytes were taken: all of them, unless `on` broke; then those up to the end of its message,
    /// and the rest is as it was. Nothing needs to be polled afterwards.
    ///
    /// # Errors
    /// The first [`Violation`], after all messages before it. Later input is then ignored.
    pub fn decode(
        &mut self,
        input: &mut [u8],
        on: &mut dyn FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Violation> {
        let mut position = 0;
        while position < input.len() {
            match self.step(&mut input[position..], on) {
                Ok((taken, ControlFlow::Continue(()))) => position += taken,
                Ok((taken, ControlFlow::Break(()))) => return Ok(position + taken),
                Err(violation) => {
                    self.end();
                    return Err(violation);
                }
            }
        }
        Ok(position)
    }

    /// Whether a frame or a message is half read: the deadline for its assembly runs.
    pub fn is_mid_message(&self) -> bool {
        self.kind.is_some() || !matches!(self.phase, Phase::Header { len: 0, .. } | Phase::Ended)
    }

    /// Heap bytes held for what is half read.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// Takes one header with what there is of its payload, or the next piece of a payload.
    fn step(&mut self, input: &mut [u8], on: &mut dyn FnMut(Message<'_>) -> ControlFlow<()>) -> Step {
        match self.phase {
            Phase::Ended => Ok((input.len(), ControlFlow::Continue(()))),
            Phase::Payload { frame, remaining } => self.take_payload(frame, remaining, input, on),
            Phase::Header { mut bytes, len: held } => {
                let held = held as usize;
                let count = input.len().min(HEADER_BYTES_MAX - held);
                // Nearly every header is read where it lies.
                let header = if held == 0 {
                    read_header(&input[..count], self.expected())?
                } else {
                    bytes[held..held + count].copy_from_slice(&input[..count]);
                    read_header(&bytes[..held + count], self.expected())?
                };
                let Some((frame, header_len)) = header else {
                    bytes[held..held + count].copy_from_slice(&input[..count]);
                    self.phase = Phase::Header { bytes, len: (held + count) as u8 };
                    return Ok((count, ControlFlow::Continue(())));
                };
                let taken = header_len - held;
                self.begin(frame);
                let (payload_taken, flow) =
                    self.take_payload(frame, frame.length, &mut input[taken..], on)?;
                Ok((taken + payload_taken, flow))
            }
        }
    }

    /// What the next header may say.
    fn expected(&self) -> Expected {
        Expected {
            is_inside_message: self.kind.is_some(),
            fragments_left: self.fragments_max - self.fragments,
            frames_left: self.frames_left,
            bytes_left: self.message_bytes_max - self.message_len,
        }
    }

    /// Enters a frame whose header has passed every check.
    fn begin(&mut self, frame: Frame) {
        match frame.opcode {
            Opcode::Text => self.kind = Some(Kind::Text),
            Opcode::Binary => self.kind = Some(Kind::Binary),
            _ => {}
        }
        if !frame.opcode.is_control() {
            self.fragments += 1;
            if self.frames_left != u32::MAX {
                self.frames_left -= 1;
            }
        }
    }

    /// Takes what `input` has of a payload of which `remaining` bytes are outstanding.
    fn take_payload(
        &mut self,
        frame: Frame,
        remaining: u32,
        input: &mut [u8],
        on: &mut dyn FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Step {
        let count = input.len().min(remaining as usize);
        let payload = &mut input[..count];
        let next_mask = mask::apply(payload, frame.mask);
        let is_whole = count == frame.length as usize;
        if is_whole && frame.opcode.is_control() {
            self.phase = Phase::EMPTY;
            return Ok((count, self.give_control(frame.opcode, Payload::Lent(payload), on)?));
        }
        if is_whole && frame.is_final && self.fragments == 1 {
            self.phase = Phase::EMPTY;
            return Ok((count, self.give_message(Payload::Lent(payload), on)?));
        }

        self.buffer.extend_from_slice(payload);
        if !frame.opcode.is_control() {
            self.check_text_so_far()?;
        }
        let remaining = remaining - count as u32;
        if 0 < remaining {
            self.phase = Phase::Payload { frame: Frame { mask: next_mask, ..frame }, remaining };
            return Ok((count, ControlFlow::Continue(())));
        }
        self.phase = Phase::EMPTY;
        let flow = if frame.opcode.is_control() {
            self.give_control(frame.opcode, Payload::Kept, on)?
        } else if frame.is_final {
            self.give_message(Payload::Kept, on)?
        } else {
            self.message_len = self.buffer.len() as u32;
            ControlFlow::Continue(())
        };
        Ok((count, flow))
    }

    /// Fails as soon as no continuation could make the text valid: a peer must not be able to send on for minutes.
    fn check_text_so_far(&mut self) -> Result<(), Violation> {
        if self.kind == Some(Kind::Text) {
            self.validated += match str::from_utf8(&self.buffer[self.validated as usize..]) {
                Ok(text) => text.len() as u32,
                Err(error) if error.error_len().is_none() => error.valid_up_to() as u32,
                Err(_) => return Err(NOT_TEXT),
            };
        }
        Ok(())
    }

    /// Gives a finished message away and is between messages again.
    fn give_message(
        &mut self,
        payload: Payload<'_>,
        on: &mut dyn FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Violation> {
        let buffer = std::mem::take(&mut self.buffer);
        let kind = self.kind.take();
        self.message_len = 0;
        self.validated = 0;
        self.fragments = 0;
        let bytes = match payload {
            Payload::Lent(bytes) => bytes,
            Payload::Kept => &buffer,
        };
        match kind {
            Some(Kind::Text) => Ok(on(Message::Text(str::from_utf8(bytes).map_err(|_| NOT_TEXT)?))),
            _ => Ok(on(Message::Binary(bytes))),
        }
    }

    /// Gives a control frame away; an unfinished message around it stays.
    fn give_control(
        &mut self,
        opcode: Opcode,
        payload: Payload<'_>,
        on: &mut dyn FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Violation> {
        let kept;
        let bytes = match payload {
            Payload::Lent(bytes) => bytes,
            Payload::Kept => {
                kept = self.buffer.split_off(self.message_len as usize);
                &kept
            }
        };
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
        match opcode {
            Opcode::Ping => Ok(on(Message::Ping(bytes))),
            Opcode::Pong => Ok(on(Message::Pong(bytes))),
            _ => {
                let message = read_close(bytes)?;
                self.end();
                Ok(on(message))
            }
        }
    }

    /// Nothing more is taken from this peer.
    fn end(&mut self) {
        self.buffer = Vec::new();
        self.kind = None;
        self.phase = Phase::Ended;
    }
}

/// What the next byte is.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// A byte of a header of which the first `len` have come.
    Header { bytes: [u8; HEADER_BYTES_MAX], len: u8 },
    /// One of `remaining` bytes of a payload, under `frame.mask` as it stands now.
    Payload { frame: Frame, remaining: u32 },
    /// Of no interest.
    Ended,
}

impl Phase {
    const EMPTY: Self = Self::Header { bytes: [0; HEADER_BYTES_MAX], len: 0 };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

/// Where the payload of a finished frame or message is.
enum Payload<'a> {
    /// In the loop's read buffer.
    Lent(&'a [u8]),
    /// In our own.
    Kept,
}

/// Bytes taken, and whether the callback wants more.
type Step = Result<(usize, ControlFlow<()>), Violation>;

fn read_close(payload: &[u8]) -> Result<Message<'_>, Violation> {
    let Some((&code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(Message::Close { code: None, reason: "" })
        } else {
            Err(CLOSE_SHORT)
        };
    };
    let code = u16::from_be_bytes(code);
    if !close::may_be_sent(code) {
        return Err(CLOSE_CODE_BAD);
    }
    let reason = str::from_utf8(reason).map_err(|_| NOT_TEXT)?;
    Ok(Message::Close { code: Some(code), reason })
}

/// Lengths are kept in 32 bits.
const MESSAGE_BYTES_CEILING: usize = 1 << 31;

#[cfg(test)]
mod tests;
