//! Clients of the dialect `engram`: what they rely on, and what they need no longer fear.

mod support;

use std::collections::BTreeSet;
use std::io::{BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde_json::{Value, json};
use support::http::{Http, get};
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::sse::Sse;
use support::websocket::{Client, Frames, header};
use support::{PATIENCE, connect_narrow};
use tungstenite::Message;

const EVENT_TYPES: [&str; 9] = [
    "memory_created",
    "memory_updated",
    "memory_deleted",
    "crossref_created",
    "crossref_deleted",
    "sync_started",
    "sync_completed",
    "sync_failed",
    "progress",
];

/// A server whose WebSocket clients speak this dialect without saying so.
fn start(flags: &[&str]) -> ServerProcess {
    ServerProcess::start(&[&["--dialect", "engram"], flags].concat())
}

/// A client that has said nothing yet; everything published from now on is for it.
fn client(server: &ServerProcess, path: &str) -> Client {
    let mut client = Client::open(server.public, path);
    client.settle();
    client
}

/// A client with a filter, which the server has taken.
fn filtered(server: &ServerProcess, filter: &str) -> Client {
    let mut client = client(server, "/ws");
    client.send(filter);
    client.settle();
    client
}

/// An event stream that resumes after `last`, unless that is empty.
fn stream(address: SocketAddr, query: &str, last: &str) -> Sse {
    let fields = if last.is_empty() { String::new() } else { format!("Last-Event-Id: {last}\r\n") };
    Sse::open(address, &format!("/v1/events{query}"), &fields)
}

/// The bytes of an event stream after its head.
fn raw_stream(address: SocketAddr, fields: &str) -> BufReader<TcpStream> {
    let mut http = Http::connect(address);
    http.send(format!("GET /v1/events HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
    let head = http.head();
    assert_eq!(head.status, 200);
    assert!(head.field("content-type").is_some_and(|media| media.starts_with("text/event-stream")));
    http.into_reader()
}

fn assert_bytes(reader: &mut impl Read, expected: &str) {
    let mut bytes = vec![0; expected.len()];
    reader.read_exact(&mut bytes).expect("the stream goes on");
    assert_eq!(String::from_utf8_lossy(&bytes), expected);
}

/// Publishes one event of the default workspace and returns its number.
fn publish(publisher: &mut Publisher, kind: &str, members: &str) -> u64 {
    publish_on(publisher, "memory:default", kind, members)
}

fn publish_on(publisher: &mut Publisher, channel: &str, kind: &str, members: &str) -> u64 {
    let comma = if members.is_empty() { "" } else { "," };
    let body = format!(r#"{{"channel":"{channel}","event":"{kind}"{comma}{members}}}"#);
    let answer = publisher.request("/publish", &body);
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()["seq"].as_u64().unwrap()
}

/// The text with its time, which must be one in nanoseconds and UTC, taken out.
fn without_time(text: &str) -> String {
    let (before, rest) = text.split_once(r#""timestamp":""#).expect("a time");
    let (time, after) = rest.split_once('"').expect("the end of the time");
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000000000Z");
    format!(r#"{before}"timestamp":""{after}"#)
}

fn seq_ids(sse: &mut Sse, count: usize) -> Vec<u64> {
    (0..count).map(|_| sse.next_json()["seq_id"].as_u64().expect("an event, not a gap")).collect()
}

fn health(server: &ServerProcess) -> Value {
    get(server.public, "/health").json()
}

/// Asks for the server's health until `member` says `expected`.
fn wait_for_health(server: &ServerProcess, member: &str, expected: u64) {
    let start = Instant::now();
    loop {
        let health = health(server);
        if health[member] == expected {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{member} shall be {expected}: {health}");
    }
}

// What its clients rely on.

#[test]
fn a_frame_has_every_member_in_its_order() {
    let server = start(&[]);
    let mut publisher = Publisher::connect(server.public);
    let mut named = client(&server, "/ws?dialect=engram");
    let mut unnamed = client(&server, "/ws");
    let mut check = |kind: &str, members: &str, expected: &str| {
        publish(&mut publisher, kind, members);
        assert_eq!(without_time(&unnamed.next_text()), expected);
        assert_eq!(without_time(&named.next_text()), expected);
    };
    check(
        "memory_created",
        r#""ids":[42],"data":{"preview":"hello"}"#,
        r#"{"seq_id":1,"type":"memory_created","timestamp":"","memory_id":42,"preview":"hello","changes":null,"data":null}"#,
    );
    check(
        "memory_updated",
        r#""ids":[42],"data":{"changes":["content","tags"]}"#,
        r#"{"seq_id":2,"type":"memory_updated","timestamp":"","memory_id":42,"preview":null,"changes":["content","tags"],"data":null}"#,
    );
    check(
        "memory_deleted",
        r#""ids":[42]"#,
        r#"{"seq_id":3,"type":"memory_deleted","timestamp":"","memory_id":42,"preview":null,"changes":null,"data":null}"#,
    );
    check(
        "sync_completed",
        r#""data":{"direction":"push","changes":3}"#,
        r#"{"seq_id":4,"type":"sync_completed","timestamp":"","memory_id":null,"preview":null,"changes":null,"data":{"direction":"push","changes":3}}"#,
    );
    check(
        "sync_failed",
        r#""data":{"error":"no route"}"#,
        r#"{"seq_id":5,"type":"sync_failed","timestamp":"","memory_id":null,"preview":null,"changes":null,"data":{"error":"no route"}}"#,
    );
}

#[test]
fn clients_are_counted_until_they_leave() {
    let server = start(&[]);
    let before = health(&server)["clients"].as_u64().unwrap();
    let client = client(&server, "/ws");
    wait_for_health(&server, "clients", before + 1);
    client.close();
    wait_for_health(&server, "clients", before);
    let answer = get(server.public, "/health");
    assert_eq!(answer.json()["status"], "ok");
    assert_eq!(answer.field("content-type"), Some("application/json"));
}

#[test]
fn a_filter_passes_its_type_and_blocks_others() {
    let server = start(&[]);
    let mut publisher = Publisher::connect(server.public);
    let mut client = filtered(&server, r#"{"event_types":["memory_created"]}"#);
    publish(&mut publisher, "memory_deleted", r#""ids":[1]"#);
    publish(&mut publisher, "memory_created", r#""ids":[1]"#);
    assert_eq!(client.next()["seq_id"], 2);
}

#[test]
fn events_are_numbered_from_one() {
    let server = start(&[]);
    let mut publisher = Publisher::connect(server.public);
    let mut client = client(&server, "/ws");
    for expected in 1..=3 {
        publish(&mut publisher, "memory_created", "");
        assert_eq!(client.next()["seq_id"], expected);
    }
}

#[test]
fn the_window_holds_exactly_what_it_is_told_to() {
    let check = |retain: usize, published: u64| {
        let server = start(&["--retain-events", &retain.to_string()]);
        let mut publisher = Publisher::connect(server.public);
        for _ in 0..published {
            publish(&mut publisher, "memory_created", "");
        }
        let mut sse = stream(server.public, "", "0");
        let first_held = published - retain as u64 + 1;
        let gap = sse.next_data();
        assert_eq!(gap.event.as_deref(), Some("gap"));
        assert_eq!(gap.id, Some((first_held - 1).to_string()));
        let to = first_held - 1;
        let expected = json!({"type": "gap", "from": 1, "to": to, "cause": "evicted", "matched": to});
        assert_eq!(gap.json(), expected);
        assert_eq!(seq_ids(&mut sse, retain), (first_held..=published).collect::<Vec<_>>());
        assert_eq!(publish(&mut publisher, "memory_created", ""), published + 1);
        assert_eq!(seq_ids(&mut sse, 1), [published + 1]);
    };
    check(3, 5);
    check(10, 20);
    check(0, 2);
}

#[test]
fn a_stream_resumes_after_the_number_it_is_given() {
    let server = start(&[]);
    let mut publisher = Publisher::connect(server.public);
    for _ in 0..3 {
        publish(&mut publisher, "memory_created", "");
    }
    let mut streams: Vec<(Sse, &[u64])> = [("1", &[2, 3][..]), ("0", &[1, 2, 3]), ("3", &[])]
        .map(|(last, expected)| (stream(server.public, "", last), expected))
        .into();
    // Without a number, or with what is none, nothing is repeated.
    for last in ["", "seven", "-1", "1.5"] {
        streams.push((stream(server.public, "", last), &[]));
    }
    publish(&mut publisher, "memory_created", "");
    for (mut sse, expected) in streams {
        let expected: Vec<u64> = expected.iter().copied().chain([4]).collect();
        assert_eq!(seq_ids(&mut sse, expected.len()), expected);
        assert_eq!(sse.last_event_id, "4");
    }
}

#[test]
fn a_number_past_the_head_is_told_as_a_gap_and_gets_what_is_held() {
    let server = start(&[]);
    let mut publisher = Publisher::connect(server.public);
    for _ in 0..3 {
        publish(&mut publisher, "memory_created", "");
    }
    let mut sse = stream(server.public, "", "9999");
    let gap = sse.next_data();
    assert_eq!((gap.event.as_deref(), gap.id.as_deref()), (Some("gap"), Some("0")));
    let expected = json!({"type": "gap", "from": null, "to": null, "cause": "epoch", "old": "9999"});
    assert_eq!(gap.json(), expected);
    assert_eq!(seq_ids(&mut sse, 3), [1, 2, 3]);
}

#[test]
fn event_types_of_the_query_choose_and_unknown_ones_are_refused() {
    let server = start(&[]);
    let mut publisher = Publisher::connect(server.public);
    for kind in EVENT_TYPES {
        publish(&mut publisher, kind, "");
    }
    let check = |query: &str, expected: &[&str]| {
        let mut sse = stream(server.public, query, "0");
        for kind in expected {
            let block = sse.next_data();
            assert_eq!(block.event.as_deref(), Some(*kind), "{query}");
            assert_eq!(block.json()["type"], *kind, "{query}");
        }
    };
    check("", &EVENT_TYPES);
    check("?event_types=progress", &["progress"]);
    check("?event_types=memory_deleted,progress", &["memory_deleted", "progress"]);
    check("?event_types=%20sync_failed%20,+progress", &["sync_failed", "progress"]);
    for kind in EVENT_TYPES {
        check(&format!("?event_types={kind}"), &[kind]);
    }
    for query in ["bogus", "bogus,nonsense", "memory_created,bogus", "", "%20"] {
        let path = format!("/v1/events?event_types={query}");
        get(server.public, &path).assert_problem(400, "unknown_event_type", &path);
    }
}

#[test]
fn blocks_are_exact_to_the_byte_and_retry_comes_once() {
    let server = start(&[]);
    let mut publisher = Publisher::connect(server.public);
    publish(&mut publisher, "memory_created", r#""ids":[42],"data":{"preview":"hello"}"#);
    publish(&mut publisher, "sync_started", "");
    let mut reader = raw_stream(server.public, "Last-Event-Id: 0\r\n");
    assert_bytes(
        &mut reader,
        "retry:3000\n\nevent: memory_created\ndata: {\"seq_id\":1,\"type\":\"memory_created\",\"timestamp\":\"",
    );
    let time_len = "2026-11-22T02:54:36.359050943Z".len();
    reader.read_exact(&mut vec![0; time_len]).unwrap();
    assert_bytes(
        &mut reader,
        "\",\"memory_id\":42,\"preview\":\"hello\",\"changes\":null,\"data\":null}\nid: 1\n\n\
         event: sync_started\ndata: {\"seq_id\":2,",
    );
}

#[test]
fn a_quiet_stream_is_sent_a_comment_and_nothing_else() {
    let server = start(&["--quiet-after", "50ms"]);
    let mut reader = raw_stream(server.public, "");
    assert_bytes(&mut reader, "retry:3000\n\n:\n\n:\n\n");
}

#[test]
fn what_a_text_does_to_the_filter() {
    let server = start(&[]);
    let mut publisher = Publisher::connect(server.public);
    let mut check = |texts: &[&str], is_filtered: bool| {
        let mut client = filtered(&server, r#"{"event_types":["memory_created"]}"#);
        texts.iter().for_each(|text| client.send(text));
        client.send_message(Message::binary(b"{}".as_slice()));
        client.settle();
        publish(&mut publisher, "memory_deleted", "");
        let last = publish(&mut publisher, "memory_created", "");
        let expected = if is_filtered { "memory_created" } else { "memory_deleted" };
        assert_eq!(client.next()["type"], expected, "{texts:?}");
        // The next client may sit on a loop that has not come this far.
        assert_eq!(get(server.public, &format!("/delivered?seq={last}")).status, 200);
    };
    check(&[], true);
    check(&["{}"], false);
    check(&[r#"{"event_types":["memory_deleted"]}"#], false);
    check(&[r#"{"memory_ids":[1]}"#], false);
    for ignored in [
        r#"{"foo":1}"#,
        "[null,null,null]",
        r#"{"event_types":["bogus"]}"#,
        r#"{"memory_ids":["1"]}"#,
        "[]",
        "null",
        "nonsense",
    ] {
        check(&[ignored], true);
    }
}

#[test]
fn conditions_are_joined_by_and_and_entries_by_or() {
    let server = start(&[]);
    let mut publisher = Publisher::connect(server.public);
    let filter = r#"{"event_types":["memory_created","memory_updated"],"memory_ids":[1,2]}"#;
    let mut client = filtered(&server, filter);
    let mut nothing = filtered(&server, r#"{"event_types":[]}"#);
    publish(&mut publisher, "memory_deleted", r#""ids":[1]"#);
    publish(&mut publisher, "memory_created", r#""ids":[3]"#);
    let passing = [
        publish(&mut publisher, "memory_created", r#""ids":[1]"#),
        publish(&mut publisher, "memory_updated", r#""ids":[2]"#),
    ];
    for seq in passing {
        assert_eq!(client.next()["seq_id"], seq);
    }
    // Whoever asked for no type gets nothing, until it says otherwise. The server has routed what was published before
    // it reads a second time.
    nothing.settle();
    nothing.settle();
    nothing.send("{}");
    nothing.settle();
    let next = publish(&mut publisher, "sync_started", "");
    assert_eq!(nothing.next()["seq_id"], next);
}

// What its clients need no longer fear: one test for each known defect that sockets can show.

#[test]
fn a1_a_client_that_was_overtaken_is_told_and_goes_on() {
    let server = start(&["--retain-events", "64", "--retain-bytes", "1MiB"]);
    let mut publisher = Publisher::connect(server.public);
    let mut client = Client::open_over(connect_narrow(server.public), "/ws");
    client.settle();
    let data = vec![format!("\"{}\"", "x".repeat(1500)); 400];
    let last = (0..40).map(|_| publisher.publish_batch("memory:default", &data).1).last().unwrap();
    let (mut position, mut received, mut missing) = (0, BTreeSet::new(), 0);
    while position < last {
        let frame = client.next();
        let (from, to) = match frame["type"].as_str() {
            Some("gap") => {
                assert_eq!(frame["cause"], "lapped", "{frame}");
                let (from, to) = (frame["from"].as_u64().unwrap(), frame["to"].as_u64().unwrap());
                missing += to - from + 1;
                (from, to)
            }
            _ => {
                let seq = frame["seq_id"].as_u64().unwrap();
                received.insert(seq);
                (seq, seq)
            }
        };
        assert_eq!(from, position + 1, "every number is received or named: {frame}");
        position = to;
    }
    assert!(0 < missing, "it was overtaken");
    assert_eq!(received.len() as u64 + missing, last);
    let next = publish(&mut publisher, "memory_created", "");
    assert_eq!(client.next()["seq_id"], next);
}

#[test]
fn a2_every_goodbye_is_answered_and_leaves_nothing_behind() {
    let server = start(&[]);
    let mut publisher = Publisher::connect(server.public);
    let before = health(&server)["connections"].as_u64().unwrap();
    let clients: Vec<Client> = (0..20).map(|_| client(&server, "/ws")).collect();
    clients.into_iter().for_each(Client::close);
    wait_for_health(&server, "connections", before);
    publish(&mut publisher, "memory_created", "");
}

#[test]
fn a4_every_receiver_gets_every_event_in_one_order() {
    const PUBLISHERS: usize = 4;
    const EACH: usize = 250;
    let server = start(&[]);
    let mut clients: Vec<Client> = (0..3).map(|_| client(&server, "/ws")).collect();
    let mut sse = stream(server.public, "", "");
    let address = server.public;
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|_| {
            std::thread::spawn(move || {
                let mut publisher = Publisher::connect(address);
                for _ in 0..EACH {
                    publish(&mut publisher, "memory_created", "");
                }
            })
        })
        .collect();
    let all: Vec<u64> = (1..=(PUBLISHERS * EACH) as u64).collect();
    for client in &mut clients {
        let seen: Vec<u64> = all.iter().map(|_| client.next()["seq_id"].as_u64().unwrap()).collect();
        assert_eq!(seen, all);
    }
    assert_eq!(seq_ids(&mut sse, all.len()), all);
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    let mut replay = stream(server.public, "", "0");
    assert_eq!(seq_ids(&mut replay, all.len()), all);
}

#[test]
fn a5_resuming_under_load_neither_loses_nor_repeats() {
    let server = start(&[]);
    let address = server.public;
    let publisher = std::thread::spawn(move || {
        let mut publisher = Publisher::connect(address);
        for _ in 0..100 {
            publisher.publish_many("memory:default", 100);
        }
    });
    let mut last = 0;
    while last < 10_000 {
        let mut sse = stream(server.public, "", &last.to_string());
        for _ in 0..200 {
            last += 1;
            assert_eq!(seq_ids(&mut sse, 1), [last]);
        }
    }
    publisher.join().unwrap();
}

#[test]
fn a6_a_number_from_before_a_restart_is_told_as_a_gap() {
    let before = start(&[]);
    let mut publisher = Publisher::connect(before.public);
    for _ in 0..3 {
        publish(&mut publisher, "memory_created", "");
    }
    let mut sse = stream(before.public, "", "0");
    seq_ids(&mut sse, 3);
    drop(before);
    let after = start(&[]);
    publish(&mut Publisher::connect(after.public), "memory_created", "");
    let mut sse = stream(after.public, "", &sse.last_event_id);
    assert_eq!(sse.next_data().event.as_deref(), Some("gap"));
    assert_eq!(seq_ids(&mut sse, 1), [1]);
}

#[test]
fn a7_an_applications_ping_leaves_the_filter_alone() {
    let server = start(&[]);
    let mut publisher = Publisher::connect(server.public);
    let mut client = filtered(&server, r#"{"memory_ids":[7]}"#);
    client.send(r#"{"type":"ping"}"#);
    client.settle();
    publish(&mut publisher, "memory_created", r#""ids":[1]"#);
    let wanted = publish(&mut publisher, "memory_created", r#""ids":[7]"#);
    assert_eq!(client.next()["seq_id"], wanted);
}

#[test]
fn a9_a16_a_workspace_gets_its_own_events_and_no_others() {
    let server = start(&[]);
    let mut publisher = Publisher::connect(server.public);
    let mut default = client(&server, "/ws");
    let mut team = client(&server, "/ws?workspace=team");
    let mut spelled = client(&server, "/ws?workspace=%20TEAM%20");
    let mut default_stream = stream(server.public, "", "");
    let mut team_stream = stream(server.public, "?workspace=Team", "");
    // A synchronisation's events say nothing of a workspace in their data.
    let ours = publish_on(&mut publisher, "memory:team", "sync_started", "");
    let theirs = publish_on(&mut publisher, "memory:default", "memory_created", "");
    for client in [&mut team, &mut spelled] {
        assert_eq!(client.next()["seq_id"], ours);
    }
    assert_eq!(seq_ids(&mut team_stream, 1), [ours]);
    assert_eq!(default.next()["seq_id"], theirs);
    assert_eq!(seq_ids(&mut default_stream, 1), [theirs]);
    let next = publish_on(&mut publisher, "memory:team", "memory_created", "");
    assert_eq!(team.next()["seq_id"], next);
    assert_eq!(seq_ids(&mut team_stream, 1), [next]);
    for workspace in ["", "_x", "a/b", "a%20b", "*", &"x".repeat(65)] {
        let path = format!("/v1/events?workspace={workspace}");
        get(server.public, &path).assert_problem(400, "bad_workspace", &path);
    }
}

#[test]
fn a10_tags_are_looked_at_and_events_without_a_memory_pass_a_filter_for_memories() {
    let server = start(&[]);
    let mut publisher = Publisher::connect(server.public);
    let mut tagged = filtered(&server, r#"{"tags":["red","blue"]}"#);
    let mut about = filtered(&server, r#"{"memory_ids":[7]}"#);
    let plain = publish(&mut publisher, "sync_started", "");
    publish(&mut publisher, "memory_created", r#""ids":[1],"tags":["green"]"#);
    let blue = publish(&mut publisher, "memory_created", r#""ids":[7],"tags":["green","blue"]"#);
    assert_eq!(tagged.next()["seq_id"], blue);
    assert_eq!(about.next()["seq_id"], plain);
    assert_eq!(about.next()["seq_id"], blue);
}

#[test]
fn a15_sockets_are_pinged_and_streams_are_counted() {
    let server = start(&["--ping-every", "50ms"]);
    let before = health(&server)["connections"].as_u64().unwrap();
    let sse = stream(server.public, "", "");
    wait_for_health(&server, "connections", before + 1);
    let mut client = Client::open(server.public, "/ws");
    assert!(matches!(client.next_message(), Message::Ping(_)));
    drop((sse, client));
    wait_for_health(&server, "connections", before);
}

#[test]
fn a16_every_message_over_the_bound_ends_with_its_own_code() {
    let server = start(&[]);
    for length in [(1 << 20) + 1, 1 << 24, 1 << 40] {
        let mut frames = Frames::open(server.public);
        frames.send(&header(0x81, length));
        assert_eq!(frames.close_code(), 1009, "{length}");
    }
}
