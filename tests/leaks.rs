//! Leaks: a hundred thousand clients come, subscribe and go in every way there is, and neither an entry nor memory is
//! left of them.
//!
//! Nine in ten come over links in memory, where the loop's clock can be moved past every deadline; the others over real
//! sockets. The allocator counts for the whole process, so one test does both.

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fanfare::hub::Hub;
use fanfare::sequencer::{EventParts, Publication, WordList};
use fanfare::session::settings::Settings;
use fanfare::words::channel::Channel;
use fanfare::words::limits::Limits;
use support::PATIENCE;
use support::heap::{Counting, live_bytes};
use support::http::Http;
use support::local::LocalServer;
use support::rig::Rig;
use support::websocket::{Frames, close_frame, frame};

#[global_allocator]
static HEAP: Counting = Counting;

/// Cycles over links in memory, and before them those that warm everything up.
const IN_MEMORY: usize = 90_000;
const IN_MEMORY_WARM_UP: usize = 10_000;

/// Cycles over sockets, and before them those that warm everything up.
const OVER_SOCKETS: usize = 10_000;
const OVER_SOCKETS_WARM_UP: usize = 2000;

/// Threads that connect.
const THREADS: usize = 4;

/// What may be allocated more after all cycles than before, in bytes: a fraction of a byte for each cycle in memory,
/// where everything happens in the same order every time; a few bytes for each over sockets, where lists grow with
/// how many clients happen to be there at once.
const BYTES_MAX_IN_MEMORY: usize = 4 << 10;
const BYTES_MAX_OVER_SOCKETS: usize = 64 << 10;

/// What one client does.
struct Play {
    /// The path of its request.
    path: &'static str,
    is_web_socket: bool,
    /// What it says then, each a text message.
    says: &'static [&'static str],
    /// Subscriptions that it has at its end.
    holds: u64,
    leaves: Leaves,
}

/// How a client leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    /// Saying goodbye.
    InOrder,
    /// By closing its connection.
    Silently,
    /// In the middle of a message.
    MidMessage,
    /// With events on their way that it never took.
    Full,
}

