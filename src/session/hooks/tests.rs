use std::collections::BTreeMap;
use std::io::Read;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::secrets::sign;
use super::*;
use crate::wire::http::{HeadLimits, parse_head};

/// Recorded payloads, one a line.
const CORPUS: &[u8] = include_bytes!("../../../loadgen/corpus/github-events.ndjson.gz");

#[derive(Deserialize)]
struct Line<'a> {
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

fn secrets() -> Secrets {
    let mut secrets = Secrets::default();
    Source::ALL.iter().for_each(|&source| secrets.add(source, b"secret").unwrap());
    secrets
}

/// A well-proved webhook, with further headers.
fn deliver<'a>(source: Source, headers: &str, body: &'a [u8]) -> Result<Delivery<'a>, PublishError> {
    let proof = match source {
        Source::GitHub => format!("X-Hub-Signature-256: sha256={}", sign(b"secret", body)),
        Source::Gitea => format!("X-Gitea-Signature: {}", sign(b"secret", body)),
        Source::GitLab => "X-Gitlab-Token: secret".to_owned(),
    };
    let text = format!("POST /hooks HTTP/1.1\r\nHost: h\r\n{proof}\r\n{headers}\r\n");
    let (head, _) = parse_head(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
    map(source, &head, body, &secrets())
}

