//! What the authority denies is denied on every path that leads there, nothing of it happens, and the connection lives
//! on.

mod support;

use std::sync::Arc;

use fanfare::session::auth::Known;
use fanfare::session::authority::{Act, Authority, Denied, Principal};
use fanfare::session::hooks::{Secrets, Source};
use fanfare::session::policy::{InForce, Policy};
use fanfare::session::request::Door;
use fanfare::session::settings::Settings;
use fanfare::wire::http::RequestHead;
use fanfare::words::limits::Limits;
use fanfare::words::workspace::Scope;
use serde_json::{Value, json};
use support::http::{Http, ask, get, post, request_text, wait_for_delivery};
use support::judge::Judge;
use support::local::LocalServer;
use support::publisher::Publisher;
use support::sse::Sse;
use support::websocket::{Client, HANDSHAKE};

/// Knows nobody.
#[derive(Debug)]
struct Closed;

impl Authority for Closed {
    fn identify(&self, _: &RequestHead<'_>, _: Door, _: u64, _: &mut Known) -> Result<Principal, Denied> {
        Err(Denied::Unknown)
    }

    fn allow(&self, _: &Principal, _: &Act<'_>) -> Result<(), Denied> {
        Ok(())
    }
}

fn start_with(authority: Arc<dyn Authority>) -> LocalServer {
    let mut secrets = Secrets::default();
    secrets.add(Source::GitLab, b"token").unwrap();
    let settings = Settings {
        policy: InForce::new(Policy { authority, secrets, ..Policy::default() }),
        presence: vec!["chat".to_owned()],
        ..Settings::default()
    };
    LocalServer::start_with_settings(Limits::default(), 2, settings)
}

/// A server that denies what `denies` says.
fn start(denies: fn(&Principal, &Act<'_>) -> bool) -> LocalServer {
    let judge = move |principal: &Principal, act: &Act<'_>| {
        if denies(principal, act) { Err(Denied::Forbidden) } else { Ok(()) }
    };
    start_with(Arc::new(Judge(judge)))
}

/// Asserts that `request` is refused on a connection that goes on.
fn assert_forbidden(http: &mut Http, method: &str, request: String, context: &str) {
    http.send(request);
    let answer = http.answer_to(method);
    if method == "HEAD" {
        assert_eq!(answer.status, 403, "{context}");
    } else {
        answer.assert_problem(403, "forbidden", context);
        assert_eq!(answer.field("www-authenticate"), None, "{context}");
    }
}

/// Asserts that a command is refused, and its id echoed.
fn assert_command_forbidden(client: &mut Client, mut command: Value) {
    command["id"] = json!(7);
    let answer = client.ask(&command.to_string());
    let got = (&answer["type"], &answer["code"], &answer["id"]);
    assert_eq!(got, (&json!("error"), &json!("forbidden"), &json!(7)), "{command}");
}

/// The text of a handshake at `path`.
fn handshake(path: &str) -> String {
    HANDSHAKE.replace("GET /ws ", &format!("GET {path} "))
}

fn published(server: &LocalServer) -> u64 {
    get(server.admin, "/stats").json()["published"].as_u64().unwrap() - 1
}

