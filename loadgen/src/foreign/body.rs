//! A body that stands in JSON, in a form, in a query or bare: `lg-RUN-PUBLISHER-INDEX-DUE-SENT-padding-e`.
//!
//! # Contract       what is found is translated into the JSON that a Fanfare would have sent, so that one code verifies both

use memchr::memmem;

use crate::event::{Stamp, leading_number, push_decimal};

/// Appends the body of the event with this stamp, as long as `bytes` if the stamp leaves room.
pub(crate) fn write(stamp: &Stamp, bytes: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(HEAD);
    let Stamp { run, publisher, index, intended_ns, sent_ns } = *stamp;
    for number in [run, u64::from(publisher), index, intended_ns, sent_ns] {
        push_decimal(out, number);
        out.push(b'-');
    }
    let end = (start + bytes).saturating_sub(TAIL.len()).max(out.len());
    out.resize(end, b'x');
    out.extend_from_slice(TAIL);
}

/// Finds the first body in `message`: its stamp, and where it begins and ends. One whose end is missing is none.
pub(crate) fn find(message: &[u8]) -> Option<(Stamp, usize, usize)> {
    let mut from = 0;
    loop {
        let start = from + memmem::find(&message[from..], HEAD)?;
        if let Some((stamp, length)) = read(&message[start..]) {
            return Some((stamp, start, start + length));
        }
        from = start + HEAD.len();
    }
}

/// Reads the body that `text` begins with, and its length.
fn read(text: &[u8]) -> Option<(Stamp, usize)> {
    let mut at = HEAD.len();
    let mut numbers = [0; 5];
    for number in &mut numbers {
        let length;
        (*number, length) = leading_number(&text[at..])?;
        at += length;
        if text.get(at) != Some(&b'-') {
            return None;
        }
        at += 1;
    }
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'-';
    let length = at + text[at..].iter().take_while(is_part).count();
    let [run, publisher, index, intended_ns, sent_ns] = numbers;
    let stamp = Stamp { run, publisher: u32::try_from(publisher).ok()?, index, intended_ns, sent_ns };
    // The last hyphen of a body without padding is that of its stamp.
    text[at - 1..length].ends_with(TAIL).then_some((stamp, length))
}

/// Appends the event's JSON and returns where in `out` its data lies.
pub(crate) fn translate(
    sequence: u64,
    channel: &str,
    stamp: &Stamp,
    body: &[u8],
    out: &mut Vec<u8>,
) -> (usize, usize) {
    out.extend_from_slice(br#"{"type":"event","seq":"#);
    push_decimal(out, sequence);
    out.extend_from_slice(br#","channel":""#);
    out.extend_from_slice(channel.as_bytes());
    out.extend_from_slice(br#"","event":"m","data":"#);
    let start = out.len();
    out.push(b'{');
    stamp.write(out);
    out.extend_from_slice(br#","body":""#);
    out.extend_from_slice(body);
    out.extend_from_slice(br#""}"#);
    let end = out.len();
    out.push(b'}');
    (start, end)
}

const HEAD: &[u8] = b"lg-";
const TAIL: &[u8] = b"-e";

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { run: 9, publisher: 2, index: 17, intended_ns: 1_000, sent_ns: 2_000 };

    fn body(bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        write(&STAMP, bytes, &mut out);
        out
    }

    #[test]
    fn a_body_has_its_length_and_is_found_wherever_it_stands() {
        for bytes in [64, 300, 100_000] {
            assert_eq!(body(bytes).len(), bytes);
        }
        assert_eq!(body(0), b"lg-9-2-17-1000-2000--e");
        for (before, after) in
            [("", ""), ("{\"data\":\"", "\"}"), ("lg-topic lg-1-2 d=", "&x"), ("id: 4\ndata: ", "\n\n")]
        {
            for bytes in [0, 64] {
                let message = [before.as_bytes(), &body(bytes), after.as_bytes()].concat();
                let (stamp, start, end) = find(&message).expect("a body");
                assert_eq!((stamp, &message[start..end]), (STAMP, &body(bytes)[..]), "{before}");
            }
        }
    }

    #[test]
    fn what_is_cut_or_no_body_is_not_found() {
        let whole = body(64);
        for end in 0..whole.len() {
            assert_eq!(find(&whole[..end]), None, "at {end}");
        }
        assert_eq!(find(b"lg-1-2-3-4-x--e"), None);
        assert_eq!(find(b"lg-1-4294967296-3-4-5--e"), None);
    }

    #[test]
    fn the_translation_is_an_event_with_the_body_in_its_data() {
        let mut out = b"before".to_vec();
        let (start, end) = translate(7, "c-1", &STAMP, &body(64), &mut out);
        let event: crate::event::Event = serde_json::from_slice(&out[6..]).expect("an event");
        assert_eq!((event.seq, &*event.channel, event.data.get().as_bytes()), (7, "c-1", &out[start..end]));
        assert_eq!(Stamp::find(&out).map(|(stamp, _)| stamp), Some(STAMP));
    }
}
