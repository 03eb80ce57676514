//! WebSocket peers that break the rules: each is told the exact close code and given an orderly end, however its bytes
//! are split, and the server lives on and holds nothing of what they sent.

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::http::get;
use support::process::ServerProcess;
use support::websocket::{Frames, close_frame, frame, header};

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const PIECE: u8 = 0x00;
const LAST_PIECE: u8 = 0x80;
const FIRST_PIECE: u8 = 0x01;
const FIRST_BINARY_PIECE: u8 = 0x02;

/// The largest message of a server that was started without flags.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// What is sent, and the code that must come back.
struct Case {
    name: String,
    bytes: Vec<u8>,
    code: u16,
}

/// Every way to break the rules that takes no time.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name: &str, bytes: &[&[u8]], code: u16| {
        cases.push(Case { name: name.to_owned(), bytes: bytes.concat(), code });
    };
    let ping = frame(PING, b"x");

    case("unmasked text", &[&[TEXT, 1, b'x']], 1002);
    case("unmasked empty text", &[&[TEXT, 0]], 1002);
    case("unmasked continuation", &[&frame(FIRST_PIECE, b"x"), &[LAST_PIECE, 0]], 1002);
    case("unmasked ping", &[&[PING, 0]], 1002);
    case("unmasked close", &[&[CLOSE, 0]], 1002);
    for (name, bit) in [("first", 0x40), ("second", 0x20), ("third", 0x10)] {
        case(&format!("{name} reserved bit of a text"), &[&frame(TEXT | bit, b"x")], 1002);
        case(&format!("{name} reserved bit of a ping"), &[&frame(PING | bit, b"x")], 1002);
        let pieces: [&[u8]; 2] = [&frame(FIRST_PIECE, b"x"), &frame(LAST_PIECE | bit, b"x")];
        case(&format!("{name} reserved bit of a continuation"), &pieces, 1002);
    }
    case("all reserved bits", &[&frame(TEXT | 0x70, b"x")], 1002);
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        case(&format!("opcode {opcode}"), &[&frame(0x80 | opcode, b"x")], 1002);
        case(&format!("opcode {opcode}, unfinished"), &[&frame(opcode, b"")], 1002);
        case(&format!("opcode {opcode}, enormous"), &[&header(0x80 | opcode, 1 << 40)], 1002);
    }

    case("fragmented ping", &[&frame(0x09, b"x")], 1002);
    case("fragmented pong", &[&frame(0x0a, b"")], 1002);
    case("fragmented close", &[&frame(0x08, b"")], 1002);
    case("ping of 126 bytes", &[&frame(PING, &[0; 126])], 1002);
    case("pong of 70,000 bytes", &[&frame(PONG, &[0; 70_000])], 1002);
    case("ping that claims 2^62 bytes", &[&header(PING, 1 << 62)], 1002);
    case("close of 126 bytes", &[&close_frame(1000, &[b'x'; 124])], 1002);
    case("stray continuation", &[&frame(LAST_PIECE, b"x")], 1002);
    case("stray unfinished continuation", &[&frame(PIECE, b"x")], 1002);
    case("continuation after a whole message", &[&frame(TEXT, b"{}"), &frame(LAST_PIECE, b"x")], 1002);
    case(
        "continuation after the last",
        &[&frame(FIRST_PIECE, b"{"), &frame(LAST_PIECE, b"}"), &frame(LAST_PIECE, b"x")],
        1002,
    );
    case("continuation after a ping alone", &[&ping, &frame(LAST_PIECE, b"x")], 1002);
    case("text inside a text", &[&frame(FIRST_PIECE, b"x"), &frame(TEXT, b"x")], 1002);
    case("text begun inside a text", &[&frame(FIRST_PIECE, b"x"), &frame(FIRST_PIECE, b"x")], 1002);
    case("binary inside a text", &[&frame(FIRST_PIECE, b"x"), &frame(BINARY, b"x")], 1002);
    case("text inside a binary", &[&frame(FIRST_BINARY_PIECE, b"x"), &frame(TEXT, b"x")], 1002);
    case("text inside a text, after a ping", &[&frame(FIRST_PIECE, b"x"), &ping, &frame(TEXT, b"x")], 1002);

    case("middle form of a short length", &[&[TEXT, 0xfe, 0, 125]], 1002);
    case("middle form of no length", &[&[TEXT, 0xfe, 0, 0]], 1002);
    case("longest form of a short length", &[&[TEXT, 0xff, 0, 0, 0, 0, 0, 0, 0, 5]], 1002);
    case("longest form of a middle length", &[&[TEXT, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]], 1002);
    case("a length of 2^63", &[&[TEXT, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]], 1002);
    case("a length of all ones", &[&[TEXT, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]], 1002);
    case("a length of 2^63 - 1", &[&header(TEXT, (1 << 63) - 1)], 1009);
    case("a length of 2^62", &[&header(TEXT, 1 << 62)], 1009);
    case("a length of 2^40", &[&header(BINARY, 1 << 40)], 1009);
    case("a length of 2^32", &[&header(TEXT, 1 << 32)], 1009);
    case("a length of 2^31", &[&header(TEXT, 1 << 31)], 1009);
    case("an unfinished frame of 2^40", &[&header(FIRST_PIECE, 1 << 40)], 1009);
    case("one byte too many", &[&header(TEXT, MESSAGE_BYTES_MAX as u64 + 1)], 1009);
    case(
        "one byte too many over two frames",
        &[&frame(FIRST_PIECE, &vec![b'x'; MESSAGE_BYTES_MAX]), &header(LAST_PIECE, 1)],
        1009,
    );
    case("a sum of 2^63", &[&frame(FIRST_PIECE, b"x"), &header(LAST_PIECE, (1 << 63) - 1)], 1009);

    let pieces = |piece: &[u8], count: usize| frame(PIECE, piece).repeat(count);
    case("64 fragments and one", &[&frame(FIRST_PIECE, b"x"), &pieces(b"x", 64)], 1008);
    case("64 empty fragments and one", &[&frame(FIRST_PIECE, b""), &pieces(b"", 64)], 1008);
    case(
        "a last fragment too many",
        &[&frame(FIRST_PIECE, b"x"), &pieces(b"x", 63), &frame(LAST_PIECE, b"")],
        1008,
    );
    case("binary fragments and one", &[&frame(FIRST_BINARY_PIECE, b""), &pieces(b"", 64)], 1008);

    case("a binary message", &[&frame(BINARY, b"{\"type\":\"ping\"}")], 1003);
    case("an empty binary message", &[&frame(BINARY, b"")], 1003);
    case(
        "a binary message in two frames",
        &[&frame(FIRST_BINARY_PIECE, b"x"), &frame(LAST_PIECE, b"y")],
        1003,
    );

    case("a byte that is in no text", &[&frame(TEXT, b"\xff")], 1007);
    case("a continuation byte alone", &[&frame(TEXT, b"\x80")], 1007);
    case("a character cut short", &[&frame(TEXT, b"\xe2\x82")], 1007);
    case("a character cut short by another", &[&frame(TEXT, b"\xe2\x82x")], 1007);
    case("the first surrogate", &[&frame(TEXT, b"\xed\xa0\x80")], 1007);
    case("the last surrogate", &[&frame(TEXT, b"\xed\xbf\xbf")], 1007);
    case("a pair of surrogates", &[&frame(TEXT, b"\xed\xa0\xbd\xed\xb8\x80")], 1007);
    case("an overlong slash in two bytes", &[&frame(TEXT, b"\xc0\xaf")], 1007);
    case("an overlong slash in three bytes", &[&frame(TEXT, b"\xe0\x80\xaf")], 1007);
    case("an overlong slash in four bytes", &[&frame(TEXT, b"\xf0\x80\x80\xaf")], 1007);
    case("beyond the last character", &[&frame(TEXT, b"\xf4\x90\x80\x80")], 1007);
    case("a character of five bytes", &[&frame(TEXT, b"\xf8\x88\x80\x80\x80")], 1007);
    case("no text in an unfinished text", &[&frame(FIRST_PIECE, b"\xff")], 1007);
    case("no text in the last frame", &[&frame(FIRST_PIECE, b"good"), &frame(LAST_PIECE, b"\xff")], 1007);
    case("no text over two frames", &[&frame(FIRST_PIECE, b"\xe2"), &frame(LAST_PIECE, b"x")], 1007);
    case(
        "a surrogate over two frames",
        &[&frame(FIRST_PIECE, b"\xed"), &frame(LAST_PIECE, b"\xa0\x80")],
        1007,
    );
    case(
        "a text that ends inside a character",
        &[&frame(FIRST_PIECE, b"\xf0\x9f"), &frame(LAST_PIECE, b"\x98")],
        1007,
    );
    case("a close reason that is no text", &[&close_frame(1000, b"\xff")], 1007);
    case("a close reason cut short", &[&close_frame(1000, b"\xe2\x82")], 1007);

    case("close of one byte", &[&frame(CLOSE, b"x")], 1002);
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 5999, 65535] {
        case(&format!("close code {code}"), &[&close_frame(code, b"")], 1002);
        case(&format!("close code {code} with a reason"), &[&close_frame(code, b"because")], 1002);
    }

    case("after a good message", &[&frame(TEXT, b"{}"), &ping, &frame(0x83, b"")], 1002);
    case("in a ping inside a message", &[&frame(FIRST_PIECE, b"{"), &frame(PING, &[0; 126])], 1002);
    case("followed by good ones", &[&frame(0x83, b""), &ping.repeat(1000)], 1002);
    case("followed by another violation", &[&frame(TEXT, b"\xff"), &frame(0x83, b"")], 1007);
    case("after a close, which is the last word", &[&close_frame(4000, b""), &frame(0x83, b""), &ping], 4000);
    case("a close inside a message", &[&frame(FIRST_PIECE, b"half a "), &close_frame(1000, b"bye")], 1000);
    case("a close without a code, then no text", &[&frame(CLOSE, b""), &frame(TEXT, b"\xff")], 1000);
    cases
}

