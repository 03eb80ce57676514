//! Faults of the server while it deals with one connection: that connection is told, and nobody else notices.

mod support;

use fanfare::session::authority::{Act, Denied, Principal};
use fanfare::session::settings::Settings;
use fanfare::words::limits::Limits;
use serde_json::json;
use support::http::{Http, get, post, request_text};
use support::judge::{Judge, settings_with};
use support::local::LocalServer;
use support::publisher::Publisher;
use support::rig::{Rig, publication};
use support::stream::{Stream, TRANSPORTS};
use support::wait_until;
use support::websocket::{Client, Frames, HANDSHAKE, frame};

const TEXT: u8 = 0x81;

/// Allows everything, and fails where `t:fault` is concerned.
fn faulty(_: &Principal, act: &Act<'_>) -> Result<(), Denied> {
    assert!(!format!("{act:?}").contains("t:fault"), "a fault that a test asked for");
    Ok(())
}

fn start(loops: usize) -> LocalServer {
    LocalServer::start_with_settings(Limits::default(), loops, settings_with(Judge(faulty)))
}

#[test]
fn a_fault_in_a_command_closes_its_connection_with_1011_and_no_other() {
    for loops in [1, 2] {
        let mut server = start(loops);
        let mut publisher = Publisher::connect(server.public);
        let mut others: Vec<Stream> =
            (0..8).map(|at| Stream::open(TRANSPORTS[at % 2], server.public, "t:a", "")).collect();
        for round in 1..=5 {
            let mut frames = Frames::open(server.public);
            let good = frame(TEXT, br#"{"type":"subscribe","channel":"t:a"}"#);
            let fault = frame(TEXT, br#"{"type":"subscribe","channel":"t:fault"}"#);
            frames.send(&[good, frame(TEXT, br#"{"type":"ping"}"#), fault].concat());
            let answers: Vec<_> = (0..2).map(|_| frames.next().unwrap().payload).collect();
            assert!(answers[0].starts_with(br#"{"type":"subscribed""#), "what came before is answered");
            assert!(answers[1].starts_with(br#"{"type":"pong""#));
            assert_eq!(frames.close_code(), 1011);
            let seq = publisher.publish("t:a", "1");
            others.iter_mut().for_each(|other| other.assert_next([seq]));
            server.faults = round;
        }
        let stats = get(server.admin, "/stats").json();
        assert_eq!(stats["panics"], 5, "{stats}");
        assert_eq!(stats["subscriptions"], 8, "theirs are gone: {stats}");
        let metrics = get(server.admin, "/metrics");
        assert!(metrics.text().contains("\nfanfare_panics_total 5\n"));
    }
}

#[test]
fn a_fault_in_a_request_is_answered_500_after_the_answers_before_it() {
    for loops in [1, 2] {
        let mut server = start(loops);
        let good = request_text("POST", "/publish/t:a", "", "1");
        for bad in ["POST /publish/t:fault", "GET /events?channel=t:fault", "GET /history?channel=t:fault"] {
            let (method, path) = bad.split_once(' ').unwrap();
            let mut http = Http::connect(server.public);
            let bad = request_text(method, path, "", if method == "POST" { "1" } else { "" });
            http.send([&good[..], &good, &bad, &good].concat());
            for _ in 0..2 {
                assert_eq!(http.answer().status, 202, "{path}");
            }
            let answer = http.answer();
            answer.assert_problem(500, "internal_error", path);
            assert_eq!(answer.field("connection"), Some("close"), "{path}");
            http.assert_closed();
            server.faults += 1;
        }
        let mut http = Http::connect(server.public);
        http.send(HANDSHAKE.replace("/ws", "/ws?channel=t:fault"));
        http.answer().assert_problem(500, "internal_error", "a handshake");
        server.faults += 1;
        assert_eq!(server.hub().counters.panics(), server.faults);
        assert_eq!(post(server.public, "/publish/t:a", "1").json(), json!({"seq": 7}), "no more, no less");
        let mut client = Client::open(server.public, "/ws");
        assert_eq!(client.ask(r#"{"type":"ping"}"#)["type"], "pong");
        wait_until("places come back", || server.hub().connections() <= 1);
    }
}

#[test]
fn a_fault_while_events_are_sent_costs_nobody_else_an_event() {
    const SUBSCRIBERS: usize = 50;
    let mut rig = Rig::new(Limits::default(), Settings::default());
    let peers: Vec<_> = (0..SUBSCRIBERS)
        .map(|at| {
            let peer = rig.connect();
            let path = match at % 3 {
                0 => "/ws?channel=t:a",
                // Filters that are worked out once for all who have the same.
                1 => "/ws?channel=t:a&event_types=push",
                _ => "/ws?channel=t:a&dialect=cloudevents",
            };
            rig.say(&peer, HANDSHAKE.replace("/ws", path).as_bytes());
            rig.settle();
            peer.listen();
            peer
        })
        .collect();
    for (round, faulty) in [0, 1, 2, 17, SUBSCRIBERS - 1].into_iter().enumerate() {
        peers[faulty].heard();
        peers[faulty].fail_at_write();
        rig.publish((0..3).map(|_| publication("t:a", "push")));
        rig.settle();
        assert_eq!(rig.hub.counters.panics(), round as u64 + 1);
        let heard = peers[faulty].heard();
        assert_eq!(heard[..4], [0x88, heard[1], 0x03, 0xf3], "told 1011 and nothing else");
    }
    for (at, peer) in peers.iter().enumerate().filter(|(at, _)| ![0, 1, 2, 17, SUBSCRIBERS - 1].contains(at))
    {
        let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
        for seq in 1..=15 {
            let names = [format!("\"seq\":{seq},"), format!("\"sequence\":\"{seq}\"")];
            let count: usize = names.iter().map(|name| heard.matches(name).count()).sum();
            assert_eq!(count, 1, "event {seq} at {at}: {heard}");
        }
    }
    assert_eq!(rig.hub.counters.streams(), SUBSCRIBERS as u64 - 5);
}

#[test]
fn a_fault_while_reading_or_saying_goodbye_removes_the_connection() {
    let mut rig = Rig::new(Limits::default(), Settings::default());
    let (peer, other) = (rig.connect(), rig.connect());
    for peer in [&peer, &other] {
        rig.say(peer, HANDSHAKE.replace("/ws", "/ws?channel=t:a").as_bytes());
        rig.settle();
        peer.listen();
    }
    peer.fail_at_read();
    rig.say(&peer, b"x");
    peer.fail_at_write();
    rig.settle();
    assert_eq!(rig.hub.counters.panics(), 2);
    assert!(peer.is_gone() && !other.is_gone());
    assert_eq!((rig.hub.connections(), rig.hub.counters.streams()), (1, 1));
    rig.say(&other, &frame(TEXT, br#"{"type":"ping"}"#));
    rig.settle();
    assert!(other.heard().ends_with(br#"{"type":"pong","seq":0}"#));
}
