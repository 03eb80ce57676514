//! Server-sent events, as an `EventSource` sees them.

mod support;

use std::time::Duration;

use fanfare::words::limits::Limits;
use serde_json::json;
use support::http::{Http, get};
use support::local::LocalServer;
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::sse::{Block, Sse};

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn the_head_is_exactly_that_of_a_stream() {
    let server = ServerProcess::start(&[]);
    let sse = Sse::open(server.public, "/events?channel=t:a", "");
    let mut fields = sse.head.fields.clone();
    fields.sort();
    let expected = [
        ("cache-control", "no-store, no-transform"),
        ("connection", "close"),
        ("content-type", "text/event-stream; charset=utf-8"),
        ("x-accel-buffering", "no"),
    ];
    assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

/// Limits by which every stream is told the same time to come back.
fn punctual() -> Limits {
    Limits { retry_spread: Duration::ZERO, ..Limits::default() }
}

#[test]
fn a_stream_begins_with_the_retry_time_and_the_cursor_and_each_event_is_one_block() {
    let server = LocalServer::start(punctual());
    let epoch = server.epoch();
    let mut sse = Sse::open(server.public, "/events?channel=t:a", "");
    assert_eq!(sse.next_block(), Some(Block { retry: text("3000"), ..Block::default() }));
    let id = format!("{epoch}-0");
    assert_eq!(sse.next_block(), Some(Block { id: Some(id), ..Block::default() }));
    let mut publisher = Publisher::connect(server.public);
    publisher.publish_kind("t:a", "pr.opened", r#"{"line":"a\nb\r"}"#);
    publisher.publish_kind("t:b", "k", "1");
    publisher.publish_kind("t:a", "my-kind.2", r#""x""#);
    let first = sse.next_block().unwrap();
    assert_eq!(first.id, Some(format!("{epoch}-1")));
    assert_eq!(first.event, text("pr_opened"));
    assert_eq!(first.json()["data"], json!({"line": "a\nb\r"}));
    let second = sse.next_block().unwrap();
    assert_eq!(second.id, Some(format!("{epoch}-3")));
    assert_eq!(second.event, text("my-kind.2"));
    assert_eq!(second.json()["seq"], 3);
}

#[test]
fn unnamed_blocks_fire_the_message_event() {
    let server = ServerProcess::start(&[]);
    let mut publisher = Publisher::connect(server.public);
    publisher.publish("t:a", "1");
    let large = format!("\"{}\"", "x".repeat(10_000));
    publisher.publish("t:a", &large);
    let check = |query: &str, event: Option<String>| {
        let mut sse = Sse::open(server.public, &format!("/events?channel=t:a&since=0{query}"), "");
        for seq in [1, 2] {
            let block = sse.next_data();
            assert_eq!((&block.event, &block.json()["seq"]), (&event, &json!(seq)), "{query}");
        }
        // A gap is named, or not, like an event.
        let mut sse = Sse::open(server.public, &format!("/events?channel=t:a&since=x-7{query}"), "");
        let gap = sse.next_data();
        assert_eq!(gap.json()["type"], "gap");
        assert_eq!(gap.event, event.as_ref().map(|_| "gap".to_owned()), "{query}");
    };
    check("", text("k"));
    check("&unnamed", None);
    check("&unnamed=1", None);
    check("&unnamed=0", text("k"));
}

#[test]
fn a_stream_resumes_after_the_header_or_the_query_and_the_header_wins() {
    let server = LocalServer::start(punctual());
    let epoch = server.epoch();
    let mut publisher = Publisher::connect(server.public);
    for number in 1..=5 {
        publisher.publish("t:a", &number.to_string());
    }
    let check = |query: &str, header: &str, first: u64| {
        let field = if header.is_empty() { String::new() } else { format!("Last-Event-ID: {header}\r\n") };
        let mut sse = Sse::open(server.public, &format!("/events?channel=t:a{query}"), &field);
        assert_eq!(sse.next_block().unwrap().retry, text("3000"));
        assert_eq!(sse.next_block().unwrap().id, Some(format!("{epoch}-{}", first - 1)));
        for seq in first..=5 {
            let block = sse.next_block().unwrap();
            assert_eq!((block.id, block.event), (Some(format!("{epoch}-{seq}")), text("k")));
        }
    };
    check("", &format!("{epoch}-2"), 3);
    check("", "2", 3);
    check("&last_event_id=3", "", 4);
    check(&format!("&since={epoch}-1"), "", 2);
    check("&last_event_id=1", "4", 5);
    check("&last_event_id=earliest", "", 1);
    check("&since=0", "", 1);
    check("&since=5", "", 6);
    check("", "5", 6);
}

#[test]
fn silence_moves_the_last_event_id_on_and_fires_nothing() {
    let server = LocalServer::start(Limits { quiet_after: Duration::from_millis(100), ..Limits::default() });
    let epoch = server.epoch();
    let mut sse = Sse::open(server.public, "/events?channel=t:a", "");
    sse.next_block();
    sse.next_block();
    let mut publisher = Publisher::connect(server.public);
    publisher.publish("t:other", "1");
    while sse.last_event_id != format!("{epoch}-1") {
        let block = sse.next_block().unwrap();
        assert_eq!(block, Block { id: Some(sse.last_event_id.clone()), ..Block::default() });
    }
    // And again and again, though nothing has happened.
    for _ in 0..3 {
        let id = format!("{epoch}-1");
        assert_eq!(sse.next_block(), Some(Block { id: Some(id), ..Block::default() }));
    }
    publisher.publish("t:a", "2");
    assert_eq!(sse.next_json()["seq"], 2);
}

#[test]
fn a_gap_is_an_event_whose_id_is_where_the_stream_goes_on() {
    let server = LocalServer::start(Limits { retain_events: 10, ..Limits::default() });
    let epoch = server.epoch();
    Publisher::connect(server.public).publish_many("t:a", 30);
    let mut sse = Sse::open(server.public, "/events?channel=t:a&since=5", "");
    let gap = sse.next_data();
    assert_eq!((gap.id.as_deref(), gap.event.as_deref()), (Some(&*format!("{epoch}-20")), Some("gap")));
    assert_eq!(gap.json(), json!({"type": "gap", "from": 6, "to": 20, "cause": "evicted", "matched": 15}));
    assert_eq!(sse.next_json()["seq"], 21);

    let mut sse = Sse::open(server.public, "/events?channel=t:a", "Last-Event-ID: other-5\r\n");
    let gap = sse.next_data();
    assert_eq!(gap.id, Some(format!("{epoch}-20")), "the oldest held minus one");
    let expected = json!({"type": "gap", "from": null, "to": null, "cause": "epoch", "old": "other-5"});
    assert_eq!(gap.json(), expected);
    assert_eq!(sse.next_json()["seq"], 21);
}

#[test]
fn bad_questions_are_refused() {
    let server = ServerProcess::start(&[]);
    let check = |query: &str, code: &str| {
        get(server.public, &format!("/events{query}")).assert_problem(400, code, query);
    };
    check("", "no_channel");
    check("?channel=", "no_channel");
    check("?channel=nonsense", "bad_channel");
    check("?channel=repo:a/b/", "bad_channel");
    check("?channel=t:a&since=x", "bad_cursor");
    check("?channel=t:a&last_event_id=-1", "bad_cursor");
    check("?channel=t:a&event_types=bogus", "unknown_event_type");
    check("?channel=t:a&event_type=push", "unknown_parameter");
    check("?channel=t:a&after=5", "unknown_parameter");
    check("?channel=t:a&workspace=a.b", "bad_workspace");
    check("?channel=t:a&last=0", "bad_last");
    check(&format!("?channel={}", "t:a,".repeat(101)), "subscription_limit");
    let mut http = Http::connect(server.public);
    http.send("GET /events?channel=t:a HTTP/1.1\r\nHost: x\r\nLast-Event-ID: no cursor\r\n\r\n");
    http.answer().assert_problem(400, "bad_cursor", "in the header");
    http.send("GET /events?channel=t:a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1");
    http.answer().assert_problem(400, "unexpected_body", "a body");
    let mut sse = Sse::open(server.public, "/events?channel=t:a", "Last-Event-ID:\r\n");
    assert!(sse.next_block().is_some(), "an empty id is none");
}

#[test]
fn a_stream_over_a_kept_connection_follows_the_answers_before_it() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    http.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /events?channel=t:a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(http.answer().status, 200);
    let head = http.head();
    assert_eq!(head.field("content-type"), Some("text/event-stream; charset=utf-8"));
}

#[test]
fn what_a_client_says_during_the_stream_is_passed_over() {
    let server = ServerProcess::start(&["--retry-spread", "0s"]);
    let mut http = Http::connect(server.public);
    http.send("GET /events?channel=t:a HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(http.head().status, 200);
    http.send("noise".repeat(100_000));
    Publisher::connect(server.public).publish("t:a", "1");
    let mut text = String::new();
    let mut reader = http.into_reader();
    while !text.ends_with("}\n\n") {
        assert_ne!(std::io::BufRead::read_line(&mut reader, &mut text).unwrap(), 0, "{text}");
    }
    assert!(text.starts_with("retry: 3000\n\nid: "), "{text}");
    assert!(!text.contains("HTTP"), "{text}");
}

#[test]
fn a_client_that_breaks_off_leaves_nothing_behind() {
    let server = ServerProcess::start(&[]);
    let mut operator = Http::connect(server.admin);
    for _ in 0..50 {
        // Request and end may arrive together: the end must be noticed all the same.
        let mut http = Http::connect(server.public);
        http.send("GET /events?channel=t:a HTTP/1.1\r\nHost: x\r\n\r\n");
        http.finish();
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

#[test]
fn streams_are_told_to_come_back_at_different_times() {
    let server = LocalServer::start(Limits::default());
    let mut times: Vec<u64> = (0..40)
        .map(|_| {
            let mut sse = Sse::open(server.public, "/events?channel=t:a", "");
            sse.next_block().unwrap().retry.unwrap().parse().unwrap()
        })
        .collect();
    times.sort_unstable();
    assert!(times.iter().all(|time| (2000..=4000).contains(time)), "{times:?}");
    times.dedup();
    assert!(20 < times.len() && 1000 < times[times.len() - 1] - times[0], "{times:?}");
}
