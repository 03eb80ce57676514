//! Notifications: every endpoint, what reaches a user's open streams, and what a restart leaves.

mod support;

use std::net::SocketAddr;
use std::sync::mpsc::channel;

use fanfare::notify::Request;
use fanfare::session::settings::Settings;
use fanfare::words::limits::Limits;
use serde_json::{Value, json};
use support::http::{Http, ask, get, post, post_text, wait_for_delivery};
use support::local::LocalServer;
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::stream::{Stream, TRANSPORTS, Transport};

/// The body that notifies `user` of something of this type.
fn body(user: &str, kind: &str, title: &str) -> String {
    json!({"user_id": user, "notification_type": kind, "title": title, "body": "in #7"}).to_string()
}

/// Notifies `user` of a mention; returns the stored notification.
fn mention(address: SocketAddr, user: &str, title: &str) -> Value {
    let answer = post(address, "/notifications", &body(user, "mention", title));
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["notification"].clone()
}

fn id_of(notification: &Value) -> &str {
    notification["id"].as_str().expect("a notification has an id")
}

/// Titles of a page of notifications.
fn titles(page: &Value) -> Vec<&str> {
    page["notifications"].as_array().unwrap().iter().map(|one| one["title"].as_str().unwrap()).collect()
}

fn counts(address: SocketAddr, user: &str) -> Value {
    get(address, &format!("/notifications/count?user={user}")).json()
}

#[test]
fn a_notification_is_stored_and_answered_with_every_member() {
    let server = ServerProcess::start(&[]);
    let full = json!({
        "user_id": "alice", "notification_type": "review_requested", "title": "t", "body": "b",
        "url": "/alice/demo/pulls/7",
        "metadata": {"repo_key": "alice/demo", "pr_number": 7, "actor": "bob"},
    });
    let answer = post(server.public, "/notifications", &full.to_string());
    assert_eq!((answer.status, answer.field("cache-control")), (201, Some("no-store")));
    let document = answer.json();
    let stored = &document["notification"];
    assert_eq!(document, json!({"stored": true, "delivered": true, "unread": 1, "notification": stored}));
    let mut expected = full;
    expected["id"] = stored["id"].clone();
    expected["created_at"] = stored["created_at"].clone();
    expected["read"] = json!(false);
    assert_eq!(*stored, expected);
    assert_eq!(id_of(stored).len(), 36);
    assert!(stored["created_at"].as_u64().is_some_and(|seconds| 1_700_000_000 < seconds));
    // Who asks is not who is notified.
    let answer = post(server.public, "/notifications?user=bob", &body("carol", "mention", "t"));
    assert_eq!((answer.status, &answer.json()["notification"]["user_id"]), (201, &json!("carol")));
    assert_eq!(get(server.public, "/notifications/types?user=bob").status, 200);
    assert!(answer.text().ends_with("}\n"), "a terminal's next line is its own");
    let plain = mention(server.public, "alice", "second");
    assert_eq!((&plain["url"], &plain["metadata"]), (&Value::Null, &json!({})));
    assert_eq!(counts(server.public, "alice"), json!({"unread": 2, "total": 2}));
    assert_eq!(counts(server.public, "bob"), json!({"unread": 0, "total": 0}));
}

#[test]
fn a_list_is_newest_first_in_pages_and_may_be_of_the_unread_only() {
    let server = ServerProcess::start(&[]);
    let stored: Vec<Value> =
        ["1", "2", "3", "4", "5"].iter().map(|title| mention(server.public, "alice", title)).collect();
    ask(server.public, "POST", &format!("/notifications/{}/read?user=alice", id_of(&stored[3])), "", "");
    let check = |query: &str, expected: &[&str], more: bool| {
        let page = get(server.public, &format!("/notifications?user=alice{query}")).json();
        assert_eq!(titles(&page), expected, "{query}");
        assert_eq!((&page["unread"], &page["total"]), (&json!(4), &json!(5)), "{query}");
        assert_eq!((&page["more"], page["next"].is_string()), (&json!(more), more), "{query}");
        page["next"].as_str().unwrap_or_default().to_owned()
    };
    check("", &["5", "4", "3", "2", "1"], false);
    check("&unread=true", &["5", "3", "2", "1"], false);
    let next = check("&limit=2", &["5", "4"], true);
    let next = check(&format!("&limit=2&before={next}"), &["3", "2"], true);
    check(&format!("&limit=2&before={next}"), &["1"], false);
    check(&format!("&before={}", id_of(&stored[1])), &["1"], false);
    check("&limit=200", &["5", "4", "3", "2", "1"], false);
    let next = check("&unread=1&limit=1", &["5"], true);
    check(&format!("&unread=1&limit=1&before={next}"), &["3"], true);
}

