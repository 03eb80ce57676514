//! A plain HTTP connection to a server, for the commands that are clients.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use super::Failure;

/// What a client shows.
#[derive(clap::Args)]
pub(super) struct Credentials {
    /// File with the token or API key to show; without it that of the environment, FANFARE_TOKEN, if there is one
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Credentials {
    /// The token, if there is one.
    pub(super) fn token(&self) -> anyhow::Result<Option<String>> {
        let text = match &self.token_file {
            Some(path) => Some(fs::read_to_string(path).with_context(|| path.display().to_string())?),
            None => env::var("FANFARE_TOKEN").ok(),
        };
        let token = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Failure::Usage("a token is one word".to_owned()).into());
        }
        Ok(token)
    }
}

/// The line of a request's head that shows a token, if there is one.
pub(super) fn authorization(token: Option<&str>) -> String {
    token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default()
}

/// Where a server is.
pub(super) struct Target {
    /// Host and port.
    pub(super) authority: String,
}

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Target {
    /// Reads `http://host:port`, `ws://host:port` or `host:port`; a path is not kept.
    pub(super) fn parse(url: &str) -> Result<Target, Failure> {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("ws://")).unwrap_or(url);
        if rest.contains("://") {
            return Err(Failure::Usage(format!("'{url}': only http:// and ws:// are spoken")));
        }
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.is_empty() || authority.contains(char::is_whitespace) {
            return Err(Failure::Usage(format!("'{url}' is not an address such as http://127.0.0.1:8080")));
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(Target { authority: if has_port { authority.to_owned() } else { format!("{authority}:80") } })
    }

    pub(super) fn connect(&self) -> Result<TcpStream, Failure> {
        use std::net::ToSocketAddrs;
        let fail = |error: std::io::Error| {
            Failure::Connect(format!("cannot connect to {}: {error}", self.authority))
        };
        let mut last = std::io::Error::other("the name has no address");
        for address in self.authority.to_socket_addrs().map_err(fail)? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(fail(last))
    }
}

/// The head of an answer, and the connection to read its body from.
pub(super) struct Answer {
    pub(super) status: u16,
    length: Option<usize>,
    pub(super) body: BufReader<TcpStream>,
}

impl Answer {
    /// Sends `request` (a head without its empty line) with `body`, and reads the head of the answer.
    pub(super) fn to(stream: TcpStream, request: &str, body: &[u8]) -> Result<Answer, Failure> {
        let lost = |error: std::io::Error| Failure::Connect(format!("the connection broke: {error}"));
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("{request}{length}\r\n");
        (&stream).write_all(head.as_bytes()).and_then(|()| (&stream).write_all(body)).map_err(lost)?;
        let mut body = BufReader::new(stream);
        let mut status = 0;
        let mut length = None;
        for number in 0.. {
            let mut line = String::new();
            body.by_ref().take(HEAD_LINE_MAX).read_line(&mut line).map_err(lost)?;
            let line = line.trim_end();
            if number == 0 {
                status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
                if status == 0 {
                    return Err(Failure::Connect("the answer is not HTTP".into()));
                }
            } else if line.is_empty() {
                break;
            } else if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok();
            }
        }
        Ok(Answer { status, length, body })
    }

    /// The whole body, of a bounded length.
    pub(super) fn text(mut self) -> Result<String, Failure> {
        let mut text = String::new();
        let length = self.length.unwrap_or(BODY_MAX).min(BODY_MAX) as u64;
        let outcome = self.body.by_ref().take(length).read_to_string(&mut text);
        outcome.map_err(|error| Failure::Connect(format!("the answer broke off: {error}")))?;
        Ok(text)
    }
}

const HEAD_LINE_MAX: u64 = 64 << 10;
const BODY_MAX: usize = 16 << 20;

/// What a problem document says, or the text itself.
pub(super) fn problem_text(text: &str) -> String {
    let document: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let detail =
        document.as_ref().and_then(|document| document.get("detail")).and_then(|detail| detail.as_str());
    detail.unwrap_or(text.trim()).to_owned()
}
