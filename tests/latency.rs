//! What the server says of how long events take: every delivery counts once, and takes as long as the clock says.

mod support;

use std::collections::BTreeMap;

use fanfare::latency::{Counts, Pace, Series, Snapshot, Transport, Way};
use fanfare::session::settings::Settings;
use fanfare::words::limits::Limits;
use serde_json::Value;
use support::http::get;
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::rig::{Peer, Rig, publication};
use support::stream::{Stream, TRANSPORTS};
use support::wait_until;
use support::websocket::frame;

const MICROSECOND_NS: u64 = 1_000;
const MILLISECOND_NS: u64 = 1_000_000;

/// A loop whose clock of measurements stands still.
fn rig(limits: Limits) -> Rig {
    let rig = Rig::new(limits, Settings::default());
    rig.hub.measure.clock.stop_at(MILLISECOND_NS);
    rig
}

fn open(rig: &mut Rig, transport: Transport, query: &str) -> Peer {
    let peer = rig.connect();
    let request = match transport {
        Transport::WebSocket => format!(
            "GET /ws?{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ),
        Transport::Sse => format!("GET /events?{query} HTTP/1.1\r\nHost: x\r\n\r\n"),
    };
    rig.say(&peer, request.as_bytes());
    rig.settle();
    peer
}

fn web_socket(rig: &mut Rig, query: &str) -> Peer {
    open(rig, Transport::WebSocket, query)
}

/// How many there are, and the largest, in microseconds.
fn told(counts: &Counts) -> (u64, u64) {
    (counts.count(), counts.max_ns() / MICROSECOND_NS)
}

/// Deliveries by what `name` says of them.
fn by(snapshot: &Snapshot, name: impl Fn(&Series) -> String) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for series in snapshot.series() {
        *counts.entry(name(series)).or_default() += series.counts.count();
    }
    counts
}

