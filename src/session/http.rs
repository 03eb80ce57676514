//! Requests off a connection, whole: head and body, however they were cut on the way.
//!
//! # Contract       [`HttpReader::read`] is given what has not been taken yet and says how much it took; a request that
//!   lies whole in the input is lent without a copy
//! # Bounds         a head that waits for its body, and the body so far: the limits of both

use crate::wire::http::{BodyDecoder, BodyKind, HeadLimits, HeadScanner, HttpError, KnownHead, RequestHead};
use crate::words::limits::Limits;

/// The reading side of an HTTP connection.
#[derive(Debug, Default)]
pub struct HttpReader {
    scanner: HeadScanner,
    /// A head whose body is still arriving.
    waiting: Option<Box<Waiting>>,
    /// Requests lent so far; wraps.
    requests: u32,
}

#[derive(Debug)]
struct Waiting {
    head: Vec<u8>,
    decoder: BodyDecoder,
    body: Vec<u8>,
    /// Whether the peer waits for `100 Continue`.
    wants_continue: bool,
}

/// What the receiver of a request wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The next request.
    Continue,
    /// Nothing for now; or, after an upgrade, nothing of this kind any more.
    Stop,
}

/// Where the reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Between requests.
    Idle,
    /// In a head.
    Head,
    /// In a body.
    Body,
}

