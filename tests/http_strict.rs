//! Hostile HTTP: every ambiguous or oversized request gets its exact answer, and the connection ends in order.

mod support;

use std::time::{Duration, Instant};

use fanfare::words::limits::Limits;
use support::http::{Answer, Http, get};
use support::local::LocalServer;
use support::process::ServerProcess;

/// Sends `request`, and expects this refusal, then the end of the connection; then the server still serves others.
fn check(server: &ServerProcess, request: impl AsRef<[u8]>, status: u16, code: &str) {
    let request = request.as_ref();
    let context = String::from_utf8_lossy(&request[..request.len().min(120)]).into_owned();
    let mut http = Http::connect(server.public);
    http.send(request);
    let answer = http.answer();
    answer.assert_problem(status, code, &context);
    assert_eq!(answer.field("connection"), Some("close"), "{context}");
    http.assert_closed();
    assert_eq!(get(server.public, "/health").status, 200, "alive after {context}");
}

/// A `POST` that would be good if it had nothing but a length.
fn post(fields: &str, body: &str) -> String {
    format!("POST /publish/t:a HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}")
}

fn get_with(fields: &str) -> String {
    format!("GET /health HTTP/1.1\r\n{fields}\r\n")
}

#[test]
fn ambiguous_lengths_are_refused() {
    let server = ServerProcess::start(&[]);
    let chunked = "Transfer-Encoding: chunked\r\n";
    let check = |fields: &str, body: &str, code: &str| check(&server, post(fields, body), 400, code);
    check(&format!("Content-Length: 1\r\n{chunked}"), "1\r\n1\r\n0\r\n\r\n", "bad_framing");
    check(&format!("{chunked}Content-Length: 1\r\n"), "1", "bad_framing");
    check("Content-Length: 1\r\nContent-Length: 1\r\n", "1", "bad_content_length");
    check("Content-Length: 1\r\nContent-Length: 2\r\n", "1", "bad_content_length");
    for length in
        ["+3", "-1", "0x1", "1,1", "1, 1", "1.0", "", "1 1", "ü", "9007199254740993", "99999999999999999999"]
    {
        check(&format!("Content-Length: {length}\r\n"), "123", "bad_content_length");
    }
    for coding in [
        "xchunked",
        "chunked, chunked",
        "gzip, chunked",
        "chunked;q=1",
        "identity",
        "\"chunked\"",
        "",
        ",chunked",
    ] {
        check(&format!("Transfer-Encoding: {coding}\r\n"), "0\r\n\r\n", "bad_transfer_encoding");
    }
    check(&format!("{chunked}{chunked}"), "0\r\n\r\n", "bad_transfer_encoding");
}

#[test]
fn the_encoding_of_a_later_version_is_refused_on_an_older_one() {
    let server = ServerProcess::start(&[]);
    let request = post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0");
    check(&server, request, 400, "bad_transfer_encoding");
}

#[test]
fn malformed_chunks_are_refused() {
    let server = ServerProcess::start(&[]);
    let check = |body: &str, code: &str| {
        check(&server, post("Transfer-Encoding: chunked\r\n", body), 400, code);
    };
    check("1\r\n12\r\n0\r\n\r\n", "bad_chunk");
    check("3\r\nabcXX0\r\n\r\n", "bad_chunk");
    check("1\n1\n0\n\n", "bad_chunk");
    check("1\r\n1\n0\r\n\r\n", "bad_chunk");
    check("1;name=value\r\n1\r\n0\r\n\r\n", "bad_chunk");
    check("0x1\r\n1\r\n0\r\n\r\n", "bad_chunk");
    check("+1\r\n1\r\n0\r\n\r\n", "bad_chunk");
    check(" 1\r\n1\r\n0\r\n\r\n", "bad_chunk");
    check("1 \r\n1\r\n0\r\n\r\n", "bad_chunk");
    check("\r\n", "bad_chunk");
    check("g\r\n", "bad_chunk");
    check("00000000000000001\r\n", "bad_chunk");
    check("1\r\n1\r\n0\r\nTrailer: x\r\n\r\n", "bad_chunk");
}

