//! A client of server-sent events: its own parser, and what the blocks must say.

use std::rc::Rc;

use serde_json::Value;

use crate::answers::{field, head_end, status_of};
use crate::context::Context;
use crate::dialect::Dialect;
use crate::filter::Filter;
use crate::link::Conn;
use crate::policy::{Policy, slow_patience};
use crate::receiver::{Gap, Marks, Receiver, Since};

/// A stream.
pub(crate) struct Stream {
    context: Rc<Context>,
    pub(crate) conn: Conn,
    dialect: Dialect,
    texts: Vec<&'static str>,
    since: Since,
    asked: Marks,
    is_unnamed: bool,
    phase: Phase,
    /// The server has said when to come back: it shuts down.
    is_leaving: bool,
    /// The cursor that it said goodbye with.
    pub(crate) goodbye: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    Retry,
    First,
    Open,
    Refused,
}

/// One block.
#[derive(Debug, Default)]
struct Block {
    id: Option<String>,
    event: Option<String>,
    data: Option<String>,
    retry: Option<String>,
    is_comment: bool,
}

impl Stream {
    /// Asks for a stream of `texts` over `conn`.
    pub(crate) fn open(
        context: &Rc<Context>,
        mut conn: Conn,
        dialect: Dialect,
        texts: Vec<&'static str>,
        since: Since,
        filter: Option<&Filter>,
        policy: Option<Policy>,
    ) -> Stream {
        let random = &context.random;
        let is_unnamed = dialect == Dialect::Sdk || (dialect == Dialect::Native && random.chance(300));
        let since = match (dialect, since) {
            // A bare number is all that its clients have.
            (Dialect::Engram, Since::After(seq, _)) => Since::After(seq, seq.to_string()),
            (Dialect::Engram, _) | (Dialect::Sdk, Since::Last(_)) => Since::Now,
            (_, since) => since,
        };
        let mut query: Vec<String> = match dialect {
            Dialect::Engram => texts.iter().map(|text| text.replace("memory:", "workspace=")).collect(),
            _ => texts.iter().map(|text| format!("channel={text}")).collect(),
        };
        let mut header = String::new();
        match (since.text(), if dialect == Dialect::Engram { 2 } else { random.below(3) }) {
            (None, _) => query.extend(since.query()),
            (Some(text), 0) => query.push(format!("since={text}")),
            (Some(text), 1) => query.push(format!("last_event_id={text}")),
            (Some(text), _) => header = format!("Last-Event-ID: {text}\r\n"),
        }
        query.extend(filter.into_iter().flat_map(Filter::query));
        query.extend(policy.map(|policy| format!("on_slow={policy}")));
        let path = match dialect {
            Dialect::Engram => "/v1/events",
            Dialect::Sdk => "/api/events",
            Dialect::Native | Dialect::Guts | Dialect::CloudEvents => "/events",
        };
        if is_unnamed && dialect == Dialect::Native {
            query.push("unnamed".to_owned());
        }
        if dialect == Dialect::CloudEvents {
            query.push("dialect=cloudevents".to_owned());
        }
        let query = query.join("&");
        context.trace(|| format!("asks for {path} of {query} {header}"));
        conn.send(format!("GET {path}?{query} HTTP/1.1\r\nHost: fanfare\r\n{header}\r\n").as_bytes());
        let asked = Marks::now(context);
        Stream {
            context: Rc::clone(context),
            conn,
            dialect,
            texts,
            since,
            asked,
            is_unnamed,
            phase: Phase::Head,
            is_leaving: false,
            goodbye: None,
        }
    }

    /// Understands what has arrived.
    pub(crate) fn understand(&mut self, receiver: &mut Receiver) {
        let incoming = std::mem::take(&mut self.conn.incoming);
        let mut rest = &incoming[..];
        if self.phase == Phase::Head
            && let Some(end) = head_end(rest)
        {
            let head = String::from_utf8_lossy(&rest[..end]);
            if status_of(&head) == 200 {
                assert_eq!(field(&head, "content-type"), Some("text/event-stream; charset=utf-8"), "{head}");
                self.phase = Phase::Retry;
            } else {
                assert!([503, 408].contains(&status_of(&head)), "{}: {head}", receiver.name);
                self.phase = Phase::Refused;
            }
            rest = &rest[end..];
        }
        if !matches!(self.phase, Phase::Head | Phase::Refused) {
            while let Some(end) = rest.windows(2).position(|two| two == b"\n\n") {
                let text = std::str::from_utf8(&rest[..end]).expect("a block is text");
                self.context.trace(|| format!("{} reads block {text:.140?}", receiver.name));
                self.block(receiver, &Block::parse(text));
                rest = &rest[end + 2..];
            }
        }
        self.conn.incoming = rest.to_vec();
    }

