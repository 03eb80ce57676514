//! One connection: at first it speaks HTTP; a subscriber is but a socket and a position in a backlog.
//!
//! # Contract       each reading is answered with one write
//! # Bounds         a subscriber holds no bytes of its own, but for a frame that it has half sent; a publisher that
//! does not take its answers is not read

use std::io::{self, Cursor, ErrorKind, Read, Write};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, OpCode};

use super::backlog::{Backlog, Backlogs, Form};
use super::request::{self, Request};

/// A socket and what its peer is to us.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// Whether the socket took less than it was given, and has not become writable since.
    blocked: bool,
    /// A subscriber's position in its backlog.
    cursor: u64,
    role: Role,
}

/// How a reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing is left.
    Drained,
    /// More may be there; the poll will not tell it again.
    Unfinished,
    /// The peer has to take its answers first; the poll tells when it can.
    Waiting,
    /// The connection is to be closed.
    Over,
}

#[derive(Debug)]
enum Role {
    /// Speaks HTTP. Boxed, since most connections soon cease to.
    Caller(Box<Caller>),
    /// A subscriber, and the beginning of a frame it sent.
    WebSocket(Vec<u8>),
    /// A subscriber.
    EventStream,
}

/// The state of a connection that speaks HTTP.
#[derive(Debug, Default)]
struct Caller {
    /// The beginning of a request.
    held: Vec<u8>,
    /// The head of the last publish: a publisher's next one is mostly the same, and then need not be parsed.
    head: Vec<u8>,
    /// The length of the body that goes with it.
    body_bytes: usize,
    /// Answers that the socket did not take.
    owed: Vec<u8>,
}

/// What becomes of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It goes on calling.
    Call,
    /// It subscribes.
    Subscribe(Form),
    /// It ends.
    Close,
}

impl Connection {
    /// A new caller.
    pub(crate) fn new(stream: TcpStream) -> Connection {
        Connection { stream, blocked: false, cursor: 0, role: Role::Caller(Box::default()) }
    }

    /// Watches the socket in both directions, once and for all.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// What a subscriber gets; `None` for others.
    pub(crate) fn form(&self) -> Option<Form> {
        match self.role {
            Role::Caller(_) => None,
            Role::WebSocket(_) => Some(Form::WebSocket),
            Role::EventStream => Some(Form::EventStream),
        }
    }

    /// A subscriber's position.
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// How many bytes a subscriber is behind.
    pub(crate) fn lag(&self, backlog: &Backlog) -> u64 {
        backlog.head() - self.cursor
    }

    /// Notes that the socket is writable; whether that is news.
    pub(crate) fn release(&mut self) -> bool {
        std::mem::take(&mut self.blocked)
    }

    /// Whether answers wait to be sent.
    pub(crate) fn is_owing(&self) -> bool {
        matches!(&self.role, Role::Caller(caller) if !caller.owed.is_empty())
    }

    /// Writes what a subscriber has yet to get, as far as the socket takes it.
    ///
    /// # Errors
    /// The connection is over.
    pub(crate) fn write(&mut self, backlog: &Backlog) -> io::Result<()> {
        for end in backlog.ends() {
            if self.blocked {
                break;
            }
            if self.cursor < end {
                let bytes = backlog.bytes(self.cursor, end);
                let sent = send(&mut self.stream, bytes)?;
                self.cursor += sent as u64;
                // After a short write the system tells when there is room, as it does after one that was refused.
                self.blocked = sent < bytes.len();
            }
        }
        Ok(())
    }

    /// Reads once, does what is asked and answers it.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        answers: &mut Vec<u8>,
        backlogs: &mut Backlogs,
    ) -> Outcome {
        match self.pay() {
            Ok(true) => {}
            Ok(false) => return Outcome::Waiting,
            Err(_) => return Outcome::Over,
        }
        let count = match self.stream.read(buffer) {
            Ok(0) => return Outcome::Over,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Outcome::Drained,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Outcome::Unfinished,
            Err(_) => return Outcome::Over,
        };
        if !self.take(&buffer[..count], answers, backlogs) {
            return Outcome::Over;
        }
        if count == buffer.len() { Outcome::Unfinished } else { Outcome::Drained }
    }

    /// Does what the input asks; whether the connection goes on.
    fn take(&mut self, input: &[u8], answers: &mut Vec<u8>, backlogs: &mut Backlogs) -> bool {
        match &mut self.role {
            Role::Caller(caller) => {
                answers.clear();
                let (next, rest) = caller.take(input, answers, backlogs);
                let Ok(all_sent) = caller.answer(&mut self.stream, answers) else { return false };
                match next {
                    Next::Call => true,
                    Next::Close => false,
                    Next::Subscribe(form) => {
                        self.cursor = backlogs.of(form).join();
                        self.role = match form {
                            Form::WebSocket => Role::WebSocket(Vec::new()),
                            Form::EventStream => Role::EventStream,
                        };
                        // A subscriber owes no answers: one that did not even take its first is given up.
                        all_sent && self.take(&rest, answers, backlogs)
                    }
                }
            }
            Role::WebSocket(held) => match closes(held, input) {
                Ok(true) => {
                    // A close frame may only stand between two others; the connection ends in any case.
                    if !self.blocked {
                        let _ = self.stream.write(&CLOSE_FRAME);
                    }
                    false
                }
                Ok(false) => true,
                Err(_) => false,
            },
            Role::EventStream => true,
        }
    }

    /// Sends a caller what it is owed; whether that was all.
    fn pay(&mut self) -> io::Result<bool> {
        let Role::Caller(caller) = &mut self.role else { return Ok(true) };
        if !caller.owed.is_empty() {
            let sent = send(&mut self.stream, &caller.owed)?;
            caller.owed.drain(..sent);
        }
        Ok(caller.owed.is_empty())
    }
}