#[test]
fn malformed_fields_are_refused() {
    let server = ServerProcess::start(&[]);
    let check = |fields: &str, code: &str| check(&server, get_with(fields), 400, code);
    check("Host: x\r\n folded: 1\r\n", "bad_header");
    check("Host: x\r\nA: 1\r\n\t2\r\n", "bad_header");
    check("Host: x\r\nA : 1\r\n", "bad_header");
    check("Host: x\r\n: 1\r\n", "bad_header");
    check("Host: x\r\nA\r\n", "bad_header");
    check("Host: x\r\nA B: 1\r\n", "bad_header");
    check("Host: x\r\nA: \0\r\n", "bad_header");
    check("Host: x\r\nA: \x07\r\n", "bad_header");
    check("Host: x\r\nA\0: 1\r\n", "bad_header");
    check("Host: x\r\nÄ: 1\r\n", "bad_header");
    check("Host: x\nA: 1\r\n", "bad_line_end");
    check("Host: x\r\nA: 1\rB: 2\r\n", "bad_line_end");
}

#[test]
fn a_line_feed_alone_ends_nothing() {
    let server = ServerProcess::start(&[]);
    check(&server, "GET /health HTTP/1.1\nHost: x\n\n", 400, "bad_line_end");
}

#[test]
fn bytes_that_are_not_text_are_refused() {
    let server = ServerProcess::start(&[]);
    check(&server, b"GET /health HTTP/1.1\r\nHost: x\r\nA: \xff\r\n\r\n", 400, "bad_header");
    check(&server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "not_http");
    check(&server, b"\0\0\0\0", 400, "not_http");
}

#[test]
fn there_is_exactly_one_host_and_it_is_one() {
    let server = ServerProcess::start(&[]);
    let check = |fields: &str| check(&server, get_with(fields), 400, "bad_host");
    check("");
    check("Accept: */*\r\n");
    check("Host: x\r\nHost: x\r\n");
    check("Host: x\r\nhost: y\r\n");
    check("Host: \r\n");
    check("Host: a b\r\n");
    check("Host: x/y\r\n");
    check("Host: x@y\r\n");
    check("Host: x:99999\r\n");
    check("Host: x, y\r\n");
}

#[test]
fn request_lines_that_are_none_are_refused() {
    let server = ServerProcess::start(&[]);
    let check = |line: &str, status: u16, code: &str| {
        check(&server, format!("{line}\r\nHost: x\r\n\r\n"), status, code);
    };
    check("GET  /health HTTP/1.1", 400, "bad_request_line");
    check("GET /health", 400, "bad_request_line");
    check("GET /health HTTP/1.1 x", 400, "bad_request_line");
    check("GET /health HTTP/1", 400, "bad_request_line");
    check("GET /health http/1.1", 400, "bad_request_line");
    check("G@T /health HTTP/1.1", 400, "bad_request_line");
    check("GET /he\0alth HTTP/1.1", 400, "bad_request_line");
    check("GET /hêalth HTTP/1.1", 400, "bad_target");
    check("GET /health#x HTTP/1.1", 400, "bad_target");
    check("GET health HTTP/1.1", 400, "bad_target");
    check("GET http://x/health HTTP/1.1", 400, "bad_target");
    check("GET * HTTP/1.1", 400, "bad_target");
    check("CONNECT x:80 HTTP/1.1", 405, "method_not_allowed");
    check("GET /health HTTP/2.0", 505, "version_not_supported");
    check("GET /health HTTP/0.9", 505, "version_not_supported");
    check("GET /health HTTP/1.2", 505, "version_not_supported");
}

#[test]
fn the_preface_of_a_later_protocol_is_refused() {
    let server = ServerProcess::start(&[]);
    check(&server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version_not_supported");
}

#[test]
fn an_offer_to_upgrade_to_a_later_protocol_is_passed_over() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    http.send(get_with("Host: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nHTTP2-Settings: AAMAAABk\r\n"));
    assert_eq!(http.answer().status, 200);
}

