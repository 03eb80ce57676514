//! What RFC 9110 and RFC 9112 ask of a server, point by point: the answer to one request, and whether the connection can be
//! used for another.

mod support;

use support::http::Http;
use support::process::ServerProcess;

/// One request of the list.
struct Point {
    /// What the point is about, with its place in the standard.
    name: &'static str,
    request: String,
    /// Status codes of the answers, in order.
    statuses: &'static [u16],
    stays: Connection,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    /// Another request is answered over it.
    Open,
    /// The server ends it, in order.
    Closed,
}

use Connection::{Closed, Open};

/// A `POST` that publishes, but for its fields and body.
fn post(fields: &str, body: &str) -> String {
    format!("POST /publish/t:a HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}")
}

/// A `GET` of the server's health with these fields.
fn get(fields: &str) -> String {
    format!("GET /health HTTP/1.1\r\n{fields}\r\n")
}

fn point(name: &'static str, request: impl Into<String>, status: &'static [u16], stays: Connection) -> Point {
    Point { name, request: request.into(), statuses: status, stays }
}

/// Requests that are good.
fn good() -> Vec<Point> {
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        point("a plain request (9112, 3)", get("Host: x\r\n"), &[200], Open),
        point("a field name in any case (9110, 5.1)", get("hOST: x\r\n"), &[200], Open),
        point("no space before a value (9112, 5)", get("Host:x\r\n"), &[200], Open),
        point("space and tab around a value (9112, 5)", get("Host: \t x \t \r\n"), &[200], Open),
        point("a field without a value (9110, 5.5)", get("Host: x\r\nA:\r\n"), &[200], Open),
        point("an unknown field (9110, 5.1)", get("Host: x\r\nX-Unheard-Of: ?\r\n"), &[200], Open),
        point("a Host with a port (9110, 7.2)", get("Host: x:8080\r\n"), &[200], Open),
        point("a Host that is an address (9110, 7.2)", get("Host: [::1]:80\r\n"), &[200], Open),
        point("one empty line before (9112, 2.2)", format!("\r\n{}", get("Host: x\r\n")), &[200], Open),
        point("the wish to close (9112, 9.6)", get("Host: x\r\nConnection: close\r\n"), &[200], Closed),
        point("... in a list (9110, 7.6.1)", get("Host: x\r\nConnection: a, CLOSE\r\n"), &[200], Closed),
        point("HTTP/1.0 closes (9112, 9.3)", "GET /health HTTP/1.0\r\n\r\n", &[200], Closed),
        point(
            "HTTP/1.0 may ask to keep (9112, 9.3)",
            "GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            &[200],
            Open,
        ),
        point("HEAD without a body (9110, 9.3.2)", "HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n", &[200], Open),
        point(
            "HEAD of nothing, too (9110, 9.3.2)",
            "HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
            &[404],
            Open,
        ),
        point("OPTIONS of all (9110, 9.3.7)", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", &[204], Open),
        point("OPTIONS of one (9110, 9.3.7)", "OPTIONS /publish HTTP/1.1\r\nHost: x\r\n\r\n", &[204], Open),
        point("a body by its length (9112, 6.2)", post("Content-Length: 1\r\n", "1"), &[202], Open),
        point("zeros before a length (9110, 8.6)", post("Content-Length: 0001\r\n", "1"), &[202], Open),
        point("a body in chunks (9112, 7.1)", post(chunked, "1\r\n[\r\n1\r\n]\r\n0\r\n\r\n"), &[202], Open),
        point(
            "chunk sizes in either case (9112, 7.1)",
            post(chunked, "a\r\n[10,20,30,\r\nA\r\n40,50,60,7\r\n1\r\n]\r\n0\r\n\r\n"),
            &[202],
            Open,
        ),
        point(
            "the coding's name in any case (9112, 7)",
            post("Transfer-Encoding: CHUNKED\r\n", "1\r\n1\r\n0\r\n\r\n"),
            &[202],
            Open,
        ),
        point(
            "a body where none is looked for (9110, 9.3.1)",
            get("Host: x\r\nContent-Length: 3\r\n") + "abc",
            &[200],
            Open,
        ),
        point(
            "a body that is waited for (9110, 10.1.1)",
            post("Expect: 100-continue\r\nContent-Length: 1\r\n", "1"),
            &[202],
            Open,
        ),
        point(
            "the expectation's name in any case (9110, 10.1.1)",
            post("Expect: 100-Continue\r\nContent-Length: 1\r\n", "1"),
            &[202],
            Open,
        ),
        point(
            "an expectation without a body (9110, 10.1.1)",
            get("Host: x\r\nExpect: 100-continue\r\n"),
            &[200],
            Open,
        ),
        point(
            "an upgrade that is not ours (9110, 7.8)",
            get("Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"),
            &[200],
            Open,
        ),
        point("requests in a row (9112, 9.3.2)", get("Host: x\r\n").repeat(3), &[200, 200, 200], Open),
        point(
            "... of different kinds, in order (9112, 9.3.2)",
            post("Content-Length: 1\r\n", "1")
                + "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
                + &post(chunked, "1\r\n2\r\n0\r\n\r\n"),
            &[202, 404, 202],
            Open,
        ),
        point("an escaped path (9110, 4.2.3)", "GET /%68ealth HTTP/1.1\r\nHost: x\r\n\r\n", &[404], Open),
    ]
}