#[test]
fn somebody_unknown_gets_nothing_anywhere() {
    let server = start_with(Arc::new(Closed));
    let mut public = Http::connect(server.public);
    let mut admin = Http::connect(server.admin);
    let check = |http: &mut Http, method: &str, path: &str| {
        http.send(request_text(method, path, "", r#"{"channel":"t:a","event":"k"}"#));
        let answer = http.answer();
        answer.assert_problem(401, "unauthorized", path);
        assert_eq!(answer.field("www-authenticate"), Some("Bearer realm=\"fanfare\""), "{path}");
    };
    for path in ["/history?channel=t:a", "/presence?channel=chat:a", "/health", "/", "/notifications/types"] {
        check(&mut public, "GET", path);
    }
    for path in ["/publish", "/publish/t:a", "/hooks/gitlab", "/notifications"] {
        check(&mut public, "POST", path);
    }
    for path in ["/stats", "/metrics", "/latency", "/clients", "/channels", "/log-level", "/health"] {
        check(&mut admin, "GET", path);
    }
    for path in ["/announce", "/clear"] {
        check(&mut admin, "POST", path);
    }
    for path in ["/ws", "/ws?channel=t:a", "/ws?dialect=engram", "/api/events", "/ws/subscribe"] {
        public.send(handshake(path));
        public.answer().assert_problem(401, "unauthorized", path);
    }
    for path in ["/events?channel=t:a", "/v1/events", "/api/events?channel=all"] {
        public.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        public.answer().assert_problem(401, "unauthorized", path);
    }
}

#[test]
fn a_channel_that_may_not_be_read_is_closed_on_every_path() {
    let server =
        start(|_, act| matches!(act, Act::Read { pattern, .. } if pattern.as_str().contains("secret")));
    let mut http = Http::connect(server.public);
    for path in [
        "/ws?channel=repo:secret/x",
        "/ws?channel=t:a,repo:secret/x",
        "/ws?channel=t:a&channel=repo:secret/*",
        "/ws?repository=repo:secret/x",
        "/ws?channel=repo:secret/x&since=earliest",
        "/ws?channel=repo:secret/x&last=1",
        "/ws?channel=repo:secret/x&dialect=cloudevents",
        "/ws?channel=repo:secret/x&workspace=acme",
        "/ws?dialect=guts&channel=repo:secret/x",
        "/ws?dialect=engram&workspace=secret",
        "/api/events?channel=secret/x",
        "/api/events?repository=secret/x",
        "/ws/subscribe?channel=repo:secret/x",
    ] {
        assert_forbidden(&mut http, "GET", handshake(path), path);
    }
    for path in [
        "/events?channel=repo:secret/x",
        "/events?channel=t:a,repo:secret/x",
        "/events?channel=repo:secret/x&since=earliest",
        "/events?channel=repo:secret/x&last=1",
        "/events?channel=repo:secret/x&unnamed",
        "/events?channel=repo:secret/x&dialect=cloudevents",
        "/v1/events?workspace=secret",
        "/v1/events?workspace=%20SECRET",
        "/api/events?channel=secret/x",
        "/ws/subscribe?channel=repo:secret/x",
        "/history?channel=repo:secret/x",
        "/history?channel=t:a&channel=repo:secret/x",
        "/history?channel=repo:secret/x&last=1",
        "/history?channel=memory:secret",
    ] {
        assert_forbidden(&mut http, "GET", request_text("GET", path, "", ""), path);
    }
    assert_forbidden(
        &mut http,
        "HEAD",
        request_text("HEAD", "/history?channel=repo:secret/x", "", ""),
        "HEAD",
    );

    let mut client = Client::open(server.public, "/ws?channel=t:a");
    assert_eq!(client.next()["type"], "subscribed");
    for command in [
        json!({"type": "subscribe", "channel": "repo:secret/x"}),
        json!({"type": "subscribe", "repository": "repo:secret/x"}),
        json!({"type": "subscribe", "channels": ["t:b", "repo:secret/x"]}),
        json!({"type": "subscribe", "channel": "repo:secret/x", "since": 0}),
        json!({"type": "subscribe", "channel": "repo:secret/x", "last": 1}),
        json!({"type": "subscribe", "channel": "repo:secret/x", "filter": {"event_types": ["push"]}}),
        json!({"type": "subscribe", "channel": "repo:secret/x", "filter": {"workspace": "acme"}}),
    ] {
        assert_command_forbidden(&mut client, command);
    }
    // Of a list nothing is taken, if not everything may be.
    assert_eq!(client.ask(r#"{"type":"list"}"#)["channels"], json!(["t:a"]));
    let mut of_guts = Client::open(server.public, "/ws?dialect=guts");
    let mut of_sdk = Client::open(server.public, "/api/events");
    let check = |client: &mut Client, command: &str| {
        let answer = client.ask(command);
        assert_eq!(answer, json!({"type": "error", "message": "you have not the right to do this"}));
    };
    check(&mut of_guts, r#"{"type":"subscribe","channel":"repo:secret/x"}"#);
    check(&mut of_guts, r#"{"type":"subscribe","repository":"repo:secret/x"}"#);
    check(&mut of_sdk, r#"{"type":"subscribe","repository":"secret/x"}"#);
    assert_eq!(of_guts.ask(r#"{"type":"subscribe","channel":"repo:a/b"}"#)["type"], "subscribed");
    // Nobody sees anything of it, and everybody goes on.
    let mut publisher = Publisher::connect(server.public);
    for channel in ["repo:secret/x", "memory:secret", "t:b", "t:a", "repo:a/b"] {
        publisher.publish_kind(channel, "push", "1");
    }
    assert_eq!(client.next()["channel"], "t:a");
    assert_eq!(of_guts.next()["channel"], "repo:a/b");
    http.send(request_text("GET", "/history?channel=t:a", "", ""));
    assert_eq!(http.answer().status, 200);
}

#[test]
fn whoever_asks_is_who_opened_the_stream() {
    // `user:x` is for x only.
    let server = start(|principal, act| match act {
        Act::Read { pattern, .. } => {
            pattern.as_str().strip_prefix("user:").is_some_and(|user| principal.user() != Some(user))
        }
        _ => false,
    });
    let mut alice = Client::open(server.public, "/ws?user=alice");
    assert_eq!(alice.ask(r#"{"type":"subscribe","channel":"user:alice"}"#)["type"], "subscribed");
    assert_command_forbidden(&mut alice, json!({"type": "subscribe", "channel": "user:bob"}));
    assert_command_forbidden(&mut alice, json!({"type": "subscribe", "channel": "user:*"}));
    let mut nobody = Client::open(server.public, "/ws");
    assert_command_forbidden(&mut nobody, json!({"type": "subscribe", "channel": "user:alice"}));
    let sse = Sse::open(server.public, "/events?channel=user:bob&user=bob", "");
    assert_eq!(sse.head.status, 200);
    get(server.public, "/events?channel=user:bob&user=alice").assert_problem(403, "forbidden", "alice");
    get(server.public, "/history?channel=user:bob").assert_problem(403, "forbidden", "nobody");
}

#[test]
fn a_channel_that_may_not_be_published_on_is_closed_in_every_form() {
    let server = start(|_, act| matches!(act, Act::Publish { channel, .. } if channel.contains("secret")));
    let mut http = Http::connect(server.public);
    let event = r#"{"channel":"t:secret","event":"k"}"#;
    let open = r#"{"channel":"t:a","event":"k"}"#;
    let cloud = r#"{"specversion":"1.0","id":"1","source":"/s","type":"k","channel":"t:secret"}"#;
    let open_cloud = cloud.replace("secret", "a");
    let lines = "Content-Type: application/x-ndjson\r\n";
    let one = "Content-Type: application/cloudevents+json\r\n";
    let many = "Content-Type: application/cloudevents-batch+json\r\n";
    let headers = "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: k\r\n";
    for (path, fields, body) in [
        ("/publish", "", event.to_owned()),
        ("/publish", "Idempotency-Key: x\r\n", event.to_owned()),
        ("/publish", "", format!("[{open},{event}]")),
        ("/publish", lines, format!("{open}\n{event}\n")),
        ("/publish/t:secret", "", "1".to_owned()),
        ("/publish/t:secret/below?event_id=1", "", "1".to_owned()),
        ("/publish/t%3Asecret", lines, "1\n2\n".to_owned()),
        ("/publish", one, cloud.to_owned()),
        ("/publish?channel=t:secret", one, cloud.replace(r#","channel":"t:secret""#, "")),
        ("/publish/t:secret", one, cloud.replace(r#","channel":"t:secret""#, "")),
        ("/publish", one, cloud.replace("channel", "subject")),
        ("/publish", many, format!("[{open_cloud},{cloud}]")),
        ("/publish", &format!("{headers}ce-channel: t:secret\r\n"), "1".to_owned()),
        ("/publish/memory:secret", "", "{}".to_owned()),
    ] {
        assert_forbidden(
            &mut http,
            "POST",
            request_text("POST", path, fields, &body),
            &format!("{path} {body}"),
        );
    }
    let mut client = Client::open(server.public, "/ws");
    assert_command_forbidden(&mut client, json!({"type": "publish", "channel": "t:secret", "event": "k"}));
    assert_command_forbidden(
        &mut client,
        json!({"type": "publish", "channel": "t:secret", "event": "k", "data": 1, "event_id": "1"}),
    );
    assert_eq!(published(&server), 0, "not even the parts of batches that might have been");
    assert_eq!(client.ask(r#"{"type":"publish","channel":"t:a","event":"k"}"#)["seq"], 1);
    http.send(request_text("POST", "/publish", "Idempotency-Key: x\r\n", open));
    assert_eq!(http.answer().json(), json!({"seq": 2}), "the key is not taken");
}

#[test]
fn a_workspace_that_may_not_be_published_in_is_closed() {
    let server = start(
        |_, act| matches!(act, Act::Publish { workspace, .. } if !matches!(workspace, Some("acme" | "default"))),
    );
    let mut http = Http::connect(server.public);
    let inside = |workspace: &str| format!(r#"{{"channel":"t:a","event":"k","workspace":"{workspace}"}}"#);
    for (path, body) in [
        ("/publish", inside("other")),
        ("/publish", format!("[{},{}]", inside("acme"), inside("other"))),
        ("/publish", r#"{"channel":"t:a","event":"k"}"#.to_owned()),
        ("/publish/t:a?workspace=other", "1".to_owned()),
        ("/publish/t:a", "1".to_owned()),
        ("/publish/memory:other", "{}".to_owned()),
    ] {
        assert_forbidden(&mut http, "POST", request_text("POST", path, "", &body), &format!("{path} {body}"));
    }
    let mut client = Client::open(server.public, "/ws?workspace=acme");
    assert_command_forbidden(&mut client, json!({"type": "publish", "channel": "t:a", "event": "k"}));
    assert_eq!(published(&server), 0);
    http.send(request_text("POST", "/publish", "", &inside(" ACME ")));
    assert_eq!(http.answer().status, 202);
    http.send(request_text("POST", "/publish/memory:default", "", "{}"));
    assert_eq!(http.answer().status, 202);
}

/// Only events of the workspace `acme` may be read.
fn outside_acme(_: &Principal, act: &Act<'_>) -> bool {
    match act {
        Act::Read { scope, .. } => {
            !matches!(scope, Some(Scope::One(workspace)) if workspace.as_str() == "acme")
        }
        _ => false,
    }
}

#[test]
fn no_way_leads_out_of_a_workspace() {
    let server = start(outside_acme);
    let mut http = Http::connect(server.public);
    for query in ["channel=t:a", "channel=t:a&workspace=other", "channel=t:a&workspace=*", "channel=*"] {
        for path in ["/events", "/history"] {
            let path = format!("{path}?{query}");
            assert_forbidden(&mut http, "GET", request_text("GET", &path, "", ""), &path);
        }
        assert_forbidden(&mut http, "GET", handshake(&format!("/ws?{query}")), query);
    }
    let mut client = Client::open(server.public, "/ws?channel=t:a&workspace=acme");
    assert_eq!(client.next()["type"], "subscribed");
    let own = json!({"type": "subscribe", "channel": "t:b", "filter": {"workspace": "acme"}});
    assert_eq!(client.ask(&own.to_string())["type"], "subscribed");
    // By another filter, or by one that says nothing of workspaces any more, what is held would be read elsewhere.
    for filter in
        [json!({"workspace": "other"}), json!({"workspace": "*"}), json!({}), json!({"tags": ["x"]})]
    {
        assert_command_forbidden(&mut client, json!({"type": "filter", "filter": filter}));
    }
    for filter in [json!({"workspace": "other"}), json!({"workspace": "*", "tags": ["x"]})] {
        let command = json!({"type": "subscribe", "channel": "t:c", "filter": filter});
        let mut plain = Client::open(server.public, "/ws");
        assert_command_forbidden(&mut plain, command);
        assert_command_forbidden(&mut plain, json!({"type": "subscribe", "channel": "t:c"}));
    }
    // Nothing was changed by what was refused, and what is allowed still is.
    let publish = |workspace: &str, data: u64| {
        let body = json!({"channel": "t:a", "event": "k", "data": data, "workspace": workspace});
        let answer = post(server.public, "/publish", &body.to_string());
        // A filter that comes later than this is none for it.
        wait_for_delivery(server.public, answer.json()["seq"].as_u64().unwrap());
    };
    Publisher::connect(server.public).publish("t:a", "0");
    publish("other", 1);
    publish("acme", 2);
    assert_eq!(client.next()["data"], 2);
    let narrower = json!({"type": "filter", "filter": {"workspace": "acme", "tags": ["x"]}});
    assert_eq!(client.ask(&narrower.to_string())["type"], "filtered");
    publish("acme", 3);
    assert_eq!(client.ask(r#"{"type":"filter","filter":{"workspace":"acme"}}"#)["type"], "filtered");
    publish("acme", 4);
    assert_eq!(client.next()["data"], 4);
}

#[test]
fn a_subscription_may_stay_in_its_own_workspace_when_the_connection_leaves_its() {
    let server = start(outside_acme);
    let mut client = Client::open(server.public, "/ws?workspace=acme");
    let own = json!({"type": "subscribe", "channel": "t:a", "filter": {"workspace": "acme"}});
    assert_eq!(client.ask(&own.to_string())["type"], "subscribed");
    assert_eq!(client.ask(r#"{"type":"filter","filter":{}}"#)["type"], "filtered");
    Publisher::connect(server.public).publish("t:a", "0");
    let body = r#"{"channel":"t:a","event":"k","data":1,"workspace":"acme"}"#;
    assert_eq!(post(server.public, "/publish", body).status, 202);
    assert_eq!(client.next()["data"], 1);
}

#[test]
fn webhooks_may_be_denied_though_their_proof_is_good() {
    let server = start(|_, act| matches!(act, Act::Hook(_)));
    let mut http = Http::connect(server.public);
    let body = r#"{"project":{"path_with_namespace":"a/b"}}"#;
    let fields = "X-Gitlab-Token: token\r\nX-Gitlab-Event: Push Hook\r\n";
    assert_forbidden(&mut http, "POST", request_text("POST", "/hooks/gitlab", fields, body), "a push");
    assert_eq!(published(&server), 0);
    http.send(request_text("POST", "/hooks/gitlab", "X-Gitlab-Event: Push Hook\r\n", body));
    http.answer().assert_problem(401, "bad_signature", "the proof is looked at first");
}

#[test]
fn notifications_of_somebody_else_may_be_denied() {
    let server = start(|_, act| matches!(act, Act::Notifications("alice") | Act::Notify("alice")));
    let handle = server.notifications();
    let alice = fanfare::notify::User::parse("alice").unwrap();
    let kind = fanfare::notify::NotificationKind::Mention;
    let draft = fanfare::notify::Draft::new(alice.clone(), kind, "t", "b").unwrap();
    let fanfare::notify::Notified::Stored { notification, .. } = handle.notify(draft).unwrap() else {
        panic!("mentions are wanted")
    };
    let id = notification.id;
    let mut http = Http::connect(server.public);
    let notify =
        json!({"user_id": "alice", "notification_type": "mention", "title": "t", "body": "b"}).to_string();
    let preferences = r#"{"enabled_types":[]}"#;
    for (method, path, body) in [
        ("POST", "/notifications".to_owned(), notify.as_str()),
        ("GET", "/notifications?user=alice".to_owned(), ""),
        ("HEAD", "/notifications?user=alice".to_owned(), ""),
        ("GET", "/notifications/count?user=alice".to_owned(), ""),
        ("POST", format!("/notifications/{id}/read?user=alice"), ""),
        ("POST", "/notifications/read-all?user=alice".to_owned(), ""),
        ("DELETE", format!("/notifications/{id}?user=alice"), ""),
        ("GET", "/notifications/preferences?user=alice".to_owned(), ""),
        ("PUT", "/notifications/preferences?user=alice".to_owned(), preferences),
    ] {
        assert_forbidden(
            &mut http,
            method,
            request_text(method, &path, "", body),
            &format!("{method} {path}"),
        );
    }
    assert_eq!(handle.unread_count(&alice), Ok(1), "nothing was changed");
    assert!(handle.preferences(&alice).unwrap().is_enabled(kind));
    http.send(request_text("GET", "/notifications/count?user=bob", "", ""));
    assert_eq!(http.answer().status, 200);
    assert_eq!(get(server.public, "/notifications/types").status, 200);
    assert_eq!(post(server.public, "/notifications", &notify.replace("alice", "bob")).status, 201);
}

#[test]
fn presence_may_be_denied_by_channel_and_workspace() {
    let server = start(|_, act| match act {
        Act::Presence { channel, workspace } => {
            channel.as_str() == "chat:secret" || workspace.is_some_and(|name| name.as_str() == "acme")
        }
        _ => false,
    });
    let mut http = Http::connect(server.public);
    for path in ["/presence?channel=chat:secret", "/presence?channel=chat:a&workspace=ACME"] {
        assert_forbidden(&mut http, "GET", request_text("GET", path, "", ""), path);
        assert_forbidden(&mut http, "HEAD", request_text("HEAD", path, "", ""), path);
    }
    http.send(request_text("GET", "/presence?channel=chat:a", "", ""));
    assert_eq!(http.answer().status, 200);
}

#[test]
fn announcing_may_be_denied() {
    let server = start(|_, act| matches!(act, Act::Announce));
    let mut http = Http::connect(server.admin);
    assert_forbidden(
        &mut http,
        "POST",
        request_text("POST", "/announce", "", r#"{"message":"x"}"#),
        "announce",
    );
    assert_eq!(published(&server), 0);
}

#[test]
fn operating_may_be_denied() {
    let server = start(|_, act| matches!(act, Act::Administer | Act::Measure));
    let mut client = Client::open(server.public, "/ws?channel=t:a&user=alice");
    assert_eq!(client.next()["type"], "subscribed");
    Publisher::connect(server.public).publish("t:a", "1");
    assert_eq!(client.next()["data"], 1);
    let mut http = Http::connect(server.admin);
    for (method, path, body) in [
        ("GET", "/stats", ""),
        ("HEAD", "/stats", ""),
        ("GET", "/metrics", ""),
        ("GET", "/clients", ""),
        ("GET", "/log-level", ""),
        ("PUT", "/log-level", r#"{"level":"error"}"#),
        ("DELETE", "/clients/0-0", ""),
        ("DELETE", "/users/alice", ""),
        ("GET", "/channels", ""),
        ("GET", "/channels/t:a", ""),
        ("POST", "/clear", r#"{"keep":0}"#),
    ] {
        assert_forbidden(
            &mut http,
            method,
            request_text(method, path, "", body),
            &format!("{method} {path}"),
        );
    }
    http.send(request_text("GET", "/health", "", ""));
    assert_eq!(http.answer().status, 200);
    Publisher::connect(server.public).publish("t:a", "2");
    assert_eq!(client.next()["data"], 2, "nobody was disconnected");
    let kept = ask(server.public, "GET", "/history?channel=t:a", "", "").json();
    assert_eq!(kept["events"].as_array().unwrap().len(), 2, "nothing was cleared");
}
