//! Request bodies: by length or in chunks.
//!
//! # Contract       `decode` takes what arrived, appends the body's own bytes, and says where the next request begins
//! # Invariants     `taken ≤ body_bytes_max`; a size over the limit is refused before one byte of it is stored
//! # Bounds         32 bytes; the caller's buffer grows only by bytes that really arrived
//! # Why not …      chunk extensions and trailers: nobody here reads them, and every server skips them differently

use super::{error::HttpError, framing::BodyKind};

/// Takes a body out of its framing.
#[derive(Debug, Clone)]
pub struct BodyDecoder {
    state: State,
    /// Body bytes announced so far: the declared length, or the sum of the chunk sizes.
    taken: u64,
    body_bytes_max: u64,
}

/// How far one call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that belong to this body and are done with; all of them unless `done`.
    pub consumed: usize,
    /// Whether the body is complete; what follows `consumed` is the next request.
    pub done: bool,
}

impl BodyDecoder {
    /// A decoder before the first byte after the head.
    ///
    /// A declared length over `body_bytes_max` is refused by the first `decode`, also if that has no bytes yet: call
    /// it once before asking the peer to continue.
    pub fn new(kind: BodyKind, body_bytes_max: usize) -> Self {
        let state = match kind {
            BodyKind::None | BodyKind::Length(0) => State::Done,
            BodyKind::Length(remaining) => State::Plain { remaining },
            BodyKind::Chunked => State::Size { value: 0, digits: 0 },
        };
        let taken = if let BodyKind::Length(length) = kind { length } else { 0 };
        Self { state, taken, body_bytes_max: body_bytes_max as u64 }
    }

    /// Takes `input` and appends the body's bytes in it to `body`. Poll nothing afterwards: `Progress` says all.
    ///
    /// To read a body and throw it away, clear `body` between the calls: the limit holds all the same.
    ///
    /// # Errors
    /// 400 for malformed chunks, 413 as soon as the body is known to exceed the limit. The decoder is then of no use.
    pub fn decode(&mut self, input: &[u8], body: &mut Vec<u8>) -> Result<Progress, HttpError> {
        self.check_limit()?;
        let mut rest = input;
        while !matches!(self.state, State::Done) && !rest.is_empty() {
            rest = self.step(rest, body)?;
        }
        Ok(Progress { consumed: input.len() - rest.len(), done: matches!(self.state, State::Done) })
    }

    /// Takes at least one byte of `input`, which has one, and answers the rest.
    fn step<'a>(&mut self, input: &'a [u8], body: &mut Vec<u8>) -> Result<&'a [u8], HttpError> {
        if let State::Plain { remaining } | State::Data { remaining } = &mut self.state {
            let count = input.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
            body.extend_from_slice(&input[..count]);
            *remaining -= count as u64;
            match self.state {
                State::Plain { remaining: 0 } => self.state = State::Done,
                State::Data { remaining: 0 } => self.state = State::DataCarriageReturn,
                _ => {}
            }
            return Ok(&input[count..]);
        }
        self.state = match (&self.state, input[0]) {
            (&State::Size { value, digits }, byte) => self.size_byte(value, digits, byte)?,
            (State::SizeLineFeed { size: 0 }, b'\n') => State::EndCarriageReturn,
            (&State::SizeLineFeed { size }, b'\n') => {
                self.taken = self.taken.saturating_add(size);
                self.check_limit()?;
                State::Data { remaining: size }
            }
            (State::DataCarriageReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::Size { value: 0, digits: 0 },
            (State::EndCarriageReturn, b'\r') => State::EndLineFeed,
            (State::EndLineFeed, b'\n') => State::Done,
            (State::EndCarriageReturn, _) => return Err(TRAILERS),
            _ => return Err(CHUNK_END_BAD),
        };
        Ok(&input[1..])
    }

    /// One byte of a chunk's size line, of which `value` and `digits` have been read.
    fn size_byte(&self, value: u64, digits: u8, byte: u8) -> Result<State, HttpError> {
        let Some(digit) = (byte as char).to_digit(16) else {
            return match byte {
                b'\r' if 0 < digits => Ok(State::SizeLineFeed { size: value }),
                _ => Err(CHUNK_SIZE_BAD),
            };
        };
        if digits == CHUNK_SIZE_DIGITS_MAX {
            return Err(CHUNK_SIZE_BAD);
        }
        Ok(State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 })
    }

    fn check_limit(&self) -> Result<(), HttpError> {
        if self.body_bytes_max < self.taken { Err(BODY_TOO_LARGE) } else { Ok(()) }
    }
}

/// What the next byte is.
#[derive(Debug, Clone)]
enum State {
    /// One of `remaining` bytes of a body with a declared length.
    Plain { remaining: u64 },
    /// A digit of a chunk's size or the CR after it.
    Size { value: u64, digits: u8 },
    /// The LF after a chunk's size.
    SizeLineFeed { size: u64 },
    /// One of `remaining` bytes of a chunk.
    Data { remaining: u64 },
    /// The CR after a chunk's data.
    DataCarriageReturn,
    /// The LF after a chunk's data.
    DataLineFeed,
    /// The CR of the empty line after the last chunk.
    EndCarriageReturn,
    /// The LF of the empty line after the last chunk.
    EndLineFeed,
    /// Not ours any more.
    Done,
}

/// Sixteen hexadecimal digits fill a u64 and cannot overflow it.
const CHUNK_SIZE_DIGITS_MAX: u8 = 16;

const BODY_TOO_LARGE: HttpError =
    HttpError { status: 413, code: "body_too_large", detail: "The request body is larger than allowed." };
