//! A client over WebSocket: its own framing, its commands, and what must come back.

use std::collections::VecDeque;
use std::rc::Rc;

use serde_json::Value;

use crate::answers::{head_end, status_of};
use crate::channels::{PATTERNS, canonical};
use crate::context::Context;
use crate::link::Conn;
use crate::receiver::{Gap, Marks, Receiver, Since};
use crate::twin::number_after;
use crate::wishes::Wishes;

/// A conversation.
pub(crate) struct WebSocket {
    context: Rc<Context>,
    pub(crate) conn: Conn,
    is_open: bool,
    /// Commands whose answer is due, in order; publishes may be answered later than what follows them.
    commands: VecDeque<Sent>,
    /// Payloads of pings that must come back.
    pings: VecDeque<Vec<u8>>,
    next_id: u64,
    /// We have said that we leave.
    has_left: bool,
    /// The server has said goodbye, with this cursor if it shuts down.
    pub(crate) goodbye: Option<Option<u64>>,
    /// The server would not have us.
    pub(crate) is_refused: bool,
}

struct Sent {
    id: Option<u64>,
    command: Command,
}

enum Command {
    Subscribe {
        texts: Vec<&'static str>,
        since: Since,
        asked: Marks,
        told: Option<u64>,
        answers: usize,
    },
    Unsubscribe {
        texts: Vec<&'static str>,
        answers: usize,
    },
    List,
    Ping,
    Publish {
        group: usize,
    },
    /// Must be refused with this code.
    Bad(&'static str),
}

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

impl WebSocket {
    /// Shakes hands over `conn`, subscribing to `texts` at once.
    pub(crate) fn open(
        context: &Rc<Context>,
        mut conn: Conn,
        texts: Vec<&'static str>,
        since: Since,
    ) -> WebSocket {
        let mut query: Vec<String> = texts.iter().map(|text| format!("channel={text}")).collect();
        let mut commands = VecDeque::new();
        if !texts.is_empty() {
            query.extend(since.text().map(|text| format!("since={text}")));
            let asked = Marks::now(context);
            let command = Command::Subscribe { texts, since, asked, told: None, answers: 0 };
            commands.push_back(Sent { id: None, command });
        }
        let request = format!(
            "GET /ws?{} HTTP/1.1\r\nHost: fanfare\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
            query.join("&")
        );
        conn.send(request.as_bytes());
        WebSocket {
            context: Rc::clone(context),
            conn,
            is_open: false,
            commands,
            pings: VecDeque::new(),
            next_id: 1,
            has_left: false,
            goodbye: None,
            is_refused: false,
        }
    }

