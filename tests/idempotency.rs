//! Publishing again what may have been published: the first answer comes again, and nothing else happens.

mod support;

use std::sync::Barrier;
use std::time::Duration;

use fanfare::words::limits::Limits;
use serde_json::{Value, json};
use support::http::{Answer, Http, ask, get, request_text};
use support::local::LocalServer;
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::stream::{Stream, Transport};
use support::wait_until;
use support::websocket::Client;

const EVENT: &str = r#"{"channel":"t:a","event":"k","data":1}"#;
const OTHER: &str = r#"{"channel":"t:a","event":"k","data":2}"#;

fn key(key: &str) -> String {
    format!("Idempotency-Key: {key}\r\n")
}

/// Publishes and returns status and body.
fn publish(http: &mut Http, path: &str, fields: &str, body: &str) -> (u16, Value) {
    http.send(request_text("POST", path, fields, body));
    let answer = http.answer();
    let document = answer.json();
    (answer.status, if answer.status < 300 { document } else { document["code"].clone() })
}

fn reused() -> (u16, Value) {
    (422, json!("idempotency_key_reused"))
}

fn seq(seq: u64) -> (u16, Value) {
    (202, json!({"seq": seq}))
}

#[test]
fn a_second_attempt_gets_the_first_answer_and_another_body_is_refused() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    let mut check = |path: &str, fields: &str, body: &str, expected: (u16, Value)| {
        assert_eq!(publish(&mut http, path, fields, body), expected, "{path} {fields}{body}");
    };
    check("/publish", &key("one"), EVENT, seq(1));
    check("/publish", &key("one"), EVENT, seq(1));
    // What is the same event is the same, however it is written, and whatever form it comes in.
    check("/publish", &key("one"), &EVENT.replace(':', " : ").replace("t : a", "t:a"), seq(1));
    check("/publish/t:a?event=k", &key("one"), "1", seq(1));
    check("/publish", &key("one"), OTHER, reused());
    check("/publish/t:b?event=k", &key("one"), "1", reused());
    check("/publish/t:a?event=k2", &key("one"), "1", reused());
    check("/publish/t:a?event=k&tags=x", &key("one"), "1", reused());
    check("/publish", &key("two"), EVENT, seq(2));
    check("/publish", "", EVENT, seq(3));
    check("/publish", "", EVENT, seq(4));
    // A batch is one attempt.
    let batch = format!("[{EVENT},{OTHER}]");
    let both = (202, json!({"first": 5, "last": 6}));
    check("/publish", &key("batch"), &batch, both.clone());
    check("/publish", &key("batch"), &batch, both.clone());
    let lines = format!("{}Content-Type: application/x-ndjson\r\n", key("batch"));
    check("/publish", &lines, &format!("{EVENT}\n{OTHER}\n"), both.clone());
    check("/publish/t:a?event=k", &lines, "1\n2\n", both);
    check("/publish", &key("batch"), &format!("[{OTHER},{EVENT}]"), reused());
    check("/publish", &key("batch"), &format!("[{EVENT}]"), reused());
    let next = get(server.admin, "/stats").json()["published"].as_u64();
    assert_eq!(next, Some(7), "nothing more was published");
}

#[test]
fn the_id_of_a_single_event_is_a_key_too() {
    let server = ServerProcess::start(&[]);
    let (mut client, _) = Client::subscribed(server.public, "t:a");
    let mut http = Http::connect(server.public);
    let event = |id: &str, data: u64| {
        json!({"channel": "t:a", "event": "k", "data": data, "event_id": id}).to_string()
    };
    let mut check = |path: &str, fields: &str, body: &str, expected: (u16, Value)| {
        assert_eq!(publish(&mut http, path, fields, body), expected, "{path} {fields}{body}");
    };
    check("/publish", "", &event("e-1", 1), seq(1));
    check("/publish", "", &event("e-1", 1), seq(1));
    check("/publish/t:a?event=k&event_id=e-1", "", "1", seq(1));
    check("/publish", "", &event("e-1", 2), reused());
    // A key is not an id, and counts where both are given.
    check("/publish", &key("e-1"), EVENT, seq(2));
    check("/publish", &key("k-1"), &event("e-1", 1), seq(3));
    // Events of a batch are not known by their ids.
    let batch = format!("[{},{}]", event("e-1", 1), event("e-1", 1));
    check("/publish", "", &batch, (202, json!({"first": 4, "last": 5})));
    // Neither is a CloudEvent, whose id is its source's own.
    let cloud = "Content-Type: application/cloudevents+json\r\n";
    let body = r#"{"specversion":"1.0","id":"e-1","source":"/s","type":"k","channel":"t:a","data":1}"#;
    check("/publish", cloud, body, seq(6));
    check("/publish", cloud, body, seq(7));
    let seqs: Vec<u64> = (1..=7).map(|_| client.next()["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_publish_over_a_websocket_is_known_by_its_event_id() {
    let server = ServerProcess::start(&[]);
    let publish = |id: &str, data: u64| {
        json!({"type": "publish", "channel": "t:a", "event": "k", "data": data, "event_id": id, "id": data})
            .to_string()
    };
    let mut client = Client::open(server.public, "/ws");
    assert_eq!(client.ask(&publish("e-1", 1)), json!({"type": "published", "seq": 1, "id": 1}));
    assert_eq!(client.ask(&publish("e-1", 1)), json!({"type": "published", "seq": 1, "id": 1}));
    let refused = client.ask(&publish("e-1", 2));
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("idempotency_key_reused")));
    assert_eq!(refused["id"], 2);
    // After a reconnect it still is, over either transport.
    client.close();
    let mut client = Client::open(server.public, "/ws");
    assert_eq!(client.ask(&publish("e-1", 1))["seq"], 1);
    let body = r#"{"channel":"t:a","event":"k","data":1,"event_id":"e-1"}"#;
    assert_eq!(ask(server.public, "POST", "/publish", "", body).json(), json!({"seq": 1}));
    let mut other = Client::open(server.public, "/ws?user=alice");
    assert_eq!(other.ask(&publish("e-1", 2))["seq"], 2, "somebody else's ids are their own");
}

