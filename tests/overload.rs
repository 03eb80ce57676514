//! Overload: refusals are clear, nothing is half accepted, and what was accepted is delivered.

mod support;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fanfare::words::limits::Limits;
use support::http::{Http, get, post_text};
use support::local::LocalServer;
use support::process::ServerProcess;
use support::publisher::{Publisher, batch_body, range_of};
use support::stream::{Stream, TRANSPORTS};
use support::websocket::{Client, HANDSHAKE, frame};
use support::{PATIENCE, connect_narrow, wait_until};

/// Pipelined batches of one round.
const BATCHES: usize = 16;

/// Rounds after which a refusal must have been seen.
const ROUNDS_MAX: usize = 50;

/// Sends rounds of pipelined batches of `batch_events` events until one is refused for overload; returns the accepted
/// ranges. Each refusal is checked.
fn publish_until_refused(address: SocketAddr, batch_events: usize) -> Vec<(u64, u64)> {
    let mut http = Http::connect(address);
    let data: Vec<String> = (0..batch_events).map(|number| number.to_string()).collect();
    let request = post_text("/publish", "application/json", &batch_body("t:a", &data));
    let round = request.repeat(BATCHES);
    let mut accepted = Vec::new();
    for _ in 0..ROUNDS_MAX {
        http.send(&round);
        let mut refused = 0;
        for _ in 0..BATCHES {
            let answer = http.answer();
            if answer.status == 202 {
                accepted.push(range_of(&answer));
            } else {
                answer.assert_problem(503, "overloaded", "a batch");
                let seconds: u64 = answer.field("retry-after").unwrap().parse().unwrap();
                assert!((1..=60).contains(&seconds));
                refused += 1;
            }
        }
        if 0 < refused {
            return accepted;
        }
    }
    panic!("nothing was refused in {ROUNDS_MAX} rounds");
}

/// Runs a publisher over the limits, and checks that exactly what was accepted is delivered to every subscriber.
fn check(limits: Limits, loops: usize, batch_events: usize) {
    let server = LocalServer::start_with_loops(limits, loops);
    let mut streams: Vec<Stream> =
        (0..40).map(|number| Stream::open(TRANSPORTS[number % 2], server.public, "t:a,end:x", "")).collect();
    let accepted = publish_until_refused(server.public, batch_events);
    let mut next = 1;
    for (first, last) in &accepted {
        assert_eq!((*first, *last), (next, next + batch_events as u64 - 1), "whole batches, in order");
        next = last + 1;
    }
    // Once the loops have caught up, publishing goes on, right behind what was accepted.
    let mut publisher = Publisher::connect(server.public);
    let end = (0..100_000)
        .find_map(|_| {
            let answer = publisher.request("/publish/end:x", "0");
            (answer.status == 202).then(|| answer.json()["seq"].as_u64().unwrap())
        })
        .expect("overload passes");
    assert_eq!(end, next, "no number was spent on what was refused");
    for stream in &mut streams {
        for seq in 1..end {
            let event = stream.next();
            assert_eq!(event["seq"], seq);
            assert_eq!(event["data"], (seq - 1) % batch_events as u64, "the events of whole batches");
        }
        assert_eq!(stream.next_seq(), end);
    }
}

#[test]
fn publishers_faster_than_the_fan_out_are_refused_and_the_accepted_is_delivered() {
    check(Limits { fanout_backlog_events_max: 1, ..Limits::default() }, 1, 1000);
}

#[test]
fn publishers_faster_than_the_fan_out_of_several_loops_are_refused_too() {
    check(Limits { fanout_backlog_events_max: 1, ..Limits::default() }, 2, 1000);
}

#[test]
fn a_full_queue_refuses_and_the_accepted_is_delivered() {
    check(Limits { ingest_items_max: 2, ..Limits::default() }, 1, 10);
}

#[test]
fn a_queue_full_of_bytes_refuses_and_the_accepted_is_delivered() {
    check(Limits { ingest_bytes_max: 2000, ..Limits::default() }, 1, 10);
}

