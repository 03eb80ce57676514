//! What is understood, and what is refused with which status.

use super::*;

/// Parses in one piece and byte by byte; both must come to the same end.
fn status_of(request: &[u8]) -> Result<Option<usize>, u16> {
    let limits = HeadLimits::default();
    let whole = parse_head(request, &limits).map(|parsed| parsed.map(|(_, length)| length));
    let mut scanner = HeadScanner::new();
    let dripped = (0..=request.len())
        .map(|end| scanner.parse(&request[..end], &limits).map(|parsed| parsed.map(|(_, length)| length)))
        .find(|outcome| *outcome != Ok(None))
        .unwrap_or(Ok(None));
    assert_eq!(whole, dripped, "{:?}", String::from_utf8_lossy(request));
    whole.map_err(|error| error.status)
}

fn check_refused(status: u16, requests: &[&[u8]]) {
    for request in requests {
        assert_eq!(status_of(request), Err(status), "{:?}", String::from_utf8_lossy(request));
    }
}

fn check_taken(requests: &[&[u8]]) {
    for request in requests {
        assert_eq!(status_of(request), Ok(Some(request.len())), "{:?}", String::from_utf8_lossy(request));
    }
}

fn parse(request: &str) -> RequestHead<'_> {
    parse_head(request.as_bytes(), &HeadLimits::default()).unwrap().unwrap().0
}

