//! Filters: the same over either transport and in history, replayed and live; changed at a number that is told.

mod support;

use std::thread;

use fanfare::words::limits::Limits;
use serde_json::{Value, json};
use support::collect::{ask, history, open, subscribed, talkative, upto};
use support::http::get;
use support::local::LocalServer;
use support::publisher::Publisher;
use support::stream::{Stream, TRANSPORTS};
use support::websocket::Client;

/// What is published, in this order, on `t:a`: kind, ids, tags.
const EVENTS: &[(&str, &str, &str)] = &[
    ("push", "[]", "[]"),
    ("push", r#"["a"]"#, r#"["red"]"#),
    ("pr.opened", r#"["a","b"]"#, r#"["blue"]"#),
    ("pr_closed", "[7]", r#"["red","blue"]"#),
    ("acme.deployed", "[]", r#"["red"]"#),
];

fn publish_events(publisher: &mut Publisher) -> u64 {
    let mut last = 0;
    for (kind, ids, tags) in EVENTS {
        let body = format!(r#"{{"channel":"t:a","event":"{kind}","ids":{ids},"tags":{tags}}}"#);
        let answer = publisher.request("/publish", &body);
        assert_eq!(answer.status, 202, "{}", answer.text());
        last = answer.json()["seq"].as_u64().unwrap();
    }
    last
}

/// A filter in a query, in a command, and the events that pass.
type Case = (&'static str, &'static str, &'static [u64]);

const CASES: &[Case] = &[
    ("", "{}", &[1, 2, 3, 4, 5]),
    ("event_types=push", r#"{"event_types":["push"]}"#, &[1, 2]),
    ("event_types=pr_opened,pr.closed", r#"{"event_types":["pr.opened","pr_closed"]}"#, &[3, 4]),
    ("event_types=push&event_types=acme.deployed", r#"{"event_types":["push","acme.deployed"]}"#, &[1, 2, 5]),
    ("event_types=", r#"{"event_types":[]}"#, &[]),
    ("ids=a", r#"{"ids":["a"]}"#, &[2, 3]),
    ("ids=7,b", r#"{"ids":[7,"b"]}"#, &[3, 4]),
    ("ids=", r#"{"ids":[]}"#, &[]),
    ("ids=&without_ids=1", r#"{"ids":[],"without_ids":true}"#, &[1, 5]),
    ("ids=7&without_ids=1", r#"{"ids":["7"],"without_ids":true}"#, &[1, 4, 5]),
    ("tags=red", r#"{"tags":["red"]}"#, &[2, 4, 5]),
    ("tags=blue,green", r#"{"tags":["blue","green"]}"#, &[3, 4]),
    ("tags=", r#"{"tags":[]}"#, &[]),
    ("event_types=push&tags=red", r#"{"event_types":["push"],"tags":["red"]}"#, &[2]),
    (
        "ids=a,7&tags=red&event_types=pr_closed",
        r#"{"ids":["a",7],"tags":["red"],"event_types":["pr_closed"]}"#,
        &[4],
    ),
    ("workspace=w", r#"{"workspace":"w"}"#, &[]),
    ("workspace=*&tags=red", r#"{"workspace":"*","tags":["red"]}"#, &[2, 4, 5]),
];

#[test]
fn a_filter_lets_the_same_through_wherever_it_stands() {
    let server = LocalServer::start(talkative());
    let mut live: Vec<(String, Stream, &[u64])> = Vec::new();
    for (query, object, expected) in CASES {
        for transport in TRANSPORTS {
            let stream = open(transport, server.public, &format!("channel=t:a&{query}"));
            live.push((format!("{transport:?} live, {query}"), stream, expected));
        }
        let mut client = Client::open(server.public, "/ws");
        let answer =
            ask(&mut client, &format!(r#"{{"type":"subscribe","channel":"t:a","filter":{object}}}"#));
        assert_eq!(answer["type"], "subscribed", "{object}: {answer}");
        live.push((format!("a subscription with {object}"), Stream::WebSocket(client), expected));
        let mut client = subscribed(server.public, "t:a");
        let answer = ask(&mut client, &format!(r#"{{"type":"filter","filter":{object},"id":1}}"#));
        assert_eq!((&answer["type"], &answer["id"]), (&json!("filtered"), &json!(1)), "{object}: {answer}");
        live.push((format!("a connection with {object}"), Stream::WebSocket(client), expected));
    }
    let last = publish_events(&mut Publisher::connect(server.public));
    for (what, stream, expected) in &mut live {
        assert_eq!(upto(stream, last).0, *expected, "{what}");
    }
    for (query, _, expected) in CASES {
        for transport in TRANSPORTS {
            let mut stream = open(transport, server.public, &format!("channel=t:a&since=0&{query}"));
            let (seqs, gaps) = upto(&mut stream, last);
            assert_eq!((&seqs[..], &gaps[..]), (*expected, &[] as &[Value]), "{transport:?} again, {query}");
        }
        let (seqs, document) = history(server.public, &format!("channel=t:a&{query}"));
        assert_eq!((&seqs[..], &document["complete"]), (*expected, &json!(true)), "history, {query}");
    }
}

#[test]
fn a_filter_that_means_nothing_is_an_error_and_not_everything() {
    let server = LocalServer::start(talkative());
    let mut client = subscribed(server.public, "t:a");
    ask(&mut client, r#"{"type":"filter","filter":{"event_types":["push"]}}"#);
    let check = |query: &str, code: &str| {
        for path in ["/ws", "/events", "/history"] {
            let path = format!("{path}?channel=t:a&{query}");
            get(server.public, &path).assert_problem(400, code, &path);
        }
    };
    check("event_types=pr_opend", "unknown_event_type");
    check("event_types=push,bogus", "unknown_event_type");
    check("event_type=push", "unknown_parameter");
    check("tag=red", "unknown_parameter");
    check("workspace=a%20b", "bad_workspace");
    let mut check = |filter: &str, code: &str| {
        for command in ["\"type\":\"filter\"", "\"type\":\"subscribe\",\"channel\":\"t:b\""] {
            let answer = ask(&mut client, &format!(r#"{{{command},"filter":{filter}}}"#));
            assert_eq!(
                (&answer["type"], &answer["code"]),
                (&json!("error"), &json!(code)),
                "{filter}: {answer}"
            );
        }
    };
    check(r#"{"event_types":["pr_opend"]}"#, "unknown_event_type");
    check(r#"{"event_type":["push"]}"#, "bad_filter");
    check(r#"{"tags":"red"}"#, "bad_filter");
    check(r#"{"ids":[1.5]}"#, "bad_filter");
    check(r#"{"workspace":"a b"}"#, "bad_workspace");
    check("[]", "bad_filter");
    // What was there before is there still.
    let last = publish_events(&mut Publisher::connect(server.public));
    assert_eq!(upto(&mut Stream::WebSocket(client), last).0, [1, 2]);
}

#[test]
fn a_filter_changes_at_the_number_that_is_told() {
    const COUNT: u64 = 600;
    let server = LocalServer::start(talkative());
    let mut client = subscribed(server.public, "t:a");
    let address = server.public;
    let publisher = thread::spawn(move || {
        let mut publisher = Publisher::connect(address);
        for number in 0..COUNT {
            let kind = if number % 3 == 0 { "push" } else { "pr_opened" };
            publisher.publish_kind("t:a", kind, "1");
        }
    });
    // In the middle of it all: the filter is asked for when the first events have come.
    let mut seen = Vec::new();
    let mut changed_at = None;
    while seen.last() != Some(&(COUNT - 2)) {
        let message = client.next();
        match message["type"].as_str().unwrap() {
            "event" => seen.push(message["seq"].as_u64().unwrap()),
            "filtered" => changed_at = message["seq"].as_u64(),
            _ => {}
        }
        if seen.len() == 20 && changed_at.is_none() {
            client.send(r#"{"type":"filter","filter":{"event_types":["push"]}}"#);
            changed_at = Some(0);
        }
    }
    publisher.join().unwrap();
    let changed_at = changed_at.filter(|seq| 20 <= *seq).expect("the filter is answered");
    let expected: Vec<u64> = (1..=COUNT - 2).filter(|seq| *seq <= changed_at || (seq - 1) % 3 == 0).collect();
    assert_eq!(seen, expected, "changed after {changed_at}");
}

#[test]
fn a_subscription_and_its_connection_both_filter_and_another_subscription_does_not_care() {
    let server = LocalServer::start(talkative());
    let mut client = Client::open(server.public, "/ws?tags=red");
    ask(&mut client, r#"{"type":"subscribe","channel":"t:a","filter":{"event_types":["push"]}}"#);
    ask(&mut client, r#"{"type":"subscribe","channel":"t:b"}"#);
    let mut publisher = Publisher::connect(server.public);
    let mut publish = |channel: &str, kind: &str, tag: &str| {
        let body = format!(r#"{{"channel":"{channel}","event":"{kind}","tags":["{tag}"]}}"#);
        publisher.request("/publish", &body).json()["seq"].as_u64().unwrap()
    };
    for channel in ["t:a", "t:b"] {
        for kind in ["push", "pr_opened"] {
            for tag in ["red", "blue"] {
                publish(channel, kind, tag);
            }
        }
    }
    let mut stream = Stream::WebSocket(client);
    assert_eq!(upto(&mut stream, 8).0, [1, 5, 7]);
    // Its own filter goes when it is asked for again without one.
    let Stream::WebSocket(client) = &mut stream else { unreachable!("it was opened as one") };
    assert_eq!(ask(client, r#"{"type":"subscribe","channel":"t:a"}"#)["type"], "subscribed");
    let last = publish("t:a", "pr_opened", "red");
    assert_eq!(upto(&mut stream, last).0, [last]);
}

#[test]
fn fifty_connections_with_filters_of_their_own_share_a_channel() {
    const CONNECTIONS: usize = 50;
    // Some have the same filter, and share what is worked out for it.
    const FILTERS: usize = 20;
    let server = LocalServer::start(talkative());
    let mut streams: Vec<Stream> = (0..CONNECTIONS)
        .map(|at| {
            let query = format!("channel=t:a&tags=t{}", at % FILTERS);
            open(TRANSPORTS[at % 2], server.public, &query)
        })
        .collect();
    let mut publisher = Publisher::connect(server.public);
    let mut expected = vec![Vec::new(); FILTERS];
    let mut last = 0;
    for number in 0..8 {
        // As a batch, so that many filters look at the same turn's run.
        let events: Vec<String> = (0..FILTERS)
            .map(|tag| {
                let other = (tag + number) % FILTERS;
                format!(r#"{{"channel":"t:a","event":"k","tags":["t{tag}","t{other}"]}}"#)
            })
            .collect();
        let answer = publisher.request("/publish", &format!("[{}]", events.join(",")));
        let first = answer.json()["first"].as_u64().expect("a batch is published whole");
        for tag in 0..FILTERS {
            last = first + tag as u64;
            let other = (tag + number) % FILTERS;
            expected[tag].push(last);
            if other != tag {
                expected[other].push(last);
            }
        }
    }
    expected.iter_mut().for_each(|seqs| seqs.sort_unstable());
    for (at, stream) in streams.iter_mut().enumerate() {
        assert_eq!(upto(stream, last).0, expected[at % FILTERS], "connection {at}");
    }
}

#[test]
fn the_filters_of_a_connection_have_a_bound_together() {
    let server = LocalServer::start(Limits { filter_bytes_max: 20_000, ..Limits::default() });
    let mut client = Client::open(server.public, "/ws");
    let filter = |first: u32| {
        let tags: Vec<String> = (first..first + 30).map(|number| format!("\"{number:0200}\"")).collect();
        format!(r#"{{"tags":[{}]}}"#, tags.join(","))
    };
    let subscribe = |channel: &str, filter: &str| {
        format!(r#"{{"type":"subscribe","channel":"{channel}","filter":{filter}}}"#)
    };
    // About 6,500 bytes each.
    for number in 0..3 {
        assert_eq!(client.ask(&subscribe(&format!("t:{number}"), &filter(number)))["type"], "subscribed");
    }
    let refused = client.ask(&subscribe("t:3", &filter(3)));
    assert_eq!((&refused["type"], &refused["code"]), (&"error".into(), &"filter_limit".into()));
    let set = format!(r#"{{"type":"filter","filter":{}}}"#, filter(4));
    assert_eq!(client.ask(&set)["code"], "filter_limit");
    let list = client.ask(r#"{"type":"list"}"#);
    assert_eq!(list["channels"], json!(["t:0", "t:1", "t:2"]), "nothing was done");
    // One that takes the place of another, and one that goes, make room.
    assert_eq!(client.ask(&subscribe("t:0", &filter(5)))["type"], "subscribed");
    assert_eq!(client.ask(r#"{"type":"unsubscribe","channel":"t:1"}"#)["type"], "unsubscribed");
    assert_eq!(client.ask(&set)["type"], "filtered");
    assert_eq!(client.ask(&set)["type"], "filtered", "in its own place");
}