    /// Says something at random.
    pub(crate) fn speak(&mut self) {
        let context = Rc::clone(&self.context);
        let random = &context.random;
        if self.has_left || self.goodbye.is_some() || !self.conn.is_ready_to_send() {
            return;
        }
        if !self.is_open && random.chance(800) {
            // Most clients wait for the answer to the handshake.
            return;
        }
        match random.below(100) {
            0..25 => self.subscribe(&random_texts(&context), Since::Now),
            25..40 => {
                let since = Since::random(&context, None);
                self.subscribe(&random_texts(&context), since);
            }
            40..55 => {
                let texts = random_texts(&context);
                let named = texts.join("\",\"");
                self.command(format!(r#""type":"unsubscribe","channels":["{named}"]"#), |_| {
                    Command::Unsubscribe { texts, answers: 0 }
                });
            }
            55..62 => self.command(r#""type":"list""#.to_owned(), |_| Command::List),
            62..69 => self.ping(),
            69..90 => self.publish(),
            90..92 => self.command(r#""type":"dance""#.to_owned(), |_| Command::Bad("bad_message")),
            92..94 => self.command(r#""type":"subscribe","channel":"nonsense""#.to_owned(), |_| {
                Command::Bad("bad_channel")
            }),
            94..95 => {
                self.commands.push_back(Sent { id: None, command: Command::Bad("bad_message") });
                self.frame(2, b"\x00\x01", true);
            }
            95..98 => {
                let payload = random.next().to_be_bytes()[..random.index(9)].to_vec();
                self.frame(9, &payload, true);
                self.pings.push_back(payload);
            }
            _ => {
                self.frame(8, &1000u16.to_be_bytes(), true);
                self.has_left = true;
            }
        }
    }

    /// Subscribes.
    pub(crate) fn subscribe(&mut self, texts: &[&'static str], since: Since) {
        let begin = since.text().map(|text| {
            // A bare number may be written as one.
            if text.bytes().all(|byte| byte.is_ascii_digit()) {
                format!(r#","since":{text}"#)
            } else {
                format!(r#","since":"{text}""#)
            }
        });
        let named = texts.join("\",\"");
        let text = format!(r#""type":"subscribe","channels":["{named}"]{}"#, begin.unwrap_or_default());
        let texts = texts.to_vec();
        self.command(text, |asked| Command::Subscribe { texts, since, asked, told: None, answers: 0 });
    }

    /// Asks for the server's word on where the stream stands.
    pub(crate) fn ping(&mut self) {
        self.command(r#""type":"ping""#.to_owned(), |_| Command::Ping);
    }

    /// Publishes an event.
    pub(crate) fn publish(&mut self) {
        let wishes = Wishes::new(&self.context, 1, false);
        let group = wishes.group;
        let members = wishes.envelopes[0].members();
        self.command(format!(r#""type":"publish",{members}"#), |_| Command::Publish { group });
    }

    fn command(&mut self, members: String, make: impl FnOnce(Marks) -> Command) {
        let id = self.next_id;
        self.next_id += 1;
        let command = make(Marks::now(&self.context));
        self.commands.push_back(Sent { id: Some(id), command });
        self.context.trace(|| format!("sends #{id} {:.100}", members));
        let text = format!(r#"{{{members},"id":{id}}}"#);
        let context = Rc::clone(&self.context);
        let random = &context.random;
        if !context.fault(150) {
            return self.frame(1, text.as_bytes(), true);
        }
        // In fragments, with a control frame between.
        let cut = random.index(text.len() + 1);
        self.frame(1, &text.as_bytes()[..cut], false);
        if random.chance(300) {
            self.frame(9, b"mid", true);
            self.pings.push_back(b"mid".to_vec());
        }
        self.frame(0, &text.as_bytes()[cut..], true);
    }

    fn frame(&mut self, opcode: u8, payload: &[u8], is_last: bool) {
        let mut bytes = vec![opcode | if is_last { 0x80 } else { 0 }];
        match payload.len() {
            len @ 0..126 => bytes.push(0x80 | len as u8),
            len @ 126..0x1_0000 => {
                bytes.push(0x80 | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
            len => {
                bytes.push(0x80 | 127);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        let mask = (self.context.random.next() as u32).to_be_bytes();
        bytes.extend(mask);
        bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        self.conn.send(&bytes);
    }

    /// Understands what has arrived.
    pub(crate) fn understand(&mut self, receiver: &mut Receiver) {
        let incoming = std::mem::take(&mut self.conn.incoming);
        let mut rest = &incoming[..];
        if !self.is_open && !self.is_refused {
            let Some(end) = head_end(rest) else {
                self.conn.incoming = incoming;
                return;
            };
            let head = String::from_utf8_lossy(&rest[..end]);
            if status_of(&head) != 101 {
                assert!([503, 408].contains(&status_of(&head)), "{}: {head}", receiver.name);
                self.is_refused = true;
            } else {
                assert!(head.contains(ACCEPT), "{head}");
                self.is_open = true;
            }
            rest = &rest[end..];
        }
        if self.is_open {
            while let Some((opcode, payload, len)) = next_frame(rest) {
                assert!(self.goodbye.is_none(), "{}: nothing follows a close", receiver.name);
                self.message(receiver, opcode, payload);
                rest = &rest[len..];
            }
        }
        self.conn.incoming = rest.to_vec();
    }

    fn message(&mut self, receiver: &mut Receiver, opcode: u8, payload: &[u8]) {
        match opcode {
            1 => self.text(receiver, payload),
            8 => {
                let code = payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
                let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
                self.context.trace(|| format!("{} reads close {code:?} {reason}", receiver.name));
                let cursor = match code {
                    Some(1000) => {
                        assert!(self.has_left, "{}: closed without reason", receiver.name);
                        None
                    }
                    Some(1001) => {
                        assert!(
                            self.context.hub.is_draining(),
                            "{}: sent away without reason",
                            receiver.name
                        );
                        let seq = reason.strip_prefix(&format!("{}-", self.context.hub.epoch));
                        let seq = seq.and_then(|seq| seq.parse().ok()).expect("the reason is the cursor");
                        receiver.position(&self.context, seq, "goodbye");
                        self.context.tally.count("goodbye");
                        if seq + 1 < self.context.twin.borrow().end() {
                            self.context.tally.count("goodbye to one that was behind");
                        }
                        Some(seq)
                    }
                    Some(1008) if reason == "message took too long" => None,
                    _ => panic!("{}: closed with {code:?} {reason}", receiver.name),
                };
                self.goodbye = Some(cursor);
                if !self.has_left && !self.conn.is_half_closed() {
                    self.frame(8, &payload[..2], true);
                }
            }
            9 => {
                if !self.has_left && !self.conn.is_half_closed() {
                    self.frame(10, payload, true);
                }
            }
            10 => assert_eq!(self.pings.pop_front().as_deref(), Some(payload), "pongs are what pings were"),
            _ => panic!("{}: a frame of kind {opcode}", receiver.name),
        }
    }

    fn text(&mut self, receiver: &mut Receiver, payload: &[u8]) {
        let context = Rc::clone(&self.context);
        let text = std::str::from_utf8(payload).expect("a text message is text");
        context.trace(|| format!("{} reads {text:.100}", receiver.name));
        if text.starts_with(r#"{"type":"event","#) {
            let seq = number_after(text, r#""seq":"#).expect("an event has a number");
            return receiver.event(&context, seq, payload);
        }
        let message: Value = serde_json::from_str(text).expect("a message is JSON");
        let seq = || message["seq"].as_u64().expect("seq");
        match message["type"].as_str().expect("a message has a type") {
            "cursor" => {
                context.tally.count("cursor in silence");
                receiver.position(&context, seq(), "cursor");
            }
            "gap" => receiver.gap(&context, &Gap::parse(&message)),
            "published" => {
                let id = message["id"].as_u64();
                let at = self.commands.iter().position(|sent| sent.id == id).expect("an answer to a command");
                match self.commands.remove(at).map(|sent| sent.command) {
                    Some(Command::Publish { group }) => {
                        context.twin.borrow_mut().accepted(group, seq(), seq())
                    }
                    _ => panic!("{}: published what was none: {text}", receiver.name),
                }
            }
            "error" => self.error(receiver, &message),
            kind => self.answer(receiver, kind, &message),
        }
    }

    /// An answer, which comes in the order of the commands, but for those to publishes.
    fn answer(&mut self, receiver: &mut Receiver, kind: &str, message: &Value) {
        let context = Rc::clone(&self.context);
        let is_next = |sent: &Sent| !matches!(sent.command, Command::Publish { .. });
        let at = self.commands.iter().position(is_next).unwrap_or_else(|| panic!("unasked: {message}"));
        let sent = &mut self.commands[at];
        assert_eq!(message["id"].as_u64(), sent.id, "answers come in order: {message}");
        let is_answered = match (&mut sent.command, kind) {
            (Command::Subscribe { texts, since, asked, told, answers }, "subscribed") => {
                let seq = message["seq"].as_u64().expect("seq");
                assert_eq!(message["channel"], texts[*answers], "{message}");
                assert_eq!(message["epoch"], context.hub.epoch.as_str(), "{message}");
                assert!(told.is_none_or(|told| told == seq), "all channels of a command begin together");
                let limit = context.hub.limits.subscriptions_max;
                assert!(receiver.patterns().len() + receiver.added(texts).len() <= limit, "{message}");
                *told = Some(seq);
                *answers += 1;
                let is_last = *answers == texts.len();
                if is_last {
                    receiver.subscribed(&context, texts, since.clone(), seq, *asked);
                }
                is_last
            }
            (Command::Unsubscribe { texts, answers }, "unsubscribed") => {
                assert_eq!(message["channel"], texts[*answers], "{message}");
                receiver.unsubscribed(&context, texts[*answers]);
                *answers += 1;
                *answers == texts.len()
            }
            (Command::List, "subscriptions") => {
                let mut listed: Vec<&str> =
                    message["channels"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                listed.sort_unstable();
                assert_eq!(listed, receiver.patterns(), "{}", receiver.name);
                receiver.position(&context, message["seq"].as_u64().expect("seq"), "list");
                true
            }
            (Command::Ping, "pong") => {
                receiver.position(&context, message["seq"].as_u64().expect("seq"), "pong");
                true
            }
            _ => panic!("{}: not the answer that is due: {message}", receiver.name),
        };
        if is_answered {
            self.commands.remove(at);
        }
    }

    fn error(&mut self, receiver: &mut Receiver, message: &Value) {
        let (id, code) = (message["id"].as_u64(), message["code"].as_str().expect("an error has a code"));
        let is_it = |sent: &Sent| sent.id == id && (id.is_some() || matches!(sent.command, Command::Bad(_)));
        let at = self.commands.iter().position(is_it).unwrap_or_else(|| panic!("unasked: {message}"));
        let Some(sent) = self.commands.remove(at) else { return };
        self.context.tally.count(&format!("refused {code}"));
        match sent.command {
            Command::Publish { group } => {
                assert!(["overloaded", "channels_full", "draining"].contains(&code), "{message}");
                self.context.twin.borrow_mut().refused(group);
            }
            Command::Bad(expected) => assert_eq!(code, expected, "{message}"),
            Command::Subscribe { texts, since, answers: 0, .. } => {
                receiver.settle(&self.context, None);
                let limit = self.context.hub.limits.subscriptions_max;
                // A name that is given twice counts once, but no more names than fit are looked at.
                let is_too_much =
                    limit < receiver.patterns().len() + receiver.added(&texts).len() || limit < texts.len();
                let is_too_late = since != Since::Now && receiver.is_subscribed();
                match code {
                    "subscription_limit" => assert!(is_too_much, "{message}"),
                    "unsupported" => assert!(is_too_late && !is_too_much, "{message}"),
                    _ => panic!("{}: {message}", receiver.name),
                }
            }
            Command::Unsubscribe { texts, .. } => {
                assert_eq!(code, "subscription_limit", "{message}");
                assert!(self.context.hub.limits.subscriptions_max < texts.len(), "{message}");
            }
            _ => panic!("{}: {message}", receiver.name),
        }
    }

    /// Whether the conversation is over. The server must not have ended it for no reason.
    pub(crate) fn is_over(&self, name: &str) -> bool {
        if !self.conn.is_at_end() {
            return false;
        }
        let limits = &self.context.hub.limits;
        let is_excused = self.has_left
            || self.goodbye.is_some()
            || self.is_refused
            || self.conn.is_half_closed()
            || self.conn.is_reset()
            || self.context.hub.is_draining();
        let patience = limits.stall_max.min(limits.pong_deadline).min(limits.head_deadline);
        // One that is turned away may find nothing but the end.
        let patience = if self.is_open { patience } else { patience.min(limits.linger_max) };
        if let (false, Some(unrest_ms)) = (is_excused, self.conn.unrest_ms()) {
            assert!(
                patience.as_millis() as u64 <= unrest_ms,
                "{name}: let go after {unrest_ms} ms of unrest"
            );
        }
        true
    }

    /// Whether every command was answered.
    pub(crate) fn check_answered(&self, name: &str) {
        let due: Vec<Option<u64>> = self.commands.iter().map(|sent| sent.id).collect();
        assert!(due.is_empty(), "{name}: commands were not answered: {due:?}");
        assert!(self.pings.is_empty(), "{name}: pings were not answered");
        assert!(self.conn.incoming.is_empty(), "{name}: half a message");
    }

    /// Whether it is a WebSocket that goes on.
    pub(crate) fn is_going_on(&self) -> bool {
        self.is_open && !self.has_left && self.goodbye.is_none() && !self.conn.is_half_closed()
    }
}

/// The next whole frame: its kind, what it carries and how long it is.
fn next_frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(first & 0xF0, 0x80, "the server sends whole messages, without extensions");
    assert_eq!(second & 0x80, 0, "the server does not mask");
    let (len, header) = match second {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
        len => (usize::from(len), 2),
    };
    Some((first & 0x0F, bytes.get(header..header + len)?, header + len))
}

/// Some patterns.
pub(crate) fn random_texts(context: &Context) -> Vec<&'static str> {
    let count = 1 + context.random.index(3);
    (0..count).map(|_| context.random.pick(PATTERNS)).collect()
}

/// Some patterns, no more different ones than a connection may have.
pub(crate) fn random_texts_that_fit(context: &Context) -> Vec<&'static str> {
    let mut texts = random_texts(context);
    texts.sort_by_key(|text| canonical(text));
    texts.dedup_by_key(|text| canonical(text));
    texts.truncate(context.hub.limits.subscriptions_max);
    texts
}

impl Since {
    /// As a client writes it.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Since::Now => None,
            Since::Earliest => Some("earliest".to_owned()),
            Since::After(_, text) | Since::Foreign(text) => Some(text.clone()),
        }
    }

    /// Where to begin: mostly at `bookmark`, sometimes anywhere.
    pub(crate) fn random(context: &Context, bookmark: Option<u64>) -> Since {
        let (random, epoch) = (&context.random, context.hub.epoch);
        let published = context.hub.log.published();
        let seq = match (random.below(100), bookmark) {
            (0..60, Some(seq)) => seq,
            (0..75, _) => return Since::Now,
            (75..82, _) => return Since::Earliest,
            (82..90, _) => random.below(published),
            (90..94, _) => published - 1,
            (94..96, _) => published + random.below(3),
            (96..97, _) => u64::MAX,
            _ => {
                return Since::Foreign(format!("another-{}", random.below(9)).replace("another", "zzzzzzzz"));
            }
        };
        let text = if random.chance(500) { format!("{epoch}-{seq}") } else { seq.to_string() };
        Since::After(seq, text)
    }
}
