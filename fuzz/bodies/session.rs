//! What several connections do to one event loop, in any order: nothing panics, nothing is kept of those who have left, and what
//! a WebSocket is sent are whole frames, of which a close frame is the last.

use std::time::Duration;

use fanfare::session::settings::Settings;
use fanfare::words::limits::Limits;
use rig::{Peer, Rig, publication};

#[allow(dead_code, reason = "the tests that it belongs to use more of it")]
#[path = "../../tests/support/rig.rs"]
mod rig;

/// Connections at once, at most.
const PEERS_MAX: usize = 5;

/// Steps of one input, at most.
const STEPS_MAX: usize = 200;

const HANDSHAKES: [&str; 6] = [
    "/ws",
    "/ws?channel=t:a",
    "/ws?channel=t:a,t:b&since=earliest&event_types=push",
    "/ws?channel=*&last=2",
    "/ws?dialect=guts",
    "/ws?dialect=engram",
];

const REQUESTS: [&str; 6] = [
    "GET /events?channel=t:a&since=earliest HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /history?channel=t:a HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /publish/t:a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1",
    "POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n{\"channel\":\"t:b\",",
    "GET /delivered?seq=1&timeout_ms=50 HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
];

const COMMANDS: [&str; 8] = [
    r#"{"type":"subscribe","channel":"t:a"}"#,
    r#"{"type":"subscribe","channels":["t:b","t:c"],"since":0,"id":1}"#,
    r#"{"type":"subscribe","channel":"t:a","last":2,"filter":{"tags":["x"]}}"#,
    r#"{"type":"unsubscribe","channel":"t:a"}"#,
    r#"{"type":"filter","filter":{"event_types":["push"]}}"#,
    r#"{"type":"publish","channel":"t:a","event":"push","data":{}}"#,
    r#"{"type":"list"}"#,
    r#"{"type":"ping","id":"x"}"#,
];

/// A client, and what is known of it.
struct Client {
    peer: Peer,
    /// It has asked for a WebSocket before anything else.
    is_socket: bool,
    has_spoken: bool,
    heard: Vec<u8>,
}

/// Runs one input: steps, each of a byte that says what, one that says who or how much, and bytes that are sent.
pub(crate) fn run(input: &[u8]) {
    let limits = Limits {
        retain_events: 4,
        retain_bytes: 4096,
        subscriptions_max: 3,
        requests_in_flight_max: 2,
        answers_bytes_high: 300,
        body_bytes_max: 2000,
        fragments_max: 5,
        frame_rate: "100".parse().ok(),
        control_frame_rate: "10".parse().ok(),
        command_rate: "50".parse().ok(),
        fanout_backlog_max: Duration::from_secs(3600),
        ..Limits::default()
    };
    let mut rig = Rig::new(limits, Settings::default());
    let mut clients: Vec<Client> = Vec::new();
    let mut rest = input;
    for _ in 0..STEPS_MAX {
        let [what, how, after @ ..] = rest else { break };
        rest = after;
        if what.is_multiple_of(12) && clients.len() < PEERS_MAX {
            let peer = rig.connect();
            peer.listen();
            clients.push(Client { peer, is_socket: false, has_spoken: false, heard: Vec::new() });
            continue;
        }
        rest = step(&mut rig, &mut clients, *what % 12, *how, rest);
    }
    for client in &mut clients {
        rig.read_on(&client.peer);
        rig.end(&client.peer);
    }
    rig.settle();
    for client in &mut clients {
        client.check();
    }
    // The last ones have a while to leave, and those who said nothing have theirs. Requests that wait for something wait one
    // after the other.
    for _ in 0..4 + STEPS_MAX {
        if rig.hub.connections() == 0 {
            break;
        }
        rig.wait_ms(150_000);
        rig.settle();
    }
    let hub = &rig.hub;
    assert_eq!(hub.counters.panics(), 0, "a fault of the server");
    assert_eq!((hub.connections(), hub.counters.streams(), hub.counters.subscriptions()), (0, 0, 0));
    assert!(hub.desks()[0].table().as_ref().as_ref().is_none_or(|table| table.subscriptions() == 0));
}

/// Does one step; returns what is left of the input.
fn step<'a>(rig: &mut Rig, clients: &mut [Client], what: u8, how: u8, rest: &'a [u8]) -> &'a [u8] {
    let count = clients.len();
    let Some(client) = clients.get_mut(usize::from(how) % count.max(1)) else { return rest };
    let choice = usize::from(how) / PEERS_MAX;
    let (length, bytes) =
        rest.split_first().map_or((0, rest), |(length, bytes)| (usize::from(*length), bytes));
    let (payload, after) = bytes.split_at(length.min(bytes.len()));
    match what {
        1 => {
            client.is_socket = !client.has_spoken;
            let handshake = format!(
                "GET {} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                HANDSHAKES[choice % HANDSHAKES.len()]
            );
            client.say(rig, handshake.as_bytes());
        }
        2 => client.say(rig, REQUESTS[choice % REQUESTS.len()].as_bytes()),
        3 => client.say(rig, &frame(0x81, COMMANDS[choice % COMMANDS.len()].as_bytes())),
        4 => {
            client.say(rig, payload);
            return after;
        }
        5 => {
            let first = [0x81, 0x82, 0x88, 0x89, 0x8a, 0x01, 0x00, 0x80, 0xc1, 0x83][choice % 10];
            client.say(rig, &frame(first, &payload[..payload.len().min(125)]));
            return after;
        }
        6 => {
            // As much as the loop takes, which may be behind.
            rig.settle();
            let channel = ["t:a", "t:b", "t:c", "repo:a/b"][usize::from(how) % 4];
            rig.publish(
                (0..=choice)
                    .map(|_| publication(channel, if how.is_multiple_of(2) { "push" } else { "pr_opened" })),
            );
        }
        7 => rig.wait_ms(1 << (choice % 16)),
        8 => client.peer.stop_reading(),
        9 => rig.read_on(&client.peer),
        10 if choice.is_multiple_of(4) => rig.end(&client.peer),
        10 if choice % 4 == 1 => {
            client.is_socket = false;
            rig.cut(&client.peer);
        }
        _ => rig.turn(),
    }
    rest
}

impl Client {
    fn say(&mut self, rig: &mut Rig, bytes: &[u8]) {
        self.has_spoken |= !bytes.is_empty();
        rig.say(&self.peer, bytes);
    }

    /// What a WebSocket was sent are whole frames after the answer to the handshake, and a close frame is the last.
    fn check(&mut self) {
        self.heard.extend(self.peer.heard());
        if !self.is_socket || !self.heard.starts_with(b"HTTP/1.1 101 ") {
            return;
        }
        let head = self.heard.windows(4).position(|window| window == b"\r\n\r\n").expect("a head ends");
        let mut rest = &self.heard[head + 4..];
        let mut is_over = false;
        while let [first, second, after @ ..] = rest {
            assert!(!is_over, "something comes after the close frame");
            assert!([0x81, 0x88, 0x89, 0x8a].contains(first), "a frame begins with {first:x}");
            let (length, after) = match (*second, after) {
                (126, [high, low, after @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), after),
                (short @ 0..126, after) => (usize::from(short), after),
                _ => panic!("a length of {second}"),
            };
            let payload = after.get(..length).expect("a frame is whole");
            assert!(*first != 0x81 || str::from_utf8(payload).is_ok(), "a text is text");
            is_over = *first == 0x88;
            rest = &after[length..];
        }
        assert!(rest.is_empty(), "a frame is whole");
    }
}

/// A client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut bytes = vec![first, 0x80 | payload.len() as u8];
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}
