//! Resume: whoever comes back with a cursor gets everything after it once and in order, or is told exactly what not.

mod support;

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use fanfare::words::limits::Limits;
use serde_json::{Value, json};
use support::http::get;
use support::local::LocalServer;
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::stream::{Stream, TRANSPORTS, Transport};
use support::websocket::Client;
use support::{connect_narrow, sse::Sse};

#[test]
fn everything_after_the_cursor_follows_whatever_form_it_has() {
    let server = LocalServer::start(Limits::default());
    let epoch = server.epoch();
    let mut publisher = Publisher::connect(server.public);
    for _ in 0..3 {
        publisher.publish("t:a", "1");
        publisher.publish("t:b", "2");
        publisher.publish("t:c", "3");
    }
    let check = |channels: &str, since: &str, expected: &[u64]| {
        for transport in TRANSPORTS {
            let mut stream = Stream::open(transport, server.public, channels, since);
            stream.assert_next(expected.iter().copied());
        }
    };
    check("t:a", "0", &[1, 4, 7]);
    check("t:a", "earliest", &[1, 4, 7]);
    check("t:a", &format!("{epoch}-0"), &[1, 4, 7]);
    check("t:a", &format!("{epoch}-1"), &[4, 7]);
    check("t:a", "3", &[4, 7]);
    check("t:a", "9", &[]);
    check("t:a,t:b", &format!("{epoch}-2"), &[4, 5, 7, 8]);
    check("t:*", "5", &[6, 7, 8, 9]);
    check("*", "5", &[6, 7, 8, 9]);
}

