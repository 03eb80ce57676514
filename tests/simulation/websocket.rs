//! A client over WebSocket: its own framing, its commands, and what must come back.

use std::collections::VecDeque;
use std::rc::Rc;

use serde_json::Value;

use crate::answers::{head_end, status_of};
use crate::channels::{GUTS_PATTERNS, PATTERNS, SDK_PATTERNS, canonical};
use crate::context::Context;
use crate::dialect::{Dialect, guts_error};
use crate::filter::Filter;
use crate::link::Conn;
use crate::policy::{self, Policy, slow_patience};
use crate::receiver::{Gap, Marks, Receiver, Since};
use crate::wishes::Wishes;

/// A conversation.
pub(crate) struct WebSocket {
    context: Rc<Context>,
    pub(crate) conn: Conn,
    dialect: Dialect,
    /// What it asked for at connect, where nothing is answered to that.
    unanswered: Vec<&'static str>,
    is_open: bool,
    /// Commands whose answer is due, in order; publishes may be answered later than what follows them.
    commands: VecDeque<Sent>,
    /// Payloads of pings that must come back, each with the filter that was asked for last before it.
    pings: VecDeque<(Vec<u8>, u64)>,
    pings_sent: u32,
    /// Filters that were asked for and are not answered; the receiver does not know of them yet.
    pub(crate) wanted: Vec<Option<Filter>>,
    /// How many there were in all.
    filters: u64,
    next_id: u64,
    /// We have said that we leave.
    has_left: bool,
    /// The server has said goodbye, with this cursor if it shuts down.
    pub(crate) goodbye: Option<Option<u64>>,
    /// The server would not have us.
    pub(crate) is_refused: bool,
    /// It said so because we are slow.
    was_slow: bool,
}

struct Sent {
    id: Option<u64>,
    command: Command,
}

impl Sent {
    /// The policy that it asks for.
    fn policy(&self) -> Option<Policy> {
        match &self.command {
            Command::Subscribe { policy, .. } => *policy,
            _ => None,
        }
    }
}

