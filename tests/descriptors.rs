//! Floods: more connections than there is room for, and no descriptor left. Everybody is answered, and whoever comes when
//! there is room again is served.

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use fanfare::words::limits::Limits;
use support::http::{Answer, Http, get};
use support::local::LocalServer;
use support::process::ServerProcess;
use support::stream::{Stream, TRANSPORTS};
use support::websocket::HANDSHAKE;
use support::{connect, prepare, wait_until};

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

/// What is asked over a connection that will be turned away.
const REQUESTS: [&str; 4] = ["", HANDSHAKE, "GET /events?channel=t:a HTTP/1.1\r\nHost: x\r\n\r\n", HEALTH];

fn retry_after(answer: &Answer) -> u64 {
    let seconds = answer.field("retry-after").expect("when to try again").parse().unwrap();
    assert!((1..=5).contains(&seconds), "{seconds}");
    seconds
}

/// Connects `count` times at once, asks in every way, and expects each to be told that there is no place, in order.
fn flood(address: SocketAddr, count: usize, status: u16, code: &str) {
    let mut connections: Vec<Http> = (0..count).map(|_| Http::connect(address)).collect();
    for (at, http) in connections.iter_mut().enumerate() {
        // It may have been answered and left before it has asked; but it must not be reset.
        http.send(REQUESTS[at % REQUESTS.len()]);
    }
    let mut waits = Vec::new();
    for mut http in connections {
        let answer = http.answer();
        answer.assert_problem(status, code, "one too many");
        waits.push(retry_after(&answer));
        http.assert_closed();
    }
    waits.sort_unstable();
    waits.dedup();
    assert!(count < 50 || 3 < waits.len(), "they do not all come back at once: {waits:?}");
}

/// Asks until there is a place.
fn serve_again(address: SocketAddr) {
    wait_until("there is a place again", || {
        let mut http = Http::connect(address);
        http.send(HEALTH);
        http.answer().status == 200
    });
}

#[test]
fn a_flood_is_answered_whole_and_a_place_that_is_free_is_given() {
    let server = ServerProcess::start(&["--max-connections", "100"]);
    let mut held: Vec<Stream> =
        (0..100).map(|at| Stream::open(TRANSPORTS[at % 2], server.public, "t:a", "")).collect();
    let before = server.descriptors();
    flood(server.public, 600, 503, "connections_full");
    wait_until("they are all gone", || server.descriptors() == before);
    let stats = get(server.admin, "/stats").json();
    assert_eq!(stats["connections_turned_away"], 600, "{stats}");
    held.pop();
    serve_again(server.public);
}

#[test]
fn operators_get_in_while_everybody_else_is_kept_out() {
    let server = ServerProcess::start(&["--max-connections", "2", "--admin-connections", "3"]);
    let _held: Vec<Stream> = (0..2).map(|_| Stream::open(TRANSPORTS[0], server.public, "t:a", "")).collect();
    // They say nothing, and stay as long as they may.
    let _crowd: Vec<TcpStream> = (0..200).map(|_| connect(server.public)).collect();
    let mut operators: Vec<Http> = (0..3).map(|_| Http::connect(server.admin)).collect();
    for operator in &mut operators {
        operator.send("GET /stats HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(operator.answer().status, 200);
    }
    flood(server.admin, 20, 503, "connections_full");
    drop(operators.pop());
    serve_again(server.admin);
}

/// A connection from another address of this machine.
fn connect_from(last: u8, address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0);
    socket.bind(&from.into()).unwrap();
    socket.connect(&address.into()).expect("the server accepts connections");
    let stream = TcpStream::from(socket);
    prepare(&stream);
    stream
}

#[test]
fn who_has_too_many_connections_is_refused_more_and_others_are_served() {
    let server = ServerProcess::start(&["--connections-per-address", "5"]);
    let mut held: Vec<Stream> =
        (0..5).map(|at| Stream::open(TRANSPORTS[at % 2], server.public, "t:a", "")).collect();
    for _ in 0..3 {
        flood(server.public, 10, 429, "too_many_connections");
    }
    // Some that do not leave: others must not have to wait for them.
    let _crowd: Vec<TcpStream> = (0..300).map(|_| connect(server.public)).collect();
    for last in 2..20 {
        let mut http = Http::over(connect_from(last, server.public));
        http.send(HEALTH);
        assert_eq!(http.answer().status, 200, "127.0.0.{last}");
    }
    held.pop();
    wait_until("its place is free", || {
        let mut http = Http::connect(server.public);
        http.try_send(HEALTH).is_ok() && !http.is_gone() && http.answer().status == 200
    });
}

/// Limits of the process that is `server`, from now on.
fn allow_descriptors(server: &ServerProcess, count: usize) {
    let pid = server.pid().to_string();
    let status = std::process::Command::new("prlimit")
        .args(["--pid", &pid, &format!("--nofile={count}:20000")])
        .status()
        .expect("prlimit is a part of util-linux");
    assert!(status.success());
}