#[test]
fn only_one_empty_line_may_precede_a_request() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    http.send(format!("\r\n{}", get_with("Host: x\r\n")));
    assert_eq!(http.answer().status, 200);
    check(&server, "\r\n\r\nGET", 400, "no_request_line");
}

#[test]
fn an_unknown_expectation_is_refused() {
    let server = ServerProcess::start(&[]);
    check(&server, post("Expect: 200-maybe\r\nContent-Length: 1\r\n", "1"), 417, "expectation_failed");
}

#[test]
fn oversized_heads_are_refused() {
    let server = ServerProcess::start(&[]);
    let path = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(length));
    check(&server, path(64 << 10), 414, "uri_too_long");
    check(&server, path(4096), 414, "uri_too_long");
    let fields = |count: usize| get_with(&format!("Host: x\r\n{}", "A: 1\r\n".repeat(count)));
    for count in [64, 65, 1000, 100_000] {
        check(&server, fields(count), 431, "too_many_headers");
    }
    check(&server, get_with(&format!("Host: x\r\nA: {}\r\n", "1".repeat(8192))), 431, "head_too_large");
    check(&server, format!("GET /{}", "a".repeat(5000)), 414, "uri_too_long");
}

#[test]
fn heads_up_to_the_bounds_are_taken() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    http.send(get_with(&format!("Host: x\r\n{}", "A: 1\r\n".repeat(63))));
    assert_eq!(http.answer().status, 200, "64 fields");
    let head = get_with("Host: x\r\nA: \r\n");
    http.send(get_with(&format!("Host: x\r\nA: {}\r\n", "1".repeat(8192 - head.len()))));
    assert_eq!(http.answer().status, 200, "8192 bytes");
    let query = "a".repeat(4096 - "GET /health? HTTP/1.1".len());
    http.send(format!("GET /health?{query} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_eq!(http.answer().status, 200, "a line of 4096 bytes");
}

#[test]
fn a_megabyte_of_head_in_drips_is_refused_at_the_limit() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    http.send("GET /health HTTP/1.1\r\nHost: x\r\nA: ");
    let mut sent = 0;
    // The server may stop listening at any time after the limit.
    while sent < 1 << 20 && http.try_send([b'1'; 128]).is_ok() {
        sent += 128;
    }
    assert!(8192 - 64 <= sent);
    http.answer().assert_problem(431, "head_too_large", "dripped");
    assert_eq!(get(server.public, "/health").status, 200);
}

#[test]
fn enormous_bodies_are_refused_by_what_they_announce() {
    let server = ServerProcess::start(&[]);
    check(&server, post("Content-Length: 1000000000000\r\n", ""), 413, "body_too_large");
    check(&server, post("Content-Length: 1048577\r\n", "x"), 413, "body_too_large");
    check(&server, post("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\n"), 413, "body_too_large");
}

#[test]
fn what_follows_a_refused_request_is_not_a_request() {
    let server = ServerProcess::start(&[]);
    let smuggled = "POST /publish/t:a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1";
    check(&server, format!("{}{smuggled}", get_with("Host: x\r\nHost: x\r\n")), 400, "bad_host");
    check(&server, format!("{}{smuggled}", post("Content-Length: +1\r\n", "1")), 400, "bad_content_length");
    let mut http = Http::connect(server.public);
    http.send(format!("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n{smuggled}"));
    assert_eq!(http.answer().status, 200);
    http.assert_closed();
    let history = get(server.public, "/history?channel=t:a").json();
    assert_eq!(history["events"], serde_json::json!([]), "nothing was smuggled in");
}

#[test]
fn answers_before_a_refusal_are_still_given() {
    let server = ServerProcess::start(&[]);
    let mut http = Http::connect(server.public);
    let good = post("Content-Length: 1\r\n", "1");
    http.send(format!("{good}{good}{}", post("Content-Length: +1\r\n", "1")));
    assert_eq!(http.answer().json()["seq"], 1);
    assert_eq!(http.answer().json()["seq"], 2);
    http.answer().assert_problem(400, "bad_content_length", "after two good ones");
    http.assert_closed();
}

