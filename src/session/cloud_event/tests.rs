use proptest::prelude::*;

use super::*;
use crate::wire::http::{HeadLimits, parse_head};

type Outcome = Result<Vec<String>, (u16, &'static str)>;

/// What becomes of a request: each event as `channel|kind|id|ids|tags|workspace|data`.
fn outcome(headers: &str, body: &[u8], channel: Option<&str>) -> Outcome {
    let text = format!("POST /publish HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
    let (head, _) = parse_head(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
    let limits = Limits { batch_events_max: 2, ..Limits::default() };
    let events = Mode::of(&head).and_then(|mode| parse(mode.unwrap(), &head, body, channel, &limits));
    events.map(|events| events.iter().map(line).collect()).map_err(|error| (error.status, error.code))
}

fn line(event: &Mapped<'_>) -> String {
    let Mapped { channel, kind, data, event_id, ids, tags, workspace } = event;
    let event_id = event_id.as_deref().unwrap_or("-");
    let workspace = workspace.as_deref().unwrap_or("-");
    format!("{channel}|{kind}|{event_id}|{}|{}|{workspace}|{data}", ids.join(","), tags.join(","))
}

fn one(line: &str) -> Outcome {
    Ok(vec![line.to_owned()])
}

const STRUCTURED: &str = "Content-Type: application/cloudevents+json; charset=utf-8\r\n";
const BATCH: &str = "Content-Type: Application/CloudEvents-Batch+JSON\r\n";

#[test]
fn the_mode_is_told_by_media_type_and_headers() {
    let check = |headers: &str, expected: Result<Option<Mode>, u16>| {
        let text = format!("POST /publish HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        let (head, _) = parse_head(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
        assert_eq!(Mode::of(&head).map_err(|error| error.status), expected, "{headers}");
    };
    check("", Ok(None));
    check("Content-Type: application/json\r\n", Ok(None));
    check("Content-Type: application/json\r\nCE-SpecVersion: 1.0\r\n", Ok(Some(Mode::Binary)));
    check("ce-type: a\r\n", Ok(Some(Mode::Binary)));
    check("ce-other: a\r\n", Ok(None));
    check(STRUCTURED, Ok(Some(Mode::Structured)));
    check(&format!("{STRUCTURED}ce-specversion: 1.0\r\n"), Ok(Some(Mode::Structured)));
    check(BATCH, Ok(Some(Mode::Batch)));
    check("Content-Type: application/cloudevents+avro\r\n", Err(415));
    check("Content-Type: application/cloudevents\r\n", Err(415));
}

#[test]
fn attributes_become_channel_kind_and_labels() {
    let check = |more: &str, channel: Option<&str>, expected: Outcome| {
        let body = format!(r#"{{"specversion":"1.0","id":"7","source":"/s","type":"Com.Example.X"{more}}}"#);
        assert_eq!(outcome(STRUCTURED, body.as_bytes(), channel), expected, "{more}");
    };
    check(r#","channel":"t:a""#, None, one("t:a|com.example.x|7|||-|null"));
    check(r#","channel":"t:a""#, Some("t:b"), one("t:a|com.example.x|7|||-|null"));
    check("", Some("t:b"), one("t:b|com.example.x|7|||-|null"));
    check(r#","subject":"t:c","data":[1]"#, None, one("t:c|com.example.x|7|||-|[1]"));
    check(r#","subject":"t:c""#, Some("t:b"), one("t:b|com.example.x|7|t:c||-|null"));
    check(r#","subject":"a lamp","channel":"t:a""#, None, one("t:a|com.example.x|7|a lamp||-|null"));
    check(r#","subject":"""#, Some("t:b"), one("t:b|com.example.x|7|||-|null"));
    check(r#","tags":" a, b,,c ","workspace":"w""#, Some("t:b"), one("t:b|com.example.x|7||a,b,c|w|null"));
    check(
        r#","time":"2026-01-01T00:00:00Z","dataschema":"x:y","comexample":7,"channel":null"#,
        Some("t:b"),
        one("t:b|com.example.x|7|||-|null"),
    );
    check(
        r#","data": {"a" : 1, "a":1.0} "#,
        Some("t:b"),
        one(r#"t:b|com.example.x|7|||-|{"a" : 1, "a":1.0}"#),
    );
    check("", None, Err((400, "no_channel")));
    check(r#","subject":"a lamp""#, None, Err((400, "no_channel")));
    check(r#","channel":"nowhere""#, Some("t:b"), Err((400, "bad_channel")));
    check(r#","channel":"t:*""#, None, Err((400, "bad_channel")));
    check("", Some("nowhere"), Err((400, "bad_channel")));
    check(r#","channel":7"#, Some("t:b"), Err((400, "bad_cloud_event")));
    check(r#","id":"8""#, Some("t:b"), Err((400, "bad_cloud_event")));
    check(r#","subject":"a\nb""#, Some("t:b"), Err((400, "bad_labels")));
    check(&format!(r#","subject":"{}""#, "x".repeat(257)), Some("t:b"), Err((400, "bad_labels")));
    check(
        &format!(r#","tags":"{}""#, "x,".repeat(64)),
        Some("t:b"),
        one(&format!("t:b|com.example.x|7||{}|-|null", vec!["x"; 64].join(","))),
    );
    check(&format!(r#","tags":"{}""#, "x,".repeat(65)), Some("t:b"), Err((400, "bad_labels")));
    check(r#","workspace":"""#, Some("t:b"), Err((400, "bad_labels")));
}

#[test]
fn what_every_cloud_event_needs() {
    let check = |body: &str, expected: Outcome| {
        assert_eq!(outcome(STRUCTURED, body.as_bytes(), Some("t:a")), expected, "{body}");
    };
    check(
        r#"{"specversion":"1.0","id":"7","source":"/s","type":"pr.opened"}"#,
        one("t:a|pr_opened|7|||-|null"),
    );
    check(r#"{"specversion":"0.3","id":"7","source":"/s","type":"x"}"#, Err((400, "bad_cloud_event")));
    check(r#"{"id":"7","source":"/s","type":"x"}"#, Err((400, "bad_cloud_event")));
    check(r#"{"specversion":"1.0","source":"/s","type":"x"}"#, Err((400, "bad_cloud_event")));
    check(r#"{"specversion":"1.0","id":"7","type":"x"}"#, Err((400, "bad_cloud_event")));
    check(r#"{"specversion":"1.0","id":"7","source":"/s"}"#, Err((400, "bad_cloud_event")));
    check(r#"{"specversion":"1.0","id":"","source":"/s","type":"x"}"#, Err((400, "bad_cloud_event")));
    check(r#"{"specversion":1.0,"id":"7","source":"/s","type":"x"}"#, Err((400, "bad_cloud_event")));
    check(r#"{"specversion":"1.0","id":"a\tb","source":"/s","type":"x"}"#, Err((400, "bad_event_id")));
    check(r#"{"specversion":"1.0","id":"7","source":"/s","type":"a b"}"#, Err((400, "bad_event")));
    check(
        &format!(r#"{{"specversion":"1.0","id":"7","source":"/s","type":"{}"}}"#, "x".repeat(65)),
        Err((400, "bad_event")),
    );
    check(r#"[{"specversion":"1.0","id":"7","source":"/s","type":"x"}]"#, Err((400, "bad_cloud_event")));
    check(r#"["1.0","7","/s","x",null,null,null,null,null,1,null]"#, Err((400, "bad_cloud_event")));
    check(r#""x""#, Err((400, "bad_cloud_event")));
    check("", Err((400, "bad_json")));
    check("{", Err((400, "bad_json")));
    assert_eq!(outcome(STRUCTURED, b"\xff", None), Err((400, "bad_json")));
}

#[test]
fn data_must_be_json() {
    let check = |more: &str, expected: Outcome| {
        let body = format!(r#"{{"specversion":"1.0","id":"7","source":"/s","type":"x"{more}}}"#);
        assert_eq!(outcome(STRUCTURED, body.as_bytes(), Some("t:a")), expected, "{more}");
    };
    check(r#","datacontenttype":"application/json; charset=utf-8","data":1"#, one("t:a|x|7|||-|1"));
    check(r#","datacontenttype":"application/vnd.example+JSON","data":"t""#, one(r#"t:a|x|7|||-|"t""#));
    check(r#","datacontenttype":null,"data_base64":null"#, one("t:a|x|7|||-|null"));
    check(r#","datacontenttype":"text/plain","data":"t""#, Err((415, "unsupported_media_type")));
    check(r#","datacontenttype":"application/xml""#, Err((415, "unsupported_media_type")));
    check(r#","data_base64":"AA==""#, Err((415, "unsupported_media_type")));
}

#[test]
fn a_batch_is_taken_whole_or_not_at_all() {
    let event = |id: &str| {
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"x","channel":"t:{id}"}}"#)
    };
    let check = |body: &str, expected: Outcome| assert_eq!(outcome(BATCH, body.as_bytes(), None), expected);
    check(
        &format!("[{}, {}]", event("1"), event("2")),
        Ok(vec!["t:1|x|1|||-|null".into(), "t:2|x|2|||-|null".into()]),
    );
    check(&format!(" [{}]", event("1")), one("t:1|x|1|||-|null"));
    check(&event("1"), Err((400, "bad_cloud_event")));
    check("[]", Err((400, "empty_batch")));
    check(&format!("[{},[]]", event("1")), Err((400, "bad_cloud_event")));
    check(&format!("[{},{}]", event("1"), event("")), Err((400, "bad_cloud_event")));
    check(&format!("[{},{},{}]", event("1"), event("2"), event("3")), Err((413, "batch_too_large")));
    check("[", Err((400, "bad_json")));
}

#[test]
fn the_error_of_a_batch_names_its_event() {
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{BATCH}\r\n");
    let (head, _) = parse_head(head.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
    let body = br#"[{"specversion":"1.0","id":"1","source":"/s","type":"x","channel":"t:a"},{}]"#;
    let error = parse(Mode::Batch, &head, body, None, &Limits::default()).unwrap_err();
    assert_eq!(error.detail, "event 2: a CloudEvent needs the attribute 'specversion'");
}

#[test]
fn binary_mode_has_attributes_in_headers_and_data_in_the_body() {
    const NEEDED: &str = "ce-specversion: 1.0\r\nCe-Id: 7\r\nCE-SOURCE: /s\r\nce-type: X\r\n";
    let check = |more: &str, body: &str, expected: Outcome| {
        let headers = format!("{NEEDED}{more}");
        assert_eq!(outcome(&headers, body.as_bytes(), Some("t:a")), expected, "{more}");
    };
    check("", "", one("t:a|x|7|||-|null"));
    check("Content-Type: application/json\r\n", r#"{"a":1}"#, one(r#"t:a|x|7|||-|{"a":1}"#));
    check("", "1", one("t:a|x|7|||-|1"));
    check("ce-channel: t:b\r\nce-tags: a,b\r\nce-workspace: w\r\n", "1", one("t:b|x|7||a,b|w|1"));
    check(
        "ce-subject: Euro%20%E2%82%AC%20%F0%9F%98%80\r\n",
        "1",
        one("t:a|x|7|Euro \u{20ac} \u{1f600}||-|1"),
    );
    check("ce-subject: %e2%82%ac%41\r\n", "1", one("t:a|x|7|\u{20ac}A||-|1"));
    check("ce-subject: \"a \\\"b\\\\ %25\"\r\n", "1", one("t:a|x|7|a \"b\\ %||-|1"));
    check("ce-subject: a%2541\r\n", "1", one("t:a|x|7|a%41||-|1"));
    check("ce-comexample: %zz\r\n", "1", one("t:a|x|7|||-|1"));
    check("ce-subject: 100%\r\n", "1", Err((400, "bad_cloud_event")));
    check("ce-subject: %C0%A0\r\n", "1", Err((400, "bad_cloud_event")));
    check("ce-subject: \"a\r\n", "1", Err((400, "bad_cloud_event")));
    check("ce-subject: \"a\\\"\r\n", "1", Err((400, "bad_cloud_event")));
    check("ce-subject: \"a\" b\r\n", "1", Err((400, "bad_cloud_event")));
    check("ce-subject: a%0Ab\r\n", "1", Err((400, "bad_labels")));
    check("ce-id: 8\r\n", "1", Err((400, "bad_cloud_event")));
    check("", "{", Err((400, "bad_json")));
    check("", " ", Err((400, "bad_json")));
    check("Content-Type: text/plain\r\n", "hello", Err((415, "unsupported_media_type")));
    check("Content-Type: application/octet-stream\r\n", "1", Err((415, "unsupported_media_type")));
    assert_eq!(outcome("ce-type: x\r\n", b"1", Some("t:a")), Err((400, "bad_cloud_event")));
}

/// Texts near to events, so that not all of them fail at their first byte.
fn near_event() -> impl Strategy<Value = Vec<u8>> {
    let event = r#"{"specversion":"1.0","id":"7","source":"/s","type":"x","subject":"t:s","channel":"t:a","tags":"a,b","data":{"a":[1]}}"#;
    let edited = (0..event.len(), any::<u8>()).prop_map(move |(at, byte)| {
        let mut bytes = event.as_bytes().to_vec();
        bytes[at] = byte;
        bytes
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..64), edited]
}

proptest! {
    #[test]
    fn what_is_taken_fits_whatever_was_sent(
        body in near_event(),
        mode in prop_oneof![Just(Mode::Structured), Just(Mode::Batch), Just(Mode::Binary)],
        subject in "[ -~]{0,40}",
    ) {
        let text = format!(
            "POST / HTTP/1.1\r\nHost: h\r\nce-specversion: 1.0\r\nce-id: 1\r\nce-source: s\r\nce-type: x\r\nce-subject: {subject}\r\n\r\n"
        );
        let (head, _) = parse_head(text.as_bytes(), &HeadLimits::default()).unwrap().unwrap();
        for event in parse(mode, &head, &body, Some("t:a"), &Limits::default()).into_iter().flatten() {
            prop_assert!(Channel::parse(&event.channel).is_ok());
            prop_assert!(kind::normalise(&event.kind).is_ok_and(|kind| kind == event.kind));
            prop_assert!(serde_json::from_str::<IgnoredAny>(&event.data).is_ok());
            prop_assert!(event.ids.iter().chain(&event.tags).chain(&event.event_id).all(|label| is_label(label)));
        }
    }
}
