//! Sweeps: a loop with more subscribers than it writes to in one turn looks at its input in between, and whoever has his
//! turn late gets what was published meanwhile with it.

mod support;

use fanfare::sequencer::{EventParts, Publication};
use fanfare::session::settings::Settings;
use fanfare::words::channel::Channel;
use fanfare::words::limits::Limits;
use support::rig::{Peer, Rig};

/// A loop that writes to two connections a turn.
fn rig() -> Rig {
    Rig::new(Limits { fanout_turn_connections_max: 2, ..Limits::default() }, Settings::default())
}

/// WebSocket clients with these queries, whose greetings were heard.
fn clients<const N: usize>(rig: &mut Rig, queries: [&str; N]) -> [Peer; N] {
    let peers = queries.map(|query| {
        let peer = rig.connect();
        let head = format!(
            "GET /ws?{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        rig.say(&peer, head.as_bytes());
        peer.listen();
        peer
    });
    rig.settle();
    peers.iter().for_each(|peer| drop(peer.heard()));
    peers
}

fn publish(rig: &mut Rig, channel: &str, number: u32) {
    let channel = Channel::parse(channel).expect("a valid name");
    let data = number.to_string();
    let parts = EventParts::new(&channel, "message", data.as_bytes());
    rig.publish([Publication::new(&parts).expect("it names no workspace")]);
}

/// A command, as a frame with a mask of zeros.
fn say(rig: &mut Rig, peer: &Peer, command: &str) {
    let len = u8::try_from(command.len()).ok().filter(|len| *len < 126).expect("a short command");
    let mut frame = vec![0x81, 0x80 | len, 0, 0, 0, 0];
    frame.extend(command.as_bytes());
    rig.say(peer, &frame);
}

/// What a client has heard since it was asked last: the numbers of events, and the types of answers.
fn heard(peer: &Peer) -> Vec<String> {
    let text = String::from_utf8_lossy(&peer.heard()).into_owned();
    let value = |text: &str, name: &str| {
        let after = text.split(name).nth(1)?;
        after.split([',', '}', '"']).next().map(str::to_owned)
    };
    let say = |message: &str| match value(message, "\"data\":") {
        Some(data) => data,
        None => message.split('"').next().unwrap_or_default().to_owned(),
    };
    text.split("{\"type\":\"").skip(1).map(say).collect()
}

#[test]
fn who_has_his_turn_late_gets_what_was_published_meanwhile_with_it() {
    let mut rig = rig();
    let peers = clients(&mut rig, ["channel=t:a"; 6]);
    let check = |expected: [&[&str]; 6]| {
        let actual: Vec<_> = peers.iter().map(heard).collect();
        assert_eq!(actual, expected);
    };
    publish(&mut rig, "t:a", 1);
    rig.turn();
    check([&["1"], &["1"], &[], &[], &[], &[]]);
    publish(&mut rig, "t:a", 2);
    rig.turn();
    check([&[], &[], &["1", "2"], &["1", "2"], &[], &[]]);
    publish(&mut rig, "t:a", 3);
    rig.turn();
    check([&[], &[], &[], &[], &["1", "2", "3"], &["1", "2", "3"]]);
    rig.turn();
    check([&["2", "3"], &["2", "3"], &[], &[], &[], &[]]);
    rig.settle();
    check([&[], &[], &["3"], &["3"], &[], &[]]);
}

#[test]
fn what_was_published_on_another_channel_waits_for_the_next_sweep() {
    let mut rig = rig();
    // The third gets both, in order; the first must not get the second event before it would have got the first.
    let peers = clients(&mut rig, ["channel=t:a", "channel=t:*", "channel=t:*", "channel=t:b"]);
    publish(&mut rig, "t:a", 1);
    rig.turn();
    publish(&mut rig, "t:a", 2);
    publish(&mut rig, "t:b", 3);
    rig.settle();
    let check = |peer: usize, expected: &[&str]| assert_eq!(heard(&peers[peer]), expected, "client {peer}");
    check(0, &["1", "2"]);
    check(1, &["1", "2", "3"]);
    check(2, &["1", "2", "3"]);
    check(3, &["3"]);
}

#[test]
fn commands_hold_from_where_the_client_stands_in_the_middle_of_a_sweep() {
    let check = |command: &str, expected: &[&str]| {
        let mut rig = rig();
        let peers = clients(&mut rig, ["channel=t:a"; 4]);
        publish(&mut rig, "t:a", 1);
        publish(&mut rig, "t:b", 2);
        rig.turn();
        // The last client has had nothing yet, and all of it was routed.
        say(&mut rig, &peers[3], command);
        rig.turn();
        publish(&mut rig, "t:b", 3);
        publish(&mut rig, "t:a", 4);
        rig.settle();
        assert_eq!(heard(&peers[3]), expected, "{command}");
        assert_eq!(heard(&peers[0]), ["1", "4"], "{command}");
    };
    check(r#"{"type":"subscribe","channel":"t:b"}"#, &["subscribed", "1", "2", "3", "4"]);
    check(r#"{"type":"unsubscribe","channel":"t:a"}"#, &["unsubscribed"]);
    check(r#"{"type":"filter","filter":{"event_types":["push"]}}"#, &["filtered"]);
    check(r#"{"type":"ping"}"#, &["pong", "1", "4"]);
}

#[test]
fn an_answer_does_not_wait_for_the_sweep() {
    let mut rig = rig();
    let _peers = clients(&mut rig, ["channel=t:a"; 6]);
    publish(&mut rig, "t:a", 1);
    rig.turn();
    let publisher = rig.connect();
    publisher.listen();
    rig.say(&publisher, b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n");
    rig.turn();
    assert!(publisher.heard().starts_with(b"HTTP/1.1 200 "));
    assert!(rig.delivered() < 6, "the sweep is still under way");
    rig.settle();
    assert_eq!(rig.delivered(), 6);
}

#[test]
fn answers_of_a_turn_come_before_its_events_for_everybody_who_gets_the_same() {
    let mut rig = rig();
    let peers = clients(&mut rig, ["channel=t:a"; 3]);
    publish(&mut rig, "t:a", 1);
    peers.iter().for_each(|peer| say(&mut rig, peer, r#"{"type":"ping"}"#));
    rig.settle();
    peers.iter().for_each(|peer| assert_eq!(heard(peer), ["pong", "1"]));
}
