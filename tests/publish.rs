//! Publishing: over HTTP in every framing, over WebSocket, and every way to be refused.

mod support;

use fanfare::words::limits::Limits;
use serde_json::{Value, json};
use support::http::{Answer, Http, ask, get, post, post_text};
use support::local::LocalServer;
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::stream::{Stream, TRANSPORTS, Transport};
use support::websocket::Client;

const EVENT: &str = r#"{"channel":"t:a","event":"k","data":1}"#;

#[test]
fn each_framing_gets_consecutive_numbers_and_its_own_answer() {
    let server = ServerProcess::start(&[]);
    let mut stream = Stream::open(Transport::WebSocket, server.public, "t:a", "");
    let mut http = Http::connect(server.public);
    let mut check = |path: &str, media_type: &str, body: &str, expected: Value| {
        http.send(post_text(path, media_type, body));
        let answer = http.answer();
        assert_eq!(answer.status, 202, "{path} {body}: {}", answer.text());
        assert_eq!(answer.field("content-type"), Some("application/json"));
        assert_eq!(answer.json(), expected, "{path} {body}");
    };
    let json = "application/json";
    check("/publish", json, EVENT, json!({"seq": 1}));
    check("/publish", json, &format!("[{EVENT}]"), json!({"first": 2, "last": 2}));
    check("/publish", json, &format!(" [ {EVENT} , {EVENT} ] "), json!({"first": 3, "last": 4}));
    check(
        "/publish",
        "application/x-ndjson",
        &format!("{EVENT}\n\n{EVENT}\r\n{EVENT}"),
        json!({"first": 5, "last": 7}),
    );
    check("/publish", "application/x-ndjson", EVENT, json!({"first": 8, "last": 8}));
    check("/publish/t:a", json, "1", json!({"seq": 9}));
    check("/publish/t%3Aa?event=k&event_id=mine", json, " 1 ", json!({"seq": 10}));
    // What plain tools send unasked.
    check("/publish", "application/x-www-form-urlencoded", EVENT, json!({"seq": 11}));
    check("/publish", "text/plain; charset=utf-8", EVENT, json!({"seq": 12}));
    check("/publish", "Application/JSON ; charset=utf-8", EVENT, json!({"seq": 13}));
    for seq in 1..14 {
        let event = stream.next();
        assert_eq!(event["seq"], seq);
        assert_eq!(event["channel"], "t:a");
        assert_eq!(event["data"], 1);
        assert_eq!(event["event"], if seq == 9 { "message" } else { "k" });
        if seq == 10 {
            assert_eq!(event["event_id"], "mine");
        }
    }
}

#[test]
fn a_path_publish_may_have_a_channel_of_several_segments() {
    let server = ServerProcess::start(&[]);
    let mut stream = Stream::open(Transport::Sse, server.public, "repo:alice/demo", "");
    let answer = post(server.public, "/publish/repo:alice/demo/builds?event=pr.opened", "null");
    assert_eq!(answer.status, 202, "{}", answer.text());
    let event = stream.next();
    assert_eq!(event["channel"], "repo:alice/demo/builds");
    assert_eq!(event["event"], "pr_opened", "a dotted built-in kind is written in snake_case");
    assert_eq!(event["data"], Value::Null);
}

#[test]
fn an_event_has_the_members_of_the_protocol_in_their_order() {
    let server = ServerProcess::start(&[]);
    let (mut client, subscribed) = Client::subscribed(server.public, "t:a");
    let epoch = subscribed["epoch"].as_str().unwrap().to_owned();
    let mut publisher = Publisher::connect(server.public);
    let mut check = |body: &str, before_timestamp: &str, after_timestamp: &str| {
        assert_eq!(publisher.request("/publish", body).status, 202);
        let text = client.next_text();
        let event: Value = serde_json::from_str(&text).unwrap();
        let timestamp = event["timestamp"].as_u64().expect("milliseconds");
        assert!(1_600_000_000_000 < timestamp, "milliseconds since 1970: {timestamp}");
        assert_eq!(text, format!("{before_timestamp},\"timestamp\":{timestamp}{after_timestamp}"));
    };
    check(
        EVENT,
        r#"{"type":"event","seq":1,"channel":"t:a","event":"k","data":1"#,
        &format!(",\"event_id\":\"{epoch}-1\"}}"),
    );
    check(
        r#"{"tags":["x","y"],"ids":["7", 8],"event_id":"ü\"","event":"k","channel":"t:a"}"#,
        r#"{"type":"event","seq":2,"channel":"t:a","event":"k","data":null"#,
        r#","event_id":"ü\"","ids":["7",8],"tags":["x","y"]}"#,
    );
}

