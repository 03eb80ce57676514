//! Server-sent events as a client reads them: blocks of lines, lent where they lie.
//!
//! # Contract       the WHATWG rules for blocks and fields; a block may end its lines with LF, CRLF or CR
//! # Bounds         a block is at most 4 MiB

use std::borrow::Cow;

use memchr::memchr2;

/// One block: what stands between two empty lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Block<'a> {
    /// The last `id` field.
    pub(crate) id: Option<&'a [u8]>,
    /// The last `event` field.
    pub(crate) event: Option<&'a [u8]>,
    /// All `data` fields, joined by LF.
    pub(crate) data: Option<Cow<'a, [u8]>>,
    /// The last `retry` field.
    pub(crate) retry: Option<&'a [u8]>,
}

/// Reads the block at the start of `bytes`; `None` while it is incomplete. The number is its length with the
/// empty line.
///
/// # Errors
/// The block is longer than 4 MiB.
pub(crate) fn read_block(bytes: &[u8]) -> Result<Option<(Block<'_>, usize)>, &'static str> {
    let mut block = Block::default();
    let mut at = 0;
    while let Some((line, next)) = read_line(bytes, at) {
        at = next;
        if line.is_empty() {
            return Ok(Some((block, at)));
        }
        block.take_field(line);
    }
    if BLOCK_BYTES_MAX < bytes.len() { Err("a block is longer than 4 MiB") } else { Ok(None) }
}

impl<'a> Block<'a> {
    fn take_field(&mut self, line: &'a [u8]) {
        let (name, value) = match memchr::memchr(b':', line) {
            // A line that begins with a colon is a comment.
            Some(0) => return,
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"id" => self.id = Some(value),
            b"event" => self.event = Some(value),
            b"retry" => self.retry = Some(value),
            b"data" => match &mut self.data {
                None => self.data = Some(Cow::Borrowed(value)),
                Some(data) => {
                    data.to_mut().push(b'\n');
                    data.to_mut().extend_from_slice(value);
                }
            },
            _ => {}
        }
    }
}

/// The line that starts at `at` and the start of the next one; `None` while its end has not arrived.
fn read_line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let length = memchr2(b'\n', b'\r', rest)?;
    let ending = match (rest[length], rest.get(length + 1)) {
        (b'\n', _) => 1,
        (_, Some(b'\n')) => 2,
        (_, Some(_)) => 1,
        // A CR at the end of what has arrived may be half of a CRLF.
        (_, None) => return None,
    };
    Some((&rest[..length], at + length + ending))
}

const BLOCK_BYTES_MAX: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn block<'a>(id: Option<&'a str>, event: Option<&'a str>, data: Option<&'a str>) -> Block<'a> {
        Block {
            id: id.map(str::as_bytes),
            event: event.map(str::as_bytes),
            data: data.map(|data| Cow::Borrowed(data.as_bytes())),
            retry: None,
        }
    }

    #[test]
    fn blocks_are_read_whatever_ends_their_lines() {
        for ending in ["\n", "\r\n", "\r"] {
            let text =
                ["id: E-4", "event: tick", ": note", "data:  {}", "data: x", "", "id: E-5"].join(ending);
            let (got, length) = read_block(text.as_bytes()).expect("valid").expect("whole");
            assert_eq!(got, block(Some("E-4"), Some("tick"), Some(" {}\nx")), "{ending:?}");
            assert_eq!(&text[length..], "id: E-5");
        }
    }

    #[test]
    fn a_block_is_read_only_when_its_empty_line_has_come() {
        let text = b"id: E-4\nevent: tick\ndata: {\"a\":1}\n\n";
        for end in 0..text.len() {
            assert_eq!(read_block(&text[..end]), Ok(None), "at {end}");
        }
        let (got, length) = read_block(text).expect("valid").expect("whole");
        assert_eq!((got, length), (block(Some("E-4"), Some("tick"), Some("{\"a\":1}")), text.len()));
    }

    #[test]
    fn fields_follow_the_standard() {
        let check = |text: &str, expected: Block| {
            assert_eq!(read_block(text.as_bytes()).expect("valid").expect("whole").0, expected, "{text:?}");
        };
        check("\n", block(None, None, None));
        check(": heartbeat\n\n", block(None, None, None));
        check("id: E-9\n\n", block(Some("E-9"), None, None));
        check("id\n\n", block(Some(""), None, None));
        check("data\n\n", block(None, None, Some("")));
        check("data:a:b\n\n", block(None, None, Some("a:b")));
        check("unknown: x\ndata: y\n\n", block(None, None, Some("y")));
        check("id: 1\nid: 2\n\n", block(Some("2"), None, None));
    }

    #[test]
    fn a_block_without_end_is_refused_at_its_bound() {
        let text = vec![b'x'; BLOCK_BYTES_MAX + 1];
        assert!(read_block(&text).is_err());
        assert_eq!(read_block(&text[1..]), Ok(None));
    }
}
