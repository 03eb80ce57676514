//! A publisher over HTTP, which also asks for history: pipelined, chunked, kept alive, cut off.

use std::collections::VecDeque;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::answers::{Answer, take_answer};
use crate::context::Context;
use crate::dialect::Dialect;
use crate::filter::Filter;
use crate::link::Conn;
use crate::receiver::{Gap, Marks, Receiver, Since};
use crate::server::Server;
use crate::twin::number_after;
use crate::websocket::random_texts_that_fit;
use crate::wishes::Wishes;

/// A publisher.
pub(crate) struct Publisher {
    context: Rc<Context>,
    name: String,
    conn: Option<Conn>,
    /// What is due, in order.
    due: VecDeque<Due>,
    /// The server has said that it closes, or we have.
    is_last: bool,
    /// How many publishes were refused because the server had too much to do.
    pub(crate) overloaded: u64,
    dozes_until_ms: u64,
    /// It was slow to read on this connection.
    has_dozed: bool,
    /// When it connected or had its last answer.
    served_ms: u64,
    /// The server has said that it will not go on.
    is_refused: bool,
}

/// What must be answered.
enum Due {
    Publish { group: usize, is_batch: bool },
    Bad(u16),
    History(Question),
    Health,
}

/// A question about history.
struct Question {
    texts: Vec<&'static str>,
    filter: Option<Filter>,
    since: Since,
    limit: u64,
    asked: Marks,
}

/// The answer to a question about history.
#[derive(Deserialize)]
struct History<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
    complete: bool,
    more: bool,
    next: String,
    gap: Option<Value>,
}

impl Publisher {
    /// A publisher that has not connected yet.
    pub(crate) fn new(context: &Rc<Context>, name: String) -> Publisher {
        Publisher {
            context: Rc::clone(context),
            name,
            conn: None,
            due: VecDeque::new(),
            is_last: false,
            overloaded: 0,
            dozes_until_ms: 0,
            has_dozed: false,
            served_ms: 0,
            is_refused: false,
        }
    }

    /// Connects, if it is not connected.
    pub(crate) fn connect(&mut self, server: &mut Server) {
        if self.conn.is_none() {
            let random = &self.context.random;
            self.conn = Some(server.connect(random.pick(&[30, 200, 5000]), random.pick(&[60, 300, 5000])));
            self.context.trace(|| format!("{} connects", self.name));
            (self.is_last, self.has_dozed, self.is_refused) = (false, false, false);
            self.served_ms = self.context.now_ms.get();
        }
    }

    /// Does something: asks, reads, writes, dozes, leaves or is cut off.
    pub(crate) fn act(&mut self, server: &mut Server) {
        let context = Rc::clone(&self.context);
        let random = &context.random;
        if self.conn.is_none() {
            if random.chance(300) && !context.hub.is_draining() {
                self.connect(server);
            }
            return;
        }
        match random.below(1000) {
            0..20 => {
                self.dozes_until_ms = context.now_ms.get() + random.pick(&[5, 50, 400, 2000]);
                self.has_dozed = true;
            }
            20..26 => self.leave(Conn::cut),
            26..32 => self.leave(Conn::close),
            32..50 => {
                if let Some(conn) = &mut self.conn {
                    conn.half_close();
                    self.is_last = true;
                }
            }
            50..450 => self.ask(),
            _ => {}
        }
        self.move_bytes();
    }

    fn leave(&mut self, how: fn(Conn)) {
        if let Some(conn) = self.conn.take() {
            self.context.trace(|| format!("{} leaves", self.name));
            how(conn);
        }
        // What was not answered is not known.
        self.due.clear();
    }

    fn is_ready(&self) -> bool {
        !self.is_last && self.conn.as_ref().is_some_and(Conn::is_ready_to_send)
    }

    /// Asks for something at random.
    fn ask(&mut self) {
        let context = Rc::clone(&self.context);
        let random = &context.random;
        if !self.is_ready() {
            return;
        }
        match random.below(100) {
            0..40 => self.publish(),
            40..55 => {
                let wishes = Wishes::new(&context, 1, true);
                let envelope = &wishes.envelopes[0];
                let target = format!("POST /publish/{}?event={}", envelope.channel, envelope.kind);
                self.due.push_back(Due::Publish { group: wishes.group, is_batch: false });
                self.request(&target, "application/json", envelope.data.as_bytes());
            }
            55..75 => {
                let count = if random.chance(30) { 1 + random.index(500) } else { 1 + random.index(6) };
                self.publish_batch(count);
            }
            75..80 => {
                self.due.push_back(Due::Bad(400));
                let body =
                    br#"[{"channel":"x:a","event":"push","data":{"m":0}},{"channel":"x:","event":"push"}]"#;
                self.request("POST /publish", "application/json", body);
            }
            80..82 => {
                self.due.push_back(Due::Health);
                self.request("GET /health", "", b"");
            }
            _ => {
                let texts = random_texts_that_fit(&context, Dialect::Native);
                let filter = Filter::random(random, 500);
                let since = match Since::random(&context, None) {
                    // Where nothing is said it begins with what is held.
                    Since::Now => Since::Earliest,
                    since => since,
                };
                let limit = random.pick(&[1, 3, 1000]);
                let mut query: Vec<String> = texts.iter().map(|text| format!("channel={text}")).collect();
                if since != Since::Earliest || random.chance(500) {
                    query.extend(since.query().map(|text| text.replace("since=", "after=")));
                }
                query.extend(filter.iter().flat_map(Filter::query));
                query.push(format!("limit={limit}"));
                let asked = Marks::now(&context);
                self.due.push_back(Due::History(Question { texts, filter, since, limit, asked }));
                self.request(&format!("GET /history?{}", query.join("&")), "", b"");
            }
        }
    }

