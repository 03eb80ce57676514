//! What is understood, and which close code answers what is not.

use super::*;

const LIMITS: WebSocketLimits = WebSocketLimits { message_bytes_max: 1000, fragments_max: 8 };
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Messages as text, and the close code of the violation after them.
type Outcome = (Vec<String>, Option<u16>);

fn decode(pieces: &mut [Vec<u8>]) -> Outcome {
    let mut decoder = Decoder::new(LIMITS);
    let mut messages = Vec::new();
    let mut violation = None;
    for piece in pieces {
        let outcome = decoder.decode(piece, &mut |message| {
            messages.push(format!("{message:?}"));
            ControlFlow::Continue(())
        });
        match outcome {
            Ok(taken) => assert_eq!(taken, piece.len(), "all is taken unless the callback breaks"),
            Err(error) => {
                assert_eq!(violation.replace(error.close_code), None, "one violation and then silence");
            }
        }
        assert!(decoder.buffered_bytes() <= 2 * LIMITS.message_bytes_max);
        if !decoder.is_mid_message() {
            assert_eq!(decoder.buffered_bytes(), 0, "an idle decoder owns no heap");
        }
    }
    (messages, violation)
}

/// Whole, byte by byte, and cut in two at every place; at every 61st of a long one under Miri, where all take minutes.
fn check(bytes: &[u8], messages: &[&str], violation: Option<u16>) {
    let expected = (messages.iter().map(ToString::to_string).collect::<Vec<_>>(), violation);
    assert_eq!(decode(&mut [bytes.to_vec()]), expected, "in one piece: {bytes:02x?}");
    let mut dripped: Vec<_> = bytes.iter().map(|&byte| vec![byte]).collect();
    assert_eq!(decode(&mut dripped), expected, "byte by byte: {bytes:02x?}");
    let stride = if cfg!(miri) && 61 < bytes.len() { 61 } else { 1 };
    for at in (1..bytes.len()).step_by(stride) {
        let mut halves = [bytes[..at].to_vec(), bytes[at..].to_vec()];
        assert_eq!(decode(&mut halves), expected, "cut at {at}: {bytes:02x?}");
    }
}

/// A masked frame with the shortest length.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = match payload.len() {
        length @ 0..126 => vec![first, 0x80 | length as u8],
        length => [&[first, 0xfe][..], &(length as u16).to_be_bytes()].concat(),
    };
    bytes.extend_from_slice(&MASK);
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    mask::apply(&mut bytes[start..], MASK);
    bytes
}

fn close_frame(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes()[..], reason].concat())
}

/// A header that claims `length` in eight bytes, and nothing after it.
fn claim(first: u8, length: u64) -> Vec<u8> {
    [&[first, 0xff][..], &length.to_be_bytes(), &MASK].concat()
}

#[test]
fn a_decoder_is_small_and_idle_ones_own_no_heap() {
    assert!(size_of::<Decoder>() <= 72, "{}", size_of::<Decoder>());
    assert_eq!(Decoder::new(LIMITS).buffered_bytes(), 0);
}

