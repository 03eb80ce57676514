//! Joints that sockets show too seldom: one loop, driven by hand, over a link that takes what the test lets it take.

mod support;

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fanfare::event_loop::{ConnectionId, EventLoop, Link, Now};
use fanfare::hub::{Hub, Sitter};
use fanfare::sequencer::{EventParts, Origin, Publication, Submission};
use fanfare::session::request::Door;
use fanfare::sync::bell::Waker;
use fanfare::words::channel::Channel;
use fanfare::words::cursor::Epoch;
use fanfare::words::limits::{Limits, READ_BUFFER_BYTES};
use support::websocket::frame;

/// What lies between the server and a client.
#[derive(Default)]
struct Wire {
    input: Vec<u8>,
    /// The client sends no more behind that.
    is_ended: bool,
    output: Vec<u8>,
    /// How many bytes more the server may write.
    room: usize,
    /// How many bytes the link takes in beyond that, as an encrypted one does.
    holds_max: usize,
    held: Vec<u8>,
    /// The server has said that it writes no more.
    is_finished: bool,
}

impl Wire {
    /// Sends on what the link holds, as far as there is room; returns how much that was.
    fn push(&mut self) -> usize {
        let count = self.held.len().min(self.room);
        self.room -= count;
        self.output.extend(self.held.drain(..count));
        count
    }
}

struct TestLink(Rc<RefCell<Wire>>);

impl Link for TestLink {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        let count = wire.input.len().min(into.len());
        if count == 0 && !wire.is_ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        into[..count].copy_from_slice(&wire.input[..count]);
        wire.input.drain(..count);
        Ok(count)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        wire.push();
        let most = if wire.held.is_empty() { wire.room.saturating_add(wire.holds_max) } else { 0 };
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(most).collect();
        if bytes.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        wire.held.extend_from_slice(&bytes);
        wire.push();
        Ok(bytes.len())
    }

    fn has_unsent(&self) -> bool {
        !self.0.borrow().held.is_empty()
    }

    fn flush(&mut self) -> usize {
        self.0.borrow_mut().push()
    }

    fn finish(&mut self) {
        self.0.borrow_mut().is_finished = true;
    }
}

struct Nobody;

impl Waker for Nobody {
    fn wake(&self) {}
}

/// A server of one loop, and one client.
struct Scene {
    hub: Arc<Hub>,
    /// The seat is held here, so that the loop learns late of what was published.
    sitter: Box<Sitter>,
    event_loop: EventLoop<TestLink>,
    wire: Rc<RefCell<Wire>>,
    id: ConnectionId,
    now: Now,
}

impl Scene {
    fn new(limits: Limits) -> Scene {
        let hub = Hub::new(limits, Epoch::from_bits(0), vec![Box::new(Nobody)]);
        let sitter = hub.seat().take().expect("nobody sits");
        let now = Now { mono_ms: 1000, unix_ms: 1000 };
        let mut event_loop = EventLoop::new(Arc::clone(&hub), Arc::default(), 0, now);
        let wire: Rc<RefCell<Wire>> = Rc::default();
        let id = event_loop.accept(Door::Public, now, |_| TestLink(Rc::clone(&wire)));
        Scene { hub, sitter, event_loop, wire, id, now }
    }

    /// Publishes `count` events on `t:a`, of which the loop learns when it turns.
    fn publish(&mut self, count: usize) {
        let channel = Channel::parse("t:a").unwrap();
        for _ in 0..count {
            let publication = Publication::new(&EventParts::new(&channel, "k", b"1")).unwrap();
            let submission = Submission::publish(Origin::NOBODY, std::iter::once(publication).collect());
            self.hub.submit_own(submission).unwrap();
            while self.sitter.step(&self.hub, self.now) {}
        }
    }

    /// The client asks for `path`, and the loop turns once.
    fn ask(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    }

    /// The client sends bytes, and the loop turns once.
    fn send(&mut self, bytes: &[u8]) {
        self.wire.borrow_mut().input.extend_from_slice(bytes);
        self.event_loop.ready(self.id, true, false);
        self.event_loop.turn(self.now);
    }

    /// The client takes so many bytes more; the loop turns until it has nothing to do.
    fn take(&mut self, room: usize) {
        self.wire.borrow_mut().room = room;
        self.event_loop.ready(self.id, false, true);
        self.turn();
    }

