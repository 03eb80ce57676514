//! One subscriber: from the handshake to counting what it is delivered. No socket, no clock.
//!
//! # Contract       `handle_input` uses up what is whole; the rest is given again with what comes next

use super::progress::Progress;
use super::request;
use super::stream::{Chunks, Counter};
use crate::http;
use crate::options::Transport;
use crate::side_by_side::profile::{Profile, SubscribeWebSocket};
use crate::websocket::{self, Opcode};

/// One subscriber.
#[derive(Debug)]
pub(crate) struct Listener {
    stage: Stage,
    /// What it was delivered.
    pub(crate) progress: Progress,
}

#[derive(Debug)]
enum Stage {
    /// The answer to the upgrade is awaited.
    Upgrade(Box<Opening>),
    /// Text frames are passed over until the subscription is confirmed.
    Confirm(Box<Opening>),
    /// The head of the event stream is awaited.
    Head,
    Frames,
    Blocks,
    Chunks(Box<Chunks>),
}

#[derive(Debug)]
struct Opening {
    key: String,
    /// Frames to send once the upgrade is answered.
    frames: Vec<u8>,
    /// What the frame contains that confirms, while that has not come.
    confirm: Option<String>,
    skip: u32,
}

impl Listener {
    /// A subscriber of `channel`, and what it sends first. One that is not watched may skip what others have read.
    ///
    /// # Errors
    /// The profile has no way to subscribe over `transport`.
    pub(crate) fn new(
        profile: &Profile,
        transport: Transport,
        channel: &str,
        authority: &str,
        is_watched: bool,
    ) -> Result<(Listener, Vec<u8>), String> {
        let missing = || format!("the profile {} has no subscribe.{}", profile.name, transport.name());
        let (stage, text) = match transport {
            Transport::WebSocket => {
                let ws = profile.subscribe.ws.as_ref().ok_or_else(missing)?;
                let path = ws.path.replace("{channel}", channel);
                let (text, key) = request::upgrade(&path, authority, &ws.headers);
                (Stage::Upgrade(Box::new(Opening::new(ws, channel, key))), text)
            }
            Transport::Sse => {
                let sse = profile.subscribe.sse.as_ref().ok_or_else(missing)?;
                let path = sse.path.replace("{channel}", channel);
                (Stage::Head, request::head("GET", &path, authority, &sse.headers) + "\r\n")
            }
        };
        Ok((Listener { stage, progress: Progress::new(is_watched) }, text.into_bytes()))
    }

    /// Whether events come from here on.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Frames | Stage::Blocks | Stage::Chunks(_))
    }

    /// Takes what was read at `now_ns`; what is to be sent is appended to `outgoing`. Returns the bytes used up.
    ///
    /// # Errors
    /// The server refused, broke the protocol or closed the connection.
    pub(crate) fn handle_input(
        &mut self,
        input: &[u8],
        now_ns: u64,
        counter: &mut Counter,
        outgoing: &mut Vec<u8>,
    ) -> Result<usize, String> {
        let mut at = 0;
        while !self.is_open() {
            let length = self.take_opening(&input[at..], outgoing)?;
            if length == 0 && !self.is_open() {
                return Ok(at);
            }
            at += length;
        }
        let (rest, progress) = (&input[at..], &mut self.progress);
        let used = match &mut self.stage {
            Stage::Blocks => counter.take_blocks(rest, now_ns, progress)?,
            Stage::Chunks(chunks) => chunks.take(rest, now_ns, progress, counter)?,
            _ => counter.take_frames(rest, now_ns, progress, outgoing)?,
        };
        Ok(at + used)
    }

    /// How many bytes that come next need not be read, if `held` bytes are held of what came before.
    pub(crate) fn known_bytes(&self, held: usize, counter: &Counter) -> usize {
        // Where one chunk ends and the next begins is another matter for each subscriber.
        match self.stage {
            Stage::Frames | Stage::Blocks => counter.known_bytes(held, &self.progress),
            _ => 0,
        }
    }

    /// One step towards the open stream; 0 while more has to come first.
    fn take_opening(&mut self, input: &[u8], outgoing: &mut Vec<u8>) -> Result<usize, String> {
        match &mut self.stage {
            Stage::Upgrade(opening) => {
                let Some((head, length)) = http::read_head(input)? else { return Ok(0) };
                websocket::check_upgrade(&head, &opening.key)?;
                outgoing.append(&mut opening.frames);
                let opening = std::mem::replace(&mut self.stage, Stage::Frames);
                if let Stage::Upgrade(opening) = opening
                    && opening.is_awaiting()
                {
                    self.stage = Stage::Confirm(opening);
                }
                Ok(length)
            }
            Stage::Confirm(opening) => {
                let Some((frame, length)) = websocket::read_frame(input)? else { return Ok(0) };
                match frame.opcode {
                    Opcode::Text | Opcode::Binary => opening.take_frame(frame.payload),
                    Opcode::Ping => websocket::write_frame(Opcode::Pong, frame.payload, [0; 4], outgoing),
                    Opcode::Close => return Err("the server closed the connection".to_owned()),
                    Opcode::Continuation | Opcode::Pong => {}
                }
                if !opening.is_awaiting() {
                    self.stage = Stage::Frames;
                }
                Ok(length)
            }
            Stage::Head => {
                let Some((head, length)) = http::read_head(input)? else { return Ok(0) };
                if head.status != 200 || !head.content_type.starts_with("text/event-stream") {
                    return Err(format!(
                        "the event stream was answered {} {}",
                        head.status, head.content_type
                    ));
                }
                self.stage = if head.chunked { Stage::Chunks(Box::default()) } else { Stage::Blocks };
                Ok(length)
            }
            Stage::Frames | Stage::Blocks | Stage::Chunks(_) => Ok(0),
        }
    }
}

