//! Workspaces: nobody sees, nor hears of, the events of a workspace that it did not name.

mod support;

use fanfare::words::limits::Limits;
use serde_json::{Value, json};
use support::collect::{ask, history, open, talkative, upto};
use support::http::get;
use support::local::LocalServer;
use support::publisher::Publisher;
use support::sse::Sse;
use support::stream::{Stream, TRANSPORTS, Transport};
use support::websocket::Client;

/// What is published, in this order: channel and workspace, if any is said.
const EVENTS: &[(&str, &str)] = &[
    ("t:a", ""),
    ("t:a", "w1"),
    ("t:a", "w2"),
    ("t:a/b", "W1 "),
    ("memory:w1", ""),
    ("memory:w1", "w1"),
    ("memory:w2/x", ""),
    ("repo:o/r", "w2"),
    ("repo:o/r", ""),
];

fn publish_events(publisher: &mut Publisher) -> u64 {
    let mut last = 0;
    for (channel, workspace) in EVENTS {
        let member = format!(r#","workspace":"{workspace}""#);
        let member = if workspace.is_empty() { "" } else { &member };
        let body = format!(r#"{{"channel":"{channel}","event":"pr_opened"{member}}}"#);
        let answer = publisher.request("/publish", &body);
        assert_eq!(answer.status, 202, "{}", answer.text());
        last = answer.json()["seq"].as_u64().unwrap();
    }
    last
}

const CASES: &[(&str, &[u64])] = &[
    ("channel=t:a", &[1]),
    ("channel=t:a&workspace=w1", &[2, 4]),
    ("channel=t:a&workspace=W1", &[2, 4]),
    ("channel=t:a&workspace=w2", &[3]),
    ("channel=t:a&workspace=w3", &[]),
    ("channel=t:a&workspace=*", &[1, 2, 3, 4]),
    ("channel=t:*", &[1]),
    ("channel=t:*&workspace=w1", &[2, 4]),
    ("channel=t:a/*&workspace=w1", &[4]),
    ("channel=*", &[1, 9]),
    ("channel=*&workspace=w1", &[2, 4, 5, 6]),
    ("channel=*&workspace=w2", &[3, 7, 8]),
    ("channel=*&workspace=*", &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ("channel=memory:w1", &[5, 6]),
    ("channel=memory:w1&workspace=w1", &[5, 6]),
    ("channel=memory:w1&workspace=w2", &[]),
    ("channel=memory:w1&workspace=*", &[5, 6]),
    ("channel=memory:w2", &[7]),
    ("channel=memory:*", &[]),
    ("channel=memory:*&workspace=w1", &[5, 6]),
    ("channel=memory:*&workspace=*", &[5, 6, 7]),
    ("channel=repo:o/r/prs", &[9]),
    ("channel=repo:*/r/prs&workspace=w2", &[8]),
];

#[test]
fn events_of_a_workspace_reach_those_who_name_it_and_nobody_else() {
    let server = LocalServer::start(talkative());
    let mut live: Vec<(Transport, &str, Stream, &[u64])> = Vec::new();
    for (query, expected) in CASES {
        for transport in TRANSPORTS {
            live.push((transport, query, open(transport, server.public, query), expected));
        }
    }
    let last = publish_events(&mut Publisher::connect(server.public));
    for (transport, query, stream, expected) in &mut live {
        assert_eq!(upto(stream, last).0, *expected, "{transport:?} live, {query}");
    }
    for (query, expected) in CASES {
        let (seqs, document) = history(server.public, query);
        assert_eq!((&seqs[..], &document["complete"]), (*expected, &json!(true)), "history, {query}");
        for (transport, since) in
            TRANSPORTS.into_iter().flat_map(|transport| [(transport, 0), (transport, 4)])
        {
            let mut stream = open(transport, server.public, &format!("{query}&since={since}"));
            let (seqs, gaps) = upto(&mut stream, last);
            let expected: Vec<u64> = expected.iter().copied().filter(|seq| since < *seq).collect();
            assert_eq!((seqs, gaps), (expected, vec![]), "{transport:?} since {since}, {query}");
        }
        let mut newest = history(server.public, &format!("{query}&last=1")).0;
        newest.retain(|seq| !expected.contains(seq));
        assert_eq!(newest, [0; 0], "the newest, {query}");
    }
}

#[test]
fn one_connection_looks_into_several_workspaces_where_its_subscriptions_say_so() {
    let server = LocalServer::start(talkative());
    let mut client = Client::open(server.public, "/ws");
    ask(&mut client, r#"{"type":"subscribe","channel":"t:a","filter":{"workspace":"w1"}}"#);
    ask(&mut client, r#"{"type":"subscribe","channel":"memory:w2"}"#);
    ask(&mut client, r#"{"type":"subscribe","channel":"repo:o/r"}"#);
    let mut publisher = Publisher::connect(server.public);
    let last = publish_events(&mut publisher);
    let mut stream = Stream::WebSocket(client);
    assert_eq!(upto(&mut stream, last).0, [2, 4, 7, 9]);
    // A workspace of the connection's own is one that all must agree with.
    let Stream::WebSocket(client) = &mut stream else { unreachable!("it was opened as one") };
    assert_eq!(ask(client, r#"{"type":"filter","filter":{"workspace":"w2"}}"#)["type"], "filtered");
    let later = publish_events(&mut publisher);
    assert_eq!(upto(&mut stream, later).0, [last + 7, last + 8]);
}

#[test]
fn a_channel_that_belongs_to_a_workspace_belongs_to_no_other() {
    let server = LocalServer::start(Limits::default());
    let mut publisher = Publisher::connect(server.public);
    let body = r#"{"channel":"memory:w1","event":"memory_created","workspace":"w2"}"#;
    assert_eq!(publisher.request("/publish", body).status, 400);
    for workspace in ["_w", "a.b", "*", ""] {
        let body = format!(r#"{{"channel":"t:a","event":"k","workspace":"{workspace}"}}"#);
        publisher.request("/publish", &body).assert_problem(400, "bad_workspace", workspace);
    }
    for path in ["/ws", "/events", "/history"] {
        let path = format!("{path}?channel=t:a&workspace=_w");
        get(server.public, &path).assert_problem(400, "bad_workspace", &path);
    }
    assert_eq!(history(server.public, "channel=*&workspace=*").0, [0; 0], "nothing was published");
}

#[test]
fn what_another_workspace_loses_is_no_gap() {
    let server = LocalServer::start(Limits { retain_events: 100, ..talkative() });
    let mut publisher = Publisher::connect(server.public);
    let batch = |workspace: &str, count: usize| {
        let member = format!(r#","workspace":"{workspace}""#);
        let member = if workspace.is_empty() { "" } else { &member };
        let event = format!(r#"{{"channel":"t:a","event":"k"{member}}}"#);
        format!("[{}]", vec![event; count].join(","))
    };
    let mut publish = |workspace: &str, count: usize| {
        let answer = publisher.request("/publish", &batch(workspace, count));
        assert_eq!(answer.status, 202, "{}", answer.text());
    };
    publish("w1", 500);
    publish("w2", 3);
    publish("", 2);
    let last = 505;
    let check = |query: &str, gap: Option<(u64, u64)>, expected: &[u64]| {
        for transport in TRANSPORTS {
            let mut stream = open(transport, server.public, &format!("{query}&since=0"));
            let (seqs, gaps) = upto(&mut stream, last);
            assert_eq!(seqs, expected, "{transport:?} {query}");
            let told: Vec<(Value, Value)> =
                gaps.iter().map(|gap| (gap["from"].clone(), gap["to"].clone())).collect();
            let gap: Vec<(Value, Value)> =
                gap.into_iter().map(|(from, to)| (from.into(), to.into())).collect();
            assert_eq!(told, gap, "{transport:?} {query}");
        }
        let (seqs, document) = history(server.public, &format!("{query}&after=0"));
        assert_eq!((&seqs[..], &document["complete"]), (expected, &json!(gap.is_none())), "history {query}");
    };
    let of_w1: Vec<u64> = (406..=500).collect();
    check("channel=t:a&workspace=w1", Some((1, 405)), &of_w1);
    check("channel=t:*&workspace=w2", None, &[501, 502, 503]);
    check("channel=*&workspace=w2", None, &[501, 502, 503]);
    check("channel=t:a", None, &[504, 505]);
    check("channel=*", None, &[504, 505]);
    check("channel=*&workspace=w3", None, &[]);
}

#[test]
fn a_client_of_the_dialect_engram_sees_its_workspace_alone() {
    let server = LocalServer::start(Limits::default());
    let mut streams: Vec<(Sse, Client, [u64; 2])> = [("w1", [5, 6]), ("w2", [7, 16])]
        .into_iter()
        .map(|(workspace, expected)| {
            let sse = Sse::open(server.public, &format!("/v1/events?workspace={workspace}"), "");
            let mut client =
                Client::open(server.public, &format!("/ws?dialect=engram&workspace={workspace}"));
            client.settle();
            (sse, client, expected)
        })
        .collect();
    let mut publisher = Publisher::connect(server.public);
    publish_events(&mut publisher);
    publish_events(&mut publisher);
    for (sse, client, expected) in &mut streams {
        for seq in expected {
            assert_eq!(sse.next_json()["seq_id"], *seq);
            assert_eq!(client.next()["seq_id"], *seq);
        }
    }
}