impl Caller {
    /// Sends answers, when none are owed; whether the socket took them all. Those it did not are owed.
    fn answer(&mut self, stream: &mut TcpStream, answers: &[u8]) -> io::Result<bool> {
        if !answers.is_empty() {
            let sent = send(stream, answers)?;
            self.owed.extend_from_slice(&answers[sent..]);
        }
        Ok(self.owed.is_empty())
    }

    /// Takes requests as long as they are whole. What comes behind a subscription is given back.
    fn take(&mut self, input: &[u8], answers: &mut Vec<u8>, backlogs: &mut Backlogs) -> (Next, Vec<u8>) {
        // A publisher's requests mostly arrive whole, and are read where they lie.
        if self.held.is_empty() {
            let (next, used) = self.take_requests(input, answers, backlogs);
            let rest = &input[used..];
            if next == Next::Call {
                self.held.extend_from_slice(rest);
                return (next, Vec::new());
            }
            return (next, rest.to_vec());
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(input);
        let (next, used) = self.take_requests(&held, answers, backlogs);
        held.drain(..used);
        if next == Next::Call {
            self.held = held;
            return (next, Vec::new());
        }
        (next, held)
    }

    /// Takes whole requests from the start of `bytes`, up to one that changes the connection; the number is the
    /// length of those taken.
    fn take_requests(
        &mut self,
        bytes: &[u8],
        answers: &mut Vec<u8>,
        backlogs: &mut Backlogs,
    ) -> (Next, usize) {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            if self.head.is_empty() || !rest.starts_with(&self.head) {
                let (request, head_bytes) = match request::read_head(rest) {
                    Ok(Some(read)) => read,
                    Ok(None) => return (Next::Call, used),
                    Err(refusal) => {
                        push_closing(refusal.status(), answers);
                        return (Next::Close, used);
                    }
                };
                match request {
                    Request::Publish(body_bytes) => {
                        rest[..head_bytes].clone_into(&mut self.head);
                        self.body_bytes = body_bytes;
                    }
                    Request::WebSocket(accept) => {
                        answers.extend_from_slice(SWITCHING);
                        answers.extend_from_slice(accept.as_bytes());
                        answers.extend_from_slice(b"\r\n\r\n");
                        return (Next::Subscribe(Form::WebSocket), used + head_bytes);
                    }
                    Request::EventStream => {
                        answers.extend_from_slice(STREAMING);
                        return (Next::Subscribe(Form::EventStream), used + head_bytes);
                    }
                    Request::Ready => {
                        answers.extend_from_slice(ANSWER);
                        used += head_bytes;
                        continue;
                    }
                    Request::Unknown => {
                        push_closing("404 Not Found", answers);
                        return (Next::Close, used);
                    }
                }
            }
            let end = self.head.len() + self.body_bytes;
            let Some(body) = rest.get(self.head.len()..end) else { return (Next::Call, used) };
            backlogs.publish(body);
            answers.extend_from_slice(ANSWER);
            used += end;
        }
    }
}

/// Hops over the frames of a subscriber; whether one of them is a close. The beginning of a last one is held.
///
/// # Errors
/// A frame is too long, or its header cannot be.
fn closes(held: &mut Vec<u8>, input: &[u8]) -> Result<bool, &'static str> {
    let joined;
    let mut rest = if held.is_empty() {
        input
    } else {
        held.extend_from_slice(input);
        joined = std::mem::take(held);
        &joined
    };
    loop {
        let mut cursor = Cursor::new(rest);
        let Some((header, payload_bytes)) = FrameHeader::parse(&mut cursor).map_err(|_| "not a frame")?
        else {
            break;
        };
        if SUBSCRIBER_FRAME_BYTES_MAX < payload_bytes {
            return Err("a frame is too long");
        }
        let end = cursor.position() as usize + payload_bytes as usize;
        if rest.len() < end {
            break;
        }
        if header.opcode == OpCode::Control(Control::Close) {
            return Ok(true);
        }
        rest = &rest[end..];
    }
    held.extend_from_slice(rest);
    Ok(false)
}

