//! Whose pages may use the server, and by which names it may be asked for: the same on every path of every transport, at
//! both doors; and what browsers are told of it.

mod support;

use std::net::SocketAddr;

use support::http::{Answer, Http};
use support::process::ServerProcess;

/// What stands in a WebSocket handshake besides its origin.
const HANDSHAKE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A request line of each path and kind, further header lines, and the status when it is let in.
const PUBLIC: &[(&str, &str, u16)] = &[
    ("GET /ws?channel=t:a", HANDSHAKE, 101),
    ("GET /ws?dialect=guts", HANDSHAKE, 101),
    ("GET /api/events", HANDSHAKE, 101),
    ("GET /ws/subscribe", HANDSHAKE, 101),
    ("GET /events?channel=t:a", "", 200),
    ("GET /v1/events", "", 200),
    ("GET /api/events?channel=repo:a/b", "", 200),
    ("GET /ws/subscribe?channel=repo:a/b", "", 200),
    ("POST /publish/t:a", "Content-Length: 0\r\n", 400),
    ("POST /publish", "Content-Length: 0\r\n", 400),
    ("GET /history?channel=t:a", "", 200),
    ("GET /notifications?user=alice", "", 200),
    ("GET /", "", 200),
    ("GET /health", "", 200),
    ("GET /nowhere", "", 404),
    ("OPTIONS /publish", "", 204),
];

const ADMIN: &[(&str, &str, u16)] = &[
    ("GET /stats", "", 200),
    ("GET /metrics", "", 200),
    ("GET /clients", "", 200),
    ("GET /health", "", 200),
    ("POST /announce", "Content-Length: 0\r\n", 400),
    ("POST /clear", "Content-Length: 0\r\n", 400),
    ("DELETE /users/alice", "", 200),
];

/// How a page is refused.
const REFUSAL: (u16, &str) = (403, "origin_not_allowed");

/// A server that goes by its own names alone, as one does unless told otherwise.
fn start(flags: &[&str]) -> ServerProcess {
    ServerProcess::start_under(&["env", "-u", "FANFARE_ALLOW_HOST"], flags)
}