fn count_of(operator: &mut Http, what: &str) -> u64 {
    operator.send("GET /stats HTTP/1.1\r\nHost: x\r\n\r\n");
    operator.answer().json()[what].as_u64().unwrap()
}

fn accept_failures(operator: &mut Http) -> u64 {
    count_of(operator, "accept_failures")
}

fn connections(operator: &mut Http) -> u64 {
    count_of(operator, "connections")
}

#[test]
fn without_descriptors_everybody_is_told_so_and_the_operator_is_told_once() {
    let server = ServerProcess::start(&["--loops", "1"]);
    let mut operator = Http::connect(server.admin);
    assert_eq!(accept_failures(&mut operator), 0);
    allow_descriptors(&server, server.descriptors());
    // Numbers below the bound may be free, where something was closed.
    let mut held = Vec::new();
    while accept_failures(&mut operator) == 0 {
        held.push(connect(server.public));
        let places = 1 + held.len() as u64;
        wait_until("it is in or not", || {
            0 < accept_failures(&mut operator) || connections(&mut operator) == places
        });
    }
    let before = accept_failures(&mut operator);
    for round in 1..=100 {
        let mut http = Http::connect(server.public);
        // Whoever speaks after it was turned away may be reset: there is no descriptor to listen with.
        let answer = http.answer();
        answer.assert_problem(503, "connections_full", "no descriptor");
        retry_after(&answer);
        assert!(before + round <= accept_failures(&mut operator));
    }
    server.wait_for_line("no descriptor is left");
    assert!(!server.speaks_within(Duration::from_millis(200)), "it is said once");
    let failures = accept_failures(&mut operator);
    assert!(failures <= before + 250, "a look at each, and one to see that nobody is left: {failures}");
    allow_descriptors(&server, 20_000);
    serve_again(server.public);
    assert_eq!(accept_failures(&mut operator), failures);
}

#[test]
fn without_even_the_reserve_the_listener_is_looked_at_less_and_less_often() {
    let server = ServerProcess::start(&["--loops", "1"]);
    let mut operator = Http::connect(server.admin);
    assert_eq!(accept_failures(&mut operator), 0);
    // Fewer than are open: what is closed cannot be opened again.
    allow_descriptors(&server, 1);
    let mut first = Http::connect(server.public);
    assert_eq!(accept_failures(&mut operator).min(1), 1, "it was noticed");
    let _others: Vec<TcpStream> = (0..100).map(|_| connect(server.public)).collect();
    assert!(!first.speaks_within(Duration::from_secs(2)));
    let failures = accept_failures(&mut operator);
    assert!(
        failures <= 12,
        "pauses of 10 ms, doubled up to a second, and not a look at each that comes: {failures}"
    );
    allow_descriptors(&server, 20_000);
    // Its edge came long ago.
    first.send(HEALTH);
    assert_eq!(first.answer().status, 200);
    serve_again(server.public);
}

#[test]
fn few_descriptors_are_shared_out_so_that_none_is_wanting() {
    let server = ServerProcess::start_under(&["prlimit", "--nofile=256:256"], &["--loops", "2"]);
    let mut held = Vec::new();
    // Until all places are taken, which nobody has told us the number of.
    let refused = loop {
        let mut http = Http::connect(server.public);
        http.send(HEALTH);
        let answer = http.answer();
        if answer.status != 200 {
            break answer;
        }
        held.push(http);
        assert!(held.len() < 256);
    };
    refused.assert_problem(503, "connections_full", "one too many");
    assert!(8 < held.len(), "{} are worth the trouble", held.len());
    flood(server.public, 500, 503, "connections_full");
    assert_eq!(get(server.admin, "/stats").json()["accept_failures"], 0, "the cap lies below what there is");
    held.pop();
    serve_again(server.public);
}

#[test]
fn a_process_without_room_for_a_connection_says_so_and_does_not_start() {
    let output = std::process::Command::new("prlimit")
        .args(["--nofile=64:64", env!("CARGO_BIN_EXE_fanfare"), "serve", "--listen", "127.0.0.1:0"])
        .args(["--admin-listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("64 descriptors") && text.contains("ulimit -n"), "{text}");
}

#[test]
fn a_crowd_that_stays_is_let_go_of_and_the_next_are_told() {
    let limits = Limits { connections_max: 1, linger_max: Duration::from_millis(100), ..Limits::default() };
    let server = LocalServer::start(limits);
    let _held = Stream::open(TRANSPORTS[0], server.public, "t:a", "");
    let crowd: Vec<TcpStream> = (0..300).map(|_| connect(server.public)).collect();
    flood(server.public, 20, 503, "connections_full");
    drop(crowd);
}
