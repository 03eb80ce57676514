//! Metrics as those who collect them read them: families of samples, in Prometheus' text or as its protocol buffers, which alone
//! have native histograms.
//!
//! # Contract       [`Family`]s are values; [`write()`] tells them in either form
//! # Cost           on request only: some microseconds a histogram
//! # Why our own    everything here is counted already, by whoever does the work, and only to be told: a client library would count
//!   it again. The messages are four deep and have a dozen kinds of field

mod native;
mod protobuf;
mod text;

use crate::latency::Counts;

/// Samples of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name, of a namespace's prefix on.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What it says, for people; on one line.
    pub help: &'static str,
    /// Its samples, each with labels of its own.
    pub samples: Vec<Sample>,
}

impl Family {
    /// A family of one sample that needs no label.
    #[must_use]
    pub fn single(name: impl Into<String>, kind: Kind, help: &'static str, value: Value) -> Family {
        Family { name: name.into(), kind, help, samples: vec![Sample { labels: Vec::new(), value }] }
    }
}

/// What samples of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that only goes up.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Counts of values by their size; its values are [`Value::Histogram`].
    Histogram,
}

/// A value, and what it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Names and values; neither has anything that would need to be escaped.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: Value,
}

/// The value of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Whole(u64),
    /// Any number.
    Real(f64),
    /// Times, which are told in seconds.
    Histogram(Counts),
}

/// In which form metrics are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text: buckets with bounds that are round.
    #[default]
    Text,
    /// Messages of `io.prometheus.client`, each behind its length: histograms are native and have the buckets of the text besides.
    Protobuf,
}

impl Format {
    /// What a client wants that accepts these media ranges, each the value of an `Accept` header (RFC 9110, 12.5.1): the messages
    /// only if they are named, and nothing that a text is likes better.
    #[must_use]
    pub fn accepted<'a>(headers: impl Iterator<Item = &'a str>) -> Format {
        let (mut text, mut protobuf) = (0.0_f32, 0.0_f32);
        for range in headers.flat_map(|header| header.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let mut weight = 1.0;
            let mut is_ours = true;
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                let value = value.trim_matches('"');
                match &*name.trim().to_ascii_lowercase() {
                    // What is no number is nobody's wish.
                    "q" => weight = value.parse::<f32>().unwrap_or(0.0).clamp(0.0, 1.0),
                    "proto" => is_ours &= value == "io.prometheus.client.MetricFamily",
                    "encoding" => is_ours &= value == "delimited",
                    _ => {}
                }
            }
            if media_type.eq_ignore_ascii_case("application/vnd.google.protobuf") && is_ours {
                protobuf = protobuf.max(weight);
            } else if ["text/plain", "text/*", "*/*"].iter().any(|ours| media_type.eq_ignore_ascii_case(ours))
            {
                text = text.max(weight);
            }
        }
        if 0.0 < protobuf && text <= protobuf { Format::Protobuf } else { Format::Text }
    }

    /// What `Content-Type` says of it.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }
}

/// All of `families`, in that form.
#[must_use]
pub fn write(families: &[Family], format: Format) -> Vec<u8> {
    match format {
        Format::Text => text::write(families).into_bytes(),
        Format::Protobuf => protobuf::write(families),
    }
}

/// A time in seconds, of nanoseconds.
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// What the buckets end at that both forms have, as text in seconds and in nanoseconds.
const BOUNDS: &[(&str, u64)] = &[
    ("1e-05", 10_000),
    ("2.5e-05", 25_000),
    ("5e-05", 50_000),
    ("0.0001", 100_000),
    ("0.00025", 250_000),
    ("0.0005", 500_000),
    ("0.001", 1_000_000),
    ("0.0025", 2_500_000),
    ("0.005", 5_000_000),
    ("0.01", 10_000_000),
    ("0.025", 25_000_000),
    ("0.05", 50_000_000),
    ("0.1", 100_000_000),
    ("0.25", 250_000_000),
    ("0.5", 500_000_000),
    ("1", 1_000_000_000),
    ("2.5", 2_500_000_000),
    ("5", 5_000_000_000),
    ("10", 10_000_000_000),
    ("30", 30_000_000_000),
    ("60", 60_000_000_000),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_to_who_names_them_and_likes_nothing_better() {
        let messages =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let check = |accept: &[&str], expected: Format| {
            assert_eq!(Format::accepted(accept.iter().copied()), expected, "{accept:?}");
        };
        check(&[], Format::Text);
        check(&["*/*"], Format::Text);
        check(&["application/vnd.google.protobuf"], Format::Protobuf);
        check(&[messages], Format::Protobuf);
        // As a Prometheus with native histograms asks, and one without.
        let others =
            "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        check(&[&format!("{messages},{others}")], Format::Protobuf);
        check(&[others], Format::Text);
        check(&[&format!("{messages};q=0.4"), "text/plain;q=0.3"], Format::Protobuf);
        check(&[&format!("{messages};q=0.3"), "text/plain;q=0.4"], Format::Text);
        check(&[&format!("{messages};q=0.3, TEXT/*")], Format::Text);
        check(&[&format!("{messages};q=0")], Format::Text);
        check(&[&format!("{messages};q=much")], Format::Text);
        check(&["application/vnd.google.protobuf;encoding=text"], Format::Text);
        check(&["application/vnd.google.protobuf;proto=other;encoding=delimited"], Format::Text);
        check(&["application/vnd.google.protobuf; encoding=\"delimited\" ; Q=0.5"], Format::Protobuf);
    }
}
