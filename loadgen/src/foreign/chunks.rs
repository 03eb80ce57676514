//! Takes apart the chunks of an answer's body, of which events may be cut anywhere.
//!
//! # Bounds         a chunk's size line is at most 256 bytes; what it holds is handed on as it comes

/// Where in the chunks a reader stands.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    /// Bytes that are still to come of the chunk.
    left: usize,
    /// Whether the line end behind a chunk is to come.
    is_behind: bool,
    /// Whether the last chunk has come.
    is_over: bool,
}

impl Chunks {
    /// Whether the last chunk has come, and nothing follows.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Appends to `out` what the chunks in `input` hold, and returns how much of `input` is used up: all of it behind the last
    /// chunk.
    ///
    /// # Errors
    /// These are no chunks.
    pub(crate) fn take(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, &'static str> {
        let mut at = 0;
        loop {
            if self.is_over {
                return Ok(input.len());
            }
            if 0 < self.left {
                let count = self.left.min(input.len() - at);
                out.extend_from_slice(&input[at..at + count]);
                self.left -= count;
                at += count;
                self.is_behind = self.left == 0;
                if 0 < self.left {
                    return Ok(at);
                }
            }
            let rest = &input[at..];
            let Some(end) = memchr::memchr(b'\n', rest) else {
                return if LINE_BYTES_MAX < rest.len() { Err(NO_CHUNK) } else { Ok(at) };
            };
            let line = rest[..end].trim_ascii();
            at += end + 1;
            if std::mem::take(&mut self.is_behind) {
                if !line.is_empty() {
                    return Err(NO_CHUNK);
                }
                continue;
            }
            let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            let size = str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
            match size {
                Some(0) => self.is_over = true,
                Some(size) => self.left = size as usize,
                None => return Err(NO_CHUNK),
            }
        }
    }
}

const LINE_BYTES_MAX: usize = 256;
const NO_CHUNK: &str = "the server says it sends chunks, and this is none";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_taken_apart_wherever_a_reading_ends() {
        let input = b"3\r\nabc\r\nA;x=y\r\ndefghijklm\r\n1\r\nn\r\n";
        for cut in 0..=input.len() {
            let (mut chunks, mut out) = (Chunks::default(), Vec::new());
            let used = chunks.take(&input[..cut], &mut out).expect("chunks");
            let used = used + chunks.take(&input[used..], &mut out).expect("chunks");
            assert_eq!((used, &out[..]), (input.len(), &b"abcdefghijklmn"[..]), "cut at {cut}");
        }
    }

    #[test]
    fn the_last_chunk_ends_them_and_what_came_before_it_is_there() {
        let (mut chunks, mut out) = (Chunks::default(), Vec::new());
        assert_eq!(chunks.take(b"3\r\nabc\r\n0\r\n\r\n", &mut out), Ok(13));
        assert_eq!((chunks.is_over(), &out[..]), (true, &b"abc"[..]));
    }

    #[test]
    fn what_is_no_chunk_is_an_error() {
        for wrong in [&b"x\r\n"[..], b"1\r\nab\r\n", &[b'1'; 300]] {
            assert!(Chunks::default().take(wrong, &mut Vec::new()).is_err(), "{wrong:?}");
        }
    }
}