    fn turn(&mut self) {
        for _ in 0..1000 {
            self.event_loop.turn(self.now);
            if !self.event_loop.has_work() {
                return;
            }
        }
        panic!("the loop always finds something to do");
    }

    /// The messages of these types so far, in order: type, and first and last number where it has them.
    fn messages(&self, types: &[&str]) -> Vec<(String, u64, u64)> {
        let wire = self.wire.borrow();
        let text = String::from_utf8_lossy(&wire.output);
        let starts = text.match_indices("{\"type\":\"").map(|(at, _)| &text[at..]);
        let values = starts.filter_map(|rest| {
            serde_json::Deserializer::from_str(rest).into_iter::<serde_json::Value>().next()?.ok()
        });
        let number = |value: &serde_json::Value| value.as_u64().unwrap_or_default();
        values
            .map(|value| {
                let kind = value["type"].as_str().unwrap().to_owned();
                (kind, number(&value["from"]), number(&value["to"]))
            })
            .filter(|(kind, ..)| types.contains(&kind.as_str()))
            .collect()
    }

    /// The ids of the stream so far.
    fn ids(&self) -> Vec<u64> {
        let wire = self.wire.borrow();
        let text = std::str::from_utf8(&wire.output).unwrap();
        let ids = text.lines().filter_map(|line| line.strip_prefix("id: aaaaaaaa-"));
        ids.map(|id| id.parse().unwrap()).collect()
    }
}

impl Scene {
    /// The link takes in so much beyond what there is room for, and there is none.
    fn hold(&mut self, holds_max: usize) {
        let mut wire = self.wire.borrow_mut();
        (wire.room, wire.holds_max) = (0, holds_max);
    }

    /// Time passes, beyond what the timers' wheel adds.
    fn pass(&mut self, wait: std::time::Duration) {
        self.now.mono_ms += wait.as_millis() as u64 + 1000;
        self.turn();
    }

    /// Whether the connection is there, and whether the server has said that it writes no more.
    fn standing(&self) -> (bool, bool) {
        (self.event_loop.connections() == 1, self.wire.borrow().is_finished)
    }
}

const HANDSHAKE: &str = "GET /ws?channel=t:b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// More than a loop routes in one turn.
const MANY: usize = 1500;

#[test]
fn who_begins_beyond_where_the_loop_stands_is_not_sent_what_lies_between() {
    let mut scene = Scene::new(Limits::default());
    // The answer fills the socket.
    scene.ask("/health");
    scene.publish(MANY);
    scene.ask(&format!("/events?channel=t:a&since={MANY}"));
    scene.publish(1);
    scene.take(usize::MAX);
    let last = MANY as u64;
    assert_eq!(scene.ids(), [last, last + 1], "the cursor, and what comes after it");
}

#[test]
fn a_goodbye_amid_the_newest_events_names_a_cursor_before_them() {
    let mut scene = Scene::new(Limits::default());
    scene.publish(3);
    scene.turn();
    scene.ask("/events?channel=t:a&last=3");
    scene.hub.drain();
    scene.turn();
    scene.now.mono_ms += scene.hub.limits.drain_deadline.as_millis() as u64;
    scene.turn();
    scene.take(usize::MAX);
    assert!(scene.wire.borrow().output.windows(6).filter(|bytes| bytes == b"retry:").count() == 2);
    assert_eq!(scene.ids(), [0], "what was not sent is not behind the client's cursor");
}