#[test]
fn a_websocket_publisher_is_told_of_overload_too() {
    let server = LocalServer::start_with_loops(Limits { ingest_items_max: 1, ..Limits::default() }, 1);
    let mut client = Client::open(server.public, "/ws");
    let mut refused = 0;
    let mut published = 0;
    for round in 0..ROUNDS_MAX {
        for number in 0..32 {
            client.send(&format!(r#"{{"type":"publish","channel":"t:a","event":"k","id":{number}}}"#));
        }
        let mut answered: Vec<u64> = (0..32)
            .map(|_| {
                let answer = client.next();
                if answer["type"] == "error" {
                    assert_eq!(answer["code"], "overloaded", "{answer}");
                    refused += 1;
                } else {
                    published += 1;
                    assert_eq!(answer["seq"], published, "{answer}");
                }
                answer["id"].as_u64().unwrap()
            })
            .collect();
        answered.sort_unstable();
        assert_eq!(answered, (0..32).collect::<Vec<u64>>(), "each is answered once");
        if 0 < refused {
            break;
        }
        assert!(round + 1 < ROUNDS_MAX, "nothing was refused");
    }
    let stats = get(server.admin, "/stats").json();
    assert_eq!(stats["published"], published + 1, "nothing of what was refused was published");
}

#[test]
fn connections_beyond_the_cap_are_answered_and_places_come_back() {
    let server = ServerProcess::start(&["--max-connections", "8"]);
    let mut held: Vec<Stream> =
        (0..8).map(|at| Stream::open(TRANSPORTS[at % 2], server.public, "t:a", "")).collect();
    for round in 0..100 {
        let mut http = Http::connect(server.public);
        let request = match round % 4 {
            0 => String::new(),
            1 => HANDSHAKE.to_owned(),
            2 => "GET /events?channel=t:a HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            _ => post_text("/publish/t:a", "application/json", &"1".repeat(100_000)),
        };
        // It may be answered before it is asked; it must not be reset.
        http.send(request);
        let answer = http.answer();
        answer.assert_problem(503, "connections_full", "one too many");
        let seconds: u64 = answer.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds));
        http.assert_closed();
    }
    held.truncate(7);
    let mut publisher = (0..100_000)
        .find_map(|_| {
            let mut http = Http::connect(server.public);
            http.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
            (http.answer().status == 200).then_some(http)
        })
        .expect("the place comes back");
    publisher.send(post_text("/publish/t:a", "application/json", "1"));
    assert_eq!(publisher.answer().status, 202);
    for stream in &mut held {
        assert_eq!(stream.next_seq(), 1, "those who were there noticed nothing");
    }
}

