//! The body of an event, which says when the event was due, and how that is found again in what a server delivers.
//!
//! # Contract       a body is letters, digits and `-` only, so that no server has to escape it: `due-`, sixteen hexadecimal
//!                  digits of nanoseconds of the monotonic clock, padding
//! # Why not …      parsing what is delivered: where the stamp lies is looked for once, and then only checked

use memchr::memmem;

/// Appends a body of `bytes` bytes, or of [`BODY_BYTES_MIN`] if that is more, that is due at 0.
pub(crate) fn write_body(bytes: usize, out: &mut Vec<u8>) {
    let end = out.len() + bytes;
    out.extend_from_slice(MARKER);
    out.extend_from_slice(&[b'0'; DIGITS]);
    while out.len() < end {
        let piece = PAD_TEXT.len().min(end - out.len());
        out.extend_from_slice(&PAD_TEXT[..piece]);
    }
}

/// Writes the time `due_ns` into the body that starts at `bytes[0]`.
pub(crate) fn set_due(bytes: &mut [u8], due_ns: u64) {
    for (place, digit) in bytes[MARKER.len()..MARKER.len() + DIGITS].iter_mut().enumerate() {
        *digit = HEXADECIMAL[(due_ns >> (4 * (DIGITS - 1 - place)) & 0xf) as usize];
    }
}

/// Writes `number` in as many decimal digits as `bytes` has.
pub(crate) fn set_number(bytes: &mut [u8], mut number: u64) {
    for digit in bytes.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Finds stamps in messages that mostly have them at the same place.
#[derive(Debug)]
pub(crate) struct Finder {
    /// Where the last one was.
    offset: usize,
    search: memmem::Finder<'static>,
}

impl Finder {
    /// Knows nothing yet.
    pub(crate) fn new() -> Finder {
        Finder { offset: 0, search: memmem::Finder::new(MARKER) }
    }

    /// Where in `message` the stamp is; `None` if it has none, so that it is no event.
    pub(crate) fn find(&mut self, message: &[u8]) -> Option<usize> {
        let at = self.offset;
        if message.get(at..at + MARKER.len()) == Some(MARKER) && at + STAMP_BYTES <= message.len() {
            return Some(at);
        }
        let at = self.search.find(message).filter(|at| at + STAMP_BYTES <= message.len())?;
        self.offset = at;
        Some(at)
    }
}

/// When the event was due whose stamp is at `at`, as [`Finder::find`] told; `None` if these are no digits.
pub(crate) fn due_ns(message: &[u8], at: usize) -> Option<u64> {
    let digits = message.get(at + MARKER.len()..at + STAMP_BYTES)?;
    digits.iter().try_fold(0, |due_ns: u64, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(due_ns << 4 | u64::from(value))
    })
}

const MARKER: &[u8] = b"due-";
const DIGITS: usize = 16;
const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";
const STAMP_BYTES: usize = MARKER.len() + DIGITS;
/// The shortest body: a stamp and no padding.
pub(crate) const BODY_BYTES_MIN: usize = STAMP_BYTES;
/// Does not contain the marker, nor what any server would escape.
const PAD_TEXT: &[u8] = b"-the-quick-brown-fox-jumps-over-the-lazy-dog-0123456789-times-it-came-back-and-sat";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_wherever_it_lies() {
        let mut finder = Finder::new();
        for (before, due) in
            [("", 0), ("{\"seq\":9,", 1), ("{\"seq\":10,", u64::MAX), ("", 0x0123_4567_89ab_cdef)]
        {
            let mut message = before.as_bytes().to_vec();
            write_body(64, &mut message);
            assert_eq!(message.len(), before.len() + 64);
            set_due(&mut message[before.len()..], due);
            message.extend_from_slice(b"\"}");
            let at = finder.find(&message).expect("a stamp");
            assert_eq!((at, due_ns(&message, at)), (before.len(), Some(due)));
        }
    }

    #[test]
    fn what_has_no_whole_stamp_is_no_event() {
        let mut finder = Finder::new();
        for message in ["", "{\"type\":\"gap\"}", "due-0123", "xxdue-0123456789abcde"] {
            assert_eq!(finder.find(message.as_bytes()), None, "{message}");
        }
        let at = finder.find(b"due-0123456789abcdeX").expect("a marker");
        assert_eq!(due_ns(b"due-0123456789abcdeX", at), None);
    }

    #[test]
    fn a_body_is_never_shorter_than_its_stamp_and_numbers_fill_their_place() {
        let mut body = Vec::new();
        write_body(3, &mut body);
        assert_eq!(body.len(), BODY_BYTES_MIN);
        let mut number = *b"xxxxx";
        set_number(&mut number, 42);
        assert_eq!(&number, b"00042");
    }
}
