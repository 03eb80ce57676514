//! The JSON that a server sends: an event's fixed head found without parsing, everything else parsed in full.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The sequence number of `json` and the offset behind its digits, if it begins as every event does.
pub(crate) fn event_sequence(json: &[u8]) -> Option<(u64, usize)> {
    let digits = json.strip_prefix(EVENT_HEAD)?;
    let (sequence, length) = leading_number(digits)?;
    Some((sequence, EVENT_HEAD.len() + length))
}

/// What a publisher writes into the data of its events, as the member `_lg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Tells the runs of several generators apart.
    pub(crate) run: u64,
    /// The publisher's place in the run.
    pub(crate) publisher: u32,
    /// The publisher's own count of its events, from 0.
    pub(crate) index: u64,
    /// When the event was due, in nanoseconds of the monotonic clock.
    pub(crate) intended_ns: u64,
    /// When it was really sent.
    pub(crate) sent_ns: u64,
}

/// The number of a run out of chance and what tells this host's clock, if anything does: below 2^48, so that it has few digits
/// in every event.
pub(crate) fn run_number(chance: u64, clock: Option<u16>) -> u64 {
    ((chance >> (64 - CHANCE_BITS)) << CLOCK_BITS) | u64::from(clock.unwrap_or(CLOCK_UNKNOWN))
}

impl Stamp {
    /// Whether the times in it are of the same clock as those of the run `run`, as far as can be told.
    pub(crate) fn shares_clock(&self, run: u64) -> bool {
        let clock = |run: u64| run as u16;
        clock(self.run) != CLOCK_UNKNOWN && clock(self.run) == clock(run)
    }

    /// Appends the member `"_lg":[…]`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(STAMP_HEAD);
        let numbers = [self.run, u64::from(self.publisher), self.index, self.intended_ns, self.sent_ns];
        for (place, number) in numbers.into_iter().enumerate() {
            if 0 < place {
                out.push(b',');
            }
            push_decimal(out, number);
        }
        out.push(b']');
    }

    /// Finds the first stamp in `json` and the offset behind its closing bracket.
    pub(crate) fn find(json: &[u8]) -> Option<(Stamp, usize)> {
        let start = memmem::find(json, STAMP_HEAD)? + STAMP_HEAD.len();
        let mut at = start;
        let mut numbers = [0; 5];
        for (place, number) in numbers.iter_mut().enumerate() {
            let length;
            (*number, length) = leading_number(&json[at..])?;
            at += length;
            let expected = if place < 4 { b',' } else { b']' };
            if json.get(at) != Some(&expected) {
                return None;
            }
            at += 1;
        }
        let [run, publisher, index, intended_ns, sent_ns] = numbers;
        Some((Stamp { run, publisher: u32::try_from(publisher).ok()?, index, intended_ns, sent_ns }, at))
    }
}

/// An event parsed in full, the data as the bytes it was sent in.
#[derive(Debug, Deserialize)]
pub(crate) struct Event<'a> {
    /// The place in the server's total order.
    pub(crate) seq: u64,
    /// The channel it was published on.
    #[serde(borrow)]
    pub(crate) channel: Cow<'a, str>,
    /// The kind.
    #[serde(borrow)]
    pub(crate) event: Cow<'a, str>,
    /// The publisher's data, byte for byte.
    #[serde(borrow)]
    pub(crate) data: &'a RawValue,
}

/// Anything else that a server says, and also an event whose head is not the usual one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Notice<'a> {
    /// What it is: `subscribed`, `gap`, `cursor`, `published`, `error`, …
    #[serde(rename = "type", borrow)]
    pub(crate) kind: Cow<'a, str>,
    /// The sequence number of an answer or a cursor.
    pub(crate) seq: Option<u64>,
    /// The log that sequence numbers belong to.
    pub(crate) epoch: Option<String>,
    /// The first event of a gap.
    pub(crate) from: Option<u64>,
    /// The last event of a gap.
    pub(crate) to: Option<u64>,
    /// Why there is a gap.
    pub(crate) cause: Option<String>,
    /// How many events of the receiver's channels fell into the gap.
    pub(crate) matched: Option<u64>,
    /// An error's stable name.
    pub(crate) code: Option<String>,
    /// An error's text.
    pub(crate) message: Option<String>,
    /// The name of the command that this answers.
    pub(crate) id: Option<u64>,
}

