//! WebSocket clients: the handshake, every command, what is delivered, and every way to break the framing.

mod support;

use std::time::Duration;

use fanfare::words::limits::Limits;
use serde_json::{Value, json};
use support::http::{Http, get, wait_for_delivery};
use support::local::LocalServer;
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::websocket::{Client, Frame, Frames, HANDSHAKE, close_frame, frame, header};
use tungstenite::Message;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const PIECE: u8 = 0x00;
const LAST_PIECE: u8 = 0x80;
const FIRST_PIECE: u8 = 0x01;

#[test]
fn handshakes_that_are_none_are_refused() {
    let server = ServerProcess::start(&[]);
    let check = |from: &str, to: &str, status: u16, code: &str| {
        assert!(HANDSHAKE.contains(from));
        let mut http = Http::connect(server.public);
        http.send(HANDSHAKE.replace(from, to));
        let answer = http.answer();
        answer.assert_problem(status, code, to);
        if status == 426 {
            assert_eq!(answer.field("upgrade"), Some("websocket"), "{to}");
            assert_eq!(answer.field("sec-websocket-version"), Some("13"), "{to}");
        }
    };
    check("Upgrade: websocket\r\n", "", 426, "upgrade_required");
    check("Connection: Upgrade\r\n", "", 426, "upgrade_required");
    check("Upgrade: websocket", "Upgrade: h2c", 426, "upgrade_required");
    check("Version: 13", "Version: 8", 426, "upgrade_required");
    check("Sec-WebSocket-Version: 13\r\n", "", 426, "upgrade_required");
    check("HTTP/1.1", "HTTP/1.0", 426, "upgrade_required");
    check("dGhlIHNhbXBsZSBub25jZQ==", "short", 400, "bad_handshake");
    check("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400, "bad_handshake");
    check("Upgrade: websocket\r\n", "Upgrade: websocket\r\nContent-Length: 0\r\n", 400, "bad_handshake");
    check("GET /ws", "GET /ws?channel=nonsense", 400, "bad_channel");
    check("GET /ws", "GET /ws?channel=t:a&since=x", 400, "bad_cursor");
    check("GET /ws", "GET /ws?channel=t:a&on_slow=never", 400, "bad_on_slow");
    check("GET /ws", "GET /nothing", 404, "not_found");
    check("GET /ws", "POST /ws", 405, "method_not_allowed");
}

#[test]
fn a_handshake_is_answered_as_the_standard_says_and_extensions_are_declined() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    http.send(HANDSHAKE.replace(
        "\r\n\r\n",
        "\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
    ));
    let head = http.head();
    assert_eq!(head.status, 101);
    assert_eq!(head.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(head.field("upgrade"), Some("websocket"));
    assert_eq!(head.field("connection"), Some("Upgrade"));
    assert_eq!(head.field("sec-websocket-extensions"), None);
    assert_eq!(head.field("sec-websocket-protocol"), None);
}

#[test]
fn each_command_is_answered_and_its_id_echoed_as_it_was_written() {
    let server = ServerProcess::start(&[]);
    let epoch = get(server.admin, "/stats").json()["epoch"].clone();
    let mut client = Client::open(server.public, "/ws");
    let mut check = |command: &str, expected: Value| assert_eq!(client.ask(command), expected, "{command}");
    check(
        r#"{"type":"subscribe","channel":"t:a","id":1}"#,
        json!({"type": "subscribed", "channel": "t:a", "seq": 0, "epoch": epoch, "id": 1}),
    );
    check(
        r#"{"type":"subscribe","repository":"repo:o/r","id":"two"}"#,
        json!({"type": "subscribed", "channel": "repo:o/r", "seq": 0, "epoch": epoch, "id": "two"}),
    );
    check(
        r#"{"type":"list","id":-3}"#,
        json!({"type": "subscriptions", "channels": ["t:a", "repo:o/r"], "seq": 0, "epoch": epoch, "id": -3}),
    );
    check(r#"{"type":"unsubscribe","channel":"t:a"}"#, json!({"type": "unsubscribed", "channel": "t:a"}));
    check(
        r#"{"type":"unsubscribe","channel":"t:never","id":""}"#,
        json!({"type": "unsubscribed", "channel": "t:never", "id": ""}),
    );
    check(
        r#"{"type":"list"}"#,
        json!({"type": "subscriptions", "channels": ["repo:o/r"], "seq": 0, "epoch": epoch}),
    );
    check(r#"{"type":"ping","id":"a\u0041"}"#, json!({"type": "pong", "seq": 0, "id": "aA"}));
    check(r#"{"type":"ping"}"#, json!({"type": "pong", "seq": 0}));
    let pong = client.ask(r#"{"type":"ping","id":1.50}"#);
    assert_eq!(pong["id"], 1.5);
}

#[test]
fn several_channels_in_one_command_are_answered_one_by_one() {
    let server = ServerProcess::start(&[]);
    let mut client = Client::open(server.public, "/ws");
    client.send(r#"{"type":"subscribe","channels":["t:a","t:b","t:a"],"id":7}"#);
    for channel in ["t:a", "t:b", "t:a"] {
        let answer = client.next();
        assert_eq!((&answer["type"], &answer["channel"]), (&json!("subscribed"), &json!(channel)));
        assert_eq!(answer["id"], 7);
    }
    assert_eq!(client.ask(r#"{"type":"list"}"#)["channels"], json!(["t:a", "t:b"]));
    client.send(r#"{"type":"unsubscribe","channels":["t:a","t:b"]}"#);
    assert_eq!(client.next(), json!({"type": "unsubscribed", "channel": "t:a"}));
    assert_eq!(client.next(), json!({"type": "unsubscribed", "channel": "t:b"}));
}

#[test]
fn faulty_commands_are_errors_with_a_code_and_the_connection_lives_on() {
    let server = ServerProcess::start(&[]);
    let mut client = Client::open(server.public, "/ws");
    let mut check = |command: &str, code: &str, id: Value| {
        let answer = client.ask(command);
        assert_eq!(answer["type"], "error", "{command}: {answer}");
        assert_eq!(answer["code"], code, "{command}: {answer}");
        assert_eq!(answer.get("id").cloned().unwrap_or_default(), id, "{command}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
        assert_eq!(client.ask(r#"{"type":"ping","id":0}"#)["type"], "pong", "after {command}");
    };
    check("", "bad_message", Value::Null);
    check("nonsense", "bad_message", Value::Null);
    check("[]", "bad_message", Value::Null);
    check("{}", "bad_message", Value::Null);
    check(r#"{"type":7}"#, "bad_message", Value::Null);
    check(r#"{"type":"dance","id":7}"#, "bad_message", json!(7));
    check(r#"{"type":"ping","id":{}}"#, "bad_message", Value::Null);
    check(r#"{"type":"ping","id":true}"#, "bad_message", Value::Null);
    check(&format!(r#"{{"type":"ping","id":"{}"}}"#, "x".repeat(127)), "bad_message", Value::Null);
    check(r#"{"type":"subscribe","id":7}"#, "bad_message", json!(7));
    check(r#"{"type":"subscribe","channels":[],"id":7}"#, "bad_message", json!(7));
    check(r#"{"type":"subscribe","channel":7}"#, "bad_message", Value::Null);
    check(r#"{"type":"subscribe","channel":"nonsense","id":7}"#, "bad_channel", json!(7));
    check(r#"{"type":"subscribe","channel":"repo:a","id":7}"#, "bad_channel", json!(7));
    check(r#"{"type":"subscribe","channel":"t:a*","id":7}"#, "bad_channel", json!(7));
    check(r#"{"type":"subscribe","channels":["t:a","nonsense"],"id":7}"#, "bad_channel", json!(7));
    check(r#"{"type":"unsubscribe","channel":"nonsense","id":7}"#, "bad_channel", json!(7));
    check(r#"{"type":"subscribe","channel":"t:a","since":"x","id":7}"#, "bad_cursor", json!(7));
    check(r#"{"type":"subscribe","channel":"t:a","since":-1,"id":7}"#, "bad_cursor", json!(7));
    check(r#"{"type":"subscribe","channel":"t:a","filter":{"types":[]},"id":7}"#, "bad_filter", json!(7));
    check(r#"{"type":"filter","filter":{"event_types":["bogus"]},"id":7}"#, "unknown_event_type", json!(7));
    check(r#"{"type":"subscribe","channel":"t:a","on_slow":"never","id":7}"#, "bad_on_slow", json!(7));
    check(&format!("{{\"type\":\"ping\",\"x\":{}", "[".repeat(100_000)), "bad_message", Value::Null);
    assert_eq!(client.ask(r#"{"type":"list"}"#)["channels"], json!([]), "nothing of all that was subscribed");
}

#[test]
fn one_subscription_too_many_is_refused_and_one_held_already_is_not() {
    let server = ServerProcess::start(&[]);
    let mut client = Client::open(server.public, "/ws");
    for number in 0..100 {
        let answer = client.ask(&format!(r#"{{"type":"subscribe","channel":"t:{number}"}}"#));
        assert_eq!(answer["type"], "subscribed", "{number}");
    }
    let refused = client.ask(r#"{"type":"subscribe","channel":"t:100","id":7}"#);
    assert_eq!((&refused["code"], &refused["id"]), (&json!("subscription_limit"), &json!(7)));
    assert_eq!(client.ask(r#"{"type":"subscribe","channel":"t:5"}"#)["type"], "subscribed");
    let both = client.ask(r#"{"type":"subscribe","channels":["t:5","t:100"]}"#);
    assert_eq!(both["code"], "subscription_limit", "all or nothing");
    assert_eq!(client.ask(r#"{"type":"unsubscribe","channel":"t:7"}"#)["type"], "unsubscribed");
    assert_eq!(client.ask(r#"{"type":"subscribe","channel":"t:100"}"#)["type"], "subscribed");

    let mut publisher = Publisher::connect(server.public);
    publisher.publish("t:7", "1");
    publisher.publish("t:100", "2");
    assert_eq!(client.next()["channel"], "t:100", "the one that was given up is silent");
}

#[test]
fn a_subscription_gets_its_channel_and_everything_below_it_and_nothing_else() {
    let server = ServerProcess::start(&[]);
    let published: &[(&str, &str)] = &[
        ("repo:alice/demo", "push"),
        ("repo:alice/demo", "pr_opened"),
        ("repo:alice/demo", "issue_comment"),
        ("repo:alice/demo/builds", "push"),
        ("repo:alice/demo/builds/7", "push"),
        ("repo:alice/demolition", "push"),
        ("repo:alice/other", "pr.merged"),
        ("repo:bob/demo", "push"),
        ("user:alice", "push"),
        ("org:alice", "pr_opened"),
        ("jobs:7", "log"),
    ];
    let all: Vec<u64> = (1..=published.len() as u64).collect();
    let cases: &[(&str, &[u64])] = &[
        ("repo:alice/demo", &[1, 2, 3, 4, 5]),
        ("repo:alice/demo/prs", &[2]),
        ("repo:alice/demo/issues", &[3]),
        ("repo:alice/demo/builds", &[4, 5]),
        ("repo:alice/demo/builds/7", &[5]),
        ("repo:alice/*", &[1, 2, 3, 4, 5, 6, 7]),
        ("repo:alice/**", &[1, 2, 3, 4, 5, 6, 7]),
        ("repo:*/demo", &[1, 2, 3, 4, 5, 8]),
        ("repo:*/*/prs", &[2, 7]),
        ("repo:**", &[1, 2, 3, 4, 5, 6, 7, 8]),
        ("repo:*", &[1, 2, 3, 4, 5, 6, 7, 8]),
        ("user:alice", &[9]),
        ("org:*", &[10]),
        ("jobs:7", &[11]),
        ("*", &all),
        // Once a connection, however many subscriptions match.
        ("repo:alice/demo,repo:alice/*,*,repo:alice/demo/prs", &all),
        ("user:alice,repo:alice/demo/prs,repo:*/demo", &[1, 2, 3, 4, 5, 8, 9]),
    ];
    let mut clients: Vec<Client> = cases
        .iter()
        .map(|(channels, _)| {
            let mut client = Client::open(server.public, &format!("/ws?channel={channels},end:x"));
            for _ in 0..channels.split(',').count() + 1 {
                assert_eq!(client.next()["type"], "subscribed");
            }
            client
        })
        .collect();
    let mut publisher = Publisher::connect(server.public);
    for (channel, kind) in published {
        publisher.publish_kind(channel, kind, "1");
    }
    let end = publisher.publish("end:x", "1");
    for (client, (channels, expected)) in clients.iter_mut().zip(cases) {
        let mut found = Vec::new();
        loop {
            let event = client.next();
            let seq = event["seq"].as_u64().unwrap();
            if seq == end {
                break;
            }
            assert_eq!(event["channel"], published[seq as usize - 1].0, "the channel stays as published");
            found.push(seq);
        }
        assert_eq!(found, *expected, "{channels}");
    }
}

#[test]
fn events_follow_the_number_that_the_subscription_was_answered_with() {
    let server = ServerProcess::start(&[]);
    let mut publisher = Publisher::connect(server.public);
    let mut client = Client::open(server.public, "/ws");
    for round in 0..50 {
        let before = publisher.publish("t:a", "0");
        let answer = client.ask(r#"{"type":"subscribe","channel":"t:a"}"#);
        let begin = answer["seq"].as_u64().unwrap();
        assert!(begin <= before, "round {round}");
        let after = publisher.publish("t:a", "1");
        // The loop may have been a little behind: then it says so, and what it says holds.
        for seq in (begin + 1..=after).filter(|seq| *seq == before || *seq == after) {
            assert_eq!(client.next()["seq"], seq, "round {round}");
        }
        assert_eq!(client.ask(r#"{"type":"unsubscribe","channel":"t:a"}"#)["type"], "unsubscribed");
    }
}

#[test]
fn a_second_subscription_begins_at_the_position_of_the_first() {
    let server = ServerProcess::start(&[]);
    let mut publisher = Publisher::connect(server.public);
    let (mut client, _) = Client::subscribed(server.public, "t:a");
    publisher.publish("t:a", "1");
    let missed = publisher.publish("t:b", "2");
    assert_eq!(client.next()["data"], 1);
    let answer = client.ask(r#"{"type":"subscribe","channel":"t:b"}"#);
    let begin = answer["seq"].as_u64().unwrap();
    assert!((missed - 1..=missed).contains(&begin), "{begin}");
    let after = publisher.publish("t:b", "3");
    for seq in begin + 1..=after {
        assert_eq!(client.next()["seq"], seq);
    }
}

#[test]
fn channels_added_since_an_earlier_event_are_replayed_in_a_bracket() {
    let server = ServerProcess::start(&[]);
    let mut publisher = Publisher::connect(server.public);
    for (channel, data) in [("t:a", "1"), ("t:b", "2"), ("t:a", "3"), ("t:b", "4"), ("t:b/c", "5")] {
        publisher.publish(channel, data);
    }
    let mut client = Client::open(server.public, "/ws?channel=t:b/c&since=0");
    assert_eq!(client.next()["type"], "subscribed");
    assert_eq!(client.next()["seq"], 5);
    client.send(r#"{"type":"subscribe","channel":"t:b","since":0,"id":1}"#);
    let bracket = client.next();
    assert_eq!(bracket, json!({"type": "replay", "channels": ["t:b"], "from": 1, "to": 5, "id": 1}));
    assert_eq!(
        (client.next()["seq"].clone(), client.next()["seq"].clone()),
        (json!(2), json!(4)),
        "not 5 again"
    );
    let end = client.next();
    assert_eq!((&end["type"], &end["seq"], &end["id"]), (&json!("subscribed"), &json!(5), &json!(1)));
    publisher.publish("t:b", "6");
    assert_eq!(client.next()["seq"], 6);
}

#[test]
fn the_last_events_of_a_channel_come_first_if_asked_for() {
    let server = ServerProcess::start(&[]);
    let mut publisher = Publisher::connect(server.public);
    for (channel, data) in [("t:a", "1"), ("t:b", "2"), ("t:a", "3"), ("t:b", "4")] {
        publisher.publish(channel, data);
    }
    let mut client = Client::open(server.public, "/ws");
    client.send(r#"{"type":"subscribe","channels":["t:a","t:b"],"last":1}"#);
    assert_eq!(client.next()["type"], "replay");
    assert_eq!((client.next()["seq"].clone(), client.next()["seq"].clone()), (json!(3), json!(4)));
    assert_eq!(
        (client.next()["seq"].clone(), client.next()["seq"].clone()),
        (json!(4), json!(4)),
        "subscribed"
    );
    publisher.publish("t:a", "5");
    assert_eq!(client.next()["seq"], 5);
}

#[test]
fn a_filter_holds_for_everything_after_the_number_it_is_answered_with() {
    let server = ServerProcess::start(&[]);
    let mut publisher = Publisher::connect(server.public);
    let (mut client, _) = Client::subscribed(server.public, "t:a");
    let answer = client.ask(r#"{"type":"filter","filter":{"event_types":["push"],"tags":["red"]},"id":9}"#);
    assert_eq!(answer, json!({"type": "filtered", "seq": 0, "id": 9}));
    publisher.request("/publish", r#"[{"channel":"t:a","event":"push"},{"channel":"t:a","event":"pr.opened","tags":["red"]},{"channel":"t:a","event":"push","tags":["blue","red"]}]"#);
    assert_eq!(client.next()["seq"], 3);
    client.ask(r#"{"type":"filter","filter":{"event_types":[]}}"#);
    let seq = publisher.publish("t:a", "1");
    wait_for_delivery(server.public, seq);
    client.ask(r#"{"type":"filter","filter":{}}"#);
    publisher.publish("t:a", "2");
    assert_eq!(client.next()["seq"], 5, "nothing of 4, for an empty list lets nothing through");
}

#[test]
fn commands_sent_together_with_the_handshake_are_not_lost() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    let command = frame(TEXT, br#"{"type":"ping","id":1}"#);
    http.send([HANDSHAKE.as_bytes(), &command, &command].concat());
    assert_eq!(http.head().status, 101);
    let mut reader = http.into_reader();
    let expected = br#"{"type":"pong","seq":0,"id":1}"#;
    for _ in 0..2 {
        let mut bytes = vec![0; 2 + expected.len()];
        std::io::Read::read_exact(&mut reader, &mut bytes).unwrap();
        assert_eq!(bytes[2..], expected[..]);
    }
}

#[test]
fn a_text_may_be_split_over_frames_with_control_frames_between() {
    let server = ServerProcess::start(&[]);
    let mut frames = Frames::open(server.public);
    let text = r#"{"type":"ping","id":"ü€😀"}"#.as_bytes();
    let mut bytes = frame(FIRST_PIECE, &text[..1]);
    for at in 1..text.len() - 1 {
        bytes.extend(frame(PIECE, &text[at..=at]));
        if at % 10 == 0 {
            bytes.extend(frame(PING, &[at as u8]));
        }
    }
    bytes.extend(frame(LAST_PIECE, &text[text.len() - 1..]));
    for byte in bytes {
        frames.send(&[byte]);
    }
    for at in [10, 20, 30] {
        assert_eq!(frames.next(), Some(Frame { first: PONG, payload: vec![at] }));
    }
    let expected = "{\"type\":\"pong\",\"seq\":0,\"id\":\"ü€😀\"}".as_bytes().to_vec();
    assert_eq!(frames.next(), Some(Frame { first: TEXT, payload: expected }));
}

#[test]
fn pings_are_answered_in_order_with_their_payload() {
    let server = ServerProcess::start(&["--control-frames-per-second", "0"]);
    let mut frames = Frames::open(server.public);
    let payloads: Vec<Vec<u8>> = (0..=125).map(|length| vec![length as u8; length]).collect();
    frames.send(&payloads.iter().flat_map(|payload| frame(PING, payload)).collect::<Vec<u8>>());
    for payload in payloads {
        assert_eq!(frames.next(), Some(Frame { first: PONG, payload }));
    }
    frames.send(&frame(PONG, b"unasked"));
    frames.send(&frame(PING, b"still there"));
    assert_eq!(frames.next().unwrap().payload, b"still there");
}

#[test]
fn a_close_is_echoed_and_nothing_after_it_is_heard() {
    let server = ServerProcess::start(&[]);
    let check = |bytes: &[u8], code: u16| {
        let mut frames = Frames::open(server.public);
        frames.send(&[bytes, &frame(PING, b"x"), &frame(0x83, b"x")].concat());
        assert_eq!(frames.next(), Some(Frame { first: 0x88, payload: code.to_be_bytes().to_vec() }));
        assert_eq!(frames.next(), None);
    };
    for code in [1000, 1001, 1003, 1007, 1011, 1012, 1014, 3000, 3999, 4000, 4999] {
        check(&close_frame(code, b"because"), code);
    }
    check(&close_frame(1000, &[b'x'; 123]), 1000);
    check(&frame(0x88, b""), 1000);
    check(&[frame(FIRST_PIECE, b"half a "), close_frame(1000, b"")].concat(), 1000);
}

#[test]
fn a_message_of_the_largest_size_is_taken() {
    let server = LocalServer::start(Limits { body_bytes_max: 1000, ..Limits::default() });
    let mut frames = Frames::open(server.public);
    let text = format!("{:1000}", r#"{"type":"ping"}"#);
    let pong = Frame { first: TEXT, payload: br#"{"type":"pong","seq":0}"#.to_vec() };
    frames.send(&frame(TEXT, text.as_bytes()));
    assert_eq!(frames.next().as_ref(), Some(&pong));
    let (head, tail) = text.as_bytes().split_at(3);
    frames.send(&[frame(FIRST_PIECE, head), frame(PIECE, b"").repeat(62), frame(LAST_PIECE, tail)].concat());
    assert_eq!(frames.next(), Some(pong), "in 64 frames");
}

#[test]
fn a_message_that_takes_too_long_is_ended_however_steadily_it_drips() {
    let message_deadline = Duration::from_millis(200);
    let server = LocalServer::start(Limits { message_deadline, fragments_max: 60_000, ..Limits::default() });
    for (first, piece) in [
        (header(BINARY, 100_000), b"x".to_vec()),
        (frame(FIRST_PIECE, b""), frame(PIECE, b"")),
        (frame(FIRST_PIECE, b""), frame(PING, b"")),
        (vec![TEXT], Vec::new()),
    ] {
        let mut frames = Frames::open(server.public);
        frames.send(&first);
        assert_eq!(drip(&mut frames, &piece), 1008, "{first:x?}");
    }
}

/// Sends `piece` again and again until the server says goodbye; returns its code.
fn drip(frames: &mut Frames, piece: &[u8]) -> u16 {
    for _ in 0..1000 {
        if !frames.speaks_within(Duration::from_millis(10)) {
            // It fails if the server has gone meanwhile, which the next look shows.
            let _ = frames.try_send(piece);
            continue;
        }
        let frame = frames.next().expect("a close frame before the end");
        if frame.first == 0x88 {
            return u16::from_be_bytes([frame.payload[0], frame.payload[1]]);
        }
        assert_eq!(frame.first, PONG);
    }
    panic!("a thousand pieces do not move a deadline");
}

#[test]
fn whoever_does_not_answer_pings_is_disconnected_and_whoever_does_is_not() {
    let server = LocalServer::start(Limits {
        ping_every: Duration::from_millis(100),
        pong_deadline: Duration::from_secs(2),
        ..Limits::default()
    });
    let mut silent = Frames::open(server.public);
    let mut good = Client::open(server.public, "/ws");
    assert_eq!(silent.next(), Some(Frame { first: PING, payload: Vec::new() }));
    let mut pings = 0;
    while pings < 8 {
        match good.next_message() {
            Message::Ping(_) => pings += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(silent.next(), None, "asked once, and then gone");
    assert_eq!(good.ask(r#"{"type":"ping"}"#)["type"], "pong");
}

#[test]
fn silence_is_answered_with_the_cursor() {
    let server = LocalServer::start(Limits { quiet_after: Duration::from_millis(100), ..Limits::default() });
    let (mut client, _) = Client::subscribed(server.public, "t:a");
    let mut publisher = Publisher::connect(server.public);
    let seq = publisher.publish("t:other", "1");
    let mut last = json!(null);
    while last["seq"] != seq {
        last = client.next();
        assert_eq!(last["type"], "cursor", "{last}");
    }
    let seq = publisher.publish("t:a", "1");
    loop {
        let message = client.next();
        if message["type"] == "event" {
            assert_eq!(message["seq"], seq);
            break;
        }
    }
}

#[test]
fn a_client_that_breaks_off_leaves_nothing_behind() {
    let server = ServerProcess::start(&[]);
    let mut operator = Http::connect(server.admin);
    for _ in 0..50 {
        let mut frames = Frames::open(server.public);
        // Command and end may arrive together: the end must be noticed all the same.
        frames.send(&frame(TEXT, br#"{"type":"subscribe","channel":"t:a"}"#));
        drop(frames);
    }
    for _ in 0..100_000 {
        operator.send("GET /stats HTTP/1.1\r\nHost: x\r\n\r\n");
        let stats = operator.answer().json();
        if stats["connections"] == 1 && stats["subscriptions"] == 0 {
            return;
        }
    }
    panic!("connections are left over");
}