impl HttpReader {
    /// Takes requests off `input` and lends each to `on`, until it stops or the rest is not whole. Returns how many
    /// bytes were taken; the rest is to be given again, with more behind it.
    ///
    /// `known` is the head that was read last, over this connection or another of the same limits.
    ///
    /// Ask [`HttpReader::wants_continue`] and [`HttpReader::standing`] afterwards.
    ///
    /// # Errors
    /// What to answer before closing.
    pub fn read(
        &mut self,
        input: &[u8],
        known: &mut KnownHead,
        limits: &Limits,
        on: &mut dyn FnMut(&RequestHead<'_>, &[u8]) -> Flow,
    ) -> Result<usize, HttpError> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            let (used, flow) = match self.waiting {
                Some(_) => self.read_body(rest, limits, on)?,
                None => self.read_head(rest, known, limits, on)?,
            };
            taken += used;
            if flow == Some(Flow::Stop) || (flow.is_none() && self.waiting.is_none()) || taken == input.len()
            {
                return Ok(taken);
            }
        }
    }

    /// Whether the peer holds its body back until it is told to go on; says so once.
    pub fn wants_continue(&mut self) -> bool {
        self.waiting.as_mut().is_some_and(|waiting| std::mem::take(&mut waiting.wants_continue))
    }

    /// How many requests were lent so far; wraps.
    #[must_use]
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// Where the reader stands, when `left` bytes of the input were not taken.
    #[must_use]
    pub fn standing(&self, left: usize) -> Standing {
        match &self.waiting {
            Some(_) => Standing::Body,
            None if left == 0 => Standing::Idle,
            None => Standing::Head,
        }
    }

    fn read_head(
        &mut self,
        input: &[u8],
        known: &mut KnownHead,
        limits: &Limits,
        on: &mut dyn FnMut(&RequestHead<'_>, &[u8]) -> Flow,
    ) -> Result<(usize, Option<Flow>), HttpError> {
        if input.is_empty() {
            return Ok((0, None));
        }
        // Of a head that has been looked at in part already there is no more to save.
        let is_fresh = self.scanner == HeadScanner::new();
        if is_fresh && let Some((head, head_len)) = known.recognise(input) {
            return self.begin_body(&head, head_len, input, limits, on);
        }
        let Some((head, head_len)) = self.scanner.parse(input, &head_limits(limits))? else {
            return Ok((0, None));
        };
        self.scanner.reset();
        known.learn(&head, head_len);
        self.begin_body(&head, head_len, input, limits, on)
    }

    /// Lends the request, if its body is there as well; else waits for that.
    fn begin_body(
        &mut self,
        head: &RequestHead<'_>,
        head_len: usize,
        input: &[u8],
        limits: &Limits,
        on: &mut dyn FnMut(&RequestHead<'_>, &[u8]) -> Flow,
    ) -> Result<(usize, Option<Flow>), HttpError> {
        let body_len = match head.body {
            BodyKind::None => Some(0),
            BodyKind::Length(length) => usize::try_from(length).ok(),
            BodyKind::Chunked => None,
        };
        let whole = body_len.and_then(|length| head_len.checked_add(length));
        if let Some(end) = whole.filter(|&end| end <= input.len() && end - head_len <= limits.body_bytes_max)
        {
            self.requests = self.requests.wrapping_add(1);
            let flow = on(head, &input[head_len..end]);
            return Ok((end, Some(flow)));
        }
        let mut decoder = BodyDecoder::new(head.body, limits.body_bytes_max);
        // A length over the limit is refused now, before anybody is told to go on.
        decoder.decode(&[], &mut Vec::new())?;
        let wants_continue = head.expects_continue;
        let head = input[..head_len].to_vec();
        self.waiting = Some(Box::new(Waiting { head, decoder, body: Vec::new(), wants_continue }));
        Ok((head_len, None))
    }

    fn read_body(
        &mut self,
        input: &[u8],
        limits: &Limits,
        on: &mut dyn FnMut(&RequestHead<'_>, &[u8]) -> Flow,
    ) -> Result<(usize, Option<Flow>), HttpError> {
        let Some(waiting) = &mut self.waiting else { return Ok((0, None)) };
        let progress = waiting.decoder.decode(input, &mut waiting.body)?;
        if !input.is_empty() {
            waiting.wants_continue = false;
        }
        if !progress.done {
            return Ok((progress.consumed, None));
        }
        let Some(waiting) = self.waiting.take() else { return Ok((progress.consumed, None)) };
        self.requests = self.requests.wrapping_add(1);
        let parsed = HeadScanner::new().parse(&waiting.head, &head_limits(limits))?;
        let flow = parsed.map(|(head, _)| on(&head, &waiting.body));
        Ok((progress.consumed, flow))
    }
}

fn head_limits(limits: &Limits) -> HeadLimits {
    HeadLimits {
        line_bytes_max: limits.request_line_bytes_max,
        head_bytes_max: limits.head_bytes_max,
        headers_max: limits.headers_max,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a reader makes of `bytes` cut at `cuts`: each request's path and body, or the status of the error.
    fn read_in_pieces(bytes: &[u8], cuts: &[usize]) -> Vec<(String, Vec<u8>)> {
        let limits = Limits { body_bytes_max: 64, ..Limits::default() };
        let (mut reader, mut known) = (HttpReader::default(), KnownHead::default());
        let mut seen = Vec::new();
        let mut pending = Vec::new();
        let mut last = 0;
        for &cut in cuts.iter().chain([&bytes.len()]) {
            let cut = cut.clamp(last, bytes.len());
            pending.extend_from_slice(&bytes[last..cut]);
            last = cut;
            let outcome = reader.read(&pending, &mut known, &limits, &mut |head, body| {
                seen.push((head.path.to_owned(), body.to_vec()));
                Flow::Continue
            });
            match outcome {
                Ok(taken) => drop(pending.drain(..taken)),
                Err(error) => {
                    seen.push((error.status.to_string(), Vec::new()));
                    break;
                }
            }
        }
        seen
    }

    const PIPELINE: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\
        POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET /d HTTP/1.1\r\nHost: x\r\n\r\n";

    #[test]
    fn a_pipeline_is_read_in_order() {
        let expected = [("/a", ""), ("/b", "hello"), ("/c", "abcde"), ("/d", "")]
            .map(|(path, body)| (path.to_owned(), body.as_bytes().to_vec()));
        assert_eq!(read_in_pieces(PIPELINE, &[]), expected);
    }

    #[test]
    fn a_head_like_the_one_before_is_followed_by_its_own_body() {
        let post = |body: &str| {
            format!("POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: {:02}\r\n\r\n{body}", body.len())
        };
        let bodies = ["0123456789", "012345678901", "", "01234"];
        let text: String = bodies.iter().map(|body| post(body)).collect();
        let expected = bodies.map(|body| ("/b".to_owned(), body.as_bytes().to_vec()));
        for cut in 0..text.len() {
            assert_eq!(read_in_pieces(text.as_bytes(), &[cut]), expected, "cut at {cut}");
        }
        let text = post("0123456789") + &post("").replace(": 00", ": 65");
        let read = read_in_pieces(text.as_bytes(), &[]);
        assert_eq!(read[1], ("413".to_owned(), Vec::new()));
    }

    #[test]
    fn a_body_over_the_limit_is_refused_when_its_length_is_announced() {
        let request = b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 65\r\n\r\n";
        assert_eq!(read_in_pieces(request, &[]), [("413".to_owned(), Vec::new())]);
    }

    #[test]
    fn stopping_leaves_the_rest_untaken() {
        let mut reader = HttpReader::default();
        let taken = reader
            .read(PIPELINE, &mut KnownHead::default(), &Limits::default(), &mut |_, _| Flow::Stop)
            .unwrap();
        assert_eq!(&PIPELINE[taken..taken + 7], b"POST /b");
    }

    #[test]
    fn a_held_back_body_is_asked_for_once() {
        let mut reader = HttpReader::default();
        let head = b"POST /b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
        let taken = reader
            .read(head, &mut KnownHead::default(), &Limits::default(), &mut |_, _| Flow::Continue)
            .unwrap();
        assert_eq!(taken, head.len());
        assert!(reader.wants_continue());
        assert!(!reader.wants_continue());
        assert_eq!(reader.standing(0), Standing::Body);
    }

    proptest! {
        #[test]
        fn how_the_input_was_cut_makes_no_difference(mut cuts in prop::collection::vec(0usize..300, 0..12)) {
            cuts.sort_unstable();
            prop_assert_eq!(read_in_pieces(PIPELINE, &cuts), read_in_pieces(PIPELINE, &[]));
        }
    }
}