#[test]
fn a_head_is_understood() {
    let head = parse(
        "POST /publish/repo:a%2Fb?event=x&y HTTP/1.1\r\nHost: h:80\r\nX-A:  one \r\nx-a:\ttwo\r\nEmpty:\r\n\
         Content-Length: 12\r\nExpect: 100-Continue\r\n\r\n",
    );
    assert_eq!((head.method, head.version), (Method::Post, Version::Http11));
    assert_eq!((head.path, head.query), ("/publish/repo:a%2Fb", Some("event=x&y")));
    assert_eq!(head.body, BodyKind::Length(12));
    assert!(head.keep_alive && head.expects_continue && !head.upgrade_websocket);
    assert_eq!(head.header("X-a"), Some("one"));
    assert_eq!(head.headers("X-A").collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(head.header("empty"), Some(""));
    assert_eq!(head.header("x"), None);
    let names: Vec<_> = head.all_headers().map(|(name, _)| name).collect();
    assert_eq!(names, ["Host", "X-A", "x-a", "Empty", "Content-Length", "Expect"]);
}

#[test]
fn a_formatted_head_shows_no_secrets() {
    let head =
        parse("GET /ws?access_token=secret HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer secret\r\n\r\n");
    let shown = format!("{head:?}");
    assert!(shown.contains("/ws") && shown.contains("Authorization") && !shown.contains("secret"), "{shown}");
}

#[test]
fn methods_are_exact() {
    let cases = [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("OPTIONS", Method::Options),
        ("DELETE", Method::Delete),
        ("PUT", Method::Put),
        ("PATCH", Method::Other),
        ("get", Method::Other),
        ("M-SEARCH", Method::Other),
    ];
    for (token, expected) in cases {
        assert_eq!(parse(&format!("{token} / HTTP/1.1\r\nHost: h\r\n\r\n")).method, expected, "{token}");
    }
}

#[test]
fn the_body_follows_the_head() {
    let request = b"POST / HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody";
    let (head, length) = parse_head(request, &HeadLimits::default()).unwrap().unwrap();
    assert_eq!(&request[length..], b"body");
    assert!(!head.keep_alive && !head.expects_continue);
}

#[test]
fn a_get_may_have_a_body_and_its_framing_holds() {
    assert_eq!(parse("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n").body, BodyKind::Length(3));
    assert_eq!(
        parse("HEAD / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").body,
        BodyKind::Chunked
    );
}

#[test]
fn only_a_get_with_both_fields_asks_for_an_upgrade() {
    let cases = [
        ("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c, websocket\r\nConnection: Upgrade\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", false),
        ("POST / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", false),
    ];
    for (request, expected) in cases {
        assert_eq!(parse(request).upgrade_websocket, expected, "{request}");
    }
}

#[test]
fn unusual_but_unambiguous_requests_are_taken() {
    check_taken(&[
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /? HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET //a/../%00 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /?a=/?b|{}\" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nhOsT:h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX!#$%&'*+-.^_`|~: odd\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: \xc3\xbc\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 007\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\tCHUNKED \r\n\r\n",
    ]);
}

#[test]
fn malformed_request_lines_are_bad_requests() {
    check_refused(
        400,
        &[
            b"\x16\x03\x01\x00\xa5\x01\x00\x00",
            b"\x00GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            b" GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET / HTTP/1.1\nHost: h\n\n",
            b"GET / HTTP/1.1\r\nHost: h\n\r\n",
            b"GET / HTTP/1.1\rHost: h\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\n\n",
            b"GET\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / \r\n\r\n",
            b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /  HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
            b"GET / http/1.1\r\nHost: h\r\n\r\n",
            b"GET / HTTP/1\r\nHost: h\r\n\r\n",
            b"GET / HTTP/1.10\r\nHost: h\r\n\r\n",
            b"GET / HTTP/01.1\r\nHost: h\r\n\r\n",
            b"GET / HTTP/1,1\r\nHost: h\r\n\r\n",
            b"G(T / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"G\x00T / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET * HTTP/1.1\r\nHost: h\r\n\r\n",
            b"OPTIONS ** HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET ?a HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /#a HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /\xc3\xbc HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n",
        ],
    );
}

#[test]
fn malformed_fields_are_bad_requests() {
    check_refused(
        400,
        &[
            b"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost\t: h\r\n\r\n",
            b"GET / HTTP/1.1\r\n Host: h\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tfolded\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n \r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nNo colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nNoColon\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\n: nameless\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX\x00: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x01b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x7fb\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX: \xff\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\n\xc3\xbc: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX(: a\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: user@h\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h/path\r\n\r\n",
        ],
    );
}

#[test]
fn ambiguous_framing_is_a_bad_request() {
    let framings: [&[u8]; 27] = [
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 5 5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 5.0\r\n",
        b"Content-Length: 1_0\r\n",
        b"Content-Length: five\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: \xd9\xa3\r\n",
        b"Content-Length: 9007199254740993\r\n",
        b"Content-Length: 18446744073709551616\r\n",
        b"Content-Length: 99999999999999999999999999\r\n",
        b"Content-Length : 5\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding:\r\n",
        b"Transfer-Encoding: chunked;q=1\r\n",
    ];
    for framing in framings {
        check_refused(400, &[&[b"POST / HTTP/1.1\r\nHost: h\r\n", framing, b"\r\n"].concat()]);
    }
    check_refused(400, &[b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"]);
}

#[test]
fn what_is_understood_and_not_offered_has_its_own_status() {
    check_refused(
        505,
        &[
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
            b"GET / HTTP/1.2\r\nHost: h\r\n\r\n",
            b"GET / HTTP/0.9\r\nHost: h\r\n\r\n",
        ],
    );
    check_refused(
        405,
        &[b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", b"CONNECT / HTTP/1.1\r\nHost: h\r\n\r\n"],
    );
    check_refused(
        417,
        &[
            b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 200-ok\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue, x\r\n\r\n",
        ],
    );
}

#[test]
fn oversized_heads_are_refused() {
    let long_line = [b"GET /".as_slice(), &[b'a'; 64 << 10], b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
    check_refused(414, &[&long_line]);
    let long_field = [b"GET / HTTP/1.1\r\nHost: h\r\nX: ".as_slice(), &[b'a'; 8192], b"\r\n\r\n"].concat();
    check_refused(431, &[&long_field]);
    for fields in [65, 2_000] {
        let many = [b"GET / HTTP/1.1\r\n".as_slice(), &b"A:\r\n".repeat(fields), b"\r\n"].concat();
        check_refused(431, &[&many]);
    }
    let most = [b"GET / HTTP/1.1\r\nHost: h\r\n".as_slice(), &b"A:\r\n".repeat(63), b"\r\n"].concat();
    check_taken(&[&most]);
}
