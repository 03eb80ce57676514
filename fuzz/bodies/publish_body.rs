//! Bodies of requests to publish, in each form that there is: they are refused with a code, or every event of them can be
//! published and is one line of JSON with its data in it.

use fanfare::log::{Held, Log, Retention};
use fanfare::sequencer::{Ingest, Origin, Sequencer, Step, Submission};
use fanfare::session::authority::Principal;
use fanfare::session::publish::Openings;
use fanfare::session::request::{self, Door, Request};
use fanfare::session::settings::Settings;
use fanfare::wire::http::{HeadLimits, parse_head};
use fanfare::words::cursor::Epoch;
use fanfare::words::limits::Limits;
use fanfare::words::now::Now;

/// Request heads: a path, a media type, and more fields.
const HEADS: &[(&str, &str, &str)] = &[
    ("/publish", "application/json", ""),
    ("/publish?validate=1", "application/json", "Idempotency-Key: k\r\n"),
    ("/publish", "application/x-ndjson", ""),
    ("/publish/t:a", "application/json", ""),
    ("/publish/repo:a/b?event=push&tags=x,y&validate=1", "application/json", ""),
    ("/publish/t:a?event=log", "application/x-ndjson", ""),
    ("/publish", "application/cloudevents+json", ""),
    ("/publish?channel=t:a", "application/cloudevents-batch+json", ""),
    (
        "/publish/t:a",
        "application/json",
        "ce-specversion: 1.0\r\nce-id: 7\r\nce-source: /s\r\nce-type: a.b\r\n",
    ),
    ("/publish", "text/plain", ""),
];

/// Runs one input: its first byte chooses the head, the rest is the body.
pub(crate) fn run(input: &[u8]) {
    let Some((&choice, body)) = input.split_first() else { return };
    let (path, media_type, fields) = HEADS[usize::from(choice) % HEADS.len()];
    let length = body.len();
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {media_type}\r\n{fields}Content-Length: {length}\r\n\r\n"
    );
    let head = parse_head(text.as_bytes(), &HeadLimits::default());
    let Ok(Some((head, _))) = head else { panic!("{head:?}") };
    let limits = Limits { channels_max: 16, ..Limits::default() };
    let (principal, settings) = (Principal::default(), Settings::default());
    let openings = &mut Openings::default();
    match request::parse(&head, body, Door::Public, &principal, &limits, &settings, openings) {
        Ok(Request::Publish { publications, .. }) => {
            let datas: Vec<String> = publications.iter().map(|one| one.data().to_owned()).collect();
            assert!((1..=limits.batch_events_max).contains(&datas.len()));
            publish(Submission::publish(Origin::NOBODY, publications), &datas, &limits);
        }
        Ok(_) => panic!("it is a request to publish"),
        Err(answer) => assert!((400..500).contains(&answer.status()), "{}", answer.status()),
    }
}

fn publish(submission: Submission, datas: &[String], limits: &Limits) {
    let retention = Retention { events: 1024, bytes: 1 << 20, channels_max: 16, age: None };
    let (log, writer) = Log::new(retention);
    let mut sequencer = Sequencer::new(writer, Epoch::from_bits(7), limits);
    let ingest = Ingest::new(4, 1 << 24);
    assert!(ingest.submit(submission).is_ok(), "the first one is let in whatever it is");
    sequencer.step(&ingest, Now { mono_ms: 0, unix_ms: 1_795_316_060_123 }, &mut Step::default());
    let pass = log.pass();
    for (seq, data) in (1..pass.published()).zip(datas) {
        let Held::Here(json) = pass.json(seq) else { continue };
        assert!(!json.contains(&b'\n'), "one line");
        // As raw text: its numbers may be larger than any that a machine has.
        let event: Result<&serde_json::value::RawValue, _> = serde_json::from_slice(json);
        assert!(event.is_ok(), "an event is JSON: {event:?}");
        let text = str::from_utf8(json).expect("an event is text");
        assert!(text.contains(&format!("\"seq\":{seq},")), "its number is in it: {text}");
        assert!(text.contains(&format!("\"data\":{data}")), "the data is in it as it was: {text}");
    }
}