impl Opening {
    fn new(ws: &SubscribeWebSocket, channel: &str, key: String) -> Opening {
        let mut frames = Vec::new();
        for text in &ws.send {
            let text = text.replace("{channel}", channel);
            websocket::write_frame(Opcode::Text, text.as_bytes(), [0; 4], &mut frames);
        }
        let confirm = ws.confirm.as_ref().map(|confirm| confirm.replace("{channel}", channel));
        Opening { key, frames, confirm, skip: ws.skip }
    }

    fn is_awaiting(&self) -> bool {
        self.confirm.is_some() || 0 < self.skip
    }

    fn take_frame(&mut self, payload: &[u8]) {
        match &self.confirm {
            Some(confirm) => {
                if memchr::memmem::find(payload, confirm.as_bytes()).is_some() {
                    self.confirm = None;
                }
            }
            None => self.skip -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::handshake::derive_accept_key;

    const PROFILE: &str = r#"{"name":"x","command":["x"],"subscribe":{
        "ws":{"path":"/ws?c={channel}","send":["+{channel}"],"confirm":"ok {channel}","skip":1},
        "sse":{"path":"/e/{channel}"}}}"#;

    /// Feeds `input` in readings cut at `cut`, with what is left over given again.
    fn feed(listener: &mut Listener, input: &[u8], cut: usize) -> Result<(u64, Vec<u8>), String> {
        let (mut counter, mut outgoing) = (Counter::new(true, false), Vec::new());
        let used = listener.handle_input(&input[..cut], 1, &mut counter, &mut outgoing)?;
        listener.handle_input(&input[used..], 1, &mut counter, &mut outgoing)?;
        Ok((counter.events, outgoing))
    }

    #[test]
    fn a_websocket_is_open_once_it_is_confirmed_and_not_before() {
        let profile = Profile::parse(PROFILE).expect("a profile");
        let body = b"\x81\x14due-0123456789abcdef";
        for cut in 0..200 {
            let (mut listener, request) =
                Listener::new(&profile, Transport::WebSocket, "c:1", "h", true).expect("a listener");
            let request = String::from_utf8(request).expect("text");
            assert!(request.starts_with("GET /ws?c=c:1 HTTP/1.1\r\n"), "{request}");
            let key = request.split("Sec-WebSocket-Key: ").nth(1).expect("a key").trim();
            let accept = derive_accept_key(key.as_bytes());
            let mut input = format!("HTTP/1.1 101 X\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").into_bytes();
            input.extend_from_slice(b"\x81\x05hello\x81\x06ok c:1\x81\x04skip");
            input.extend_from_slice(body);
            let (events, outgoing) = feed(&mut listener, &input, cut.min(input.len())).expect("open");
            assert_eq!((events, listener.progress.events, listener.is_open()), (1, 1, true), "cut at {cut}");
            assert_eq!(outgoing, b"\x81\x84\0\0\0\0+c:1");
        }
    }

    #[test]
    fn an_event_stream_is_open_with_its_head() {
        let profile = Profile::parse(PROFILE).expect("a profile");
        let check = |head: &str, content: &str, expected: Result<u64, &str>| {
            let (mut listener, _) =
                Listener::new(&profile, Transport::Sse, "c", "h", true).expect("a listener");
            let input = format!("HTTP/1.1 {head}\r\n\r\n{content}");
            match (feed(&mut listener, input.as_bytes(), 20), expected) {
                (Ok((events, _)), Ok(wanted)) => assert_eq!(events, wanted, "{input}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (got, _) => panic!("{input}: {got:?}"),
            }
        };
        let block = "data: due-0123456789abcdef\n\n";
        let chunk = format!("1c\r\n{block}\r\n");
        check("200 OK\r\nContent-Type: text/event-stream", block, Ok(1));
        check("200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked", &chunk, Ok(1));
        check("200 OK\r\nContent-Type: text/html", "", Err("answered 200 text/html"));
        check("503 No\r\nContent-Type: text/event-stream", "", Err("answered 503"));
    }

    #[test]
    fn a_profile_without_the_transport_is_an_error() {
        let profile = Profile::parse(r#"{"name":"x","command":["x"]}"#).expect("a profile");
        let error = Listener::new(&profile, Transport::Sse, "c", "h", true).expect_err("no way to subscribe");
        assert_eq!(error, "the profile x has no subscribe.sse");
    }
}
