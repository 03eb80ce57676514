//! Properties of the HTTP machines: how bytes were split never changes what they mean.

use fanfare::wire::http::{BodyDecoder, BodyKind, HeadLimits, HeadScanner, parse_head};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};

const BODY_BYTES_MAX: usize = 64;

/// What a connection's bytes amount to: each request with its body, then the status of a refusal if there is one.
type Story = (Vec<(String, Vec<u8>)>, Option<u16>);

/// Reads pipelined requests from pieces, as a connection does: a head, its body, the next head.
fn read(pieces: &[&[u8]]) -> Story {
    let limits = HeadLimits { line_bytes_max: 40, head_bytes_max: 120, headers_max: 4 };
    let mut requests = Vec::new();
    let mut held = Vec::new();
    let mut scanner = HeadScanner::new();
    let mut reading: Option<(String, BodyDecoder, Vec<u8>)> = None;
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            match &mut reading {
                None => match scanner.parse(&held, &limits) {
                    Ok(None) => break,
                    Ok(Some((head, length))) => {
                        let decoder = BodyDecoder::new(head.body, BODY_BYTES_MAX);
                        reading = Some((format!("{:?} {}", head.method, head.path), decoder, Vec::new()));
                        held.drain(..length);
                        scanner.reset();
                    }
                    Err(error) => return (requests, Some(error.status)),
                },
                Some((name, decoder, body)) => match decoder.decode(&held, body) {
                    Ok(progress) => {
                        held.drain(..progress.consumed);
                        if !progress.done {
                            break;
                        }
                        requests.push((std::mem::take(name), std::mem::take(body)));
                        reading = None;
                    }
                    Err(error) => return (requests, Some(error.status)),
                },
            }
        }
    }
    (requests, None)
}

/// Lines that are often right, so that what follows them is reached.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => Just("GET /a HTTP/1.1\r\n"),
        4 => Just("POST /b HTTP/1.1\r\n"),
        1 => Just("\r\nGET /c HTTP/1.0\r\n"),
        1 => Just("GET /a HTTP/1.1\n"),
        1 => Just("GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n"),
        1 => Just("PRI * HTTP/2.0\r\n"),
    ];
    let field = prop_oneof![
        4 => Just("X: y\r\n"),
        1 => Just("X: a\r b\r\n"),
        1 => Just("Host: twice\r\n"),
        1 => Just(" folded\r\n"),
        1 => Just("Expect: 100-continue\r\n"),
    ];
    let body = prop_oneof![
        3 => Just("\r\n"),
        3 => Just("Content-Length: 5\r\n\r\nhello"),
        3 => Just("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
        1 => Just("Transfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n"),
        1 => Just("Transfer-Encoding: chunked\r\n\r\n3F\r\n"),
        1 => Just("Content-Length: 65\r\n\r\n"),
        1 => Just("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello"),
    ];
    (line, prop::collection::vec(field, 0..3), body)
        .prop_map(|(line, fields, body)| [line, "Host: h\r\n", &fields.concat(), body].concat().into_bytes())
}

/// `bytes` cut at the places which `cuts` fall on.
fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([bytes.len()]).collect();
    places.sort_unstable();
    let mut start = 0;
    places.into_iter().map(|end| &bytes[std::mem::replace(&mut start, end)..end]).collect()
}

fn config() -> Config {
    Config { cases: 2000, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn splits_do_not_change_pipelined_requests(
        requests in prop::collection::vec(request(), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = requests.concat();
        let whole = read(&[&bytes]);
        prop_assert_eq!(&read(&pieces(&bytes, &cuts)), &whole);
        let dripped: Vec<_> = bytes.chunks(1).collect();
        prop_assert_eq!(read(&dripped), whole);
    }

    #[test]
    fn noise_is_refused_or_unfinished_and_never_panics(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"GET /:\r\n 1HTP."[..])], 0..200),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        prop_assert_eq!(read(&pieces(&bytes, &cuts)), read(&[&bytes]));
    }

    #[test]
    fn chunks_give_back_the_body_they_were_made_of(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            wire.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\n");
        let mut decoder = BodyDecoder::new(BodyKind::Chunked, 200);
        let mut body = Vec::new();
        let mut is_done = false;
        for piece in pieces(&wire, &cuts) {
            is_done = decoder.decode(piece, &mut body).unwrap().done;
        }
        prop_assert!(is_done);
        prop_assert_eq!(body, chunks.concat());
    }

    #[test]
    fn what_is_taken_has_no_byte_that_another_server_could_read_otherwise(
        bytes in prop::collection::vec(prop::sample::select(&b"GET / HTTP/1.1\r\nHost: h\r\n\t:x"[..]), 0..60),
    ) {
        let request = [b"GET / HTTP/1.1\r\nHost: h\r\n".as_slice(), &bytes, b"\r\n\r\n"].concat();
        if let Ok(Some((head, length))) = parse_head(&request, &HeadLimits::default()) {
            let text = str::from_utf8(&request[..length]).unwrap();
            prop_assert!(text.ends_with("\r\n\r\n"));
            prop_assert_eq!(text.matches('\r').count(), text.matches("\r\n").count());
            prop_assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
            let lines: Vec<_> = text.trim_end_matches("\r\n").split("\r\n").skip(1).collect();
            prop_assert_eq!(head.all_headers().count(), lines.len());
            for (line, (name, value)) in lines.iter().zip(head.all_headers()) {
                let (line_name, line_value) = line.split_once(':').unwrap();
                prop_assert_eq!((line_name, line_value.trim_matches([' ', '\t'])), (name, value));
            }
        }
    }
}
