//! How often one WebSocket client may do something: frames, control frames, commands; and that a peer that does not read
//! makes nothing grow by asking.

mod support;

use std::time::Duration;

use fanfare::session::settings::Settings;
use fanfare::words::limits::Limits;
use support::process::ServerProcess;
use support::rig::{Peer, Rig};
use support::websocket::{Frame, Frames, HANDSHAKE, frame};

const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const CLOSE: u8 = 0x88;
const PIECE: u8 = 0x00;
const FIRST_PIECE: u8 = 0x01;

/// A loop and a client at `path`, from which everything has been heard.
fn open(limits: Limits, path: &str) -> (Rig, Peer) {
    let mut rig = Rig::new(limits, Settings::default());
    let peer = rig.connect();
    rig.say(&peer, HANDSHAKE.replace("/ws", path).as_bytes());
    rig.settle();
    peer.listen();
    (rig, peer)
}

/// Says `bytes` and returns what is heard.
fn ask(rig: &mut Rig, peer: &Peer, bytes: &[u8]) -> Vec<u8> {
    rig.say(peer, bytes);
    rig.settle();
    peer.heard()
}

fn is_policy_close(heard: &[u8]) -> bool {
    heard.starts_with(&[CLOSE]) && heard[2..4] == 1008u16.to_be_bytes()
}