#[test]
fn messages_are_understood() {
    let long = "x".repeat(300);
    let long_text = format!("Text({long:?})");
    let cases: [(Vec<u8>, &[&str]); 22] = [
        (vec![], &[]),
        (frame(0x81, b"hello"), &[r#"Text("hello")"#]),
        (frame(0x81, b""), &[r#"Text("")"#]),
        (frame(0x81, long.as_bytes()), &[&long_text]),
        (frame(0x82, &[0, 255]), &["Binary([0, 255])"]),
        (frame(0x89, b""), &["Ping([])"]),
        (frame(0x89, b"p"), &["Ping([112])"]),
        (frame(0x8a, b"q"), &["Pong([113])"]),
        (frame(0x89, b"\x01\x02\x03\x04\x05"), &["Ping([1, 2, 3, 4, 5])"]),
        (frame(0x88, b""), &[r#"Close { code: None, reason: "" }"#]),
        (close_frame(1000, b""), &[r#"Close { code: Some(1000), reason: "" }"#]),
        (close_frame(4999, "bÿe".as_bytes()), &[r#"Close { code: Some(4999), reason: "bÿe" }"#]),
        ([frame(0x81, b"a"), frame(0x81, b"b")].concat(), &[r#"Text("a")"#, r#"Text("b")"#]),
        ([frame(0x01, b"a"), frame(0x00, b"b"), frame(0x80, b"c")].concat(), &[r#"Text("abc")"#]),
        ([frame(0x01, b""), frame(0x00, b""), frame(0x80, b"")].concat(), &[r#"Text("")"#]),
        ([frame(0x02, b"a"), frame(0x80, b"")].concat(), &["Binary([97])"]),
        (
            [frame(0x01, b"long"), frame(0x80, b""), frame(0x01, b"b"), frame(0x80, b"")].concat(),
            &[r#"Text("long")"#, r#"Text("b")"#],
        ),
        ([frame(0x01, b"\xe2"), frame(0x00, b"\x82"), frame(0x80, b"\xac")].concat(), &[r#"Text("€")"#]),
        (
            [frame(0x01, b"a"), frame(0x89, b"p"), frame(0x8a, b""), frame(0x80, b"b")].concat(),
            &["Ping([112])", "Pong([])", r#"Text("ab")"#],
        ),
        ([frame(0x01, b"a"), frame(0x88, b"")].concat(), &[r#"Close { code: None, reason: "" }"#]),
        (
            [frame(0x88, b""), frame(0x81, b"late"), vec![0xff; 40]].concat(),
            &[r#"Close { code: None, reason: "" }"#],
        ),
        ([frame(0x81, b"a"), vec![0x81]].concat(), &[r#"Text("a")"#]),
    ];
    for (bytes, messages) in cases {
        check(&bytes, messages, None);
    }
}

#[test]
fn broken_framing_is_answered_1002() {
    let unmasked = |first: u8, payload: &[u8]| [&[first, payload.len() as u8][..], payload].concat();
    let cases: [Vec<u8>; 45] = [
        unmasked(0x81, b"hi"),
        unmasked(0x81, b""),
        unmasked(0x89, b""),
        unmasked(0x88, b""),
        frame(0xc1, b"a"),
        frame(0xa1, b"a"),
        frame(0x91, b"a"),
        frame(0xf1, b"a"),
        frame(0xc9, b""),
        frame(0xc8, b""),
        vec![0x83],
        frame(0x83, b""),
        frame(0x84, b""),
        frame(0x85, b""),
        frame(0x86, b""),
        frame(0x87, b""),
        frame(0x8b, b""),
        frame(0x8c, b""),
        frame(0x8d, b""),
        frame(0x8e, b""),
        frame(0x8f, b""),
        frame(0x03, b""),
        claim(0x83, 1 << 40),
        claim(0x8b, 1 << 40),
        frame(0x09, b""),
        frame(0x0a, b""),
        frame(0x08, b""),
        frame(0x89, &[0; 126]),
        frame(0x8a, &[0; 126]),
        frame(0x88, &[0; 126]),
        claim(0x89, 126),
        frame(0x80, b"stray"),
        frame(0x00, b"stray"),
        [frame(0x01, b"a"), frame(0x81, b"b")].concat(),
        [frame(0x01, b"a"), frame(0x02, b"b")].concat(),
        [&[0x81, 0xfe, 0, 125][..], &MASK].concat(),
        [&[0x81, 0xfe, 0, 0][..], &MASK].concat(),
        claim(0x81, 0),
        claim(0x81, 125),
        claim(0x82, 65_535),
        claim(0x81, 1 << 63),
        claim(0x81, u64::MAX),
        frame(0x88, b"\x03"),
        close_frame(1005, b""),
        close_frame(0, b""),
    ];
    for bytes in cases {
        check(&bytes, &[], Some(close::PROTOCOL_ERROR));
    }
    for code in [1, 999, 1004, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        check(&close_frame(code, b"reason"), &[], Some(close::PROTOCOL_ERROR));
    }
}

#[test]
fn what_came_before_a_violation_still_counts() {
    let bytes =
        [frame(0x81, b"a"), frame(0x02, b"b"), frame(0x89, b""), frame(0x82, b"c"), frame(0x81, b"d")]
            .concat();
    check(&bytes, &[r#"Text("a")"#, "Ping([])"], Some(close::PROTOCOL_ERROR));
}

#[test]
fn text_that_is_not_utf8_is_answered_1007() {
    let cases: [Vec<u8>; 16] = [
        frame(0x81, b"\xff"),
        frame(0x81, b"a\xc3"),
        frame(0x81, b"\xc0\xaf"),
        frame(0x81, b"\xed\xa0\x80"),
        frame(0x81, b"\xf4\x90\x80\x80"),
        frame(0x81, b"\xf8\x88\x80\x80\x80"),
        frame(0x01, b"\xff"),
        frame(0x01, b"\xf4\x90"),
        [frame(0x01, b"\xe2\x82"), frame(0x80, b"")].concat(),
        [frame(0x01, b"\xe2\x82"), frame(0x80, b"a")].concat(),
        [frame(0x01, b"\xe2\x82"), frame(0x00, b"a")].concat(),
        [frame(0x01, b"\xce\xba"), frame(0x00, b"\xf4\x90")].concat(),
        // The frame is not complete yet, and no rest of it could help.
        frame(0x81, &[b"\xff", &[b'a'; 200][..]].concat())[..9].to_vec(),
        close_frame(1000, b"\xff"),
        close_frame(1000, b"\xe2\x82"),
        close_frame(4000, b"\xed\xa0\x80"),
    ];
    for bytes in cases {
        check(&bytes, &[], Some(close::INVALID_TEXT));
    }
    let around_a_ping = [frame(0x01, b"\xe2"), frame(0x89, b"\xff"), frame(0x80, b"\xff")].concat();
    check(&around_a_ping, &["Ping([255])"], Some(close::INVALID_TEXT));
}

#[test]
fn what_is_too_big_is_answered_1009_before_it_is_stored() {
    let part = [b'a'; 500];
    let cases: [Vec<u8>; 9] = [
        frame(0x81, &[b'a'; 1001])[..8].to_vec(),
        frame(0x81, &[b'a'; 1001]),
        claim(0x81, 65_536),
        claim(0x82, 1 << 32),
        claim(0x81, 1 << 40),
        claim(0x81, 1 << 62),
        claim(0x81, (1 << 63) - 1),
        [frame(0x01, &part), frame(0x00, &part), frame(0x80, b"a")].concat(),
        [frame(0x02, &part), frame(0x80, &[0; 501])].concat(),
    ];
    for bytes in cases {
        check(&bytes, &[], Some(close::MESSAGE_TOO_BIG));
    }
    let largest = format!("Text({:?})", "a".repeat(1000));
    check(&[frame(0x01, &part), frame(0x00, &part), frame(0x80, b"")].concat(), &[&largest], None);
}

#[test]
fn too_many_fragments_are_answered_1008() {
    let eight = [frame(0x01, b""), frame(0x00, b"").repeat(6), frame(0x80, b"")].concat();
    check(&eight, &[r#"Text("")"#], None);
    check(&eight.repeat(2), &[r#"Text("")"#, r#"Text("")"#], None);
    for (empty_or_not, violation) in [(&b""[..], close::POLICY_VIOLATION), (b"a", close::POLICY_VIOLATION)] {
        let nine = [frame(0x01, empty_or_not), frame(0x00, empty_or_not).repeat(8)].concat();
        check(&nine, &[], Some(violation));
    }
    let pings_do_not_count = [frame(0x01, b""), frame(0x89, b"").repeat(20), frame(0x80, b"")].concat();
    let pings = [&["Ping([])"; 20][..], &[r#"Text("")"#]].concat();
    check(&pings_do_not_count, &pings, None);
}

#[test]
fn a_claimed_length_allocates_nothing() {
    let limits = WebSocketLimits { message_bytes_max: usize::MAX, fragments_max: usize::MAX };
    let mut decoder = Decoder::new(limits);
    let mut bytes = [claim(0x82, 1 << 30), vec![0; 16]].concat();
    assert_eq!(decoder.decode(&mut bytes, &mut |_| ControlFlow::Continue(())), Ok(30));
    assert!(decoder.is_mid_message() && decoder.buffered_bytes() <= 64, "{}", decoder.buffered_bytes());
}

#[test]
fn a_callback_that_breaks_leaves_the_rest_untouched() {
    let mut bytes = [frame(0x81, b"a"), frame(0x81, b"b")].concat();
    let before = bytes.clone();
    let mut decoder = Decoder::new(LIMITS);
    let mut seen = Vec::new();
    let mut on = |message: Message<'_>| {
        seen.push(format!("{message:?}"));
        ControlFlow::Break(())
    };
    let taken = decoder.decode(&mut bytes, &mut on).unwrap();
    assert_eq!(taken, bytes.len() / 2);
    assert_eq!(bytes[taken..], before[taken..]);
    assert_eq!(decoder.decode(&mut bytes[taken..], &mut on), Ok(taken));
    assert_eq!(seen, [r#"Text("a")"#, r#"Text("b")"#]);
}

#[test]
fn whole_messages_are_lent_and_not_copied() {
    let mut bytes = frame(0x81, b"lent");
    let span = bytes.as_ptr_range();
    let mut is_inside = false;
    let mut decoder = Decoder::new(LIMITS);
    decoder
        .decode(&mut bytes, &mut |message| {
            is_inside = matches!(message, Message::Text(text) if span.contains(&text.as_ptr()));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(is_inside && decoder.buffered_bytes() == 0);
}
