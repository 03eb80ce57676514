//! `loadgen floor` over real sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use tungstenite::protocol::{Message, WebSocket};

/// A running floor, killed with its test.
pub(crate) struct Floor {
    child: Child,
    notes: BufReader<ChildStderr>,
    pub(crate) address: SocketAddr,
}

impl Floor {
    pub(crate) fn start(arguments: &[&str]) -> Floor {
        let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["floor", "--bind", "127.0.0.1:0"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the generator runs");
        let mut notes = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        notes.read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("loadgen floor: listening on ").expect("the address");
        Floor { child, address: address.parse().expect("an address"), notes }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_write_timeout(Some(PATIENCE)).expect("set");
        stream
    }

    fn websocket(&self) -> WebSocket<TcpStream> {
        let url = format!("ws://{}/ws?channel=any", self.address);
        tungstenite::client(url, self.connect()).expect("an upgrade").0
    }

    fn event_stream(&self) -> BufReader<TcpStream> {
        let mut stream = BufReader::new(self.connect());
        stream.get_mut().write_all(b"GET /events?channel=any HTTP/1.1\r\n\r\n").expect("written");
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream"), "{head}");
        stream
    }

    /// Publishes all at once and waits for every answer.
    fn publish(&self, bodies: &[String]) {
        let mut stream = BufReader::new(self.connect());
        let mut input = Vec::new();
        for body in bodies {
            write!(input, "POST /publish HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                .expect("written");
        }
        stream.get_mut().write_all(&input).expect("written");
        for at in 0..bodies.len() {
            assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "), "answer {at}");
            stream.read_exact(&mut [0; 2]).expect("the body");
        }
        stream.get_mut().write_all(b"GET /health/ready HTTP/1.1\r\n\r\n").expect("written");
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "), "one answer to each and no more");
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_head(stream: &mut BufReader<TcpStream>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).expect("a line"), 0, "the end behind {head:?}");
    }
    head
}

fn check_frames(socket: &mut WebSocket<TcpStream>, bodies: &[String]) {
    for (at, body) in bodies.iter().enumerate() {
        assert_eq!(socket.read().expect("a message"), Message::text(body.as_str()), "event {at}");
    }
}

fn check_blocks(stream: &mut BufReader<TcpStream>, bodies: &[String]) {
    for (at, body) in bodies.iter().enumerate() {
        let mut block = String::new();
        stream.read_line(&mut block).expect("a line");
        stream.read_line(&mut block).expect("a line");
        assert_eq!(block, format!("data: {body}\n\n"), "event {at}");
    }
}

fn bodies(count: usize, bytes: usize) -> Vec<String> {
    (0..count).map(|at| format!("{at} {}", "x".repeat(bytes + at % 3))).collect()
}

#[test]
fn every_subscriber_gets_every_event_in_order_and_every_publish_its_answer() {
    for arguments in [&[][..], &["--batch"], &["--each"], &["--work", "10us"]] {
        let floor = Floor::start(arguments);
        let mut sockets = [floor.websocket(), floor.websocket()];
        let mut streams = [floor.event_stream(), floor.event_stream()];
        for (count, bytes) in [(1, 0), (300, 100), (3, 70_000)] {
            let bodies = bodies(count, bytes);
            floor.publish(&bodies);
            sockets.iter_mut().for_each(|socket| check_frames(socket, &bodies));
            streams.iter_mut().for_each(|stream| check_blocks(stream, &bodies));
        }
    }
}

#[test]
fn a_subscriber_that_does_not_read_for_long_loses_nothing() {
    for arguments in ["--batch", "--each"] {
        let floor = Floor::start(&[arguments]);
        let (mut slow_socket, mut slow_stream) = (floor.websocket(), floor.event_stream());
        let mut socket = floor.websocket();
        // More than sockets hold, and publishers are answered all the same.
        let bodies = bodies(2_000, 10_000);
        floor.publish(&bodies);
        check_frames(&mut slow_socket, &bodies);
        check_blocks(&mut slow_stream, &bodies);
        check_frames(&mut socket, &bodies);
        // Those that were behind are as good as others again.
        let last = ["last".to_owned()];
        floor.publish(&last);
        check_frames(&mut slow_socket, &last);
        check_blocks(&mut slow_stream, &last);
    }
}

#[test]
fn a_subscriber_that_never_reads_is_closed_at_the_bound_and_that_is_noted() {
    let mut floor = Floor::start(&[]);
    let mut stuck = floor.event_stream();
    let mut socket = floor.websocket();
    for turn in 0..90 {
        let bodies = [format!("{turn} {}", "x".repeat(1_000_000))];
        floor.publish(&bodies);
        check_frames(&mut socket, &bodies);
    }
    let mut note = String::new();
    floor.notes.read_line(&mut note).expect("a line");
    assert!(note.contains("behind and is closed"), "{note}");
    let mut got = Vec::new();
    // What was under way arrives or is cut off by a reset; either is an end.
    let _ = stuck.read_to_end(&mut got);
    assert!(got.len() < 90_000_000);
}

#[test]
fn a_close_is_answered_by_a_close() {
    let floor = Floor::start(&[]);
    let mut socket = floor.websocket();
    socket.send(Message::text("ignored")).expect("sent");
    socket.send(Message::Ping("ignored".into())).expect("sent");
    socket.close(None).expect("sent");
    assert_eq!(socket.read().expect("a close"), Message::Close(None));
    assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)));
}

#[test]
fn what_is_not_there_is_not_found() {
    let floor = Floor::start(&[]);
    let mut stream = BufReader::new(floor.connect());
    stream.get_mut().write_all(b"GET / HTTP/1.1\r\n\r\n").expect("written");
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 404 "));
    assert_eq!(stream.read_to_end(&mut Vec::new()).expect("the end"), 0);
}

#[test]
fn a_signal_ends_it_well() {
    for signal in ["-TERM", "-INT"] {
        let mut floor = Floor::start(&["--each"]);
        let _subscriber = floor.websocket();
        let sent = Command::new("kill").args([signal, &floor.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        assert_eq!(floor.child.wait().expect("it ends").code(), Some(0), "{signal}");
    }
}

#[test]
fn it_writes_each_or_in_batches_but_not_both() {
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen")).args(["floor", "--each", "--batch"]).output();
    let output = output.expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Long enough for a busy machine; nothing is awaited that does not come.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn an_event_works_for_a_second_at_most() {
    for work in ["1001ms", "x", "-1ms"] {
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["floor", "--bind", "127.0.0.1:0", "--work", work])
            .output()
            .expect("the generator runs");
        assert_eq!(output.status.code(), Some(2), "{work}: {output:?}");
    }
}