/// Appends a number in decimal digits.
pub(crate) fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// The unsigned number at the start of `text` and how many digits it has.
pub(crate) fn leading_number(text: &[u8]) -> Option<(u64, usize)> {
    let mut number: u64 = 0;
    let mut length = 0;
    while let Some(digit) = text.get(length).filter(|byte| byte.is_ascii_digit()) {
        number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        length += 1;
    }
    (0 < length).then_some((number, length))
}

const CHANCE_BITS: u32 = 32;
const CLOCK_BITS: u32 = 16;
/// Of a host that does not tell.
const CLOCK_UNKNOWN: u16 = 0;
/// How the JSON of every event begins.
const EVENT_HEAD: &[u8] = br#"{"type":"event","seq":"#;
/// How the generator's own member begins.
const STAMP_HEAD: &[u8] = br#""_lg":["#;

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp =
        Stamp { run: 9, publisher: 2, index: 17, intended_ns: 1_000_000_007, sent_ns: u64::MAX };

    #[test]
    fn the_sequence_is_read_from_the_fixed_head_only() {
        let check = |json: &str, expected| assert_eq!(event_sequence(json.as_bytes()), expected, "{json}");
        check(r#"{"type":"event","seq":41,"channel":"a:b"}"#, Some((41, 24)));
        check(r#"{"type":"event","seq":18446744073709551615,"#, Some((u64::MAX, 42)));
        check(r#"{"type":"event","seq":18446744073709551616,"#, None);
        check(r#"{"type":"event","seq":-1}"#, None);
        check(r#"{"type":"event","seq":"#, None);
        check(r#"{"type":"gap","from":1,"to":2}"#, None);
        check(r#"{"seq":41,"type":"event"}"#, None);
    }

    #[test]
    fn a_stamp_is_found_as_it_was_written() {
        let mut json = br#"{"data":{"#.to_vec();
        STAMP.write(&mut json);
        let end = json.len();
        json.extend_from_slice(b",\"x\":1}}");
        assert_eq!(Stamp::find(&json), Some((STAMP, end)));
    }

    #[test]
    fn only_runs_of_one_clock_share_it() {
        let check = |one: Option<u16>, other: Option<u16>, expected: bool| {
            let stamp = Stamp { run: run_number(u64::MAX, one), ..STAMP };
            assert!(stamp.run < 1 << 48);
            assert_eq!(stamp.shares_clock(run_number(5, other)), expected, "{one:?} {other:?}");
        };
        check(Some(7), Some(7), true);
        check(Some(7), Some(8), false);
        check(Some(7), None, false);
        check(None, None, false);
        assert_ne!(run_number(1 << 63, None), run_number(1 << 62, None));
    }

    #[test]
    fn a_broken_stamp_is_none() {
        let check = |json: &str| assert_eq!(Stamp::find(json.as_bytes()), None, "{json}");
        check("");
        check(r#"{"_lg":[]}"#);
        check(r#"{"_lg":[1,2,3,4]}"#);
        check(r#"{"_lg":[1,2,3,4,5"#);
        check(r#"{"_lg":[1,2,3,4,5,6]}"#);
        check(r#"{"_lg":[1,-2,3,4,5]}"#);
        check(r#"{"_lg":[1,4294967296,3,4,5]}"#);
    }

    #[test]
    fn notices_parse_with_what_they_carry() {
        let notice: Notice = serde_json::from_str(
            r#"{"type":"gap","from":3,"to":9,"cause":"lapped","matched":4,"future":[1]}"#,
        )
        .expect("a gap");
        assert_eq!((notice.from, notice.to, notice.matched), (Some(3), Some(9), Some(4)));
        let notice: Notice =
            serde_json::from_str(r#"{"type":"gap","from":null,"to":null,"cause":"epoch"}"#).expect("a gap");
        assert_eq!((notice.from, notice.cause.as_deref()), (None, Some("epoch")));
    }

    #[test]
    fn an_events_data_keeps_its_bytes() {
        let json =
            r#"{"type":"event","seq":4,"channel":"a:b","event":"tick","data":{"a":1.0,"a":2},"timestamp":5}"#;
        let event: Event = serde_json::from_str(json).expect("an event");
        assert_eq!((event.seq, &*event.channel, &*event.event), (4, "a:b", "tick"));
        assert_eq!(event.data.get(), r#"{"a":1.0,"a":2}"#);
    }

    #[test]
    fn decimals_round_trip() {
        for number in [0, 7, 10, 4_095, u64::MAX] {
            let mut text = Vec::new();
            push_decimal(&mut text, number);
            assert_eq!(text, number.to_string().as_bytes());
            assert_eq!(leading_number(&text), Some((number, text.len())));
        }
    }
}