#[test]
fn a_cursor_that_is_none_is_refused() {
    let server = LocalServer::start(Limits::default());
    for since in ["x", "-1", "1.5", "a-b-1", "18446744073709551616", "%20", "a%0A-1"] {
        for path in ["/events", "/history"] {
            let path = format!("{path}?channel=t:a&since={since}");
            get(server.public, &path).assert_problem(400, "bad_cursor", &path);
        }
        let mut client = Client::open(server.public, "/ws");
        let since = since.replace("%20", " ").replace("%0A", "\\n");
        let answer = client.ask(&format!(r#"{{"type":"subscribe","channel":"t:a","since":"{since}"}}"#));
        assert_eq!(answer["code"], "bad_cursor", "{since}");
    }
}

#[test]
fn the_subscribe_command_takes_a_cursor_as_text_or_number() {
    let server = LocalServer::start(Limits::default());
    let epoch = server.epoch();
    Publisher::connect(server.public).publish_many("t:a", 5);
    let check = |since: &str, answered: u64, first: u64| {
        let mut client = Client::open(server.public, "/ws");
        let answer = client.ask(&format!(r#"{{"type":"subscribe","channel":"t:a","since":{since}}}"#));
        assert_eq!((&answer["type"], &answer["seq"]), (&json!("subscribed"), &json!(answered)), "{since}");
        for seq in first..=5 {
            assert_eq!(client.next()["seq"], seq, "{since}");
        }
    };
    check("3", 3, 4);
    check("\"3\"", 3, 4);
    check(&format!("\"{epoch}-4\""), 4, 5);
    check("\"earliest\"", 0, 1);
    check("0", 0, 1);
}

#[test]
fn a_quiet_channels_client_gets_no_gap_however_often_the_log_has_turned_over() {
    let server = LocalServer::start(Limits { retain_events: 300, ..Limits::default() });
    let mut publisher = Publisher::connect(server.public);
    let quiet = publisher.publish("t:quiet", "1");
    for _ in 0..12 {
        // Twelve thousand events: many times the window, and many times what is held physically.
        publisher.publish_many("t:loud", 1000);
    }
    let streams: Vec<Stream> = TRANSPORTS
        .iter()
        .flat_map(|transport| {
            ["t:quiet", "t:quiet,t:unheard", "t:quiet/**", "*:x"]
                .into_iter()
                .take(2)
                .map(|channels| Stream::open(*transport, server.public, channels, &quiet.to_string()))
        })
        .collect();
    let next = publisher.publish("t:quiet", "2");
    for mut stream in streams {
        assert_eq!(stream.next_seq(), next);
    }
}

#[test]
fn a_cursor_older_than_the_window_gets_its_exact_gap_and_then_the_rest() {
    let server = LocalServer::start(Limits { retain_events: 100, ..Limits::default() });
    let mut publisher = Publisher::connect(server.public);
    publisher.publish_many("t:a", 300);
    publisher.publish_many("t:b", 50);
    let check = |channels: &str,
                 since: &str,
                 gap: Option<(u64, u64)>,
                 rest: std::ops::RangeInclusive<u64>| {
        for transport in TRANSPORTS {
            let mut stream = Stream::open(transport, server.public, channels, since);
            if let Some((from, to)) = gap {
                // All that has left was of one channel.
                let matched = to - from + 1;
                let expected =
                    json!({"type": "gap", "from": from, "to": to, "cause": "evicted", "matched": matched});
                assert_eq!(stream.next(), expected, "{channels} since {since}");
            }
            stream.assert_next(rest.clone());
        }
    };
    check("t:a", "10", Some((11, 250)), 251..=300);
    check("t:a", "249", Some((250, 250)), 251..=300);
    check("t:a", "250", None, 251..=300);
    check("t:a", "275", None, 276..=300);
    check("t:a,t:b", "10", Some((11, 250)), 251..=350);
    check("*", "0", Some((1, 250)), 251..=350);
    check("t:b", "10", None, 301..=350);
    check("t:b", "0", None, 301..=350);
    check("*", "earliest", None, 251..=350);
}

#[test]
fn a_cursor_of_another_log_or_of_the_future_gets_a_gap_without_a_range_and_everything_held() {
    let server = LocalServer::start(Limits { retain_events: 10, ..Limits::default() });
    let epoch = server.epoch();
    Publisher::connect(server.public).publish_many("t:a", 30);
    let check = |since: &str| {
        for transport in TRANSPORTS {
            let mut stream = Stream::open(transport, server.public, "t:a", since);
            let expected = json!({"type": "gap", "from": null, "to": null, "cause": "epoch", "old": since});
            assert_eq!(stream.next(), expected, "{since}");
            stream.assert_next(21..=30);
        }
    };
    check("other-7");
    check("other-18446744073709551615");
    check("31");
    check("18446744073709551615");
    check(&format!("{epoch}-31"));
}

#[test]
fn one_cursor_serves_several_channels_and_both_transports() {
    let server = ServerProcess::start(&[]);
    let mut publisher = Publisher::connect(server.public);
    let channels = ["t:a", "t:b", "t:c"];
    let mut since = String::from("0");
    let mut expected = 1;
    for round in 0..20 {
        for at in 0..7 {
            publisher.publish(channels[(round + at) % 3], "1");
        }
        let mut stream = Stream::open(TRANSPORTS[round % 2], server.public, "t:a,t:b,t:c", &since);
        // Leaves some of them for the next round.
        for _ in 0..(if round == 19 { 7 * 20 - expected as usize + 1 } else { 4 + round % 4 }) {
            assert_eq!(stream.next_seq(), expected);
            expected += 1;
        }
        since = (expected - 1).to_string();
    }
    assert_eq!(expected, 7 * 20 + 1);
}

#[test]
fn a_client_killed_and_resumed_two_hundred_times_under_load_misses_nothing_and_repeats_nothing() {
    let server = ServerProcess::start(&[]);
    let address = server.public;
    // The publisher may be so many events ahead of the reader; each event read allows one more.
    let (allowance, allowed) = channel::<()>();
    for _ in 0..500 {
        allowance.send(()).unwrap();
    }
    let publisher = std::thread::spawn(move || publish_while_allowed(address, &allowed));
    let mut found = Vec::new();
    let mut since = String::from("0");
    let mut read = |stream: &mut Stream| {
        let event = stream.next();
        assert_eq!((&event["type"], &event["channel"]), (&json!("event"), &json!("t:a")), "{event}");
        let seq = event["seq"].as_u64().unwrap();
        found.push((seq, event["data"].as_u64().unwrap()));
        // It fails when the publisher has stopped, which is the end of the test.
        let _ = allowance.send(());
        seq
    };
    for round in 0..200 {
        let mut stream = Stream::open(TRANSPORTS[round % 2], address, "t:a", &since);
        for _ in 0..(1 + round * 7 % 23) {
            since = read(&mut stream).to_string();
        }
        // Dropped in the middle of the stream, with unread bytes on the way.
    }
    let mut stream = Stream::open(Transport::WebSocket, address, "t:a", &since);
    while since != LOAD_EVENTS.to_string() {
        since = read(&mut stream).to_string();
    }
    let published = publisher.join().unwrap();
    assert_eq!(published.last().map(|(seq, _)| *seq), Some(LOAD_EVENTS));
    assert_eq!(found, published, "every event once and in order");
}

/// Events published while the client is killed and comes back: two thirds of them noise.
const LOAD_EVENTS: u64 = 9000;

/// Publishes numbered events on `t:a`, and noise before each, as far as it is allowed; returns sequence number and data
/// of each.
fn publish_while_allowed(address: std::net::SocketAddr, allowed: &Receiver<()>) -> Vec<(u64, u64)> {
    let mut publisher = Publisher::connect(address);
    let mut published = Vec::new();
    for number in 0..LOAD_EVENTS / 3 {
        allowed.recv().unwrap();
        publisher.publish_many("t:noise", 2);
        published.push((publisher.publish("t:a", &number.to_string()), number));
    }
    published
}

#[test]
fn a_slow_reader_that_was_lapped_is_told_exactly_what_and_goes_on() {
    for transport in TRANSPORTS {
        let server =
            LocalServer::start(Limits { retain_events: 64, retain_bytes: 1 << 20, ..Limits::default() });
        let mut publisher = Publisher::connect(server.public);
        let mut stream = Stream::open_over(connect_narrow(server.public), transport, "t:a", "");
        let data = vec![format!("\"{}\"", "x".repeat(1500)); 400];
        let mut first = None;
        let mut last = 0;
        // Some 24 MB on its channel while it does not read, and something else between.
        for _ in 0..40 {
            let range = publisher.publish_batch("t:a", &data);
            first.get_or_insert(range.0);
            last = range.1;
            publisher.publish_many("t:noise", 10);
        }
        let first = first.unwrap();
        let mut received = BTreeSet::new();
        let mut missing: Vec<(u64, u64)> = Vec::new();
        let mut position = first - 1;
        while position < last {
            let message = stream.next();
            if message["type"] == "gap" {
                assert_eq!(message["cause"], "lapped", "{message}");
                let (from, to) = (number(&message["from"]), number(&message["to"]));
                assert!(position < from && from <= to, "{message} after {position}");
                missing.push((from, to));
                position = to;
            } else {
                assert_eq!((&message["type"], &message["channel"]), (&json!("event"), &json!("t:a")));
                let seq = number(&message["seq"]);
                assert!(position < seq, "{seq} after {position}");
                received.insert(seq);
                position = seq;
            }
        }
        assert!(!missing.is_empty(), "it was lapped ({transport:?})");
        // What was published on the channel: 400 events, then ten of noise, and so on.
        for seq in (first..=last).filter(|seq| (seq - first) % 410 < 400) {
            let is_missing = missing.iter().any(|(from, to)| (*from..=*to).contains(&seq));
            assert_ne!(received.contains(&seq), is_missing, "{seq}: received, or in a gap, not both");
        }
        let next = publisher.publish("t:a", "1");
        assert_eq!(stream.next_seq(), next, "and goes on");
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is a number"))
}

#[test]
fn a_slow_reader_that_was_not_lapped_gets_everything() {
    for transport in TRANSPORTS {
        let server = LocalServer::start(Limits::default());
        let mut publisher = Publisher::connect(server.public);
        let mut stream = Stream::open_over(connect_narrow(server.public), transport, "t:a", "");
        let data = vec![format!("\"{}\"", "x".repeat(3000)); 200];
        let ranges: Vec<_> = (0..20).map(|_| publisher.publish_batch("t:a", &data)).collect();
        for (first, last) in ranges {
            stream.assert_next(first..=last);
        }
    }
}

#[test]
fn the_cursor_sent_in_silence_keeps_a_client_from_ageing_into_a_gap() {
    let server = LocalServer::start(Limits {
        retain_events: 50,
        quiet_after: Duration::from_millis(50),
        ..Limits::default()
    });
    let mut publisher = Publisher::connect(server.public);
    publisher.publish("t:a", "1");
    let mut sse = Sse::open(server.public, "/events?channel=t:a,t:b&since=1", "");
    publisher.publish("t:b", "2");
    assert_eq!(sse.next_json()["seq"], 2);
    publisher.publish_many("t:noise", 200);
    // The last matching event has left the window, and the client's cursor has moved past it.
    while !sse.last_event_id.ends_with("-202") {
        assert!(sse.next_block().unwrap().data.is_none());
    }
    let field = format!("Last-Event-ID: {}\r\n", sse.last_event_id);
    drop(sse);
    let mut sse = Sse::open(server.public, "/events?channel=t:a,t:b", &field);
    let next = publisher.publish("t:a", "3");
    assert_eq!(sse.next_json()["seq"], next, "no gap");
}
