//! A soak: fan-out, churn, slow peers and resumes together, for a minute or for as many seconds as `FANFARE_SOAK_SECONDS`
//! says. Nothing may be lost or repeated, and memory and descriptors must not grow.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::http::{Http, get};
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::sse::Sse;
use support::stream::{Stream, TRANSPORTS};
use support::websocket::{Client, Frames};
use support::{connect, connect_narrow, wait_until};

const PUBLISHERS: usize = 2;
/// Of each transport.
const STEADY: usize = 4;
const RESUMERS: usize = 4;
const SLOW: usize = 3;
const CHURNERS: usize = 2;

/// Between two batches of a publisher.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two messages that a slow peer takes.
const SLOW_PAUSE: Duration = Duration::from_millis(40);
/// Bytes of data in an event: large enough that a slow peer's socket fills.
const BODY_BYTES: usize = 2000;

/// By how much the resident memory may grow from the end of the warm-up to the end, in KiB; and in ten minutes of a longer
/// run.
const GROWTH_KIB_MAX: f64 = 1024.0;

/// What everybody knows of the run.
#[derive(Clone)]
struct Soak {
    address: SocketAddr,
    end: Instant,
    /// The number of the last event, as soon as it is known.
    last: Arc<AtomicU64>,
    tally: Arc<Tally>,
}

/// What happened, so that a run in which nothing did fails.
#[derive(Default)]
struct Tally {
    received: AtomicU64,
    resumes: AtomicUsize,
    gaps: AtomicUsize,
    churned: AtomicUsize,
}

/// A reader of everything: each number comes once, in order, or lies in a gap.
#[derive(Default)]
struct Witness {
    /// The number that came last, or up to which a gap went.
    seq: u64,
}

impl Witness {
    fn see(&mut self, message: &Value, may_lose: bool, tally: &Tally) {
        match message["type"].as_str() {
            Some("event") => {
                let seq = message["seq"].as_u64().expect("a number");
                assert!(self.seq == 0 || seq == self.seq + 1, "{seq} comes after {}", self.seq);
                self.seq = seq;
                tally.received.fetch_add(1, Ordering::Relaxed);
            }
            Some("gap") => {
                assert!(may_lose, "whoever keeps up loses nothing: {message}");
                assert_eq!(message["from"], self.seq + 1, "{message}");
                self.seq = message["to"].as_u64().expect("a number");
                tally.gaps.fetch_add(1, Ordering::Relaxed);
            }
            _ => panic!("{message} among events"),
        }
    }
}

impl Soak {
    fn is_over(&self) -> bool {
        self.end <= Instant::now()
    }

    fn is_at_the_end(&self, witness: &Witness) -> bool {
        self.last.load(Ordering::SeqCst) <= witness.seq
    }

