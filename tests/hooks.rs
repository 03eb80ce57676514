//! Webhooks over sockets: real payloads, signed, arrive as events; nobody else's do.

mod support;

use std::io::{Read, Write};
use std::net::SocketAddr;

use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::Sha256;
use support::http::{Answer, Http, ask, get, request_text};
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::stream::{Stream, TRANSPORTS, Transport};
use support::websocket::Client;

/// Recorded payloads of GitHub, one a line.
const CORPUS: &[u8] = include_bytes!("../loadgen/corpus/github-events.ndjson.gz");

const SECRET: &str = "a secret of two";

/// A payload, and where the recorder says that it belongs.
#[derive(Deserialize)]
struct Recorded<'a> {
    event: String,
    channel: String,
    kind: String,
    #[serde(borrow)]
    payload: &'a RawValue,
}

fn corpus() -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(CORPUS).read_to_string(&mut text).unwrap();
    text
}

/// A file of secrets.
fn secrets(lines: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(lines.as_bytes()).unwrap();
    file
}

/// A server that takes webhooks from everywhere.
fn start(flags: &[&str]) -> ServerProcess {
    let file = secrets(&format!("the old one\n\n{SECRET}\n"));
    let path = file.path().to_str().unwrap();
    let own = ["--hook-github-secrets", path, "--hook-gitea-secrets", path, "--hook-gitlab-tokens", path];
    // The file is read before the server says where it listens.
    ServerProcess::start(&[&own, flags].concat())
}

fn sign(secret: &str, body: &str) -> String {
    let mut hmac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes()).unwrap();
    hmac.update(body.as_bytes());
    hmac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The header lines of a delivery of GitHub's.
fn github(event: &str, delivery: &str, body: &str) -> String {
    format!(
        "Content-Type: application/json\r\nX-GitHub-Event: {event}\r\nX-GitHub-Delivery: {delivery}\r\n\
         X-Hub-Signature-256: sha256={}\r\n",
        sign(SECRET, body)
    )
}

fn deliver(address: SocketAddr, event: &str, delivery: &str, body: &str) -> Answer {
    ask(address, "POST", "/hooks/github", &github(event, delivery, body), body)
}

/// A webhook's body about the repository `a/b`.
fn about(members: &str) -> String {
    format!(r#"{{"repository":{{"full_name":"a/b"}},{members}}}"#)
}

#[test]
fn every_recorded_payload_arrives_on_its_channel_with_its_kind_and_its_bytes() {
    let server = start(&[]);
    let mut streams = TRANSPORTS.map(|transport| Stream::open(transport, server.public, "*", ""));
    let text = corpus();
    let mut http = Http::connect(server.public);
    let mut sent = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let recorded: Recorded<'_> = serde_json::from_str(line).unwrap();
        let body = recorded.payload.get();
        let fields = github(&recorded.event, &format!("d-{at}"), body);
        http.send(request_text("POST", "/hooks/github", &fields, body));
        let answer = http.answer();
        if recorded.event == "ping" {
            assert_eq!((answer.status, answer.json()), (200, json!({"pong": true})));
            continue;
        }
        assert_eq!(answer.status, 202, "{}: {}", recorded.event, answer.text());
        sent.push((answer.json()["seq"].as_u64().unwrap(), at, recorded));
    }
    assert_eq!(sent.len(), 325);
    for stream in &mut streams {
        for (seq, at, recorded) in &sent {
            let text = match stream {
                Stream::WebSocket(client) => client.next_text(),
                Stream::Sse(sse) => sse.next_data().data.unwrap(),
            };
            // The recorder has no better name for the labels that a repository has.
            let kind = recorded.kind.replace("github.label.created", "label_added");
            let kind = kind.replace("github.label.deleted", "label_removed");
            let begin = format!(
                "{{\"type\":\"event\",\"seq\":{seq},\"channel\":\"{}\",\"event\":\"{kind}\",\"data\":{},\"timestamp\":",
                recorded.channel,
                recorded.payload.get()
            );
            assert!(text.starts_with(&begin), "{begin}\n{text}");
            let event: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(event["event_id"], format!("d-{at}"));
        }
    }
}

#[test]
fn white_space_of_a_payload_goes_and_nothing_else() {
    let server = start(&[]);
    let (mut client, _) = Client::subscribed(server.public, "repo:a/b");
    let body = "{ \"repository\" : {\"full_name\":\"a/b\"},\r\n \"n\" : 1.50, \"n\" : \"\\u00e4 b\" }";
    assert_eq!(deliver(server.public, "push", "d", body).status, 202);
    let text = client.next_text();
    let data = r#""data":{"repository":{"full_name":"a/b"},"n":1.50,"n":"\u00e4 b"},"#;
    assert!(text.contains(data), "{text}");
}

