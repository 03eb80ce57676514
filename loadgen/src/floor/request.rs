//! The heads of requests, as far as the floor must understand them.
//!
//! # Bounds         a head is at most 16 KiB with 64 headers, a body at most 1 MiB

use tungstenite::handshake::derive_accept_key;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// To pass on a body of so many bytes.
    Publish(usize),
    /// To become a WebSocket; the value of `Sec-WebSocket-Accept`.
    WebSocket(String),
    /// To become an event stream.
    EventStream,
    /// To say that the floor is up.
    Ready,
    /// Anything else.
    Unknown,
}

/// Why a request is not even looked at; the connection ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is no HTTP/1.1, or has a header that cannot be.
    Malformed,
    /// The head is longer than 16 KiB.
    HeadTooLong,
    /// A publish does not say how long its body is.
    NoLength,
    /// The body is longer than 1 MiB.
    BodyTooLong,
    /// A `GET /ws` that is no upgrade.
    NoUpgrade,
}

impl Refusal {
    /// The status line's code and reason.
    pub(crate) fn status(self) -> &'static str {
        match self {
            Refusal::Malformed => "400 Bad Request",
            Refusal::HeadTooLong => "431 Request Header Fields Too Large",
            Refusal::NoLength => "411 Length Required",
            Refusal::BodyTooLong => "413 Content Too Large",
            Refusal::NoUpgrade => "426 Upgrade Required",
        }
    }
}

/// Reads the head at the start of `bytes`; `None` while it is incomplete. The number is its length.
///
/// # Errors
/// As [`Refusal`] says.
pub(crate) fn read_head(bytes: &[u8]) -> Result<Option<(Request, usize)>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let head_bytes = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLong),
        Err(_) => return Err(Refusal::Malformed),
    };
    let path = request.path.unwrap_or_default().split('?').next().unwrap_or_default();
    let request = match (request.method, path) {
        (Some("POST"), "/publish") => Request::Publish(body_bytes(request.headers)?),
        (Some("GET"), "/ws") => Request::WebSocket(accept_key(request.headers)?),
        (Some("GET"), "/events") => Request::EventStream,
        (Some("GET"), "/health/ready") => Request::Ready,
        _ => Request::Unknown,
    };
    Ok(Some((request, head_bytes)))
}

fn body_bytes(headers: &[httparse::Header]) -> Result<usize, Refusal> {
    if value(headers, "Transfer-Encoding").is_some() {
        return Err(Refusal::NoLength);
    }
    let length = value(headers, "Content-Length").ok_or(Refusal::NoLength)?;
    let length = length.parse().map_err(|_| Refusal::Malformed)?;
    if BODY_BYTES_MAX < length { Err(Refusal::BodyTooLong) } else { Ok(length) }
}

fn accept_key(headers: &[httparse::Header]) -> Result<String, Refusal> {
    let upgrade = value(headers, "Upgrade").unwrap_or_default();
    let key = value(headers, "Sec-WebSocket-Key").unwrap_or_default();
    if !upgrade.eq_ignore_ascii_case("websocket") || key.is_empty() {
        return Err(Refusal::NoUpgrade);
    }
    Ok(derive_accept_key(key.as_bytes()))
}

fn value<'a>(headers: &[httparse::Header<'a>], name: &str) -> Option<&'a str> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    str::from_utf8(header.value).ok().map(str::trim)
}

const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
const BODY_BYTES_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str, expected: Result<Request, Refusal>) {
        let got = read_head(head.as_bytes()).map(|read| {
            let (request, length) = read.expect("whole");
            assert_eq!(length, head.len(), "{head:?}");
            request
        });
        assert_eq!(got, expected, "{head:?}");
    }

    #[test]
    fn requests_are_told_apart() {
        check("POST /publish?x HTTP/1.1\r\ncontent-length: 12\r\n\r\n", Ok(Request::Publish(12)));
        check("GET /events?channel=a HTTP/1.1\r\nHost: x\r\n\r\n", Ok(Request::EventStream));
        check("GET /health/ready HTTP/1.1\r\n\r\n", Ok(Request::Ready));
        check("GET /eventsx HTTP/1.1\r\n\r\n", Ok(Request::Unknown));
        check("PUT /publish HTTP/1.1\r\n\r\n", Ok(Request::Unknown));
        let upgrade = "GET /ws HTTP/1.1\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        check(upgrade, Ok(Request::WebSocket("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned())));
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_its_name() {
        let check = |head: &str, refusal| check(head, Err(refusal));
        check("GET /ws HTTP/1.1\r\n\r\n", Refusal::NoUpgrade);
        check("POST /publish HTTP/1.1\r\n\r\n", Refusal::NoLength);
        check("POST /publish HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::NoLength);
        check("POST /publish HTTP/1.1\r\nContent-Length: -1\r\n\r\n", Refusal::Malformed);
        check("POST /publish HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", Refusal::BodyTooLong);
        check("nonsense\r\n\r\n", Refusal::Malformed);
        check(&format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(65)), Refusal::HeadTooLong);
        check(&format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(HEAD_BYTES_MAX)), Refusal::HeadTooLong);
    }

    #[test]
    fn a_head_is_read_only_when_it_is_whole() {
        let head = b"POST /publish HTTP/1.1\r\nContent-Length: 1\r\n\r\n";
        for end in 0..head.len() {
            assert_eq!(read_head(&head[..end]), Ok(None), "cut at {end}");
        }
    }
}
