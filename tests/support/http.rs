//! An HTTP client that sends exactly the bytes it is given, and believes nothing.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::{PATIENCE, again, connect};

/// A connection, read answer by answer.
pub(crate) struct Http {
    reader: BufReader<TcpStream>,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// Name (in lower case) and value of each header field, in order.
    pub(crate) fields: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Http {
    /// Connects to `address`.
    pub(crate) fn connect(address: SocketAddr) -> Http {
        Http::over(connect(address))
    }

    /// Speaks over `stream`.
    pub(crate) fn over(stream: TcpStream) -> Http {
        Http { reader: BufReader::new(stream) }
    }

    /// Sends `bytes`.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes bytes");
    }

    /// Sends `bytes`, unless the server has closed the connection.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.reader.get_mut().write_all(bytes.as_ref())
    }

    /// Sends nothing more.
    pub(crate) fn finish(&mut self) {
        self.reader.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// The next answer with its body.
    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// The next answer, to a request of `method`: that to `HEAD` has no body.
    pub(crate) fn answer_to(&mut self, method: &str) -> Answer {
        let mut answer = self.head();
        let has_body = method != "HEAD" && 200 <= answer.status && answer.status != 204;
        if has_body {
            let length = answer.field("content-length").expect("the answer has a length").parse().unwrap();
            answer.body = vec![0; length];
            self.reader.read_exact(&mut answer.body).expect("the whole body comes");
        }
        answer
    }

    /// The head of the next answer; what follows is left to be read.
    pub(crate) fn head(&mut self) -> Answer {
        let status_line = self.line();
        let mut words = status_line.splitn(3, ' ');
        assert_eq!(words.next(), Some("HTTP/1.1"), "{status_line:?}");
        let status = words.next().and_then(|code| code.parse().ok()).expect("a status code");
        let mut fields = Vec::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                return Answer { status, fields, body: Vec::new() };
            }
            let (name, value) = line.split_once(": ").expect("a header field");
            fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }

    /// The next line, which must end in CR LF.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a line comes");
        line.strip_suffix("\r\n").unwrap_or_else(|| panic!("{line:?} has no line end")).to_owned()
    }

    /// Asserts that the server ends the connection now, in order and without another byte.
    pub(crate) fn assert_closed(&mut self) {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => assert_eq!(String::from_utf8_lossy(&rest), "", "nothing more was expected"),
            Err(error) => panic!("the connection did not end in order: {error}"),
        }
    }

    /// Whether the connection is at its end; a reset counts.
    pub(crate) fn is_gone(&mut self) -> bool {
        match again(|| self.reader.fill_buf().map(<[u8]>::is_empty)) {
            Ok(is_at_end) => is_at_end,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// Whether bytes or the end come within `wait`.
    pub(crate) fn speaks_within(&mut self, wait: Duration) -> bool {
        self.reader.get_ref().set_read_timeout(Some(wait)).unwrap();
        let outcome = again(|| self.reader.fill_buf().map(|_| ()));
        self.reader.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        match outcome {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            Err(error) => panic!("the connection broke: {error}"),
        }
    }

    /// What reads the bytes that follow.
    pub(crate) fn into_reader(self) -> BufReader<TcpStream> {
        self.reader
    }
}

impl Answer {
    /// The value of the only header field called `name` (in lower case).
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} stands twice");
        value
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// Asserts that this is a problem document of this status and code, and well formed.
    pub(crate) fn assert_problem(&self, status: u16, code: &str, context: &str) {
        assert_eq!(self.status, status, "{context}: {}", self.text());
        assert_eq!(self.field("content-type"), Some("application/problem+json"), "{context}");
        let document = self.json();
        assert_eq!(document["code"], code, "{context}: {document}");
        assert_eq!(document["status"], status, "{context}");
        assert_eq!(document["type"], "about:blank", "{context}");
        assert!(document["title"].as_str().is_some_and(|title| !title.is_empty()), "{context}");
        assert!(document["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{context}");
    }
}

/// The text of a `POST` with a body of this media type, to be kept alive.
pub(crate) fn post_text(path: &str, media_type: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Asks for `path` over a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    let mut http = Http::connect(address);
    http.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    let answer = http.answer();
    http.assert_closed();
    answer
}

/// Posts JSON over a connection of its own.
pub(crate) fn post(address: SocketAddr, path: &str, body: &str) -> Answer {
    let mut http = Http::connect(address);
    http.send(post_text(path, "application/json", body));
    http.answer()
}

/// Waits until every loop has handed everything up to `seq` on: streams that are opened later begin after it.
pub(crate) fn wait_for_delivery(address: SocketAddr, seq: u64) {
    let answer = get(address, &format!("/delivered?seq={seq}&timeout_ms=60000"));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Sends one request of any method over a connection of its own, with `fields` (whole header lines) besides.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, fields: &str, body: &str) -> Answer {
    let mut http = Http::connect(address);
    http.send(request_text(method, path, fields, body));
    http.answer_to(method)
}

/// The text of a request of any method, to be kept alive, with `fields` (whole header lines) besides.
pub(crate) fn request_text(method: &str, path: &str, fields: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}
