//! Allocations: an event asks for no memory on its way from the queue to a thousand sockets once everything is warm, and
//! what happens on request asks for as little as it says here.
//!
//! A test that fails lists the places. `cargo test --test allocations -- --nocapture` lists those of all requests.

mod support;

use fanfare::sequencer::{EventParts, Origin, Publication, Submission};
use fanfare::session::settings::Settings;
use fanfare::words::channel::Channel;
use fanfare::words::limits::Limits;
use support::allocations::{Watching, allocations_of};
use support::rig::{Peer, Rig};
use support::websocket::frame;

#[global_allocator]
static HEAP: Watching = Watching;

const CONNECTIONS: usize = 1000;

/// Events before anything is counted: the log's smallest number of segments, three times round, so that segments and
/// chunks are used again as they are after a while.
const WARM_UP: usize = 3 * 4096;

/// Events counted: more than a segment or a chunk holds, so that there are new ones among them.
const COUNTED: usize = 360;

/// Of these a thousand connections are made.
#[derive(Clone, Copy, Debug)]
enum Transport {
    WebSocket,
    Sse,
    /// One after the other.
    Both,
}

/// Which channels they are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channels {
    /// All on one.
    One,
    /// Each on its own.
    Many,
    /// All on everything that one owner has.
    Wildcard,
}

impl Channels {
    /// What a connection of that number subscribes to.
    fn wanted_by(self, number: usize) -> String {
        match self {
            Channels::One => channel(0),
            Channels::Many => channel(number),
            Channels::Wildcard => "repo:owner/*".to_owned(),
        }
    }

    /// The channel of an event of that number.
    fn of_event(self, number: usize) -> String {
        match self {
            Channels::One => channel(0),
            // A step that shares no factor with the number of channels.
            Channels::Many | Channels::Wildcard => channel(number * 7919 % CONNECTIONS),
        }
    }
}

fn channel(number: usize) -> String {
    format!("repo:owner/name{number}")
}

