//! Finds the end of a request head, however slowly it arrives.
//!
//! # Contract       `scan` is called with all bytes of the head so far; it looks at each byte once
//! # Invariants     `line_start ≤ scanned ≤ head_bytes_max`, and no byte before `scanned` ends an unseen line
//! # Bounds         12 bytes per connection; the verdict on a dripped head costs no more than on a whole one

use memchr::memchr2;

use super::{
    error::HttpError,
    head::{RequestHead, parse_complete},
};

/// Bounds on a request head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Longest request line in bytes, without its line end; beyond it 414.
    pub line_bytes_max: usize,
    /// Longest head in bytes, with the empty line; beyond it 431. More than 65,535 means 65,535.
    pub head_bytes_max: usize,
    /// Most header fields; beyond it 431. More than 64 means 64.
    pub headers_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { line_bytes_max: 4096, head_bytes_max: 8192, headers_max: HEADERS_CAPACITY }
    }
}

/// Remembers how far a head has been looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadScanner {
    /// Bytes that need no second look.
    scanned: u32,
    /// Where the line that is not complete yet begins.
    line_start: u32,
    /// Complete lines with something in them: 0, or 1 + header fields.
    lines: u16,
    /// Whether the one empty line that may precede a request has been seen.
    blank_seen: bool,
}

impl HeadScanner {
    /// A scanner at the first byte of a request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the last request; the next `scan` begins at a first byte again.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Looks at what was added since the last call and answers the length of the head once it is complete.
    ///
    /// `bytes` begins with the request and holds everything received of it; it may hold more than the head.
    ///
    /// # Errors
    /// 400 for a line end other than CR LF, 414 and 431 for the limits. The first violation in byte order counts.
    pub fn scan(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HttpError> {
        // A TLS greeting or plain noise would otherwise hold the connection until its deadline.
        if let Some(&first) = bytes.first()
            && !(first.is_ascii_graphic() || first == b'\r')
        {
            return Err(NOT_HTTP);
        }
        let bytes_max = limits.head_bytes_max.min(HEAD_BYTES_CEILING);
        let window = &bytes[..bytes.len().min(bytes_max)];
        loop {
            let scanned = self.scanned as usize;
            let line_end = memchr2(b'\r', b'\n', &window[scanned..]).map(|found| scanned + found);
            let looked = line_end.unwrap_or(window.len());
            self.scanned = looked as u32;
            if self.lines == 0 && limits.line_bytes_max < looked - self.line_start as usize {
                return Err(LINE_TOO_LONG);
            }
            let followed_by = line_end.and_then(|end| window.get(end + 1));
            match (line_end.map(|end| window[end]), followed_by) {
                (Some(b'\n'), _) => return Err(BARE_LINE_FEED),
                (Some(_), Some(b'\n')) => {
                    if self.end_line(looked, limits)? {
                        return Ok(Some(looked + 2));
                    }
                }
                (Some(_), Some(_)) => return Err(BARE_CARRIAGE_RETURN),
                _ if window.len() == bytes_max => return Err(HEAD_TOO_LARGE),
                _ => return Ok(None),
            }
        }
    }

    /// [`scan`](Self::scan), and the parsed head with its length once it is complete.
    ///
    /// # Errors
    /// Those of `scan`, and everything [`parse_head`](super::parse_head) refuses.
    pub fn parse<'a>(
        &mut self,
        bytes: &'a [u8],
        limits: &HeadLimits,
    ) -> Result<Option<(RequestHead<'a>, usize)>, HttpError> {
        match self.scan(bytes, limits)? {
            Some(length) => Ok(Some((parse_complete(&bytes[..length])?, length))),
            None => Ok(None),
        }
    }

    /// Takes a line that ends at `end`; true if it is the empty one that ends the head.
    fn end_line(&mut self, end: usize, limits: &HeadLimits) -> Result<bool, HttpError> {
        let is_empty = end == self.line_start as usize;
        self.line_start = end as u32 + 2;
        self.scanned = self.line_start;
        match (is_empty, self.lines) {
            (true, 0) if self.blank_seen => Err(NO_REQUEST_LINE),
            (true, 0) => {
                self.blank_seen = true;
                Ok(false)
            }
            (true, _) => Ok(true),
            (false, fields_after) if limits.headers_max.min(HEADERS_CAPACITY) < fields_after as usize => {
                Err(TOO_MANY_HEADERS)
            }
            (false, _) => {
                self.lines += 1;
                Ok(false)
            }
        }
    }
}

/// Header fields a parsed head has room for; sized to live on the stack.
pub(super) const HEADERS_CAPACITY: usize = 64;

/// Positions inside a head are kept in 16 bits.
const HEAD_BYTES_CEILING: usize = u16::MAX as usize;