    /// Publishes one event.
    pub(crate) fn publish(&mut self) {
        if !self.is_ready() {
            return;
        }
        let wishes = Wishes::new(&self.context, 1, false);
        self.due.push_back(Due::Publish { group: wishes.group, is_batch: false });
        self.request("POST /publish", "application/json", wishes.envelopes[0].object().as_bytes());
    }

    /// Publishes a batch, as an array or a line each.
    fn publish_batch(&mut self, count: usize) {
        let wishes = Wishes::new(&self.context, count, false);
        let objects: Vec<String> = wishes.envelopes.iter().map(|envelope| envelope.object()).collect();
        self.due.push_back(Due::Publish { group: wishes.group, is_batch: true });
        if self.context.random.chance(500) {
            let body = format!(" [{}]", objects.join(", "));
            self.request("POST /publish", "application/json", body.as_bytes());
        } else {
            self.request("POST /publish", "application/x-ndjson", objects.join("\n").as_bytes());
        }
    }

    fn request(&mut self, target: &str, media_type: &str, body: &[u8]) {
        let context = Rc::clone(&self.context);
        let random = &context.random;
        let mut request = format!("{target} HTTP/1.1\r\nHost: fanfare\r\n");
        self.is_last = random.chance(40);
        if self.is_last {
            request.push_str("Connection: close\r\n");
        }
        if !media_type.is_empty() {
            request.push_str(&format!("Content-Type: {media_type}\r\n"));
        }
        let mut bytes;
        if body.is_empty() {
            bytes = format!("{request}\r\n").into_bytes();
        } else if random.chance(300) {
            bytes = format!("{request}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
            let mut rest = body;
            while !rest.is_empty() {
                let (chunk, left) = rest.split_at(1 + random.index(rest.len()));
                bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
                rest = left;
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            bytes = format!("{request}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
            bytes.extend(body);
        }
        context.trace(|| format!("{} asks {target}, {} bytes", self.name, body.len()));
        if let Some(conn) = &mut self.conn {
            conn.send(&bytes);
        }
    }

    /// Sends and reads what there is. Returns whether there was anything.
    pub(crate) fn move_bytes(&mut self) -> bool {
        let dozes = !self.context.is_calm.get() && self.context.now_ms.get() < self.dozes_until_ms;
        let Some(conn) = &mut self.conn else { return false };
        let mut has_moved = conn.pump();
        if !dozes {
            has_moved |= conn.pull();
        }
        let mut answers = Vec::new();
        while let Some(answer) = take_answer(&mut conn.incoming) {
            answers.push(answer);
        }
        let is_over = conn.is_at_end();
        for answer in &answers {
            self.answer(answer);
        }
        if is_over {
            self.check_end();
            self.leave(Conn::close);
        }
        has_moved || is_over
    }

    fn answer(&mut self, answer: &Answer) {
        let context = Rc::clone(&self.context);
        context.trace(|| format!("{} reads {} {:.100}", self.name, answer.status, answer.body));
        self.is_last |= answer.is_last;
        if self.conn.as_ref().is_some_and(|conn| conn.server_gone_ms().is_none()) {
            self.served_ms = context.now_ms.get();
        }
        let code = || {
            let body: Value = serde_json::from_str(&answer.body).expect("a problem is JSON");
            body["code"].as_str().expect("a problem has a code").to_owned()
        };
        // These may come instead of any answer, and end the conversation.
        let ends = ["connections_full", "head_timeout", "body_timeout", "draining"];
        if answer.is_last && 400 <= answer.status && ends.contains(&code().as_str()) {
            if let Some(Due::Publish { group, .. }) = self.due.pop_front() {
                context.twin.borrow_mut().refused(group);
            }
            let what = if answer.status == 408 { "late" } else { "refused" };
            context.tally.count(&format!("{what} {}", code()));
            self.is_refused = true;
            return;
        }
        let Some(due) = self.due.pop_front() else { panic!("{}: not asked for: {answer:?}", self.name) };
        match due {
            Due::Publish { group, is_batch } => {
                let mut twin = context.twin.borrow_mut();
                match (answer.status, is_batch) {
                    (202, false) => {
                        let seq = number_after(&answer.body, "{\"seq\":").expect("seq");
                        twin.accepted(group, seq, seq);
                    }
                    (202, true) => {
                        let first = number_after(&answer.body, "{\"first\":").expect("first");
                        let last = number_after(&answer.body, "\"last\":").expect("last");
                        twin.accepted(group, first, last);
                    }
                    (503, _) => {
                        assert!(
                            ["overloaded", "channels_full", "draining"].contains(&code().as_str()),
                            "{answer:?}"
                        );
                        context.tally.count(&format!("refused {}", code()));
                        self.overloaded += u64::from(code() == "overloaded");
                        twin.refused(group);
                    }
                    _ => panic!("{}: {answer:?}", self.name),
                }
            }
            Due::Bad(status) => assert_eq!(answer.status, status, "{answer:?}"),
            Due::Health => assert_eq!(answer.status, 200, "{answer:?}"),
            Due::History(question) => {
                assert_eq!(answer.status, 200, "{answer:?}");
                self.check_history(&answer.body, question);
            }
        }
    }

    /// An answer of `/history` is what a stream would have been, up to where it ends.
    fn check_history(&self, body: &str, question: Question) {
        let context = &self.context;
        let Question { texts, filter, since, limit, asked } = question;
        let history: History<'_> = serde_json::from_str(body).expect("history is JSON");
        let next = history
            .next
            .strip_prefix(&format!("{}-", context.hub.epoch))
            .and_then(|seq| seq.parse::<u64>().ok());
        let next = next.unwrap_or_else(|| panic!("{}: next is a cursor: {body}", self.name));
        let gap = history.gap.as_ref().map(Gap::parse);
        context.tally.add("event in history", history.events.len() as u64);
        context.tally.add("gap in history", u64::from(gap.is_some()));
        assert_eq!(history.complete, gap.is_none(), "{body}");
        assert!(history.events.len() as u64 <= limit, "{body}");
        let mut receiver = Receiver::new(format!("history of {texts:?} for {}", self.name));
        receiver.connect(filter, None);
        let begin = match (&gap, &since) {
            (Some(gap), _) => gap.to(),
            (None, Since::After(seq, _)) => Some((*seq).max(asked.oldest - 1)),
            _ => None,
        };
        let seqs: Vec<u64> = history
            .events
            .iter()
            .map(|event| number_after(event.get(), "\"seq\":").expect("an event has a number"))
            .collect();
        let first = seqs.first().copied().unwrap_or(next + 1);
        // Where it began is not said; what was held when it was asked must be in it.
        let begin =
            begin.unwrap_or_else(|| (Marks::now(context).oldest - 1).min(first - 1).max(asked.oldest - 1));
        if let Since::Last(count) = since {
            let (low, high) = (asked.published, context.hub.log.published());
            receiver.begin_newest(&texts, count, low, high);
            assert!(gap.is_none(), "{body}");
            context.tally.count("history of the newest");
        } else {
            receiver.subscribed(context, &texts, &None, since, begin, asked);
            receiver.holdings.say_nothing();
            receiver.settle(context, gap.as_ref());
        }
        for (seq, event) in seqs.iter().zip(&history.events) {
            receiver.event(context, Dialect::Native, *seq, event.get());
        }
        receiver.position(context, next, "next");
        assert!(history.more || asked.published <= next + 1, "{body}");
    }

    /// The server has ended the conversation: what it must have answered before, it has.
    fn check_end(&self) {
        let Some(conn) = &self.conn else { return };
        let limits = &self.context.hub.limits;
        let patience = [limits.head_deadline, limits.keep_alive, limits.linger_max, limits.stall_max];
        let patience_ms = patience.into_iter().min().unwrap_or_default().as_millis() as u64;
        let end_ms = conn.server_gone_ms().unwrap_or_else(|| self.context.now_ms.get());
        // It may have taken nothing for so long that its first look came too late.
        let is_late =
            conn.unrest_ms().is_some_and(|unrest_ms| limits.stall_max.as_millis() as u64 <= unrest_ms);
        let is_excused =
            conn.is_reset() || self.has_dozed || is_late || self.is_refused || self.context.hub.is_draining();
        if conn.done_ms.is_some() && !is_excused && end_ms.saturating_sub(self.served_ms) < patience_ms {
            assert!(
                self.due.is_empty(),
                "{}: half closed, and {} requests were not answered",
                self.name,
                self.due.len()
            );
        }
    }

    /// Everything has settled: nothing is due.
    pub(crate) fn check_settled(&self) {
        if self.conn.is_some() {
            assert!(self.due.is_empty(), "{}: {} requests were not answered", self.name, self.due.len());
        }
    }

    /// Whether it has a connection, be it about to end.
    pub(crate) fn is_connected(&self) -> bool {
        self.conn.is_some()
    }

    /// Whether it could ask.
    pub(crate) fn is_going_on(&self) -> bool {
        self.conn.is_some() && !self.is_last
    }

    /// Breaks off a connection that does not go on.
    pub(crate) fn drop_unless_going_on(&mut self) {
        if self.conn.is_some() && !self.is_going_on() {
            self.leave(Conn::cut);
        }
    }
}
