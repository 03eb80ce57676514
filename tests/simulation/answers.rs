//! HTTP answers, read independently.

/// An answer with its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// The server closes after it.
    pub(crate) is_last: bool,
}

/// Where the first head in `bytes` ends, its empty line included.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// The status in the first line of `head`.
pub(crate) fn status_of(head: &str) -> u16 {
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status.and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {head}"))
}

/// The value of a header field, if `head` has it.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// Takes the first whole answer off `bytes`.
pub(crate) fn take_answer(bytes: &mut Vec<u8>) -> Option<Answer> {
    let body_start = head_end(bytes)?;
    let head = std::str::from_utf8(&bytes[..body_start]).expect("a head is text").to_owned();
    let length: usize = field(&head, "content-length").map_or(0, |length| length.parse().expect("a length"));
    let body = bytes.get(body_start..body_start + length)?;
    let body = String::from_utf8(body.to_vec()).expect("a body is text");
    bytes.drain(..body_start + length);
    let is_last = field(&head, "connection").is_some_and(|value| value.contains("close"));
    Some(Answer { status: status_of(&head), body, is_last })
}
