//! The log: one event is one line, whatever clients send; no secrets; and nobody waits for whoever reads it.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use support::http::{Http, ask, get, request_text};
use support::process::{ServerProcess, fanfare};
use support::tokens;
use support::websocket::Client;
use support::{PATIENCE, wait_until};

/// What is sent.
const STRINGS: usize = 10_000;

/// Pieces that are made to end a line, a string or an object, or to do something to a terminal.
const PIECES: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"}",
    b"{",
    b"','",
    b"\n",
    b"\r\n",
    b"\0",
    b"\x1b[31m",
    b"\x1b]0;x\x07",
    b"\x7f",
    b"\t",
    b"%0a",
    b"%22",
    b"%00",
    b"%1b",
    b"\xff",
    b"\xc3\x28",
    "\u{9b}".as_bytes(),
    "\u{2028}".as_bytes(),
    "\u{202e}".as_bytes(),
    b"{\"level\":\"error\"}",
    b"a",
    b"path",
    b"=",
    b" ",
    b"#",
    b"?",
    b"/",
];

/// Some of them in a row, others for every `at`.
fn hostile(at: usize) -> Vec<u8> {
    // A linear congruential generator is random enough for a walk among pieces.
    let mut state = at as u64;
    let mut pick = |of: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % of
    };
    let count = 1 + pick(8);
    (0..count).flat_map(|_| PIECES[pick(PIECES.len())]).copied().collect()
}

/// The same where nothing but these bytes can stand, so that the request is understood.
fn encoded(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02x}")).collect()
}

/// The `at`th request with a hostile string in it. As it is, it has no line ends, so that it stays one request.
fn request(at: usize, text: &[u8]) -> Vec<u8> {
    let bare: Vec<u8> = text.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
    let (before, after): (&[u8], &[u8]) = match at % 7 {
        0 => (b"GET /", b" HTTP/1.1\r\nHost: x\r\n\r\n"),
        1 => (b"GET /health HTTP/1.1\r\nHost: x\r\nUser-Agent: ", b"\r\n\r\n"),
        2 => (b"GET /health HTTP/1.1\r\nHost: x\r\nOrigin: ", b"\r\n\r\n"),
        3 => (b"GET /history?channel=", b"&limit=1 HTTP/1.1\r\nHost: x\r\n\r\n"),
        4 => (b"M", b" / HTTP/1.1\r\nHost: x\r\n\r\n"),
        5 => {
            let (path, text) = (format!("/publish/{}", encoded(text)), encoded(text));
            return request_text("POST", &format!("{path}?user={text}"), "Origin: evil\r\n", "1")
                .into_bytes();
        }
        _ => {
            let text = encoded(text);
            return request_text("GET", &format!("/presence?user={text}&channel={text}"), "", "")
                .into_bytes();
        }
    };
    [before, &bare, after].concat()
}

#[test]
fn ten_thousand_hostile_strings_make_ten_thousand_lines() {
    let server = ServerProcess::start(&["--access-log"]);
    server.wait_for_line("memory at most");
    let mut http = Http::connect(server.public);
    let mut refused = 0;
    for at in 0..STRINGS {
        http.send(request(at, &hostile(at)));
        let answer = http.answer();
        refused += usize::from(answer.status == 403);
        if answer.field("connection") == Some("close") {
            http = Http::connect(server.public);
        }
    }
    let (mut accesses, mut audits) = (0, 0);
    while accesses < STRINGS || audits < refused {
        let line = server.line_within(PATIENCE).expect("a line for each");
        match &*check(&line) {
            "access" => accesses += 1,
            "audit" => audits += 1,
            other => panic!("{other}: {line}"),
        }
    }
    assert_eq!((accesses, audits), (STRINGS, refused));
    assert!(STRINGS / 10 < refused, "refusals are audited: {refused}");
    assert_eq!(server.line_within(Duration::from_millis(100)), None, "there are no others");
    assert_eq!(get(server.admin, "/stats").json()["log_lines_dropped"], 0);
}

/// Checks the form of a line, and returns its target.
fn check(line: &str) -> String {
    assert!(!line.chars().any(char::is_control), "{line:?}");
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    let names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    let known = [
        "time", "level", "target", "message", "method", "path", "status", "bytes", "ms", "user", "address",
        "code",
    ];
    assert!(names.iter().all(|name| known.contains(name)), "{line}");
    assert!(value["path"].as_str().is_none_or(|path| !path.contains('?')), "{line}");
    assert!(["info", "warn"].contains(&value["level"].as_str().unwrap()), "{line}");
    value["target"].as_str().unwrap().to_owned()
}