const fn web_socket(path: &'static str, says: &'static [&'static str], holds: u64, leaves: Leaves) -> Play {
    Play { path, is_web_socket: true, says, holds, leaves }
}

const fn sse(path: &'static str, holds: u64, leaves: Leaves) -> Play {
    Play { path, is_web_socket: false, says: &[], holds, leaves }
}

const PLAYS: &[Play] = &[
    web_socket(
        "/ws",
        &[
            r#"{"type":"subscribe","channels":["memory:default","t:a","t:b/*"]}"#,
            r#"{"type":"unsubscribe","channel":"t:a"}"#,
        ],
        2,
        Leaves::InOrder,
    ),
    web_socket("/ws?user=alice", &[r#"{"type":"subscribe","channel":"chat:room"}"#], 1, Leaves::Silently),
    web_socket(
        "/ws?user=alice&channel=chat:room,chat:hall",
        &[r#"{"type":"unsubscribe","channels":["chat:room","chat:hall"]}"#],
        0,
        Leaves::InOrder,
    ),
    sse("/events?channel=memory:default&event_types=memory_created&tags=home", 1, Leaves::Silently),
    sse("/events?channel=memory:*&channel=chat:room&user=bob&since=earliest", 2, Leaves::Full),
    web_socket(
        "/ws",
        &[
            r#"{"type":"subscribe","channel":"memory:default","filter":{"ids":[42,43]}}"#,
            r#"{"type":"subscribe","channel":"memory:default","filter":{"tags":["home"]},"last":3}"#,
            r#"{"type":"filter","filter":{"event_types":["memory_created"],"workspace":"*"}}"#,
        ],
        1,
        Leaves::Full,
    ),
    web_socket(
        "/ws?dialect=engram",
        &[r#"{"event_types":["memory_created"],"memory_ids":[42]}"#, "{}"],
        1,
        Leaves::InOrder,
    ),
    sse("/v1/events?event_types=memory_created&workspace=acme", 1, Leaves::Silently),
    web_socket(
        "/ws?dialect=guts",
        &[
            r#"{"type":"subscribe","channel":"repo:alice/demo"}"#,
            r#"{"type":"subscribe","channel":"user:alice"}"#,
            r#"{"type":"unsubscribe","channel":"repo:alice/demo"}"#,
        ],
        1,
        Leaves::MidMessage,
    ),
    sse("/api/events?channel=alice/demo&channel=all", 2, Leaves::Silently),
    web_socket(
        "/ws?channel=*&dialect=cloudevents",
        &[r#"{"type":"publish","channel":"t:b/c","event":"push","data":{"by":"a client"}}"#],
        1,
        Leaves::InOrder,
    ),
    web_socket(
        "/ws?channel=t:a",
        &[r#"{"type":"subscribe","channels":["t:a","t:x"],"since":1}"#],
        2,
        Leaves::MidMessage,
    ),
];

impl Play {
    fn request(&self) -> String {
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
        let upgrade = if self.is_web_socket { upgrade } else { "" };
        format!("GET {} HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n", self.path)
    }

    fn messages(&self) -> Vec<u8> {
        self.says.iter().flat_map(|text| frame(0x81, text.as_bytes())).collect()
    }

    /// What it says last.
    fn goodbye(&self) -> Vec<u8> {
        match self.leaves {
            Leaves::InOrder => close_frame(1000, b""),
            Leaves::MidMessage => frame(0x01, br#"{"type":"subscribe","#),
            Leaves::Silently | Leaves::Full => Vec::new(),
        }
    }
}

/// A log so small that the memory it begins with suffices it. The reminders of those who have gone are kept until they come round, so that is soon, too.
fn limits() -> Limits {
    let soon = Duration::from_secs(5);
    Limits {
        retain_events: 64,
        retain_bytes: 8 << 10,
        ping_every: soon,
        quiet_after: soon,
        ..Limits::default()
    }
}

fn settings() -> Settings {
    Settings { presence: vec!["chat".to_owned()], sys_events: true, ..Settings::default() }
}

fn event() -> Publication {
    let channel = Channel::parse("memory:default").unwrap();
    let (ids, tags) = (WordList { json: b"[42]".to_vec(), words: vec!["42".into()] }, WordList::EMPTY);
    let parts = EventParts { ids: &ids, tags, ..EventParts::new(&channel, "memory_created", b"{}") };
    Publication::new(&parts).unwrap()
}

/// Whether nobody is there, and nothing is left of those who were.
fn is_empty(hub: &Hub) -> bool {
    let tables_are_empty = hub.desks().iter().all(|desk| {
        let table = desk.table();
        table
            .as_ref()
            .is_some_and(|table| table.subscriptions() == 0 && !table.has_subscriber("memory:default"))
    });
    tables_are_empty
        && hub.connections() == 0
        && hub.counters.streams() == 0
        && hub.counters.subscriptions() == 0
        && hub.presence.rooms() == 0
        && hub.occupancy.rooms() == 0
}

/// One client over a link in memory.
fn come_and_go(rig: &mut Rig, number: usize) {
    let play = &PLAYS[number % PLAYS.len()];
    let peer = rig.connect();
    rig.say(&peer, play.request().as_bytes());
    rig.settle();
    if play.leaves == Leaves::Full {
        peer.stop_reading();
    }
    rig.say(&peer, &play.messages());
    rig.publish([event()]);
    rig.settle();
    assert_eq!(rig.hub.counters.streams(), 1, "{}", play.path);
    if play.leaves != Leaves::Full {
        assert_eq!(rig.hub.counters.subscriptions(), play.holds, "{}", play.path);
    }
    rig.say(&peer, &play.goodbye());
    rig.settle();
    if number.is_multiple_of(2) {
        rig.end(&peer);
    } else {
        rig.cut(&peer);
    }
    rig.settle();
    assert!(peer.is_gone(), "{}", play.path);
    rig.wait_ms(16);
}

/// Once round the loop's wheel of reminders, and more.
fn let_deadlines_pass(rig: &mut Rig) {
    for _ in 0..100 {
        rig.wait_ms(1000);
        rig.settle();
    }
}

fn in_memory() {
    let mut rig = Rig::new(limits(), settings());
    for number in 0..IN_MEMORY_WARM_UP {
        come_and_go(&mut rig, number);
    }
    let_deadlines_pass(&mut rig);
    let base = live_bytes();
    for number in 0..IN_MEMORY {
        come_and_go(&mut rig, number);
    }
    let_deadlines_pass(&mut rig);
    assert!(is_empty(&rig.hub));
    assert_eq!(rig.hub.counters.streams_total(), (IN_MEMORY_WARM_UP + IN_MEMORY) as u64);
    let more = live_bytes().saturating_sub(base);
    println!("in memory: {IN_MEMORY} cycles leave {more} bytes more than {base}");
    assert!(more <= BYTES_MAX_IN_MEMORY, "{more} bytes more than {base}");
}

/// One client over a socket.
fn connect_and_go(address: SocketAddr, number: usize) {
    let play = &PLAYS[number % PLAYS.len()];
    let mut http = Http::connect(address);
    http.send(play.request());
    assert_eq!(http.head().status, if play.is_web_socket { 101 } else { 200 }, "{}", play.path);
    if !play.is_web_socket {
        // What has not been read yet makes the end of some of them a reset.
        return;
    }
    let mut frames = Frames::over(http);
    frames.send(&[play.messages(), frame(0x89, b"done")].concat());
    if play.leaves == Leaves::Full {
        return;
    }
    while frames.next().is_some_and(|answer| answer.first != 0x8a) {}
    frames.send(&play.goodbye());
    if play.leaves == Leaves::InOrder {
        assert_eq!(frames.close_code(), 1000);
    }
}

fn connect_and_go_in_threads(address: SocketAddr, cycles: usize) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for number in (thread..cycles).step_by(THREADS) {
                    connect_and_go(address, number);
                }
            });
        }
    });
}

/// Waits until `is_so`, and says whether it came to that.
fn comes(is_so: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    while !is_so() && begin.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    is_so()
}

fn over_sockets() {
    let server = LocalServer::start_with_settings(limits(), 2, settings());
    connect_and_go_in_threads(server.public, OVER_SOCKETS_WARM_UP);
    assert!(comes(|| is_empty(&server.hub())));
    let base = live_bytes();
    connect_and_go_in_threads(server.public, OVER_SOCKETS);
    assert!(comes(|| is_empty(&server.hub())));
    assert_eq!(server.hub().counters.streams_total(), (OVER_SOCKETS_WARM_UP + OVER_SOCKETS) as u64);
    let has_come_back = comes(|| live_bytes() <= base + BYTES_MAX_OVER_SOCKETS);
    println!("over sockets: {OVER_SOCKETS} cycles, {base} bytes before and {} after", live_bytes());
    assert!(has_come_back, "{} bytes are live, {base} were", live_bytes());
}

#[test]
#[ignore = "takes half a minute; tests/run calls it"]
fn a_hundred_thousand_clients_leave_nothing_behind() {
    over_sockets();
    in_memory();
}