/// How much of `bytes` the socket took.
fn send(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}

/// Appends an answer behind which the connection ends.
fn push_closing(status: &str, answers: &mut Vec<u8>) {
    answers.extend_from_slice(b"HTTP/1.1 ");
    answers.extend_from_slice(status.as_bytes());
    answers.extend_from_slice(b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const SWITCHING: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ";
const STREAMING: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n";
/// A close without code or reason.
const CLOSE_FRAME: [u8; 2] = [0x88, 0];
/// What subscribers send is not used, so there is no reason to hold more of it.
const SUBSCRIBER_FRAME_BYTES_MAX: u64 = 64 * 1024;
// Under debug assertions mio notes with each socket which poll it belongs to.
const _: () = assert!(size_of::<Connection>() <= 64, "an idle connection costs its socket and little else");

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `input` in two parts; what became of the caller, the answers, and what the event streams got.
    fn take(input: &[u8], cut: usize) -> (Next, Vec<u8>, Vec<u8>, Vec<u8>) {
        let (mut caller, mut answers, mut backlogs) = (Caller::default(), Vec::new(), Backlogs::new(false));
        backlogs.of(Form::EventStream).join();
        let (mut next, mut rest) = caller.take(&input[..cut], &mut answers, &mut backlogs);
        if next == Next::Call {
            (next, rest) = caller.take(&input[cut..], &mut answers, &mut backlogs);
        } else {
            rest.extend_from_slice(&input[cut..]);
        }
        let backlog = backlogs.of(Form::EventStream);
        (next, rest, answers, backlog.bytes(0, backlog.head()).to_vec())
    }

    #[test]
    fn pipelined_publishes_are_each_answered_wherever_they_are_cut() {
        // The third has the head of the others, the fourth another, the fifth a body that looks like a head.
        let post =
            |body: &str| format!("POST /publish HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let bodies = ["ab", "cd", "ef", "", "POST /"];
        let input: String = bodies.iter().map(|body| post(body)).collect();
        let events: String = bodies.iter().map(|body| format!("data: {body}\n\n")).collect();
        for cut in 0..=input.len() {
            let (next, rest, answers, got) = take(input.as_bytes(), cut);
            assert_eq!((next, rest.len()), (Next::Call, 0), "cut at {cut}");
            assert_eq!(answers, ANSWER.repeat(bodies.len()), "cut at {cut}");
            assert_eq!(got, events.as_bytes(), "cut at {cut}");
        }
    }

    #[test]
    fn what_follows_a_subscription_is_the_subscribers() {
        let input = b"POST /publish HTTP/1.1\r\nContent-Length: 1\r\n\r\nxGET /events HTTP/1.1\r\n\r\nmore";
        for cut in 0..=input.len() {
            let (next, rest, answers, got) = take(input, cut);
            assert_eq!((next, &rest[..]), (Next::Subscribe(Form::EventStream), &b"more"[..]), "cut at {cut}");
            assert_eq!(answers, [ANSWER, STREAMING].concat(), "cut at {cut}");
            assert_eq!(got, b"data: x\n\n", "cut at {cut}");
        }
    }

    #[test]
    fn a_bad_request_ends_the_connection_behind_the_good_ones() {
        let check = |bad: &str, status: &str| {
            let good = "POST /publish HTTP/1.1\r\nContent-Length: 1\r\n\r\nx";
            let (next, _, answers, got) = take(format!("{good}{bad}").as_bytes(), 3);
            let answers = String::from_utf8(answers).expect("text");
            assert_eq!((next, &got[..]), (Next::Close, &b"data: x\n\n"[..]));
            assert_eq!(
                answers.rsplit_once("HTTP/1.1 ").map(|(_, last)| &last[..3]),
                Some(status),
                "{answers}"
            );
        };
        check("GET / HTTP/1.1\r\n\r\n", "404");
        check("nonsense\r\n\r\n", "400");
        check("POST /publish HTTP/1.1\r\n\r\n", "411");
    }

    #[test]
    fn a_close_is_seen_behind_other_frames_wherever_they_are_cut() {
        let mut input = Vec::new();
        for (opcode, length) in [(0x81, 5), (0x89, 0), (0x82, 300), (0x88, 2)] {
            input.push(opcode);
            match length {
                0..126 => input.push(0x80 | length as u8),
                _ => input.extend_from_slice(&[0x80 | 126, (length >> 8) as u8, length as u8]),
            }
            input.extend_from_slice(&[0; 4]);
            input.resize(input.len() + length, 0x88);
        }
        for cut in 0..input.len() {
            let mut held = Vec::new();
            assert_eq!(closes(&mut held, &input[..cut]), Ok(false), "cut at {cut}");
            assert_eq!(closes(&mut held, &input[cut..]), Ok(true), "cut at {cut}");
        }
        let long = [0x82, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 1];
        assert_eq!(closes(&mut Vec::new(), &[&long[..], &[0; 4]].concat()), Err("a frame is too long"));
    }
}