/// Requests that must be refused, or may be and are.
fn bad() -> Vec<Point> {
    let line = |line: &str| format!("{line}\r\nHost: x\r\n\r\n");
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        point("no Host (9112, 3.2)", get(""), &[400], Closed),
        point("two Hosts (9112, 3.2)", get("Host: x\r\nHost: x\r\n"), &[400], Closed),
        point("a Host that is none (9112, 3.2)", get("Host: a b\r\n"), &[400], Closed),
        point("space before the colon (9112, 5.1)", get("Host : x\r\n"), &[400], Closed),
        point("space before the first field (9112, 2.2)", get(" A: 1\r\nHost: x\r\n"), &[400], Closed),
        point("a folded field (9112, 5.2)", get("Host: x\r\nA: 1\r\n 2\r\n"), &[400], Closed),
        point("a NUL in a value (9110, 5.5)", get("Host: x\r\nA: \0\r\n"), &[400], Closed),
        point("a bare carriage return (9112, 2.2)", get("Host: x\r\nA: 1\r2\r\n"), &[400], Closed),
        point("a field name that is no token (9110, 5.6.2)", get("Host: x\r\nA(b): 1\r\n"), &[400], Closed),
        point("a field without a name (9112, 5)", get("Host: x\r\n: 1\r\n"), &[400], Closed),
        point(
            "two lengths (9112, 6.3)",
            post("Content-Length: 1\r\nContent-Length: 2\r\n", "1"),
            &[400],
            Closed,
        ),
        point("a length with a sign (9110, 8.6)", post("Content-Length: +1\r\n", "1"), &[400], Closed),
        point("a negative length (9110, 8.6)", post("Content-Length: -1\r\n", "1"), &[400], Closed),
        point("a length in words (9110, 8.6)", post("Content-Length: one\r\n", "1"), &[400], Closed),
        point(
            "length and chunks (9112, 6.1)",
            post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            &[400],
            Closed,
        ),
        point(
            "chunks not last (9112, 6.1)",
            post("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"),
            &[400],
            Closed,
        ),
        point(
            "an unknown coding (9112, 6.1)",
            post("Transfer-Encoding: squeeze\r\n", "0\r\n\r\n"),
            &[400],
            Closed,
        ),
        point("a chunk size that is none (9112, 7.1)", post(chunked, "x\r\n"), &[400], Closed),
        point("a chunk that is too long (9112, 7.1)", post(chunked, "1\r\n12\r\n0\r\n\r\n"), &[400], Closed),
        point("a request line of two words (9112, 3)", line("GET /health"), &[400], Closed),
        point("a method in small letters (9110, 9.1)", line("get /health HTTP/1.1"), &[405], Open),
        point("an unknown method (9110, 9.1)", line("BREW /health HTTP/1.1"), &[405], Open),
        point(
            "a method that is not for this path (9110, 15.5.6)",
            line("DELETE /publish HTTP/1.1"),
            &[405],
            Open,
        ),
        point("a tunnel (9110, 9.3.6)", "CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n", &[405], Closed),
        point("a later major version (9110, 15.6.6)", line("GET /health HTTP/3.0"), &[505], Closed),
        point("a version in small letters (9112, 2.3)", line("GET /health http/1.1"), &[400], Closed),
        point("an asterisk for anything but OPTIONS (9112, 3.2.4)", line("GET * HTTP/1.1"), &[400], Closed),
        point(
            "a path that is too long (9112, 3)",
            line(&format!("GET /{} HTTP/1.1", "a".repeat(9000))),
            &[414],
            Closed,
        ),
        point(
            "fields that are too long (6585, 5)",
            get(&format!("Host: x\r\nA: {}\r\n", "1".repeat(9000))),
            &[431],
            Closed,
        ),
        point(
            "an unknown expectation (9110, 10.1.1)",
            post("Expect: a-miracle\r\nContent-Length: 1\r\n", "1"),
            &[417],
            Closed,
        ),
        point(
            "a body that is too large (9110, 15.5.14)",
            post("Content-Length: 99999999\r\n", ""),
            &[413],
            Closed,
        ),
        point("nothing at the path (9110, 15.5.5)", line("GET /nothing HTTP/1.1"), &[404], Open),
    ]
}