#[test]
fn a_delivery_takes_from_the_turn_that_read_the_publish_until_its_write_has_returned() {
    let mut rig = rig(Limits::default());
    let _subscriber = web_socket(&mut rig, "channel=t:a");
    let publisher = rig.connect();
    let body = r#"{"channel":"t:a","event":"k","data":1}"#;
    let length = body.len();
    let request = format!("POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
    let mut at_ns = MILLISECOND_NS;
    for (number, took_us) in [70, 300, 2].into_iter().enumerate() {
        // The bytes are there; the turn that reads them begins, and the sequencer takes its time.
        rig.say(&publisher, request.as_bytes());
        rig.turn();
        at_ns += took_us * MICROSECOND_NS;
        rig.hub.measure.clock.stop_at(at_ns);
        rig.settle();
        let snapshot = rig.hub.latency();
        let longest_us = [70, 300, 300][number];
        assert_eq!(told(&snapshot.deliveries()), (number as u64 + 1, longest_us));
        assert_eq!(snapshot.answers().count(), number as u64 + 1);
    }
}

const PUBLISH: &str = "POST /publish/t:a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1";

#[test]
fn a_publish_is_measured_from_when_the_loop_woke_for_it_whatever_it_did_before_reading_it() {
    let mut rig = rig(Limits::default());
    let _subscriber = web_socket(&mut rig, "channel=t:a");
    let publisher = rig.connect();
    rig.say(&publisher, PUBLISH.as_bytes());
    rig.wake();
    rig.hub.measure.clock.stop_at(41 * MILLISECOND_NS);
    rig.settle();
    let snapshot = rig.hub.latency();
    assert_eq!((told(&snapshot.deliveries()), told(snapshot.answers())), ((1, 40_000), (1, 40_000)));
    // It is not asked when it woke for what comes later.
    rig.say(&publisher, PUBLISH.as_bytes());
    rig.settle();
    assert_eq!(told(rig.hub.latency().since(&snapshot).answers()).0, 1);
    assert_eq!(told(&rig.hub.latency().since(&snapshot).deliveries()), (1, 0));
}

#[test]
fn answers_that_wait_until_their_client_reads_are_no_figure_of_the_server() {
    let mut rig = rig(Limits::default());
    let publisher = web_socket(&mut rig, "");
    publisher.stop_reading();
    let publish = |rig: &mut Rig| {
        rig.say(&publisher, &frame(0x81, br#"{"type":"publish","channel":"t:a","event":"k","data":1}"#));
        rig.settle();
        rig.hub.latency().answers().count()
    };
    // The first is tried.
    let tried = publish(&mut rig);
    assert!((0..10).all(|_| publish(&mut rig) == tried));
    rig.read_on(&publisher);
    assert_eq!(publish(&mut rig), tried + 1);
}

#[test]
fn every_delivery_counts_once_by_transport_and_namespace() {
    // A few a turn, so that what comes meanwhile joins.
    let mut rig = rig(Limits { fanout_turn_connections_max: 3, ..Limits::default() });
    let mut peers = Vec::new();
    for (transport, count) in [(Transport::WebSocket, 7), (Transport::Sse, 5)] {
        for number in 0..count {
            let query = ["channel=t:a,u:b", "channel=t:a", "channel=u:b&event_types=push"][number % 3];
            peers.push(open(&mut rig, transport, query));
        }
    }
    for round in 1..=40_u64 {
        rig.publish([publication("t:a", "k"), publication("u:b", "push")]);
        rig.turn();
        rig.publish((0..1 + round % 4).map(|_| publication(if round % 2 == 0 { "t:a" } else { "u:b" }, "k")));
        rig.hub.measure.clock.stop_at((round + 1) * MILLISECOND_NS);
        rig.settle();
        let snapshot = rig.hub.latency();
        assert_eq!(snapshot.deliveries().count(), rig.delivered(), "round {round}");
    }
    let snapshot = rig.hub.latency();
    let sent = |name: &str| {
        let traffic = &rig.hub.desks()[0].traffic;
        let count = if name == "sse" { &traffic.sse_events } else { &traffic.web_socket_events };
        count.load(std::sync::atomic::Ordering::Relaxed)
    };
    let transports = by(&snapshot, |series| series.way.transport.name().to_owned());
    assert_eq!(transports["sse"], sent("sse"));
    assert_eq!(transports["websocket"], sent("websocket"));
    let namespaces = by(&snapshot, |series| snapshot.namespace(series.namespace).to_owned());
    assert_eq!(namespaces.keys().collect::<Vec<_>>(), ["t", "u"]);
    assert_eq!(namespaces.values().sum::<u64>(), rig.delivered());
    // Of `t:a` two thirds of the clients want everything: five and four of them.
    let of_t = 40 + (1..=40_u64).filter(|round| round % 2 == 0).map(|round| 1 + round % 4).sum::<u64>();
    assert_eq!(namespaces["t"], of_t * (5 + 4));
}

#[test]
fn what_a_client_asks_for_from_further_back_is_no_delivery_and_what_it_was_too_slow_for_is_a_late_one() {
    let mut rig = rig(Limits::default());
    let slow = web_socket(&mut rig, "channel=t:a");
    slow.stop_reading();
    rig.publish((0..10).map(|_| publication("t:a", "k")));
    rig.settle();
    assert_eq!(told(&rig.hub.latency().deliveries()), (0, 0), "its socket takes nothing");
    rig.hub.measure.clock.stop_at(51 * MILLISECOND_NS);
    let resumed = web_socket(&mut rig, "channel=t:a&since=1");
    assert_eq!(told(&rig.hub.latency().deliveries()), (0, 0), "it has asked for that");
    rig.read_on(&slow);
    rig.settle();
    let late = |snapshot: &Snapshot| {
        snapshot.merged(|series| series.way == Way { transport: Transport::WebSocket, pace: Pace::Lagging })
    };
    let snapshot = rig.hub.latency();
    assert_eq!((told(&snapshot.deliveries()), told(&late(&snapshot))), ((10, 50_000), (10, 50_000)));
    // Both have caught up.
    rig.publish([publication("t:a", "k")]);
    rig.settle();
    let since = rig.hub.latency().since(&snapshot);
    assert_eq!((since.deliveries().count(), late(&since).count()), (2, 0));
    drop(resumed);
}

#[test]
fn a_span_is_between_the_first_and_the_last_subscriber() {
    let mut rig = rig(Limits { fanout_turn_connections_max: 2, ..Limits::default() });
    let peers: Vec<Peer> = (0..6).map(|_| web_socket(&mut rig, "channel=t:a")).collect();
    rig.publish([publication("t:a", "k")]);
    for at_ms in [2, 5, 9] {
        assert_eq!(rig.hub.latency().spans().count(), 0, "not everybody has it");
        rig.hub.measure.clock.stop_at(at_ms * MILLISECOND_NS);
        rig.turn();
    }
    assert_eq!(told(rig.hub.latency().spans()), (1, 7_000));
    rig.publish([publication("t:b", "k")]);
    rig.settle();
    assert_eq!(rig.hub.latency().spans().count(), 1, "nobody got it");
    drop(peers);
}

#[test]
fn more_namespaces_than_are_told_apart_count_as_others() {
    let mut rig = rig(Limits::default());
    let _everything = web_socket(&mut rig, "channel=*");
    for number in 0..20 {
        rig.publish([publication(&format!("n{number}:a"), "k")]);
        rig.settle();
    }
    let snapshot = rig.hub.latency();
    let namespaces = by(&snapshot, |series| snapshot.namespace(series.namespace).to_owned());
    assert_eq!((namespaces["n0"], namespaces["n14"], namespaces["other"]), (1, 1, 5));
    assert_eq!(namespaces.len(), 16);
}

/// The deliveries that a running server has counted.
fn counted(server: &ServerProcess) -> Value {
    get(server.admin, "/latency").json()
}

#[test]
fn a_server_counts_what_its_clients_get_and_says_so_in_three_forms() {
    let server = ServerProcess::start(&["--loops", "2"]);
    let mut streams: Vec<Stream> = (0..10)
        .map(|number| Stream::open(TRANSPORTS[number % 2], server.public, "t:a,repo:a/b", ""))
        .collect();
    let mut publisher = Publisher::connect(server.public);
    publisher.publish_many("t:a", 30);
    publisher.publish("repo:a/b", "1");
    publisher.publish("t:nobody", "1");
    streams.iter_mut().for_each(|stream| stream.assert_next(1..=31));
    // The figures of a turn are there when it is over, a moment after the bytes.
    wait_until("all is counted", || counted(&server)["deliveries"]["count"] == 310);
    let document = counted(&server);
    let check = |path: &str, expected: u64| {
        let figures = document.pointer(path).unwrap_or_else(|| panic!("{path}: {document}"));
        assert_eq!(figures["count"], expected, "{path}: {document}");
        let names = ["min", "p50", "p90", "p99", "p999", "p9999", "max"];
        let values = names.map(|name| figures[name].as_u64().unwrap());
        assert!(values.is_sorted(), "{path}: {figures}");
        let mean = figures["mean"].as_u64().unwrap();
        assert!(values[0] <= mean && mean <= values[6], "{path}: {figures}");
    };
    check("/live", 310);
    check("/lagging", 0);
    check("/transports/websocket", 155);
    check("/transports/sse", 155);
    check("/namespaces/t", 300);
    check("/namespaces/repo", 10);
    check("/answers", 3);
    let loops = document["loops"].as_object().unwrap();
    assert_eq!(loops.values().map(|one| one["count"].as_u64().unwrap()).sum::<u64>(), 310);
    assert_eq!(document["unit"], "ns");
    assert!(document["since"].as_u64().is_some_and(|since| 1_700_000_000_000 < since));
    assert!(document["seconds"].as_f64().is_some_and(|seconds| 0.0 < seconds));

    let percentiles = get(server.admin, "/latency?format=hgrm").text().to_owned();
    let rows: Vec<Vec<f64>> = percentiles
        .lines()
        .skip(2)
        .take_while(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
        .collect();
    assert!(rows.is_sorted_by(|low, high| low[0] <= high[0] && low[1] <= high[1] && low[2] <= high[2]));
    let last = rows.last().unwrap();
    let max_ms = document["deliveries"]["max"].as_u64().unwrap() as f64 / 1e6;
    assert!((last[0] - max_ms).abs() <= max_ms * 0.001 && last[1..] == [1.0, 310.0], "{percentiles}");

    let log = get(server.admin, "/latency?format=hlog").text().to_owned();
    assert_eq!(counts_of_log(&log)[""], 310, "{log}");
    assert_eq!(counts_of_log(&log)["namespace-repo"], 10, "{log}");
    get(server.admin, "/latency?format=xml").assert_problem(400, "bad_format", "xml");
}

/// How many values each histogram of an interval log has, by its tag.
fn counts_of_log(log: &str) -> BTreeMap<String, u64> {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    let mut counts = BTreeMap::new();
    for entry in IntervalLogIterator::new(log.as_bytes()) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            let bytes = base64(interval.encoded_histogram());
            let histogram: hdrhistogram::Histogram<u64> =
                Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            let tag = interval.tag().map(|tag| tag.as_str().to_owned()).unwrap_or_default();
            assert!(counts.insert(tag, histogram.len()).is_none(), "each tag once");
        }
    }
    counts
}

fn base64(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*b"+/").collect();
    let values = text.bytes().filter_map(|byte| digits.iter().position(|digit| *digit == byte));
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0, 0);
    for value in values {
        (bits, held) = (bits << 6 | value, held + 6);
        if 8 <= held {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    bytes
}
