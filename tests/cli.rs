//! The command line: what it prints, and with which exit code it ends.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Output, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use support::PATIENCE;
use support::http::get;
use support::process::{ServerProcess, fanfare};
use support::publisher::Publisher;
use support::websocket::Client;

fn run(arguments: &[&str]) -> Output {
    fanfare().args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn code_and_error(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(arguments);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{arguments:?}: errors are for standard error");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// An address where nobody listens: a port that is never given away by itself.
const DESERTED: &str = "http://127.0.0.1:1";

#[test]
fn help_and_version() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["serve", "publish", "tail", "Exit codes:"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    for command in ["serve", "publish", "tail"] {
        let output = run(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("fanfare {command}")), "{command}");
    }
    let output = run(&["--version"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), concat!("fanfare ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn wrong_usage_is_2() {
    let check = |arguments: &[&str], part: &str| {
        let (code, error) = code_and_error(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {error}");
        assert!(error.contains(part), "{arguments:?}: {part} in {error}");
    };
    check(&[], "Usage");
    check(&["dance"], "dance");
    check(&["serve", "--listen", "nowhere"], "--listen");
    check(&["serve", "--loops", "0"], "--loops");
    check(&["serve", "--max-connections", "0"], "--max-connections");
    check(&["serve", "--quiet-after", "0s"], "durations");
    check(&["serve", "--quiet-after", "soon"], "--quiet-after");
    check(&["serve", "--retain-bytes", "lots"], "--retain-bytes");
    check(&["serve", "--retain-events", "16777217"], "--retain-events");
    check(&["serve", "--headers", "65"], "64 header fields");
    check(&["serve", "--head-bytes", "64KiB"], "65535 bytes");
    check(&["serve", "--ingest-items", "0"], "waiting submissions");
    check(&["serve", "--retry", "1s", "--retry-spread", "2s"], "spread");
    check(&["serve", "--admin-connections", "0"], "connections");
    check(&["serve", "--head-deadline", "0s"], "durations");
    check(
        &["publish", "ftp://127.0.0.1:1", "t:a", "k"],
        "only http://, https://, ws:// and wss:// are spoken",
    );
    check(&["publish", "", "t:a", "k"], "not an address");
    check(&["publish", "127.0.0.1:1", "t:a", "k", "{"], "not JSON");
    check(&["publish", "127.0.0.1:1", "t:a"], "EVENT");
    check(&["tail", "127.0.0.1:1"], "CHANNELS");
    check(&["tail", "127.0.0.1:1", "t:a", "-n", "x"], "--count");
}

#[test]
fn a_server_that_cannot_be_reached_is_3() {
    for arguments in [
        &["publish", DESERTED, "t:a", "k"][..],
        &["tail", DESERTED, "t:a"],
        &["tail", "--sse", DESERTED, "t:a"],
    ] {
        let (code, error) = code_and_error(arguments);
        assert_eq!(code, Some(3), "{arguments:?}: {error}");
        assert!(error.contains("cannot connect to 127.0.0.1:"), "{error}");
    }
}

#[test]
fn a_server_that_speaks_something_else_is_3() {
    for arguments in [&["publish"][..], &["tail"], &["tail", "--sse"]] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = listener.local_addr().unwrap().to_string();
        let speaking = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            stream.write_all(b"SSH-2.0-something\r\n\r\n").unwrap();
        });
        let arguments = [arguments, &[&url, "t:a", "k"]].concat();
        let (code, error) = code_and_error(&arguments);
        assert_eq!(code, Some(3), "{arguments:?}: {error}");
        speaking.join().unwrap();
    }
}

#[test]
fn a_refusal_of_the_server_is_4_and_says_why() {
    let server = ServerProcess::start(&[]);
    let url = format!("http://{}", server.public);
    let check = |arguments: &[&str], parts: &[&str]| {
        let (code, error) = code_and_error(arguments);
        assert_eq!(code, Some(4), "{arguments:?}: {error}");
        for part in parts {
            assert!(error.contains(part), "{arguments:?}: {part} in {error}");
        }
    };
    check(&["publish", &url, "nonsense", "k"], &["400", "missing channel type prefix"]);
    check(&["publish", &url, "t:a", "K"], &["400", "event kind"]);
    check(&["publish", &url, "t:*", "k"], &["400", "wildcard"]);
    check(&["tail", &url, "nonsense"], &["400", "missing channel type prefix"]);
    check(&["tail", "--sse", &url, "nonsense"], &["400", "missing channel type prefix"]);
    check(&["tail", &url, "t:a", "--since", "x"], &["400", "cursor"]);
    check(&["tail", "--sse", &url, "t:a", "--since", "x"], &["400", "cursor"]);
    let admin = format!("http://{}", server.admin);
    check(&["publish", &admin, "t:a", "k"], &["404"]);
}

#[test]
fn publish_prints_the_answer_and_sends_the_data_as_it_is() {
    let server = ServerProcess::start(&[]);
    let url = format!("http://{}/", server.public);
    let (mut client, _) = Client::subscribed(server.public, "t:a");
    let mut check = |arguments: &[&str], input: &str, seq: u64, expected: &str| {
        let mut child = fanfare()
            .args(["publish", &url])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{{\"seq\":{seq}}}\n"));
        let text = client.next_text();
        assert!(text.contains(&format!("\"event\":\"k\",\"data\":{expected},")), "{text}");
    };
    check(&["t:a", "k"], "", 1, "null");
    check(&["t:a", "k", r#"{"b":1.0,"a":1e400,"a":"\u0041"}"#], "", 2, r#"{"b":1.0,"a":1e400,"a":"\u0041"}"#);
    check(&["t:a", "k", "-"], " [ 1 ,\n 2 ] ", 3, "[1,2]");
    check(&["t:a", "k", "1", "--event-id", "mine\""], "", 4, "1");
    let history = get(server.public, "/history?channel=t:a&after=3").json();
    assert_eq!(history["events"][0]["event_id"], "mine\"");
}

#[test]
fn addresses_may_be_written_in_several_ways() {
    let server = ServerProcess::start(&[]);
    let authority = server.public.to_string();
    for url in [authority.clone(), format!("http://{authority}/some/path?x"), format!("ws://{authority}")] {
        let output = run(&["publish", &url, "t:a", "k"]);
        assert_eq!(output.status.code(), Some(0), "{url}");
    }
}

struct Tail {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Tail {
    fn start(arguments: &[&str]) -> Tail {
        let mut child = fanfare()
            .arg("tail")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Tail { child, lines }
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Waits for the command to end by itself, without another line.
    fn end(mut self) -> Option<i32> {
        let mut line = String::new();
        assert_eq!(self.lines.read_line(&mut line).unwrap(), 0, "{line}");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn tail_prints_one_event_a_line_over_either_transport() {
    let server = ServerProcess::start(&[]);
    let url = format!("http://{}", server.public);
    let mut publisher = Publisher::connect(server.public);
    publisher.publish("t:a", "1");
    publisher.publish("t:b", "2");
    publisher.publish("t:c", "3");
    for transport in [&[][..], &["--sse"]] {
        let arguments = [&[&*url, "t:a", "t:c", "--since", "0", "-n", "3"], transport].concat();
        let mut tail = Tail::start(&arguments);
        assert_eq!(tail.next()["data"], 1);
        assert_eq!(tail.next()["data"], 3);
        // The stream is live now.
        publisher.publish("t:a", "4");
        assert_eq!(tail.next()["data"], 4);
        assert_eq!(tail.end(), Some(0), "{arguments:?}");

        let arguments = [&[&*url, "t:a", "--since", "other-7", "-n", "1"], transport].concat();
        let mut tail = Tail::start(&arguments);
        let gap = json!({"type": "gap", "from": null, "to": null, "cause": "epoch", "old": "other-7"});
        assert_eq!(tail.next(), gap);
        assert_eq!(tail.end(), Some(0), "{arguments:?}");
    }
}

#[test]
fn what_publish_says_of_an_event_tail_can_ask_for() {
    let server = ServerProcess::start(&["--namespaces", "t"]);
    let url = format!("http://{}", server.public);
    let publish = |arguments: &[&str]| {
        let output = fanfare().args([&["publish", &url], arguments].concat()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    publish(&["t:a", "push", "1", "--tags", "red,blue", "--ids", "7"]);
    let first = publish(&["t:a", "push", "2", "--workspace", "acme", "--event-id", "e-1"]);
    assert_eq!(publish(&["t:a", "push", "2", "--workspace", "acme", "--event-id", "e-1"]), first, "once");
    publish(&["t:a", "pr.opened", "3", "--tags", "red"]);
    let check = |flags: &[&str], data: &[i64]| {
        for transport in [&[][..], &["--sse"]] {
            let count = data.len().to_string();
            let mut tail = Tail::start(&[&[&*url, "t:a", "-n", &count], flags, transport].concat());
            for expected in data {
                assert_eq!(tail.next()["data"], *expected, "{flags:?}");
            }
            assert_eq!(tail.end(), Some(0), "{flags:?}");
        }
    };
    check(&["--since", "0"], &[1, 3]);
    check(&["--since", "0", "--event-types", "pr.opened"], &[3]);
    check(&["--since", "0", "--tags", "blue,green"], &[1]);
    check(&["--since", "0", "--ids", "7,8"], &[1]);
    check(&["--since", "0", "--workspace", "acme"], &[2]);
    check(&["--last", "1"], &[3]);
    check(&["--since", "0", "--dialect", "cloudevents"], &[1, 3]);
    for (arguments, reason) in [
        (&["publish", &url, "other:a", "push"][..], "unknown channel type: other"),
        (&["tail", &url, "other:a"], "unknown channel type: other"),
        (&["tail", &url, "t:a", "--event-types", "pr_opend"], "unknown event type"),
    ] {
        let (code, error) = code_and_error(arguments);
        assert_eq!(code, Some(4), "{arguments:?}: {error}");
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn tail_ends_with_3_when_the_server_goes() {
    for transport in [&[][..], &["--sse"]] {
        let server = ServerProcess::start(&[]);
        let url = format!("http://{}", server.public);
        Publisher::connect(server.public).publish("t:a", "1");
        let mut tail = Tail::start(&[&[&*url, "t:a", "--since", "earliest"], transport].concat());
        assert_eq!(tail.next()["data"], 1);
        server.signal("TERM");
        assert_eq!(tail.end(), Some(3), "{transport:?}");
    }
}

#[test]
fn tail_ends_quietly_when_nobody_reads_it() {
    let server = ServerProcess::start(&[]);
    let url = format!("http://{}", server.public);
    let mut publisher = Publisher::connect(server.public);
    publisher.publish("t:a", "1");
    let mut child = fanfare()
        .args(["tail", &url, "t:a", "--since", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    drop(lines);
    // Another test that starts a process at this moment lends it our end of the pipe for an instant, so that the first
    // line or two may still find a reader.
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        publisher.publish("t:a", "2");
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "it goes on");
    };
    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_address_that_others_can_reach_is_refused_unless_asked_for() {
    for flag in ["--listen", "--admin-listen"] {
        let other = if flag == "--listen" { "--admin-listen" } else { "--listen" };
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let (code, error) = code_and_error(&["serve", flag, address, other, "127.0.0.1:0"]);
            assert_eq!(code, Some(2), "{flag} {address}: {error}");
            assert!(error.contains("--insecure") && error.contains(flag), "{error}");
        }
    }
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    let server = ServerProcess::start(&[]);
    let taken = server.public.to_string();
    for loops in ["1", "2"] {
        let (code, error) =
            code_and_error(&["serve", "--loops", loops, "--listen", &taken, "--admin-listen", "127.0.0.1:0"]);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains(&format!("cannot listen on {taken}")), "{error}");
        let (code, error) =
            code_and_error(&["serve", "--loops", loops, "--listen", "127.0.0.1:0", "--admin-listen", &taken]);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains(&format!("cannot listen on {taken} (admin)")), "{error}");
    }
}

#[test]
fn at_the_start_it_says_how_much_memory_the_bounds_allow() {
    let server = ServerProcess::start(&["--max-connections", "1000", "--retain-bytes", "64MiB"]);
    let line = server.wait_for_line("memory at most");
    for part in
        ["events ", "queue 32 MiB", "idempotency keys 16 MiB", "notifications 256 MiB", "1064 connections"]
    {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[test]
fn flags_may_come_from_the_environment() {
    let output = fanfare()
        .args(["serve", "--admin-listen", "127.0.0.1:0"])
        .env("FANFARE_LISTEN", "0.0.0.0:0")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("0.0.0.0:0"));
}

#[test]
fn the_demonstration_publishes_real_events() {
    let server = ServerProcess::start(&["--demo", "--demo-rate", "1000"]);
    let mut client = Client::open(server.public, "/ws?channel=*&since=0");
    assert_eq!(client.next()["type"], "subscribed");
    for seq in 1..=100 {
        let event = client.next();
        assert_eq!(event["seq"], seq);
        assert!(event["channel"].as_str().is_some_and(|channel| channel.contains(':')), "{event}");
        assert!(event["data"].is_object(), "{event}");
    }
}
