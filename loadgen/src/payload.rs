//! What publishers publish: an event's JSON, made anew from (publisher, index) whenever it is needed.
//!
//! # Contract       kind and data depend on the seed, the publisher and the index alone, save for the times in the stamp

use crate::corpus::{self, Specimen};
use crate::event::Stamp;
use crate::foreign::body;
use crate::load::size::Size;

/// Makes events of one size.
#[derive(Debug)]
pub(crate) struct Payloads {
    seed: u64,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    /// Data of as many bytes as the size says, if the stamp leaves room.
    Padded(Size),
    /// Kinds and data objects to choose from.
    Chosen(Vec<(String, String)>),
}

impl Payloads {
    /// A maker of events of the size `size`.
    ///
    /// # Errors
    /// The bundled events cannot be read.
    pub(crate) fn new(size: Size, seed: u64) -> anyhow::Result<Payloads> {
        let whole =
            |specimen: Specimen| Ok((specimen.kind, String::from(Box::<str>::from(specimen.payload))));
        let projected = |specimen: Specimen| {
            let data = specimen.projection()?;
            Ok((specimen.kind, data))
        };
        let shape = match size {
            Size::Corpus => Shape::Chosen(choices(whole)?),
            Size::Projection => Shape::Chosen(choices(projected)?),
            padded => Shape::Padded(padded),
        };
        Ok(Payloads { seed, shape })
    }

