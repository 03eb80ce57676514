//! HTTP/1.1 as a client speaks it: requests written, answers read.
//!
//! # Bounds         an answer's head is at most 16 KiB, its body at most 1 MiB; more is an error

use std::io::{self, ErrorKind};

use crate::target::Target;
use crate::tls::ReadWrite;

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The status code.
    pub(crate) status: u16,
    /// The length of the body, if one is stated.
    pub(crate) content_length: Option<usize>,
    /// Whether the body comes in chunks, which no answer we ask for should.
    pub(crate) chunked: bool,
    /// Whether the server closes the connection after this answer.
    pub(crate) closes: bool,
    /// After how many nanoseconds the server wants to be asked again.
    pub(crate) retry_after_ns: Option<u64>,
    /// `Sec-WebSocket-Accept`, empty if there is none.
    pub(crate) websocket_accept: String,
    /// `Content-Type`, empty if there is none.
    pub(crate) content_type: String,
}

/// An answer with its body.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    /// The head.
    pub(crate) head: Head,
    /// The body.
    pub(crate) body: &'a [u8],
}

/// What a server that speaks TLS begins with when it is asked in plain words.
const TLS_ALERT: u8 = 0x15;

/// Sends one request over a connection that is waited for, and reads the head of its answer. What came along with the head of
/// the body is handed on.
///
/// # Errors
/// The connection breaks or is silent for too long, or the answer is not HTTP/1.1.
pub(crate) fn ask(stream: &mut (impl ReadWrite + ?Sized), request: &[u8]) -> io::Result<(Head, Vec<u8>)> {
    stream.write_all(request)?;
    let (mut got, mut piece) = (Vec::new(), [0; 4_096]);
    loop {
        if let Some((head, length)) = read_head(&got).map_err(io::Error::other)? {
            return Ok((head, got.split_off(length)));
        }
        match stream.read(&mut piece)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => got.extend_from_slice(&piece[..count]),
        }
    }
}

/// Reads the head at the start of `bytes`; `None` while it is incomplete. The number is the head's length.
///
/// # Errors
/// The bytes are no HTTP/1.1 answer, or the head is too long.
pub(crate) fn read_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if HEAD_BYTES_MAX < bytes.len() => {
            return Err("the head of the answer is too long");
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) if bytes.first() == Some(&TLS_ALERT) => return Err("it speaks TLS: https:// or wss://"),
        Err(_) => return Err("the answer is not HTTP/1.1"),
    };
    let mut head = Head {
        status: response.code.unwrap_or(0),
        content_length: None,
        chunked: false,
        closes: false,
        retry_after_ns: None,
        websocket_accept: String::new(),
        content_type: String::new(),
    };
    for header in response.headers.iter() {
        let value = str::from_utf8(header.value).map_err(|_| "a header of the answer is not text")?.trim();
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => {
                head.content_length = Some(value.parse().map_err(|_| "the content length is not a number")?);
            }
            "transfer-encoding" => head.chunked = true,
            "connection" => head.closes = value.eq_ignore_ascii_case("close"),
            "retry-after" => head.retry_after_ns = value.parse().ok().map(seconds_to_ns),
            "sec-websocket-accept" => head.websocket_accept = value.to_owned(),
            "content-type" => head.content_type = value.to_owned(),
            _ => {}
        }
    }
    Ok(Some((head, length)))
}