#[test]
fn what_cannot_be_done_is_refused_with_its_code() {
    let server = ServerProcess::start(&[]);
    let of_alice = mention(server.public, "alice", "t");
    let id = id_of(&of_alice);
    let check = |method: &str, path: &str, body: &str, status: u16, code: &str| {
        let answer = ask(server.public, method, &format!("/notifications{path}"), "", body);
        answer.assert_problem(status, code, &format!("{method} {path} {body}"));
    };
    check("GET", "", "", 400, "no_user");
    check("GET", "?user=a/b", "", 400, "bad_user");
    check("GET", "?user=alice&unread=maybe", "", 400, "bad_unread");
    check("GET", "?user=alice&limit=0", "", 400, "bad_limit");
    check("GET", "?user=alice&limit=201", "", 400, "bad_limit");
    check("GET", "?user=alice&before=x", "", 400, "bad_cursor");
    check("GET", "?user=alice&onread=1", "", 400, "unknown_member");
    check("GET", "?user=alice&user=bob", "", 400, "repeated_member");
    check("POST", "", "{", 400, "bad_json");
    check("POST", "", r#"{"user_id":"alice"}"#, 400, "bad_json");
    check("POST", "", r#"["alice","mention","t","b",null,null]"#, 400, "bad_json");
    check("POST", "", &body("alice", "poke", "t"), 400, "bad_notification_type");
    check("POST", "", &body("", "mention", "t"), 400, "bad_user");
    check("POST", "", &body("alice", "mention", ""), 400, "bad_title");
    let script = json!({"user_id": "alice", "notification_type": "mention", "title": "t", "body": "",
        "url": "javascript:alert(1)"});
    check("POST", "", &script.to_string(), 400, "bad_url");
    check("POST", "/nonsense/read?user=alice", "", 400, "bad_id");
    // What belongs to somebody else does not exist.
    check("POST", &format!("/{id}/read?user=bob"), "", 404, "notification_not_found");
    check("DELETE", &format!("/{id}?user=bob"), "", 404, "notification_not_found");
    check("GET", &format!("?user=bob&before={id}"), "", 404, "notification_not_found");
    check("PUT", "/preferences?user=alice", r#"{"enabled_types":["poke"]}"#, 400, "bad_notification_type");
    check("PUT", "/preferences?user=alice", r#"{"user_id":"bob","enabled_types":[]}"#, 400, "bad_user");
    check("GET", "/", "", 404, "not_found");
    assert_eq!(counts(server.public, "alice"), json!({"unread": 1, "total": 1}));
}

#[test]
fn methods_are_those_of_the_table() {
    let server = ServerProcess::start(&[]);
    let id = "0b9cb6e4-0f6f-4f3c-9d53-3f6d1f3c2a10";
    let one = format!("/notifications/{id}");
    let read = format!("/notifications/{id}/read");
    let check = |path: &str, allowed: &str, refused: &str| {
        let answer = ask(server.public, "OPTIONS", path, "", "");
        assert_eq!((answer.status, answer.field("allow")), (204, Some(allowed)), "{path}");
        let answer = ask(server.public, refused, path, "", "");
        answer.assert_problem(405, "method_not_allowed", path);
        assert_eq!(answer.field("allow"), Some(allowed), "{path}");
    };
    check("/notifications", "GET, HEAD, POST, OPTIONS", "DELETE");
    check("/notifications/count", "GET, HEAD, OPTIONS", "POST");
    check("/notifications/types", "GET, HEAD, OPTIONS", "POST");
    check("/notifications/preferences", "GET, HEAD, PUT, OPTIONS", "POST");
    check("/notifications/read-all", "POST, OPTIONS", "GET");
    check(&read, "POST, OPTIONS", "GET");
    check(&one, "DELETE, OPTIONS", "GET");
    mention(server.public, "alice", "t");
    for path in ["/notifications?user=alice", "/notifications/count?user=alice", "/notifications/types"] {
        let head = ask(server.public, "HEAD", path, "", "");
        let whole = get(server.public, path);
        assert_eq!((head.status, whole.status), (200, 200), "{path}");
        assert_eq!(head.field("content-length"), Some(whole.body.len().to_string().as_str()), "{path}");
    }
}

#[test]
fn the_catalogue_has_twelve_types_of_which_six_are_on() {
    let server = ServerProcess::start(&[]);
    let types = get(server.public, "/notifications/types").json()["types"].clone();
    let on = |one: &&Value| one["default"] == true;
    assert_eq!(types.as_array().unwrap().len(), 12);
    assert_eq!(types.as_array().unwrap().iter().filter(on).count(), 6);
    assert_eq!(types[0], json!({"type": "mention", "label": "Mentioned", "icon": "at", "default": true}));
}

#[test]
fn what_is_seen_live_is_in_the_list_already() {
    let server = ServerProcess::start(&[]);
    for transport in TRANSPORTS {
        let mut alice = Stream::open(transport, server.public, "user:alice", "");
        let mut bob = Stream::open(transport, server.public, "user:bob", "");
        let mut sender = Http::connect(server.public);
        sender.send(post_text("/notifications", "application/json", &body("alice", "mention", "live")));
        // The stream first: whatever the sender has been told by then, the list must have it.
        let event = alice.next();
        let page = get(server.public, "/notifications?user=alice&limit=1").json();
        assert_eq!((&event["event"], &event["channel"]), (&json!("notification"), &json!("user:alice")));
        assert_eq!(event["data"], page["notifications"][0], "{transport:?}");
        assert_eq!(sender.answer().json()["notification"], event["data"], "{transport:?}");
        // Nobody else is told.
        let seq = Publisher::connect(server.public).publish("user:bob", "1");
        wait_for_delivery(server.public, seq);
        assert_eq!(bob.next()["data"], 1, "{transport:?}");
    }
}

#[test]
fn badges_of_every_open_page_follow_what_is_read_and_deleted() {
    let server = ServerProcess::start(&[]);
    let stored: Vec<Value> =
        ["1", "2", "3"].iter().map(|title| mention(server.public, "alice", title)).collect();
    // When this has been handed on, so has what was told before.
    let marker = Publisher::connect(server.public).publish("user:alice", "0");
    wait_for_delivery(server.public, marker);
    let mut streams = TRANSPORTS.map(|transport| Stream::open(transport, server.public, "user:alice", ""));
    let mut check = |method: &str, path: &str, answer: Value, kind: &str, told: Option<Value>| {
        let got = ask(server.public, method, &format!("/notifications{path}?user=alice"), "", "");
        assert_eq!((got.status, got.json()), (200, answer), "{path}");
        // What changes nothing tells nothing: a marker comes instead.
        Publisher::connect(server.public).publish("user:alice", "0");
        for stream in &mut streams {
            if let Some(told) = &told {
                let event = stream.next();
                assert_eq!((&event["event"], &event["data"]), (&json!(kind), told), "{path}");
            }
            assert_eq!(stream.next()["data"], 0, "{path}");
        }
    };
    let one = |at: usize| id_of(&stored[at]).to_owned();
    let answer = |at: usize, unread: u64| json!({"id": one(at), "unread": unread});
    let read = |at: usize| format!("/{}/read", one(at));
    check("POST", &read(0), answer(0, 2), "notification_read", Some(answer(0, 2)));
    check("POST", &read(0), answer(0, 2), "", None);
    check("DELETE", &format!("/{}", one(1)), answer(1, 1), "notification_deleted", Some(answer(1, 1)));
    let all = json!({"all": true, "unread": 0});
    check(
        "POST",
        "/read-all",
        json!({"all": true, "unread": 0, "marked": 1}),
        "notification_read",
        Some(all),
    );
    check("POST", "/read-all", json!({"all": true, "unread": 0, "marked": 0}), "", None);
    assert_eq!(counts(server.public, "alice"), json!({"unread": 0, "total": 2}));
}

#[test]
fn what_a_user_does_not_want_is_neither_stored_nor_told() {
    let server = ServerProcess::start(&[]);
    let mut alice = Stream::open(Transport::Sse, server.public, "user:alice", "");
    let preferences = "/notifications/preferences?user=alice";
    let mut check = |kind: &str, is_wanted: bool| {
        let answer = post(server.public, "/notifications", &body("alice", kind, kind));
        if is_wanted {
            assert_eq!((answer.status, &answer.json()["stored"]), (201, &json!(true)), "{kind}");
        } else {
            let disabled = json!({"stored": false, "delivered": false, "reason": "type_disabled"});
            assert_eq!((answer.status, answer.json()), (200, disabled), "{kind}");
        }
        Publisher::connect(server.public).publish("user:alice", "0");
        if is_wanted {
            assert_eq!(alice.next()["data"]["notification_type"], kind);
        }
        assert_eq!(alice.next()["data"], 0, "{kind}");
    };
    check("mention", true);
    check("push", false);
    let mut wanted = get(server.public, preferences).json();
    assert_eq!(wanted["enabled_types"].as_array().unwrap().len(), 6);
    wanted["enabled_types"] = json!(["push"]);
    // What is read may be sent back changed.
    let answer = ask(server.public, "PUT", preferences, "", &wanted.to_string());
    assert_eq!((answer.status, answer.json()), (200, wanted.clone()));
    assert_eq!(get(server.public, preferences).json(), wanted);
    check("mention", false);
    check("push", true);
    assert_eq!(counts(server.public, "alice"), json!({"unread": 2, "total": 2}));
}

#[test]
fn what_was_answered_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--data-dir", folder.path().to_str().unwrap()];
    let server = ServerProcess::start(&flags);
    let stored: Vec<Value> =
        ["1", "2", "3"].iter().map(|title| mention(server.public, "alice", title)).collect();
    let read = format!("/notifications/{}/read?user=alice", id_of(&stored[0]));
    assert_eq!(ask(server.public, "POST", &read, "", "").status, 200);
    let preferences = "/notifications/preferences?user=alice";
    let wanted =
        json!({"user_id": "alice", "enabled_types": ["push"], "email_enabled": true, "push_enabled": false});
    assert_eq!(ask(server.public, "PUT", preferences, "", &wanted.to_string()).status, 200);
    // Dropping it is SIGKILL.
    drop(server);
    let server = ServerProcess::start(&flags);
    let page = get(server.public, "/notifications?user=alice").json();
    assert_eq!((titles(&page), &page["unread"]), (vec!["3", "2", "1"], &json!(2)));
    assert_eq!(page["notifications"][1], stored[1]);
    assert_eq!(page["notifications"][2]["read"], true);
    assert_eq!(get(server.public, preferences).json(), wanted);
}

#[test]
fn without_a_folder_a_restart_forgets() {
    let server = ServerProcess::start(&[]);
    mention(server.public, "alice", "t");
    drop(server);
    let server = ServerProcess::start(&[]);
    assert_eq!(counts(server.public, "alice"), json!({"unread": 0, "total": 0}));
}

#[test]
fn pipelined_with_other_requests_they_are_answered_in_order() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    let publish = post_text("/publish/t:a", "application/json", "1");
    let notify = post_text("/notifications", "application/json", &body("alice", "mention", "t"));
    let count = "GET /notifications/count?user=alice HTTP/1.1\r\nHost: x\r\n\r\n";
    let health = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let round = format!("{publish}{notify}{publish}{count}{health}");
    http.send(round.repeat(10));
    for at in 1..=10 {
        assert!(http.answer().json()["seq"].is_u64());
        assert_eq!(http.answer().json()["unread"], at);
        assert!(http.answer().json()["seq"].is_u64());
        assert_eq!(http.answer().json(), json!({"unread": at, "total": at}));
        assert_eq!(http.answer().json()["status"], "ok");
    }
    // The last one of a connection is answered too, although nothing more is read from it.
    http.send(count.replace("Host: x", "Host: x\r\nConnection: close"));
    assert_eq!(http.answer().json(), json!({"unread": 10, "total": 10}));
    http.assert_closed();
    // And so is one whose sender has closed its half.
    let mut http = Http::connect(server.public);
    http.send(count);
    http.finish();
    assert_eq!(http.answer().json(), json!({"unread": 10, "total": 10}));
}

#[test]
fn the_oldest_leave_when_a_user_has_too_many() {
    let limits = Limits { notifications_per_user_max: 2, ..Limits::default() };
    let server = LocalServer::start(limits);
    ["1", "2", "3"].iter().for_each(|title| drop(mention(server.public, "alice", title)));
    let page = get(server.public, "/notifications?user=alice").json();
    assert_eq!((titles(&page), &page["unread"]), (vec!["3", "2"], &json!(2)));
}

#[test]
fn a_full_queue_is_answered_503_and_what_waits_is_done() {
    let limits = Limits { notification_queue_max: 2, ..Limits::default() };
    let server = LocalServer::start_with_settings(limits, 2, Settings::default());
    let handle = server.notifications();
    let (started, has_started) = channel();
    let (release, released) = channel::<()>();
    // The worker cannot go on as long as a reply of it has not returned.
    let hold = move |_| {
        started.send(()).unwrap();
        released.recv().unwrap();
    };
    handle.submit(Request::Kinds, Box::new(hold));
    has_started.recv().unwrap();
    let (done, is_done) = channel();
    for _ in 0..2 {
        let done = done.clone();
        handle.submit(Request::Kinds, Box::new(move |answer| done.send(answer.is_ok()).unwrap()));
    }
    let mut http = Http::connect(server.public);
    let count = "GET /notifications/count?user=alice HTTP/1.1\r\nHost: x\r\n\r\n";
    let notify = post_text("/notifications", "application/json", &body("alice", "mention", "t"));
    http.send(format!("{notify}{count}"));
    for what in ["to notify", "to count"] {
        let answer = http.answer();
        answer.assert_problem(503, "overloaded", what);
        let seconds: u64 = answer.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=5).contains(&seconds), "{what}: {seconds}");
    }
    // Nothing else waits for the store.
    assert_eq!(get(server.public, "/health").status, 200);
    release.send(()).unwrap();
    assert_eq!((is_done.recv(), is_done.recv()), (Ok(true), Ok(true)));
    http.send(count);
    assert_eq!(http.answer().json(), json!({"unread": 0, "total": 0}), "what was refused was not done");
}