/// What nobody may find anywhere.
const SEED: &str = "correct-horse-battery-staple";

#[test]
fn no_secret_is_in_any_line_and_in_nothing_that_operators_see() {
    let mut secrets = tempfile::NamedTempFile::new().unwrap();
    writeln!(secrets, "{SEED}").unwrap();
    let path = secrets.path().to_str().unwrap();
    let server = ServerProcess::start(&[
        "--access-log",
        "--log-level",
        "debug",
        "--hook-github-secrets",
        path,
        "--hook-gitlab-tokens",
        path,
    ]);
    server.wait_for_line("memory at most");
    let bearer = format!("Authorization: Bearer {SEED}\r\nCookie: __Host-fanfare={SEED}\r\n");
    let body = format!(r#"{{"channel":"t:a","event":"k","data":"{SEED}"}}"#);
    for (method, path, fields, body) in [
        ("GET", format!("/history?channel=t:a&access_token={SEED}"), String::new(), ""),
        ("GET", format!("/ws?token={SEED}"), String::new(), ""),
        ("GET", format!("/nothing?access_token={SEED}"), bearer.clone(), ""),
        ("POST", "/publish".to_owned(), bearer.clone(), &*body),
        ("POST", "/publish".to_owned(), format!("Origin: http://{SEED}\r\n{bearer}"), &*body),
        ("POST", "/hooks/gitlab".to_owned(), format!("X-Gitlab-Token: {SEED}\r\n"), "{}"),
        ("POST", "/hooks/gitlab".to_owned(), format!("X-Gitlab-Token: not {SEED}\r\n"), "{}"),
        ("POST", "/hooks/github".to_owned(), format!("X-Hub-Signature-256: sha256={SEED}\r\n"), "{}"),
        ("GET", "/health".to_owned(), format!("User-Agent: a\u{0}{SEED}\r\n"), ""),
    ] {
        ask(server.public, method, &path, &fields, body);
    }
    let mut client =
        Client::open(server.public, &format!("/ws?channel=t:a&access_token={SEED}&token={SEED}"));
    client.ask(&format!(r#"{{"type":"auth","token":"{SEED}"}}"#));
    client.ask(r#"{"type":"ping"}"#);
    for path in ["/metrics", "/stats", "/clients", "/channels", "/log-level"] {
        let text = get(server.admin, path).text().to_owned();
        assert!(!text.contains(SEED), "{path}: {text}");
    }
    client.close();
    server.signal("HUP");
    server.signal("TERM");
    let mut lines = 0;
    loop {
        let line = server.line_within(PATIENCE).expect("the server ends");
        assert!(!line.contains(SEED), "{line}");
        lines += 1;
        if line.contains("\"drained\"") {
            break;
        }
    }
    assert!(15 < lines, "there was something to look at: {lines}");
}

/// A process that ends with its test, however that ends.
struct Kept(std::process::Child);

impl Drop for Kept {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server whose standard error is read up to its addresses, and then no more.
fn start_unread(flags: &[&str]) -> (Kept, impl BufRead + Send + use<>, SocketAddr, SocketAddr) {
    let mut child = fanfare()
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--fanout-backlog-max",
            "1m",
        ])
        .env("FANFARE_ALLOW_HOST", "any")
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut address = |words: &str| {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        assert!(line["message"].as_str().unwrap().starts_with(words), "{line}");
        line["address"].as_str().unwrap().parse().unwrap()
    };
    let (public, admin) = (address("listening on http://"), address("admin on http://"));
    (Kept(child), lines, public, admin)
}

#[test]
fn a_log_that_nobody_reads_stops_nobody_and_says_later_what_is_missing() {
    let (_child, lines, public, admin) = start_unread(&["--access-log", "--loops", "1"]);
    let mut client = Client::open(public, "/ws?channel=t:a");
    client.next();
    let path = format!("/publish/t:a?{}", "x".repeat(100));
    let long = format!("/{}", "y".repeat(300));
    let mut http = Http::connect(public);
    let (mut asked, mut seq) = (0, 0);
    // Some thousand lines fill the pipe and the queue.
    wait_until("lines are left out", || {
        for _ in 0..200 {
            http.send(request_text("GET", &long, "", ""));
            assert_eq!(http.answer().status, 404);
        }
        http.send(request_text("POST", &path, "", "1"));
        assert_eq!(http.answer().status, 202);
        seq += 1;
        assert_eq!(client.next()["seq"], seq, "events are delivered meanwhile");
        asked += 200;
        get(admin, "/stats").json()["log_lines_dropped"].as_u64().unwrap() != 0
    });
    assert!(1000 < asked, "the queue holds some: {asked}");
    // Somebody comes and reads.
    let reader = std::thread::spawn(move || {
        let told = lines.lines().map(|line| line.unwrap()).find(|line| line.contains("were left out"));
        serde_json::from_str::<Value>(&told.expect("it is told")).unwrap()
    });
    let told = reader.join().unwrap();
    assert!((1..).contains(&told["lines"].as_u64().unwrap()), "{told}");
    assert_eq!(told["level"], "warn");
}

#[test]
fn a_server_whose_log_is_full_ends_all_the_same() {
    let (mut child, _lines, public, admin) = start_unread(&["--access-log", "--loops", "1"]);
    let long = format!("/{}", "y".repeat(300));
    let mut http = Http::connect(public);
    wait_until("lines are left out", || {
        for _ in 0..200 {
            http.send(request_text("GET", &long, "", ""));
            assert_eq!(http.answer().status, 404);
        }
        get(admin, "/stats").json()["log_lines_dropped"].as_u64().unwrap() != 0
    });
    drop(http);
    let pid = child.0.id().to_string();
    let sent = std::process::Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &pid]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
}

/// The lines of a server with these flags, from the first that `work` makes to the end.
fn lines_of(flags: &[&str], work: impl FnOnce(&ServerProcess)) -> Vec<String> {
    let server = ServerProcess::start(flags);
    work(&server);
    server.signal("TERM");
    let mut lines = Vec::new();
    while let Some(line) = server.line_within(PATIENCE) {
        lines.push(line);
    }
    lines
}

#[test]
fn every_request_has_a_line_when_it_is_answered_and_every_stream_when_it_ends() {
    let lines = lines_of(&["--access-log", "--loops", "1"], |server| {
        let mut http = Http::connect(server.public);
        // The second is answered before the first, and told after it.
        http.send(
            request_text("POST", "/publish/t:a?user=alice", "", "1")
                + &request_text("GET", "/health", "", ""),
        );
        assert_eq!((http.answer().status, http.answer().status), (202, 200));
        http.send("BAD\r\n\r\n");
        http.answer();
        http.assert_closed();
        ask(server.public, "GET", "/notifications?user=bob", "", "");
        let mut client = Client::open(server.public, "/ws?user=carol&channel=t:b");
        client.next();
        client.close();
        wait_until("the stream has ended", || get(server.admin, "/stats").json()["streams"] == 0);
    });
    let accesses: Vec<Value> = lines
        .iter()
        .filter(|line| line.contains("\"access\""))
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["path"] != "/stats")
        .collect();
    let check = |path: Option<&str>, method: &str, status: u64, user: Option<&str>| {
        let mut found = accesses.iter().filter(|line| line["path"].as_str() == path);
        let line = found.next().unwrap_or_else(|| panic!("{path:?} in {accesses:#?}"));
        assert!(found.next().is_none(), "{path:?} twice in {accesses:#?}");
        assert_eq!((&line["method"], &line["status"]), (&method.into(), &status.into()), "{line}");
        assert_eq!(line["user"].as_str(), user, "{line}");
        assert!(line["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{line}");
        assert!(line["bytes"].as_u64().is_some_and(|bytes| 60 < bytes) && line["ms"].is_u64(), "{line}");
    };
    check(Some("/publish/t:a"), "POST", 202, Some("alice"));
    check(Some("/health"), "GET", 200, None);
    check(None, "-", 400, None);
    check(Some("/notifications"), "GET", 200, Some("bob"));
    check(Some("/ws"), "GET", 101, Some("carol"));
    assert_eq!(accesses.len(), 5, "{accesses:#?}");
}

#[test]
fn refusals_and_what_operators_do_are_logged_without_being_asked_for() {
    let server = ServerProcess::start(&["--commands-per-second", "1"]);
    let next = || serde_json::from_str::<Value>(&server.wait_for_line("\"audit\"")).unwrap();
    let check = |expected: &[(&str, &str)]| {
        let line = next();
        for (name, value) in expected {
            let said = line[name].as_str().map_or_else(|| line[name].to_string(), str::to_owned);
            assert_eq!(said, *value, "{name} of {line}");
        }
    };
    ask(server.public, "GET", "/ws?secret=1", "Origin: http://evil.example\r\n", "");
    check(&[
        ("level", "warn"),
        ("message", "refused"),
        ("method", "GET"),
        ("path", "/ws"),
        ("status", "403"),
        ("code", "origin_not_allowed"),
    ]);
    ask(server.public, "POST", "/hooks/gitlab?user=eve", "X-Gitlab-Token: x\r\n", "{}");
    get(server.admin, "/stats");
    ask(server.admin, "DELETE", "/users/mallory", "", "");
    check(&[
        ("level", "info"),
        ("message", "an operator acts"),
        ("method", "DELETE"),
        ("path", "/users/mallory"),
    ]);
    let mut client = Client::open(server.public, "/ws?user=carol");
    for _ in 0..3 {
        client.ask(r#"{"type":"ping"}"#);
    }
    check(&[("message", "command refused"), ("code", "rate_limited"), ("user", "carol")]);
}

#[test]
fn guessed_tokens_and_connections_that_come_too_fast_are_logged_by_whom_they_come_from() {
    let folder = tokens::folder();
    let secret = folder.path().join("token.secret");
    let server = ServerProcess::start(&[
        "--token-key",
        secret.to_str().unwrap(),
        "--trusted-proxy",
        "127.0.0.0/8",
        "--connects-per-second-per-address",
        "1/1",
    ]);
    let mut client = Client::open(server.public, "/ws");
    client.ask(r#"{"type":"auth","token":"a.b.c"}"#);
    let line = server.wait_for_line("invalid_token");
    assert!(line.contains("command refused"), "{line}");
    let fields = "X-Forwarded-For: 192.0.2.7\r\nAuthorization: Bearer a.b.c\r\n";
    ask(server.public, "GET", "/history?channel=t:a", fields, "");
    let line: Value = serde_json::from_str(&server.wait_for_line("invalid_token")).unwrap();
    assert_eq!((&line["status"], &line["address"]), (&Value::from(401), &Value::from("192.0.2.7")), "{line}");

    let server = ServerProcess::start(&["--connects-per-second-per-address", "1/1"]);
    let _held = Client::open(server.public, "/ws");
    get(server.public, "/health");
    let line = server.wait_for_line("connection refused");
    assert!(line.contains("rate_limited"), "{line}");
}

#[test]
fn other_refusals_are_told_where_a_fault_is_looked_for() {
    let server = ServerProcess::start(&["--log-level", "debug"]);
    get(server.public, "/nothing?x=1");
    let line: Value = serde_json::from_str(&server.wait_for_line("\"audit\"")).unwrap();
    let said = ["level", "message", "path", "code"].map(|name| line[name].as_str().unwrap());
    assert_eq!(said, ["debug", "refused", "/nothing", "not_found"]);
}

#[test]
fn lines_are_text_for_who_wants_that_and_as_few_as_is_wanted() {
    let mut server = ServerProcess::start(&["--log-format", "text"]);
    let line = server.wait_for_line("loops, up to");
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.len() == "2026-11-22T18:00:00.000Z".len() && time.ends_with('Z'), "{line}");
    assert!(rest.starts_with("INFO  server: "), "{line}");
    server.wait_for_line("memory at most");
    ask(server.admin, "PUT", "/log-level", "", r#"{"level":"error"}"#);
    server.wait_for_line("audit: the log level changes before=info now=error");
    ask(server.public, "GET", "/ws", "Origin: http://evil.example\r\n", "").assert_problem(
        403,
        "origin_not_allowed",
        "",
    );
    server.signal("TERM");
    assert_eq!(server.line_within(PATIENCE), None, "nothing that matters less is said");
    assert_eq!(server.wait_for_end().code(), Some(0));
}

#[test]
fn who_asks_through_a_proxy_is_the_same_in_every_line() {
    let lines = lines_of(&["--access-log", "--loops", "1", "--trusted-proxy", "127.0.0.0/8"], |server| {
        let fields = "X-Forwarded-For: 192.0.2.1\r\n";
        ask(server.public, "POST", "/publish/t:a", fields, "1");
        ask(
            server.public,
            "POST",
            "/publish/t:a",
            &format!("{fields}Origin: https://elsewhere.example\r\n"),
            "1",
        );
    });
    let told: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = told.iter().filter(|line: &&Value| line["path"] == "/publish/t:a");
    let told: Vec<(&str, &str)> =
        told.map(|line| (line["target"].as_str().unwrap(), line["address"].as_str().unwrap())).collect();
    let client = "192.0.2.1";
    assert_eq!(told, [("access", client), ("access", client), ("audit", client)]);
}
