//! What a refused request is answered with.

use super::response::{Response, problem};

/// A request that is refused before anybody looked at what it asks for.
///
/// Every one implies: answer with `status`, then close, since after it nobody knows where the next request begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{status} {code}: {detail}")]
pub struct HttpError {
    /// HTTP status code, 4xx or 5xx.
    pub status: u16,
    /// Stable machine-readable code, snake_case.
    pub code: &'static str,
    /// One sentence for the person who wrote the client.
    pub detail: &'static str,
}

impl HttpError {
    /// A malformed request (400).
    pub(super) const fn bad_request(code: &'static str, detail: &'static str) -> Self {
        Self { status: 400, code, detail }
    }

    /// Header fields which this status must carry besides the problem document.
    pub fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self.status {
            405 => &[("Allow", "GET, HEAD, POST, OPTIONS")],
            426 => &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
            _ => &[],
        }
    }

    /// The whole answer: a problem document with [`headers`](Self::headers).
    pub fn response(&self) -> Response {
        let response = problem(self.status, self.code, self.detail);
        self.headers().iter().fold(response, |response, &(name, value)| response.header(name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::ResponseContext;

    #[test]
    fn an_upgrade_refusal_names_the_version_we_speak() {
        let error = HttpError { status: 426, code: "upgrade_required", detail: "Use version 13." };
        let mut out = Vec::new();
        let context = ResponseContext::LAST;
        error.response().write_to(&mut out, &context);
        let text = String::from_utf8(out).unwrap();
        for expected in [
            "HTTP/1.1 426 Upgrade Required\r\n",
            "Sec-WebSocket-Version: 13\r\n",
            "Upgrade: websocket\r\n",
            "Connection: upgrade, close\r\n",
        ] {
            assert!(text.contains(expected), "{expected:?} in {text}");
        }
    }

    #[test]
    fn the_text_names_status_and_code() {
        let error = HttpError::bad_request("bad_host", "Send one.");
        assert_eq!(error.to_string(), "400 bad_host: Send one.");
    }
}