fn web_socket(query: &str) -> String {
    format!(
        "GET /ws?{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

fn event_stream(query: &str) -> String {
    format!("GET /events?{query} HTTP/1.1\r\nHost: x\r\n\r\n")
}

fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
    format!("{head}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn text(message: &str) -> Vec<u8> {
    frame(0x81, message.as_bytes())
}

const DATA: &str =
    r#"{"action":"opened","number":1347,"title":"Found a bug","sender":"octocat","draft":false}"#;

fn publication(channel: &str) -> Publication {
    let channel = Channel::parse(channel).unwrap();
    Publication::new(&EventParts::new(&channel, "issue_opened", DATA.as_bytes())).unwrap()
}

fn open(rig: &mut Rig, request: &str) -> Peer {
    let peer = rig.connect();
    rig.say(&peer, request.as_bytes());
    rig.settle();
    peer
}

/// A rig whose log has gone round.
fn warm_rig(channels: Channels) -> Rig {
    let mut rig = Rig::new(Limits { retain_events: 1024, ..Limits::default() }, Settings::default());
    // While somebody listens to a stream the log keeps more of each event.
    let stream = open(&mut rig, &event_stream("channel=quiet:one"));
    for first in (0..WARM_UP).step_by(128) {
        rig.publish((first..first + 128).map(|number| publication(&channels.of_event(number))));
        rig.settle();
    }
    rig.cut(&stream);
    rig.settle();
    rig
}

/// Sends `COUNTED` events to a thousand connections, so many a turn, and checks that they ask for no memory.
#[track_caller]
fn check_fan_out(transport: Transport, channels: Channels, per_turn: usize, sleeps: bool) {
    let mut rig = warm_rig(channels);
    let peers: Vec<Peer> = (0..CONNECTIONS)
        .map(|number| {
            let query = format!("channel={}", channels.wanted_by(number));
            let is_web_socket = match transport {
                Transport::WebSocket => true,
                Transport::Sse => false,
                Transport::Both => number.is_multiple_of(2),
            };
            open(&mut rig, &if is_web_socket { web_socket(&query) } else { event_stream(&query) })
        })
        .collect();
    assert_eq!(rig.hub.counters.subscriptions(), CONNECTIONS as u64);
    let turns = COUNTED.div_ceil(per_turn);
    let mut round = |count: usize| {
        let submission = |number| {
            let event = publication(&channels.of_event(number));
            Submission::publish(Origin::NOBODY, std::iter::once(event).collect())
        };
        let submissions: Vec<Submission> = (0..count * per_turn).map(submission).collect();
        let before = rig.delivered();
        let mut submissions = submissions.into_iter();
        let found = allocations_of(|| {
            for _ in 0..count {
                rig.sleep(sleeps);
                submissions.by_ref().take(per_turn).for_each(|submission| rig.submit(submission));
                rig.sequence();
                rig.sleep(false);
                rig.settle();
                rig.wait_ms(1);
            }
        });
        let each = if channels == Channels::Many { 1 } else { CONNECTIONS };
        assert_eq!(rig.delivered() - before, (count * per_turn * each) as u64, "everybody has everything");
        found
    };
    // Once more the very same, so that whatever is remembered of an event is there.
    round(turns);
    let found = round(turns);
    let what = format!("{transport:?}, {channels:?}, {per_turn} a turn, {turns} turns");
    println!("{what}: {}", found.count);
    assert_eq!(found.count, 0, "{what}\n{found}");
    drop(peers);
}

#[test]
fn an_event_of_one_channel_is_sent_to_a_thousand_web_sockets_without_memory() {
    check_fan_out(Transport::WebSocket, Channels::One, 1, false);
    check_fan_out(Transport::WebSocket, Channels::One, 10, false);
    check_fan_out(Transport::WebSocket, Channels::One, 60, false);
}

#[test]
fn an_event_of_one_channel_is_sent_to_a_thousand_event_streams_without_memory() {
    check_fan_out(Transport::Sse, Channels::One, 1, false);
    check_fan_out(Transport::Sse, Channels::One, 10, false);
    check_fan_out(Transport::Sse, Channels::One, 60, false);
    check_fan_out(Transport::Both, Channels::One, 10, false);
}

#[test]
fn events_of_a_thousand_channels_are_sent_without_memory() {
    check_fan_out(Transport::WebSocket, Channels::Many, 1, false);
    check_fan_out(Transport::WebSocket, Channels::Many, 60, false);
    check_fan_out(Transport::Sse, Channels::Many, 60, false);
}

#[test]
fn events_that_wake_a_loop_are_sent_without_memory() {
    check_fan_out(Transport::WebSocket, Channels::One, 1, true);
    check_fan_out(Transport::Both, Channels::Many, 10, true);
}

#[test]
fn events_for_wildcards_are_sent_without_memory() {
    check_fan_out(Transport::WebSocket, Channels::Wildcard, 1, false);
}

/// Says `bytes` again and again, and checks how much memory each time asks for, in allocations.
#[track_caller]
fn check(rig: &mut Rig, peer: &Peer, what: &str, bytes: &[u8], most: usize) {
    const TIMES: usize = 32;
    let mut rounds = |times: usize| {
        for _ in 0..times {
            rig.say(peer, bytes);
            rig.settle();
            rig.wait_ms(1);
        }
    };
    rounds(TIMES);
    let found = allocations_of(|| rounds(TIMES));
    println!("{what}: {} in {TIMES} times\n{found}", found.count);
    assert!(found.count <= TIMES * most, "{what}: {} in {TIMES} times\n{found}", found.count);
    assert!(!peer.is_gone(), "{what}");
}

#[test]
fn a_publish_by_http_asks_for_little_memory() {
    let mut rig = warm_rig(Channels::One);
    let peer = rig.connect();
    let envelope = format!(r#"{{"channel":"{}","event":"issue_opened","data":{DATA}}}"#, channel(0));
    let labelled = envelope.replace(r#""data""#, r#""ids":[42],"tags":["home"],"data""#);
    let batch = format!("[{}]", vec![envelope.as_str(); 100].join(","));
    let path = "/publish/repo:owner%2Fname0?event=push";
    let before = rig.hub.log.published();
    check(&mut rig, &peer, "an event", &post("/publish", &envelope), 10);
    check(&mut rig, &peer, "an event with an id and a tag", &post("/publish", &labelled), 18);
    check(&mut rig, &peer, "the data of an event", &post(path, DATA), 12);
    check(&mut rig, &peer, "a batch of 100", &post("/publish", &batch), 622);
    check(&mut rig, &peer, "16 requests in a row", &post("/publish", &envelope).repeat(16), 149);
    assert_eq!(rig.hub.log.published() - before, 64 * (1 + 1 + 1 + 100 + 16), "all were published");
}

#[test]
fn a_web_socket_asks_for_little_memory_when_it_speaks() {
    let mut rig = warm_rig(Channels::One);
    let request = web_socket("channel=t:quiet");
    let others: Vec<Peer> = (0..100).map(|_| open(&mut rig, &request)).collect();
    let peer = open(&mut rig, &request);
    let publish =
        format!(r#"{{"type":"publish","channel":"{}","event":"issue_opened","data":{DATA}}}"#, channel(0));
    check(&mut rig, &peer, "publish", &text(&publish), 14);
    let before = rig.hub.counters.subscriptions();
    let come = text(r#"{"type":"subscribe","channel":"t:a"}"#);
    let go = text(r#"{"type":"unsubscribe","channel":"t:a"}"#);
    check(&mut rig, &peer, "subscribe and unsubscribe", &[come, go].concat(), 44);
    assert_eq!(rig.hub.counters.subscriptions(), before);
    check(&mut rig, &peer, "ping", &frame(0x89, b"hello"), 1);
    drop(others);
}

/// Connects again and again, and checks how much memory each client asks for until it is served, its link not counted.
#[track_caller]
fn check_connect(what: &str, request: &str, most: usize) {
    const TIMES: usize = 32;
    let mut rig = warm_rig(Channels::One);
    let mut peers: Vec<Peer> = (0..100).map(|_| open(&mut rig, request)).collect();
    let mut count = 0;
    let mut first = String::new();
    for _ in 0..TIMES {
        let peer = rig.connect();
        rig.say(&peer, request.as_bytes());
        let found = allocations_of(|| rig.settle());
        count += found.count;
        if first.is_empty() {
            first = found.to_string();
        }
        peers.push(peer);
    }
    assert_eq!(rig.hub.counters.streams(), 100 + TIMES as u64);
    println!("{what}: {count} in {TIMES} times; the first\n{first}");
    assert!(count <= TIMES * most, "{what}: {count} in {TIMES} times; the first\n{first}");
}

#[test]
fn a_client_that_connects_asks_for_little_memory() {
    check_connect("a WebSocket without subscriptions", &web_socket(""), 32);
    check_connect("a WebSocket with a channel that others have", &web_socket("channel=t:quiet"), 56);
    check_connect("an event stream with a channel that others have", &event_stream("channel=t:quiet"), 53);
}

#[test]
fn a_connection_that_catches_up_asks_for_memory_by_the_write_and_not_by_the_event() {
    let mut rig = warm_rig(Channels::One);
    for request in [web_socket("channel=repo:owner/name0"), event_stream("channel=repo:owner/name0")] {
        let peer = open(&mut rig, &request);
        for missed in [16, 160, 960] {
            peer.stop_reading();
            for _ in 0..missed / 16 {
                rig.publish((0..16).map(|_| publication(&channel(0))));
                rig.settle();
            }
            let before = rig.delivered();
            let found = allocations_of(|| {
                rig.read_on(&peer);
                rig.settle();
            });
            assert_eq!(rig.delivered() - before, missed, "it has caught up");
            println!("{missed} missed: {}\n{found}", found.count);
            assert!(found.count <= CATCH_UP_MAX, "{missed} missed: {}\n{found}", found.count);
        }
    }
}

/// Allocations of a connection that finds out what it has missed and writes it, in as many writes as 960 events take.
const CATCH_UP_MAX: usize = 48;
