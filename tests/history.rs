//! `GET /history`: pages, gaps, and what it refuses.

mod support;

use fanfare::words::limits::Limits;
use serde_json::{Value, json};
use support::http::{Answer, Http, get};
use support::local::LocalServer;
use support::process::ServerProcess;
use support::publisher::Publisher;

fn seqs(answer: &Answer) -> Vec<u64> {
    answer.json()["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

/// The last part of a cursor.
fn seq_of(cursor: &Value) -> u64 {
    cursor.as_str().unwrap().rsplit_once('-').unwrap().1.parse().unwrap()
}

#[test]
fn pages_follow_one_another_until_there_is_no_more() {
    let server = ServerProcess::start(&[]);
    let mut publisher = Publisher::connect(server.public);
    for _ in 0..25 {
        publisher.publish("t:a", "1");
        publisher.publish("t:b", "2");
    }
    let mut after = String::from("0");
    let mut found = Vec::new();
    for page in 0.. {
        let answer = get(server.public, &format!("/history?channel=t:a&limit=10&after={after}"));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("content-type"), Some("application/json"));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        let document = answer.json();
        assert_eq!(document["complete"], true);
        assert!(document.get("gap").is_none());
        found.extend(seqs(&answer));
        after = document["next"].as_str().unwrap().to_owned();
        if document["more"] == false {
            break;
        }
        assert_eq!(seqs(&answer).len(), 10, "page {page} is full");
        assert!(page < 5, "pages come to an end");
    }
    assert_eq!(found, (0..25).map(|at| 2 * at + 1).collect::<Vec<u64>>());
}

#[test]
fn channels_patterns_and_cursors() {
    let server = ServerProcess::start(&[]);
    let mut publisher = Publisher::connect(server.public);
    publisher.publish("t:a", "1");
    publisher.publish("t:a/b", "2");
    publisher.publish("u:a", "3");
    publisher.publish_kind("repo:o/r", "pr_opened", "4");
    publisher.publish_kind("repo:o/r", "push", "5");
    let check = |query: &str, expected: &[u64]| {
        assert_eq!(seqs(&get(server.public, &format!("/history?{query}"))), expected, "{query}");
    };
    check("channel=t:a", &[1, 2]);
    check("channel=t:a/b", &[2]);
    check("channel=t:a&channel=u:a", &[1, 2, 3]);
    check("channel=t:a,u:a", &[1, 2, 3]);
    check("channel=t:a&channel=t:*", &[1, 2]);
    check("channel=t:none", &[]);
    check("channel=*", &[1, 2, 3, 4, 5]);
    check("channel=repo:o/r", &[4, 5]);
    check("channel=repo:o/r/prs", &[4]);
    check("channel=*&after=2", &[3, 4, 5]);
    check("channel=*&after=2&limit=2", &[3, 4]);
    check("channel=*&after=5", &[]);
    check("channel=*&since=4", &[5]);
    check("channel=*&after=earliest&limit=1", &[1]);
}

#[test]
fn the_newest_that_do_not_fit_are_still_ahead() {
    let server = ServerProcess::start(&[]);
    Publisher::connect(server.public).publish_many("t:a", 9);
    let check = |query: &str, expected: &[u64], more: bool, next: u64| {
        let answer = get(server.public, &format!("/history?channel=t:a&{query}"));
        let document = answer.json();
        assert_eq!(seqs(&answer), expected, "{query}");
        assert_eq!((&document["more"], seq_of(&document["next"])), (&json!(more), next), "{query}");
    };
    check("last=4", &[6, 7, 8, 9], false, 9);
    check("last=4&limit=4", &[6, 7, 8, 9], false, 9);
    check("last=4&limit=3", &[6, 7, 8], true, 8);
    check("last=20", &[1, 2, 3, 4, 5, 6, 7, 8, 9], false, 9);
}

#[test]
fn the_events_are_those_of_the_stream() {
    let server = ServerProcess::start(&[]);
    let (mut client, _) = support::websocket::Client::subscribed(server.public, "t:a");
    Publisher::connect(server.public).publish("t:a", r#"{"n":1.0,"n":2}"#);
    let event = client.next_text();
    let history = get(server.public, "/history?channel=t:a");
    assert!(history.text().starts_with(&format!("{{\"events\":[{event}],")), "{}", history.text());
}

#[test]
fn what_has_left_the_window_is_a_gap_and_the_rest_follows() {
    let server = LocalServer::start(Limits { retain_events: 100, ..Limits::default() });
    let mut publisher = Publisher::connect(server.public);
    publisher.publish_many("t:a", 300);
    publisher.publish_many("t:b", 50);
    let epoch = server.epoch();
    let check = |query: &str, gap: Value, first: u64, count: usize| {
        let answer = get(server.public, &format!("/history?limit=1000&{query}"));
        let found = seqs(&answer);
        assert_eq!((found.first(), found.len()), (Some(&first), count), "{query}");
        let document = answer.json();
        assert_eq!(document["complete"], gap.is_null(), "{query}");
        assert_eq!(document.get("gap").cloned().unwrap_or_default(), gap, "{query}");
        assert_eq!(seq_of(&document["next"]), 350, "{query}");
    };
    let evicted = json!({"type": "gap", "from": 11, "to": 250, "cause": "evicted", "matched": 240});
    check("channel=t:a&after=10", evicted, 251, 50);
    check("channel=t:a&after=250", Value::Null, 251, 50);
    check("channel=t:a&after=260", Value::Null, 261, 40);
    // Nothing of this channel is missing, however much else is.
    check("channel=t:b&after=10", Value::Null, 301, 50);
    let foreign = json!({"type": "gap", "from": null, "to": null, "cause": "epoch", "old": "abc-7"});
    check("channel=*&after=abc-7", foreign, 251, 100);
    let future = json!({"type": "gap", "from": null, "to": null, "cause": "epoch", "old": "351"});
    check("channel=*&after=351", future, 251, 100);
    let future =
        json!({"type": "gap", "from": null, "to": null, "cause": "epoch", "old": format!("{epoch}-9999")});
    check(&format!("channel=*&after={epoch}-9999"), future, 251, 100);
    check(&format!("channel=*&after={epoch}-349"), Value::Null, 350, 1);
}

#[test]
fn a_page_is_bounded_in_bytes_but_has_at_least_one_event() {
    let server = LocalServer::start(Limits { history_bytes_max: 1000, ..Limits::default() });
    let mut publisher = Publisher::connect(server.public);
    let large = format!("\"{}\"", "x".repeat(2000));
    publisher.publish_batch("t:a", &[large.clone(), large, "1".into(), "2".into()]);
    let check = |after: u64, expected: &[u64], more: bool| {
        let answer = get(server.public, &format!("/history?channel=t:a&after={after}"));
        assert_eq!(seqs(&answer), expected, "after {after}");
        assert_eq!(answer.json()["more"], more, "after {after}");
        assert_eq!(seq_of(&answer.json()["next"]), *expected.last().unwrap(), "after {after}");
    };
    check(0, &[1], true);
    check(1, &[2], true);
    check(2, &[3, 4], false);
}

#[test]
fn bad_questions_are_refused() {
    let server = ServerProcess::start(&[]);
    let check = |query: &str, code: &str| {
        get(server.public, &format!("/history{query}")).assert_problem(400, code, query);
    };
    check("", "no_channel");
    check("?channel=", "no_channel");
    check("?channel=nonsense", "bad_channel");
    check("?channel=t:a&after=-1", "bad_cursor");
    check("?channel=t:a&after=abc", "bad_cursor");
    check("?channel=t:a&after=18446744073709551616", "bad_cursor");
    check("?channel=t:a&limit=0", "bad_limit");
    check("?channel=t:a&limit=1001", "bad_limit");
    check("?channel=t:a&limit=x", "bad_limit");
    check("?channel=t:a&event_types=bogus", "unknown_event_type");
    check("?channel=t:a&last=0", "bad_last");
    check("?channel=t:a&workspace=_x", "bad_workspace");
    check("?channel=%zz", "bad_escape");
    let many = "t:a,".repeat(101);
    check(&format!("?channel={many}"), "subscription_limit");
}

#[test]
fn a_head_request_has_the_length_and_no_body() {
    let server = ServerProcess::start(&[]);
    Publisher::connect(server.public).publish("t:a", "1");
    let mut http = Http::connect(server.public);
    http.send("HEAD /history?channel=t:a HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = http.answer_to("HEAD");
    let whole = get(server.public, "/history?channel=t:a");
    assert_eq!(head.field("content-length"), Some(whole.body.len().to_string().as_str()));
}

#[test]
fn without_a_window_there_is_no_history_but_a_gap() {
    let server = LocalServer::start(Limits { retain_events: 0, ..Limits::default() });
    let mut publisher = Publisher::connect(server.public);
    publisher.publish_many("t:a", 3);
    let document = get(server.public, "/history?channel=t:a&after=0").json();
    assert_eq!(document["events"], json!([]));
    assert_eq!(document["gap"], json!({"type": "gap", "from": 1, "to": 3, "cause": "evicted", "matched": 3}));
    let document = get(server.public, "/history?channel=t:a&after=3").json();
    assert_eq!(document["complete"], true);
}

#[test]
fn the_newest_of_each_channel_may_be_asked_for() {
    let server = ServerProcess::start(&[]);
    let mut publisher = Publisher::connect(server.public);
    publisher.publish("t:a", "1");
    publisher.publish_many("t:b", 5);
    publisher.publish("t:a/c", "1");
    publisher.publish("u:a", "1");
    let check = |query: &str, expected: &[u64], more: bool| {
        let answer = get(server.public, &format!("/history?{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        assert_eq!(seqs(&answer), expected, "{query}");
        let document = answer.json();
        assert_eq!((&document["complete"], &document["more"]), (&json!(true), &json!(more)), "{query}");
        document["next"].as_str().unwrap().to_owned()
    };
    check("channel=t:*&last=1", &[1, 6, 7], false);
    check("channel=t:*&last=2", &[1, 5, 6, 7], false);
    check("channel=t:b&last=3", &[4, 5, 6], false);
    check("channel=t:b&last=99", &[2, 3, 4, 5, 6], false);
    check("channel=t:none&last=1", &[], false);
    check("channel=t:a,u:a&last=1", &[1, 7, 8], false);
    // What does not fit into one answer is not lost: it is in the next.
    let next = check("channel=t:*&last=2&limit=3", &[1, 5, 6], true);
    check(&format!("channel=t:*&after={next}"), &[7], false);
    get(server.public, "/history?channel=t:a&last=1&since=1").assert_problem(400, "bad_last", "both");
}

#[test]
fn events_after_a_time_may_be_asked_for() {
    let server = ServerProcess::start(&[]);
    let mut publisher = Publisher::connect(server.public);
    publisher.publish("t:a", "1");
    let stamp = |seq: u64| {
        let answer = get(server.public, &format!("/history?channel=*&after={}&limit=1", seq - 1));
        answer.json()["events"][0]["timestamp"].as_u64().unwrap()
    };
    let first = stamp(1);
    let mut seq = 1;
    support::wait_until("the clock goes on", || {
        seq = publisher.publish("t:b", "1");
        first < stamp(seq)
    });
    let last = publisher.publish("t:a", "2");
    let check = |query: &str, expected: &[u64]| {
        let answer = get(server.public, &format!("/history?channel=t:a&{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        assert_eq!(seqs(&answer), expected, "{query}");
        assert_eq!(answer.json()["complete"], true, "{query}");
    };
    check("after_time=0", &[1, last]);
    check(&format!("after_time={}", first - 1), &[1, last]);
    check(&format!("after_time={first}"), &[last]);
    check(&format!("after_time={}", stamp(last)), &[]);
    check("after_time=2020-01-01T00:00:00Z", &[1, last]);
    check("after_time=2100-01-01T00:00:00.5Z", &[]);
    check(&format!("after_time={first}&last=9"), &[last]);
    check(&format!("after_time={}&last=9", stamp(last)), &[]);
    // The later of the two counts.
    check("after_time=0&after=1", &[last]);
    check(&format!("after_time={first}&after=0"), &[last]);
    for text in ["noon", "-1", "2020-01-01"] {
        let answer = get(server.public, &format!("/history?channel=t:a&after_time={text}"));
        answer.assert_problem(400, "bad_time", text);
    }
}

#[test]
fn earliest_is_everything_held() {
    let server = LocalServer::start(Limits { retain_events: 10, ..Limits::default() });
    Publisher::connect(server.public).publish_many("t:a", 30);
    for query in ["", "&since=earliest", "&after=earliest"] {
        let answer = get(server.public, &format!("/history?channel=t:a{query}"));
        assert_eq!(seqs(&answer), (21..=30).collect::<Vec<u64>>(), "{query}");
        assert_eq!(answer.json()["complete"], true, "nobody asked for more than there is");
    }
}

#[test]
fn what_is_too_old_leaves_and_is_told_as_a_gap() {
    let server = ServerProcess::start(&["--retain-age", "300ms"]);
    let mut publisher = Publisher::connect(server.public);
    publisher.publish_many("t:a", 3);
    support::wait_until("they have left", || get(server.admin, "/stats").json()["oldest"] == 4);
    let gap = json!({"type": "gap", "from": 2, "to": 3, "cause": "evicted", "matched": 2});
    let document = get(server.public, "/history?channel=t:a&after=1").json();
    assert_eq!((&document["events"], &document["gap"]), (&json!([]), &gap));
    for (at, transport) in support::stream::TRANSPORTS.into_iter().enumerate() {
        let published = 4 + at as u64;
        support::wait_until("all have left", || get(server.admin, "/stats").json()["oldest"] == published);
        let mut stream = support::stream::Stream::open(transport, server.public, "t:a", "1");
        let to = published - 1;
        let gap = json!({"type": "gap", "from": 2, "to": to, "cause": "evicted", "matched": to - 1});
        assert_eq!(stream.next(), gap, "{transport:?}");
        let seq = publisher.publish("t:a", "1");
        stream.assert_next([seq]);
    }
}