/// What is sent as data, and what must arrive: the same bytes without insignificant white space.
const DATA: &[(&str, &str)] = &[
    (r#"{"b":1,"a":2}"#, r#"{"b":1,"a":2}"#),
    (r#"{"a":1,"a":2,"a":{"a":3}}"#, r#"{"a":1,"a":2,"a":{"a":3}}"#),
    (
        r#"[1.0,1e5,1E+5,-0,0.10,123456789012345678901234567890,1e400]"#,
        r#"[1.0,1e5,1E+5,-0,0.10,123456789012345678901234567890,1e400]"#,
    ),
    (
        r#""\u0041\/\"\\\b\f\n\r\t\ud83d\ude00\ud800\u0000""#,
        r#""\u0041\/\"\\\b\f\n\r\t\ud83d\ude00\ud800\u0000""#,
    ),
    ("\"ü€😀\u{2028}\u{7f}\"", "\"ü€😀\u{2028}\u{7f}\""),
    (" { \"a b\" :\t[ 1 ,\r\n 2 ] , \"c\" : \" d  e \" } ", "{\"a b\":[1,2],\"c\":\" d  e \"}"),
    ("null", "null"),
    ("true", "true"),
    (r#""""#, r#""""#),
    ("{}", "{}"),
    ("[ ]", "[]"),
    (
        r#"{"type":"gap","seq":9,"data: x":"\n\nevent: forged"}"#,
        r#"{"type":"gap","seq":9,"data: x":"\n\nevent: forged"}"#,
    ),
];

#[test]
fn data_arrives_byte_for_byte_and_only_white_space_goes() {
    let server = ServerProcess::start(&[]);
    let (mut web_socket, _) = Client::subscribed(server.public, "t:a");
    let Stream::Sse(mut sse) = Stream::open(Transport::Sse, server.public, "t:a", "") else {
        unreachable!("asked for server-sent events")
    };
    let mut http = Http::connect(server.public);
    let mut seq = 0;
    let mut check = |request: String, expected: &str| {
        http.send(request);
        assert_eq!(http.answer().status, 202, "{expected}");
        seq += 1;
        let begin = format!(
            "{{\"type\":\"event\",\"seq\":{seq},\"channel\":\"t:a\",\"event\":\"k\",\"data\":{expected},"
        );
        let text = web_socket.next_text();
        assert!(text.starts_with(&begin), "{text} should begin with {begin}");
        assert_eq!(sse.next_data().data, Some(text), "the same text on both transports");
    };
    for (sent, expected) in DATA {
        let json = "application/json";
        check(post_text("/publish/t:a?event=k", json, sent), expected);
        let envelope = format!(r#"{{ "channel" : "t:a" , "event":"k" , "data" : {sent} }}"#);
        check(post_text("/publish", json, &envelope), expected);
        let one_line = envelope.replace(['\r', '\n'], " ");
        check(post_text("/publish", "application/x-ndjson", &one_line), expected);
    }
}

#[test]
fn data_sent_over_a_websocket_arrives_byte_for_byte_too() {
    let server = ServerProcess::start(&[]);
    let (mut receiver, _) = Client::subscribed(server.public, "t:a");
    let mut sender = Client::open(server.public, "/ws");
    for (at, (sent, expected)) in DATA.iter().enumerate() {
        let command = format!(r#"{{"type":"publish","channel":"t:a","event":"k","data":{sent},"id":{at}}}"#);
        let answer = sender.ask(&command);
        assert_eq!(answer, json!({"type": "published", "seq": at + 1, "id": at}));
        let text = receiver.next_text();
        assert!(text.contains(&format!("\"data\":{expected},\"timestamp\":")), "{text}");
    }
}

#[test]
fn every_refusal_has_its_status_its_code_and_publishes_nothing() {
    let limits = Limits {
        body_bytes_max: 400,
        event_bytes_max: 64,
        batch_events_max: 3,
        channels_max: 2,
        ..Limits::default()
    };
    let server = LocalServer::start(limits);
    let mut publisher = Publisher::connect(server.public);
    assert_eq!(publisher.publish("t:a", "1"), 1);
    let json = "application/json";
    let check = |path: &str, media_type: &str, body: &str, status: u16, code: &str| {
        let mut http = Http::connect(server.public);
        http.send(post_text(path, media_type, body));
        http.answer().assert_problem(status, code, &format!("{path} {body}"));
    };
    check("/publish", json, "", 400, "bad_json");
    check("/publish", json, "{", 400, "bad_json");
    check("/publish", json, "null", 400, "bad_json");
    check("/publish", json, r#"{"channel":"t:a"}"#, 400, "bad_json");
    check("/publish", json, r#"{"event":"k"}"#, 400, "bad_json");
    check("/publish", json, r#"{"channel":"t:a","event":"k","other":1}"#, 400, "bad_json");
    check("/publish", json, r#"{"channel":"t:a","channel":"t:b","event":"k"}"#, 400, "bad_json");
    check("/publish", json, r#"{"channel":"t:a","event":"k","data":01}"#, 400, "bad_json");
    check("/publish", json, r#"{"channel":"t:a","event":"k"} x"#, 400, "bad_json");
    check("/publish", json, r#"{"channel":"nonsense","event":"k"}"#, 400, "bad_channel");
    check("/publish", json, r#"{"channel":"t:*","event":"k"}"#, 400, "bad_channel");
    check("/publish", json, r#"{"channel":"*","event":"k"}"#, 400, "bad_channel");
    check("/publish", json, r#"{"channel":"repo:a","event":"k"}"#, 400, "bad_channel");
    check("/publish", json, r#"{"channel":"t:a\n","event":"k"}"#, 400, "bad_channel");
    check("/publish", json, r#"{"channel":"t:a","event":""}"#, 400, "bad_event");
    check("/publish", json, r#"{"channel":"t:a","event":"a\nb"}"#, 400, "bad_event");
    check("/publish", json, r#"{"channel":"t:a","event":"k","event_id":""}"#, 400, "bad_event_id");
    check("/publish", json, r#"{"channel":"t:a","event":"k","event_id":"\r"}"#, 400, "bad_event_id");
    check("/publish", json, r#"{"channel":"t:a","event":"k","tags":[1]}"#, 400, "bad_labels");
    check("/publish", json, r#"{"channel":"t:a","event":"k","ids":[1.5]}"#, 400, "bad_labels");
    check("/publish", json, "[]", 400, "empty_batch");
    check("/publish", "application/x-ndjson", "\n", 400, "empty_batch");
    check("/publish", "application/x-ndjson", &format!("{EVENT}\n{{"), 400, "bad_json");
    check("/publish", json, &format!("[{EVENT},{EVENT},{EVENT},{EVENT}]"), 413, "batch_too_large");
    check("/publish", json, &format!("[{EVENT},{{\"channel\":\"t:\",\"event\":\"k\"}}]"), 400, "bad_channel");
    check("/publish/t:a", json, &format!("\"{}\"", "x".repeat(63)), 413, "event_too_large");
    check("/publish/t:a", json, &" ".repeat(401), 413, "body_too_large");
    check("/publish/t:a", json, "", 400, "bad_json");
    check("/publish/t:a", json, "1 2", 400, "bad_json");
    check("/publish/t:a%2", json, "1", 400, "bad_escape");
    check("/publish/", json, "1", 400, "bad_channel");
    check("/publish/t:a?event=K", json, "1", 400, "bad_event");
    check("/publish", "application/xml", EVENT, 415, "unsupported_media_type");
    check("/publish", "multipart/form-data; boundary=x", EVENT, 415, "unsupported_media_type");
    check("/nothing", json, EVENT, 404, "not_found");
    check("/events", json, EVENT, 405, "method_not_allowed");
    assert_eq!(publisher.publish("t:b", "1"), 2, "nothing of all that was published");
    let full = publisher.request("/publish/t:c", "1");
    full.assert_problem(503, "channels_full", "a third channel");
    let seconds: u64 = full.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&seconds), "{seconds}");
    assert_eq!(publisher.publish("t:a", "1"), 3, "known channels go on");
}

#[test]
fn data_may_be_nested_as_deeply_as_the_bound_and_no_deeper() {
    let server = ServerProcess::start(&[]);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let check = |depth: usize, expected: u16| {
        assert_eq!(post(server.public, "/publish/t:a", &nested(depth)).status, expected, "{depth}");
        let body = format!(r#"{{"channel":"t:a","event":"k","data":{}}}"#, nested(depth));
        assert_eq!(post(server.public, "/publish", &body).status, expected, "{depth} in an envelope");
    };
    check(128, 202);
    check(129, 400);
    check(100_000, 400);
}

#[test]
fn a_publish_without_a_body_is_refused_and_its_connection_kept() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    for path in ["/publish", "/publish/t:a"] {
        http.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        http.answer().assert_problem(400, "bad_json", path);
    }
    http.send(post_text("/publish/t:a", "application/json", "1"));
    assert_eq!(http.answer().json()["seq"], 1);
}

#[test]
fn a_body_that_is_not_text_is_refused() {
    let server = ServerProcess::start(&[]);
    for path in ["/publish", "/publish/t:a"] {
        let mut http = Http::connect(server.public);
        http.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"));
        http.send(b"\"\xff\"");
        http.answer().assert_problem(400, "bad_json", path);
    }
}

#[test]
fn two_hundred_pipelined_publishes_are_answered_in_order_with_consecutive_numbers() {
    let server = ServerProcess::start(&[]);
    let mut streams = TRANSPORTS.map(|transport| Stream::open(transport, server.public, "t:a", ""));
    let mut http = Http::connect(server.public);
    let requests: String =
        (0..200).map(|number| post_text("/publish/t:a", "application/json", &number.to_string())).collect();
    http.send(requests);
    for number in 0..200 {
        assert_eq!(http.answer().json()["seq"], number + 1);
    }
    for stream in &mut streams {
        for number in 0..200 {
            let event = stream.next();
            assert_eq!((event["seq"].as_u64(), event["data"].as_u64()), (Some(number + 1), Some(number)));
        }
    }
}

#[test]
fn pipelined_requests_of_every_kind_are_answered_in_the_order_they_were_sent() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    let publish = post_text("/publish/t:a", "application/json", "1");
    let bad = post_text("/publish/t:a", "application/json", "{");
    let health = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let nothing = "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n";
    let requests: String = (0..20).map(|_| format!("{publish}{health}{bad}{publish}{nothing}")).collect();
    http.send(requests);
    for round in 0..20 {
        assert_eq!(http.answer().json()["seq"], 2 * round + 1);
        assert_eq!(http.answer().json()["status"], "ok");
        http.answer().assert_problem(400, "bad_json", "pipelined");
        assert_eq!(http.answer().json()["seq"], 2 * round + 2);
        http.answer().assert_problem(404, "not_found", "pipelined");
    }
}

#[test]
fn a_request_may_come_byte_by_byte_and_in_chunks() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    for byte in post_text("/publish/t:a", "application/json", "[1, 2]").as_bytes() {
        http.send([*byte]);
    }
    assert_eq!(http.answer().json()["seq"], 1);
    http.send("POST /publish/t:a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    http.send("2\r\n[1\r\n1\r\n,\r\n00002\r\n2]\r\n0\r\n\r\n");
    assert_eq!(http.answer().json()["seq"], 2);
    let history = get(server.public, "/history?channel=t:a").json();
    assert_eq!(history["events"][0]["data"], json!([1, 2]));
    assert_eq!(history["events"][1]["data"], json!([1, 2]));
}

#[test]
fn a_publisher_that_asks_first_is_told_to_continue() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    let head = "POST /publish/t:a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    http.send(head);
    let interim = http.head();
    assert_eq!((interim.status, interim.fields.len()), (100, 0));
    http.send("1");
    assert_eq!(http.answer().json()["seq"], 1);
    // Whoever sends the body at once needs no permission.
    http.send(format!("{head}2"));
    assert_eq!(http.answer().json()["seq"], 2);
    // A body that would be refused is refused before it is sent.
    http.send(head.replace("Content-Length: 1", "Content-Length: 1048577"));
    http.answer().assert_problem(413, "body_too_large", "announced");
    http.assert_closed();
}

#[test]
fn permission_to_continue_comes_after_the_answers_before_it() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    let head = "POST /publish/t:a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    for round in 0..20 {
        http.send(format!("{}{head}", post_text("/publish/t:a", "application/json", "1")));
        assert_eq!(
            http.answer().json()["seq"],
            2 * round + 1,
            "an interim answer belongs to the request after"
        );
        assert_eq!(http.head().status, 100);
        http.send("2");
        assert_eq!(http.answer().json()["seq"], 2 * round + 2);
    }
}

#[test]
fn methods_that_a_path_does_not_take_are_named() {
    let server = ServerProcess::start(&[]);
    let check = |method: &str, path: &str, status: u16, allow: Option<&str>| {
        let mut http = Http::connect(server.public);
        http.send(format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let answer = http.answer_to(method);
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.field("allow"), allow, "{method} {path}");
        if status == 405 && method != "HEAD" {
            answer.assert_problem(405, "method_not_allowed", path);
        }
        // The connection is still good.
        http.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(http.answer().status, 200, "after {method} {path}");
    };
    let (get, get_or_head, post) = ("GET, OPTIONS", "GET, HEAD, OPTIONS", "POST, OPTIONS");
    check("OPTIONS", "/publish", 204, Some(post));
    check("OPTIONS", "/publish/t:a", 204, Some(post));
    check("OPTIONS", "/events", 204, Some(get));
    check("OPTIONS", "/health", 204, Some(get_or_head));
    check("OPTIONS", "/nothing", 404, None);
    check("OPTIONS", "*", 204, Some("GET, HEAD, POST, PUT, DELETE, OPTIONS"));
    check("GET", "/publish", 405, Some(post));
    check("HEAD", "/publish", 405, Some(post));
    check("PUT", "/publish/t:a", 405, Some(post));
    check("DELETE", "/history", 405, Some(get_or_head));
    check("PATCH", "/health", 405, Some(get_or_head));
    check("HEAD", "/events?channel=t:a", 405, Some(get));
    check("HEAD", "/ws", 405, Some(get));
    check("POST", "/", 405, Some(get_or_head));
    check("HEAD", "/", 200, None);
    check("HEAD", "/nothing", 404, None);
}

#[test]
fn the_connection_is_kept_or_closed_as_the_version_and_its_field_say() {
    let server = ServerProcess::start(&[]);
    let check = |version: &str, field: &str, expected: Option<&str>| {
        let mut http = Http::connect(server.public);
        let request =
            format!("POST /publish/t:a HTTP/{version}\r\nHost: x\r\n{field}Content-Length: 1\r\n\r\n1");
        http.send(&request);
        let answer = http.answer();
        assert_eq!(answer.status, 202, "{version} {field}");
        assert_eq!(answer.field("connection"), expected, "{version} {field}");
        if expected == Some("close") {
            http.assert_closed();
        } else {
            http.send(&request);
            assert_eq!(http.answer().status, 202, "a second request over {version} {field}");
        }
    };
    check("1.1", "", None);
    check("1.1", "Connection: keep-alive\r\n", None);
    check("1.1", "Connection: close\r\n", Some("close"));
    check("1.1", "Connection: foo, Close\r\n", Some("close"));
    check("1.0", "", Some("close"));
    check("1.0", "Connection: keep-alive\r\n", Some("keep-alive"));
    check("1.0", "Connection: keep-alive, close\r\n", Some("close"));
}

#[test]
fn http_1_0_needs_no_host() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    http.send("POST /publish/t:a HTTP/1.0\r\nContent-Length: 1\r\n\r\n1");
    assert_eq!(http.answer().json()["seq"], 1);
    http.assert_closed();
}

#[test]
fn a_publisher_that_closes_its_half_still_gets_its_answers() {
    let server = ServerProcess::start(&[]);
    // So often because the end sometimes arrives together with the requests, and sometimes after.
    for round in 0..300 {
        let mut http = Http::connect(server.public);
        let request = post_text("/publish/t:a", "application/json", "1");
        http.send(format!("{request}{request}"));
        http.finish();
        assert_eq!(http.answer().json()["seq"], 2 * round + 1);
        assert_eq!(http.answer().json()["seq"], 2 * round + 2);
        http.assert_closed();
    }
}

#[test]
fn requests_that_had_to_wait_are_answered_although_the_publisher_has_closed_its_half() {
    let server = ServerProcess::start(&[]);
    let publish = post_text("/publish/t:a", "application/json", "1");
    let page = "GET /page.css HTTP/1.1\r\nHost: x\r\n\r\n";
    // More than may be in flight, and more bytes of answers than may be waiting.
    for (request, count, status) in [(publish.as_str(), 300, 202), (page, 300, 200)] {
        let mut http = Http::connect(server.public);
        http.send(request.repeat(count));
        http.finish();
        for _ in 0..count {
            assert_eq!(http.answer().status, status);
        }
        http.assert_closed();
    }
}

#[test]
fn pages_of_other_origins_may_do_nothing() {
    let server = ServerProcess::start(&[]);
    let check = |origin: &str, expected: bool| {
        let handshake = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let requests = [
            ("POST /publish/t:a", "Content-Length: 1\r\n", "1", 202),
            ("GET /history?channel=t:a", "", "", 200),
            ("GET /events?channel=t:a", "", "", 200),
            ("GET /ws", handshake, "", 101),
        ];
        for (line, fields, body, good) in requests {
            let mut http = Http::connect(server.public);
            http.send(format!("{line} HTTP/1.1\r\nHost: fan.example:8080\r\n{origin}{fields}\r\n{body}"));
            if expected {
                assert_eq!(http.head().status, good, "{line} {origin}");
            } else {
                http.answer().assert_problem(403, "origin_not_allowed", &format!("{line} {origin}"));
            }
        }
    };
    check("", true);
    check("Origin: http://fan.example:8080\r\n", true);
    check("Origin: http://evil.example\r\n", false);
    check("Origin: http://fan.example\r\n", false);
    check("Origin: http://fan.example:8080.evil.example\r\n", false);
    check("Origin: null\r\n", false);
    check("Origin: http://fan.example:8080\r\nOrigin: http://fan.example:8080\r\n", false);
}

#[test]
fn a_publish_over_a_websocket_is_answered_with_its_number_or_its_fault() {
    let server = ServerProcess::start(&[]);
    let mut client = Client::open(server.public, "/ws");
    let mut check = |command: &str, expected: Value| {
        let mut answer = client.ask(command);
        if let Some(members) = answer.as_object_mut() {
            members.remove("message");
        }
        assert_eq!(answer, expected, "{command}");
    };
    check(
        r#"{"type":"publish","channel":"t:a","event":"k","data":1,"id":"x"}"#,
        json!({"type": "published", "seq": 1, "id": "x"}),
    );
    check(r#"{"type":"publish","channel":"t:a","event":"k"}"#, json!({"type": "published", "seq": 2}));
    let fault = |code: &str| json!({"type": "error", "code": code, "id": 7});
    check(r#"{"type":"publish","channel":"t:*","event":"k","id":7}"#, fault("bad_channel"));
    check(r#"{"type":"publish","channel":"t:a","event":"K","id":7}"#, fault("bad_event"));
    check(r#"{"type":"publish","channel":"t:a","id":7}"#, fault("bad_message"));
    check(r#"{"type":"publish","channel":"t:a","event":"k","event_id":"","id":7}"#, fault("bad_event_id"));
    check(r#"{"type":"publish","channel":"t:a","event":"k","tags":[1],"id":7}"#, fault("bad_labels"));
    check(
        r#"{"type":"publish","channel":"t:a","event":"k","id":8}"#,
        json!({"type": "published", "seq": 3, "id": 8}),
    );
}

#[test]
fn a_publisher_that_subscribes_gets_its_own_events() {
    let server = ServerProcess::start(&[]);
    let (mut client, _) = Client::subscribed(server.public, "t:a");
    client.send(r#"{"type":"publish","channel":"t:a","event":"k","data":1}"#);
    let mut kinds = [client.next(), client.next()].map(|message| message["type"].clone());
    kinds.sort_by_key(Value::to_string);
    assert_eq!(kinds, ["event", "published"]);
}

#[test]
fn a_batch_is_atomic_among_concurrent_publishers() {
    let server = ServerProcess::start(&[]);
    let address = server.public;
    let publishers: Vec<_> = (0..4)
        .map(|number| {
            std::thread::spawn(move || {
                let mut publisher = Publisher::connect(address);
                let channel = format!("t:{number}");
                (0..25).map(|_| publisher.publish_many(&channel, 20)).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut ranges: Vec<(u64, u64)> =
        publishers.into_iter().flat_map(|publisher| publisher.join().unwrap()).collect();
    ranges.sort_unstable();
    let expected: Vec<(u64, u64)> = (0..100).map(|at| (20 * at + 1, 20 * at + 20)).collect();
    assert_eq!(ranges, expected, "ranges of twenty, side by side and without holes");
}

#[test]
fn a_chunked_body_over_the_limit_is_refused_before_it_ends() {
    let server = LocalServer::start(Limits { body_bytes_max: 100, ..Limits::default() });
    let check = |chunks: &str| {
        let mut http = Http::connect(server.public);
        http.send(format!(
            "POST /publish/t:a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        ));
        let answer: Answer = http.answer();
        answer.assert_problem(413, "body_too_large", chunks);
        http.assert_closed();
    };
    check("65\r\n");
    check("FFFFFFFFFFFF\r\n");
    check(&format!("60\r\n{}\r\n5\r\n", "1".repeat(96)));
}

const LINES: &str = "Content-Type: application/x-ndjson\r\n";

#[test]
fn lines_of_a_log_are_events_in_their_order() {
    let server = ServerProcess::start(&["--loops", "2"]);
    let mut streams = TRANSPORTS.map(|transport| Stream::open(transport, server.public, "job:1/log", ""));
    let line =
        |number: u64| json!({"timestamp": number, "level": "info", "message": format!("line {number}")});
    let body = |numbers: std::ops::Range<u64>| -> String {
        numbers.map(|number| format!("{}\r\n\n", line(number))).collect()
    };
    let path = "/publish/job:1/log?event=log_line&validate=1&tags=build";
    let answer = ask(server.public, "POST", path, LINES, &body(0..3));
    assert_eq!((answer.status, answer.json()), (202, json!({"first": 1, "last": 3})));
    let answer = ask(server.public, "POST", path, LINES, &body(3..4));
    assert_eq!(answer.json(), json!({"first": 4, "last": 4}), "one line is a batch too");
    for stream in &mut streams {
        for number in 0..4 {
            let event = stream.next();
            assert_eq!((&event["event"], &event["tags"]), (&json!("log_line"), &json!(["build"])));
            assert_eq!((&event["seq"], &event["data"]), (&json!(number + 1), &line(number)));
        }
    }
    let check = |path: &str, body: &str, status: u16, code: &str| {
        ask(server.public, "POST", path, LINES, body).assert_problem(status, code, body);
    };
    check("/publish/t:a", "", 400, "empty_batch");
    check("/publish/t:a", "\n \r\n", 400, "empty_batch");
    check("/publish/t:a", &"1\n".repeat(1001), 413, "batch_too_large");
    check("/publish/t:a", "1\n2\n{", 400, "bad_json");
    check("/publish/t:a?event_id=x", "1\n2\n", 400, "bad_event_id");
    check(path, &format!("{}\n{{}}\n", line(9)), 400, "bad_payload");
    assert_eq!(
        Publisher::connect(server.public).publish("t:a", "1"),
        5,
        "a batch is taken whole or not at all"
    );
}

#[test]
fn what_is_said_in_the_query_is_said_of_the_event() {
    let server = ServerProcess::start(&[]);
    let mut stream = Stream::open(Transport::WebSocket, server.public, "t:a&workspace=*", "");
    let mut check = |query: &str, expected: Value| {
        assert_eq!(post(server.public, &format!("/publish/t:a?{query}"), "1").status, 202, "{query}");
        let mut event = stream.next();
        let members = event.as_object_mut().unwrap();
        ["type", "seq", "channel", "timestamp", "data"].iter().for_each(|name| drop(members.remove(*name)));
        if event["event_id"].as_str().is_some_and(|id| id.contains('-')) {
            event.as_object_mut().unwrap().remove("event_id");
        }
        assert_eq!(event, expected, "{query}");
    };
    check("", json!({"event": "message"}));
    check("event=pr.opened", json!({"event": "pr_opened"}));
    check("ids=7,x&ids=y", json!({"event": "message", "ids": ["7", "x", "y"]}));
    check("tags=a,%20b&tags=c%2Cd", json!({"event": "message", "tags": ["a", "b", "c", "d"]}));
    check("ids=&tags=,", json!({"event": "message"}));
    check("workspace=%20Acme", json!({"event": "message", "workspace": "acme"}));
    check("event_id=mine", json!({"event": "message", "event_id": "mine"}));
    let refuse = |query: &str, code: &str| {
        post(server.public, &format!("/publish/t:a?{query}"), "1").assert_problem(400, code, query);
    };
    refuse("event=Bad", "bad_event");
    refuse("event_id=", "bad_event_id");
    refuse("workspace=_x", "bad_workspace");
    refuse(&format!("tags={}", "x".repeat(257)), "bad_labels");
    refuse(&format!("ids={}", "x,".repeat(65)), "bad_labels");
}

#[test]
fn payloads_of_built_in_kinds_are_checked_where_that_is_asked_for() {
    let server = ServerProcess::start(&[]);
    let push = r#"{"ref":"refs/heads/main","before":"a","after":"b","pusher":"alice","commit_count":1}"#;
    let wrong = r#"{"ref":"refs/heads/main","before":"a","after":"b","pusher":"alice"}"#;
    let event = |data: &str| format!(r#"{{"channel":"repo:a/b","event":"push","data":{data}}}"#);
    let check = |path: &str, fields: &str, body: &str, is_good: bool| {
        let answer = ask(server.public, "POST", path, fields, body);
        if is_good {
            assert_eq!(answer.status, 202, "{path} {body}: {}", answer.text());
        } else {
            answer.assert_problem(400, "bad_payload", path);
            assert!(answer.text().contains("commit_count"), "the field is named: {}", answer.text());
        }
    };
    check("/publish", "", &event(wrong), true);
    check("/publish?validate=0", "", &event(wrong), true);
    check("/publish?validate=1", "", &event(wrong), false);
    check("/publish?validate", "", &event(push), true);
    check("/publish?validate=1", "", &format!("[{},{}]", event(push), event(wrong)), false);
    check("/publish?validate=1", LINES, &format!("{}\n{}", event(push), event(wrong)), false);
    check("/publish/repo:a/b?event=push&validate=1", "", wrong, false);
    check("/publish/repo:a/b?event=push&validate=1", "", push, true);
    check("/publish/repo:a/b?event=acme.deployed&validate=1", "", wrong, true);
    let cloud = "Content-Type: application/cloudevents+json\r\n";
    let body = format!(
        r#"{{"specversion":"1.0","id":"1","source":"/s","type":"push","channel":"repo:a/b","data":{wrong}}}"#
    );
    check("/publish?validate=1", cloud, &body, false);
}
