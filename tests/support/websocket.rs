//! WebSocket clients: a well-behaved one, and one that sends whatever bytes it is told to.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket, client};

use super::http::Http;
use super::{PATIENCE, Steady, again, connect};

/// A well-behaved client.
pub(crate) struct Client {
    socket: WebSocket<Steady>,
}

impl Client {
    /// Opens a WebSocket at `path`.
    pub(crate) fn open(address: SocketAddr, path: &str) -> Client {
        Client::open_over(connect(address), path)
    }

    /// Opens a WebSocket at `path` over `stream`.
    pub(crate) fn open_over(stream: TcpStream, path: &str) -> Client {
        let (socket, _) =
            client(format!("ws://localhost{path}"), Steady(stream)).expect("the handshake succeeds");
        Client { socket }
    }

    /// Opens a WebSocket at `path` and asks for a sub-protocol; returns the client and the one that the server chose.
    pub(crate) fn open_protocol(address: SocketAddr, path: &str, protocol: &str) -> (Client, Option<String>) {
        let mut request = format!("ws://localhost{path}").into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
        let (socket, response) = client(request, Steady(connect(address))).expect("the handshake succeeds");
        let chosen = response.headers().get("Sec-WebSocket-Protocol");
        let chosen = chosen.map(|value| value.to_str().expect("a protocol's name").to_owned());
        (Client { socket }, chosen)
    }

    /// Opens a WebSocket and subscribes to `channel`; returns the client and the answer.
    pub(crate) fn subscribed(address: SocketAddr, channel: &str) -> (Client, Value) {
        let mut client = Client::open(address, "/ws");
        client.send(&format!(r#"{{"type":"subscribe","channel":"{channel}"}}"#));
        let answer = client.next();
        assert_eq!(answer["type"], "subscribed", "{answer}");
        (client, answer)
    }

    /// Sends a text message.
    pub(crate) fn send(&mut self, text: &str) {
        self.send_message(Message::text(text));
    }

    /// Sends a message.
    pub(crate) fn send_message(&mut self, message: Message) {
        self.socket.send(message).expect("the server takes messages");
    }

    /// Waits until the server has dealt with everything that was sent before, while nothing else is on its way.
    pub(crate) fn settle(&mut self) {
        self.send_message(Message::Ping("settled".into()));
        loop {
            match self.next_message() {
                Message::Pong(_) => return,
                Message::Ping(_) => {}
                other => panic!("{other:?} instead of a pong"),
            }
        }
    }

    /// As [`Client::settle`], while events may be on their way, which are thrown away.
    pub(crate) fn settle_over_texts(&mut self) {
        self.send_message(Message::Ping("settled".into()));
        while !matches!(self.next_message(), Message::Pong(_)) {}
    }

    /// The next message of any kind.
    pub(crate) fn next_message(&mut self) -> Message {
        self.socket.read().expect("a message comes")
    }

    /// The next text message, as it came.
    pub(crate) fn next_text(&mut self) -> String {
        loop {
            match self.next_message() {
                Message::Text(text) => return text.as_str().to_owned(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?} instead of a text"),
            }
        }
    }

    /// The next text message.
    pub(crate) fn next(&mut self) -> Value {
        let text = self.next_text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    /// Sends a command and returns the next text message.
    pub(crate) fn ask(&mut self, command: &str) -> Value {
        self.send(command);
        self.next()
    }

    /// Says goodbye and waits for the answer and the end of the connection.
    pub(crate) fn close(mut self) {
        self.socket.close(None).expect("the server takes a close frame");
        loop {
            match self.socket.read() {
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed) => return,
                Err(error) => panic!("the connection did not end in order: {error}"),
            }
        }
    }

    /// Waits for the server's goodbye: code and reason. Text messages before it are given to `on_text`.
    pub(crate) fn goodbye(mut self, mut on_text: impl FnMut(&str)) -> (u16, String) {
        loop {
            match self.next_message() {
                Message::Text(text) => on_text(&text),
                Message::Close(frame) => {
                    let frame = frame.expect("the goodbye has a code");
                    // The answer to it, and then the end.
                    loop {
                        match self.socket.read() {
                            Ok(_) => {}
                            Err(tungstenite::Error::ConnectionClosed) => break,
                            Err(error) => panic!("the connection did not end in order: {error}"),
                        }
                    }
                    return (frame.code.into(), frame.reason.as_str().to_owned());
                }
                _ => {}
            }
        }
    }
}

/// The handshake that every WebSocket test begins with.
pub(crate) const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A connection that speaks in frames of its own making.
pub(crate) struct Frames {
    stream: TcpStream,
    received: Vec<u8>,
}

/// One frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The first byte: the end-of-message bit and the opcode.
    pub(crate) first: u8,
    /// The payload.
    pub(crate) payload: Vec<u8>,
}

impl Frames {
    /// Opens a WebSocket.
    pub(crate) fn open(address: SocketAddr) -> Frames {
        let mut http = Http::connect(address);
        http.send(HANDSHAKE);
        let head = http.head();
        assert_eq!(head.status, 101, "{head:?}");
        Frames::over(http)
    }