    fn publish(&self, number: usize) {
        let mut publisher = Publisher::connect(self.address);
        let body = format!(r#""{}""#, "x".repeat(BODY_BYTES));
        let mut round = 0;
        while !self.is_over() {
            let count = 1 + round % 5;
            publisher.publish_batch(&format!("soak:{number}/{}", round % 50), &vec![body.clone(); count]);
            round += 1;
            std::thread::sleep(PAUSE);
        }
    }

    fn keep_up(&self, number: usize) {
        let mut stream = Stream::open(TRANSPORTS[number % 2], self.address, "*", "");
        let mut witness = Witness::default();
        while !self.is_at_the_end(&witness) {
            witness.see(&stream.next(), false, &self.tally);
        }
    }

    /// Is cut off again and again, and goes on from where it was, over either transport.
    fn resume(&self, number: usize, epoch: &str) {
        let mut witness = Witness::default();
        let mut round = number;
        while !self.is_at_the_end(&witness) {
            let since = if witness.seq == 0 { String::new() } else { format!("{epoch}-{}", witness.seq) };
            let mut stream = Stream::open(TRANSPORTS[round % 2], self.address, "*", &since);
            for _ in 0..1 + (round * 37) % 200 {
                if self.is_at_the_end(&witness) {
                    return;
                }
                witness.see(&stream.next(), false, &self.tally);
            }
            self.tally.resumes.fetch_add(1, Ordering::Relaxed);
            round += 1;
        }
    }

    /// Takes less than comes until the end, and then the rest.
    fn lag(&self, number: usize) {
        let stream = connect_narrow(self.address);
        let mut stream = Stream::open_over(stream, TRANSPORTS[number % 2], "*", "");
        let mut witness = Witness::default();
        while !self.is_at_the_end(&witness) {
            witness.see(&stream.next(), true, &self.tally);
            if !self.is_over() {
                std::thread::sleep(SLOW_PAUSE);
            }
        }
    }

    /// Comes and goes in many ways.
    fn churn(&self, number: usize) {
        let mut round = number;
        while !self.is_over() {
            let channel = format!("churn:{}", round % 101);
            match round % 5 {
                0 => Client::subscribed(self.address, &channel).0.close(),
                1 => drop(Client::subscribed(self.address, &channel)),
                2 => drop(Sse::open(self.address, &format!("/events?channel={channel}&tags=a"), "")),
                3 => Frames::open(self.address).send(&[0x81, 0xfe, 0x01]),
                _ => Http::over(connect(self.address)).send("POST /publish HTTP/1.1\r\nContent-Le"),
            }
            self.tally.churned.fetch_add(1, Ordering::Relaxed);
            round += CHURNERS;
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The slope of the line that fits best, by the distance between two values.
fn slope(values: &[f64]) -> f64 {
    let mean_x = (values.len() as f64 - 1.0) / 2.0;
    let mean_y = values.iter().sum::<f64>() / values.len() as f64;
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in values.iter().enumerate() {
        above += (x as f64 - mean_x) * (y - mean_y);
        below += (x as f64 - mean_x).powi(2);
    }
    above / below
}

#[test]
#[ignore = "takes a minute, or as long as FANFARE_SOAK_SECONDS says; tests/run calls it"]
fn nothing_is_lost_and_nothing_grows() {
    let seconds =
        std::env::var("FANFARE_SOAK_SECONDS").map_or(60, |text| text.parse().expect("whole seconds"));
    let server = ServerProcess::start(&["--loops", "2", "--retain-events", "2048", "--stall-max", "1h"]);
    let descriptors_before = server.descriptors();
    let first = Client::subscribed(server.public, "soak:first").1;
    let epoch = first["epoch"].as_str().expect("an epoch").to_owned();
    let soak = Soak {
        address: server.public,
        end: Instant::now() + Duration::from_secs(seconds),
        last: Arc::new(AtomicU64::new(u64::MAX)),
        tally: Arc::default(),
    };

    let spawn = |work: Box<dyn FnOnce(Soak) + Send>| {
        let soak = soak.clone();
        std::thread::spawn(move || work(soak))
    };
    let mut readers = Vec::new();
    for number in 0..2 * STEADY {
        readers.push(spawn(Box::new(move |soak| soak.keep_up(number))));
    }
    for number in 0..RESUMERS {
        let epoch = epoch.clone();
        readers.push(spawn(Box::new(move |soak| soak.resume(number, &epoch))));
    }
    for number in 0..SLOW {
        readers.push(spawn(Box::new(move |soak| soak.lag(number))));
    }
    let mut writers = Vec::new();
    for number in 0..PUBLISHERS {
        writers.push(spawn(Box::new(move |soak| soak.publish(number))));
    }
    for number in 0..CHURNERS {
        writers.push(spawn(Box::new(move |soak| soak.churn(number))));
    }

    let mut resident = Vec::new();
    let mut descriptors_most = 0;
    while !soak.is_over() {
        std::thread::sleep(Duration::from_secs(1));
        resident.push(server.resident_kib() as f64);
        descriptors_most = descriptors_most.max(server.descriptors());
    }
    for thread in writers {
        thread.join().expect("publishers and churners go on to the end");
    }
    // Whoever has the last event has everything before. One more wakes those who had it before they could know.
    let mut publisher = Publisher::connect(soak.address);
    let last = publisher.publish("soak:end", "1");
    soak.last.store(last, Ordering::SeqCst);
    publisher.publish("soak:end", "2");
    drop(publisher);
    for thread in readers {
        thread.join().expect("every reader comes to the end");
    }

    let measured = &resident[resident.len() / 2..];
    let ten_minutes = measured.len().min(600) as f64;
    let growth = slope(measured) * ten_minutes;
    let tally = &soak.tally;
    println!(
        "{seconds} s, {last} events published, {} received, {} resumes, {} gaps, {} came and went; \
         {:.0} KiB resident after the warm-up, growing by {growth:.0} KiB in {ten_minutes} s; \
         {descriptors_most} descriptors at most",
        tally.received.load(Ordering::Relaxed),
        tally.resumes.load(Ordering::Relaxed),
        tally.gaps.load(Ordering::Relaxed),
        tally.churned.load(Ordering::Relaxed),
        measured[0],
    );
    assert!(growth < GROWTH_KIB_MAX, "resident memory grows: {resident:?}");
    assert!(0 < tally.resumes.load(Ordering::Relaxed) && 0 < tally.churned.load(Ordering::Relaxed));
    assert!(0 < tally.gaps.load(Ordering::Relaxed), "the slow were slow enough to lose something");
    wait_until("nothing is left of anybody", || {
        let stats = get(server.admin, "/stats").json();
        // The one connection is the operator's own.
        stats["connections"] == 1 && stats["subscriptions"] == 0 && server.descriptors() == descriptors_before
    });
}