    fn block(&mut self, receiver: &mut Receiver, block: &Block) {
        assert!(self.goodbye.is_none(), "{}: nothing follows goodbye: {block:?}", receiver.name);
        let context = Rc::clone(&self.context);
        if let Some(retry) = &block.retry {
            assert!(block.id.is_none() && block.data.is_none(), "{block:?}");
            let retry: u128 = retry.parse().expect("milliseconds");
            if self.phase == Phase::Retry {
                let (middle, spread) = (context.hub.limits.retry, context.hub.limits.retry_spread);
                let spread = if self.dialect == Dialect::Engram { 0 } else { spread.as_millis() };
                assert!(middle.as_millis().abs_diff(retry) <= spread, "{}: {retry}", receiver.name);
                self.phase = Phase::First;
                match (&self.since, self.dialect) {
                    (Since::Last(count), _) => receiver.subscribed_newest(&context, &self.texts, *count),
                    (Since::Now, Dialect::Engram) => {
                        receiver.opened(&context);
                        receiver.subscribed_somewhere(&context, &self.texts);
                    }
                    _ => return,
                }
                self.phase = Phase::Open;
            } else {
                self.begin_in_silence(receiver);
                assert!(context.hub.is_draining() && self.phase == Phase::Open, "{block:?}");
                self.is_leaving = true;
            }
            return;
        }
        if self.dialect == Dialect::Engram && block.is_comment {
            return self.begin_in_silence(receiver);
        }
        let id = block.id.as_deref().unwrap_or_else(|| panic!("a block without id: {block:?}"));
        let number = match self.dialect {
            Dialect::Engram => Some(id),
            _ => id.strip_prefix(&format!("{}-", context.hub.epoch)),
        };
        let seq = number.and_then(|seq| seq.parse::<u64>().ok());
        let seq = seq.unwrap_or_else(|| panic!("an id that is no cursor: {block:?}"));
        let is_cause = |data: &str, cause: &str| data.contains(&format!(r#""cause":"{cause}""#));
        let is_later = |data: &str| is_cause(data, "lapped") || is_cause(data, "skipped");
        let is_lost = block.data.as_ref().is_some_and(|data| !is_later(data));
        if self.phase == Phase::First && self.dialect == Dialect::Engram {
            let is_gap = block.event.as_deref() == Some("gap");
            if is_gap && is_lost {
                receiver.subscribed(&context, &self.texts, &None, self.since.clone(), seq, self.asked);
                self.phase = Phase::Open;
            }
            self.begin_in_silence(receiver);
        }
        if self.phase == Phase::First {
            receiver.subscribed(&context, &self.texts, &None, self.since.clone(), seq, self.asked);
            self.phase = Phase::Open;
            if block.data.is_none() {
                receiver.settle(&context, None);
                return;
            }
        }
        assert_eq!(self.phase, Phase::Open, "{block:?}");
        let Some(data) = block.data.as_deref() else {
            if self.is_leaving {
                receiver.goodbye(&context, seq);
            } else {
                receiver.position(&context, seq, "a block of only an id");
            }
            if self.is_leaving {
                self.goodbye = Some(seq);
            }
            return;
        };
        assert!(!self.is_leaving, "{}: nothing follows goodbye: {block:?}", receiver.name);
        let name = if let Some(told) = self.dialect.seq_of(&context, data) {
            assert_eq!(told, seq, "an event's id is its number: {block:?}");
            receiver.event(&context, self.dialect, seq, data);
            context.twin.borrow().kind(seq).map(str::to_owned)
        } else {
            let message: Value = serde_json::from_str(data).expect("data is JSON");
            assert_eq!(message["type"], "gap", "{block:?}");
            let gap = Gap::parse(&message);
            let resume_after = gap.resume_after();
            assert!(resume_after.is_none_or(|after| after == seq), "a gap's id is where to go on: {block:?}");
            receiver.gap(&context, &gap);
            Some("gap".to_owned())
        };
        let expected = if self.is_unnamed { None } else { name };
        assert_eq!(block.event, expected, "{block:?}");
    }

    /// It began where it was asked to, which it did not say.
    pub(crate) fn begin_in_silence(&mut self, receiver: &mut Receiver) {
        if let (Phase::First, Dialect::Engram, Since::After(seq, _)) = (self.phase, self.dialect, &self.since)
        {
            let published = self.context.hub.log.published();
            assert!(*seq < published, "{}: {seq} of {published} is of another log", receiver.name);
            receiver.resumed(&self.texts, *seq);
            self.phase = Phase::Open;
        }
    }

    /// Whether the stream is over. The server must not have ended it for no reason.
    pub(crate) fn is_over(&self, receiver: &Receiver) -> bool {
        let name = &receiver.name;
        if !self.conn.is_at_end() {
            return false;
        }
        let limits = &self.context.hub.limits;
        let is_excused = self.phase == Phase::Refused
            || self.conn.is_half_closed()
            || self.conn.is_reset()
            || self.context.hub.is_draining();
        // One that is turned away may find nothing but the end.
        let patience = limits.stall_max.min(limits.head_deadline).min(limits.linger_max);
        let patience =
            if receiver.policies.may_be("close") { slow_patience(limits, patience) } else { patience };
        if let (false, Some(unrest_ms)) = (is_excused, self.conn.unrest_ms()) {
            assert!(
                patience.as_millis() as u64 <= unrest_ms,
                "{name}: let go after {unrest_ms} ms of unrest"
            );
        }
        true
    }

    /// Whether events flow.
    pub(crate) fn is_going_on(&self) -> bool {
        self.phase == Phase::Open && !self.is_leaving && !self.conn.is_half_closed()
    }
}

impl Block {
    fn parse(text: &str) -> Block {
        let mut block = Block::default();
        for line in text.split('\n') {
            let (name, value) =
                line.split_once(':').unwrap_or_else(|| panic!("a line that is no field: {text:?}"));
            let value = value.strip_prefix(' ').unwrap_or(value);
            if name.is_empty() {
                block.is_comment = true;
                continue;
            }
            let field = match name {
                "id" => &mut block.id,
                "event" => &mut block.event,
                "data" => &mut block.data,
                "retry" => &mut block.retry,
                _ => panic!("an unknown field: {text:?}"),
            };
            assert!(field.is_none(), "a field stands twice: {text:?}");
            *field = Some(value.to_owned());
        }
        block
    }
}
