//! What bytes cost before they are an event, and an event before it is bytes: heads, requests, commands, frames, JSON.

use std::hint::black_box;
use std::ops::ControlFlow;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare::log::{Log, Retention};
use fanfare::sequencer::{EventParts, Ingest, Origin, Publication, Sequencer, Step, Submission};
use fanfare::session::authority::Principal;
use fanfare::session::command;
use fanfare::session::http::{Flow, HttpReader};
use fanfare::session::publish::{Framing, Openings, parse_body};
use fanfare::session::request::{self, Door};
use fanfare::session::settings::Settings;
use fanfare::wire::http::{HeadLimits, KnownHead, parse_head};
use fanfare::wire::json::minify;
use fanfare::wire::websocket::{Decoder, Message, WebSocketLimits};
use fanfare::words::channel::Channel;
use fanfare::words::cursor::Epoch;
use fanfare::words::limits::{JSON_DEPTH_MAX, Limits};
use fanfare::words::now::Now;

const DATA: &str =
    r#"{"action":"opened","number":1347,"title":"Found a bug","sender":"octocat","draft":false}"#;

fn envelope() -> String {
    format!(r#"{{"channel":"repo:alice/demo","event":"issue_opened","data":{DATA}}}"#)
}

/// A head such as a library of a publisher sends.
fn publish_request() -> Vec<u8> {
    let body = envelope();
    format!(
        "POST /publish HTTP/1.1\r\nHost: events.example.com\r\nUser-Agent: publisher/2.1\r\nAccept: */*\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The head of a browser that wants a WebSocket.
const UPGRADE: &[u8] = b"GET /ws?channel=repo:alice/demo HTTP/1.1\r\nHost: events.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Origin: https://app.example.com\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("HTTP head");
    let publish = publish_request();
    for (name, bytes) in [("a publish, 5 fields", &*publish), ("a browser's upgrade, 10 fields", UPGRADE)] {
        let limits = HeadLimits::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let (head, length) =
                    parse_head(black_box(bytes), &limits).expect("a valid head").expect("a whole one");
                (head.keep_alive, length)
            });
        });
    }
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request to publish");
    let (limits, settings, principal) = (Limits::default(), Settings::default(), Principal::default());
    let one = publish_request();
    for count in [1, 16] {
        let bytes = one.repeat(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("head and body, in a row", count), |bencher| {
            let (mut reader, mut known) = (HttpReader::default(), KnownHead::default());
            let mut openings = Openings::default();
            bencher.iter(|| {
                let mut understood = 0;
                let taken = reader.read(black_box(&bytes), &mut known, &limits, &mut |head, body| {
                    let door = Door::Public;
                    let request =
                        request::parse(head, body, door, &principal, &limits, &settings, &mut openings);
                    understood += usize::from(black_box(request).is_ok());
                    Flow::Continue
                });
                assert_eq!((taken.ok(), understood), (Some(bytes.len()), count));
            });
        });
    }
    for count in [1, 100] {
        let body = format!("[{}]", vec![envelope(); count].join(","));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("a batch's body alone", count), |bencher| {
            bencher.iter(|| {
                let openings = &mut Openings::default();
                parse_body(black_box(body.as_bytes()), Framing::Json, &limits, openings)
                    .expect("valid events")
            });
        });
    }
}

fn commands(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("WebSocket command");
    let limits = Limits::default();
    let publish = format!(r#"{{"type":"publish",{}"#, &envelope()[1..]);
    for (name, text) in
        [("publish", &*publish), ("subscribe", r#"{"type":"subscribe","channel":"repo:a/b"}"#)]
    {
        group.bench_function(name, |bencher| {
            let mut openings = Openings::default();
            bencher.iter(|| {
                command::parse(black_box(text), &limits, &mut openings)
                    .map_err(|_| ())
                    .expect("a valid command")
            });
        });
    }
    let frame = masked(&publish);
    group.bench_function("the frame of a publish, unmasked and checked", |bencher| {
        let limits = WebSocketLimits { message_bytes_max: 1 << 16, fragments_max: 16 };
        let (mut decoder, mut bytes) = (Decoder::new(limits), frame.clone());
        bencher.iter(|| {
            // It is unmasked where it lies, so it needs to be put there again.
            bytes.copy_from_slice(&frame);
            let mut texts = 0;
            let taken = decoder.decode(black_box(&mut bytes), &mut |message| {
                texts += usize::from(matches!(message, Message::Text(_)));
                ControlFlow::Continue(())
            });
            assert_eq!((taken.ok(), texts), (Some(frame.len()), 1));
        });
    });
}

/// A text message as clients send it.
fn masked(text: &str) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let length = u16::try_from(text.len()).expect("a short text");
    assert!((126..).contains(&length));
    let payload = text.bytes().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [0x81, 0xfe].into_iter().chain(length.to_be_bytes()).chain(MASK).chain(payload).collect()
}

fn render(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    let channel = Channel::parse("repo:alice/demo").expect("a valid name");
    group.bench_function("minify data of 87 bytes", |bencher| {
        let mut out = Vec::with_capacity(DATA.len());
        bencher.iter(|| {
            out.clear();
            minify(black_box(DATA.as_bytes()), &mut out, JSON_DEPTH_MAX).expect("valid JSON");
        });
    });
    let publication = || {
        Publication::new(&EventParts::new(&channel, "issue_opened", black_box(DATA.as_bytes())))
            .expect("it names no workspace")
    };
    group.bench_function("an event's JSON, but for number and time", |bencher| bencher.iter(publication));
    let retention = Retention { events: 8192, bytes: 64 << 20, age: None, channels_max: 1024 };
    let limits = Limits::default();
    for batch in [1, 64] {
        let (_log, writer) = Log::new(retention);
        let mut sequencer = Sequencer::new(writer, Epoch::from_bits(0), &limits);
        let ingest = Ingest::new(limits.ingest_items_max, limits.ingest_bytes_max);
        let mut step = Step::default();
        group.throughput(Throughput::Elements(batch));
        group.bench_function(
            BenchmarkId::new("queue, stamp, WebSocket and SSE form, log", batch),
            |bencher| {
                bencher.iter_batched(
                    || -> Vec<Submission> {
                        let one =
                            || Submission::publish(Origin::NOBODY, std::iter::once(publication()).collect());
                        (0..batch).map(|_| one()).collect()
                    },
                    |submissions| {
                        for submission in submissions {
                            ingest.submit(submission).expect("there is room");
                        }
                        let now = Now { mono_ms: 0, unix_ms: 1_795_316_060_000 };
                        while sequencer.step(&ingest, now, &mut step) {}
                    },
                    criterion::BatchSize::SmallInput,
                );
            },
        );
    }
}

criterion_group!(benches, heads, requests, commands, render);
criterion_main!(benches);
