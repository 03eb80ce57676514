//! `GET /delivered`: read your writes.

mod support;

use std::time::Duration;

use serde_json::json;
use support::http::{Http, ask, get, post_text, wait_for_delivery};
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::stream::{Stream, TRANSPORTS, Transport};
use support::websocket::{Client, Frames, frame};
use support::{connect_narrow, wait_until};

/// Long enough for an answer that is not held back.
const MOMENT: Duration = Duration::from_millis(100);

fn request(seq: u64, timeout_ms: u64) -> String {
    format!("GET /delivered?seq={seq}&timeout_ms={timeout_ms} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[test]
fn it_answers_when_the_event_is_with_everybody_who_keeps_up() {
    for loops in ["1", "2"] {
        let server = ServerProcess::start(&["--loops", loops]);
        let mut streams: Vec<Frames> = (0..20).map(|_| Frames::open(server.public)).collect();
        for stream in &mut streams {
            stream.send(&frame(0x81, br#"{"type":"subscribe","channel":"t:a"}"#));
            assert!(stream.next().is_some());
        }
        let mut publisher = Publisher::connect(server.public);
        let mut http = Http::connect(server.public);
        for _ in 0..20 {
            let (_, last) = publisher.publish_many("t:a", 10);
            http.send(request(last, 5000));
            let answer = http.answer();
            assert_eq!((answer.status, answer.json()), (200, json!({"seq": last, "delivered": true})));
            // Their sockets have it: nobody has to wait for any of the ten.
            for stream in &mut streams {
                for seq in last - 9..=last {
                    assert!(stream.speaks_within(MOMENT), "{seq} is there");
                    let payload = stream.next().unwrap().payload;
                    let text = String::from_utf8(payload).unwrap();
                    assert!(text.contains(&format!("\"seq\":{seq},")), "{text}");
                }
            }
        }
    }
}

#[test]
fn it_waits_for_what_has_no_number_yet() {
    let server = ServerProcess::start(&["--loops", "2"]);
    let mut streams = TRANSPORTS.map(|transport| Stream::open(transport, server.public, "t:a", ""));
    let mut http = Http::connect(server.public);
    http.send(request(3, 60_000));
    let mut publisher = Publisher::connect(server.public);
    publisher.publish("t:a", "1");
    publisher.publish("t:b", "2");
    assert!(!http.speaks_within(MOMENT), "two are not three");
    publisher.publish("t:a", "3");
    assert_eq!(http.answer().json(), json!({"seq": 3, "delivered": true}));
    streams.iter_mut().for_each(|stream| stream.assert_next([1, 3]));
    // What is long past is answered at once, and without a subscriber there is nobody to wait for.
    http.send(request(1, 0));
    assert_eq!(http.answer().status, 200);
    drop(streams);
    publisher.publish("t:c", "4");
    http.send(request(4, 60_000));
    assert_eq!(http.answer().status, 200);
}

#[test]
fn it_gives_up_when_it_was_told_to() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    for timeout_ms in [0, 1, 30] {
        http.send(request(1, timeout_ms));
        let answer = http.answer();
        answer.assert_problem(504, "not_delivered", "nothing was published");
        let seconds: u64 = answer.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=5).contains(&seconds), "{seconds}");
    }
    assert_eq!(Publisher::connect(server.public).publish("t:a", "1"), 1);
    http.send(request(1, 5000));
    assert_eq!(http.answer().status, 200, "the connection goes on");
}

#[test]
fn those_who_wait_in_vain_are_told_to_come_back_at_different_times() {
    let server = ServerProcess::start(&[]);
    let mut waiting: Vec<Http> = (0..40).map(|_| Http::connect(server.public)).collect();
    waiting.iter_mut().for_each(|http| http.send(request(1, 1)));
    let told = waiting.iter_mut().map(|http| http.answer().field("retry-after").unwrap().to_owned());
    let told: std::collections::BTreeSet<String> = told.collect();
    assert!(1 < told.len(), "{told:?}");
}

#[test]
fn whoever_does_not_keep_up_holds_nobody_back() {
    let server = ServerProcess::start(&["--loops", "2"]);
    let _slow = Client::open_over(connect_narrow(server.public), "/ws?channel=t:a");
    let mut publisher = Publisher::connect(server.public);
    let large = format!("\"{}\"", "x".repeat(100_000));
    wait_until("the slow one is behind", || {
        publisher.publish("t:a", &large);
        get(server.admin, "/clients").json()["clients"][0]["state"] == "lagging"
    });
    let large = get(server.admin, "/stats").json()["published"].as_u64().unwrap() - 1;
    wait_for_delivery(server.public, large);
    let mut stream = Stream::open(Transport::WebSocket, server.public, "t:a", "");
    let seq = publisher.publish("t:a", "1");
    let mut http = Http::connect(server.public);
    http.send(request(seq, 60_000));
    assert_eq!(http.answer().json(), json!({"seq": seq, "delivered": true}));
    stream.assert_next([seq]);
    let slow = get(server.admin, "/clients").json()["clients"].clone();
    assert!(slow.as_array().unwrap().iter().any(|client| client["state"] == "lagging"), "{slow}");
}

#[test]
fn pipelined_it_is_answered_in_its_place() {
    let server = ServerProcess::start(&[]);
    let mut stream = Stream::open(Transport::Sse, server.public, "t:a", "");
    let mut http = Http::connect(server.public);
    let publish = post_text("/publish/t:a", "application/json", "1");
    http.send(format!("{publish}{}{publish}{}{publish}", request(1, 60_000), request(2, 60_000)));
    assert_eq!(http.answer().json(), json!({"seq": 1}));
    assert_eq!(http.answer().json(), json!({"seq": 1, "delivered": true}));
    assert_eq!(http.answer().json(), json!({"seq": 2}));
    assert_eq!(http.answer().json(), json!({"seq": 2, "delivered": true}));
    assert_eq!(http.answer().json(), json!({"seq": 3}));
    stream.assert_next([1, 2, 3]);
}

#[test]
fn a_shutdown_ends_the_waiting() {
    let server = ServerProcess::start(&["--loops", "2"]);
    let mut waiting: Vec<Http> = (0..8).map(|_| Http::connect(server.public)).collect();
    waiting.iter_mut().for_each(|http| http.send(request(9, 60_000)));
    // They have been read: whatever comes later on the same connections is not.
    for http in &mut waiting {
        assert!(!http.speaks_within(Duration::from_millis(10)));
    }
    server.signal("TERM");
    for http in &mut waiting {
        http.answer().assert_problem(504, "not_delivered", "a shutdown");
        http.assert_closed();
    }
}

#[test]
fn whoever_breaks_off_is_forgotten_when_the_time_is_up() {
    let server = ServerProcess::start(&["--loops", "2"]);
    // To the server they may have closed their half only, and still want the answer.
    for _ in 0..50 {
        Http::connect(server.public).send(request(1, 100));
    }
    wait_until("their places are free", || get(server.admin, "/stats").json()["connections"] == 1);
    assert_eq!(Publisher::connect(server.public).publish("t:a", "1"), 1);
    let mut http = Http::connect(server.public);
    http.send(request(1, 60_000));
    assert_eq!(http.answer().status, 200);
}

#[test]
fn bad_questions_are_refused() {
    let server = ServerProcess::start(&[]);
    let check = |query: &str, code: &str| {
        get(server.public, &format!("/delivered{query}")).assert_problem(400, code, query);
    };
    check("", "bad_seq");
    check("?seq=x", "bad_seq");
    check("?seq=-1", "bad_seq");
    check("?seq=1&timeout_ms=60001", "bad_timeout");
    check("?seq=1&timeout_ms=x", "bad_timeout");
    ask(server.public, "POST", "/delivered?seq=1", "", "").assert_problem(405, "method_not_allowed", "POST");
    Publisher::connect(server.public).publish("t:a", "1");
    let head = ask(server.public, "HEAD", "/delivered?seq=1", "", "");
    assert_eq!((head.status, head.field("content-length")), (200, Some("27")));
}