/// Sends `bytes` in pieces of so many until the server has gone, and returns its close code, after which it must have
/// closed its half in order.
fn code_of(server: SocketAddr, bytes: &[u8], piece: usize) -> u16 {
    let mut frames = Frames::open(server);
    for piece in bytes.chunks(piece) {
        if frames.try_send(piece).is_err() {
            break;
        }
    }
    frames.close_code()
}

/// Sends every case in pieces.
fn check_all(server: &ServerProcess, cases: &[Case], piece_of: impl Fn(&[u8]) -> usize) {
    for case in cases {
        let code = code_of(server.public, &case.bytes, piece_of(&case.bytes));
        assert_eq!(code, case.code, "{}", case.name);
    }
    assert_eq!(get(server.public, "/health").status, 200);
}

#[test]
fn each_broken_rule_has_its_close_code_and_an_orderly_end() {
    let cases = cases();
    assert!(64 <= cases.len(), "{}", cases.len());
    let server = ServerProcess::start(&[]);
    for case in &cases {
        check_all(&server, std::slice::from_ref(case), |bytes| bytes.len());
    }
}

#[test]
fn the_code_is_the_same_when_it_comes_byte_by_byte() {
    let server = ServerProcess::start(&[]);
    // A megabyte in bytes would only take long.
    check_all(&server, &cases(), |bytes| if bytes.len() < 4096 { 1 } else { 997 });
}