#[test]
fn each_principal_has_keys_of_their_own() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    let mut check = |path: &str, body: &str, expected: (u16, Value)| {
        assert_eq!(publish(&mut http, path, &key("one"), body), expected, "{path}");
    };
    check("/publish", EVENT, seq(1));
    check("/publish?user=alice", OTHER, seq(2));
    check("/publish?user=bob", EVENT, seq(3));
    check("/publish?user=alice", OTHER, seq(2));
    check("/publish?user=alice", EVENT, reused());
    check("/publish", EVENT, seq(1));
}

#[test]
fn duplicates_under_way_at_once_become_one_event() {
    let server = ServerProcess::start(&["--loops", "2"]);
    let mut stream = Stream::open(Transport::Sse, server.public, "t:a", "");
    let mut publisher = Publisher::connect(server.public);
    for round in 0..10 {
        let request = request_text("POST", "/publish", &key(&format!("k-{round}")), EVENT);
        let barrier = Barrier::new(6);
        let attempt = || {
            let mut http = Http::connect(server.public);
            barrier.wait();
            http.send(request.repeat(20));
            (0..20).map(|_| http.answer()).collect::<Vec<Answer>>()
        };
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let attempts: Vec<_> = (0..6).map(|_| scope.spawn(attempt)).collect();
            attempts.into_iter().flat_map(|attempt| attempt.join().unwrap()).collect()
        });
        let end = publisher.publish("t:a", "0");
        for answer in answers {
            assert_eq!((answer.status, answer.json()["seq"].as_u64()), (202, Some(end - 1)), "round {round}");
        }
        stream.assert_next([end - 1, end]);
    }
}

#[test]
fn keys_that_are_none_are_refused() {
    let server = ServerProcess::start(&[]);
    let check = |fields: &str| {
        let answer = ask(server.public, "POST", "/publish", fields, EVENT);
        answer.assert_problem(400, "bad_idempotency_key", fields);
    };
    check("Idempotency-Key: \r\n");
    check(&key(&"x".repeat(257)));
    check(&format!("{}{}", key("one"), key("two")));
    assert_eq!(ask(server.public, "POST", "/publish", &key(&"x".repeat(256)), EVENT).status, 202);
    assert_eq!(ask(server.public, "POST", "/publish", &key("\"with spaces\" and quotes"), EVENT).status, 202);
}

#[test]
fn what_was_refused_may_be_tried_again() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    assert_eq!(publish(&mut http, "/publish", &key("one"), "{"), (400, json!("bad_json")));
    assert_eq!(publish(&mut http, "/publish", &key("one"), EVENT), seq(1));
    assert_eq!(publish(&mut http, "/publish", &key("one"), OTHER), reused());
    assert_eq!(publish(&mut http, "/publish", &key("one"), EVENT), seq(1), "the first answer still holds");
}

#[test]
fn the_window_ends_with_the_log() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    publish(&mut http, "/publish", "", OTHER);
    assert_eq!(publish(&mut http, "/publish", &key("one"), EVENT), seq(2));
    drop(server);
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    assert_eq!(publish(&mut http, "/publish", &key("one"), EVENT), seq(1));
    assert_eq!(publish(&mut http, "/publish", &key("one"), EVENT), seq(1));
}

#[test]
fn the_window_is_bounded_in_keys_and_time() {
    let server = LocalServer::start(Limits { idempotency_keys_max: 2, ..Limits::default() });
    let mut http = Http::connect(server.public);
    let mut attempt =
        |name: &str| publish(&mut http, "/publish", &key(name), EVENT).1["seq"].as_u64().unwrap();
    assert_eq!(["a", "b", "a", "b", "c"].map(&mut attempt), [1, 2, 1, 2, 3]);
    assert_eq!(["b", "c", "a"].map(&mut attempt), [2, 3, 4], "the oldest has left");

    let window = Duration::from_millis(200);
    let server = LocalServer::start(Limits { idempotency_window: window, ..Limits::default() });
    let mut http = Http::connect(server.public);
    assert_eq!(publish(&mut http, "/publish", &key("one"), EVENT), seq(1));
    wait_until("the key is forgotten", || publish(&mut http, "/publish", &key("one"), EVENT) == seq(2));
}

#[test]
fn no_keys_are_remembered_where_none_shall_be() {
    let server = ServerProcess::start(&["--idempotency-keys", "0"]);
    let mut http = Http::connect(server.public);
    assert_eq!(publish(&mut http, "/publish", &key("one"), EVENT), seq(1));
    assert_eq!(publish(&mut http, "/publish", &key("one"), OTHER), seq(2));
    assert_eq!(publish(&mut http, "/publish/t:a?event_id=e", "", "1"), seq(3));
    assert_eq!(publish(&mut http, "/publish/t:a?event_id=e", "", "1"), seq(4));
}