/// Reads the answer at the start of `bytes` with its body; `None` while it is incomplete. The number is the
/// length of both.
///
/// # Errors
/// As [`read_head`]; also a body in chunks, without a length, or too long.
pub(crate) fn read_answer(bytes: &[u8]) -> Result<Option<(Answer<'_>, usize)>, &'static str> {
    let Some((head, head_bytes)) = read_head(bytes)? else { return Ok(None) };
    if head.chunked {
        return Err("the answer comes in chunks, which this client does not ask for");
    }
    let body_bytes = match head.content_length {
        Some(length) if BODY_BYTES_MAX < length => return Err("the body of the answer is too long"),
        Some(length) => length,
        None if matches!(head.status, 100..=199 | 204 | 304) => 0,
        None => return Err("the answer has no content length"),
    };
    let end = head_bytes + body_bytes;
    if bytes.len() < end {
        return Ok(None);
    }
    Ok(Some((Answer { head, body: &bytes[head_bytes..end] }, end)))
}

/// Appends a `POST /publish` with a JSON body.
pub(crate) fn write_publish(target: &Target, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"POST /publish HTTP/1.1\r\n");
    write_common(target, out);
    out.extend_from_slice(b"Content-Type: application/json\r\nContent-Length: ");
    crate::event::push_decimal(out, body.len() as u64);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// Appends the request that opens an event stream, whose query has the members that have a value, from behind `cursor` if
/// there is one.
pub(crate) fn write_event_stream(
    target: &Target,
    members: &[(&str, Option<&str>)],
    cursor: Option<&str>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"GET /events");
    push_query(out, members);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_common(target, out);
    out.extend_from_slice(b"Accept: text/event-stream\r\nCache-Control: no-store\r\n");
    if let Some(cursor) = cursor {
        out.extend_from_slice(b"Last-Event-ID: ");
        out.extend_from_slice(cursor.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the query of the members that have a value.
pub(crate) fn push_query(out: &mut Vec<u8>, members: &[(&str, Option<&str>)]) {
    let members = members.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    for (place, (name, value)) in members.enumerate() {
        out.push(if place == 0 { b'?' } else { b'&' });
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        push_query_value(out, value);
    }
}

/// Appends the headers that every request has.
pub(crate) fn write_common(target: &Target, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Host: ");
    out.extend_from_slice(target.authority.as_bytes());
    out.extend_from_slice(b"\r\nUser-Agent: loadgen\r\n");
    if let Some(token) = &target.token {
        out.extend_from_slice(b"Authorization: Bearer ");
        out.extend_from_slice(token.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends the value of a query member, escaped where a query needs it.
pub(crate) fn push_query_value(out: &mut Vec<u8>, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/*".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

/// What a client waits after a refusal that does not say how long.
pub(crate) const RETRY_AFTER_NS_DEFAULT: u64 = 100_000_000;

/// The standard has whole seconds; parts of one are read too. More than an hour counts as an hour.
fn seconds_to_ns(seconds: f64) -> u64 {
    (seconds.clamp(0.0, 3_600.0) * 1e9) as u64
}

const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 16 * 1024;
const BODY_BYTES_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_it_is_whole_however_it_arrives() {
        let text = b"HTTP/1.1 202 Accepted\r\ncontent-length: 10\r\n\r\n{\"seq\":41}HTTP/1.1 503";
        let whole = text.len() - b"HTTP/1.1 503".len();
        for end in 0..whole {
            assert!(read_answer(&text[..end]).expect("no error").is_none(), "at {end}");
        }
        let (answer, length) = read_answer(text).expect("no error").expect("whole");
        assert_eq!((answer.head.status, answer.body, length), (202, &b"{\"seq\":41}"[..], whole));
        assert!(!answer.head.closes);
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let check = |value: &str, expected: Option<u64>| {
            let text = format!("HTTP/1.1 503 Busy\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n");
            let (answer, _) = read_answer(text.as_bytes()).expect("no error").expect("whole");
            assert_eq!(answer.head.retry_after_ns, expected, "{value}");
        };
        check("1", Some(1_000_000_000));
        check("0.05", Some(50_000_000));
        check("-3", Some(0));
        check("1e99", Some(3_600_000_000_000));
        check("Wed, 21 Oct 2026 07:28:00 GMT", None);
    }

    #[test]
    fn what_is_no_answer_of_ours_is_an_error() {
        let check = |text: &str| assert!(read_answer(text.as_bytes()).is_err(), "{text}");
        check("SSH-2.0-OpenSSH\r\n");
        let alert = read_answer(b"\x15\x03\x03\0\x02\x02\x46").expect_err("encrypted");
        assert!(alert.contains("https://"), "{alert}");
        check("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n");
        check("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n");
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        check("HTTP/1.1 200 OK\r\n\r\n");
        check(&format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(HEAD_BYTES_MAX)));
    }

    #[test]
    fn requests_state_host_token_length_and_cursor() {
        let mut target = Target::parse("http://127.0.0.1:8080", Some("secret".into())).expect("a target");
        let mut out = Vec::new();
        write_publish(&target, b"{}", &mut out);
        let text = String::from_utf8(out).expect("text");
        assert!(text.starts_with("POST /publish HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"), "{text}");
        assert!(text.contains("\r\nAuthorization: Bearer secret\r\n"), "{text}");
        assert!(text.ends_with("\r\nContent-Length: 2\r\n\r\n{}"), "{text}");

        target.token = None;
        let mut out = Vec::new();
        write_event_stream(
            &target,
            &[("channel", Some("bench:a b")), ("on_slow", None)],
            Some("E-7"),
            &mut out,
        );
        let text = String::from_utf8(out).expect("text");
        assert!(text.starts_with("GET /events?channel=bench:a%20b HTTP/1.1\r\n"), "{text}");
        assert!(text.ends_with("\r\nLast-Event-ID: E-7\r\n\r\n"), "{text}");
        assert!(!text.contains("Authorization"), "{text}");
    }
}