const NOT_HTTP: HttpError =
    HttpError::bad_request("not_http", "The first byte does not begin an HTTP request.");
const NO_REQUEST_LINE: HttpError =
    HttpError::bad_request("no_request_line", "More than one empty line precedes the request line.");
const BARE_LINE_FEED: HttpError =
    HttpError::bad_request("bad_line_end", "A line of the head ends in LF without CR before it.");
const BARE_CARRIAGE_RETURN: HttpError =
    HttpError::bad_request("bad_line_end", "A CR in the head is not followed by LF.");
const LINE_TOO_LONG: HttpError =
    HttpError { status: 414, code: "uri_too_long", detail: "The request line is longer than allowed." };
const HEAD_TOO_LARGE: HttpError = HttpError {
    status: 431,
    code: "head_too_large",
    detail: "The request head has more bytes than allowed.",
};
const TOO_MANY_HEADERS: HttpError = HttpError {
    status: 431,
    code: "too_many_headers",
    detail: "The request has more header fields than allowed.",
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The length of the head, or the status of the refusal.
    type Outcome = Result<Option<usize>, u16>;

    fn check(limits: HeadLimits, bytes: &[u8], expected: Outcome) {
        let whole = HeadScanner::new().scan(bytes, &limits).map_err(|error| error.status);
        assert_eq!(whole, expected, "in one piece: {:?}", String::from_utf8_lossy(bytes));
        let mut scanner = HeadScanner::new();
        let mut dripped = Ok(None);
        for end in 0..=bytes.len() {
            dripped = scanner.scan(&bytes[..end], &limits).map_err(|error| error.status);
            if dripped != Ok(None) {
                break;
            }
        }
        assert_eq!(dripped, expected, "byte by byte: {:?}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn finds_the_end_and_keeps_the_limits_to_the_byte() {
        let small = HeadLimits { line_bytes_max: 14, head_bytes_max: 32, headers_max: 2 };
        let cases: [(&[u8], Outcome); 16] = [
            (b"", Ok(None)),
            (b"GET / HTTP/1.1\r\n", Ok(None)),
            (b"GET / HTTP/1.1\r\n\r", Ok(None)),
            (b"GET / HTTP/1.1\r\n\r\n", Ok(Some(18))),
            (b"GET / HTTP/1.1\r\n\r\nrest\n", Ok(Some(18))),
            (b"\r\nGET / HTTP/1.1\r\n\r\n", Ok(Some(20))),
            (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", Err(400)),
            (b"GET /a HTTP/1.1\r\n\r\n", Err(414)),
            (b"GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Err(414)),
            (b"GET / HTTP/1.1\n\n", Err(400)),
            (b"GET / HTTP/1.1\r\n\n", Err(400)),
            (b"GET / HTTP/1.1\rX: y\r\n\r\n", Err(400)),
            (b"GET / HTTP/1.1\r\nA: b\r\nC: d\r\n\r\n", Ok(Some(30))),
            (b"GET / HTTP/1.1\r\nA:\r\nB:\r\nC:\r\n\r\n", Err(431)),
            (b"GET / HTTP/1.1\r\nAaaaaaaaaaaaaaaaaaaaaa: b\r\n\r\n", Err(431)),
            (b"\x16\x03\x01\x02", Err(400)),
        ];
        for (bytes, expected) in cases {
            check(small, bytes, expected);
        }
        check(HeadLimits { head_bytes_max: 18, ..small }, b"GET / HTTP/1.1\r\n\r\n", Ok(Some(18)));
        check(HeadLimits { head_bytes_max: 17, ..small }, b"GET / HTTP/1.1\r\n\r\n", Err(431));
    }

    #[test]
    fn a_scanner_is_small_and_starts_again_after_reset() {
        assert!(size_of::<HeadScanner>() <= 12);
        let limits = HeadLimits::default();
        let mut scanner = HeadScanner::new();
        assert_eq!(scanner.scan(b"GET / HTTP/1.1\r\n\r\n", &limits), Ok(Some(18)));
        scanner.reset();
        assert_eq!(scanner.scan(b"GET /a HTTP/1.1\r\n\r\n", &limits), Ok(Some(19)));
    }

    #[test]
    fn a_megabyte_dripped_is_refused_at_the_limit() {
        let limits = HeadLimits::default();
        let mut bytes = b"GET / HTTP/1.1\r\nX: ".to_vec();
        bytes.resize(1 << 20, b'a');
        let mut scanner = HeadScanner::new();
        let refused_at = (0..bytes.len()).find(|&end| scanner.scan(&bytes[..end], &limits).is_err());
        assert_eq!(refused_at, Some(8192));
    }
}