type Outcome = Result<String, (u16, &'static str)>;

/// What becomes of an event of this name: `channel kind ids tags`, or `ping`.
fn outcome(source: Source, event: &str, body: &str) -> Outcome {
    let header = source.event_headers()[0];
    match deliver(source, &format!("{header}: {event}\r\n"), body.as_bytes()) {
        Ok(Delivery::Event(Mapped { channel, kind, ids, tags, .. })) => {
            Ok(format!("{channel} {kind} {} {}", ids.join(","), tags.join(",")).trim_end().to_owned())
        }
        Ok(Delivery::Ping) => Ok("ping".to_owned()),
        Err(error) => Err((error.status, error.code)),
    }
}

#[test]
fn every_recorded_payload_maps_to_its_channel_and_kind() {
    // The recorder knew no ping, and no kinds for the labels that a repository has.
    let otherwise =
        BTreeMap::from([("github.label.created", "label_added"), ("github.label.deleted", "label_removed")]);
    let (mut events, mut pings) = (0, 0);
    for line in corpus().lines() {
        let line: Line<'_> = serde_json::from_str(line).unwrap();
        let payload = line.payload.get();
        let headers = format!("X-GitHub-Event: {}\r\nX-GitHub-Delivery: d-{events}\r\n", line.event);
        match deliver(Source::GitHub, &headers, payload.as_bytes()).unwrap() {
            Delivery::Ping => {
                assert_eq!(line.event, "ping");
                pings += 1;
            }
            Delivery::Event(event) => {
                assert_eq!(event.channel, line.channel);
                assert_eq!(event.kind, *otherwise.get(line.kind.as_str()).unwrap_or(&&*line.kind));
                assert!(matches!(event.data, Cow::Borrowed(data) if data == payload));
                assert_eq!(event.event_id, Some(format!("d-{events}")));
                events += 1;
            }
        }
    }
    assert_eq!((events, pings), (325, 4));
}

#[test]
fn recorded_payloads_map_alike_as_forms_and_from_gitea() {
    for line in corpus().lines().step_by(7) {
        let line: Line<'_> = serde_json::from_str(line).unwrap();
        if line.event == "ping" {
            continue;
        }
        let form: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("x", "y")
            .append_pair("payload", line.payload.get())
            .finish();
        let headers =
            format!("Content-Type: application/x-www-form-urlencoded\r\nX-Forgejo-Event: {}\r\n", line.event);
        let Ok(Delivery::Event(event)) = deliver(Source::Gitea, &headers, form.as_bytes()) else {
            panic!("{} is no event", line.event);
        };
        assert_eq!(event.data, line.payload.get());
        assert_eq!(event.channel.replace("gitea:", "github:"), line.channel);
        assert!(
            event.kind == line.kind
                || event.kind.replace("gitea.", "github.") == line.kind
                || line.event == "label"
        );
    }
}

#[test]
fn kinds_of_github_and_gitea() {
    let check = |event: &str, payload: &str, expected: &str| {
        let body = format!(r#"{{"repository":{{"full_name":"a/b"}}{payload}}}"#);
        for source in [Source::GitHub, Source::Gitea] {
            assert_eq!(
                outcome(source, event, &body),
                Ok(format!("repo:a/b {expected}")),
                "{event} {payload}"
            );
        }
    };
    let action = |action: &str, more: &str| format!(r#","action":"{action}"{more}"#);
    check("push", "", "push");
    check("PUSH", r#","ref":"refs/heads/main""#, "push");
    check("create", r#","ref_type":"branch""#, "branch_created");
    check("create", r#","ref_type":"tag""#, "tag_created");
    check("create", "", "branch_created");
    check("delete", r#","ref_type":"branch""#, "branch_deleted");
    check("delete", r#","ref_type":"tag""#, "tag_deleted");
    check("pull_request", &action("opened", r#","number":7"#), "pr_opened 7 opened");
    check("PR", &action("opened", r#","pull_request":{"number":7}"#), "pr_opened 7 opened");
    check("pull_request", "", "pr_opened");
    check(
        "pull_request",
        &action("closed", r#","pull_request":{"merged":false,"number":7}"#),
        "pr_closed 7 closed",
    );
    check(
        "pull_request",
        &action("closed", r#","pull_request":{"merged":true,"number":7}"#),
        "pr_merged 7 closed",
    );
    check("pull_request", &action("closed", r#","pull_request":{"merged":null}"#), "pr_closed  closed");
    check("pull_request", &action("reopened", ""), "pr_reopened  reopened");
    check("pull_request", &action("synchronize", ""), "pr_updated  synchronize");
    check("pull_request", &action("edited", ""), "pr_updated  edited");
    check(
        "pull_request_review",
        &action("submitted", r#","pull_request":{"number":7}"#),
        "pr_review 7 submitted",
    );
    check("pr_review", "", "pr_review");
    check("pull_request_rejected", &action("reviewed", r#","review":{}"#), "pr_review  reviewed");
    check("pull_request_comment", &action("reviewed", r#","review":{}"#), "pr_review  reviewed");
    check("pull_request_comment", "", "pr_comment");
    check("Pr_Comment", &action("created", ""), "pr_comment  created");
    check("pull_request_review_comment", &action("created", ""), "pr_comment  created");
    check("issues", &action("opened", r#","issue":{"number":8}"#), "issue_opened 8 opened");
    check("issue", &action("closed", ""), "issue_closed  closed");
    check("issues", "", "issue_opened");
    check("issues", &action("reopened", ""), "issue_reopened  reopened");
    check("issues", &action("labeled", ""), "label_added  labeled");
    check("issues", &action("unlabeled", ""), "label_removed  unlabeled");
    check("issues", &action("label_cleared", ""), "label_removed  label_cleared");
    check("issues", &action("assigned", ""), "issue_updated  assigned");
    check("issue_comment", &action("created", r#","issue":{"number":8}"#), "issue_comment 8 created");
    check(
        "issue_comment",
        &action("created", r#","issue":{"number":8,"pull_request":null}"#),
        "issue_comment 8 created",
    );
    check(
        "issue_comment",
        &action("created", r#","issue":{"number":8,"pull_request":{}}"#),
        "pr_comment 8 created",
    );
    check(
        "issue_comment",
        &action("created", r#","issue":{"number":8},"is_pull":true"#),
        "pr_comment 8 created",
    );
    check("label", &action("created", ""), "label_added  created");
    check("label", &action("deleted", ""), "label_removed  deleted");
    check("repository", &action("created", ""), "repo_created  created");
    check("repository", &action("renamed", ""), "repo_updated  renamed");
    check("fork", "", "repo_created");
    check("star", &action("created", ""), "repo_updated  created");
    check("member", &action("added", ""), "collaborator_added  added");
    check("member", &action("removed", ""), "collaborator_removed  removed");
    check("workflow_run", &action("in_progress", ""), "workflow_run_in_progress  in_progress");
    check("workflow_job", &action("queued", ""), "workflow_job_queued  queued");
    check("check_run", &action("created", ""), "check_run_created  created");
}

#[test]
fn what_has_no_built_in_kind_keeps_its_own_name() {
    let check = |event: &str, payload: &str, expected: &str| {
        let body = format!(r#"{{"repository":{{"full_name":"a/b"}}{payload}}}"#);
        assert_eq!(
            outcome(Source::GitHub, event, &body),
            Ok(format!("repo:a/b github.{expected}")),
            "{event}"
        );
        assert_eq!(outcome(Source::Gitea, event, &body), Ok(format!("repo:a/b gitea.{expected}")), "{event}");
    };
    check("discussion", r#","action":"created""#, "discussion.created  created");
    check("gollum", "", "gollum");
    check("gollum", r#","action":"""#, "gollum");
    check("Some Thing/ü", r#","action":"Did It!""#, "some_thing__.did_it_  Did It!");
    check("create", r#","ref_type":"repository""#, "create");
    check("repository", r#","action":"deleted""#, "repository.deleted  deleted");
    check("check_run", r#","action":"rerequested""#, "check_run.rerequested  rerequested");
    let long = "x".repeat(60);
    check("dispatch", &format!(r#","action":"{long}""#), &format!("dispatch  {long}"));
}

#[test]
fn the_channel_is_the_narrowest_place_that_is_named() {
    let check = |body: &str, expected: Outcome| {
        assert_eq!(outcome(Source::GitHub, "push", body), expected, "{body}");
    };
    let organisation = r#""organization":{"login":"acme"},"sender":{"login":"eve"}"#;
    check(&format!(r#"{{"repository":{{"full_name":"a/b"}},{organisation}}}"#), Ok("repo:a/b push".into()));
    check(&format!("{{{organisation}}}"), Ok("org:acme push".into()));
    check(r#"{"organization":{"username":"acme"}}"#, Ok("org:acme push".into()));
    check(r#"{"organization":null,"sender":{"login":"eve"}}"#, Ok("user:eve push".into()));
    check("{}", Ok("github:push push".into()));
    check(r#"{"repository":"none","sender":[1]}"#, Ok("github:push push".into()));
    check(r#"{"repository":{"full_name":"a"}}"#, Err((422, "bad_channel")));
    check(r#"{"repository":{"full_name":"a/b c"}}"#, Err((422, "bad_channel")));
    check(r#"{"repository":{"full_name":"a/*"}}"#, Err((422, "bad_channel")));
    check(r#"{"repository":{"full_name":""}}"#, Err((422, "bad_channel")));
    check(r#"{"sender":{"login":"robot[bot]"}}"#, Err((422, "bad_channel")));
    check(&format!(r#"{{"repository":{{"full_name":"a/{}"}}}}"#, "x".repeat(255)), Err((422, "bad_channel")));
}

#[test]
fn kinds_of_gitlab() {
    let check = |event: &str, payload: &str, expected: &str| {
        let body = format!(r#"{{"project":{{"path_with_namespace":"a/b/c"}}{payload}}}"#);
        let expected = Ok(format!("repo:a/b/c {expected}"));
        assert_eq!(outcome(Source::GitLab, event, &body), expected, "{event} {payload}");
    };
    let change =
        |action: &str| format!(r#","object_attributes":{{"iid":7,"action":"{action}","status":"x"}}"#);
    let pushed = |before: &str, after: &str| format!(r#","before":"{before}","after":"{after}""#);
    check("Push Hook", &pushed("a1", "b2"), "push");
    check("Push Hook", &pushed("0000", "b2"), "branch_created");
    check("Push Hook", &pushed("a1", "0000"), "branch_deleted");
    check("push hook", &pushed("", ""), "push");
    check("Tag Push Hook", &pushed("0000", "b2"), "tag_created");
    check("Tag Push Hook", &pushed("a1", "0000"), "tag_deleted");
    check("Tag Push Hook", &pushed("a1", "b2"), "gitlab.tag_push");
    check("Merge Request Hook", &change("open"), "pr_opened 7 open");
    check("Merge Request Hook", &change("close"), "pr_closed 7 close");
    check("Merge Request Hook", &change("merge"), "pr_merged 7 merge");
    check("Merge Request Hook", &change("reopen"), "pr_reopened 7 reopen");
    check("Merge Request Hook", &change("update"), "pr_updated 7 update");
    check("Merge Request Hook", &change("approved"), "pr_review 7 approved");
    check("Merge Request Hook", "", "pr_updated");
    check("Issue Hook", &change("open"), "issue_opened 7 open");
    check("Issue Hook", &change("close"), "issue_closed 7 close");
    check("Issue Hook", &change("reopen"), "issue_reopened 7 reopen");
    check("Issue Hook", &change("update"), "issue_updated 7 update");
    check("Confidential Issue Hook", &change("open"), "issue_opened 7 open,confidential");
    let note = |on: &str, more: &str| format!(r#","object_attributes":{{"noteable_type":"{on}"}}{more}"#);
    check("Note Hook", &note("MergeRequest", r#","merge_request":{"iid":3}"#), "pr_comment 3");
    check("Note Hook", &note("Issue", r#","issue":{"iid":4}"#), "issue_comment 4");
    check("Confidential Note Hook", &note("Issue", ""), "issue_comment  confidential");
    check("Note Hook", &note("Commit", ""), "gitlab.note");
    let pipeline = |status: &str| format!(r#","object_attributes":{{"iid":9,"status":"{status}"}}"#);
    check("Pipeline Hook", &pipeline("pending"), "workflow_run_requested  pending");
    check("Pipeline Hook", &pipeline("running"), "workflow_run_in_progress  running");
    check("Pipeline Hook", &pipeline("failed"), "workflow_run_completed  failed");
    check("Pipeline Hook", &pipeline("manual"), "gitlab.pipeline.manual  manual");
    check("Job Hook", r#","build_status":"created""#, "workflow_job_queued  created");
    check("Job Hook", r#","build_status":"running""#, "workflow_job_in_progress  running");
    check("Job Hook", r#","build_status":"success""#, "workflow_job_completed  success");
    check("Member Hook", r#","event_name":"user_add_to_group""#, "collaborator_added");
    check("System Hook", r#","event_name":"user_remove_from_team""#, "collaborator_removed");
    check("System Hook", r#","event_name":"push","object_kind":"push""#, "push");
    check("System Hook", r#","object_kind":"merge_request""#, "pr_updated");
    check("System Hook", "", "gitlab.system");
    check("Release Hook", r#","action":"create""#, "gitlab.release.create  create");
    check("Wiki Page Hook", &change("update"), "gitlab.wiki_page.update  update");
}

#[test]
fn channels_of_gitlab() {
    let check = |body: &str, expected: Outcome| {
        assert_eq!(outcome(Source::GitLab, "Wiki Page Hook", body), expected, "{body}");
    };
    let on = |channel: &str| Ok(format!("{channel} gitlab.wiki_page"));
    check(r#"{"project":{"path_with_namespace":"a/b"}}"#, on("repo:a/b"));
    check(r#"{"path_with_namespace":"a/b","user_username":"eve"}"#, on("repo:a/b"));
    check(r#"{"project_path_with_namespace":"a/b/c/d"}"#, on("repo:a/b/c/d"));
    check(r#"{"full_path":"a/b","group_path":"b"}"#, on("org:a"));
    check(r#"{"group_path":"b"}"#, on("org:b"));
    check(r#"{"user":{"username":"eve"}}"#, on("user:eve"));
    check(r#"{"user_username":"eve"}"#, on("user:eve"));
    check("{}", on("gitlab:wiki_page"));
    check(r#"{"project":{"path_with_namespace":"a"}}"#, Err((422, "bad_channel")));
    check(r#"{"project":{"path_with_namespace":"1/2/3/4/5/6/7/8/9"}}"#, Err((422, "bad_channel")));
}

#[test]
fn what_is_refused_and_how() {
    let check = |source: Source, headers: &str, body: &[u8], expected: (u16, &str)| {
        let error = deliver(source, headers, body).unwrap_err();
        assert_eq!((error.status, error.code), expected, "{headers} {}", String::from_utf8_lossy(body));
    };
    let event = "X-GitHub-Event: push\r\n";
    let form = format!("{event}Content-Type: application/x-www-form-urlencoded\r\n");
    check(Source::GitHub, "", b"{}", (400, "missing_event"));
    check(Source::GitHub, "X-GitHub-Event: \r\n", b"{}", (400, "missing_event"));
    check(Source::GitHub, "X-Gitea-Event: push\r\n", b"{}", (400, "missing_event"));
    check(Source::GitLab, event, b"{}", (400, "missing_event"));
    for body in [&b""[..], b"{", b"[]", b"null", b"\"x\"", b"{} x", b"\xff{}", b"{\"action\":1,\"action\":2}"]
    {
        check(Source::GitHub, event, body, (400, "bad_json"));
    }
    check(Source::GitHub, &form, b"payload=%7B", (400, "bad_json"));
    check(Source::GitHub, &form, b"{}", (400, "bad_form"));
    check(Source::GitHub, &form, b"payload=%7", (400, "bad_form"));
    check(Source::GitHub, &form, b"payload={}&payload={}", (400, "bad_form"));
    let text = format!("{event}Content-Type: text/plain\r\n");
    check(Source::GitHub, &text, b"{}", (415, "unsupported_media_type"));
    let delivery = format!("{event}X-GitHub-Delivery: {}\r\n", "x".repeat(257));
    check(Source::GitHub, &delivery, b"{}", (400, "bad_event_id"));
    let long = format!("X-GitHub-Event: {}\r\n", "x".repeat(58));
    check(Source::GitHub, &long, b"{}", (422, "bad_event"));
    let action = format!(r#"{{"action":"{}"}}"#, "x".repeat(257));
    check(Source::GitHub, event, action.as_bytes(), (422, "bad_labels"));
}

#[test]
fn nothing_is_read_before_the_proof_is_good() {
    let refusal = |headers: &str, body: &[u8], secrets: &Secrets| {
        let text = format!("POST /hooks/github HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        let (head, _) = parse_head(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
        map(Source::GitHub, &head, body, secrets).unwrap_err()
    };
    let none = refusal("X-GitHub-Event: ping\r\n", b"{}", &Secrets::default());
    assert_eq!((none.status, none.code), (503, "hook_not_configured"));
    let wrong = format!("X-Hub-Signature-256: sha256={}\r\n", sign(b"other", b"{"));
    let first = refusal("", b"{}", &secrets());
    assert_eq!((first.status, first.code), (401, "bad_signature"));
    for headers in
        ["X-GitHub-Event: ping\r\n", "Content-Type: text/plain\r\n", "X-Hub-Signature-256: x\r\n", &wrong]
    {
        assert_eq!(refusal(headers, b"{", &secrets()), first, "one answer, whatever was wrong");
    }
}

#[test]
fn a_ping_is_no_event() {
    let ping = |source, headers: &str| deliver(source, headers, b"{\"zen\":\"...\"}");
    assert_eq!(ping(Source::GitHub, "X-GitHub-Event: ping\r\n"), Ok(Delivery::Ping));
    assert_eq!(ping(Source::Gitea, "X-GitHub-Event: Ping\r\n"), Ok(Delivery::Ping));
}

#[test]
fn the_delivery_is_the_id_of_the_event() {
    let check = |source: Source, headers: &str, expected: Option<&str>| {
        let headers = format!("{}: push\r\n{headers}", source.event_headers()[0]);
        let Ok(Delivery::Event(event)) = deliver(source, &headers, b"{}") else { panic!("no event") };
        assert_eq!(event.event_id.as_deref(), expected, "{headers}");
    };
    check(Source::GitHub, "", None);
    check(Source::GitHub, "X-GitHub-Delivery: 72d3162e\r\n", Some("72d3162e"));
    check(Source::Gitea, "X-GitHub-Delivery: a\r\nX-Gitea-Delivery: b\r\n", Some("b"));
    check(Source::Gitea, "X-Gitea-Delivery: b\r\nX-Forgejo-Delivery: c\r\n", Some("c"));
    check(Source::GitLab, "X-Gitlab-Event-UUID: d\r\n", Some("d"));
    check(Source::GitLab, "X-Gitlab-Event-UUID: d\r\nIdempotency-Key: e\r\n", Some("e"));
}

#[test]
fn a_payload_may_be_nested_however_deeply() {
    let deep = format!(r#"{{"review":{}{}}}"#, "[".repeat(1 << 18), "]".repeat(1 << 18));
    assert_eq!(outcome(Source::GitHub, "pr_comment", &deep), Ok("github:pr_comment pr_review".into()));
    assert_eq!(outcome(Source::GitLab, "Note Hook", &deep), Ok("gitlab:note gitlab.note".into()));
}

/// Payloads near to real ones, so that not all of them fail at their first byte.
fn near_payload() -> impl Strategy<Value = Vec<u8>> {
    let lines: Vec<String> = corpus().lines().filter(|line| line.len() < 6000).map(str::to_owned).collect();
    let edited = (prop::sample::select(lines), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(line, at, byte)| {
            let payload = serde_json::from_str::<Line<'_>>(&line).unwrap().payload.get();
            let mut bytes = payload.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        },
    );
    prop_oneof![prop::collection::vec(any::<u8>(), 0..64), edited]
}

proptest! {
    #[test]
    fn what_is_mapped_fits_whatever_was_sent(
        body in near_payload(),
        event in "[!-~][ -~]{0,70}|push|issues|Note Hook|System Hook",
        source in prop::sample::select(&Source::ALL[..]),
        is_form in any::<bool>(),
    ) {
        let media_type = if is_form { "application/x-www-form-urlencoded" } else { "application/json" };
        let headers = format!("{}: {event}\r\nContent-Type: {media_type}\r\n", source.event_headers()[0]);
        if let Ok(Delivery::Event(mapped)) = deliver(source, &headers, &body) {
            prop_assert!(Channel::parse(&mapped.channel).is_ok());
            prop_assert!(kind::normalise(&mapped.kind).is_ok_and(|kind| kind == mapped.kind));
            prop_assert!(serde_json::from_str::<&RawValue>(&mapped.data).is_ok());
            prop_assert!(mapped.ids.iter().chain(&mapped.tags).all(|label| is_label(label)));
        }
    }
}