#[test]
fn control_frames_beyond_their_rate_end_the_connection() {
    let limits = Limits {
        control_frame_rate: Some("2/5".parse().unwrap()),
        // No cursors in between.
        quiet_after: Duration::from_secs(3600),
        ..Limits::default()
    };
    for first in [PING, PONG] {
        let (mut rig, peer) = open(limits.clone(), "/ws");
        let answer: &[u8] = if first == PING { b"\x8a\x01x" } else { b"" };
        for _ in 0..5 {
            assert_eq!(ask(&mut rig, &peer, &frame(first, b"x")), answer);
        }
        // Data is bounded by itself.
        let heard = ask(&mut rig, &peer, &frame(TEXT, br#"{"type":"ping"}"#));
        assert!(heard.ends_with(br#"{"type":"pong","seq":0}"#));
        rig.wait_ms(499);
        let heard = ask(&mut rig, &peer, &[frame(first, b"x"), frame(first, b"y")].concat());
        assert!(is_policy_close(&heard), "{first:x}: {heard:x?}");
    }

    let (mut rig, peer) = open(limits, "/ws");
    for _ in 0..100 {
        assert_eq!(ask(&mut rig, &peer, &frame(PING, b"x")), b"\x8a\x01x", "two a second are fine for ever");
        rig.wait_ms(500);
    }
}

#[test]
fn an_answer_to_our_ping_is_free() {
    let limits = Limits { control_frame_rate: Some("1/1".parse().unwrap()), ..Limits::default() };
    let (mut rig, peer) = open(limits, "/ws");
    rig.wait_ms(25_100);
    rig.settle();
    assert_eq!(peer.heard(), b"\x89\x00");
    assert_eq!(ask(&mut rig, &peer, &frame(PONG, b"")), b"", "asked for");
    assert_eq!(ask(&mut rig, &peer, &frame(PONG, b"")), b"", "one that was not is what may be");
    assert!(is_policy_close(&ask(&mut rig, &peer, &frame(PONG, b""))), "two are too many");
}

#[test]
fn data_frames_beyond_their_rate_end_the_connection_however_they_are_cut() {
    let limits = Limits { frame_rate: Some("10/4".parse().unwrap()), ..Limits::default() };
    let command = frame(TEXT, br#"{"type":"ping"}"#);
    let piece = frame(PIECE, b" ");
    let pieces = vec![frame(FIRST_PIECE, b"{"), piece.clone(), piece.clone(), piece.clone()];
    for (frames, one_more) in [(vec![command.clone(); 4], &command), (pieces, &piece)] {
        for is_at_once in [true, false] {
            let (mut rig, peer) = open(limits.clone(), "/ws");
            let said = if is_at_once { vec![frames.concat()] } else { frames.clone() };
            for bytes in said {
                assert!(!is_policy_close(&ask(&mut rig, &peer, &bytes)));
            }
            assert_eq!(
                ask(&mut rig, &peer, &frame(PING, b"x")),
                b"\x8a\x01x",
                "control frames are another matter"
            );
            rig.wait_ms(99);
            assert!(is_policy_close(&ask(&mut rig, &peer, one_more)), "at once: {is_at_once}");
        }
    }
    let (mut rig, peer) = open(limits, "/ws");
    for _ in 0..50 {
        assert!(ask(&mut rig, &peer, &command).starts_with(&[TEXT]), "ten a second are fine for ever");
        rig.wait_ms(100);
    }
}

#[test]
fn commands_beyond_their_rate_are_refused_and_the_connection_goes_on() {
    let limits = Limits { command_rate: Some("10/3".parse().unwrap()), ..Limits::default() };
    let check = |path: &str, command: &str, good: &str, refused: &str| {
        let (mut rig, peer) = open(limits.clone(), path);
        let text = |heard: Vec<u8>| String::from_utf8_lossy(heard.get(2..).unwrap_or_default()).into_owned();
        for _ in 0..20 {
            for _ in 0..3 {
                assert_eq!(text(ask(&mut rig, &peer, &frame(TEXT, command.as_bytes()))), good, "{path}");
            }
            assert_eq!(text(ask(&mut rig, &peer, &frame(TEXT, command.as_bytes()))), refused, "{path}");
            rig.wait_ms(300);
        }
    };
    let limited =
        r#"{"type":"error","code":"rate_limited","message":"more commands in a second than allowed""#;
    check("/ws", r#"{"type":"ping"}"#, r#"{"type":"pong","seq":0}"#, &format!("{limited}}}"));
    check(
        "/ws",
        r#"{"type":"ping","id":7}"#,
        r#"{"type":"pong","seq":0,"id":7}"#,
        &format!("{limited},\"id\":7}}"),
    );
    check(
        "/ws?dialect=guts",
        r#"{"type":"ping"}"#,
        r#"{"type":"pong"}"#,
        r#"{"type":"error","message":"more commands in a second than allowed"}"#,
    );
    check("/ws?dialect=engram", "{}", "", "");
}

#[test]
fn a_publish_that_is_refused_for_its_haste_is_not_published() {
    let limits = Limits { command_rate: Some("1/2".parse().unwrap()), ..Limits::default() };
    let (mut rig, peer) = open(limits, "/ws");
    let publish = frame(TEXT, br#"{"type":"publish","channel":"t:a","event":"k","data":1}"#);
    let heard = ask(&mut rig, &peer, &publish.repeat(10));
    let heard = String::from_utf8_lossy(&heard);
    assert_eq!(heard.matches(r#"{"type":"published","seq":"#).count(), 2, "{heard}");
    assert_eq!(heard.matches(r#""code":"rate_limited""#).count(), 8, "{heard}");
    assert_eq!(rig.hub.log.published(), 3, "the next number");
}

#[test]
fn a_peer_that_does_not_read_is_owed_one_pong_however_often_it_asks() {
    let limits = Limits { control_frame_rate: None, ..Limits::default() };
    let (mut rig, peer) = open(limits, "/ws?channel=t:a");
    peer.stop_reading();
    let before = ask(&mut rig, &peer, &frame(PING, b"0"));
    assert_eq!(before, b"");
    for round in 0..1000 {
        ask(&mut rig, &peer, &frame(PING, format!("{round}").as_bytes()).repeat(10));
    }
    rig.read_on(&peer);
    rig.settle();
    assert_eq!(peer.heard(), b"\x8a\x03999", "the last one");
    assert_eq!(ask(&mut rig, &peer, &frame(PING, b"x").repeat(3)), b"\x8a\x01x".repeat(3), "it reads again");
}

#[test]
fn a_flood_of_pings_is_ended_by_its_rate() {
    let server = ServerProcess::start(&["--control-frames-per-second", "1/3"]);
    let mut frames = Frames::open(server.public);
    frames.send(&frame(PING, b"x").repeat(100));
    for _ in 0..3 {
        assert_eq!(frames.next(), Some(Frame { first: PONG, payload: b"x".to_vec() }));
    }
    assert_eq!(frames.close_code(), 1008);
}
