//! The wall's clock is set while the server runs: events say the new time, and nothing else notices.

mod support;

use std::time::Duration;

use fanfare::session::settings::Settings;
use fanfare::words::limits::Limits;
use serde_json::Value;
use support::rig::{Peer, Rig, publication};
use support::websocket::{HANDSHAKE, frame};

const HOUR_MS: i64 = 3_600_000;

/// What a client hears, in texts; control frames as the byte that they begin with.
fn heard(peer: &Peer) -> Vec<Value> {
    let bytes = peer.heard();
    let (mut rest, mut all) = (&bytes[..], Vec::new());
    while let [first, length, after @ ..] = rest {
        let (length, after) = match *length {
            126 => (usize::from(u16::from_be_bytes([after[0], after[1]])), &after[2..]),
            short => (usize::from(short), after),
        };
        let (payload, left) = after.split_at(length);
        all.push(serde_json::from_slice(payload).unwrap_or_else(|_| (*first).into()));
        rest = left;
    }
    all
}

#[test]
fn a_wall_clock_that_jumps_changes_no_order_no_timer_no_ping_and_keeps_nobody_out() {
    let limits = Limits { quiet_after: Duration::from_secs(3600), ..Limits::default() };
    let mut rig = Rig::new(limits, Settings::default());
    let peer = rig.connect();
    rig.say(&peer, HANDSHAKE.replace("/ws", "/ws?channel=t:a").as_bytes());
    rig.settle();
    peer.listen();
    let slow = rig.connect();
    slow.listen();
    rig.say(&slow, b"GET /health HTTP/1.1\r\n");
    let (mut seq, mut last_ms) = (0, None);
    for jump_ms in [2 * HOUR_MS, -4 * HOUR_MS, 3 * HOUR_MS, -HOUR_MS] {
        rig.wait_ms(1000);
        // One that nobody has handed on is as old as it is, whatever the wall says meanwhile.
        rig.publish([publication("t:a", "before")]);
        rig.set_wall_clock(jump_ms);
        rig.publish([publication("t:a", "after")]);
        rig.settle();
        let events = heard(&peer);
        assert_eq!(events.len(), 2, "neither a ping nor a gap: {events:?}");
        for event in events {
            seq += 1;
            assert_eq!((&event["type"], &event["seq"]), (&"event".into(), &seq.into()));
            let time_ms = event["timestamp"].as_i64().unwrap();
            let expected_ms = if event["event"] == "after" { jump_ms } else { 1000 };
            if let Some(last_ms) = last_ms.replace(time_ms) {
                assert_eq!(time_ms - last_ms, expected_ms, "it says what the wall says");
            }
        }
        assert_eq!(slow.heard(), b"", "five seconds for a head are not over");
    }
    rig.wait_ms(1100);
    rig.settle();
    assert!(slow.heard().starts_with(b"HTTP/1.1 408 "), "now they are");
    rig.set_wall_clock(-2 * HOUR_MS);
    rig.wait_ms(20_000);
    rig.settle();
    assert_eq!(heard(&peer), [Value::from(0x89)], "one ping, after 25 seconds");
    rig.say(&peer, &frame(0x8a, b""));
    rig.settle();
    rig.set_wall_clock(48 * HOUR_MS);
    rig.wait_ms(20_000);
    rig.settle();
    assert_eq!(heard(&peer), [Value::Null; 0], "and no other before its time");
}

#[test]
fn a_wall_clock_that_jumps_neither_forgets_an_idempotency_key_nor_remembers_it_longer() {
    let mut rig = Rig::new(Limits::default(), Settings::default());
    // A connection each: one that says nothing for minutes is closed.
    let mut check = |wait_ms: u64, jump_ms: i64, expected_seq: u64| {
        rig.wait_ms(wait_ms);
        rig.set_wall_clock(jump_ms);
        let peer = rig.connect();
        peer.listen();
        rig.say(&peer, &request("POST", "/publish/t:a", "Idempotency-Key: k\r\n", "1"));
        rig.settle();
        // The loop takes the receipt in a turn of its own.
        rig.settle();
        let answer = String::from_utf8(peer.heard()).unwrap();
        let expected = format!("\r\n\r\n{{\"seq\":{expected_seq}}}");
        assert!(answer.trim_end().ends_with(&expected), "after {wait_ms} and {jump_ms} ms: {answer}");
        rig.cut(&peer);
    };
    check(0, 0, 1);
    check(0, HOUR_MS, 1);
    check(0, -3 * HOUR_MS, 1);
    check(599_999, 0, 1);
    check(1, 0, 2);
    check(599_999, 48 * HOUR_MS, 2);
    check(1, -HOUR_MS, 3);
}

fn request(method: &str, target: &str, fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}
