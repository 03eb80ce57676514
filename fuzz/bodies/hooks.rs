//! Arbitrary payloads as webhooks that prove themselves, and as CloudEvents: whatever is taken can be published.

use fanfare::session::cloud_event::{self, Mode};
use fanfare::session::hooks::{Delivery, Secrets, Source, map};
use fanfare::session::mapped::Mapped;
use fanfare::wire::http::{HeadLimits, RequestHead, parse_head};
use fanfare::words::channel::Channel;
use fanfare::words::kind;
use fanfare::words::limits::{LABEL_BYTES_MAX, LABELS_MAX, Limits};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::value::RawValue;
use sha2::Sha256;

const SECRET: &[u8] = b"secret";

// The first byte chooses, the rest of its line is a header's value, and everything after that the body.
/// Runs one input.
pub(crate) fn run(bytes: &[u8]) {
    let Some((&choice, rest)) = bytes.split_first() else { return };
    let (line, body) = rest.split_at(rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()));
    let body = body.get(1..).unwrap_or_default();
    let Ok(value) = str::from_utf8(line) else { return };

    let media_type = if choice & 4 == 0 { "application/json" } else { "application/x-www-form-urlencoded" };
    let source = Source::ALL[usize::from(choice & 3) % Source::ALL.len()];
    let signature: String = signature(body).iter().map(|byte| format!("{byte:02x}")).collect();
    let headers = format!(
        "X-GitHub-Event: {value}\r\nX-Gitlab-Event: {value}\r\nX-Gitlab-Token: secret\r\n\
         X-Hub-Signature-256: sha256={signature}\r\nContent-Type: {media_type}\r\n"
    );
    with_head(&headers, |head| match map(source, head, body, &secrets()) {
        Ok(Delivery::Event(event)) => check(&event),
        Ok(Delivery::Ping) => assert!(value.trim().eq_ignore_ascii_case("ping")),
        Err(error) => assert!(matches!(error.status, 400 | 422), "the proof is good: {error}"),
    });
    let headers = headers.replace("sha256=", "sha256=0");
    with_head(&headers, |head| {
        let outcome = map(Source::GitHub, head, body, &secrets());
        assert_eq!(outcome.map_err(|error| error.status), Err(401));
    });

    let mode = [Mode::Structured, Mode::Batch, Mode::Binary][usize::from(choice >> 4) % 3];
    let headers = format!(
        "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: s\r\nce-type: t\r\nce-subject: {value}\r\nce-tags: {value}\r\n"
    );
    with_head(&headers, |head| {
        let limits = Limits { batch_events_max: 8, ..Limits::default() };
        let channel = (choice & 8 == 0).then_some("t:a");
        match cloud_event::parse(mode, head, body, channel, &limits) {
            Ok(events) => {
                assert!((1..=8).contains(&events.len()) && (mode == Mode::Batch || events.len() == 1));
                events.iter().for_each(check);
            }
            Err(error) => assert!(matches!(error.status, 400 | 413 | 415)),
        }
    });
}

fn secrets() -> Secrets {
    let mut secrets = Secrets::default();
    for source in Source::ALL {
        secrets.add(source, SECRET).expect("one secret is not too many");
    }
    secrets
}

fn signature(body: &[u8]) -> [u8; 32] {
    let keyed = <Hmac<Sha256> as KeyInit>::new_from_slice(SECRET).expect("every length fits");
    keyed.chain_update(body).finalize().into_bytes().into()
}

/// Calls `on` unless the headers are none.
fn with_head(headers: &str, on: impl FnOnce(&RequestHead<'_>)) {
    let text = format!("POST /hooks HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
    if let Ok(Some((head, length))) = parse_head(text.as_bytes(), &HeadLimits::default())
        && length == text.len()
    {
        on(&head);
    }
}

fn check(event: &Mapped<'_>) {
    assert!(Channel::parse(&event.channel).is_ok());
    assert_eq!(kind::normalise(&event.kind).as_deref(), Ok(event.kind.as_str()));
    assert!(serde_json::from_str::<&RawValue>(&event.data).is_ok());
    assert!(event.ids.len() <= LABELS_MAX && event.tags.len() <= LABELS_MAX);
    let labels = event.ids.iter().chain(&event.tags).chain(&event.event_id).chain(&event.workspace);
    for label in labels {
        assert!(!label.is_empty() && label.len() <= LABEL_BYTES_MAX && !label.contains(char::is_control));
    }
}
