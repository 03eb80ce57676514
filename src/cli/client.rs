//! An HTTP connection to a server, for the commands that are clients.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::Failure;
use super::stream::Stream;
use super::trust::Trust;

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
    /// Who has to prove to be it, and to whom, where it is encrypted.
    secret: Option<(ServerName<'static>, Arc<ClientConfig>)>,
}

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Target {
    /// Reads `http://host:port`, `ws://host:port` or `host:port`, and `https://` and `wss://`, where `trust` says who vouches
    /// for the server; a path is not kept.
    pub(super) fn parse(url: &str, trust: &Trust) -> Result<Target, Failure> {
        let wrong = |text: String| Err(Failure::Usage(text));
        let (is_secret, rest) = match url.split_once("://") {
            Some(("https" | "wss", rest)) => (true, rest),
            Some(("http" | "ws", rest)) => (false, rest),
            Some(_) => {
                return wrong(format!("'{url}': only http://, https://, ws:// and wss:// are spoken"));
            }
            None => (false, url),
        };
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.is_empty() || authority.contains(char::is_whitespace) {
            return wrong(format!("'{url}' is not an address such as http://127.0.0.1:8080"));
        }
        let port = if is_secret { 443 } else { 80 };
        let (host, authority) = match authority.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => (host, authority.to_owned()),
            _ => (authority, format!("{authority}:{port}")),
        };
        if !is_secret {
            return match trust.is_chosen() {
                true => wrong(format!("'{url}' is not encrypted: --ca and --insecure are for https://")),
                false => Ok(Target { authority, secret: None }),
            };
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let Ok(name) = ServerName::try_from(bare) else {
            return wrong(format!("'{url}': '{host}' is no server's name"));
        };
        Ok(Target { authority, secret: Some((name, trust.config()?)) })
    }

    /// Connects, and shakes hands where it is encrypted.
    pub(super) fn connect(&self) -> Result<Stream, Failure> {
        let stream = self.dial()?;
        let Some((name, config)) = &self.secret else { return Ok(Stream::Plain(stream)) };
        Stream::secret(stream, name, config, CONNECT_TIMEOUT).map_err(|error| {
            Failure::Connect(format!("no encrypted connection to {}: {error}", self.authority))
        })
    }

    fn dial(&self) -> Result<TcpStream, Failure> {
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
    pub(super) body: BufReader<Stream>,
}

impl Answer {
    /// Sends `request` (a head without its empty line) with `body`, and reads the head of the answer.
    pub(super) fn to(mut stream: Stream, request: &str, body: &[u8]) -> Result<Answer, Failure> {
        let lost = |error: std::io::Error| Failure::Connect(format!("the connection broke: {error}"));
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("{request}{length}\r\n");
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).map_err(lost)?;
        let mut body = BufReader::new(stream);
        if body.fill_buf().map_err(lost)?.first() == Some(&TLS_ALERT) {
            return Err(Failure::Connect("the server speaks TLS here: ask for https://".into()));
        }
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

/// What a server that speaks TLS begins with when it is asked in plain words.
const TLS_ALERT: u8 = 0x15;

const HEAD_LINE_MAX: u64 = 64 << 10;
const BODY_MAX: usize = 16 << 20;

/// What a problem document says, or the text itself.
pub(super) fn problem_text(text: &str) -> String {
    let document: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let detail =
        document.as_ref().and_then(|document| document.get("detail")).and_then(|detail| detail.as_str());
    detail.unwrap_or(text.trim()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_scheme_a_host_and_a_port() {
        let check = |url: &str, trust: Trust, expected: Result<(&str, bool), &str>| {
            let got = Target::parse(url, &trust).map(|target| (target.authority, target.secret.is_some()));
            match (got, expected) {
                (Ok((authority, is_secret)), Ok(expected)) => {
                    assert_eq!((authority.as_str(), is_secret), expected, "{url}");
                }
                (Err(Failure::Usage(text)), Err(part)) => assert!(text.contains(part), "{url}: {text}"),
                (got, _) => panic!("{url}: {got:?}"),
            }
        };
        let nobody = Trust::default;
        check("127.0.0.1:8080", nobody(), Ok(("127.0.0.1:8080", false)));
        check("http://fan.example/path?query", nobody(), Ok(("fan.example:80", false)));
        check("ws://[::1]:81", nobody(), Ok(("[::1]:81", false)));
        check("https://fan.example", Trust::in_anybody(), Ok(("fan.example:443", true)));
        check("wss://[::1]:8443/", Trust::in_anybody(), Ok(("[::1]:8443", true)));
        check("https://a..b", Trust::in_anybody(), Err("no server's name"));
        check("http://127.0.0.1", Trust::in_anybody(), Err("is not encrypted"));
        check("ftp://127.0.0.1", nobody(), Err("https://"));
        check("https://", Trust::in_anybody(), Err("not an address"));
    }
}