enum Command {
    Subscribe {
        texts: Vec<&'static str>,
        filter: Option<Filter>,
        policy: Option<Policy>,
        since: Since,
        asked: Marks,
        told: Option<u64>,
        answers: usize,
    },
    Filter(Option<Filter>),
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
        dialect: Dialect,
        texts: Vec<&'static str>,
        since: Since,
        filter: Option<&Filter>,
        policy: Option<Policy>,
    ) -> WebSocket {
        let mut query: Vec<String> = Vec::new();
        let mut commands = VecDeque::new();
        let mut unanswered = Vec::new();
        if dialect == Dialect::Engram {
            query.extend(texts.iter().map(|text| text.replace("memory:", "workspace=")));
            unanswered = texts;
        } else {
            query.extend(texts.iter().map(|text| format!("channel={text}")));
            if !texts.is_empty() {
                query.extend(since.query());
                let asked = Marks::now(context);
                let (filter, policy, told, answers) = (None, None, None, 0);
                let command = Command::Subscribe { texts, filter, policy, since, asked, told, answers };
                commands.push_back(Sent { id: None, command });
            }
        }
        query.extend(filter.into_iter().flat_map(Filter::query));
        query.extend(policy.map(|policy| format!("on_slow={policy}")));
        // The client library of one has an address of its own.
        let path = if dialect == Dialect::Sdk { "/ws/subscribe" } else { "/ws" };
        if ![Dialect::Native, Dialect::Sdk].contains(&dialect) {
            query.push(format!("dialect={}", dialect.name()));
        }
        context.trace(|| format!("shakes hands for {}", query.join("&")));
        let request = format!(
            "GET {path}?{} HTTP/1.1\r\nHost: fanfare\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
            query.join("&")
        );
        conn.send(request.as_bytes());
        WebSocket {
            context: Rc::clone(context),
            conn,
            dialect,
            unanswered,
            is_open: false,
            commands,
            pings: VecDeque::new(),
            pings_sent: 0,
            wanted: Vec::new(),
            filters: 0,
            next_id: 1,
            has_left: false,
            goodbye: None,
            is_refused: false,
            was_slow: false,
        }
    }

    /// Says something at random.
    pub(crate) fn speak(&mut self, receiver: &mut Receiver) {
        let context = Rc::clone(&self.context);
        let random = &context.random;
        if self.has_left || self.goodbye.is_some() || !self.conn.is_ready_to_send() {
            return;
        }
        if !self.is_open && random.chance(800) {
            // Most clients wait for the answer to the handshake.
            return;
        }
        match (self.dialect, random.below(100)) {
            (_, 95..98) => {
                let payload = random.next().to_be_bytes()[..random.index(9)].to_vec();
                // The first time many at once, which throws no dice.
                let burst = if self.pings_sent == 0 { 12 } else { 1 };
                for _ in 0..burst {
                    self.ping_frame(payload.clone());
                }
            }
            (_, 98..) => {
                self.frame(8, &1000u16.to_be_bytes(), true);
                self.has_left = true;
            }
            (Dialect::Guts | Dialect::Sdk, choice) => self.speak_guts(choice),
            (Dialect::Engram, choice) => self.speak_engram(choice),
            (Dialect::Native | Dialect::CloudEvents, choice) => self.speak_native(receiver, choice),
        }
    }

    fn speak_native(&mut self, receiver: &mut Receiver, choice: u64) {
        let context = Rc::clone(&self.context);
        let random = &context.random;
        match choice {
            0..12 => {
                let filter = Filter::random(random, 500);
                self.subscribe(receiver, &random_texts(&context), Since::Now, filter);
            }
            12..40 => {
                let since = Since::random(&context, None);
                self.subscribe(receiver, &random_texts(&context), since, Filter::random(random, 700));
            }
            40..52 => {
                let texts = random_texts(&context);
                let named = texts.join("\",\"");
                self.command(format!(r#""type":"unsubscribe","channels":["{named}"]"#), |_| {
                    Command::Unsubscribe { texts, answers: 0 }
                });
            }
            52..57 => self.command(r#""type":"list""#.to_owned(), |_| Command::List),
            57..63 => self.ping(),
            63..72 => {
                let filter = Filter::random(random, 300);
                let object = filter.as_ref().map_or_else(|| "{}".to_owned(), Filter::object);
                self.command(format!(r#""type":"filter","filter":{object}"#), |_| Command::Filter(filter));
            }
            72..91 => self.publish(),
            choice => {
                let (text, code) = match choice {
                    91 => (r#""type":"dance""#, "bad_message"),
                    92 => (r#""type":"subscribe","channel":"nonsense""#, "bad_channel"),
                    93 if random.chance(500) => {
                        (r#""type":"subscribe","channel":"x:a","on_slow":"late""#, "bad_on_slow")
                    }
                    93 => (r#""type":"filter","filter":{"event_types":["bogus"]}"#, "unknown_event_type"),
                    _ if random.chance(500) => {
                        (r#""type":"subscribe","channel":"x:a","filter":{"types":[]}"#, "bad_filter")
                    }
                    _ if self.dialect != Dialect::Native => return,
                    _ => {
                        self.commands.push_back(Sent { id: None, command: Command::Bad("bad_message") });
                        return self.frame(1, b"\x00\x01", true);
                    }
                };
                self.command(text.to_owned(), |_| Command::Bad(code));
            }
        }
    }

    fn speak_guts(&mut self, choice: u64) {
        let context = Rc::clone(&self.context);
        let text = context.random.pick(self.patterns());
        let command = match choice {
            0..50 => {
                let (filter, asked) = (None, Marks::now(&context));
                let (texts, since) = (vec![text], Since::Now);
                let (policy, told, answers) = (None, None, 0);
                let command = Command::Subscribe { texts, filter, policy, since, asked, told, answers };
                (format!(r#"{{"type":"subscribe","channel":"{text}"}}"#), command)
            }
            50..75 => {
                let command = Command::Unsubscribe { texts: vec![text], answers: 0 };
                (format!(r#"{{"type":"unsubscribe","repository":"{text}"}}"#), command)
            }
            75..88 => (r#"{"type":"ping"}"#.to_owned(), Command::Ping),
            88..92 => (r#"{"type":"list"}"#.to_owned(), Command::Bad("bad_message")),
            _ => (r#"{"type":"subscribe","channel":"x:a"}"#.to_owned(), Command::Bad("bad_channel")),
        };
        context.trace(|| format!("sends {}", command.0));
        self.commands.push_back(Sent { id: None, command: command.1 });
        self.frame(1, command.0.as_bytes(), true);
    }

    fn speak_engram(&mut self, choice: u64) {
        let context = Rc::clone(&self.context);
        let text = match choice {
            0..40 => {
                let filter = Filter::random_engram(&context.random);
                let object = filter.engram_object();
                // An object that asks for nothing is none that is understood, but for the empty one.
                self.wanted.push(if object == "{}" { None } else { Some(filter) });
                object
            }
            40..50 => {
                self.wanted.push(None);
                " { } ".to_owned()
            }
            _ => r#"{"type":"ping"}"#.to_owned(),
        };
        context.trace(|| format!("sends {text}"));
        self.frame(1, text.as_bytes(), true);
    }

    /// What a client of its dialect subscribes to.
    fn patterns(&self) -> &'static [&'static str] {
        patterns_of(self.dialect)
    }

    /// Subscribes.
    pub(crate) fn subscribe(
        &mut self,
        receiver: &mut Receiver,
        texts: &[&'static str],
        since: Since,
        filter: Option<Filter>,
    ) {
        let begin = since.member().unwrap_or_default();
        let object = filter.as_ref().map(|filter| format!(r#","filter":{}"#, filter.object()));
        let named = texts.join("\",\"");
        let object = object.unwrap_or_default();
        let policy = policy::random(&self.context.random);
        policy.into_iter().for_each(|policy| receiver.policies.ask_for(policy));
        let on_slow = policy.map(|policy| format!(r#","on_slow":"{policy}""#)).unwrap_or_default();
        let text = format!(r#""type":"subscribe","channels":["{named}"]{begin}{object}{on_slow}"#);
        let texts = texts.to_vec();
        self.command(text, |asked| Command::Subscribe {
            texts,
            filter,
            policy,
            since,
            asked,
            told: None,
            answers: 0,
        });
    }

    /// Asks for the server's word on where the stream stands.
    pub(crate) fn ping(&mut self) {
        if self.dialect == Dialect::Engram {
            return self.ping_frame(b"calm".to_vec());
        }
        if !self.dialect.has_native_answers() {
            self.commands.push_back(Sent { id: None, command: Command::Ping });
            return self.frame(1, br#"{"type":"ping"}"#, true);
        }
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
            self.ping_frame(b"mid".to_vec());
        }
        self.frame(0, &text.as_bytes()[cut..], true);
    }

    fn ping_frame(&mut self, mut payload: Vec<u8>) {
        // So that no two are the same.
        self.pings_sent += 1;
        payload.extend(self.pings_sent.to_be_bytes());
        self.frame(9, &payload, true);
        self.pings.push_back((payload, self.filters + self.wanted.len() as u64));
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
        for filter in self.wanted.drain(..) {
            self.filters = receiver.holdings.ask_for(filter);
        }
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
                receiver.opened(&self.context);
                receiver.subscribed_somewhere(&self.context, &self.unanswered);
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
                        receiver.goodbye(&self.context, seq);
                        self.context.tally.count("goodbye");
                        if seq + 1 < self.context.twin.borrow().end() {
                            self.context.tally.count("goodbye to one that was behind");
                        }
                        Some(seq)
                    }
                    Some(1013) => {
                        assert!(receiver.policies.may_be("close"), "{}: sent away unasked", receiver.name);
                        let seq = reason.strip_prefix(&format!("{}-", self.context.hub.epoch));
                        let seq = seq.and_then(|seq| seq.parse().ok()).expect("the reason is the cursor");
                        receiver.goodbye(&self.context, seq);
                        self.context.tally.count("closed for being slow");
                        self.was_slow = true;
                        Some(seq)
                    }
                    Some(1008) if reason == "message took too long" => None,
                    Some(1008) if reason == "more control frames in a second than allowed" => {
                        assert!(self.context.hub.limits.control_frame_rate.is_some());
                        self.context.tally.count("too many control frames");
                        None
                    }
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
            10 => {
                // Where it does not read it is owed the last one only.
                let answered = self.pings.iter().position(|(sent, _)| sent == payload);
                let answered = answered.expect("a pong is the answer to a ping");
                if 0 < answered {
                    self.context.tally.count("pong in place of others");
                }
                if let Some((_, filters)) = self.pings.drain(..=answered).next_back() {
                    receiver.is_in_force(&self.context, filters);
                }
            }
            _ => panic!("{}: a frame of kind {opcode}", receiver.name),
        }
    }

    fn text(&mut self, receiver: &mut Receiver, payload: &[u8]) {
        let context = Rc::clone(&self.context);
        let text = std::str::from_utf8(payload).expect("a text message is text");
        context.trace(|| format!("{} reads {text:.100}", receiver.name));
        if let Some(seq) = self.dialect.events_of_websocket().seq_of(&context, text) {
            return receiver.event(&context, self.dialect.events_of_websocket(), seq, text);
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
            "error" if self.dialect.has_native_answers() => {
                let code = message["code"].as_str().expect("an error has a code").to_owned();
                self.error(receiver, &message, &code);
            }
            "error" => match guts_error(&message) {
                Ok(code) => self.error(receiver, &message, code),
                Err(gap) => receiver.gap(&context, &gap),
            },
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
            (Command::Subscribe { texts, answers, .. }, "subscribed")
                if !self.dialect.has_native_answers() =>
            {
                let text = texts[*answers];
                assert_eq!(message["channel"], text, "{message}");
                receiver.subscribed_somewhere(&context, &[text]);
                let limit = context.hub.limits.subscriptions_max;
                assert!(receiver.holdings.patterns().len() <= limit, "{message}");
                *answers += 1;
                *answers == texts.len()
            }
            (Command::Subscribe { texts, filter, since, asked, .. }, "replay") => {
                assert_eq!(message["channels"], Value::from(texts.clone()), "{message}");
                let number = |name: &str| message[name].as_u64().expect("a number");
                let range = (number("from"), number("to"));
                receiver.replayed(&context, texts, filter, (since.clone(), *asked), range);
                false
            }
            (Command::Subscribe { texts, filter, since, asked, told, answers, .. }, "subscribed") => {
                let seq = message["seq"].as_u64().expect("seq");
                assert_eq!(message["channel"], texts[*answers], "{message}");
                assert_eq!(message["epoch"], context.hub.epoch.as_str(), "{message}");
                assert!(told.is_none_or(|told| told == seq), "all channels of a command begin together");
                let limit = context.hub.limits.subscriptions_max;
                let (held, new) =
                    (receiver.holdings.patterns().len(), receiver.holdings.unknown(texts).len());
                assert!(held + new <= limit, "{message}");
                *answers += 1;
                if told.is_none() {
                    receiver.subscribed(&context, texts, filter, since.clone(), seq, *asked);
                }
                *told = Some(seq);
                *answers == texts.len()
            }
            (Command::Filter(filter), "filtered") => {
                let seq = message["seq"].as_u64().expect("seq");
                receiver.filtered(&context, filter.clone(), seq);
                context.tally.count("filtered");
                true
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
                assert_eq!(listed, receiver.holdings.patterns(), "{}", receiver.name);
                receiver.position(&context, message["seq"].as_u64().expect("seq"), "list");
                true
            }
            (Command::Ping, "pong") if !self.dialect.has_native_answers() => true,
            (Command::Ping, "pong") => {
                receiver.position(&context, message["seq"].as_u64().expect("seq"), "pong");
                true
            }
            _ => panic!("{}: not the answer that is due: {message}", receiver.name),
        };
        if is_answered {
            let answered = self.commands.remove(at).and_then(|sent| sent.policy());
            if let Some(policy) = answered {
                receiver.policies.hold(policy, self.commands.iter().filter_map(Sent::policy));
            }
        }
    }

    fn error(&mut self, receiver: &mut Receiver, message: &Value, code: &str) {
        let id = message["id"].as_u64();
        let is_named = id.is_some() || !self.dialect.has_native_answers();
        let is_it = |sent: &Sent| sent.id == id && (is_named || matches!(sent.command, Command::Bad(_)));
        let at = self.commands.iter().position(is_it).unwrap_or_else(|| panic!("unasked: {message}"));
        let Some(sent) = self.commands.remove(at) else { return };
        self.context.tally.count(&format!("refused {code}"));
        match sent.command {
            Command::Publish { group } => {
                assert!(["overloaded", "channels_full", "draining"].contains(&code), "{message}");
                self.context.twin.borrow_mut().refused(group);
            }
            Command::Bad(expected) => assert_eq!(code, expected, "{message}"),
            Command::Subscribe { texts, answers: 0, .. } => {
                receiver.settle(&self.context, None);
                let limit = self.context.hub.limits.subscriptions_max;
                // A name that is given twice counts once, but no more names than fit are looked at.
                let (held, new) =
                    (receiver.holdings.patterns().len(), receiver.holdings.unknown(&texts).len());
                assert_eq!(code, "subscription_limit", "{message}");
                assert!(limit < held + new || limit < texts.len(), "{message}");
            }
            Command::Unsubscribe { texts, .. } => {
                assert_eq!(code, "subscription_limit", "{message}");
                assert!(self.context.hub.limits.subscriptions_max < texts.len(), "{message}");
            }
            _ => panic!("{}: {message}", receiver.name),
        }
    }

    /// Whether the conversation is over. The server must not have ended it for no reason.
    pub(crate) fn is_over(&self, receiver: &Receiver) -> bool {
        let name = &receiver.name;
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
        // Half a message may be on its way, and the goodbye for its being late may never be read.
        let patience = patience.min(limits.message_deadline);
        let patience =
            if receiver.policies.may_be("close") { slow_patience(limits, patience) } else { patience };
        if let (true, Some(unrest_ms)) = (self.was_slow, self.conn.unrest_ms()) {
            let patience = slow_patience(limits, limits.slow_max);
            assert!(patience.as_millis() as u64 <= unrest_ms, "{name}: slow for {unrest_ms} ms only");
        }
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
    random_texts_of(context, PATTERNS)
}

fn random_texts_of(context: &Context, patterns: &[&'static str]) -> Vec<&'static str> {
    let count = 1 + context.random.index(3);
    (0..count).map(|_| context.random.pick(patterns)).collect()
}

/// What clients of `dialect` may subscribe to.
fn patterns_of(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Native | Dialect::CloudEvents => PATTERNS,
        Dialect::Engram => &["memory:w1", "memory:w2"],
        Dialect::Guts => GUTS_PATTERNS,
        Dialect::Sdk => SDK_PATTERNS,
    }
}

/// Some patterns, no more different ones than a connection may have.
pub(crate) fn random_texts_that_fit(context: &Context, dialect: Dialect) -> Vec<&'static str> {
    let mut texts = random_texts_of(context, patterns_of(dialect));
    if dialect == Dialect::Engram {
        texts.truncate(1);
    }
    texts.sort_by_key(|text| canonical(text));
    texts.dedup_by_key(|text| canonical(text));
    texts.truncate(context.hub.limits.subscriptions_max);
    texts
}

impl Since {
    /// The cursor as a client writes it.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Since::Now | Since::Last(_) => None,
            Since::Earliest => Some("earliest".to_owned()),
            Since::After(_, text) | Since::Foreign(text) => Some(text.clone()),
        }
    }

    /// As a member of a query.
    pub(crate) fn query(&self) -> Option<String> {
        match self {
            Since::Last(count) => Some(format!("last={count}")),
            since => since.text().map(|text| format!("since={text}")),
        }
    }

    /// As a member of a command.
    fn member(&self) -> Option<String> {
        if let Since::Last(count) = self {
            return Some(format!(r#","last":{count}"#));
        }
        let text = self.text()?;
        // A bare number may be written as one.
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        Some(if is_number { format!(r#","since":{text}"#) } else { format!(r#","since":"{text}""#) })
    }

    /// Where to begin: mostly at `bookmark`, sometimes anywhere.
    pub(crate) fn random(context: &Context, bookmark: Option<u64>) -> Since {
        let (random, epoch) = (&context.random, context.hub.epoch);
        let published = context.hub.log.published();
        let seq = match (random.below(100), bookmark) {
            (0..60, Some(seq)) => seq,
            (60..75, _) => return Since::Now,
            // Whoever has no bookmark asks for anything.
            (0..60, None) if random.chance(600) => return Since::Now,
            (0..20, None) => return Since::Earliest,
            (20..40, None) => return Since::Last(random.pick(&[1, 1, 2, 5])),
            (0..60, None) => random.below(published),
            (75..79, _) => return Since::Earliest,
            (79..86, _) => return Since::Last(random.pick(&[1, 1, 2, 5])),
            (86..92, _) => random.below(published),
            (92..94, _) => published - 1,
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