    /// Appends `{"channel":…,"event":…,"data":…}` and returns where in `out` the data lies; one that is `chosen` has the
    /// tag that filters ask for. `channel` needs no escapes, since the plan admits none that does.
    pub(crate) fn write_event(
        &self,
        channel: &str,
        chosen: bool,
        stamp: &Stamp,
        out: &mut Vec<u8>,
    ) -> (usize, usize) {
        out.extend_from_slice(br#"{"channel":""#);
        out.extend_from_slice(channel.as_bytes());
        out.extend_from_slice(br#"","event":""#);
        let choice = match &self.shape {
            Shape::Padded(_) => None,
            Shape::Chosen(choices) => Some(&choices[self.choose(stamp, choices.len())]),
        };
        out.extend_from_slice(choice.map_or(KIND_DEFAULT, |(kind, _)| kind).as_bytes());
        out.extend_from_slice(br#"","data":"#);
        let start = out.len();
        out.push(b'{');
        stamp.write(out);
        match (&self.shape, choice) {
            (Shape::Padded(size), _) => {
                let bytes = size.bytes_of(self.seed, stamp.publisher, stamp.index).unwrap_or_default();
                pad(start + bytes, out);
            }
            (Shape::Chosen(_), Some((_, data))) => graft(data.as_bytes(), out),
            (Shape::Chosen(_), None) => out.push(b'}'),
        }
        let end = out.len();
        out.extend_from_slice(if chosen { TAGGED_TAIL } else { b"}" });
        (start, end)
    }

    /// Appends the body of an event for a server that takes no JSON as it is.
    pub(crate) fn write_body(&self, stamp: &Stamp, out: &mut Vec<u8>) {
        let bytes = match &self.shape {
            Shape::Padded(size) => size.bytes_of(self.seed, stamp.publisher, stamp.index),
            Shape::Chosen(_) => None,
        };
        body::write(stamp, bytes.unwrap_or_default(), out);
    }

    fn choose(&self, stamp: &Stamp, count: usize) -> usize {
        let place = scatter(self.seed ^ scatter(u64::from(stamp.publisher) ^ scatter(stamp.index)));
        (place % count as u64) as usize
    }
}

/// Closes the object that is open in `out` with a member that makes it end at `end`, if there is room for one.
fn pad(end: usize, out: &mut Vec<u8>) {
    let around = PAD_HEAD.len() + PAD_TAIL.len();
    match end.checked_sub(out.len() + around) {
        Some(mut bytes) => {
            out.extend_from_slice(PAD_HEAD);
            while 0 < bytes {
                let piece = bytes.min(PAD_TEXT.len());
                out.extend_from_slice(&PAD_TEXT[..piece]);
                bytes -= piece;
            }
            out.extend_from_slice(PAD_TAIL);
        }
        None => out.push(b'}'),
    }
}

/// Closes the object that is open in `out` with the members of the object `data`.
fn graft(data: &[u8], out: &mut Vec<u8>) {
    let members = &data[1..];
    if members.trim_ascii_start() != b"}" {
        out.push(b',');
    }
    out.extend_from_slice(members);
}

fn choices(
    choose: impl Fn(Specimen) -> anyhow::Result<(String, String)>,
) -> anyhow::Result<Vec<(String, String)>> {
    corpus::bundled()?.into_iter().map(choose).collect()
}

/// Spreads neighbouring numbers over all of `u64` (the finaliser of SplitMix64).
pub(crate) fn scatter(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The tag of events that a filter lets through.
pub(crate) const TAG: &str = "chosen";
const TAGGED_TAIL: &[u8] = br#","tags":["chosen"]}"#;
/// The kind of events that are nothing but padding.
const KIND_DEFAULT: &str = "tick";
const PAD_HEAD: &[u8] = br#","pad":""#;
const PAD_TAIL: &[u8] = br#""}"#;
/// Ordinary text, so that nothing on the way finds the padding better to compress than it should.
const PAD_TEXT: &[u8] =
    b"The quick brown fox jumps over the lazy dog; 0123456789 times it came back, and sat. ";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn stamp(index: u64) -> Stamp {
        Stamp { run: 5, publisher: 1, index, intended_ns: 1_000, sent_ns: 2_000 }
    }

    fn event(size: Size, index: u64) -> (Value, String) {
        let payloads = Payloads::new(size, 42).expect("payloads");
        let mut out = b"before".to_vec();
        let (start, end) = payloads.write_event("bench:0", false, &stamp(index), &mut out);
        let data = String::from_utf8(out[start..end].to_vec()).expect("text");
        (serde_json::from_slice(&out[6..]).expect("JSON"), data)
    }

    #[test]
    fn padded_data_has_exactly_the_bytes_asked_for() {
        for bytes in [48, 64, 256, 4_096, 100_000] {
            let (event, data) = event(Size::Bytes(bytes), 3);
            assert_eq!(data.len(), bytes);
            assert_eq!((&event["channel"], &event["event"]), (&"bench:0".into(), &"tick".into()));
            assert_eq!(event["data"]["_lg"], serde_json::json!([5, 1, 3, 1000, 2000]));
        }
        let (event, data) = event(Size::Bytes(0), 3);
        assert!(event["data"]["_lg"].is_array());
        assert_eq!(data, r#"{"_lg":[5,1,3,1000,2000]}"#);
    }

    #[test]
    fn every_corpus_event_is_stamped_first_and_whole_json() {
        for size in [Size::Corpus, Size::Projection] {
            let payloads = Payloads::new(size, 42).expect("payloads");
            for index in 0..500 {
                let mut out = Vec::new();
                let (start, end) = payloads.write_event("bench:0", true, &stamp(index), &mut out);
                assert!(out[start..end].starts_with(br#"{"_lg":[5,1,"#));
                let event: Value = serde_json::from_slice(&out).expect("JSON");
                assert!(1 < event["data"].as_object().expect("an object").len());
                assert_eq!(event["tags"], serde_json::json!([TAG]));
            }
        }
    }

    #[test]
    fn the_seed_chooses_and_the_choice_is_repeatable() {
        let kinds = |seed: u64| -> Vec<usize> {
            let payloads = Payloads { seed, shape: Shape::Padded(Size::Bytes(0)) };
            (0..20).map(|index| payloads.choose(&stamp(index), 329)).collect()
        };
        assert_eq!(kinds(1), kinds(1));
        assert_ne!(kinds(1), kinds(2));
        assert!(10 < kinds(1).iter().collect::<std::collections::HashSet<_>>().len());
    }

    #[test]
    fn an_empty_object_takes_no_comma() {
        let mut out = b"{\"_lg\":[]".to_vec();
        graft(b"{}", &mut out);
        assert_eq!(out, b"{\"_lg\":[]}");
    }
}
