//! Shutting down: everybody is told where they stand, and nothing that was accepted is lost.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::http::{Http, get, post_text};
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::sse::Sse;
use support::stream::{Stream, TRANSPORTS};
use support::websocket::{Client, Frames};
use support::{connect_narrow, wait_until};

/// A server whose drain would not end in time by its deadline.
fn start() -> ServerProcess {
    ServerProcess::start(&["--drain-timeout", "10m"])
}

#[test]
fn everybody_is_told_and_the_accepted_is_delivered() {
    let mut server = start();
    let mut publisher = Publisher::connect(server.public);
    let (client, subscribed) = Client::subscribed(server.public, "t:a");
    let epoch = subscribed["epoch"].as_str().unwrap().to_owned();
    let idle = Client::open(server.public, "/ws");
    let mut sse = Sse::open(server.public, "/events?channel=t:a", "");
    for _ in 0..20 {
        publisher.publish_many("t:a", 500);
    }
    server.signal("TERM");

    let mut next = 1;
    let (code, reason) = client.goodbye(|text| {
        let event: Value = serde_json::from_str(text).unwrap();
        assert_eq!(event["seq"], next);
        next += 1;
    });
    assert_eq!((code, reason, next), (1001, format!("{epoch}-10000"), 10_001));
    let (code, reason) = idle.goodbye(|text| panic!("{text}"));
    assert_eq!((code, reason), (1001, format!("{epoch}-10000")));

    let retry: u64 = sse.next_block().unwrap().retry.unwrap().parse().unwrap();
    assert!((2000..=4000).contains(&retry), "{retry}");
    assert!(sse.next_block().unwrap().data.is_none());
    for seq in 1..=10_000 {
        assert_eq!(sse.next_json()["seq"], seq);
    }
    let last: u64 = sse.next_block().unwrap().retry.expect("when to come back").parse().unwrap();
    assert!((3000..=6000).contains(&last), "spread over another retry time: {last}");
    assert_eq!(sse.next_block().unwrap().id, Some(format!("{epoch}-10000")));
    assert_eq!(sse.next_block(), None);

    let status = server.wait_for_end();
    assert_eq!(status.code(), Some(0));
}

