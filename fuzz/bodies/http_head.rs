//! A request head, whole and dripped, and what may be said of one that was taken.

use fanfare::wire::http::{
    BodyKind, HeadLimits, HeadScanner, HttpError, KnownHead, RequestHead, Version, decode_path_segment,
    parse_head, query_pairs, websocket_accept,
};

const LIMITS: HeadLimits = HeadLimits { line_bytes_max: 200, head_bytes_max: 400, headers_max: 16 };

/// Runs one input.
pub(crate) fn run(bytes: &[u8]) {
    let whole = described(&mut HeadScanner::new(), bytes);
    let mut scanner = HeadScanner::new();
    let dripped = (0..=bytes.len())
        .map(|end| described(&mut scanner, &bytes[..end]))
        .find(|outcome| *outcome != Ok(None))
        .unwrap_or(Ok(None));
    assert_eq!(whole, dripped, "a head means the same however slowly it comes");

    if let Ok(Some((head, length))) = parse_head(bytes, &LIMITS) {
        check(&head, str::from_utf8(&bytes[..length]).expect("a head that is taken is text"));
        let mut known = KnownHead::default();
        known.learn(&head, length);
        check_known(&known, bytes);
        for at in 0..length {
            let mut other = bytes.to_vec();
            other[at] ^= 1;
            check_known(&known, &other);
        }
    }
}

/// A head that is recognised is what the parser says it is.
fn check_known(known: &KnownHead, bytes: &[u8]) {
    let Some((head, length)) = known.recognise(bytes) else { return };
    assert_eq!(Ok(Some((text_of(&head), length))), described(&mut HeadScanner::new(), bytes));
}

/// Everything that a head says, as text, and its length.
fn described(scanner: &mut HeadScanner, bytes: &[u8]) -> Result<Option<(String, usize)>, HttpError> {
    let Some((head, length)) = scanner.parse(bytes, &LIMITS)? else { return Ok(None) };
    Ok(Some((text_of(&head), length)))
}

fn text_of(head: &RequestHead<'_>) -> String {
    let connection = (head.keep_alive, head.expects_continue, head.upgrade_websocket);
    let headers: Vec<_> = head.all_headers().collect();
    format!("{head:?} {:?} {connection:?} {headers:?}", head.query)
}

fn check(head: &RequestHead<'_>, text: &str) {
    let line_ends = text.matches("\r\n").count();
    assert_eq!((text.matches('\r').count(), text.matches('\n').count()), (line_ends, line_ends));
    assert!(text.ends_with("\r\n\r\n") && text.len() <= 400);
    assert!(!text.bytes().any(|byte| byte == 0x7f || (byte < 0x20 && !b"\t\r\n".contains(&byte))));

    let lines = text.strip_prefix("\r\n").unwrap_or(text).trim_end_matches("\r\n").split("\r\n").skip(1);
    assert_eq!(head.all_headers().count(), lines.clone().count());
    for (line, (name, value)) in lines.zip(head.all_headers()) {
        let (line_name, line_value) = line.split_once(':').expect("a field has a colon");
        assert_eq!((line_name, line_value.trim_matches([' ', '\t'])), (name, value));
        assert!(!name.is_empty() && !name.contains([' ', '\t']));
    }

    let hosts = head.headers("host").count();
    assert!(hosts == 1 || (hosts == 0 && head.version == Version::Http10));
    let lengths: Vec<_> = head.headers("content-length").collect();
    let encodings: Vec<_> = head.headers("transfer-encoding").collect();
    match head.body {
        BodyKind::None => assert!(lengths.is_empty() && encodings.is_empty()),
        BodyKind::Length(length) => {
            assert!(encodings.is_empty() && lengths.len() == 1 && length <= 1 << 53);
            assert!(lengths[0].trim_start_matches('0') == length.to_string().trim_start_matches('0'));
        }
        BodyKind::Chunked => {
            assert!(lengths.is_empty() && encodings.len() == 1 && head.version == Version::Http11);
        }
    }
    assert!(head.path.starts_with('/') || head.path == "*");
    if let Ok(path) = decode_path_segment(head.path) {
        assert!(path.len() <= head.path.len());
    }
    if let Some(query) = head.query {
        query_pairs(query).for_each(drop);
    }
    if let Ok(accept) = websocket_accept(head) {
        let mut out = Vec::new();
        accept.write_to(&mut out, accept.protocols().first().copied(), &[]);
        let answer = str::from_utf8(&out).expect("an answer is text");
        assert_eq!(answer.lines().count(), if accept.protocols().is_empty() { 5 } else { 6 });
    }
}