#[test]
fn a_repeated_delivery_gets_the_first_answer_and_is_published_once() {
    let server = start(&[]);
    let (mut client, _) = Client::subscribed(server.public, "repo:a/b");
    let body = about(r#""n":1"#);
    let first = deliver(server.public, "push", "d-1", &body);
    // Two more, without waiting, and two over other connections.
    let mut http = Http::connect(server.public);
    http.send(request_text("POST", "/hooks/github", &github("push", "d-1", &body), &body).repeat(2));
    let mut answers = vec![http.answer(), http.answer()];
    answers.extend((0..2).map(|_| deliver(server.public, "push", "d-1", &body)));
    for answer in answers {
        assert_eq!((answer.status, answer.json()), (first.status, first.json()));
    }
    let other = deliver(server.public, "push", "d-1", &about(r#""n":2"#));
    other.assert_problem(422, "idempotency_key_reused", "the same delivery with another payload");
    // A delivery without a name is always a new one.
    for seq in [2, 3] {
        let fields =
            format!("X-GitHub-Event: push\r\nX-Hub-Signature-256: sha256={}\r\n", sign(SECRET, &body));
        let answer = ask(server.public, "POST", "/hooks/github", &fields, &body);
        assert_eq!(answer.json()["seq"], seq);
    }
    assert_eq!([client.next()["seq"].as_u64(), client.next()["seq"].as_u64()], [Some(1), Some(2)]);
}

#[test]
fn whoever_cannot_prove_it_is_refused_and_nothing_is_published() {
    let server = start(&[]);
    let body = about(r#""n":1"#);
    let check = |path: &str, fields: &str| {
        let answer = ask(server.public, "POST", path, fields, &body);
        answer.assert_problem(401, "bad_signature", &format!("{path} {fields}"));
    };
    let event = "X-GitHub-Event: push\r\n";
    let good = sign(SECRET, &body);
    check("/hooks/github", event);
    check("/hooks/github", &format!("{event}X-Hub-Signature-256: sha256={}\r\n", sign("other", &body)));
    check("/hooks/github", &format!("{event}X-Hub-Signature-256: sha256={}\r\n", sign(SECRET, "other")));
    check("/hooks/github", &format!("{event}X-Hub-Signature-256: {good}\r\n"));
    check("/hooks/github", &format!("{event}X-Hub-Signature: sha1={good}\r\n"));
    check("/hooks/github", &format!("{event}X-Hub-Signature-256: sha256={good}\r\n").repeat(2));
    check("/hooks/gitea", &format!("X-Gitea-Event: push\r\nX-Gitea-Signature: {}\r\n", sign("other", &body)));
    check("/hooks/gitlab", "X-Gitlab-Event: Push Hook\r\n");
    check("/hooks/gitlab", "X-Gitlab-Event: Push Hook\r\nX-Gitlab-Token: other\r\n");
    // Nothing is said of the payload to somebody unknown.
    let answer = ask(server.public, "POST", "/hooks/github", event, "{");
    answer.assert_problem(401, "bad_signature", "before the payload is looked at");
    assert_eq!(get(server.admin, "/stats").json()["published"], 1, "nothing was published");
    // Each of the secrets is good, the one that is on its way out too.
    let old = format!("{event}X-Hub-Signature-256: sha256={}\r\n", sign("the old one", &body));
    assert_eq!(ask(server.public, "POST", "/hooks/github", &old, &body).status, 202);
}

#[test]
fn without_a_secret_there_are_no_webhooks() {
    let server = ServerProcess::start(&[]);
    for path in ["/hooks/github", "/hooks/gitea", "/hooks/gitlab"] {
        let body = about(r#""n":1"#);
        let fields = github("push", "d", &body);
        let answer = ask(server.public, "POST", path, &fields, &body);
        answer.assert_problem(503, "hook_not_configured", path);
    }
    ask(server.public, "POST", "/hooks/other", "", "{}").assert_problem(404, "not_found", "another forge");
    ask(server.public, "GET", "/hooks/github", "", "").assert_problem(405, "method_not_allowed", "GET");
}

#[test]
fn what_is_well_signed_but_makes_no_sense_is_refused() {
    let server = start(&[]);
    let check = |event: &str, body: &str, status: u16, code: &str| {
        deliver(server.public, event, "d", body).assert_problem(status, code, &format!("{event} {body}"));
    };
    check("push", "{", 400, "bad_json");
    check("push", "[]", 400, "bad_json");
    check("", &about(r#""n":1"#), 400, "missing_event");
    check("push", r#"{"repository":{"full_name":"no owner"}}"#, 422, "bad_channel");
    let long = about(&format!(r#""action":"{}""#, "x".repeat(257)));
    check("gollum", &long, 422, "bad_labels");
    let body = about(r#""n":1"#);
    let fields = format!("X-GitHub-Event: push\r\nX-Hub-Signature-256: sha256={}\r\n", sign(SECRET, &body));
    let text =
        ask(server.public, "POST", "/hooks/github", &format!("{fields}Content-Type: text/xml\r\n"), &body);
    text.assert_problem(415, "unsupported_media_type", "xml");
}

#[test]
fn gitea_and_gitlab_reach_the_same_channels() {
    let server = start(&[]);
    let (mut client, _) = Client::subscribed(server.public, "repo:a/b");
    let mut check = |path: &str, fields: &str, body: &str, kind: &str, ids: Value| {
        let answer = ask(server.public, "POST", path, fields, body);
        assert_eq!(answer.status, 202, "{path} {fields}: {}", answer.text());
        let event = client.next();
        assert_eq!((&event["channel"], &event["event"]), (&json!("repo:a/b"), &json!(kind)), "{path}");
        assert_eq!(event["ids"], ids, "{path}");
        event
    };
    let pull = about(r#""action":"opened","number":7,"pull_request":{"number":7}"#);
    let proof = sign(SECRET, &pull);
    check(
        "/hooks/gitea",
        &format!("X-Gitea-Event: pull_request\r\nX-Gitea-Delivery: g-1\r\nX-Gitea-Signature: {proof}\r\n"),
        &pull,
        "pr_opened",
        json!(["7"]),
    );
    let event = check(
        "/hooks/gitea",
        &format!(
            "X-Forgejo-Event: pull_request\r\nX-Forgejo-Delivery: g-2\r\nX-Forgejo-Signature: {proof}\r\n"
        ),
        &pull,
        "pr_opened",
        json!(["7"]),
    );
    assert_eq!((&event["event_id"], &event["tags"]), (&json!("g-2"), &json!(["opened"])));
    let merge = r#"{"object_kind":"merge_request","project":{"path_with_namespace":"a/b"},
        "object_attributes":{"iid":9,"action":"merge"}}"#;
    let token =
        format!("X-Gitlab-Token: {SECRET}\r\nX-Gitlab-Event: Merge Request Hook\r\nIdempotency-Key: l-1\r\n");
    check("/hooks/gitlab", &token, merge, "pr_merged", json!(["9"]));
    // The same delivery again is none.
    let again = ask(server.public, "POST", "/hooks/gitlab", &token, merge);
    assert_eq!((again.status, again.json()), (202, json!({"seq": 3})));
    assert_eq!(Publisher::connect(server.public).publish("repo:a/b", "0"), 4);
}

#[test]
fn subscribers_of_pull_requests_and_of_issues_get_theirs_and_no_others() {
    let server = start(&[]);
    let open = |channel: &str| Stream::open(Transport::WebSocket, server.public, channel, "");
    let [mut pulls, mut issues, mut all] = ["repo:a/b/prs", "repo:a/b/issues", "repo:a/b"].map(open);
    let number = r#""number":7"#;
    let deliveries = [
        ("push", about(r#""ref":"refs/heads/main""#)),
        ("pull_request", about(&format!(r#""action":"opened","pull_request":{{{number}}}"#))),
        ("issues", about(&format!(r#""action":"opened","issue":{{{number}}}"#))),
        ("issue_comment", about(&format!(r#""action":"created","issue":{{{number}}}"#))),
        ("issue_comment", about(&format!(r#""action":"created","issue":{{{number},"pull_request":{{}}}}"#))),
        ("pull_request_review", about(&format!(r#""action":"submitted","pull_request":{{{number}}}"#))),
    ];
    for (at, (event, body)) in deliveries.iter().enumerate() {
        assert_eq!(deliver(server.public, event, &format!("d-{at}"), body).status, 202, "{event}");
    }
    all.assert_next(1..=6);
    pulls.assert_next([2, 5, 6]);
    issues.assert_next([3, 4]);
    let kind = |stream: &str| {
        let events = get(server.public, &format!("/history?channel={stream}")).json()["events"].clone();
        events
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["event"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(kind("repo:a/b/prs"), ["pr_opened", "pr_comment", "pr_review"]);
    assert_eq!(kind("repo:a/b/issues"), ["issue_opened", "issue_comment"]);
}

#[test]
fn a_form_brings_the_same_payload() {
    let server = start(&[]);
    let (mut client, _) = Client::subscribed(server.public, "repo:a/b");
    let payload = about(r#""n":"a & b = ü""#);
    let body: String =
        form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload).finish();
    let fields = format!(
        "Content-Type: application/x-www-form-urlencoded\r\nX-GitHub-Event: push\r\n\
         X-Hub-Signature-256: sha256={}\r\n",
        sign(SECRET, &body)
    );
    assert_eq!(ask(server.public, "POST", "/hooks/github", &fields, &body).status, 202);
    assert_eq!(client.next()["data"], serde_json::from_str::<Value>(&payload).unwrap());
}

#[test]
fn a_file_without_a_secret_is_a_fault_at_start() {
    let empty = secrets("\n \n");
    let mut command = support::process::fanfare();
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let output = command.arg("--hook-github-secrets").arg(empty.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--hook-github-secrets") && error.contains("there is no secret in it"), "{error}");
}