/// A client that is far behind, since it has read nothing of what was published on its channel: 10,000 events.
fn client_behind(server: &ServerProcess) -> Client {
    let mut publisher = Publisher::connect(server.public);
    let mut client = Client::open_over(connect_narrow(server.public), "/ws");
    assert_eq!(client.ask(r#"{"type":"subscribe","channel":"t:a"}"#)["type"], "subscribed");
    let data = vec![format!("\"{}\"", "x".repeat(4000)); 100];
    for _ in 0..100 {
        publisher.publish_batch("t:a", &data);
    }
    client
}

#[test]
fn a_slow_client_gets_what_was_accepted_before_goodbye() {
    let mut server = start();
    let client = client_behind(&server);
    server.signal("TERM");
    server.wait_for_line("draining");
    let mut last = 0;
    let (code, reason) = client.goodbye(|text| {
        let event: Value = serde_json::from_str(text).unwrap();
        last += 1;
        assert_eq!(event["seq"], last);
    });
    assert_eq!((code, last), (1001, 10_000));
    assert!(reason.ends_with("-10000"), "{reason}");
    assert_eq!(server.wait_for_end().code(), Some(0));
}

#[test]
fn a_client_that_does_not_catch_up_in_time_is_told_its_own_position() {
    // Two seconds of the six are kept for the last words.
    let mut server = ServerProcess::start(&["--drain-timeout", "6s"]);
    let client = client_behind(&server);
    server.signal("TERM");
    server.wait_for_line("draining");
    assert!(!server.speaks_within(Duration::from_millis(4500)), "it waits for the client");
    let mut last = 0;
    let (code, reason) = client.goodbye(|text| {
        let event: Value = serde_json::from_str(text).unwrap();
        last += 1;
        assert_eq!(event["seq"], last);
    });
    assert_eq!(code, 1001);
    assert!(last < 10_000, "it was behind");
    assert!(reason.ends_with(&format!("-{last}")), "{reason}: the last event it was sent is {last}");
    assert_eq!(server.wait_for_end().code(), Some(0));
}

#[test]
fn a_publisher_in_the_middle_of_a_request_is_told_to_come_back() {
    let request = post_text("/publish/t:a", "application/json", "[1,2]");
    for length in [1, request.len() - 6, request.len() - 1] {
        let mut server = ServerProcess::start(&["--loops", "1", "--drain-timeout", "10m"]);
        let mut http = Http::connect(server.public);
        http.send(&request[..length]);
        // The only loop answers a later request, so it has read the first part of this one.
        assert_eq!(get(server.public, "/health").status, 200);
        server.signal("TERM");
        let answer = http.answer();
        answer.assert_problem(503, "draining", &request[..length]);
        assert!(answer.field("retry-after").is_some());
        http.assert_closed();
        assert_eq!(server.wait_for_end().code(), Some(0));
    }
}

#[test]
fn every_publish_is_either_answered_and_delivered_or_refused() {
    for _ in 0..5 {
        let mut server = start();
        let (client, _) = Client::subscribed(server.public, "t:a");
        let mut http = Http::connect(server.public);
        let request = post_text("/publish/t:a", "application/json", "1");
        http.send(request.repeat(10));
        for _ in 0..10 {
            assert_eq!(http.answer().status, 202);
        }
        let publishing = std::thread::spawn(move || {
            // Until the server says no, or goes.
            let mut accepted = 10;
            loop {
                if http.try_send(&request).is_err() || http.is_gone() {
                    return accepted;
                }
                let answer = http.answer();
                if answer.status != 202 {
                    answer.assert_problem(503, "draining", "the last one");
                    return accepted;
                }
                accepted += 1;
            }
        });
        server.signal("TERM");
        let mut delivered = 0;
        let (code, reason) = client.goodbye(|_| delivered += 1);
        let accepted = publishing.join().unwrap();
        assert_eq!(code, 1001);
        assert_eq!(delivered, accepted, "{reason}");
        assert!(reason.ends_with(&format!("-{accepted}")), "{reason}");
        assert_eq!(server.wait_for_end().code(), Some(0));
    }
}

#[test]
fn nobody_is_let_in_while_the_server_drains() {
    let mut server = start();
    let mut frames = Frames::open(server.public);
    server.signal("TERM");
    let goodbye = frames.next().unwrap();
    assert_eq!(goodbye.first, 0x88);
    // It has not said goodbye itself, so the server is still there.
    assert!(std::net::TcpStream::connect(server.public).is_err(), "the listener is closed");
    drop(frames);
    assert_eq!(server.wait_for_end().code(), Some(0));
}

#[test]
fn a_client_that_does_not_leave_holds_the_server_up_for_a_moment_only() {
    let mut server = start();
    let mut frames = Frames::open(server.public);
    server.signal("INT");
    assert_eq!(frames.next().unwrap().first, 0x88);
    assert_eq!(server.wait_for_end().code(), Some(0));
    assert_eq!(frames.next(), None);
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = start();
    let mut frames = Frames::open(server.public);
    server.signal("TERM");
    // Said, but not answered: the server waits for a moment.
    assert_eq!(frames.next().unwrap().first, 0x88);
    server.signal("TERM");
    server.wait_for_line("second signal");
    assert_eq!(server.wait_for_end().code(), Some(130));
}

#[test]
fn a_server_without_connections_ends_at_once() {
    let mut server = start();
    server.signal("TERM");
    server.wait_for_line("drained");
    assert_eq!(server.wait_for_end().code(), Some(0));
}

#[test]
fn a_restarted_server_tells_whoever_resumes_that_the_log_is_another() {
    let mut server = start();
    let (client, _) = Client::subscribed(server.public, "t:a");
    Publisher::connect(server.public).publish_many("t:a", 3);
    server.signal("TERM");
    let (_, cursor) = client.goodbye(|_| {});
    assert_eq!(server.wait_for_end().code(), Some(0));

    let server = start();
    Publisher::connect(server.public).publish_many("t:a", 5);
    for transport in TRANSPORTS {
        let mut stream = Stream::open(transport, server.public, "t:a", &cursor);
        let expected = json!({"type": "gap", "from": null, "to": null, "cause": "epoch", "old": cursor});
        assert_eq!(stream.next(), expected);
        stream.assert_next(1..=5);
    }
}

#[test]
fn operators_see_the_drain_to_its_end() {
    let mut server = start();
    let mut operator = Http::connect(server.admin);
    operator.send("GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(operator.answer().status, 200);
    let late = Http::connect(server.admin);
    // So far behind that the server waits for it.
    let client = client_behind(&server);
    server.signal("TERM");
    server.wait_for_line("draining");
    wait_until("the public door is closed", || std::net::TcpStream::connect(server.public).is_err());
    operator.send("GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(operator.answer().status, 503, "over a connection from before");
    for (path, status) in [("/health/ready", 503), ("/readyz", 503), ("/health/live", 200), ("/stats", 200)] {
        assert_eq!(get(server.admin, path).status, status, "{path}");
    }
    let (code, _) = client.goodbye(|_| {});
    assert_eq!(code, 1001);
    // An operator who says nothing holds nobody up.
    assert_eq!(server.wait_for_end().code(), Some(0));
    drop(late);
}

/// Clients of each transport in the test below.
const CROWD: usize = 250;

#[test]
fn a_crowd_is_told_goodbye_and_resumes_on_the_next_server() {
    let mut server = ServerProcess::start(&["--drain-timeout", "30s"]);
    let mut publisher = Publisher::connect(server.public);
    let clients: Vec<Client> = (0..CROWD).map(|_| Client::subscribed(server.public, "t:a").0).collect();
    let streams: Vec<Sse> = (0..CROWD).map(|_| Sse::open(server.public, "/events?channel=t:a", "")).collect();
    let (_, last) = publisher.publish_many("t:a", 100);
    server.signal("TERM");
    server.wait_for_line("draining");
    let mut cursors = Vec::new();
    for client in clients {
        let mut seen = 0;
        let (code, cursor) = client.goodbye(|_| seen += 1);
        assert_eq!((code, seen), (1001, last));
        cursors.push(cursor);
    }
    let mut waits = Vec::new();
    for mut stream in streams {
        let blocks: Vec<_> = std::iter::from_fn(|| stream.next_block()).collect();
        let events = blocks.iter().filter(|block| block.data.is_some()).count() as u64;
        assert_eq!(events, last);
        let [retry, cursor] = &blocks[blocks.len() - 2..] else { unreachable!() };
        waits.push(retry.retry.clone().expect("when to come back"));
        cursors.push(cursor.id.clone().expect("where it stands"));
    }
    assert!(cursors.iter().all(|cursor| cursor.ends_with(&format!("-{last}"))), "{cursors:?}");
    waits.sort_unstable();
    waits.dedup();
    assert!(CROWD / 2 < waits.len(), "they come back at different times: {} of {CROWD}", waits.len());
    assert_eq!(server.wait_for_end().code(), Some(0));

    let server = start();
    let mut streams: Vec<Stream> = (0..cursors.len())
        .map(|at| Stream::open(TRANSPORTS[at % 2], server.public, "t:a", &cursors[at]))
        .collect();
    Publisher::connect(server.public).publish_many("t:a", 3);
    for (stream, cursor) in streams.iter_mut().zip(&cursors) {
        let gap = json!({"type": "gap", "from": null, "to": null, "cause": "epoch", "old": cursor});
        assert_eq!(stream.next(), gap);
        stream.assert_next(1..=3);
    }
}
