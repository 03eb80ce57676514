//! Requests of profiles, rendered; and those that are sent one by one and waited for.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tungstenite::handshake::client::generate_key;

use crate::http;
use crate::side_by_side::profile::Request;
use crate::tls::ReadWrite;

/// The head of a request up to its last line: `Content-Length` or the empty line are to follow.
pub(crate) fn head(method: &str, path: &str, authority: &str, headers: &[String]) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: loadgen\r\n");
    for line in headers {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head
}

/// The request that upgrades a connection, and the key that its answer must fit.
pub(crate) fn upgrade(path: &str, authority: &str, headers: &[String]) -> (String, String) {
    let key = generate_key();
    let mut text = head("GET", path, authority, headers);
    text.push_str("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
    text.push_str(&format!("Sec-WebSocket-Key: {key}\r\n\r\n"));
    (text, key)
}

/// Whether `status` is one of `ok`, or from 200 to 299 if there are none.
pub(crate) fn is_ok(status: u16, ok: &[u16]) -> bool {
    if ok.is_empty() { (200..300).contains(&status) } else { ok.contains(&status) }
}

/// Makes one request on a connection of its own and returns the status.
///
/// # Errors
/// The server cannot be reached, is silent for five seconds, or does not answer with HTTP/1.1.
pub(crate) fn ask(address: SocketAddr, authority: &str, request: &Request) -> io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    ask_over(&mut stream, authority, request)
}

/// Makes one request on the connection `stream`, which is of no use afterwards, and returns the status.
///
/// # Errors
/// As [`http::ask`].
pub(crate) fn ask_over(
    stream: &mut (impl ReadWrite + ?Sized),
    authority: &str,
    request: &Request,
) -> io::Result<u16> {
    let mut text = head(&request.method, &request.path, authority, &request.headers);
    if !request.body.is_empty() || request.method != "GET" {
        text.push_str(&format!("Content-Length: {}\r\n", request.body.len()));
    }
    text.push_str("Connection: close\r\n\r\n");
    text.push_str(&request.body);
    http::ask(stream, text.as_bytes()).map(|(head, _)| head.status)
}

/// How long a server may be silent.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