const CHUNK_SIZE_BAD: HttpError = HttpError::bad_request(
    "bad_chunk",
    "A chunk must begin with 1 to 16 hexadecimal digits and CR LF; extensions are not taken.",
);
const CHUNK_END_BAD: HttpError =
    HttpError::bad_request("bad_chunk", "A chunk and its size must each end in CR LF.");
const TRAILERS: HttpError = HttpError::bad_request("bad_chunk", "Trailer fields are not taken.");

#[cfg(test)]
mod tests {
    use super::*;

    /// The body and how many bytes follow it, `None` while it is incomplete; or the status of the refusal.
    type Outcome<B> = Result<(B, Option<usize>), u16>;

    fn decode(kind: BodyKind, max: usize, pieces: &[&[u8]]) -> Outcome<Vec<u8>> {
        let mut decoder = BodyDecoder::new(kind, max);
        let mut body = Vec::new();
        let total: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut consumed = 0;
        decoder.decode(b"", &mut body).map_err(|error| error.status)?;
        for piece in pieces {
            let progress = decoder.decode(piece, &mut body).map_err(|error| error.status)?;
            consumed += progress.consumed;
            if progress.done {
                return Ok((body, Some(total - consumed)));
            }
            assert_eq!(progress.consumed, piece.len(), "an unfinished body takes all it is given");
        }
        let done = decoder.decode(b"", &mut body).map_err(|error| error.status)?.done;
        Ok((body, done.then_some(total - consumed)))
    }

    fn check(kind: BodyKind, max: usize, input: &[u8], expected: Outcome<&[u8]>) {
        let expected = expected.map(|(body, rest)| (body.to_vec(), rest));
        let text = String::from_utf8_lossy(input);
        assert_eq!(decode(kind, max, &[input]), expected, "in one piece: {text:?}");
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(decode(kind, max, &bytes), expected, "byte by byte: {text:?}");
    }

    #[test]
    fn a_length_is_taken_to_the_byte() {
        check(BodyKind::None, 0, b"next", Ok((b"", Some(4))));
        check(BodyKind::Length(0), 0, b"next", Ok((b"", Some(4))));
        check(BodyKind::Length(5), 5, b"hello", Ok((b"hello", Some(0))));
        check(BodyKind::Length(5), 5, b"helloGET", Ok((b"hello", Some(3))));
        check(BodyKind::Length(5), 5, b"hell", Ok((b"hell", None)));
        check(BodyKind::Length(6), 5, b"", Err(413));
        check(BodyKind::Length(1_000_000_000_000), 1 << 20, b"x", Err(413));
    }

    #[test]
    fn chunks_are_taken_strictly() {
        let cases: [(&[u8], Outcome<&[u8]>); 26] = [
            (b"0\r\n\r\n", Ok((b"", Some(0)))),
            (b"0\r\n\r\nGET", Ok((b"", Some(3)))),
            (b"5\r\nhello\r\n0\r\n\r\n", Ok((b"hello", Some(0)))),
            (b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", Ok((b"hello", Some(0)))),
            (b"A\r\n0123456789\r\n0\r\n\r\n", Ok((b"0123456789", Some(0)))),
            (b"0000000000000001\r\nx\r\n0\r\n\r\n", Ok((b"x", Some(0)))),
            (b"5\r\nhel", Ok((b"hel", None))),
            (b"5\r\nhello\r\n0\r\n\r", Ok((b"hello", None))),
            (b"00000000000000001\r\nx\r\n0\r\n\r\n", Err(400)),
            (b"\r\n", Err(400)),
            (b" 5\r\nhello\r\n", Err(400)),
            (b"5 \r\nhello\r\n", Err(400)),
            (b"+5\r\nhello\r\n", Err(400)),
            (b"-5\r\nhello\r\n", Err(400)),
            (b"0x5\r\nhello\r\n", Err(400)),
            (b"5;name=value\r\nhello\r\n", Err(400)),
            (b"5\nhello\r\n", Err(400)),
            (b"5\r\rhello\r\n", Err(400)),
            (b"3\r\nabcXX", Err(400)),
            (b"3\r\nabc\n0\r\n\r\n", Err(400)),
            (b"3\r\nabc\r0\r\n\r\n", Err(400)),
            (b"0\r\nTrailer: x\r\n\r\n", Err(400)),
            (b"0\r\n\n", Err(400)),
            (b"11\r\n01234567890123456\r\n", Err(413)),
            (b"F\r\n012345678901234\r\n2\r\n", Err(413)),
            (b"FFFFFFFFFFFFFFFF\r\n", Err(413)),
        ];
        for (input, expected) in cases {
            check(BodyKind::Chunked, 16, input, expected);
        }
    }

    #[test]
    fn the_sum_of_chunks_does_not_wrap_around() {
        check(BodyKind::Chunked, usize::MAX, b"1\r\nx\r\nFFFFFFFFFFFFFFFF\r\ny", Ok((b"xy", None)));
        check(BodyKind::Chunked, 8, b"8\r\n01234567\r\nFFFFFFFFFFFFFFFF\r\ny", Err(413));
    }

    #[test]
    fn a_refused_size_stores_nothing() {
        let mut body = Vec::new();
        let mut decoder = BodyDecoder::new(BodyKind::Chunked, 4);
        assert_eq!(decoder.decode(b"5\r\nhello", &mut body).map_err(|error| error.status), Err(413));
        assert_eq!(body.capacity(), 0);
        assert!(size_of::<BodyDecoder>() <= 32);
    }
}