/// Waits until the server has only the operator's own connection, and `others`.
fn wait_for_connections(operator: &mut Http, others: u64) {
    let start = Instant::now();
    loop {
        operator.send("GET /stats HTTP/1.1\r\nHost: x\r\n\r\n");
        let stats = operator.answer().json();
        if stats["connections"] == others + 1 {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{stats}");
    }
}

#[test]
fn a_subscriber_that_takes_nothing_is_disconnected_and_the_others_get_everything() {
    for transport in TRANSPORTS {
        let server = LocalServer::start(Limits { stall_max: Duration::from_secs(2), ..Limits::default() });
        let mut operator = Http::connect(server.admin);
        let stalled = Stream::open_over(connect_narrow(server.public), transport, "t:a", "");
        let mut good = Stream::open(transport, server.public, "t:a", "");
        let mut publisher = Publisher::connect(server.public);
        let data = vec![format!("\"{}\"", "x".repeat(10_000)); 50];
        for _ in 0..20 {
            let (first, last) = publisher.publish_batch("t:a", &data);
            good.assert_next(first..=last);
        }
        // The publisher and the good one stay.
        wait_for_connections(&mut operator, 2);
        drop(stalled);
    }
}

#[test]
fn a_client_that_takes_its_answers_in_drips_is_disconnected_and_one_that_is_only_slow_is_not() {
    let server = LocalServer::start(Limits { answer_deadline: Duration::from_secs(2), ..Limits::default() });
    for connection in ["", "Connection: close\r\n"] {
        let last = format!("GET /page.js HTTP/1.1\r\nHost: x\r\n{connection}\r\n");
        let requests = "GET /page.js HTTP/1.1\r\nHost: x\r\n\r\n".repeat(199) + &last;
        let mut operator = Http::connect(server.admin);
        let mut dripping = connect_narrow(server.public);
        let mut slow = connect_narrow(server.public);
        dripping.write_all(requests.as_bytes()).unwrap();
        slow.write_all(requests.as_bytes()).unwrap();
        // Whether one is gone is seen only once both are there.
        wait_for_connections(&mut operator, 2);
        let mut buffer = vec![0; 16 << 10];
        let (mut drips, mut taken) = (0, 0);
        // One takes 1 KiB a second and the other 256, until one of them is gone.
        let start = Instant::now();
        wait_until("the dripping one is disconnected", || {
            let kib = start.elapsed().as_millis() as usize * 1024 / 1000;
            if drips < kib {
                drips += dripping.read(&mut buffer[..64]).unwrap();
            }
            if taken < kib * 256 {
                taken += slow.read(&mut buffer).unwrap();
            }
            operator.send("GET /stats HTTP/1.1\r\nHost: x\r\n\r\n");
            operator.answer().json()["connections"] == 2
        });
        slow.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = |stream: &mut std::net::TcpStream| {
            let counts = std::iter::from_fn(|| stream.read(&mut buffer).ok().filter(|count| *count != 0));
            counts.sum::<usize>()
        };
        taken += rest(&mut slow);
        drips += rest(&mut dripping);
        assert!(drips < taken / 2, "{drips} of {taken} bytes");
        wait_for_connections(&mut operator, 0);
    }
}

#[test]
fn a_client_that_takes_no_answers_is_not_listened_to_and_then_disconnected() {
    let server = LocalServer::start(Limits { stall_max: Duration::from_secs(2), ..Limits::default() });
    let mut operator = Http::connect(server.admin);
    let ping = frame(0x81, br#"{"type":"ping","id":"take this"}"#).repeat(100);
    let page = "GET /page.js HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    for (handshake, requests) in [(HANDSHAKE, ping), ("", page.into_bytes())] {
        let mut stream = connect_narrow(server.public);
        stream.write_all(handshake.as_bytes()).unwrap();
        let mut sent = 0;
        // Until the server, which has stopped reading, breaks off.
        while stream.write_all(&requests).is_ok() {
            sent += requests.len();
            assert!(sent < 64 << 20, "input goes on although no answer is taken");
        }
        wait_for_connections(&mut operator, 0);
    }
}

/// Requests of one round, of which the queue below takes a part at a time.
const ROUND: usize = 64;

/// What came of pressing.
#[derive(Default)]
struct Pressed {
    /// The numbers that were given.
    given: Vec<u64>,
    refused: usize,
    /// How long each round took until its last answer.
    rounds: Vec<Duration>,
}

/// Publishes rounds of pipelined requests over HTTP until `end`.
fn press_over_http(address: SocketAddr, end: Instant) -> Pressed {
    let mut http = Http::connect(address);
    let round = post_text("/publish/t:a", "application/json", "1").repeat(ROUND);
    let mut pressed = Pressed::default();
    while Instant::now() < end {
        let begun = Instant::now();
        http.send(&round);
        for _ in 0..ROUND {
            let answer = http.answer();
            if answer.status == 202 {
                pressed.given.push(answer.json()["seq"].as_u64().unwrap());
                continue;
            }
            answer.assert_problem(503, "overloaded", "one too many");
            let seconds: u64 = answer.field("retry-after").unwrap().parse().unwrap();
            assert!((1..=5).contains(&seconds), "{seconds}");
            pressed.refused += 1;
        }
        pressed.rounds.push(begun.elapsed());
    }
    pressed
}

/// The same over a WebSocket.
fn press_over_websocket(address: SocketAddr, end: Instant) -> Pressed {
    let mut client = Client::open(address, "/ws");
    let mut pressed = Pressed::default();
    while Instant::now() < end {
        let begun = Instant::now();
        for _ in 0..ROUND {
            client.send(r#"{"type":"publish","channel":"t:a","event":"k","data":1}"#);
        }
        for _ in 0..ROUND {
            let mut answer = client.next();
            if answer["type"] == "cursor" {
                // It has heard of no event for so long that it is told where it is.
                answer = client.next();
            }
            match answer["seq"].as_u64() {
                Some(seq) => pressed.given.push(seq),
                None => {
                    assert_eq!((&answer["type"], &answer["code"]), (&"error".into(), &"overloaded".into()));
                    pressed.refused += 1;
                }
            }
        }
        pressed.rounds.push(begun.elapsed());
    }
    pressed
}

/// Publishes for so long, from four connections, three times what the queue of a server with 8 places takes, while 20 streams
/// read: every number is given once, and everybody gets everything that was accepted and nothing else. `look` is called now
/// and then meanwhile.
fn press_three_times(address: SocketAddr, length: Duration, mut look: impl FnMut()) -> Pressed {
    let streams: Vec<Stream> =
        (0..20).map(|number| Stream::open(TRANSPORTS[number % 2], address, "t:a,end:x", "")).collect();
    let end = Instant::now() + length;
    let publishers: Vec<_> = (0..4)
        .map(|number| {
            let press = if number == 3 { press_over_websocket } else { press_over_http };
            std::thread::spawn(move || press(address, end))
        })
        .collect();
    // Somebody must read meanwhile, or they would only be behind.
    let reading: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            std::thread::spawn(move || {
                let mut next = 1;
                loop {
                    let event = stream.next();
                    assert_eq!(event["seq"], next, "each once, in order");
                    if event["channel"] == "end:x" {
                        return next;
                    }
                    next += 1;
                }
            })
        })
        .collect();
    while Instant::now() < end {
        look();
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut all = Pressed::default();
    for publisher in publishers {
        let pressed = publisher.join().unwrap();
        all.given.extend(pressed.given);
        all.rounds.extend(pressed.rounds);
        all.refused += pressed.refused;
    }
    all.given.sort_unstable();
    all.rounds.sort_unstable();
    let count = all.given.len() as u64;
    let odd = all.given.iter().copied().zip(1..).find(|(given, expected)| given != expected);
    assert_eq!(odd, None, "of {count} numbers none is given twice, or spent on what was refused");
    let refused = all.refused;
    assert!(
        2 * all.given.len() <= refused,
        "{refused} refused and {count} accepted are three times what fits"
    );
    let last = Publisher::connect(address).publish("end:x", "0");
    assert_eq!(last, count + 1);
    for reader in reading {
        assert_eq!(reader.join().unwrap(), last, "everything that was accepted, and nothing else");
    }
    all
}

#[test]
fn of_three_times_what_fits_each_is_accepted_and_delivered_or_refused_and_not() {
    let server = LocalServer::start_with_loops(Limits { ingest_items_max: 8, ..Limits::default() }, 1);
    press_three_times(server.public, Duration::from_secs(3), || {});
}

/// By how much the resident memory may grow under such a load, once it has begun, in KiB: what sockets and queues take.
const GROWTH_KIB_MAX: u64 = 8 << 10;

#[test]
#[ignore = "takes a minute; run with --release for figures"]
fn a_minute_of_three_times_what_fits_takes_no_more_memory_than_a_part_of_it() {
    // A window that is soon full: what is retained is no growth.
    let server = ServerProcess::start(&["--loops", "1", "--ingest-items", "8", "--retain-events", "20000"]);
    let mut resident = Vec::new();
    let pressed = press_three_times(server.public, Duration::from_secs(60), || {
        resident.push(server.resident_kib());
    });
    let (begun, most) = (resident[resident.len() / 3], *resident.iter().max().unwrap());
    let (accepted, refused) = (pressed.given.len(), pressed.refused);
    let slow = pressed.rounds[pressed.rounds.len() * 99 / 100];
    println!(
        "60 s: {accepted} accepted, {refused} refused; {ROUND} answers take {slow:?} at p99 and {:?} at most; \
         {begun} KiB resident after a third of it, {most} at most",
        pressed.rounds.last().unwrap(),
    );
    assert!(most < begun + GROWTH_KIB_MAX, "{resident:?}");
}