#[test]
fn nothing_is_kept_of_those_who_broke_the_rules() {
    let server = ServerProcess::start(&[]);
    let cases = cases();
    let all_at_once = || check_all(&server, &cases, |bytes| bytes.len());
    // The first rounds touch memory that every round needs; what a round leaves behind, every one does.
    let mut least = usize::MAX;
    let mut before = server.resident_bytes();
    for _ in 0..6 {
        all_at_once();
        let after = server.resident_bytes();
        least = least.min(after.saturating_sub(before));
        before = after;
    }
    assert!(least < 64 << 10, "{least} bytes after {} broken connections", cases.len());
}

#[test]
fn a_flood_of_fragments_is_ended_by_their_number_and_costs_no_memory() {
    let server = ServerProcess::start(&[]);
    assert_eq!(code_of(server.public, &frame(0x83, b""), 2), 1002);
    let before = server.resident_bytes();
    let start = Instant::now();
    for payload in [b"x".as_slice(), b""] {
        let frames = Frames::open(server.public);
        let (mut writer, mut reader) = (frames.second(), frames);
        let piece = frame(PIECE, payload).repeat(1000);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut is_heard = writer.try_send(&frame(FIRST_PIECE, payload)).is_ok();
                // It stops when the server has had enough and is gone.
                for _ in 0..1500 {
                    is_heard = is_heard && writer.try_send(&piece).is_ok();
                }
            });
            assert_eq!(reader.close_code(), 1008, "fragments of {} bytes", payload.len());
        });
    }
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let growth = server.resident_bytes().saturating_sub(before);
    assert!(growth < 2 << 20, "{growth} bytes");
    assert_eq!(get(server.public, "/health").status, 200);
}