/// The head of the answer to a request with these header lines.
fn head(address: SocketAddr, line: &str, host: &str, fields: &str) -> Answer {
    let mut http = Http::connect(address);
    http.send(format!("{line} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
    http.head()
}

/// Sends each kind of request to both doors and compares the status with that of a good one, or with `refusal`.
fn check_everywhere(server: &ServerProcess, host: Option<&str>, fields: &str, refusal: Option<(u16, &str)>) {
    check_at(server.public, PUBLIC, host, fields, refusal);
    check_at(server.admin, ADMIN, host, fields, refusal);
}

fn check_at(
    address: SocketAddr,
    requests: &[(&str, &str, u16)],
    host: Option<&str>,
    fields: &str,
    refusal: Option<(u16, &str)>,
) {
    let own = address.to_string();
    let host = host.unwrap_or(&own);
    let fields = fields.replace("{port}", &address.port().to_string());
    for (line, others, good) in requests {
        let context = format!("{line}, Host: {host}, {fields:?}");
        let mut http = Http::connect(address);
        http.send(format!("{line} HTTP/1.1\r\nHost: {host}\r\n{others}{fields}\r\n"));
        match refusal {
            None => assert_eq!(http.head().status, *good, "{context}"),
            Some((status, code)) => {
                let answer = http.answer();
                answer.assert_problem(status, code, &context);
                assert_no_grant(&answer, &context);
            }
        }
    }
}

fn assert_no_grant(answer: &Answer, context: &str) {
    let granted = answer.fields.iter().find(|(name, _)| name.starts_with("access-control-"));
    assert_eq!(granted, None, "{context}");
}

#[test]
fn pages_of_other_origins_are_refused_unless_they_are_listed_letter_for_letter() {
    let strict = start(&[]);
    let listing = start(&[
        "--allow-origin",
        "https://app.example,http://localhost:8080",
        "--allow-origin",
        "http://[::1]:3000/",
    ]);
    // Header lines; whether a server lets them in that lists nothing, and one that lists these three.
    let rows: &[(&str, bool, bool)] = &[
        ("", true, true),
        ("Origin: http://127.0.0.1:{port}", true, true),
        ("Origin: https://127.0.0.1:{port}", true, true),
        ("Origin: HTTP://127.0.0.1:{port}", true, true),
        ("Origin:\r\nAuthorization: Bearer x", true, true),
        ("Origin: https://app.example", false, true),
        ("Origin: https://app.example:443", false, true),
        ("Origin: HTTPS://App.Example", false, true),
        ("Origin: http://localhost:8080", false, true),
        ("Origin: http://[::1]:3000", false, true),
        ("Origin: http://127.0.0.1", false, false),
        ("Origin: http://127.0.0.1:1", false, false),
        ("Origin: http://127.0.0.1:{port}.evil", false, false),
        ("Origin: http://127.0.0.1.evil:{port}", false, false),
        ("Origin: http://user@127.0.0.1:{port}", false, false),
        ("Origin: http://127.0.0.1:{port}@evil.example", false, false),
        ("Origin: http://127.0.0.1:{port}/", false, false),
        ("Origin: http://127.0.0.1.:{port}", false, false),
        ("Origin: http://127.1:{port}", false, false),
        ("Origin: http://2130706433:{port}", false, false),
        ("Origin: http://0.0.0.0:{port}", false, false),
        ("Origin: http://[::ffff:7f00:1]:{port}", false, false),
        ("Origin: 127.0.0.1:{port}", false, false),
        ("Origin: //127.0.0.1:{port}", false, false),
        ("Origin: ws://127.0.0.1:{port}", false, false),
        ("Origin: file://127.0.0.1:{port}", false, false),
        ("Origin: null", false, false),
        ("Origin:", false, false),
        ("Origin:\r\nCookie: a=b", false, false),
        ("Origin:\r\nAuthorization: Bearer x\r\nSec-Fetch-Site: cross-site", false, false),
        ("Origin: *", false, false),
        ("Origin: http://localhost:{port}", false, false),
        ("Origin: http://localhost", false, false),
        ("Origin: http://localhost.evil", false, false),
        ("Origin: http://evil-localhost", false, false),
        ("Origin: http://localhost:8080.evil", false, false),
        ("Origin: http://localhost:08080", false, false),
        ("Origin: http://localhost:", false, false),
        ("Origin: https://localhost:8080", false, false),
        ("Origin: http://app.example", false, false),
        ("Origin: https://app.example:8443", false, false),
        ("Origin: https://app.example.evil.example", false, false),
        ("Origin: https://evil-app.example", false, false),
        ("Origin: https://sub.app.example", false, false),
        ("Origin: https://app.example.", false, false),
        ("Origin: https://app.example/", false, false),
        ("Origin: https://app\u{ff0e}example", false, false),
        ("Origin: https://\u{430}pp.example", false, false),
        ("Origin: https://app.example, https://app.example", false, false),
        ("Origin: https://app.example\r\nOrigin: https://app.example", false, false),
        ("Origin: http://[0:0:0:0:0:0:0:1]:3000", false, false),
        ("Origin: http://[::1]", false, false),
        ("Origin: http://::1:3000", false, false),
    ];
    for (lines, by_strict, by_listing) in rows {
        let fields = if lines.is_empty() { String::new() } else { format!("{lines}\r\n") };
        let refusal = |is_good: &bool| (!is_good).then_some(REFUSAL);
        check_everywhere(&strict, None, &fields, refusal(by_strict));
        check_at(listing.public, PUBLIC, None, &fields, refusal(by_listing));
        // What is listed is let in by the public door alone.
        check_at(listing.admin, ADMIN, None, &fields, refusal(by_strict));
    }
}

#[test]
fn null_is_an_origin_like_any_other() {
    let server = start(&["--allow-origin", "null"]);
    check_at(server.public, PUBLIC, None, "Origin: null\r\n", None);
    check_at(server.public, PUBLIC, None, "Origin: NULL\r\n", None);
    check_at(server.admin, ADMIN, None, "Origin: null\r\n", Some(REFUSAL));
    check_everywhere(&server, None, "Origin: null.example\r\n", Some(REFUSAL));
    let answer = head(server.public, "GET /history?channel=t:a", "localhost", "Origin: null\r\n");
    assert_eq!(answer.field("access-control-allow-origin"), Some("null"));
}

#[test]
fn a_name_that_somebody_has_bound_to_our_address_is_not_ours() {
    let loopback = start(&[]);
    let listing = start(&["--allow-host", "fan.example,other.example:8443"]);
    let rows: &[(&str, bool, bool)] = &[
        ("localhost", true, true),
        ("LOCALHOST:8080", true, true),
        ("127.0.0.1", true, true),
        ("127.1.2.3:99", true, true),
        ("[::1]:8080", true, true),
        ("fan.example", false, true),
        ("FAN.example:9", false, true),
        ("other.example:8443", false, true),
        ("other.example", false, false),
        ("evil.example", false, false),
        ("localhost.evil", false, false),
        ("localhost.", false, false),
        ("evil-localhost", false, false),
        ("127.0.0.1.nip.io", false, false),
        ("0.0.0.0", false, false),
        ("[::]", false, false),
        ("fan.example.", false, false),
        ("fan.example.evil", false, false),
    ];
    for (host, by_loopback, by_listing) in rows {
        for (server, is_good) in [(&loopback, by_loopback), (&listing, by_listing)] {
            let refusal = (!is_good).then_some((421, "host_not_allowed"));
            check_everywhere(server, Some(host), "", refusal);
            // To the browser such a page is of our own origin.
            check_everywhere(server, Some(host), &format!("Origin: http://{host}\r\n"), refusal);
        }
    }
}

#[test]
fn an_allowed_page_may_read_every_answer_and_no_other_page_any() {
    let server = start(&["--allow-origin", "https://app.example"]);
    let own = format!("http://{}", server.public);
    let post = "Content-Type: application/json\r\nContent-Length: 1\r\n\r\n1";
    let requests: &[(&str, &str, u16)] = &[
        ("GET /history?channel=t:a", "\r\n", 200),
        ("GET /history?channel=nonsense", "\r\n", 400),
        ("GET /nowhere", "\r\n", 404),
        ("PUT /publish", "\r\n", 405),
        ("POST /publish/t:a", post, 202),
        ("POST /publish", post, 400),
        ("GET /notifications?user=alice", "\r\n", 200),
        ("GET /delivered?seq=0", "\r\n", 200),
        ("GET /events?channel=t:a", "\r\n", 200),
        ("GET /v1/events", "\r\n", 200),
        ("GET /api/events?channel=repo:a/b", "\r\n", 200),
        ("GET /ws", "\r\n", 426),
    ];
    for (line, rest, status) in requests {
        let ask = |origin: &str| {
            let mut http = Http::connect(server.public);
            let host = server.public;
            http.send(format!("{line} HTTP/1.1\r\nHost: {host}\r\n{origin}{rest}"));
            http.head()
        };
        let answer = ask("Origin: https://app.example\r\n");
        assert_eq!(answer.status, *status, "{line}");
        for (name, expected) in [
            ("access-control-allow-origin", "https://app.example"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "Allow, Retry-After, WWW-Authenticate"),
            ("vary", "Origin"),
        ] {
            assert_eq!(answer.field(name), Some(expected), "{line} {name}");
        }
        for origin in ["", "Origin: https://evil.example\r\n", &format!("Origin: {own}\r\n")] {
            assert_no_grant(&ask(origin), &format!("{line} {origin}"));
        }
    }
    let refusal = head(server.public, "GET /history", "localhost", "Origin: https://evil.example\r\n");
    assert_eq!(refusal.field("vary"), Some("Origin"));
}

#[test]
fn answers_to_pipelined_requests_each_go_to_the_page_that_asked() {
    let server = start(&["--allow-origin", "https://a.example,https://b.example"]);
    let mut http = Http::connect(server.public);
    let publish = |origin: &str| {
        format!("POST /publish/t:a HTTP/1.1\r\nHost: localhost\r\n{origin}Content-Length: 1\r\n\r\n1")
    };
    let (a, b) = ("Origin: https://a.example\r\n", "Origin: https://b.example\r\n");
    http.send([a, b, "", a, "", b].map(publish).concat());
    for expected in [Some("a"), Some("b"), None, Some("a"), None, Some("b")] {
        let answer = http.answer();
        assert_eq!(answer.status, 202);
        let expected = expected.map(|name| format!("https://{name}.example"));
        assert_eq!(answer.field("access-control-allow-origin"), expected.as_deref());
    }
}

#[test]
fn browsers_that_ask_first_are_told_what_a_page_may_do() {
    let server = start(&["--allow-origin", "https://app.example"]);
    let ask = |path: &str, origin: &str, fields: &str| {
        let host = server.public;
        head(
            server.public,
            &format!("OPTIONS {path}"),
            &host.to_string(),
            &format!("Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\n{fields}"),
        )
    };
    let asks = "Access-Control-Request-Headers: authorization,content-type,idempotency-key,last-event-id\r\n";
    for (path, methods) in [
        ("/publish", "POST, OPTIONS"),
        ("/publish/t:a", "POST, OPTIONS"),
        ("/history", "GET, HEAD, OPTIONS"),
        ("/events", "GET, OPTIONS"),
    ] {
        for fields in ["", asks] {
            let answer = ask(path, "https://app.example", fields);
            assert_eq!(answer.status, 204, "{path}");
            let granted = |name: &str| answer.field(name).unwrap_or_default().to_ascii_lowercase();
            assert_eq!(granted("access-control-allow-origin"), "https://app.example");
            assert_eq!(granted("access-control-allow-credentials"), "true");
            assert_eq!(answer.field("access-control-allow-methods"), Some(methods), "{path}");
            assert_eq!(answer.field("allow"), Some(methods), "{path}");
            assert_eq!(granted("access-control-max-age"), "600");
            assert_eq!(granted("vary"), "origin");
            let headers = granted("access-control-allow-headers");
            let headers: Vec<&str> = headers.split(", ").collect();
            for needed in ["authorization", "content-type", "idempotency-key", "last-event-id", "ce-id"] {
                assert!(headers.contains(&needed), "{needed}: {headers:?}");
            }
        }
        for origin in ["https://evil.example", "null", "https://app.example.evil"] {
            let answer = ask(path, origin, asks);
            assert_eq!(answer.status, 403, "{path} {origin}");
            assert_no_grant(&answer, path);
        }
    }
    let nowhere = ask("/nowhere", "https://app.example", "");
    assert_eq!(nowhere.status, 404);
    // Operators' pages are their door's own, and ask nothing first.
    let admin = server.admin.to_string();
    let fields = "Origin: https://app.example\r\nAccess-Control-Request-Method: DELETE\r\n";
    let answer = head(server.admin, "OPTIONS /users/alice", &admin, fields);
    assert_eq!(answer.status, 403);
    assert_no_grant(&answer, "OPTIONS /users/alice");
}

#[test]
fn what_cannot_be_listed_is_an_error_at_the_start() {
    for (flag, value) in [
        ("--allow-origin", "*"),
        ("--allow-origin", "https://*.example"),
        ("--allow-origin", "app.example"),
        ("--allow-origin", "https://app.example/path"),
        ("--allow-host", "https://fan.example"),
        ("--allow-host", "*.example"),
        ("--trusted-proxy", "10.0.0.0/33"),
        ("--trusted-proxy", "proxy.example"),
        ("--proxy-header", "x-real-ip"),
        ("--publishes-per-second-per-address", "0/5"),
    ] {
        let output = support::process::fanfare().args(["serve", flag, value]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flag} {value}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(flag), "{flag} {value}: {text}");
    }
}
