//! Answers of HTTP publishes, counted: a head that was read once is recognised by its bytes.
//!
//! # Contract       every answer is counted once, with its status; what is recognised is what a full reading would say
//! # Bounds         an answer is as long as `http` allows; one head is remembered

use crate::http;

/// Counts the answers of one connection.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// The last head that was read in full; empty at first.
    head: Vec<u8>,
    body_bytes: usize,
    status: u16,
}

impl Answers {
    /// Tells `each` the status of every whole answer in `input`, and returns how many bytes these are.
    ///
    /// # Errors
    /// What is no answer, or one without a length.
    pub(crate) fn take(&mut self, input: &[u8], mut each: impl FnMut(u16)) -> Result<usize, &'static str> {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            let length = if !self.head.is_empty() && rest.starts_with(&self.head) {
                let length = self.head.len() + self.body_bytes;
                if rest.len() < length {
                    return Ok(at);
                }
                length
            } else {
                let Some((answer, length)) = http::read_answer(rest)? else { return Ok(at) };
                self.status = answer.head.status;
                self.body_bytes = answer.body.len();
                self.head.clear();
                self.head.extend_from_slice(&rest[..length - self.body_bytes]);
                length
            };
            at += length;
            // An interim answer is followed by the real one.
            if 200 <= self.status {
                each(self.status);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_once_however_they_arrive_and_change() {
        let answer = |status: u16, body: &str| {
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        };
        let parts = [
            answer(200, "{\"seq\":8}"),
            answer(200, "{\"seq\":9}"),
            answer(200, "{\"seq\":10}"),
            answer(503, ""),
            answer(200, "{\"seq\":11}"),
        ];
        let text = parts.concat();
        for cut in 0..=text.len() {
            let (mut answers, mut statuses) = (Answers::default(), Vec::new());
            let used =
                answers.take(&text.as_bytes()[..cut], |status| statuses.push(status)).expect("answers");
            let rest = &text.as_bytes()[used..];
            assert_eq!(answers.take(rest, |status| statuses.push(status)), Ok(rest.len()), "cut at {cut}");
            assert_eq!(statuses, [200, 200, 200, 503, 200], "cut at {cut}");
        }
        assert!(Answers::default().take(b"SSH-2.0\r\n", |_| {}).is_err());
    }
}
