//! Clients of the dialect `guts`: what they rely on, and what they need no longer fear.

mod support;

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};
use support::http::get;
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::sse::Sse;
use support::websocket::Client;
use support::{PATIENCE, connect_narrow};
use tungstenite::Message;

const KINDS: [&str; 23] = [
    "push",
    "branch_created",
    "branch_deleted",
    "tag_created",
    "tag_deleted",
    "pr_opened",
    "pr_closed",
    "pr_merged",
    "pr_updated",
    "pr_reopened",
    "pr_review",
    "pr_comment",
    "issue_opened",
    "issue_closed",
    "issue_reopened",
    "issue_updated",
    "issue_comment",
    "label_added",
    "label_removed",
    "repo_created",
    "repo_updated",
    "collaborator_added",
    "collaborator_removed",
];

const WS: &str = "/ws?dialect=guts";

fn start() -> ServerProcess {
    ServerProcess::start(&[])
}

/// A client that is subscribed to `channel`.
fn subscribed(server: &ServerProcess, channel: &str) -> Client {
    let mut client = Client::open(server.public, WS);
    subscribe(&mut client, channel);
    client
}

fn subscribe(client: &mut Client, channel: &str) {
    client.send(&format!(r#"{{"type":"subscribe","channel":"{channel}"}}"#));
    assert_eq!(client.next_text(), format!(r#"{{"type":"subscribed","channel":"{channel}"}}"#));
}

fn stats(server: &ServerProcess) -> Value {
    let answer = get(server.public, "/api/realtime/stats");
    assert_eq!(answer.status, 200);
    answer.json()
}

/// Asks for `path` until its JSON's `pointer` says `expected`.
fn wait_for(server: &ServerProcess, path: &str, pointer: &str, expected: u64) {
    let start = Instant::now();
    loop {
        let document = get(server.public, path).json();
        if document.pointer(pointer) == Some(&json!(expected)) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{pointer} shall be {expected}: {document}");
    }
}

fn is_uuid(text: &str) -> bool {
    let shape: String =
        text.chars().map(|c| if matches!(c, '0'..='9' | 'a'..='f') { 'x' } else { c }).collect();
    shape == "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
        && &text[14..15] == "4"
        && matches!(&text[19..20], "8" | "9" | "a" | "b")
}

// What its clients rely on.

#[test]
fn commands_have_their_exact_answers() {
    let server = start();
    let mut client = Client::open(server.public, WS);
    let mut check = |command: &str, expected: &str| {
        client.send(command);
        assert_eq!(client.next_text(), expected, "{command}");
    };
    let subscribed = r#"{"type":"subscribed","channel":"repo:alice/myrepo"}"#;
    let unsubscribed = r#"{"type":"unsubscribed","channel":"repo:alice/myrepo"}"#;
    check(r#"{"type":"subscribe","channel":"repo:alice/myrepo"}"#, subscribed);
    check(r#"{"type":"subscribe","channel":"repo:alice/myrepo"}"#, subscribed);
    check(r#"{"type":"unsubscribe","channel":"repo:alice/myrepo"}"#, unsubscribed);
    check(r#"{"type":"unsubscribe","channel":"repo:alice/myrepo"}"#, unsubscribed);
    check(
        r#"{"type":"subscribe","channel":"repo:alice/myrepo/prs","extra":[{}]}"#,
        &subscribed.replace("myrepo", "myrepo/prs"),
    );
    check(r#"{"type":"ping"}"#, r#"{"type":"pong"}"#);
    check(r#"["ping"]"#, r#"{"type":"pong"}"#);
}

#[test]
fn refusals_have_their_fixed_texts_and_never_end_the_connection() {
    let server = start();
    let mut client = Client::open(server.public, WS);
    let mut check = |command: &str, expected: &str| {
        let answer = client.ask(command);
        let message = answer["message"].as_str().unwrap_or_default();
        assert_eq!(answer, json!({"type": "error", "message": message}), "no other members");
        assert!(message.starts_with(expected), "{command}: {message}");
    };
    let mut check_channel = |channel: &str, expected: &str| {
        let command = format!(r#"{{"type":"subscribe","channel":"{channel}"}}"#);
        check(&command, &format!("invalid channel: {expected}"));
    };
    check_channel("invalid", "missing channel type prefix: invalid");
    check_channel("all", "missing channel type prefix: all");
    check_channel("", "missing channel type prefix: ");
    check_channel("unknown:test", "unknown channel type: unknown");
    check_channel("REPO:a/b", "unknown channel type: REPO");
    check_channel(" repo:a/b", "unknown channel type:  repo");
    check_channel("repo:", "repository channel requires owner/name format: ");
    check_channel("repo:onlyname", "repository channel requires owner/name format: onlyname");
    check_channel("user:", "channel identifier cannot be empty: ");
    check_channel("org:", "channel identifier cannot be empty: ");
    check_channel("user:/x", "channel identifier cannot be empty: ");
    for text in ["nonsense", "{}", "[]", "null", r#"{"type":"dance"}"#, r#"{"type":"subscribe"}"#] {
        check(text, "Invalid message format: ");
    }
    client.send_message(Message::binary(b"{\"type\":\"ping\"}".as_slice()));
    client.settle();
}

#[test]
fn an_event_reaches_its_subscriber_and_nobody_else() {
    let server = start();
    let mut publisher = Publisher::connect(server.public);
    let mut alice = subscribed(&server, "repo:alice/myrepo");
    let mut bob = subscribed(&server, "repo:bob/other");
    publisher.publish_kind("repo:alice/myrepo", "pr_opened", r#"{"number":1.0,"title":"\u00e9"}"#);
    publisher.publish_kind("repo:bob/other", "push", "null");

    let text = alice.next_text();
    let event: Value = serde_json::from_str(&text).unwrap();
    let (id, seconds) = (event["event_id"].as_str().unwrap(), event["timestamp"].as_u64().unwrap());
    assert!(is_uuid(id), "{id}");
    assert!((1_700_000_000..10_000_000_000).contains(&seconds), "seconds, not milliseconds: {seconds}");
    let expected = format!(
        r#"{{"type":"event","channel":"repo:alice/myrepo","event":"pr_opened","data":{{"number":1.0,"title":"\u00e9"}},"timestamp":{seconds},"event_id":"{id}"}}"#
    );
    assert_eq!(text, expected);
    assert_eq!(bob.next()["event"], "push");
}

#[test]
fn the_publishers_own_id_is_kept_and_ours_is_the_same_for_everyone() {
    let server = start();
    let mut publisher = Publisher::connect(server.public);
    let mut clients = [subscribed(&server, "user:alice"), subscribed(&server, "user:alice")];
    let body = r#"{"channel":"user:alice","event":"push","event_id":"mine"}"#;
    assert_eq!(publisher.request("/publish", body).status, 202);
    publisher.publish("user:alice", "1");
    publisher.publish("user:alice", "2");
    let ids = clients.each_mut().map(|client| [0; 3].map(|_| client.next()["event_id"].clone()));
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[0][0], "mine");
    assert_ne!(ids[0][1], ids[0][2]);
}

#[test]
fn connections_subscriptions_and_events_are_counted() {
    let server = start();
    let mut publisher = Publisher::connect(server.public);
    let mut client = subscribed(&server, "repo:a/b");
    publisher.publish("repo:a/b", "1");
    client.next();
    let expected = json!({"current_connections": 1, "total_connections": 1, "total_subscriptions": 1, "total_events": 1});
    assert_eq!(stats(&server), expected);

    subscribe(&mut client, "repo:a/b");
    publisher.publish("repo:nobody/listens", "2");
    client.send(r#"{"type":"unsubscribe","channel":"repo:a/b"}"#);
    client.next();
    let expected = json!({"current_connections": 1, "total_connections": 1, "total_subscriptions": 1, "total_events": 2});
    assert_eq!(stats(&server), expected);

    client.close();
    wait_for(&server, "/api/realtime/stats", "/current_connections", 0);
    assert_eq!(stats(&server)["total_connections"], 1);
}

#[test]
fn an_ended_subscription_delivers_nothing_more() {
    let server = start();
    let mut publisher = Publisher::connect(server.public);
    let mut client = subscribed(&server, "repo:a/b");
    subscribe(&mut client, "repo:a/c");
    client.send(r#"{"type":"unsubscribe","channel":"repo:a/b"}"#);
    assert_eq!(client.next()["type"], "unsubscribed");
    publisher.publish("repo:a/b", "1");
    publisher.publish("repo:a/c", "2");
    assert_eq!(client.next()["data"], 2);
}

#[test]
fn subscriptions_match_their_channel_and_what_is_below_it() {
    let server = start();
    let mut publisher = Publisher::connect(server.public);
    let mut check = |subscriptions: &[&str], channel: &str, is_match: bool| {
        let mut client = Client::open(server.public, WS);
        subscriptions.iter().for_each(|channel| subscribe(&mut client, channel));
        subscribe(&mut client, "user:sentinel");
        publisher.publish(channel, "1");
        publisher.publish("user:sentinel", "2");
        let expected = if is_match { vec![1, 2] } else { vec![2] };
        for data in expected {
            assert_eq!(client.next()["data"], data, "{subscriptions:?} {channel}");
        }
    };
    check(&["repo:a/b"], "repo:a/b", true);
    check(&["repo:a/b"], "repo:a/b/prs", true);
    check(&["repo:a/b"], "repo:a/b/issues", true);
    check(&["repo:a/b/prs"], "repo:a/b/prs", true);
    check(&["repo:a/b/prs"], "repo:a/b/issues", false);
    check(&["repo:a/b/prs"], "repo:a/b", false);
    check(&["repo:a/b"], "repo:a/bc", false);
    check(&["user:a"], "org:a", false);
    check(&["org:acme"], "org:acme", true);
    // Once, however many subscriptions match.
    check(&["repo:a/b", "repo:a/b/prs"], "repo:a/b/prs", true);
}

#[test]
fn the_101st_subscription_is_refused_and_what_is_held_may_be_asked_for_again() {
    let server = start();
    let mut client = Client::open(server.public, WS);
    for number in 0..100 {
        subscribe(&mut client, &format!("user:u{number}"));
    }
    client.send(r#"{"type":"subscribe","channel":"user:one_more"}"#);
    let refusal = r#"{"type":"error","message":"subscription limit exceeded: max 100 subscriptions"}"#;
    assert_eq!(client.next_text(), refusal);
    subscribe(&mut client, "user:u7");
    client.send(r#"{"type":"unsubscribe","channel":"user:u7"}"#);
    client.next();
    subscribe(&mut client, "user:one_more");
}

#[test]
fn the_sub_protocol_chooses_the_dialect_too() {
    let server = start();
    let (mut client, chosen) = Client::open_protocol(server.public, "/ws", "guts");
    assert_eq!(chosen.as_deref(), Some("guts"));
    client.send(r#"{"type":"ping"}"#);
    assert_eq!(client.next_text(), r#"{"type":"pong"}"#);
}

#[test]
fn health_has_the_members_that_probes_look_for() {
    let server = start();
    for path in ["/health", "/health/live", "/health/startup"] {
        let answer = get(server.public, path);
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("ok")), "{path}");
    }
    let ready = get(server.public, "/health/ready").json();
    assert_eq!(ready["checks"]["realtime"]["status"], "up");
    let before = ready["checks"]["realtime"]["details"]["connections"].as_u64().unwrap();
    let _client = Client::open(server.public, WS);
    wait_for(&server, "/health/ready", "/checks/realtime/details/connections", before + 1);
}

#[test]
fn every_kind_is_delivered_in_snake_case_however_it_was_published() {
    let server = start();
    let mut publisher = Publisher::connect(server.public);
    let mut client = subscribed(&server, "repo:a/b");
    for kind in KINDS {
        for spelling in [kind.to_owned(), kind.replacen('_', ".", 1)] {
            publisher.publish_kind("repo:a/b", &spelling, "{}");
            assert_eq!(client.next()["event"], kind, "{spelling}");
        }
    }
}

// Its client library and its load test.

#[test]
fn the_client_librarys_stream_is_unnamed_and_has_its_members() {
    let server = start();
    let mut publisher = Publisher::connect(server.public);
    for path in ["/api/events?channel=repo:a/b&token=t", "/ws/subscribe?channel=repo:a/b&token=t"] {
        let mut sse = Sse::open(server.public, path, "");
        let seq = publisher.publish_kind("repo:a/b", "push", r#"{"commit_count":3}"#);
        let block = sse.next_data();
        assert_eq!(block.event, None, "onmessage hears only what has no name");
        let id = block.id.clone().unwrap();
        assert!(id.ends_with(&format!("-{seq}")), "{id}");
        let event = block.json();
        let (time, uuid) = (event["timestamp"].as_str().unwrap(), event["event_id"].as_str().unwrap());
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z");
        assert!(is_uuid(uuid));
        let expected = format!(
            r#"{{"type":"push","channel":"repo:a/b","payload":{{"commit_count":3}},"timestamp":"{time}","data":{{"commit_count":3}},"event_id":"{uuid}","seq":{seq}}}"#
        );
        assert_eq!(block.data, Some(expected), "{path}");
    }
}

#[test]
fn the_client_librarys_stream_knows_all_and_refuses_what_is_no_channel() {
    let server = start();
    let mut publisher = Publisher::connect(server.public);
    let mut sse = Sse::open(server.public, "/api/events?channel=all", "");
    for channel in ["repo:a/b", "user:alice", "org:acme"] {
        publisher.publish(channel, "1");
        assert_eq!(sse.next_json()["channel"], channel);
    }
    for channel in ["invalid", "unknown:test", "repo:only", "user:"] {
        let path = format!("/api/events?channel={channel}");
        get(server.public, &path).assert_problem(400, "bad_channel", &path);
    }
    get(server.public, "/api/events").assert_problem(400, "no_channel", "no channel");
}

#[test]
fn the_client_librarys_stream_resumes_and_is_told_of_gaps() {
    let server = ServerProcess::start(&["--retain-events", "2"]);
    let mut publisher = Publisher::connect(server.public);
    let mut sse = Sse::open(server.public, "/api/events?channel=repo:a/b", "");
    let first = publisher.publish("repo:a/b", "1");
    sse.next_json();
    let cursor = format!("Last-Event-ID: {}\r\n", sse.last_event_id);
    drop(sse);
    for data in ["2", "3"] {
        publisher.publish("repo:a/b", data);
    }
    let mut sse = Sse::open(server.public, "/api/events?channel=repo:a/b", &cursor);
    assert_eq!(sse.next_json()["data"], 2);
    assert_eq!(sse.next_json()["data"], 3);
    drop(sse);
    publisher.publish("repo:a/b", "4");
    let mut sse = Sse::open(server.public, "/api/events?channel=repo:a/b", &cursor);
    let gap = sse.next_data();
    assert_eq!(gap.event, None);
    let missing = first + 1;
    let expected = json!({"type": "gap", "from": missing, "to": missing, "cause": "evicted", "matched": 1});
    assert_eq!(gap.json(), expected);
    assert_eq!(sse.next_json()["data"], 3);
}

#[test]
fn the_load_tests_socket_takes_a_bare_repository() {
    let server = start();
    let mut publisher = Publisher::connect(server.public);
    let mut clients: Vec<Client> = (0..20).map(|_| Client::open(server.public, "/api/events")).collect();
    for client in &mut clients {
        client.send(r#"{"type":"subscribe","repository":"alice/demo"}"#);
        assert_eq!(client.next_text(), r#"{"type":"subscribed","channel":"alice/demo"}"#);
    }
    publisher.publish("repo:alice/demo", "1");
    for client in &mut clients {
        let event = client.next();
        assert_eq!((&event["type"], &event["channel"]), (&json!("event"), &json!("repo:alice/demo")));
    }
}

// What its clients need no longer fear: one test for each known defect that sockets can show.

#[test]
fn b3_b5_a_slow_client_is_told_what_it_missed_and_goes_on() {
    let server = ServerProcess::start(&["--retain-events", "64", "--retain-bytes", "1MiB"]);
    let mut publisher = Publisher::connect(server.public);
    let mut client = Client::open_over(connect_narrow(server.public), WS);
    subscribe(&mut client, "repo:a/b");
    let pad = "x".repeat(1500);
    let mut last = 0;
    for batch in 0..40 {
        let data: Vec<String> =
            (1..=400).map(|at| format!(r#"{{"n":{},"pad":"{pad}"}}"#, batch * 400 + at)).collect();
        last = publisher.publish_batch("repo:a/b", &data).1;
    }
    // Nothing else was published, so that the numbers in the data are those in the log.
    let (mut position, mut gaps) = (0, 0);
    while position < last {
        let frame = client.next();
        let (from, to) = if frame["type"] == "error" {
            gaps += 1;
            let message = frame["message"].as_str().unwrap();
            let range = message.strip_prefix("events ").unwrap();
            let range = range.strip_suffix(" were not delivered: lapped").expect(message);
            let (from, to) = range.split_once(" to ").expect(message);
            (from.parse().unwrap(), to.parse().unwrap())
        } else {
            let n = frame["data"]["n"].as_u64().unwrap();
            (n, n)
        };
        assert_eq!(from, position + 1, "every event is received or named");
        assert!(from <= to);
        position = to;
    }
    assert!(0 < gaps, "it was overtaken");
    publisher.publish("repo:a/b", r#"{"n":0}"#);
    assert_eq!(client.next()["data"]["n"], 0);
}

#[test]
fn b6_everyone_gets_events_in_the_same_order() {
    const PUBLISHERS: usize = 3;
    const EACH: usize = 200;
    let server = start();
    let mut clients: Vec<Client> = (0..5).map(|_| subscribed(&server, "repo:a/b")).collect();
    let address = server.public;
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|number| {
            std::thread::spawn(move || {
                let mut publisher = Publisher::connect(address);
                for at in 0..EACH {
                    publisher.publish("repo:a/b", &format!("[{number},{at}]"));
                }
            })
        })
        .collect();
    let orders: BTreeSet<Vec<String>> = clients
        .iter_mut()
        .map(|client| (0..PUBLISHERS * EACH).map(|_| client.next()["data"].to_string()).collect())
        .collect();
    assert_eq!(orders.len(), 1);
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
}

#[test]
fn b8_pull_requests_and_issues_of_a_repository_reach_their_sub_channels() {
    let server = start();
    let mut publisher = Publisher::connect(server.public);
    let mut requests = subscribed(&server, "repo:a/b/prs");
    let mut issues = subscribed(&server, "repo:a/b/issues");
    let mut whole = subscribed(&server, "repo:a/b");
    for kind in ["push", "pr_opened", "issue_opened", "pr_merged", "issue_comment"] {
        publisher.publish_kind("repo:a/b", kind, "{}");
        let event = whole.next();
        assert_eq!((&event["event"], &event["channel"]), (&json!(kind), &json!("repo:a/b")));
    }
    for (client, kinds) in
        [(&mut requests, ["pr_opened", "pr_merged"]), (&mut issues, ["issue_opened", "issue_comment"])]
    {
        for kind in kinds {
            let event = client.next();
            assert_eq!((&event["event"], &event["channel"]), (&json!(kind), &json!("repo:a/b")));
        }
    }
}

#[test]
fn b9_names_with_holes_are_refused() {
    let server = start();
    let mut client = Client::open(server.public, WS);
    for channel in
        ["repo:/", "repo:a/", "repo:/b", "repo:a/b/", "repo:a/b//c", "user:a/b", "org:a/b", "repo:a b/c"]
    {
        let answer = client.ask(&format!(r#"{{"type":"subscribe","channel":"{channel}"}}"#));
        assert_eq!(answer["type"], "error", "{channel}");
    }
    let long = format!("repo:a/{}", "b".repeat(256));
    assert_eq!(client.ask(&format!(r#"{{"type":"subscribe","channel":"{long}"}}"#))["type"], "error");
}

#[test]
fn b12_clients_are_pinged() {
    let server = ServerProcess::start(&["--ping-every", "50ms"]);
    let mut client = Client::open(server.public, WS);
    assert!(matches!(client.next_message(), Message::Ping(_)));
}

#[test]
fn b13_what_was_accepted_comes_before_goodbye() {
    let mut server = ServerProcess::start(&["--drain-timeout", "10m"]);
    let mut publisher = Publisher::connect(server.public);
    let client = subscribed(&server, "repo:a/b");
    for _ in 0..10 {
        publisher.publish_many("repo:a/b", 500);
    }
    server.signal("TERM");
    let mut count = 0;
    let (code, _) = client.goodbye(|text| {
        let event: Value = serde_json::from_str(text).unwrap();
        assert_eq!(event["data"], count % 500);
        count += 1;
    });
    assert_eq!((code, count), (1001, 5000));
    assert_eq!(server.wait_for_end().code(), Some(0));
}