#[test]
fn nothing_that_a_client_says_is_logged() {
    let server = ServerProcess::start(&[]);
    server.wait_for_line("memory at most");
    for request in [
        get_with("Host: x\r\nUser-Agent: \x1b[31mfanfare: listening on\r\n"),
        get_with("Host: x\r\nUser-Agent: a\"}{\"level\":\"error\"\r\n"),
        post("Content-Length: 9\r\n", "not\njson!"),
        "GET /%0d%0afanfare:%20drained HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /ws?access_token=secret HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "noise\r\n\r\n".to_owned(),
    ] {
        let mut http = Http::connect(server.public);
        http.send(request);
        http.answer();
    }
    assert!(!server.speaks_within(Duration::from_millis(200)));
}

/// Sends `first`, then `piece` again and again, until the server answers.
fn drip(server: &LocalServer, first: &str, piece: &str) -> Answer {
    let mut http = Http::connect(server.public);
    http.send(first);
    for _ in 0..1000 {
        if http.speaks_within(Duration::from_millis(20)) {
            let answer = http.answer();
            http.assert_closed();
            return answer;
        }
        // It fails if the server has answered and gone meanwhile, which the next look shows.
        let _ = http.try_send(piece);
    }
    panic!("a thousand pieces do not move a deadline: {first:?}");
}

#[test]
fn deadlines_are_absolute_however_steadily_the_bytes_drip() {
    let server = LocalServer::start(Limits {
        head_deadline: Duration::from_millis(300),
        body_deadline: Duration::from_millis(300),
        ..Limits::default()
    });
    let check = |first: &str, piece: &str, code: &str| {
        drip(&server, first, piece).assert_problem(408, code, first);
    };
    check("G", "E", "head_timeout");
    check("GET /health HTTP/1.1\r\nHost: x\r\nA: ", "1", "head_timeout");
    check("POST /publish/t:a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", "1", "body_timeout");
    check(
        "POST /publish/t:a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        "1\r\n1\r\n",
        "body_timeout",
    );
    check("GET /health HTTP/1.1\r\nHost: x\r\nA:", "", "head_timeout");
    check("POST /publish/t:a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", "", "body_timeout");
}

#[test]
fn a_connection_without_a_request_is_closed_without_an_answer() {
    let server = LocalServer::start(Limits {
        head_deadline: Duration::from_millis(100),
        keep_alive: Duration::from_millis(100),
        ..Limits::default()
    });
    let mut http = Http::connect(server.public);
    http.assert_closed();
    let mut http = Http::connect(server.public);
    http.send(get_with("Host: x\r\n"));
    assert_eq!(http.answer().status, 200);
    http.assert_closed();
}

#[test]
fn the_deadline_of_the_first_head_begins_with_the_connection_and_not_with_its_first_byte() {
    let head_deadline = Duration::from_secs(2);
    let server = LocalServer::start(Limits { head_deadline, ..Limits::default() });
    let connected = Instant::now();
    let mut http = Http::connect(server.public);
    let before_the_first_byte = head_deadline * 3 / 4;
    assert!(!http.speaks_within(before_the_first_byte));
    http.send("GET /health HTTP/1.1\r\n");
    http.answer().assert_problem(408, "head_timeout", "late");
    assert!(connected.elapsed() < before_the_first_byte + head_deadline, "{:?}", connected.elapsed());
}

#[test]
fn a_new_connection_has_its_whole_deadline_however_long_the_server_has_slept() {
    let head_deadline = Duration::from_secs(1);
    let server = LocalServer::start_with_loops(Limits { head_deadline, ..Limits::default() }, 1);
    let mut first = Http::connect(server.public);
    first.send(get_with("Host: x\r\n"));
    assert_eq!(first.answer().status, 200);
    // Twice, because the server looks once more at the end of the first connection's own deadline.
    assert!(!first.speaks_within(head_deadline * 2 + Duration::from_millis(200)), "nobody wakes the server");
    let mut second = Http::connect(server.public);
    assert!(!second.speaks_within(Duration::from_millis(200)), "the deadline begins with the connection");
    second.send(get_with("Host: x\r\n"));
    assert_eq!(second.answer().status, 200);
}
