//! A crowd of clients in memory, and the events that they are sent.

#![allow(dead_code, reason = "each bench uses its own part of this")]

use fanfare::sequencer::{EventParts, Publication};
use fanfare::session::settings::Settings;
use fanfare::words::channel::Channel;
use fanfare::words::limits::Limits;

#[path = "../../tests/support/rig.rs"]
mod rig;

pub(crate) use rig::{Peer, Rig};

/// A loop with the limits of the server, and a log that wraps soon.
pub(crate) fn rig() -> Rig {
    Rig::new(Limits { retain_events: 8192, ..Limits::default() }, Settings::default())
}

/// The channel numbered `number`: a hundred repositories an owner.
pub(crate) fn channel(number: usize) -> String {
    format!("repo:owner{}/name{}", number / 100, number % 100)
}

/// A channel that nobody publishes on.
pub(crate) fn quiet_channel(number: usize) -> String {
    format!("repo:owner{}/other{}", number / 100, number % 100)
}

/// An event of 190 bytes of JSON.
pub(crate) fn event(channel: &str) -> Publication {
    let channel = Channel::parse(channel).expect("a valid name");
    let data = br#"{"action":"opened","number":1347,"title":"Found a bug","sender":"octocat","draft":false}"#;
    Publication::new(&EventParts::new(&channel, "issue_opened", data)).expect("it names no workspace")
}

/// A client with a WebSocket that asks for `query`.
pub(crate) fn web_socket(rig: &mut Rig, query: &str) -> Peer {
    let peer = rig.connect();
    rig.say(&peer, &upgrade(query));
    peer
}

/// The request for a WebSocket that asks for `query`.
pub(crate) fn upgrade(query: &str) -> Vec<u8> {
    format!(
        "GET /ws{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// A client with an event stream that asks for `query`.
pub(crate) fn event_stream(rig: &mut Rig, query: &str) -> Peer {
    let peer = rig.connect();
    rig.say(&peer, format!("GET /events{query} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    peer
}

/// A request to publish what `body` says.
pub(crate) fn post(body: &str) -> Vec<u8> {
    let head = "POST /publish HTTP/1.1\r\nHost: x\r\nContent-Type: application/json";
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A command about `channels`.
pub(crate) fn command(verb: &str, channels: impl IntoIterator<Item = String>) -> Vec<u8> {
    let names: Vec<String> = channels.into_iter().map(|name| format!("\"{name}\"")).collect();
    text(&format!("{{\"type\":\"{verb}\",\"channels\":[{}]}}", names.join(",")))
}

/// A text message, as a frame with a mask of zeros.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).expect("a short text");
    let mut frame = vec![0x81];
    match u8::try_from(len).ok().filter(|len| *len < 126) {
        Some(len) => frame.push(0x80 | len),
        None => {
            frame.push(0x80 | 126);
            frame.extend(len.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

/// So many clients, each with so many subscriptions of its own: client 0 has the first, client 1 those after it.
pub(crate) fn crowd(rig: &mut Rig, clients: usize, each: usize, name: fn(usize) -> String) -> Vec<Peer> {
    let mut peers = Vec::with_capacity(clients);
    for client in 0..clients {
        let peer = web_socket(rig, "");
        rig.settle();
        if 0 < each {
            let own = client * each..(client + 1) * each;
            rig.say(&peer, &command("subscribe", own.map(name)));
            rig.settle();
        }
        peers.push(peer);
    }
    assert_eq!(rig.hub.counters.subscriptions(), (clients * each) as u64);
    peers
}