/// Sends one request and compares what comes back.
fn check(server: &ServerProcess, point: &Point) {
    let mut http = Http::connect(server.public);
    http.send(&point.request);
    let method = if point.request.starts_with("HEAD") { "HEAD" } else { "GET" };
    for status in point.statuses {
        let mut answer = http.answer_to(method);
        if answer.status == 100 {
            answer = http.answer_to(method);
        }
        assert_eq!(answer.status, *status, "{}: {}", point.name, answer.text());
        assert_eq!(
            answer.status == 204 || answer.status == 405,
            answer.field("allow").is_some(),
            "{}",
            point.name
        );
    }
    if point.stays == Open {
        http.send(get("Host: x\r\nConnection: close\r\n"));
        assert_eq!(http.answer().status, 200, "{}: the next request", point.name);
    }
    http.assert_closed();
}

#[test]
fn good_requests_are_answered_as_the_standard_says() {
    let server = ServerProcess::start(&[]);
    let points = good();
    points.iter().for_each(|point| check(&server, point));
    assert!(25 <= points.len());
}

#[test]
fn bad_requests_are_refused_as_the_standard_says() {
    let server = ServerProcess::start(&[]);
    let points = bad();
    points.iter().for_each(|point| check(&server, point));
    assert!(25 <= points.len());
}

#[test]
fn an_answer_to_head_is_that_to_get_without_its_body() {
    let server = ServerProcess::start(&[]);
    for path in ["/health", "/", "/page.js", "/nothing", "/health/ready"] {
        let mut http = Http::connect(server.public);
        http.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\nHEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let (whole, head) = (http.answer(), http.answer_to("HEAD"));
        assert_eq!((whole.status, &whole.fields), (head.status, &head.fields), "{path}");
        assert!(!whole.body.is_empty() && head.body.is_empty(), "{path}");
    }
}

#[test]
fn options_name_the_methods_that_are_answered() {
    let server = ServerProcess::start(&[]);
    for path in ["/health", "/publish", "/publish/t:a", "/history", "/ws", "/events", "/notifications"] {
        let mut http = Http::connect(server.public);
        http.send(format!("OPTIONS {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let answer = http.answer();
        assert_eq!(answer.status, 204, "{path}");
        let allowed: Vec<&str> = answer.field("allow").unwrap().split(", ").collect();
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
            let mut http = Http::connect(server.public);
            http.send(format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"));
            assert_eq!(http.head().status != 405, allowed.contains(&method), "{method} {path}");
        }
    }
}

#[test]
fn who_waits_to_be_told_to_go_on_is_told_so_once_and_after_the_answers_before() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    let waiting = post("Expect: 100-continue\r\nContent-Length: 1\r\n", "");
    http.send(post("Content-Length: 1\r\n", "1") + &waiting);
    assert_eq!(http.answer().json()["seq"], 1);
    assert_eq!(http.head().status, 100);
    http.send("2");
    assert_eq!(http.answer().json()["seq"], 2);
    // Who is refused is not told to go on.
    http.send(post("Expect: 100-continue\r\nContent-Length: 99999999\r\n", ""));
    assert_eq!(http.answer().status, 413);
    http.assert_closed();
}
