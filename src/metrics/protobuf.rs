//! Metrics as protocol buffers: messages `io.prometheus.client.MetricFamily`, each behind its length. The numbers of the fields are
//! those of that package's `metrics.proto`.

use super::native::{Native, SCHEMA, Span, ZERO_NS};
use super::{BOUNDS, Family, Kind, Sample, Value, seconds};
use crate::latency::Counts;

/// All of `families`.
pub(super) fn write(families: &[Family]) -> Vec<u8> {
    let mut out = Vec::new();
    for family in families {
        let message = metric_family(family);
        push_varint(&mut out, message.0.len() as u64);
        out.extend_from_slice(&message.0);
    }
    out
}

fn metric_family(family: &Family) -> Message {
    let kind = match family.kind {
        Kind::Counter => 0,
        Kind::Gauge => 1,
        Kind::Histogram => 4,
    };
    let begun = Message::default().text(1, &family.name).text(2, family.help).whole(3, kind);
    family.samples.iter().fold(begun, |message, sample| message.message(4, &metric(family.kind, sample)))
}

fn metric(kind: Kind, sample: &Sample) -> Message {
    let begun = Message::default();
    let labelled = sample.labels.iter().fold(begun, |message, (name, value)| {
        message.message(1, &Message::default().text(1, name).text(2, value))
    });
    // A gauge and a counter are alike but for their place.
    let place = if kind == Kind::Counter { 3 } else { 2 };
    match &sample.value {
        Value::Whole(value) => labelled.message(place, &Message::default().real(1, *value as f64)),
        Value::Real(value) => labelled.message(place, &Message::default().real(1, *value)),
        Value::Histogram(counts) => labelled.message(7, &histogram(counts)),
    }
}

/// A native histogram, with the buckets of the text besides: who collects takes what it knows.
fn histogram(counts: &Counts) -> Message {
    let mut message = Message::default().whole(1, counts.count()).real(2, seconds(counts.sum_ns()));
    for (_, bound_ns) in BOUNDS {
        let bucket = Message::default().whole(1, counts.count_up_to(*bound_ns)).real(2, seconds(*bound_ns));
        message = message.message(3, &bucket);
    }
    let Native { zero_count, spans, deltas } = Native::new(counts);
    message = message.signed(5, SCHEMA.into()).real(6, seconds(ZERO_NS)).whole(7, zero_count);
    for Span { offset, length } in spans {
        let span = Message::default().signed(1, offset.into()).whole(2, length.into());
        message = message.message(12, &span);
    }
    let mut packed = Vec::new();
    deltas.into_iter().for_each(|delta| push_varint(&mut packed, zigzag(delta)));
    message.bytes(13, &packed)
}

/// A message that is being written; a field's number is below 16.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// A whole number without sign.
    fn whole(mut self, field: u8, value: u64) -> Message {
        self.0.push(field << 3);
        push_varint(&mut self.0, value);
        self
    }

    /// A whole number that is small on either side of 0.
    fn signed(self, field: u8, value: i64) -> Message {
        self.whole(field, zigzag(value))
    }

    /// A number of double precision.
    fn real(mut self, field: u8, value: f64) -> Message {
        self.0.push(field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u8, value: &[u8]) -> Message {
        self.0.push(field << 3 | 2);
        push_varint(&mut self.0, value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn text(self, field: u8, value: &str) -> Message {
        self.bytes(field, value.as_bytes())
    }

    fn message(self, field: u8, value: &Message) -> Message {
        self.bytes(field, &value.0)
    }
}

/// A number in groups of seven bits, the lowest first.
fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while 0x7f < value {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Numbers next to 0 on either side, as small ones without a sign.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Histogram;

    #[test]
    fn numbers_as_the_encoding_has_them() {
        let varint = |value: u64| {
            let mut out = Vec::new();
            push_varint(&mut out, value);
            out
        };
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(127), [0x7f]);
        assert_eq!(varint(300), [0xac, 0x02]);
        assert_eq!(varint(u64::MAX).len(), 10);
        assert_eq!([0, -1, 1, -2, 2].map(zigzag), [0, 1, 2, 3, 4]);
        assert_eq!([i64::MIN, i64::MAX].map(zigzag), [u64::MAX, u64::MAX - 1]);
    }

    #[test]
    fn a_counter_and_a_gauge_with_a_label_byte_by_byte() {
        let labels = vec![("l", "0".to_owned())];
        let sample = Sample { labels, value: Value::Real(1.0) };
        let counter = Family::single("c_total", Kind::Counter, "C.", Value::Whole(2));
        let gauge = Family { name: "g".to_owned(), kind: Kind::Gauge, help: "G.", samples: vec![sample] };
        let expected = [
            &b"\x1c\x0a\x07c_total\x12\x02C.\x18\x00\x22\x0b\x1a\x09\x09\0\0\0\0\0\0\0\x40"[..],
            &b"\x1e\x0a\x01g\x12\x02G.\x18\x01\x22\x13\x0a\x06\x0a\x01l\x12\x010\x12\x09\x09\0\0\0\0\0\0\xf0\x3f"[..],
        ];
        assert_eq!(write(&[counter, gauge]), expected.concat());
    }

    #[test]
    fn a_histogram_ends_with_its_native_buckets() {
        let histogram = Histogram::default();
        histogram.record(10, 3);
        histogram.record(1_000_000, 2);
        histogram.record(2_000_000, 1);
        let message = super::histogram(&histogram.counts());
        let mut native = b"\x28\x06\x31".to_vec();
        native.extend_from_slice(&31e-9_f64.to_le_bytes());
        // Three are nothing; one bucket 79 below that of a second, seven left out, and one more; two, and one less.
        native.extend_from_slice(
            b"\x38\x03\x62\x05\x08\x9d\x01\x10\x01\x62\x04\x08\x0e\x10\x01\x6a\x02\x04\x01",
        );
        assert!(message.0.ends_with(&native), "{:?}", message.0);
        assert!(message.0.starts_with(b"\x08\x06\x11"), "{:?}", message.0);
    }
}