#[test]
fn a_gap_within_a_bracket_ends_with_it() {
    let mut scene = Scene::new(Limits { retain_events: 100, ..Limits::default() });
    scene.publish(90);
    scene.turn();
    scene.take(usize::MAX);
    scene.send(HANDSHAKE.as_bytes());
    scene.turn();
    scene.wire.borrow_mut().room = 0;
    scene.send(&frame(0x81, br#"{"type":"subscribe","channel":"t:a","since":"earliest"}"#));
    // The log overtakes it before it has had any of them.
    scene.publish(9000);
    scene.turn();
    scene.take(usize::MAX);
    let told = scene.messages(&["replay", "subscribed", "gap"]);
    let expected =
        [("subscribed", 0, 0), ("replay", 1, 90), ("gap", 1, 90), ("subscribed", 0, 0), ("gap", 91, 8990)];
    let told: Vec<(&str, u64, u64)> =
        told.iter().map(|(kind, from, to)| (kind.as_str(), *from, *to)).collect();
    assert_eq!(told, expected);
}

#[test]
fn a_message_whose_rest_lies_unread_has_not_taken_too_long() {
    let mut scene = Scene::new(Limits { answers_bytes_high: 1, ..Limits::default() });
    scene.take(usize::MAX);
    scene.send(HANDSHAKE.as_bytes());
    scene.turn();
    scene.wire.borrow_mut().room = 0;
    let command = br#"{"type":"list","id":"late"}"#;
    scene.send(&frame(0x01, &command[..9]));
    // Its answer is not taken, and until it is nothing more is read.
    scene.send(&frame(0x89, b"are you there?"));
    scene.send(&frame(0x80, &command[9..]));
    // Beyond the deadline of a message, and not beyond that of a peer that takes nothing.
    scene.now.mono_ms += scene.hub.limits.message_deadline.as_millis() as u64 + 1000;
    scene.turn();
    scene.take(usize::MAX);
    assert_eq!(scene.messages(&["subscriptions"]).len(), 1, "it is answered");
    assert_eq!(scene.event_loop.connections(), 1);
}

#[test]
fn a_message_that_stands_still_has_taken_too_long() {
    let mut scene = Scene::new(Limits::default());
    scene.take(usize::MAX);
    scene.send(HANDSHAKE.as_bytes());
    scene.send(&frame(0x01, br#"{"type":"list""#));
    scene.now.mono_ms += scene.hub.limits.message_deadline.as_millis() as u64 + 1000;
    scene.turn();
    let output = scene.wire.borrow().output.clone();
    assert!(String::from_utf8_lossy(&output).contains("message took too long"));
}

#[test]
fn what_is_said_behind_a_handshake_in_two_parts_is_heard_in_order() {
    let mut scene = Scene::new(Limits::default());
    scene.take(usize::MAX);
    let (begin, rest) = HANDSHAKE.as_bytes().split_at(20);
    scene.send(begin);
    // More than one read takes, so that the loop reads again in the turn in which the handshake ends.
    let command = format!(r#"{{"type":"ping","of no interest":"{}"}}"#, "x".repeat(1000));
    let commands = frame(0x81, command.as_bytes()).repeat(READ_BUFFER_BYTES / 1000 + 5);
    scene.send(&[rest, &commands].concat());
    scene.turn();
    assert_eq!(scene.messages(&["pong"]).len(), READ_BUFFER_BYTES / 1000 + 5);
}

#[test]
fn a_drain_does_not_prolong_the_goodbye_of_who_does_not_close() {
    let mut scene = Scene::new(Limits::default());
    scene.take(usize::MAX);
    scene.send(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    scene.turn();
    scene.hub.drain();
    scene.turn();
    // Its moment, and what the timers' wheel may add to it.
    scene.now.mono_ms += scene.hub.limits.linger_max.as_millis() as u64 + 1000;
    scene.turn();
    assert_eq!(scene.event_loop.connections(), 0);
}

#[test]
fn who_was_too_slow_and_takes_no_last_words_either_is_gone_when_their_moment_is_over() {
    let mut scene = Scene::new(Limits::default());
    scene.take(usize::MAX);
    scene.ask("/events?channel=t:a&on_slow=close");
    // Half an event goes out, so that there is something left to take.
    scene.wire.borrow_mut().room = 20;
    scene.publish(10);
    scene.turn();
    scene.now.mono_ms += scene.hub.limits.slow_max.as_millis() as u64 + 1000;
    scene.turn();
    assert_eq!(scene.event_loop.connections(), 1, "it is told goodbye");
    scene.now.mono_ms += scene.hub.limits.linger_max.as_millis() as u64 + 1000;
    scene.turn();
    assert_eq!(scene.event_loop.connections(), 0);
}

#[test]
fn the_time_for_answers_ends_where_a_stream_begins() {
    let mut scene = Scene::new(Limits::default());
    scene.take(100);
    scene.ask("/page.js");
    scene.send(HANDSHAKE.as_bytes());
    // It takes some of that, so that it is not stalled.
    scene.take(100);
    scene.now.mono_ms += scene.hub.limits.ping_every.as_millis() as u64 + 1000;
    scene.take(100);
    assert_eq!(scene.event_loop.connections(), 1, "a stream may be slow");
    // Without the stream it must not, however much it goes on asking.
    let mut scene = Scene::new(Limits::default());
    scene.take(100);
    let answer_deadline_ms = scene.hub.limits.answer_deadline.as_millis() as u64;
    scene.ask("/page.js");
    for _ in 0..4 {
        scene.take(100);
        scene.now.mono_ms += answer_deadline_ms / 4 + 1000;
        scene.ask("/health");
    }
    assert_eq!(scene.event_loop.connections(), 0);
}

const LAST_REQUEST: &[u8] = b"GET /page.js HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[test]
fn an_answer_that_waits_in_the_link_has_the_time_of_one_that_waits_for_it() {
    let mut scene = Scene::new(Limits::default());
    let (linger_max, answer_deadline) = (scene.hub.limits.linger_max, scene.hub.limits.answer_deadline);
    scene.hold(1 << 20);
    let request = b"GET /page.js HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3);
    scene.send(&[&request, LAST_REQUEST].concat());
    scene.pass(linger_max);
    assert_eq!(scene.standing(), (true, false), "it is on its way");
    for _ in 0..2 {
        scene.take(16 << 10);
        scene.pass(answer_deadline / 2 + linger_max);
        assert_eq!(scene.standing(), (true, false), "it takes enough of it");
    }
    scene.take(usize::MAX);
    assert_eq!(scene.standing(), (true, true), "all is out");
    let output = String::from_utf8_lossy(&scene.wire.borrow().output).into_owned();
    let (_, body) = output.rsplit_once("\r\n\r\n").expect("a head");
    assert_eq!(output.matches(&format!("Content-Length: {}\r\n", body.len())).count(), 4);
    assert_eq!(output.matches(body).count(), 4);
    scene.pass(linger_max);
    assert_eq!(scene.standing(), (false, true), "its moment is over");
}

#[test]
fn who_takes_too_little_of_what_waits_in_the_link_is_gone_when_the_time_of_an_answer_is_over() {
    let check = |holds_max: usize, taken: usize| {
        let mut scene = Scene::new(Limits::default());
        scene.hold(holds_max);
        scene.send(LAST_REQUEST);
        scene.take(taken);
        scene.pass(scene.hub.limits.answer_deadline);
        assert_eq!(scene.standing(), (false, false), "{taken} taken, {holds_max} in the link");
    };
    check(1 << 20, 0);
    check(1 << 20, 100);
    check(1 << 10, 100);
}

#[test]
fn a_peer_that_closes_its_half_gets_what_waits_in_the_link() {
    let mut scene = Scene::new(Limits::default());
    scene.hold(1 << 20);
    scene.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    scene.wire.borrow_mut().is_ended = true;
    scene.event_loop.ending(scene.id);
    scene.turn();
    assert_eq!(scene.standing(), (true, false));
    scene.take(usize::MAX);
    assert_eq!(scene.standing(), (false, true));
    assert!(scene.wire.borrow().output.ends_with(b"}\n"));
}

#[test]
fn a_ping_in_the_link_has_not_been_asked_and_who_has_events_there_is_behind() {
    let mut scene = Scene::new(Limits::default());
    let (ping_every, pong_deadline) = (scene.hub.limits.ping_every, scene.hub.limits.pong_deadline);
    scene.take(usize::MAX);
    scene.send(HANDSHAKE.replace("t:b", "t:a").as_bytes());
    scene.turn();
    scene.hold(1 << 20);
    scene.pass(ping_every);
    scene.pass(pong_deadline);
    assert_eq!(scene.standing(), (true, false), "it cannot answer what it has not got");
    let lagging = |scene: &Scene| scene.hub.desks()[0].traffic.lagging.load(Ordering::Relaxed);
    scene.take(usize::MAX);
    assert_eq!(lagging(&scene), 0);
    scene.hold(1 << 20);
    scene.publish(1);
    scene.turn();
    assert_eq!(lagging(&scene), 1, "what it was sent is not out");
    scene.take(usize::MAX);
    assert_eq!(lagging(&scene), 0);
    scene.publish(1);
    scene.turn();
    let output = String::from_utf8_lossy(&scene.wire.borrow().output).into_owned();
    let seqs: Vec<bool> = [1, 2].map(|seq| output.matches(&format!("\"seq\":{seq},")).count() == 1).into();
    assert_eq!(seqs, [true, true], "each once: {output}");
    scene.pass(pong_deadline);
    assert_eq!(scene.standing(), (false, false), "now it has been asked, and does not answer");
}