    /// Goes on where the answer to a handshake has been read.
    pub(crate) fn over(http: Http) -> Frames {
        let reader = http.into_reader();
        Frames { received: reader.buffer().to_vec(), stream: reader.into_inner() }
    }

    /// The same connection once more, for a thread that only sends.
    pub(crate) fn second(&self) -> Frames {
        Frames { stream: self.stream.try_clone().expect("a second handle"), received: Vec::new() }
    }

    /// Whether bytes or the end come within `wait`.
    pub(crate) fn speaks_within(&mut self, wait: Duration) -> bool {
        if !self.received.is_empty() {
            return true;
        }
        self.stream.set_read_timeout(Some(wait)).unwrap();
        let outcome = again(|| self.stream.peek(&mut [0]));
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match outcome {
            Ok(_) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            Err(error) => panic!("the connection broke: {error}"),
        }
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the server takes bytes");
    }

    /// Sends bytes, unless the server has gone.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The server's next frame, or nothing at the orderly end of the connection.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        use std::io::Read;
        loop {
            if let Some((frame, length)) = read_frame(&self.received) {
                self.received.drain(..length);
                return Some(frame);
            }
            let mut buffer = [0; 4096];
            let count = again(|| self.stream.read(&mut buffer)).expect("the connection ends in order");
            if count == 0 {
                assert!(self.received.is_empty(), "the connection ends inside a frame");
                return None;
            }
            self.received.extend_from_slice(&buffer[..count]);
        }
    }

    /// Waits for the server's close frame, over frames before it, and then for the end of the connection; returns the
    /// code.
    pub(crate) fn close_code(&mut self) -> u16 {
        let frame = loop {
            let frame = self.next().expect("a close frame comes");
            if frame.first == 0x88 {
                break frame;
            }
        };
        let code = frame.payload.first_chunk::<2>().expect("the close frame has a code");
        assert_eq!(self.next(), None, "nothing comes after the close frame");
        u16::from_be_bytes(*code)
    }
}

/// Reads a server's frame, which is never masked, from the start of `bytes`.
fn read_frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "a server does not mask");
    let (length, start) = match second {
        126 => (usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize, 10),
        short => (usize::from(short), 2),
    };
    let payload = bytes.get(start..start + length)?.to_vec();
    Some((Frame { first, payload }, start + length))
}

/// A client's frame with this first byte, masked.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The header of a client's frame that claims this length, in the shortest form.
pub(crate) fn header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..126 => bytes.push(0x80 | length as u8),
        126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes
}

/// A close frame with this code and reason.
pub(crate) fn close_frame(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes(), reason].concat())
}

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
